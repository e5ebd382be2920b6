//! The keys of a source: what editors are told, beside what this module reads.

use everhook_journal::config::keys::{Form, Key, NAME, key};

use crate::handshake::Handshake;
use crate::signature::preset::Way;
use crate::signature::{Algorithm, Custom, Preset, Recipe};

/// What every source may say.
const COMMON: &[Key] = &[
    key("workflow", NAME, "the workflow that its webhooks start").usual("\"default\""),
    key(
        "expect",
        Form::Words(&["json", "any"]),
        "what a body must be; \"any\" also lets in forms, text and nothing",
    ),
    key(
        "skip_bom",
        Form::Flag,
        "whether a byte order mark may come before the JSON; steps do not see it",
    )
    .usual("false"),
    key(
        "content_encoding",
        Form::Text,
        "what the sender writes into Content-Encoding although nothing is encoded: \"utf-8\"",
    ),
    key(
        "items",
        Form::Pointer,
        "where the events are, if one request holds several: a JSON Pointer",
    ),
    key("item_id", Form::Pointers, "with `items`: the ways to what tells an item from all others"),
    key("item_type", Form::Pointer, "with `items`: the way to its type"),
    key(
        "dedup_window",
        Form::Duration,
        "how long equal bodies without an id count as one delivery; \"0s\" for never; up to 30d",
    ),
    key(
        "remember_bodies",
        Form::Flag,
        "whether a body that comes again under another unsigned id is flagged; false saves a write a webhook",
    )
    .usual("true"),
];

const ID_UNIQUE: Key = key(
    "id_unique",
    Form::Flag,
    "whether a signed id alone names an event: another body under it is then a redelivery, not another event",
);

const SECRETS: Key =
    key("secrets", Form::References, "references to the secrets, the newest first: [\"env:NAME\"]")
        .required();

const QUARANTINE: Key =
    key("quarantine", Form::Flag, "whether requests that are not verified are kept for a while")
        .usual("false");

const TOLERANCE: Key =
    key("tolerance", Form::Duration, "how far a signed timestamp may be from now; up to 24h");

const PUBLIC_URL: Key = key(
    "public_url",
    Form::Pattern("^https?://\\S*$"),
    "the URL that the sender was given, byte for byte",
);

const TOPICS: Key =
    key("topics", Form::SomeTexts, "the ARNs of the topics that may send").required();

const WEBHOOK_ID: Key = key("webhook_id", Form::Text, "PayPal's id of the webhook").required();

const VERIFY_TOKEN: Key = key(
    "verify_token",
    Form::Reference,
    "a reference to the token that Meta's dashboard was given",
);

const HEADER: Key = key(
    "header",
    Form::Either(&[Form::Text, Form::SomeTexts]),
    "the header that holds the signature, or a list of which one is enough",
);

const TAG: Key =
    key("tag", Form::Text, "what stands before the signature, with its delimiter: \"sha256=\"");

const SEPARATOR: Key = key(
    "separator",
    Form::Pattern("^.$"),
    "what divides several signatures in the header: one character",
);

const ENCODING: Key =
    key("encoding", Form::Words(&["hex", "base64"]), "how the signature is written");

/// Only what is sent as it is can be text.
const TOKEN_ENCODING: Key = Key { form: Form::Words(&["hex", "base64", "text"]), ..ENCODING };

const ADJUSTED: &[Key] = &[
    HEADER,
    key("id_header", Form::Text, "the header that holds the delivery id"),
    key("type_header", Form::Text, "the header that holds the type of event"),
];

const RECIPE: &[Key] = &[
    HEADER.required(),
    key(
        "hash",
        Form::Words(&["sha1", "sha256", "sha512", "plain-sha256", "ed25519", "ecdsa-p256", "token"]),
        "how it is signed",
    )
    .usual("\"sha256\""),
    key("key_encoding", Form::Words(&["text", "base64", "hex", "whsec", "spki"]), "how the key is written in the secret")
        .usual("\"text\""),
    key("signed", Form::Text, "what is signed: {body}, {timestamp}, {method}, {url}, {uri}, {header:NAME}, {entry:NAME}, {json:PATH}")
        .usual("\"{body}\""),
    key("timestamp", Form::Text, "where the timestamp stands: header:NAME, entry:NAME or json:PATH"),
    key("timestamp_unit", Form::Words(&["s", "ms", "rfc3339"]), "the timestamp's unit").usual("\"s\""),
    key("id", Form::Text, "where the delivery id stands: places, the first that is there"),
    key("type", Form::Text, "where the type of event stands: places, the first that is there"),
    Key { usual: Some("\"5m\""), ..TOLERANCE },
    PUBLIC_URL,
];

/// The keys of a source with this scheme, beside `scheme` itself.
pub fn keys(preset: &Preset) -> Vec<Key> {
    let mut keys = COMMON.to_vec();
    keys.extend(preset.takes_secrets().then_some(SECRETS));
    let asked = preset.handshake == Handshake::Meta;
    keys.extend(asked.then_some(VERIFY_TOKEN));
    // Where nothing is verified, nothing is refused.
    let open = matches!(preset.way, Way::Open(_));
    keys.push(if open { Key { form: Form::Off, ..QUARANTINE } } else { QUARANTINE });
    let (written, custom) = match &preset.way {
        Way::Recipe(written) | Way::Open(written) => (Recipe::parse(written).ok(), None),
        Way::Custom(custom, _) => (None, Some(*custom)),
    };
    // Where nothing is signed, no id can be trusted alone.
    let signs = match &preset.way {
        Way::Recipe(_) => written.as_ref().is_some_and(Recipe::covers_body),
        Way::Custom(custom, described) => custom.signs_body() || described.id_signed,
        Way::Open(_) => false,
    };
    keys.push(if signs { ID_UNIQUE } else { Key { form: Form::Off, ..ID_UNIQUE } });
    let takes_json_only = written.as_ref().is_some_and(|recipe| recipe.takes_json_only().is_some());
    if takes_json_only && preset.name != "recipe" {
        let expect = keys.iter_mut().filter(|key| key.name == "expect");
        expect.for_each(|key| key.form = Form::Words(&["json"]));
    }
    // The signature says which parts of a body are events.
    if custom.is_some_and(Custom::names_items) {
        keys.retain(|key| !["items", "item_id", "item_type"].contains(&key.name));
    }
    if preset.name == "recipe" {
        keys.extend(RECIPE);
        keys.extend([TAG, SEPARATOR, TOKEN_ENCODING]);
        return keys;
    }
    if preset.adjustable {
        let token = written.as_ref().is_some_and(|recipe| recipe.algorithm() == Algorithm::Token);
        keys.extend(ADJUSTED);
        keys.extend([TAG, SEPARATOR, if token { TOKEN_ENCODING } else { ENCODING }]);
    }
    let dated = preset.tolerance_s.is_some() || written.as_ref().is_some_and(Recipe::is_dated);
    keys.extend(dated.then_some(TOLERANCE));
    let url = custom == Some(Custom::Twilio) || written.as_ref().is_some_and(Recipe::needs_url);
    keys.extend(url.then_some(PUBLIC_URL.required()));
    keys.extend((custom == Some(Custom::PayPal)).then_some(WEBHOOK_ID));
    keys.extend((custom == Some(Custom::Sns)).then_some(TOPICS));
    keys
}

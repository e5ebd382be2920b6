//! The page that lists all senders: made from the table, so it says what the code does.

use std::fmt::Write;

use super::{Custom, Described, Identity, PRESETS, Preset, Way};
use crate::content::Content;
use crate::signature::encoding::{Encoding, KeyEncoding};
use crate::signature::key::Algorithm;
use crate::signature::recipe::{Recipe, Written};
use crate::signature::template::Place;
use crate::signature::time::Unit;

/// What the page begins with.
const HEAD: &str = "\
# Senders

This page is made from the table that verifies: [`preset.rs`](../ingest/src/signature/preset.rs).
`UPDATE_DOCS=1 cargo test -p everhook --test everhook -- docs` makes it anew.

How verification works, where ids come from and how to sign by hand is in [signatures.md](signatures.md); \
every key of the configuration in [configuration.md](configuration.md).

- **Signed** means that the signature covers it. An id that is not signed can be changed by whoever has seen a request.
- **Covered of the body** says what the signature proves: [signatures.md](signatures.md#what-a-signature-covers).
- **Weak** means that nothing signs the body: whoever knows the token, or has seen a request, can send any. \
A source of a weak sender is warned of at every start.
- A body may be as large as `body_bytes_max` says, 1 MiB if it says nothing, whoever sends it.
- What a sender's own limits are is said where its documentation does.

";

/// The whole page, in Markdown.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    for title in ["| `scheme` | sender | weak | handshake |", "|---|---|---|---|"] {
        page += &format!("{title}\n");
    }
    for preset in PRESETS.iter().copied().flatten() {
        let weak = if preset.weak { "**weak**" } else { "" };
        let handshake =
            if preset.handshake == crate::handshake::Handshake::None { "" } else { "yes" };
        let (name, title) = (preset.name, preset.title);
        page += &format!("| [`{name}`](#{name}) | {title} | {weak} | {handshake} |\n");
    }
    identities(&mut page).expect("a text takes any text");
    for preset in PRESETS.iter().copied().flatten() {
        section(&mut page, preset).expect("a text takes any text");
    }
    page
}

/// What stands above the table of identities.
const IDENTITIES: &str = "
## What identifies a delivery

A webhook that is known by the same as an earlier one is a redelivery: it gets the same token, and runs nothing.
What it is known by depends on what the sender's documentation promises.

- **An id that is signed and documented to name one event** identifies a delivery by itself. \
Another body under it is a redelivery, and counted as `MismatchedBodies`.
- **Any other id** identifies a delivery together with the body, and with the type of event where that stands in a header. \
The same id with another body is another event.
- **A body without an id that has a time or a counter of its own** is identified by its content.
- **A body with neither** is a redelivery of an equal body that was received within the source's `dedup_window`. \
Later ones run, and have `repeatOf`.

A redelivery counts as one as long as the history of the first is kept. \
`id_unique` and `dedup_window` in [configuration.md](configuration.md) change both for one source.

An id that is not signed can be replaced: a recorded request that is sent again under another id is another delivery. \
So Everhook remembers bodies that come with such ids (a write unit more a webhook), and the repeat has `repeatOf`. \
`remember_bodies = false` saves that write, and repeats under another unsigned id are not flagged: \
choose it where a repeat does no harm, or where each request carries a signed time that bounds how late it can be sent again. \
Redeliveries, with the same id and body, are recognised with both settings.

| `scheme` | id | names one event | another body under the same id | without an id | what the sender documents |
|---|---|---|---|---|---|
";

/// The table of identities: where ids stand and whether they are signed is what verification reads.
fn identities(page: &mut String) -> std::fmt::Result {
    page.push_str(IDENTITIES);
    for preset in PRESETS.iter().copied().flatten() {
        let Preset { name, .. } = preset;
        let identity = preset.identity();
        let Identity { unique, says, docs, .. } = identity;
        let (ids, all_signed) = ids(preset)?;
        let other_body = match (*unique && all_signed, ids.is_empty()) {
            (_, true) => "–",
            (true, _) => "the same event",
            (false, _) => "another event",
        };
        let ids = if ids.is_empty() { "none".to_owned() } else { ids.join(", else ") };
        let without = without_id(identity);
        let documented = match docs.is_empty() {
            true => (*says).to_owned(),
            false => format!("{says} ([documentation]({docs}))"),
        };
        let compared = compared(identity.content);
        let beside: Vec<_> =
            identity.beside.iter().map(|name| format!("`header:{name}`")).collect();
        let beside = match beside.is_empty() {
            true => String::new(),
            false => format!(", together with {}", beside.join(", ")),
        };
        let is_unique = if *unique { "yes" } else { "not documented" };
        writeln!(
            page,
            "| [`{name}`](#{name}) | {ids}{beside} | {is_unique} | {other_body}{compared} | {without} | {documented} |"
        )?;
    }
    Ok(())
}

/// Where the ids of a sender stand, and whether all of them are signed.
fn ids(preset: &Preset) -> Result<(Vec<String>, bool), std::fmt::Error> {
    if let Some(batch) = &preset.batch {
        let is_signed = match &preset.way {
            Way::Recipe(_) => true,
            Way::Custom(custom, _) => custom.signs_body(),
            Way::Open(_) => false,
        };
        let places: Vec<_> = batch.id.iter().map(|pointer| format!("item:{pointer}")).collect();
        return Ok((vec![place_text(&places.join("+"), is_signed)], is_signed));
    }
    match &preset.way {
        Way::Recipe(written) | Way::Open(written) => {
            let recipe = Recipe::parse(written).map_err(|_| std::fmt::Error)?;
            let ids: Vec<_> = recipe.ids().map(|(places, signed)| joined(places, signed)).collect();
            // The first place is where the sender says its id stands.
            let is_signed = recipe.ids().next().is_some_and(|(_, signed)| signed);
            Ok((ids, is_signed))
        }
        Way::Custom(_, described) => {
            let places = described.id.split_whitespace();
            let ids = places.map(|place| place_text(place, described.id_signed)).collect();
            Ok((ids, described.id_signed))
        }
    }
}

fn without_id(identity: &Identity) -> String {
    let window = duration(identity.window_s);
    match identity.dated {
        "" => format!("`dedup_window` {window}"),
        dated => {
            let places: Vec<_> =
                dated.split_whitespace().map(|place| format!("`{place}`")).collect();
            format!("by its content, with {}; else `dedup_window` {window}", places.join(" or "))
        }
    }
}

fn compared(content: Content) -> String {
    let names = |paths: &[&str]| {
        let names: Vec<_> = paths.iter().map(|path| format!("`{path}`")).collect();
        names.join(", ")
    };
    match content {
        Content::Whole => String::new(),
        Content::Without(paths) => format!("; compared without {}", names(paths)),
        Content::Only(paths) => format!("; compared by {} alone", names(paths)),
    }
}

fn section(page: &mut String, preset: &Preset) -> std::fmt::Result {
    let Preset { name, title, secret, limits, note, .. } = preset;
    writeln!(page, "\n## {name}\n\n{title}.{}\n", if preset.weak { " **Weak.**" } else { "" })?;
    writeln!(page, "```toml\n[sources.{name}]")?;
    match preset.name {
        "none" => writeln!(page, "verify  = \"none\"")?,
        name => writeln!(page, "scheme  = \"{name}\"")?,
    }
    if preset.takes_secrets() {
        let variable = name.to_ascii_uppercase().replace('-', "_");
        writeln!(page, "secrets = [\"env:{variable}_WEBHOOK_SECRET\"]")?;
    }
    for line in preset.lines {
        writeln!(page, "{line}")?;
    }
    writeln!(page, "```\n")?;
    if preset.takes_secrets() {
        writeln!(page, "- Secret: {secret}.")?;
    }
    if preset.name == "recipe" {
        return writeln!(page, "- {note}");
    }
    match &preset.way {
        Way::Recipe(written) => recipe(page, written)?,
        Way::Custom(_, described) => custom(page, described)?,
        Way::Open(written) => places(page, written)?,
    }
    writeln!(page, "- Covered of the body: {}.", covered(preset))?;
    match preset.tolerance_s {
        Some(seconds) => writeln!(
            page,
            "- Tolerance: {} before and after, in the signed timestamp; `tolerance` changes it.",
            duration(seconds)
        )?,
        None => writeln!(
            page,
            "- Tolerance: none; no time is signed. A request that is sent again is recognised by [its identity](#what-identifies-a-delivery)."
        )?,
    }
    writeln!(page, "- Handshake: {}.", preset.handshake.described())?;
    if preset.forms {
        writeln!(page, "- Bodies may be of any form; `expect = \"json\"` refuses others.")?;
    }
    if !limits.is_empty() {
        writeln!(page, "- The sender's limits: {limits}.")?;
    }
    if !note.is_empty() {
        writeln!(page, "- {note}")?;
    }
    Ok(())
}

/// What the signature covers of a body, in words.
fn covered(preset: &Preset) -> &'static str {
    let custom = match &preset.way {
        Way::Recipe(written) => match written.signed.contains("{body}") {
            true => return "every byte",
            false => return "nothing",
        },
        Way::Open(_) => return "nothing",
        Way::Custom(custom, _) => custom,
    };
    match custom {
        Custom::StandardWebhooks => "every byte",
        Custom::Twilio => {
            "a form's names and values, but not where one ends and the next begins (`form`); every byte of a JSON body"
        }
        Custom::PayPal => "a checksum (`checksum`)",
        Custom::Sns | Custom::AdyenItem => "the fields that are named above (`fields`)",
        Custom::Mailgun | Custom::Monday | Custom::MsGraph => "nothing of the event (`nothing`)",
    }
}

fn recipe(page: &mut String, written: &Written<'_>) -> std::fmt::Result {
    let several =
        if written.every { "each that is sent must fit" } else { "one that fits is enough" };
    let headers: Vec<_> = written.headers.iter().map(|name| format!("`{name}`")).collect();
    write!(page, "- Signature: {}", headers.join(", "))?;
    if headers.len() > 1 {
        write!(page, " ({several})")?;
    }
    if !written.tag.is_empty() {
        let optional = if written.bare { ", which may be missing" } else { "" };
        write!(page, ", after `{}`{optional}", written.tag)?;
    }
    if let Some(separator) = written.separator {
        write!(page, ", entries divided by `{separator}`")?;
    }
    writeln!(page, "; {}, {}.", algorithm(written.algorithm), encoding(written.encoding))?;
    match written.key {
        KeyEncoding::Text => {}
        KeyEncoding::Base64 | KeyEncoding::Whsec => {
            writeln!(page, "- The key is the secret's base64.")?
        }
        KeyEncoding::Hex => writeln!(page, "- The key is the secret's hexadecimal.")?,
        KeyEncoding::Spki => writeln!(page, "- The key is a public key, in base64 or PEM.")?,
    }
    for (name, value) in written.requires {
        writeln!(page, "- Required: `{name}: {value}`.")?;
    }
    match written.signed {
        "" => writeln!(page, "- Signed: nothing.")?,
        signed => writeln!(page, "- Signed: `{signed}`.")?,
    }
    if !written.timestamp.is_empty() {
        let unit = match written.unit {
            Unit::Seconds => "seconds",
            Unit::Millis => "milliseconds",
            Unit::Rfc3339 => "RFC 3339",
        };
        writeln!(page, "- Timestamp: `{}`, {unit}.", written.timestamp)?;
    }
    places(page, written)
}

fn custom(page: &mut String, described: &Described) -> std::fmt::Result {
    writeln!(page, "- Signature: {}.", described.signature)?;
    writeln!(page, "- Signed: {}.", described.signed)?;
    let found = |text: &str, signed| {
        let places: Vec<_> =
            text.split_whitespace().map(|place| place_text(place, signed)).collect();
        if places.is_empty() { "none".to_owned() } else { places.join(", else ") }
    };
    let id = match described.id {
        "" => "none".to_owned(),
        id => found(id, described.id_signed),
    };
    writeln!(page, "- Delivery id: {id}.")?;
    writeln!(page, "- Type of event: {}.", found(described.event_type, described.type_signed))
}

fn places(page: &mut String, written: &Written<'_>) -> std::fmt::Result {
    let recipe = Recipe::parse(written).map_err(|_| std::fmt::Error)?;
    let ids: Vec<_> = recipe.ids().map(|(places, signed)| joined(places, signed)).collect();
    let types: Vec<_> = recipe.types().map(|(places, signed)| joined(places, signed)).collect();
    let or = |places: Vec<String>, nothing: &str| {
        if places.is_empty() { nothing.to_owned() } else { places.join(", else ") }
    };
    writeln!(page, "- Delivery id: {}.", or(ids, "none"))?;
    writeln!(page, "- Type of event: {}.", or(types, "the body's `type`, if it has one"))
}

fn joined(places: &[Place], signed: bool) -> String {
    let text = |place: &Place| match place {
        Place::Header(name) => format!("header:{name}"),
        Place::Entry(name) => format!("entry:{name}"),
        Place::Json(path) => format!("json:{path}"),
    };
    let texts: Vec<_> = places.iter().map(text).collect();
    place_text(&texts.join("+"), signed)
}

fn place_text(place: &str, signed: bool) -> String {
    format!("`{place}` ({})", if signed { "signed" } else { "not signed" })
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

fn algorithm(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::HmacSha1 => "HMAC-SHA1",
        Algorithm::HmacSha256 => "HMAC-SHA256",
        Algorithm::HmacSha512 => "HMAC-SHA512",
        Algorithm::Sha256 => "SHA-256 of the secret and what is signed",
        Algorithm::Ed25519 => "Ed25519",
        Algorithm::EcdsaP256 => "ECDSA on P-256",
        Algorithm::RsaSha256 => "RSA with SHA-256",
        Algorithm::RsaSha1 => "RSA with SHA-1",
        Algorithm::Token => "the secret itself",
    }
}

fn encoding(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Hex => "hexadecimal in lower case",
        Encoding::Base64 => "base64",
        Encoding::Text => "as it is",
    }
}

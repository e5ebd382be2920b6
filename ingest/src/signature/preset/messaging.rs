//! Chat, mail, telephony and social networks.

use super::{Batch, Described, PRESET, Preset, Way};
use crate::handshake::Handshake;
use crate::signature::Custom;
use crate::signature::encoding::{Encoding, KeyEncoding};
use crate::signature::key::Algorithm;
use crate::signature::recipe::{PLAIN, Written};
use crate::signature::time::Unit;

const BASE64: Written<'static> = Written { encoding: Encoding::Base64, ..PLAIN };

pub(super) const PRESETS: &[Preset] = &[
    Preset {
        name: "slack",
        title: "Slack",
        way: Way::Recipe(Written {
            headers: &["X-Slack-Signature"],
            tag: "v0=",
            signed: "v0:{timestamp}:{body}",
            timestamp: "header:x-slack-request-timestamp",
            id: "json:event_id",
            event_type: "json:event.type json:type",
            ..PLAIN
        }),
        tolerance_s: Some(300),
        handshake: Handshake::Slack,
        forms: true,
        secret: "the app's signing secret",
        limits: "3 s for an answer",
        note: "Slash commands are forms without an id.",
        ..PRESET
    },
    Preset {
        name: "discord",
        title: "Discord",
        way: Way::Recipe(Written {
            headers: &["X-Signature-Ed25519"],
            key: KeyEncoding::Hex,
            algorithm: Algorithm::Ed25519,
            signed: "{timestamp}{body}",
            timestamp: "header:x-signature-timestamp",
            id: "json:id",
            event_type: "json:event.type json:type",
            ..PLAIN
        }),
        tolerance_s: Some(300),
        handshake: Handshake::Discord,
        secret: "the application's public key, in hexadecimal",
        limits: "3 s for an answer; Discord sends wrong signatures to see them refused",
        ..PRESET
    },
    Preset {
        name: "zoom",
        title: "Zoom",
        way: Way::Recipe(Written {
            headers: &["x-zm-signature"],
            tag: "v0=",
            signed: "v0:{timestamp}:{body}",
            timestamp: "header:x-zm-request-timestamp",
            event_type: "json:event",
            ..PLAIN
        }),
        tolerance_s: Some(300),
        handshake: Handshake::Zoom,
        secret: "the app's secret token",
        limits: "3 s for an answer; retries after 5, 20 and 60 minutes; the address is checked every 72 hours",
        ..PRESET
    },
    Preset {
        name: "meta",
        title: "Meta: Facebook, WhatsApp, Instagram",
        way: Way::Recipe(Written {
            headers: &["X-Hub-Signature-256"],
            tag: "sha256=",
            event_type: "json:object",
            ..PLAIN
        }),
        handshake: Handshake::Meta,
        secret: "the app's secret",
        lines: &[
            "verify_token = \"env:META_VERIFY_TOKEN\"   # the token that Meta's dashboard was given",
        ],
        ..PRESET
    },
    Preset {
        name: "x",
        title: "X (Twitter)",
        way: Way::Recipe(Written {
            headers: &["X-Twitter-Webhooks-Signature"],
            tag: "sha256=",
            ..BASE64
        }),
        handshake: Handshake::X,
        secret: "the app's consumer secret",
        note: "X signs webhooks and the tokens of its check alike: keep `expect` at `\"json\"`. A token that could be a body is not signed.",
        ..PRESET
    },
    Preset {
        name: "line",
        title: "LINE",
        way: Way::Recipe(Written {
            headers: &["x-line-signature"],
            id: "json:events.0.webhookEventId",
            event_type: "json:events.0.type",
            ..BASE64
        }),
        secret: "the channel's secret",
        ..PRESET
    },
    Preset {
        name: "twitch",
        title: "Twitch EventSub",
        way: Way::Recipe(Written {
            headers: &["Twitch-Eventsub-Message-Signature"],
            tag: "sha256=",
            signed: "{header:twitch-eventsub-message-id}{timestamp}{body}",
            timestamp: "header:twitch-eventsub-message-timestamp",
            unit: Unit::Rfc3339,
            id: "header:twitch-eventsub-message-id",
            event_type: "json:subscription.type header:twitch-eventsub-subscription-type",
            ..PLAIN
        }),
        tolerance_s: Some(600),
        handshake: Handshake::Twitch,
        ..PRESET
    },
    Preset {
        name: "twilio",
        title: "Twilio",
        way: Way::Custom(
            Custom::Twilio,
            Described {
                signature: "`X-Twilio-Signature`: HMAC-SHA1 in base64",
                signed: "public URL with query, and the sorted parameters of a form; a JSON body by `bodySHA256` in the query",
                id: "header:i-twilio-idempotency-token",
                id_signed: false,
                event_type: "",
                type_signed: false,
            },
        ),
        forms: true,
        secret: "the account's auth token",
        lines: &[
            "public_url = \"https://hooks.example.com/webhook/twilio\"   # the URL that Twilio was given, without its query",
        ],
        note: "The URL may be signed with or without a port. Escapes in a form must be in upper case, as Twilio writes them.",
        ..PRESET
    },
    Preset {
        name: "telnyx",
        title: "Telnyx",
        way: Way::Recipe(Written {
            headers: &["telnyx-signature-ed25519"],
            key: KeyEncoding::Base64,
            algorithm: Algorithm::Ed25519,
            signed: "{timestamp}|{body}",
            timestamp: "header:telnyx-timestamp",
            id: "json:data.id",
            event_type: "json:data.event_type",
            ..BASE64
        }),
        tolerance_s: Some(300),
        secret: "the account's public key, in base64",
        ..PRESET
    },
    Preset {
        name: "sendgrid",
        title: "SendGrid",
        way: Way::Recipe(Written {
            headers: &["X-Twilio-Email-Event-Webhook-Signature"],
            key: KeyEncoding::Spki,
            algorithm: Algorithm::EcdsaP256,
            signed: "{timestamp}{body}",
            timestamp: "header:x-twilio-email-event-webhook-timestamp",
            ..BASE64
        }),
        tolerance_s: Some(300),
        secret: "the verification key (a public key), in base64",
        note: "A request carries several events, each with its own `sg_event_id`.",
        batch: Some(Batch { list: "", id: &["/sg_event_id"], event_type: "/event" }),
        ..PRESET
    },
    Preset {
        name: "mailgun",
        title: "Mailgun",
        way: Way::Custom(
            Custom::Mailgun,
            Described {
                signature: "`signature.signature` in the body: HMAC-SHA256 in hexadecimal",
                signed: "timestamp and token of the body; **not the event itself**",
                id: "json:signature.token",
                id_signed: true,
                event_type: "json:event-data.event",
                type_signed: false,
            },
        ),
        tolerance_s: Some(300),
        secret: "the HTTP webhook signing key",
        note: "Whoever has seen one signed request can put another event into it: a token counts once.",
        ..PRESET
    },
    Preset {
        name: "mailchimp",
        title: "Mailchimp",
        way: Way::Recipe(Written {
            headers: &["X-Mailchimp-Signature"],
            separator: Some(','),
            tag: "v1=",
            signed: "{timestamp}.{body}",
            timestamp: "entry:t",
            ..PLAIN
        }),
        tolerance_s: Some(300),
        handshake: Handshake::Probe,
        forms: true,
        ..PRESET
    },
    Preset {
        name: "customerio",
        title: "Customer.io",
        way: Way::Recipe(Written {
            headers: &["X-CIO-Signature"],
            signed: "v0:{timestamp}:{body}",
            timestamp: "header:x-cio-timestamp",
            id: "json:event_id",
            event_type: "json:metric",
            ..PLAIN
        }),
        tolerance_s: Some(300),
        ..PRESET
    },
    Preset {
        name: "intercom",
        title: "Intercom",
        way: Way::Recipe(Written {
            headers: &["X-Hub-Signature"],
            tag: "sha1=",
            algorithm: Algorithm::HmacSha1,
            id: "json:id",
            event_type: "json:topic",
            ..PLAIN
        }),
        handshake: Handshake::Probe,
        secret: "the app's client secret",
        ..PRESET
    },
];

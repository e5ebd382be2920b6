//! Senders of one's own.

use super::{PRESET, Preset, Way};
use crate::handshake::Handshake;
use crate::signature::encoding::Encoding;
use crate::signature::key::Algorithm;
use crate::signature::recipe::{PLAIN, Written};

/// Where an id may stand if the configuration does not say.
const IDS: &str =
    "header:webhook-id header:x-webhook-id header:idempotency-key header:x-github-delivery";

/// Where a type may stand if the configuration does not say.
const TYPES: &str = "header:x-webhook-event header:x-event-type header:x-github-event";

const HMAC: Written<'static> = Written {
    headers: &["x-webhook-signature", "x-hub-signature-256"],
    every: true,
    bare: true,
    tag: "sha256=",
    id: IDS,
    event_type: TYPES,
    ..PLAIN
};

const TOKEN: Written<'static> = Written {
    headers: &["authorization"],
    algorithm: Algorithm::Token,
    encoding: Encoding::Text,
    signed: "",
    id: IDS,
    event_type: TYPES,
    ..PLAIN
};

pub(super) const PRESETS: &[Preset] = &[
    Preset {
        name: "hmac-sha1",
        title: "HMAC-SHA1 of the body",
        way: Way::Recipe(Written {
            headers: &["x-webhook-signature", "x-hub-signature"],
            algorithm: Algorithm::HmacSha1,
            tag: "sha1=",
            ..HMAC
        }),
        adjustable: true,
        secret: "the text that both sides know",
        ..PRESET
    },
    Preset {
        name: "hmac-sha256",
        title: "HMAC-SHA256 of the body",
        way: Way::Recipe(HMAC),
        adjustable: true,
        secret: "the text that both sides know",
        ..PRESET
    },
    Preset {
        name: "hmac-sha512",
        title: "HMAC-SHA512 of the body",
        way: Way::Recipe(Written {
            headers: &["x-webhook-signature"],
            algorithm: Algorithm::HmacSha512,
            tag: "sha512=",
            ..HMAC
        }),
        adjustable: true,
        secret: "the text that both sides know",
        ..PRESET
    },
    Preset {
        name: "bearer",
        title: "A bearer token",
        way: Way::Recipe(Written { tag: "Bearer ", ..TOKEN }),
        weak: true,
        adjustable: true,
        secret: "the token",
        ..PRESET
    },
    Preset {
        name: "basic",
        title: "Basic authentication",
        way: Way::Recipe(Written { tag: "Basic ", encoding: Encoding::Base64, ..TOKEN }),
        weak: true,
        adjustable: true,
        secret: "name and password: `name:password`",
        ..PRESET
    },
    Preset {
        name: "cloudevents",
        title: "CloudEvents over HTTP",
        way: Way::Recipe(Written {
            tag: "Bearer ",
            id: "header:ce-source+header:ce-id json:source+json:id",
            event_type: "header:ce-type json:type",
            ..TOKEN
        }),
        handshake: Handshake::CloudEvents,
        weak: true,
        secret: "the bearer token",
        ..PRESET
    },
    Preset {
        name: "recipe",
        title: "A recipe of your own",
        way: Way::Recipe(Written { headers: &["x-signature"], ..PLAIN }),
        secret: "what the sender signs with, written as `key_encoding` says",
        lines: &[
            "header = \"X-Acme-Signature\"",
            "separator = \",\"",
            "tag = \"v1=\"",
            "signed = \"{timestamp}.{body}\"",
            "timestamp = \"entry:t\"",
            "id = \"json:id\"",
            "type = \"json:type\"",
        ],
        note: "All its keys are in [configuration.md](configuration.md#recipes).",
        ..PRESET
    },
    Preset {
        name: "none",
        title: "No verification",
        way: Way::Open(Written { signed: "", ..TOKEN }),
        weak: true,
        adjustable: true,
        secret: "none",
        note: "Anybody who reaches the server can send.",
        ..PRESET
    },
];

//! Standard Webhooks, and senders that follow it.

use super::{Described, PRESET, Preset, Way};
use crate::signature::Custom;

const DESCRIBED: Described = Described {
    signature: "`webhook-signature` or `svix-signature`: `v1,` (HMAC-SHA256) or `v1a,` (Ed25519) and base64; several, divided by spaces",
    signed: "id, `.`, timestamp, `.`, body",
    id: "header:webhook-id header:svix-id",
    id_signed: true,
    event_type: "json:type",
    type_signed: true,
};

const STANDARD: Preset = Preset {
    way: Way::Custom(Custom::StandardWebhooks, DESCRIBED),
    tolerance_s: Some(300),
    secret: "`whsec_` and base64; for `v1a` the public key, `whpk_` and base64",
    ..PRESET
};

pub(super) const PRESETS: &[Preset] = &[
    Preset { name: "standard-webhooks", title: "Standard Webhooks", ..STANDARD },
    Preset { name: "clerk", title: "Clerk", ..STANDARD },
    Preset { name: "resend", title: "Resend", ..STANDARD },
    Preset { name: "openai", title: "OpenAI", ..STANDARD },
    Preset {
        name: "gitlab",
        title: "GitLab (signing token)",
        way: Way::Custom(
            Custom::StandardWebhooks,
            Described { event_type: "header:x-gitlab-event", type_signed: false, ..DESCRIBED },
        ),
        secret: "the webhook's signing token: `whsec_` and base64",
        note: "GitLab shows the signing token where its version has it; otherwise use `gitlab-token`.",
        ..STANDARD
    },
];

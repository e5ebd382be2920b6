//! Senders that developers use: repositories, builds, incidents.

use super::{PRESET, Preset, Way};
use crate::handshake::Handshake;
use crate::signature::encoding::Encoding;
use crate::signature::key::Algorithm;
use crate::signature::recipe::{PLAIN, Written};
use crate::signature::time::Unit;

pub(super) const PRESETS: &[Preset] = &[
    Preset {
        name: "github",
        title: "GitHub",
        way: Way::Recipe(Written {
            headers: &["X-Hub-Signature-256"],
            tag: "sha256=",
            id: "header:x-github-delivery",
            event_type: "header:x-github-event",
            ..PLAIN
        }),
        limits: "10 s for an answer; nothing is sent again by itself, a manual redelivery keeps the id; bodies up to 25 MB",
        note: "The older header with SHA-1 is not accepted. Choose the content type `application/json`.",
        ..PRESET
    },
    Preset {
        name: "gitlab-token",
        title: "GitLab (secret token)",
        way: Way::Recipe(Written {
            headers: &["X-Gitlab-Token"],
            encoding: Encoding::Text,
            algorithm: Algorithm::Token,
            signed: "",
            id: "header:idempotency-key header:x-gitlab-webhook-uuid+header:x-gitlab-event-uuid",
            event_type: "header:x-gitlab-event",
            ..PLAIN
        }),
        weak: true,
        secret: "the webhook's secret token",
        ..PRESET
    },
    Preset {
        name: "atlassian",
        title: "Bitbucket, Jira",
        way: Way::Recipe(Written {
            headers: &["X-Hub-Signature"],
            tag: "sha256=",
            id: "header:x-request-uuid header:x-atlassian-webhook-identifier",
            event_type: "json:webhookEvent header:x-event-key",
            ..PLAIN
        }),
        ..PRESET
    },
    Preset {
        name: "linear",
        title: "Linear",
        way: Way::Recipe(Written {
            headers: &["Linear-Signature"],
            timestamp: "json:webhookTimestamp",
            unit: Unit::Millis,
            id: "header:linear-delivery",
            event_type: "json:type header:linear-event",
            ..PLAIN
        }),
        tolerance_s: Some(60),
        limits: "5 s for an answer",
        note: "The time in the header `Linear-Timestamp` is not signed and not used: the one in the body is.",
        ..PRESET
    },
    Preset {
        name: "vercel",
        title: "Vercel",
        way: Way::Recipe(Written {
            headers: &["x-vercel-signature"],
            algorithm: Algorithm::HmacSha1,
            id: "json:id",
            event_type: "json:type",
            ..PLAIN
        }),
        ..PRESET
    },
    Preset {
        name: "circleci",
        title: "CircleCI",
        way: Way::Recipe(Written {
            headers: &["circleci-signature"],
            separator: Some(','),
            tag: "v1=",
            id: "json:id",
            event_type: "json:type",
            ..PLAIN
        }),
        ..PRESET
    },
    Preset {
        name: "sentry",
        title: "Sentry",
        way: Way::Recipe(Written {
            headers: &["Sentry-Hook-Signature"],
            id: "header:request-id",
            event_type: "header:sentry-hook-resource",
            ..PLAIN
        }),
        secret: "the integration's client secret",
        ..PRESET
    },
    Preset {
        name: "pagerduty",
        title: "PagerDuty",
        way: Way::Recipe(Written {
            headers: &["X-PagerDuty-Signature"],
            separator: Some(','),
            tag: "v1=",
            id: "json:event.id",
            event_type: "json:event.event_type",
            ..PLAIN
        }),
        limits: "its own library takes bodies up to 2 MB",
        ..PRESET
    },
    Preset {
        name: "workos",
        title: "WorkOS",
        way: Way::Recipe(Written {
            headers: &["WorkOS-Signature"],
            separator: Some(','),
            tag: "v1=",
            signed: "{timestamp}.{body}",
            timestamp: "entry:t",
            unit: Unit::Millis,
            id: "json:id",
            event_type: "json:event",
            ..PLAIN
        }),
        tolerance_s: Some(180),
        ..PRESET
    },
    Preset {
        name: "trello",
        title: "Trello",
        way: Way::Recipe(Written {
            headers: &["X-Trello-Webhook"],
            encoding: Encoding::Base64,
            algorithm: Algorithm::HmacSha1,
            signed: "{body}{url}",
            id: "json:action.id",
            event_type: "json:action.type",
            ..PLAIN
        }),
        handshake: Handshake::Probe,
        secret: "the application's secret",
        lines: &[
            "public_url = \"https://hooks.example.com/webhook/trello\"   # the callback URL, byte for byte",
        ],
        ..PRESET
    },
];

//! Work: customers, documents, tasks, files, clouds.

use super::{Batch, Described, PRESET, Preset, Way};
use crate::handshake::Handshake;
use crate::signature::Custom;
use crate::signature::encoding::Encoding;
use crate::signature::key::Algorithm;
use crate::signature::recipe::{PLAIN, Written};
use crate::signature::time::Unit;

const BASE64: Written<'static> = Written { encoding: Encoding::Base64, ..PLAIN };

const HUBSPOT: Preset = Preset {
    secret: "the app's client secret",
    note: "A request carries up to 100 events, each with its own `eventId`.",
    batch: Some(EVENTS),
    ..PRESET
};

const HUBSPOT_URL: &[&str] = &[
    "public_url = \"https://hooks.example.com/webhook/hubspot\"   # the target URL, byte for byte",
];

/// The events of HubSpot. A delivery that is tried again has another `attemptNumber`, so that is no part of the id.
const EVENTS: Batch =
    Batch { list: "", id: &["/eventId", "/subscriptionId"], event_type: "/subscriptionType" };

pub(super) const PRESETS: &[Preset] = &[
    Preset {
        name: "hubspot-v1",
        title: "HubSpot, version 1",
        way: Way::Recipe(Written {
            headers: &["X-HubSpot-Signature"],
            algorithm: Algorithm::Sha256,
            ..PLAIN
        }),
        ..HUBSPOT
    },
    Preset {
        name: "hubspot-v2",
        title: "HubSpot, version 2",
        way: Way::Recipe(Written {
            headers: &["X-HubSpot-Signature"],
            algorithm: Algorithm::Sha256,
            signed: "{method}{url}{body}",
            ..PLAIN
        }),
        lines: HUBSPOT_URL,
        ..HUBSPOT
    },
    Preset {
        name: "hubspot-v3",
        title: "HubSpot, version 3",
        way: Way::Recipe(Written {
            headers: &["X-HubSpot-Signature-v3"],
            signed: "{method}{uri}{body}{timestamp}",
            timestamp: "header:x-hubspot-request-timestamp",
            unit: Unit::Millis,
            ..BASE64
        }),
        tolerance_s: Some(300),
        lines: HUBSPOT_URL,
        ..HUBSPOT
    },
    Preset {
        name: "zendesk",
        title: "Zendesk",
        way: Way::Recipe(Written {
            headers: &["X-Zendesk-Webhook-Signature"],
            signed: "{timestamp}{body}",
            timestamp: "header:x-zendesk-webhook-signature-timestamp",
            unit: Unit::Rfc3339,
            id: "header:x-zendesk-webhook-invocation-id",
            event_type: "json:type",
            ..BASE64
        }),
        tolerance_s: Some(300),
        secret: "the webhook's signing secret, as it is shown",
        ..PRESET
    },
    Preset {
        name: "typeform",
        title: "Typeform",
        way: Way::Recipe(Written {
            headers: &["Typeform-Signature"],
            tag: "sha256=",
            id: "json:event_id",
            event_type: "json:event_type",
            ..BASE64
        }),
        ..PRESET
    },
    Preset {
        name: "docusign",
        title: "DocuSign Connect",
        way: Way::Recipe(Written {
            headers: &[
                "X-DocuSign-Signature-1",
                "X-DocuSign-Signature-2",
                "X-DocuSign-Signature-3",
                "X-DocuSign-Signature-4",
                "X-DocuSign-Signature-5",
                "X-DocuSign-Signature-6",
                "X-DocuSign-Signature-7",
                "X-DocuSign-Signature-8",
            ],
            id: "json:data.envelopeId+json:event+json:generatedDateTime",
            event_type: "json:event",
            ..BASE64
        }),
        secret: "an HMAC key of the account",
        note: "One header a key; one that fits is enough.",
        ..PRESET
    },
    Preset {
        name: "calendly",
        title: "Calendly",
        way: Way::Recipe(Written {
            headers: &["Calendly-Webhook-Signature"],
            separator: Some(','),
            tag: "v1=",
            signed: "{timestamp}.{body}",
            timestamp: "entry:t",
            event_type: "json:event",
            ..PLAIN
        }),
        tolerance_s: Some(180),
        ..PRESET
    },
    Preset {
        name: "box",
        title: "Box",
        way: Way::Recipe(Written {
            headers: &["box-signature-primary", "box-signature-secondary"],
            signed: "{body}{timestamp}",
            timestamp: "header:box-delivery-timestamp",
            unit: Unit::Rfc3339,
            id: "json:id header:box-delivery-id",
            event_type: "json:trigger",
            requires: &[("box-signature-version", "1"), ("box-signature-algorithm", "HmacSHA256")],
            ..BASE64
        }),
        tolerance_s: Some(600),
        secret: "the primary and the secondary key",
        ..PRESET
    },
    Preset {
        name: "dropbox",
        title: "Dropbox",
        way: Way::Recipe(Written { headers: &["X-Dropbox-Signature"], ..PLAIN }),
        handshake: Handshake::Dropbox,
        secret: "the app's secret",
        ..PRESET
    },
    Preset {
        name: "asana",
        title: "Asana",
        way: Way::Recipe(Written { headers: &["X-Hook-Signature"], ..PLAIN }),
        handshake: Handshake::Asana,
        secret: "the `X-Hook-Secret` in Asana's answer to the creation of the webhook",
        note: "The secret is made during the handshake: begin with any other one, then put it there.",
        ..PRESET
    },
    Preset {
        name: "notion",
        title: "Notion",
        way: Way::Recipe(Written {
            headers: &["X-Notion-Signature"],
            tag: "sha256=",
            id: "json:id",
            event_type: "json:type",
            ..PLAIN
        }),
        secret: "the subscription's verification token",
        note: "Notion posts the verification token once, unsigned, so it is refused here: read it elsewhere, then move the subscription.",
        ..PRESET
    },
    Preset {
        name: "monday",
        title: "monday.com",
        way: Way::Custom(
            Custom::Monday,
            Described {
                signature: "`Authorization`: a JSON Web Token, HS256",
                signed: "the token alone; **not the body**",
                id: "json:event.triggerUuid",
                id_signed: false,
                event_type: "json:event.type",
                type_signed: false,
            },
        ),
        tolerance_s: Some(300),
        handshake: Handshake::Monday,
        weak: true,
        secret: "the app's signing secret",
        ..PRESET
    },
    Preset {
        name: "msgraph",
        title: "Microsoft Graph",
        way: Way::Custom(
            Custom::MsGraph,
            Described {
                signature: "`clientState` in every item of the body",
                signed: "nothing",
                id: "json:subscriptionId+json:resource+json:resourceData.@odata.etag",
                id_signed: false,
                event_type: "json:changeType",
                type_signed: false,
            },
        ),
        handshake: Handshake::MsGraph,
        weak: true,
        secret: "the `clientState` of the subscription",
        limits: "10 s for the handshake; a slow receiver is sent less",
        note: "The tokens of rich notifications (`validationTokens`) are not verified.",
        batch: Some(Batch {
            list: "/value",
            id: &["/subscriptionId", "/resource", "/resourceData/@odata.etag"],
            event_type: "/changeType",
        }),
        ..PRESET
    },
    Preset {
        name: "okta",
        title: "Okta hooks",
        way: Way::Recipe(Written {
            headers: &["Authorization"],
            encoding: Encoding::Text,
            algorithm: Algorithm::Token,
            signed: "",
            id: "json:eventId",
            event_type: "json:eventType",
            ..PLAIN
        }),
        handshake: Handshake::Okta,
        weak: true,
        adjustable: true,
        secret: "the value of the authentication field, as Okta sends it",
        ..PRESET
    },
    Preset {
        name: "sns",
        title: "Amazon SNS",
        way: Way::Custom(
            Custom::Sns,
            Described {
                signature: "`Signature` in the body: RSA with SHA-1 (version 1) or SHA-256 (version 2), by the certificate at `SigningCertURL`",
                signed: "Message, MessageId, Subject, SubscribeURL, Timestamp, Token, TopicArn and Type, as far as there are",
                id: "json:MessageId",
                id_signed: true,
                event_type: "json:Type",
                type_signed: true,
            },
        ),
        tolerance_s: Some(3600),
        handshake: Handshake::Sns,
        secret: "none",
        lines: &[
            "topics = [\"arn:aws:sns:eu-central-1:123456789012:orders\"]   # who may send: anybody can sign for a topic of their own",
        ],
        note: "A subscription of one of these topics is confirmed by itself. Choose signature version 2 where you can. \
               The certificate must come from `sns.REGION.amazonaws.com` of the topic's own region.",
        ..PRESET
    },
    Preset {
        name: "eventgrid",
        title: "Azure Event Grid",
        way: Way::Recipe(Written {
            headers: &["Authorization"],
            encoding: Encoding::Text,
            algorithm: Algorithm::Token,
            signed: "",
            id: "json:0.topic+json:0.id json:0.id json:source+json:id",
            event_type: "json:0.eventType json:type",
            ..PLAIN
        }),
        handshake: Handshake::EventGrid,
        weak: true,
        adjustable: true,
        secret: "the value of the delivery property `Authorization`",
        ..PRESET
    },
];

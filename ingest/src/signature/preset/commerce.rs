//! Payments and shops.

use super::{Batch, Described, PRESET, Preset, Way};
use crate::handshake::Handshake;
use crate::signature::Custom;
use crate::signature::encoding::{Encoding, KeyEncoding};
use crate::signature::key::Algorithm;
use crate::signature::recipe::{PLAIN, Written};

const BASE64: Written<'static> = Written { encoding: Encoding::Base64, ..PLAIN };

pub(super) const PRESETS: &[Preset] = &[
    Preset {
        name: "stripe",
        title: "Stripe",
        way: Way::Recipe(Written {
            headers: &["Stripe-Signature"],
            separator: Some(','),
            tag: "v1=",
            signed: "{timestamp}.{body}",
            timestamp: "entry:t",
            id: "json:id",
            event_type: "json:type",
            ..PLAIN
        }),
        tolerance_s: Some(300),
        secret: "the endpoint's signing secret, all of it: `whsec_…`",
        note: "`v0` signatures are ignored.",
        ..PRESET
    },
    Preset {
        name: "shopify",
        title: "Shopify",
        way: Way::Recipe(Written {
            headers: &["X-Shopify-Hmac-Sha256", "Shopify-Hmac-Sha256"],
            every: true,
            id: "header:x-shopify-event-id header:shopify-webhook-id",
            event_type: "header:x-shopify-topic",
            ..BASE64
        }),
        secret: "the app's client secret",
        limits: "1 s to connect and 5 s in all; 8 retries in 4 hours, after 8 failures the subscription is deleted",
        ..PRESET
    },
    Preset {
        name: "square",
        title: "Square",
        way: Way::Recipe(Written {
            headers: &["x-square-hmacsha256-signature"],
            signed: "{url}{body}",
            id: "json:event_id",
            event_type: "json:type",
            ..BASE64
        }),
        lines: &[
            "public_url = \"https://hooks.example.com/webhook/square\"   # the notification URL, byte for byte",
        ],
        ..PRESET
    },
    Preset {
        name: "paddle",
        title: "Paddle Billing",
        way: Way::Recipe(Written {
            headers: &["Paddle-Signature"],
            separator: Some(';'),
            tag: "h1=",
            signed: "{timestamp}:{body}",
            timestamp: "entry:ts",
            id: "json:event_id",
            event_type: "json:event_type",
            ..PLAIN
        }),
        tolerance_s: Some(5),
        note: "Paddle's libraries allow 5 s; a wider `tolerance` forgives slow networks.",
        ..PRESET
    },
    Preset {
        name: "paypal",
        title: "PayPal",
        way: Way::Custom(
            Custom::PayPal,
            Described {
                signature: "`PAYPAL-TRANSMISSION-SIG`: RSA with SHA-256, by the certificate at `PAYPAL-CERT-URL`",
                signed: "transmission id, `|`, time, `|`, webhook id, `|`, CRC-32 of the body",
                id: "header:paypal-transmission-id",
                id_signed: true,
                event_type: "json:event_type",
                type_signed: false,
            },
        ),
        tolerance_s: Some(3 * 24 * 3600),
        secret: "none",
        lines: &[
            "webhook_id = \"4JH86294D6297924G\"   # the webhook's id, from PayPal's dashboard",
        ],
        note: "The body is covered by a checksum only, for which other bodies are easily found: \
               whoever has seen one signed transmission can make another body of it. A transmission counts once. \
               If a chain is served with the certificate, it must end at a root that the machine trusts.",
        limits: "up to 25 retries in 3 days",
        ..PRESET
    },
    Preset {
        name: "adyen-item",
        title: "Adyen (standard webhooks)",
        way: Way::Custom(
            Custom::AdyenItem,
            Described {
                signature: "`additionalData.hmacSignature` of every item: HMAC-SHA256 in base64",
                signed: "eight fields of the item, joined by `:`; no other field",
                id: "json:eventCode+json:pspReference",
                id_signed: true,
                event_type: "json:eventCode",
                type_signed: true,
            },
        ),
        secret: "the webhook's HMAC key, in hexadecimal",
        note: "Every item must be signed, at most 8 in one request. A request with several items has no id. \
               A body that is an item and a list of items at once is refused.",
        batch: Some(Batch {
            list: "/notificationItems",
            id: &["/NotificationRequestItem/eventCode", "/NotificationRequestItem/pspReference"],
            event_type: "/NotificationRequestItem/eventCode",
        }),
        ..PRESET
    },
    Preset {
        name: "adyen-platform",
        title: "Adyen (platforms)",
        way: Way::Recipe(Written {
            headers: &["HmacSignature"],
            key: KeyEncoding::Hex,
            id: "json:id",
            event_type: "json:type",
            ..BASE64
        }),
        secret: "the webhook's HMAC key, in hexadecimal",
        ..PRESET
    },
    Preset {
        name: "razorpay",
        title: "Razorpay",
        way: Way::Recipe(Written {
            headers: &["X-Razorpay-Signature"],
            id: "header:x-razorpay-event-id",
            event_type: "json:event",
            ..PLAIN
        }),
        ..PRESET
    },
    Preset {
        name: "paystack",
        title: "Paystack",
        way: Way::Recipe(Written {
            headers: &["x-paystack-signature"],
            algorithm: Algorithm::HmacSha512,
            id: "json:event+json:data.id",
            event_type: "json:event",
            ..PLAIN
        }),
        secret: "the account's secret key",
        ..PRESET
    },
    Preset {
        name: "checkout",
        title: "Checkout.com",
        way: Way::Recipe(Written {
            headers: &["cko-signature"],
            id: "json:id",
            event_type: "json:type",
            ..PLAIN
        }),
        ..PRESET
    },
    Preset {
        name: "woocommerce",
        title: "WooCommerce",
        way: Way::Recipe(Written {
            headers: &["X-WC-Webhook-Signature"],
            id: "header:x-wc-webhook-delivery-id",
            event_type: "header:x-wc-webhook-topic",
            ..BASE64
        }),
        ..PRESET
    },
    Preset {
        name: "xero",
        title: "Xero",
        way: Way::Recipe(Written { headers: &["x-xero-signature"], ..BASE64 }),
        handshake: Handshake::Xero,
        secret: "the webhooks key",
        limits: "5 s for an answer; a wrong signature must be answered with 401",
        ..PRESET
    },
];

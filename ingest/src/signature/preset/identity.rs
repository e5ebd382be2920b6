//! What tells one event of a sender from all others, by the sender's own documentation.
//!
//! Where the id stands, and whether the signature covers it, is in the presets. This table adds what only
//! the documentation knows. The page of all senders is made from both.

use super::Preset;
use crate::content::Content;

/// What a sender's documentation says of its ids.
#[derive(Debug)]
pub struct Identity {
    /// The preset.
    pub scheme: &'static str,
    /// Whether the id is documented to name one event. Only then, and only if it is signed,
    /// another body under the same id is a redelivery.
    pub unique: bool,
    /// Headers that tell deliveries of one id apart, beside the type of event.
    pub beside: &'static [&'static str],
    /// Where a body without an id has what no other event has: a time or a counter.
    pub dated: &'static str,
    /// Which part of a body tells events apart.
    pub content: Content,
    /// How long equal bodies with neither id nor time count as one delivery, in seconds.
    pub window_s: u64,
    /// What the documentation says.
    pub says: &'static str,
    /// Where it says so.
    pub docs: &'static str,
}

impl Preset {
    /// What its sender's documentation says of its ids.
    pub fn identity(&self) -> &'static Identity {
        let found = IDENTITIES.iter().find(|identity| identity.scheme == self.name);
        found.expect("every preset has an identity: a test compares both tables")
    }
}

/// How long equal bodies count as one delivery where nothing else is known:
/// long enough for the first retries of most senders.
const WINDOW_S: u64 = 600;

/// The same for notifications that only say "look": most repetitions of them are new changes.
const LOOK_WINDOW_S: u64 = 60;

const UNKNOWN: Identity = Identity {
    scheme: "",
    unique: false,
    beside: &[],
    dated: "",
    content: Content::Whole,
    window_s: WINDOW_S,
    says: "",
    docs: "",
};

/// The id names one event.
const UNIQUE: Identity = Identity { unique: true, ..UNKNOWN };

/// Of the senders that follow Standard Webhooks.
const MESSAGE: &str = "the id names one message, and is the same when the message is sent again";

/// Of schemes whose sender is not known.
const YOURS: &str = "depends on your sender";

const HUBSPOT: Identity = Identity {
    content: Content::Without(&["attemptNumber"]),
    says: "`eventId` is not guaranteed to be unique; `attemptNumber` counts the attempts",
    docs: "https://developers.hubspot.com/docs/api-reference/webhooks-webhooks-v3/guide",
    ..UNKNOWN
};

/// All of them, in the order of the presets.
pub const IDENTITIES: &[Identity] = &[
    Identity {
        scheme: "standard-webhooks",
        says: MESSAGE,
        docs: "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md",
        ..UNIQUE
    },
    Identity {
        scheme: "clerk",
        says: MESSAGE,
        docs: "https://docs.svix.com/receiving/verifying-payloads/how-manual",
        ..UNIQUE
    },
    Identity {
        scheme: "resend",
        says: MESSAGE,
        docs: "https://resend.com/docs/dashboard/webhooks/verify-webhooks-requests",
        ..UNIQUE
    },
    Identity {
        scheme: "openai",
        says: MESSAGE,
        docs: "https://platform.openai.com/docs/guides/webhooks",
        ..UNIQUE
    },
    Identity {
        scheme: "gitlab",
        says: "the id is the `Idempotency-Key`: unique, and the same across retries",
        docs: "https://docs.gitlab.com/user/project/integrations/webhooks/",
        ..UNIQUE
    },
    Identity {
        scheme: "github",
        says: "the id is the event's: several hooks send it, each with a body of its own; a redelivery keeps it",
        docs: "https://docs.github.com/en/webhooks/webhook-events-and-payloads#delivery-headers",
        ..UNKNOWN
    },
    Identity {
        scheme: "gitlab-token",
        says: "`Idempotency-Key` stays the same across retries; recursive webhooks share one event UUID",
        docs: "https://docs.gitlab.com/user/project/integrations/webhooks/",
        ..UNKNOWN
    },
    Identity {
        scheme: "atlassian",
        says: "the identifier is unique in one tenant, and stays the same across retries",
        docs: "https://developer.atlassian.com/cloud/jira/platform/webhooks/",
        ..UNKNOWN
    },
    Identity {
        scheme: "linear",
        content: Content::Without(&["webhookTimestamp"]),
        says: "the id is unique to the delivery; `webhookTimestamp` is the time of sending, so retries may change it",
        docs: "https://linear.app/developers/webhooks",
        ..UNKNOWN
    },
    Identity {
        scheme: "vercel",
        says: "the id is the webhook's; it is not called unique",
        docs: "https://vercel.com/docs/webhooks/webhooks-api",
        ..UNKNOWN
    },
    Identity {
        scheme: "circleci",
        says: "the id names one event, so that receivers can deduplicate",
        docs: "https://circleci.com/docs/webhooks-reference/",
        ..UNIQUE
    },
    Identity {
        scheme: "sentry",
        says: "the id is that of the request",
        docs: "https://docs.sentry.io/organization/integrations/integration-platform/webhooks/",
        ..UNKNOWN
    },
    Identity {
        scheme: "pagerduty",
        says: "the id names one event",
        docs: "https://developer.pagerduty.com/docs/webhooks-overview",
        ..UNIQUE
    },
    Identity {
        scheme: "workos",
        says: "the id names one event",
        docs: "https://workos.com/docs/events/data-syncing/webhooks",
        ..UNIQUE
    },
    Identity {
        scheme: "trello",
        says: "the id names an action; each webhook on a model of that action sends it, with a body of its own",
        docs: "https://developer.atlassian.com/cloud/trello/guides/rest-api/webhooks/",
        ..UNKNOWN
    },
    Identity {
        scheme: "stripe",
        says: "the id names one event; receivers are told to log it. A retry may change `pending_webhooks`",
        docs: "https://docs.stripe.com/webhooks#handle-duplicate-events",
        ..UNIQUE
    },
    Identity {
        scheme: "shopify",
        beside: &["x-shopify-webhook-id"],
        says: "the id names a merchant's action; several topics and subscriptions may report it under one id. \
               `X-Shopify-Webhook-Id` names each delivery, for deduplication",
        docs: "https://shopify.dev/docs/apps/build/webhooks/ignore-duplicates",
        ..UNKNOWN
    },
    Identity {
        scheme: "square",
        says: "the id is generated for each event, for deduplication",
        docs: "https://developer.squareup.com/docs/webhooks/what-it-does",
        ..UNIQUE
    },
    Identity {
        scheme: "paddle",
        says: "the id names one event, for deduplication; a replay changes `notification_id`",
        docs: "https://developer.paddle.com/webhooks/about/how-webhooks-work",
        ..UNIQUE
    },
    Identity {
        scheme: "paypal",
        says: "the id is unique to the transmission. The body is not signed but for a checksum, so a transmission counts once",
        docs: "https://developer.paypal.com/api/rest/webhooks/rest/",
        ..UNIQUE
    },
    Identity {
        scheme: "adyen-item",
        content: Content::Only(&[
            "NotificationRequestItem.additionalData.hmacSignature",
            "additionalData.hmacSignature",
        ]),
        says: "a duplicate has the same event code and reference, and may have newer values. \
               Only what the signature covers is compared",
        docs: "https://docs.adyen.com/development-resources/webhooks/handle-webhook-events",
        ..UNKNOWN
    },
    Identity {
        scheme: "adyen-platform",
        dated: "json:timestamp",
        says: "not every type of webhook has an id; each has the time of the event",
        docs: "https://docs.adyen.com/development-resources/webhooks/webhook-types",
        ..UNKNOWN
    },
    Identity {
        scheme: "razorpay",
        says: "the id is unique to the event, and stays the same across retries",
        docs: "https://razorpay.com/docs/webhooks/best-practices",
        ..UNKNOWN
    },
    Identity {
        scheme: "paystack",
        says: "the id is the transaction's, or that of another object; one object may cause several events",
        docs: "https://paystack.com/docs/payments/webhooks/",
        ..UNKNOWN
    },
    Identity {
        scheme: "checkout",
        says: "the id is the event's; webhooks are sent at least once",
        docs: "https://www.checkout.com/docs/developer-resources/event-notifications/receive-webhooks",
        ..UNKNOWN
    },
    Identity {
        scheme: "woocommerce",
        says: "the id is a hash of the webhook's number and the second: two events of one second share it",
        docs: "https://woocommerce.com/document/webhooks/",
        ..UNKNOWN
    },
    Identity {
        scheme: "xero",
        dated: "json:entropy json:lastEventSequence",
        says: "no id; events are numbered, and each request has random characters",
        docs: "https://developer.xero.com/documentation/guides/webhooks/overview/",
        ..UNKNOWN
    },
    Identity {
        scheme: "slack",
        dated: "json:event_time json:minute_rate_limited",
        says: "the id is unique across all workspaces; forms have none, but a `trigger_id`",
        docs: "https://docs.slack.dev/apis/events-api/",
        ..UNIQUE
    },
    Identity {
        scheme: "discord",
        dated: "json:event.timestamp",
        says: "the id names one interaction; events have no id, but a time",
        docs: "https://discord.com/developers/docs/interactions/receiving-and-responding",
        ..UNIQUE
    },
    Identity {
        scheme: "zoom",
        dated: "json:event_ts",
        says: "no id; each event has its time in milliseconds",
        docs: "https://developers.zoom.us/docs/api/webhooks/",
        ..UNKNOWN
    },
    Identity {
        scheme: "meta",
        dated: "json:entry.0.time json:entry.0.changes.0.value.messages.0.id \
                json:entry.0.changes.0.value.statuses.0.id+json:entry.0.changes.0.value.statuses.0.timestamp",
        says: "no id; each entry has its time, and each message its id. Receivers are told to deduplicate",
        docs: "https://developers.facebook.com/docs/graph-api/webhooks/getting-started",
        ..UNKNOWN
    },
    Identity {
        scheme: "x",
        dated: "json:tweet_create_events.0.id_str json:direct_message_events.0.id json:favorite_events.0.id \
                json:follow_events.0.created_timestamp json:tweet_delete_events.0.timestamp_ms",
        says: "no id for the request; most events have an id or a time",
        docs: "https://docs.x.com/x-api/account-activity/introduction",
        ..UNKNOWN
    },
    Identity {
        scheme: "line",
        content: Content::Without(&["events.*.deliveryContext"]),
        says: "the id names one event, and a request may have several; a redelivery changes `deliveryContext`",
        docs: "https://developers.line.biz/en/docs/messaging-api/receiving-messages/",
        ..UNKNOWN
    },
    Identity {
        scheme: "twitch",
        says: "the id names one message, and is the same when the message is sent again",
        docs: "https://dev.twitch.tv/docs/eventsub/handling-webhook-events/",
        ..UNIQUE
    },
    Identity {
        scheme: "twilio",
        says: "the id stays the same across retries. Of a form, only what the signature covers is compared",
        docs: "https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides",
        ..UNKNOWN
    },
    Identity {
        scheme: "telnyx",
        content: Content::Without(&["meta"]),
        says: "the id is unique to the webhook, whether to the event is not said; `meta` counts the attempts",
        docs: "https://developers.telnyx.com/docs/voice/programmable-voice/receiving-webhooks",
        ..UNKNOWN
    },
    Identity {
        scheme: "sendgrid",
        says: "the id names one event, for deduplication",
        docs: "https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event",
        ..UNIQUE
    },
    Identity {
        scheme: "mailgun",
        says: "the token is random, and to be accepted once. The event itself is not signed",
        docs: "https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks",
        ..UNIQUE
    },
    Identity {
        scheme: "mailchimp",
        says: "no id; forms have the time `fired_at`",
        docs: "https://mailchimp.com/developer/marketing/guides/sync-audience-data-webhooks/",
        ..UNKNOWN
    },
    Identity {
        scheme: "customerio",
        says: "the id is the event's; a failed request is sent again for seven days",
        docs: "https://docs.customer.io/api/webhooks",
        ..UNKNOWN
    },
    Identity {
        scheme: "intercom",
        content: Content::Without(&[
            "delivery_attempts",
            "delivery_status",
            "delivered_at",
            "first_sent_at",
        ]),
        says: "the id is the notification's; it is not called unique. The body counts its attempts",
        docs: "https://developers.intercom.com/docs/webhooks/webhook-notifications",
        ..UNKNOWN
    },
    Identity { scheme: "hubspot-v1", ..HUBSPOT },
    Identity { scheme: "hubspot-v2", ..HUBSPOT },
    Identity { scheme: "hubspot-v3", ..HUBSPOT },
    Identity {
        scheme: "zendesk",
        says: "the id is the invocation's, and stays the same across retries",
        docs: "https://developer.zendesk.com/documentation/webhooks/anatomy-of-a-webhook-request/",
        ..UNKNOWN
    },
    Identity {
        scheme: "typeform",
        says: "the id is unique to the webhook, whether to the event is not said",
        docs: "https://www.typeform.com/developers/webhooks/example-payload/",
        ..UNKNOWN
    },
    Identity {
        scheme: "docusign",
        content: Content::Without(&["retryCount"]),
        says: "no id; envelope, event and time name a message, but one envelope may cause several at once. \
               `retryCount` counts the attempts",
        docs: "https://developers.docusign.com/platform/webhooks/connect/json-sim-event-model",
        ..UNKNOWN
    },
    Identity {
        scheme: "calendly",
        dated: "json:created_at",
        says: "no id; each event has its time",
        docs: "https://developer.calendly.com/receive-data-from-scheduled-events-in-real-time-with-webhook-subscriptions",
        ..UNKNOWN
    },
    Identity {
        scheme: "box",
        says: "the id in the body names one event, and stays the same across retries; the header's changes",
        docs: "https://developer.box.com/guides/webhooks/v2/",
        ..UNIQUE
    },
    Identity {
        scheme: "dropbox",
        window_s: LOOK_WINDOW_S,
        says: "neither id nor time: the body names the accounts that changed, and is the same for each change. \
               Failed requests are sent again for about ten minutes",
        docs: "https://www.dropbox.com/developers/reference/webhooks",
        ..UNKNOWN
    },
    Identity {
        scheme: "asana",
        dated: "json:events.0.created_at",
        says: "no id; each event has its time. Heartbeats are all the same",
        docs: "https://developers.asana.com/docs/webhooks-guide",
        ..UNKNOWN
    },
    Identity {
        scheme: "notion",
        says: "the id names one event; `attempt_number` counts the attempts",
        docs: "https://developers.notion.com/reference/webhooks-events-delivery",
        ..UNIQUE
    },
    Identity {
        scheme: "monday",
        says: "the id names what triggered the event; it is not called unique",
        docs: "https://developer.monday.com/api-reference/reference/webhooks",
        ..UNKNOWN
    },
    Identity {
        scheme: "msgraph",
        window_s: LOOK_WINDOW_S,
        says: "a notification may have an id, and need not; a resource's version is named by its etag, if it is sent",
        docs: "https://learn.microsoft.com/en-us/graph/api/resources/changenotification",
        ..UNKNOWN
    },
    Identity {
        scheme: "okta",
        says: "the id names one delivery, so that receivers can deduplicate",
        docs: "https://developer.okta.com/docs/concepts/event-hooks/",
        ..UNKNOWN
    },
    Identity {
        scheme: "sns",
        says: "the id names one message, and is the same when the message is sent again",
        docs: "https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html",
        ..UNIQUE
    },
    Identity {
        scheme: "eventgrid",
        says: "the id names one event; a request may have several",
        docs: "https://learn.microsoft.com/en-us/azure/event-grid/event-schema",
        ..UNKNOWN
    },
    Identity { scheme: "hmac-sha1", says: YOURS, ..UNKNOWN },
    Identity { scheme: "hmac-sha256", says: YOURS, ..UNKNOWN },
    Identity { scheme: "hmac-sha512", says: YOURS, ..UNKNOWN },
    Identity { scheme: "bearer", says: YOURS, ..UNKNOWN },
    Identity { scheme: "basic", says: YOURS, ..UNKNOWN },
    Identity {
        scheme: "cloudevents",
        says: "source and id together name one event",
        docs: "https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md#id",
        ..UNKNOWN
    },
    Identity { scheme: "recipe", says: YOURS, ..UNKNOWN },
    Identity { scheme: "none", says: YOURS, ..UNKNOWN },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::preset::all;
    use crate::signature::template;

    #[test]
    fn every_preset_has_one_identity_with_a_source_for_it() {
        let presets: Vec<_> = all().map(|preset| preset.name).collect();
        let identities: Vec<_> = IDENTITIES.iter().map(|identity| identity.scheme).collect();
        assert_eq!(identities, presets);
        for identity in IDENTITIES {
            let Identity { scheme, says, docs, dated, .. } = identity;
            assert!(!says.is_empty(), "{scheme}");
            assert!(
                docs.starts_with("https://") || *says == YOURS,
                "{scheme} names no documentation"
            );
            assert!(template::places(dated).is_ok(), "{scheme}");
        }
    }
}

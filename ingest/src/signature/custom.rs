//! The schemes that a recipe cannot express.

use super::certificate::Served;
use super::key::{Algorithm, Key};
use super::preset::Described;
use super::{Scheme, Sent, Unverified, Verified};
use super::{adyen_item, mailgun, monday, msgraph, paypal, sns, standard_webhooks, twilio};
use everhook_journal::secret::Secret;

/// A scheme that needs code of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Custom {
    /// Standard Webhooks, symmetric and asymmetric.
    StandardWebhooks,
    /// Twilio: the URL and the sorted parameters.
    Twilio,
    /// Amazon SNS: fields of the body, by a certificate.
    Sns,
    /// PayPal: a checksum of the body, by a certificate.
    PayPal,
    /// Adyen: fields of every item of the body.
    AdyenItem,
    /// Mailgun: a token in the body.
    Mailgun,
    /// Microsoft Graph: a shared text in every item of the body.
    MsGraph,
    /// monday.com: a JSON Web Token beside the body.
    Monday,
}

impl Custom {
    pub(super) fn key(self, secret: &Secret) -> Option<Key> {
        let of = |algorithm| Key::of(secret.reference(), algorithm, secret.expose());
        match self {
            Self::StandardWebhooks => standard_webhooks::key(secret),
            Self::Twilio => of(Algorithm::HmacSha1),
            Self::Sns | Self::PayPal => None,
            Self::AdyenItem => adyen_item::key(secret),
            Self::Mailgun | Self::Monday => of(Algorithm::HmacSha256),
            Self::MsGraph => of(Algorithm::Token),
        }
    }

    pub(super) fn is_proved_by_certificate(self) -> bool {
        match self {
            Self::Sns | Self::PayPal => true,
            Self::StandardWebhooks
            | Self::Twilio
            | Self::AdyenItem
            | Self::Mailgun
            | Self::MsGraph
            | Self::Monday => false,
        }
    }

    pub(super) fn verify(self, scheme: &Scheme, sent: &Sent<'_>) -> Result<Verified, Unverified> {
        match self {
            Self::StandardWebhooks => standard_webhooks::verify(scheme, sent),
            Self::Twilio => twilio::verify(scheme, sent),
            Self::Sns => sns::verify(scheme, sent),
            Self::PayPal => paypal::verify(scheme, sent),
            Self::AdyenItem => adyen_item::verify(scheme, sent),
            Self::Mailgun => mailgun::verify(scheme, sent),
            Self::MsGraph => msgraph::verify(scheme, sent),
            Self::Monday => monday::verify(scheme, sent),
        }
    }

    /// Where ids and types stand that its verification does not read.
    pub(super) fn unread(self, described: &Described) -> [&'static str; 2] {
        match self {
            Self::Mailgun | Self::PayPal | Self::StandardWebhooks => ["", described.event_type],
            Self::Monday => [described.id, described.event_type],
            Self::Twilio | Self::Sns | Self::AdyenItem | Self::MsGraph => ["", ""],
        }
    }

    /// The headers that hold its signature or token.
    pub(super) fn proofs(self) -> &'static [&'static str] {
        match self {
            Self::StandardWebhooks => &["webhook-signature", "svix-signature"],
            Self::Twilio => &["x-twilio-signature"],
            Self::PayPal => &["paypal-transmission-sig"],
            Self::Monday => &["authorization"],
            // They stand in the body.
            Self::Sns | Self::AdyenItem | Self::Mailgun | Self::MsGraph => &[],
        }
    }

    /// Whether its verification says which parts of a body are its events.
    pub(crate) fn names_items(self) -> bool {
        match self {
            Self::Sns | Self::AdyenItem | Self::MsGraph => true,
            Self::StandardWebhooks | Self::Twilio | Self::PayPal | Self::Mailgun | Self::Monday => {
                false
            }
        }
    }

    pub(super) fn certificate(
        self,
        scheme: &Scheme,
        sent: &Sent<'_>,
    ) -> Result<Option<Served>, Unverified> {
        match self {
            Self::Sns => sns::certificate(scheme, sent).map(Some),
            Self::PayPal => paypal::certificate(scheme, sent).map(Some),
            Self::StandardWebhooks
            | Self::Twilio
            | Self::AdyenItem
            | Self::Mailgun
            | Self::MsGraph
            | Self::Monday => Ok(None),
        }
    }

    /// Whether the body's bytes, or the part of them that tells events apart, are signed.
    pub(crate) fn signs_body(self) -> bool {
        match self {
            Self::StandardWebhooks | Self::Twilio | Self::AdyenItem => true,
            Self::Sns | Self::PayPal | Self::Mailgun | Self::MsGraph | Self::Monday => false,
        }
    }

    pub(super) fn signs_in_headers(self) -> bool {
        match self {
            Self::StandardWebhooks | Self::Twilio | Self::Monday => true,
            Self::Sns | Self::PayPal | Self::AdyenItem | Self::Mailgun | Self::MsGraph => false,
        }
    }

    pub(super) fn sign(
        self,
        scheme: &Scheme,
        id: &str,
        event_type: Option<&str>,
        sent: &Sent<'_>,
    ) -> Vec<(String, String)> {
        match self {
            Self::StandardWebhooks => standard_webhooks::sign(scheme, id, event_type, sent),
            Self::Twilio => twilio::sign(scheme, id, sent),
            Self::Monday => monday::sign(scheme, sent),
            Self::Sns | Self::PayPal | Self::AdyenItem | Self::Mailgun | Self::MsGraph => {
                Vec::new()
            }
        }
    }
}

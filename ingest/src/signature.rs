//! Whether a request's exact bytes come from who it says they do. No clock and no network in here.

mod github;
mod hmac_sha256;
mod standard_webhooks;

use everhook_journal::Timestamp;
use everhook_journal::event::IdOrigin;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::request::{HeaderFault, Headers};
use crate::secret::Secret;

pub use github::Github;
pub use hmac_sha256::{HmacSha256, ID_HEADERS, SIGNATURE_HEADERS, TYPE_HEADERS};
pub use standard_webhooks::{StandardWebhooks, TOLERANCE};

/// How many signatures of one request are tried.
const SIGNATURES_MAX: usize = 8;

/// How a source's webhooks are verified.
#[derive(Debug, Clone)]
pub enum Scheme {
    /// GitHub's.
    Github(Github),
    /// Standard Webhooks, version 1.
    StandardWebhooks(StandardWebhooks),
    /// HMAC-SHA256 of the body in a header.
    HmacSha256(HmacSha256),
    /// Nothing is verified: the configuration says so in words.
    None(HmacSha256),
}

/// What a verified request says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claims {
    /// The reference of the secret that matched.
    pub secret: Option<String>,
    /// The sender's id of the delivery.
    pub delivery_id: Option<(String, IdOrigin)>,
    /// What the sender calls this kind of event.
    pub event_type: Option<String>,
}

/// Why a request is not verified. For the log: the sender learns only that it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    /// A header that the scheme needs is missing.
    #[error("a signature header is missing")]
    Missing,
    /// A header that the scheme needs occurs twice or is not text.
    #[error("a signature header is ambiguous")]
    Ambiguous,
    /// A header is not of the scheme's form.
    #[error("a signature header is malformed")]
    Malformed,
    /// The time in the request is too far from now.
    #[error("the timestamp is outside the tolerance")]
    Stale,
    /// No secret gives this signature for these bytes.
    #[error("no secret matches")]
    NoMatch,
}

impl From<HeaderFault> for Unverified {
    fn from(fault: HeaderFault) -> Self {
        match fault {
            HeaderFault::Missing => Self::Missing,
            HeaderFault::Ambiguous => Self::Ambiguous,
        }
    }
}

impl Scheme {
    /// Its name in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Github(_) => "github",
            Self::StandardWebhooks(_) => "standard-webhooks",
            Self::HmacSha256(_) => "hmac-sha256",
            Self::None(_) => "none",
        }
    }

    /// Verifies the exact bytes of a request, before anything in them is believed.
    pub fn verify(
        &self,
        headers: &Headers,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Claims, Unverified> {
        match self {
            Self::Github(scheme) => scheme.verify(headers, body),
            Self::StandardWebhooks(scheme) => scheme.verify(headers, body, now),
            Self::HmacSha256(scheme) => scheme.verify(headers, body),
            Self::None(scheme) => Ok(scheme.claims(headers, None)),
        }
    }
}

impl Scheme {
    /// The headers with which a sender would send this body, signed with the newest secret.
    pub fn sign(
        &self,
        id: &str,
        event_type: Option<&str>,
        body: &[u8],
        now: Timestamp,
    ) -> Vec<(String, String)> {
        let mut headers = match self {
            Self::Github(scheme) => scheme.sign(id, body),
            Self::StandardWebhooks(scheme) => scheme.sign(id, body, now),
            Self::HmacSha256(scheme) | Self::None(scheme) => scheme.sign(id, body),
        };
        let type_header = match self {
            Self::Github(_) => Some("x-github-event"),
            Self::StandardWebhooks(_) => None,
            Self::HmacSha256(scheme) | Self::None(scheme) => {
                scheme.type_headers.first().map(String::as_str)
            }
        };
        let event_type = type_header.zip(event_type);
        headers.extend(event_type.map(|(name, value)| (name.to_owned(), value.to_owned())));
        headers
    }
}

/// A key ready to verify with.
#[derive(Clone)]
pub struct Key {
    reference: String,
    mac: Hmac<Sha256>,
}

impl Key {
    /// The key of a secret; `None` if it is empty, because anybody can sign with nothing.
    pub fn new(secret: &Secret, bytes: &[u8]) -> Option<Self> {
        let mac = Hmac::new_from_slice(bytes).expect("HMAC takes a key of any length");
        (!bytes.is_empty()).then(|| Self { reference: secret.reference().to_owned(), mac })
    }

    /// Whether this is the signature of these parts, one after the other. Takes the same time for any.
    fn signed(&self, parts: &[&[u8]], signature: &[u8]) -> bool {
        let mut mac = self.mac.clone();
        parts.iter().for_each(|part| mac.update(part));
        mac.verify_slice(signature).is_ok()
    }

    /// The signature of these parts, one after the other.
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = self.mac.clone();
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.reference)
    }
}

/// The reference of the first key with which one of the signatures fits.
fn matching(keys: &[Key], parts: &[&[u8]], signatures: &[Vec<u8>]) -> Result<String, Unverified> {
    let fits = |key: &&Key| signatures.iter().any(|signature| key.signed(parts, signature));
    keys.iter().find(fits).map(|key| key.reference.clone()).ok_or(Unverified::NoMatch)
}

/// 32 bytes in hexadecimal, either case.
fn hex(text: &str) -> Option<Vec<u8>> {
    data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok().filter(|b| b.len() == 32)
}

#[cfg(test)]
pub(crate) mod tests {
    use aws_lambda_events::http::{HeaderMap, HeaderName};

    use super::*;

    /// Headers from pairs.
    pub(crate) fn headers(pairs: &[(&str, &str)]) -> Headers {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        Headers::new(map)
    }

    /// A key from text.
    pub(crate) fn key(secret: &str) -> Key {
        Key::new(&Secret::new("env:TEST", secret), secret.as_bytes()).unwrap()
    }

    #[test]
    fn an_empty_key_is_refused() {
        assert!(Key::new(&Secret::new("env:TEST", ""), b"").is_none());
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", key("canary-canary")), "Key(env:TEST)");
    }
}

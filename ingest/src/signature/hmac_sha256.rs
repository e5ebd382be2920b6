//! HMAC-SHA256 of the body, in hexadecimal, in a header of the source's choice.

use everhook_journal::event::IdOrigin;

use super::{Claims, Key, Unverified, hex, matching};
use crate::request::{HeaderFault, Headers};

/// The headers that hold the signature if the configuration names none.
pub const SIGNATURE_HEADERS: [&str; 2] = ["x-webhook-signature", "x-hub-signature-256"];

/// The headers that may hold a delivery's id if the configuration names none.
pub const ID_HEADERS: [&str; 4] =
    ["webhook-id", "x-webhook-id", "idempotency-key", "x-github-delivery"];

/// The headers that may hold the event's type if the configuration names none.
pub const TYPE_HEADERS: [&str; 3] = ["x-webhook-event", "x-event-type", "x-github-event"];

/// The plain scheme. `sha256=` before the digits is optional.
#[derive(Debug, Clone, Default)]
pub struct HmacSha256 {
    /// The source's keys, the newest first.
    pub keys: Vec<Key>,
    /// The headers that may hold the signature. If several are sent, all must fit.
    pub signature_headers: Vec<String>,
    /// The headers that may hold the delivery's id; the first that is sent counts.
    pub id_headers: Vec<String>,
    /// The headers that may hold the event's type; the first that is sent counts.
    pub type_headers: Vec<String>,
}

impl HmacSha256 {
    pub(super) fn verify(&self, headers: &Headers, body: &[u8]) -> Result<Claims, Unverified> {
        let mut secret = None;
        for name in &self.signature_headers {
            let header = match headers.only(name) {
                Ok(header) => header,
                Err(HeaderFault::Missing) => continue,
                Err(fault) => return Err(fault.into()),
            };
            let digits = header.strip_prefix("sha256=").unwrap_or(header);
            let signature = hex(digits).ok_or(Unverified::Malformed)?;
            secret = Some(matching(&self.keys, &[body], &[signature])?);
        }
        let secret = secret.ok_or(Unverified::Missing)?;
        Ok(self.claims(headers, Some(secret)))
    }

    pub(super) fn claims(&self, headers: &Headers, secret: Option<String>) -> Claims {
        let id = self.id_headers.iter().find_map(|name| headers.only(name).ok());
        let event_type = self.type_headers.iter().find_map(|name| headers.first(name));
        Claims {
            secret,
            delivery_id: id.map(|id| (id.to_owned(), IdOrigin::Unsigned)),
            event_type: event_type.map(str::to_owned),
        }
    }

    pub(super) fn sign(&self, id: &str, body: &[u8]) -> Vec<(String, String)> {
        let signature = self.keys.first().map(|key| key.sign(&[body]));
        let digits = signature.map(|bytes| data_encoding::HEXLOWER.encode(&bytes));
        let signed = self.signature_headers.first().zip(digits);
        let signed = signed.map(|(name, digits)| (name.clone(), format!("sha256={digits}")));
        let id = self.id_headers.first().map(|name| (name.clone(), id.to_owned()));
        signed.into_iter().chain(id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{headers, key};
    use super::*;

    // The digest of GitHub's own example.
    const SECRET: &str = "It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    const SIGNATURE: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn verify(pairs: &[(&str, &str)]) -> Result<Claims, Unverified> {
        let scheme = HmacSha256 {
            keys: vec![key(SECRET)],
            signature_headers: SIGNATURE_HEADERS.map(String::from).to_vec(),
            id_headers: ID_HEADERS.map(String::from).to_vec(),
            type_headers: TYPE_HEADERS.map(String::from).to_vec(),
        };
        scheme.verify(&headers(pairs), BODY)
    }

    #[test]
    fn either_header_with_or_without_prefix_is_verified() {
        let prefixed = format!("sha256={SIGNATURE}");
        for name in SIGNATURE_HEADERS {
            assert!(verify(&[(name, SIGNATURE)]).is_ok());
            assert!(verify(&[(name, &prefixed)]).is_ok());
        }
    }

    #[test]
    fn one_good_signature_does_not_cover_a_bad_one() {
        let bad = "0".repeat(64);
        let both = [("x-webhook-signature", SIGNATURE), ("x-hub-signature-256", &*bad)];
        assert_eq!(verify(&both), Err(Unverified::NoMatch));
    }

    #[test]
    fn a_missing_and_an_empty_signature_are_refused() {
        assert_eq!(verify(&[]), Err(Unverified::Missing));
        assert_eq!(verify(&[("x-webhook-signature", "")]), Err(Unverified::Malformed));
    }

    #[test]
    fn id_and_type_are_found() {
        let pairs = [
            ("x-webhook-signature", SIGNATURE),
            ("X-GitHub-Delivery", "d-1"),
            ("X-GitHub-Event", "push"),
        ];
        let claims = verify(&pairs).unwrap();
        assert_eq!(claims.delivery_id, Some(("d-1".into(), IdOrigin::Unsigned)));
        assert_eq!(claims.event_type.as_deref(), Some("push"));
    }
}

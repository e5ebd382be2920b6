//! GitHub: HMAC-SHA256 of the body, in hexadecimal, in `X-Hub-Signature-256: sha256=…`.

use everhook_journal::event::IdOrigin;

use super::{Claims, Key, Unverified, hex, matching};
use crate::request::Headers;

/// GitHub's scheme. The older SHA-1 header is not accepted.
#[derive(Debug, Clone)]
pub struct Github {
    /// The source's keys, the newest first.
    pub keys: Vec<Key>,
}

impl Github {
    pub(super) fn verify(&self, headers: &Headers, body: &[u8]) -> Result<Claims, Unverified> {
        let header = headers.only("x-hub-signature-256")?;
        let digits = header.strip_prefix("sha256=").ok_or(Unverified::Malformed)?;
        let signature = hex(digits).ok_or(Unverified::Malformed)?;
        let secret = matching(&self.keys, &[body], &[signature])?;
        let delivery = headers.only("x-github-delivery").ok();
        Ok(Claims {
            secret: Some(secret),
            delivery_id: delivery.map(|id| (id.to_owned(), IdOrigin::Unsigned)),
            event_type: headers.first("x-github-event").map(str::to_owned),
        })
    }

    pub(super) fn sign(&self, id: &str, body: &[u8]) -> Vec<(String, String)> {
        let signature = self.keys.first().map(|key| key.sign(&[body])).unwrap_or_default();
        let digits = data_encoding::HEXLOWER.encode(&signature);
        vec![
            ("x-hub-signature-256".into(), format!("sha256={digits}")),
            ("x-github-delivery".into(), id.to_owned()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{headers, key};
    use super::*;

    // GitHub's own example: docs.github.com, "Validating webhook deliveries".
    const SECRET: &str = "It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    const SIGNATURE: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn verify(header: &str, body: &[u8]) -> Result<Claims, Unverified> {
        let scheme = Github { keys: vec![key("the secret before"), key(SECRET)] };
        scheme.verify(&headers(&[("X-Hub-Signature-256", header)]), body)
    }

    #[test]
    fn githubs_own_example_is_verified() {
        assert!(verify(&format!("sha256={SIGNATURE}"), BODY).is_ok());
        assert!(verify(&format!("sha256={}", SIGNATURE.to_uppercase()), BODY).is_ok());
    }

    #[test]
    fn anything_else_is_not() {
        let whole = format!("sha256={SIGNATURE}");
        assert_eq!(verify(&whole, b"Hello, World?"), Err(Unverified::NoMatch));
        assert_eq!(verify(SIGNATURE, BODY), Err(Unverified::Malformed));
        assert_eq!(verify("", BODY), Err(Unverified::Malformed));
        assert_eq!(verify("sha256=", BODY), Err(Unverified::Malformed));
        assert_eq!(verify(&whole[..whole.len() - 2], BODY), Err(Unverified::Malformed));
        assert_eq!(verify(&format!("{whole},{whole}"), BODY), Err(Unverified::Malformed));
        assert_eq!(verify(&format!("sha1={SIGNATURE}"), BODY), Err(Unverified::Malformed));
    }

    #[test]
    fn a_missing_header_and_two_of_them_are_refused() {
        let scheme = Github { keys: vec![key(SECRET)] };
        let signature = format!("sha256={SIGNATURE}");
        let twice = [("X-Hub-Signature-256", &*signature), ("x-hub-signature-256", &*signature)];
        assert_eq!(scheme.verify(&headers(&[]), BODY), Err(Unverified::Missing));
        assert_eq!(scheme.verify(&headers(&twice), BODY), Err(Unverified::Ambiguous));
    }
}

//! Standard Webhooks, version 1: HMAC-SHA256 over id, timestamp and body, in base64.

use std::time::Duration;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use everhook_journal::Timestamp;
use everhook_journal::event::IdOrigin;

use super::{Claims, Key, SIGNATURES_MAX, Unverified, matching};
use crate::request::Headers;
use crate::secret::Secret;

/// Secrets are handed out with and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How far a timestamp may be from now if the configuration does not say.
pub const TOLERANCE: Duration = Duration::from_secs(300);

/// The scheme of standardwebhooks.com.
#[derive(Debug, Clone)]
pub struct StandardWebhooks {
    /// The source's keys, the newest first.
    pub keys: Vec<Key>,
    /// How far a timestamp may be from now, before or after.
    pub tolerance: Duration,
}

impl StandardWebhooks {
    /// The key of a secret: what stands after `whsec_`, in base64.
    pub fn key(secret: &Secret) -> Option<Key> {
        let text = std::str::from_utf8(secret.expose()).ok()?;
        let bytes = BASE64.decode(text.strip_prefix("whsec_").unwrap_or(text)).ok()?;
        Key::new(secret, &bytes)
    }

    pub(super) fn verify(
        &self,
        headers: &Headers,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Claims, Unverified> {
        let id = headers.only("webhook-id")?;
        let time = headers.only("webhook-timestamp")?;
        let header = headers.only("webhook-signature")?;
        // The signature covers the header's text, so only one text may stand for a time.
        let canonical = time.len() <= 12 && time.bytes().all(|byte| byte.is_ascii_digit());
        let seconds: i64 = time.parse().ok().filter(|_| canonical).ok_or(Unverified::Malformed)?;
        if id.is_empty() {
            return Err(Unverified::Malformed);
        }
        let signatures: Vec<_> = header
            .split(' ')
            .filter_map(|entry| entry.strip_prefix("v1,"))
            .take(SIGNATURES_MAX)
            .filter_map(|signature| BASE64.decode(signature).ok())
            .filter(|signature| signature.len() == 32)
            .collect();
        if signatures.is_empty() {
            return Err(Unverified::Malformed);
        }
        let parts = [id.as_bytes(), b".", time.as_bytes(), b".", body];
        let secret = matching(&self.keys, &parts, &signatures)?;
        // Checked after the signature: a stale answer then says nothing about unsigned requests.
        let sent = Timestamp::from_millis(seconds * 1000);
        if now.since(sent).max(sent.since(now)) > self.tolerance + Duration::from_millis(999) {
            return Err(Unverified::Stale);
        }
        Ok(Claims {
            secret: Some(secret),
            delivery_id: Some((id.to_owned(), IdOrigin::Signed)),
            event_type: None,
        })
    }

    pub(super) fn sign(&self, id: &str, body: &[u8], now: Timestamp) -> Vec<(String, String)> {
        let time = (now.as_millis() / 1000).to_string();
        let parts = [id.as_bytes(), b".", time.as_bytes(), b".", body];
        let signature = self.keys.first().map(|key| key.sign(&parts)).unwrap_or_default();
        vec![
            ("webhook-id".into(), id.to_owned()),
            ("webhook-timestamp".into(), time),
            ("webhook-signature".into(), format!("v1,{}", BASE64.encode(signature))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::headers;
    use super::*;

    // The vector of the Standard Webhooks libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIME: &str = "1614265330";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn verify(id: &str, time: &str, signature: &str, now: i64) -> Result<Claims, Unverified> {
        let keys = vec![StandardWebhooks::key(&Secret::new("env:TEST", SECRET)).unwrap()];
        let scheme = StandardWebhooks { keys, tolerance: TOLERANCE };
        let pairs =
            [("webhook-id", id), ("webhook-timestamp", time), ("webhook-signature", signature)];
        scheme.verify(&headers(&pairs), BODY, Timestamp::from_millis(now * 1000))
    }

    #[test]
    fn the_published_vector_is_verified_and_its_id_is_signed() {
        let claims = verify(ID, TIME, SIGNATURE, 1_614_265_330).unwrap();
        assert_eq!(claims.delivery_id, Some((ID.into(), IdOrigin::Signed)));
    }

    #[test]
    fn the_window_is_two_sided() {
        assert!(verify(ID, TIME, SIGNATURE, 1_614_265_330 + 300).is_ok());
        assert!(verify(ID, TIME, SIGNATURE, 1_614_265_330 - 300).is_ok());
        assert_eq!(verify(ID, TIME, SIGNATURE, 1_614_265_330 + 301), Err(Unverified::Stale));
        assert_eq!(verify(ID, TIME, SIGNATURE, 1_614_265_330 - 301), Err(Unverified::Stale));
    }

    #[test]
    fn one_of_several_signatures_is_enough_within_bounds() {
        let other = "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let several = format!("{other} v2,zzz {SIGNATURE}");
        let too_many = format!("{} {SIGNATURE}", [other; SIGNATURES_MAX].join(" "));
        assert!(verify(ID, TIME, &several, 1_614_265_330).is_ok());
        assert_eq!(verify(ID, TIME, &too_many, 1_614_265_330), Err(Unverified::NoMatch));
    }

    #[test]
    fn another_id_time_or_form_is_refused() {
        let now = 1_614_265_330;
        assert_eq!(verify("msg_other", TIME, SIGNATURE, now), Err(Unverified::NoMatch));
        assert_eq!(verify(ID, "1614265331", SIGNATURE, now), Err(Unverified::NoMatch));
        assert_eq!(verify(ID, "+1614265330", SIGNATURE, now), Err(Unverified::Malformed));
        assert_eq!(verify(ID, TIME, &SIGNATURE[3..], now), Err(Unverified::Malformed));
        assert_eq!(verify(ID, TIME, "", now), Err(Unverified::Malformed));
        assert_eq!(
            verify(ID, TIME, &SIGNATURE.replace("v1", "v1a"), now),
            Err(Unverified::Malformed)
        );
    }

    #[test]
    fn a_secret_of_nothing_is_no_key() {
        assert!(StandardWebhooks::key(&Secret::new("env:TEST", "whsec_")).is_none());
        assert!(StandardWebhooks::key(&Secret::new("env:TEST", "whsec_!!")).is_none());
    }
}

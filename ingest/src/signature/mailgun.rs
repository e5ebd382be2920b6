//! Mailgun: HMAC-SHA256 over a timestamp and a token, in the body itself. The event is not signed.

use everhook_journal::event::IdOrigin;
use serde::Deserialize;

use super::encoding::Encoding;
use super::key::Signature;
use super::time::{self, Unit};
use super::{Claims, Scheme, Sent, Unverified, matching, template};

/// How many digits a timestamp has: none can then pass for a part of the token.
const TIMESTAMP_DIGITS: usize = 10;

#[derive(Debug, Deserialize)]
struct Body {
    signature: Signed,
}

/// What proves the sender. A field that occurs twice makes it unreadable.
#[derive(Debug, Deserialize)]
struct Signed {
    timestamp: String,
    token: String,
    signature: String,
}

pub(super) fn verify(scheme: &Scheme, sent: &Sent<'_>) -> Result<Claims, Unverified> {
    let body: Body = serde_json::from_slice(sent.body).map_err(|_| Unverified::Malformed)?;
    let Signed { timestamp, token, signature } = body.signature;
    let sent_at = Unit::Seconds.read(&timestamp)?;
    if timestamp.len() != TIMESTAMP_DIGITS || token.is_empty() {
        return Err(Unverified::Malformed);
    }
    let decoded = template::decoded(Encoding::Hex, &signature, Some(32));
    let signature = Signature::new(decoded.ok_or(Unverified::Malformed)?);
    let parts = [timestamp.as_bytes(), token.as_bytes()];
    let secret = matching(scheme.keys(), &parts, &[signature])?;
    if let Some(tolerance) = scheme.settings().tolerance {
        time::check(sent_at, sent.now, tolerance)?;
    }
    Ok(Claims {
        secret: Some(secret),
        delivery_id: Some((token, IdOrigin::Signed)),
        ..Claims::default()
    })
}

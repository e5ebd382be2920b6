//! Mailgun: HMAC-SHA256 over a timestamp and a token, in the body itself. The event is not signed.

use everhook_journal::event::{Covers, IdOrigin};

use super::encoding::Encoding;
use super::key::Signature;
use super::members::Members;
use super::time::{self, Unit};
use super::{Claims, Scheme, Sent, Unverified, Verified, matching, template};

/// How many digits a timestamp has: none can then pass for a part of the token.
const TIMESTAMP_DIGITS: usize = 10;

pub(super) fn verify(scheme: &Scheme, sent: &Sent<'_>) -> Result<Verified, Unverified> {
    let body = scheme.document(sent.body);
    let members = Members::of(&body);
    let proof = members.and_then(|members| Members::of(members.get("signature")?.get().as_bytes()));
    let proof = proof.ok_or(Unverified::Malformed)?;
    let field =
        |name| proof.text(name).filter(|text| !text.is_empty()).ok_or(Unverified::Malformed);
    let (timestamp, token, signature) = (field("timestamp")?, field("token")?, field("signature")?);
    let sent_at = Unit::Seconds.read(&timestamp)?;
    if timestamp.len() != TIMESTAMP_DIGITS {
        return Err(Unverified::Malformed);
    }
    let decoded = template::decoded(Encoding::Hex, &signature, Some(32));
    let signature = Signature::new(decoded.ok_or(Unverified::Malformed)?);
    let parts = [timestamp.as_bytes(), token.as_bytes()];
    let secret = matching(scheme.keys(), &parts, &[signature])?;
    if let Some(tolerance) = scheme.settings().tolerance {
        time::check(sent_at, sent.now, tolerance)?;
    }
    let claims = Claims {
        secret: Some(secret),
        delivery_id: Some((token, IdOrigin::Signed)),
        ..Claims::default()
    };
    Ok(Verified::new(body, Some(Covers::Nothing), claims))
}

//! monday.com: a JSON Web Token (HS256) in `Authorization`. It does not cover the body.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use everhook_journal::Timestamp;
use serde::Deserialize;

use super::key::Signature;
use super::{Claims, Scheme, Sent, Unverified, matching, time};

#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
}

#[derive(Debug, Deserialize)]
struct Payload {
    exp: Option<i64>,
    iat: Option<i64>,
}

pub(super) fn verify(scheme: &Scheme, sent: &Sent<'_>) -> Result<Claims, Unverified> {
    let token = sent.headers.only("authorization")?;
    let token = token.strip_prefix("Bearer ").unwrap_or(token);
    let (signed, signature) = token.rsplit_once('.').ok_or(Unverified::Malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(Unverified::Malformed)?;
    let header: Header = json(header)?;
    // The algorithm is ours: a token that names another one is none.
    if header.alg != "HS256" {
        return Err(Unverified::Malformed);
    }
    let signature = BASE64.decode(signature).map_err(|_| Unverified::Malformed)?;
    let signature = Signature::new(signature);
    let secret = matching(scheme.keys(), &[signed.as_bytes()], &[signature])?;
    let payload: Payload = json(payload)?;
    let seconds = |seconds: i64| Timestamp::from_millis(seconds.saturating_mul(1000));
    if payload.exp.is_some_and(|end| seconds(end) < sent.now) {
        return Err(Unverified::Stale);
    }
    match (scheme.settings().tolerance, payload.iat) {
        (Some(tolerance), Some(from)) => time::check(seconds(from), sent.now, tolerance)?,
        (Some(_), None) if payload.exp.is_none() => return Err(Unverified::Malformed),
        (Some(_) | None, _) => {}
    }
    Ok(Claims { secret: Some(secret), ..Claims::default() })
}

pub(super) fn sign(scheme: &Scheme, sent: &Sent<'_>) -> Vec<(String, String)> {
    let seconds = sent.now.as_millis() / 1000;
    let header = BASE64.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
    let payload = BASE64.encode(format!(r#"{{"iat":{seconds},"exp":{}}}"#, seconds + 300));
    let signed = format!("{header}.{payload}");
    let key = scheme.keys().first();
    let signature = key.map(|key| key.sign(&[signed.as_bytes()])).unwrap_or_default();
    vec![("authorization".to_owned(), format!("{signed}.{}", BASE64.encode(signature)))]
}

fn json<T: for<'de> Deserialize<'de>>(part: &str) -> Result<T, Unverified> {
    let bytes = BASE64.decode(part).map_err(|_| Unverified::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| Unverified::Malformed)
}

//! monday.com: a JSON Web Token (HS256) in `Authorization`. It does not cover the body.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use everhook_journal::Timestamp;
use everhook_journal::event::Covers;
use serde::Deserialize;

use super::key::Signature;
use super::{Claims, Scheme, Sent, Unverified, Verified, matching, time};

#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
}

#[derive(Debug, Deserialize)]
struct Payload {
    exp: Option<f64>,
    iat: Option<f64>,
}

pub(super) fn verify(scheme: &Scheme, sent: &Sent<'_>) -> Result<Verified, Unverified> {
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
    // A fraction of a second is allowed, and kept.
    let seconds = |seconds: f64| Timestamp::from_millis((seconds * 1000.0) as i64);
    if payload.exp.is_some_and(|end| seconds(end) < sent.now) {
        return Err(Unverified::Stale);
    }
    match (scheme.settings().tolerance, payload.iat) {
        (Some(tolerance), Some(from)) => {
            time::check(
                time::Moment::new(seconds(from), from.fract() == 0.0),
                sent.now,
                tolerance,
            )?;
        }
        (Some(_), None) if payload.exp.is_none() => return Err(Unverified::Malformed),
        (Some(_) | None, _) => {}
    }
    let claims = Claims { secret: Some(secret), ..Claims::default() };
    Ok(Verified::new(scheme.document(sent.body), Some(Covers::Nothing), claims))
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

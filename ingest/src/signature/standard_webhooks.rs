//! Standard Webhooks: HMAC-SHA256 (`v1`) or Ed25519 (`v1a`) over id, timestamp and body, in base64.

use everhook_journal::event::IdOrigin;

use super::encoding::{Encoding, KeyEncoding};
use super::key::{Algorithm, Key, Signature};
use super::preset::Way;
use super::recipe::ENTRIES_MAX;
use super::time::Unit;
use super::{Claims, SIGNATURES_MAX, Scheme, Sent, Unverified, Verified, matching, template, time};
use everhook_journal::secret::Secret;

/// What the names of the headers begin with: the standard's, and those of who wrote it.
const PREFIXES: [&str; 2] = ["webhook", "svix"];

/// The key of a secret: what stands after `whsec_`, or the public key after `whpk_`, in base64.
pub(super) fn key(secret: &Secret) -> Option<Key> {
    let (text, algorithm) = match secret.expose().strip_prefix(b"whpk_") {
        Some(text) => (text, Algorithm::Ed25519),
        None => (secret.expose(), Algorithm::HmacSha256),
    };
    Key::of(secret.reference(), algorithm, &KeyEncoding::Whsec.decode(text)?)
}

pub(super) fn verify(scheme: &Scheme, sent: &Sent<'_>) -> Result<Verified, Unverified> {
    let is_sent = |prefix: &&str| sent.headers.has(&format!("{prefix}-signature"));
    let prefix = PREFIXES.into_iter().find(is_sent).ok_or(Unverified::Missing)?;
    let id = sent.headers.only(&format!("{prefix}-id"))?;
    let timestamp = sent.headers.only(&format!("{prefix}-timestamp"))?;
    let header = sent.headers.only(&format!("{prefix}-signature"))?;
    let sent_at = Unit::Seconds.read(timestamp)?;
    // Neither text can then reach over into the next part of what is signed.
    if id.is_empty() || id.contains('.') {
        return Err(Unverified::Malformed);
    }
    let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", sent.body];
    let secret = matching_of(scheme.keys(), &parts, header)?;
    // Checked after the signature: a stale answer then says nothing about unsigned requests.
    if let Some(tolerance) = scheme.settings().tolerance {
        time::check(sent_at, sent.now, tolerance)?;
    }
    let claims = Claims {
        secret: Some(secret),
        delivery_id: Some((id.to_owned(), IdOrigin::Signed)),
        ..Claims::default()
    };
    Ok(Verified::new(scheme.document(sent.body), None, claims))
}

pub(super) fn sign(
    scheme: &Scheme,
    id: &str,
    event_type: Option<&str>,
    sent: &Sent<'_>,
) -> Vec<(String, String)> {
    let timestamp = Unit::Seconds.write(sent.now);
    let parts = [id.as_bytes(), b".", timestamp.as_bytes(), b".", sent.body];
    let signature = scheme.keys().first().map(|key| key.sign(&parts)).unwrap_or_default();
    let mut headers = vec![
        ("webhook-id".into(), id.to_owned()),
        ("webhook-timestamp".into(), timestamp),
        ("webhook-signature".into(), format!("v1,{}", Encoding::Base64.encode(&signature))),
    ];
    let types = match &scheme.preset().way {
        Way::Custom(_, described) => described.event_type,
        Way::Recipe(_) | Way::Open(_) => "",
    };
    let header = types.strip_prefix("header:");
    headers.extend(header.zip(event_type).map(|(name, text)| (name.to_owned(), text.to_owned())));
    headers
}

/// Each version's signatures with its own keys: a public key is never a secret one.
/// What is of no known version, or no signature at all, proves nothing and spoils nothing.
fn matching_of(keys: &[Key], parts: &[&[u8]], header: &str) -> Result<String, Unverified> {
    let mut judged = Err(Unverified::Malformed);
    let mut tried = 0;
    for entry in header.split(' ').take(ENTRIES_MAX) {
        let Some((version, text)) = entry.split_once(',') else { continue };
        let (algorithm, bytes) = match version {
            "v1" => (Algorithm::HmacSha256, 32),
            "v1a" => (Algorithm::Ed25519, 64),
            _ => continue,
        };
        let Some(decoded) = template::decoded(Encoding::Base64, text, Some(bytes)) else {
            continue;
        };
        tried += 1;
        if tried > SIGNATURES_MAX {
            break;
        }
        let of_version = keys.iter().filter(|key| key.algorithm() == algorithm);
        let of_version: Vec<_> = of_version.cloned().collect();
        judged = matching(&of_version, parts, &[Signature::new(decoded)]);
        if judged.is_ok() {
            break;
        }
    }
    judged
}

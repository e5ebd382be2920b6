//! PayPal: RSA over ids, time and a checksum of the body, with a certificate that PayPal serves.

use everhook_journal::event::IdOrigin;

use super::encoding::Encoding;
use super::key::{Algorithm, Key, Signature};
use super::time::{self, Unit};
use super::{Claims, Scheme, Sent, Unverified, certificate, matching, template};

/// The hosts that serve PayPal's certificates.
const HOSTS: [&str; 4] =
    ["api.paypal.com", "api.sandbox.paypal.com", "api-m.paypal.com", "api-m.sandbox.paypal.com"];

/// The only algorithm that is accepted, whatever a request says.
const ALGORITHM: &str = "SHA256withRSA";

pub(super) fn verify(scheme: &Scheme, sent: &Sent<'_>) -> Result<Claims, Unverified> {
    let id = sent.headers.only("paypal-transmission-id")?;
    let time = sent.headers.only("paypal-transmission-time")?;
    let header = sent.headers.only("paypal-transmission-sig")?;
    let webhook_id = scheme.settings().webhook_id.as_deref().unwrap_or_default();
    let algorithm = sent.headers.only("paypal-auth-algo")?;
    let is_one = |text: &str| !text.is_empty() && !text.contains('|');
    if algorithm != ALGORITHM || ![id, time, webhook_id].into_iter().all(is_one) {
        return Err(Unverified::Malformed);
    }
    certificate_url(sent)?;
    let pem = sent.certificate.ok_or(Unverified::Certificate)?;
    let key = certificate::key_of(pem, sent.now)?;
    let key = Key::of("the certificate", Algorithm::RsaSha256, &key);
    let decoded = template::decoded(Encoding::Base64, header, None);
    let signature = Signature::new(decoded.ok_or(Unverified::Malformed)?);
    let text = format!("{id}|{time}|{webhook_id}|{}", crc32fast::hash(sent.body));
    let keys = [key.ok_or(Unverified::Certificate)?];
    let secret = matching(&keys, &[text.as_bytes()], &[signature])?;
    if let Some(tolerance) = scheme.settings().tolerance {
        time::check(Unit::Rfc3339.read(time)?, sent.now, tolerance)?;
    }
    // The checksum is easily made to fit another body: the signed id is the transmission's.
    Ok(Claims {
        secret: Some(secret),
        delivery_id: Some((id.to_owned(), IdOrigin::Signed)),
        ..Claims::default()
    })
}

pub(super) fn certificate_url(sent: &Sent<'_>) -> Result<String, Unverified> {
    let url = sent.headers.only("paypal-cert-url")?;
    let path = url.strip_prefix("https://").and_then(|rest| {
        let (host, path) = rest.split_at(rest.find('/')?);
        HOSTS.contains(&host).then_some(path)
    });
    let name = path.and_then(|path| path.strip_prefix("/v1/notifications/certs/"));
    let is_plain = |name: &str| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if name.is_some_and(is_plain) { Ok(url.to_owned()) } else { Err(Unverified::Certificate) }
}

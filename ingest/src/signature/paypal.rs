//! PayPal: RSA over ids, time and a checksum of the body, with a certificate that PayPal serves.

use everhook_journal::event::{Covers, IdOrigin};

use super::certificate::{self, Served};
use super::encoding::Encoding;
use super::key::{Algorithm, Key, Signature};
use super::time::{self, Unit};
use super::{Claims, Scheme, Sent, Unverified, Verified, matching, template};

/// The hosts that serve PayPal's certificates.
const HOSTS: [&str; 4] =
    ["api.paypal.com", "api.sandbox.paypal.com", "api-m.paypal.com", "api-m.sandbox.paypal.com"];

/// The names of its certificates.
const NAMES: [&str; 2] =
    ["messageverificationcerts.paypal.com", "messageverificationcerts.sandbox.paypal.com"];

/// The only algorithm that is accepted, whatever a request says.
const ALGORITHM: &str = "SHA256withRSA";

/// A transmission, as far as it can be judged without a certificate.
struct Transmission<'a> {
    id: &'a str,
    time: &'a str,
    webhook_id: &'a str,
    signature: Signature,
    certificate: Served,
}

pub(super) fn verify(scheme: &Scheme, sent: &Sent<'_>) -> Result<Verified, Unverified> {
    let Transmission { id, time, webhook_id, signature, .. } = Transmission::read(scheme, sent)?;
    let pem = sent.certificate.ok_or(Unverified::Certificate)?;
    let key = certificate::key_of(pem, sent.now)?;
    let key = Key::of("the certificate", Algorithm::RsaSha256, &key);
    let text = format!("{id}|{time}|{webhook_id}|{}", crc32fast::hash(sent.body));
    let keys = [key.ok_or(Unverified::Certificate)?];
    let secret = matching(&keys, &[text.as_bytes()], &[signature])?;
    // The checksum is easily made to fit another body: the signed id is the transmission's.
    let claims = Claims {
        secret: Some(secret),
        delivery_id: Some((id.to_owned(), IdOrigin::Signed)),
        ..Claims::default()
    };
    Ok(Verified::new(scheme.document(sent.body), Some(Covers::Checksum), claims))
}

/// The certificate that proves a transmission, if it can be one of ours at all.
pub(super) fn certificate(scheme: &Scheme, sent: &Sent<'_>) -> Result<Served, Unverified> {
    Transmission::read(scheme, sent).map(|transmission| transmission.certificate)
}

impl<'a> Transmission<'a> {
    fn read(scheme: &'a Scheme, sent: &Sent<'a>) -> Result<Self, Unverified> {
        let id = sent.headers.only("paypal-transmission-id")?;
        let time = sent.headers.only("paypal-transmission-time")?;
        let header = sent.headers.only("paypal-transmission-sig")?;
        let webhook_id = scheme.settings().webhook_id.as_deref().unwrap_or_default();
        let algorithm = sent.headers.only("paypal-auth-algo")?;
        let is_one = |text: &str| !text.is_empty() && !text.contains('|');
        if algorithm != ALGORITHM || ![id, time, webhook_id].into_iter().all(is_one) {
            return Err(Unverified::Malformed);
        }
        let decoded = template::decoded(Encoding::Base64, header, None);
        let signature = Signature::new(decoded.ok_or(Unverified::Malformed)?);
        if let Some(tolerance) = scheme.settings().tolerance {
            time::check(Unit::Rfc3339.read(time)?, sent.now, tolerance)?;
        }
        let certificate = served(sent.headers.only("paypal-cert-url")?);
        let certificate = certificate.ok_or(Unverified::Certificate)?;
        Ok(Self { id, time, webhook_id, signature, certificate })
    }
}

/// The certificate at this address, if PayPal serves it.
fn served(url: &str) -> Option<Served> {
    let rest = url.strip_prefix("https://")?;
    let (host, path) = rest.split_at(rest.find('/')?);
    let name = path.strip_prefix("/v1/notifications/certs/")?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_theirs = HOSTS.contains(&host) && !name.is_empty() && name.bytes().all(is_plain);
    let names = NAMES.map(str::to_owned).to_vec();
    is_theirs.then(|| Served { url: url.to_owned(), names })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paypal_serves_its_certificates() {
        let path = "/v1/notifications/certs/CERT-1a";
        for host in HOSTS {
            assert!(served(&format!("https://{host}{path}")).is_some(), "{host}");
        }
        for url in [
            format!("http://api.paypal.com{path}"),
            format!("https://api.paypal.com.evil.example{path}"),
            format!("https://api.paypal.com@evil.example{path}"),
            format!("https://evil.example/api.paypal.com{path}"),
            format!("https://api.paypal.com:444{path}"),
            format!("https://www.paypal.com{path}"),
            format!("https://api.paypal.com{path}?a"),
            format!("https://api.paypal.com{path}/../x"),
            "https://api.paypal.com/v1/notifications/certs/".to_owned(),
            "https://api.paypal.com/redirect".to_owned(),
        ] {
            assert!(served(&url).is_none(), "{url}");
        }
    }
}

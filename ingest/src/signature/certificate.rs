//! Public keys out of certificates and SubjectPublicKeyInfo.

use everhook_journal::Timestamp;
use x509_cert::Certificate;
use x509_cert::der::{Decode, DecodePem};
use x509_cert::spki::SubjectPublicKeyInfoRef;

use super::Unverified;

/// A certificate that a sender serves, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// Where it is: an address of the sender's own, whatever a request says.
    pub url: String,
    /// The names of which it must have one.
    pub names: Vec<String>,
}

/// The public key of a certificate in PEM, if it is valid now.
pub(super) fn key_of(pem: &[u8], now: Timestamp) -> Result<Vec<u8>, Unverified> {
    let start = pem.windows(5).position(|five| five == b"-----").ok_or(Unverified::Certificate)?;
    let certificate = Certificate::from_pem(&pem[start..]).map_err(|_| Unverified::Certificate)?;
    let contents = certificate.tbs_certificate();
    let (from, until) = (contents.validity().not_before, contents.validity().not_after);
    let seconds = u64::try_from(now.as_millis() / 1000).map_err(|_| Unverified::Certificate)?;
    let is_valid = from.to_unix_duration().as_secs() <= seconds
        && seconds <= until.to_unix_duration().as_secs();
    if !is_valid {
        return Err(Unverified::Certificate);
    }
    let key = contents.subject_public_key_info().subject_public_key.as_bytes();
    key.map(<[u8]>::to_vec).ok_or(Unverified::Certificate)
}

/// The public key inside a SubjectPublicKeyInfo in DER.
pub(super) fn public_key(der: &[u8]) -> Option<Vec<u8>> {
    let info = SubjectPublicKeyInfoRef::from_der(der).ok()?;
    info.subject_public_key.as_bytes().map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_has_no_key() {
        let now = Timestamp::from_millis(0);
        for text in ["", "-----", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"] {
            assert_eq!(key_of(text.as_bytes(), now), Err(Unverified::Certificate), "{text}");
        }
        assert_eq!(public_key(b"\x30\x02\x05\x00"), None);
    }
}

//! Whether a certificate is the sender's: its name, its time, and the way from it to a root, as far as it is served.

use std::sync::Arc;
use std::time::Duration;

use everhook_journal::Timestamp;
use rustls::CertificateError::UnknownIssuer;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::verify_server_name;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls_platform_verifier::Verifier;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::signature::Served;

/// How many certificates one file may have.
const CERTIFICATES_MAX: usize = 8;

/// Judges certificates by the roots that this machine trusts.
#[derive(Debug)]
pub(super) struct Trust(Verifier);

/// Why a certificate is not the sender's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// It is none.
    #[error("it is not a certificate")]
    Unreadable,
    /// It has another name.
    #[error("its name is none of {0}")]
    Name(String),
    /// The time now is before 1970.
    #[error("it is not valid now")]
    Time,
    /// It has signed itself.
    #[error("it has signed itself")]
    Issuer,
    /// It is not valid now, not for this use, or the way from it to a root is wrong.
    #[error("its chain does not end at a root that is trusted: {0}")]
    Chain(String),
    /// This machine trusts no root.
    #[error("this machine trusts no root certificate: {0}")]
    NoRoots(String),
}

impl Trust {
    /// Trusts the roots of this machine.
    pub(super) fn of_the_system() -> Result<Self, Untrusted> {
        let verifier = Verifier::new(Arc::new(ring::default_provider()));
        verifier.map(Self).map_err(|error| Untrusted::NoRoots(error.to_string()))
    }

    /// Trusts this root as well.
    #[cfg(test)]
    pub(super) fn with_root(root: CertificateDer<'static>) -> Self {
        Self(Verifier::new_with_extra_roots([root], Arc::new(ring::default_provider())).unwrap())
    }

    /// Refuses what is not a certificate of the sender's that is valid now.
    pub(super) fn check(
        &self,
        pem: &[u8],
        served: &Served,
        now: Timestamp,
    ) -> Result<(), Untrusted> {
        let chain = CertificateDer::pem_slice_iter(pem).take(CERTIFICATES_MAX);
        let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(|_| Untrusted::Unreadable)?;
        let (leaf, others) = chain.split_first().ok_or(Untrusted::Unreadable)?;
        let name = named(leaf, &served.names)?;
        let seconds = u64::try_from(now.as_millis() / 1000).map_err(|_| Untrusted::Time)?;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        if is_its_own_issuer(leaf)? {
            return Err(Untrusted::Issuer);
        }
        // Time and use of the certificate are looked at before its issuer is.
        match self.0.verify_server_cert(leaf, others, &name, &[], now) {
            Ok(_) => Ok(()),
            // Neither SNS nor PayPal serves what is between its certificate and a root: their own libraries
            // bring it along. The host is proved by TLS, and serves no certificates but the sender's.
            Err(rustls::Error::InvalidCertificate(UnknownIssuer)) if others.is_empty() => Ok(()),
            Err(error) => Err(Untrusted::Chain(error.to_string())),
        }
    }
}

/// The one of these names that the certificate has.
fn named(leaf: &CertificateDer<'_>, names: &[String]) -> Result<ServerName<'static>, Untrusted> {
    let parsed = ParsedCertificate::try_from(leaf).map_err(|_| Untrusted::Unreadable)?;
    let known = names.iter().filter_map(|name| ServerName::try_from(name.clone()).ok());
    let mut fitting = known.filter(|name| verify_server_name(&parsed, name).is_ok());
    fitting.next().ok_or_else(|| Untrusted::Name(names.join(", ")))
}

/// Whether a certificate has signed itself: then it proves nothing, and is no link of a chain either.
fn is_its_own_issuer(leaf: &CertificateDer<'_>) -> Result<bool, Untrusted> {
    let certificate = Certificate::from_der(leaf).map_err(|_| Untrusted::Unreadable)?;
    let contents = certificate.tbs_certificate();
    Ok(contents.issuer() == contents.subject())
}

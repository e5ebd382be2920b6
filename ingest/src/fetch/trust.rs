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
use x509_cert::ext::pkix::BasicConstraints;

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
    /// Its time has not come, or is over.
    #[error("it is not valid now")]
    Time,
    /// It is for signing certificates, or has signed itself.
    #[error("it is not one that somebody else has issued to the sender")]
    Issuer,
    /// The way to a root is wrong.
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
        is_issued(leaf, now)?;
        match self.0.verify_server_cert(leaf, others, &name, &[], now) {
            Ok(_) => Ok(()),
            // Without what is between it and a root, nobody can say more: its host has been proved,
            // and serves nobody else's certificates.
            Err(rustls::Error::InvalidCertificate(UnknownIssuer))
                if others.is_empty() && !served.has_chain =>
            {
                Ok(())
            }
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

/// Whether somebody else has issued this certificate, to somebody who issues none, and it is valid now.
fn is_issued(leaf: &CertificateDer<'_>, now: UnixTime) -> Result<(), Untrusted> {
    let certificate = Certificate::from_der(leaf).map_err(|_| Untrusted::Unreadable)?;
    let contents = certificate.tbs_certificate();
    let validity = contents.validity();
    let from = validity.not_before.to_unix_duration().as_secs();
    let until = validity.not_after.to_unix_duration().as_secs();
    if !(from..=until).contains(&now.as_secs()) {
        return Err(Untrusted::Time);
    }
    let constraints = contents.get_extension::<BasicConstraints>();
    let constraints = constraints.map_err(|_| Untrusted::Unreadable)?;
    let issues = constraints.is_some_and(|(_, constraints)| constraints.ca);
    if issues || contents.issuer() == contents.subject() {
        return Err(Untrusted::Issuer);
    }
    Ok(())
}

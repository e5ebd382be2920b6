//! Keys, and the only place where a signature or a token is compared.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
    RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

use everhook_journal::secret::Secret;

/// What a sender proves itself with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-1.
    HmacSha1,
    /// HMAC with SHA-256.
    HmacSha256,
    /// HMAC with SHA-512.
    HmacSha512,
    /// SHA-256 of the secret and what is signed, one after the other.
    Sha256,
    /// Ed25519; the secret is the sender's public key.
    Ed25519,
    /// ECDSA on P-256 with SHA-256 and signatures in DER; the secret is the sender's public key.
    EcdsaP256,
    /// RSA (PKCS #1 v1.5) with SHA-256; the key is a certificate's.
    RsaSha256,
    /// RSA (PKCS #1 v1.5) with SHA-1; the key is a certificate's.
    RsaSha1,
    /// The secret itself is sent.
    Token,
}

impl Algorithm {
    /// Whether only the sender has what it takes to sign.
    pub(super) fn is_asymmetric(self) -> bool {
        match self {
            Self::Ed25519 | Self::EcdsaP256 | Self::RsaSha256 | Self::RsaSha1 => true,
            Self::HmacSha1 | Self::HmacSha256 | Self::HmacSha512 | Self::Sha256 | Self::Token => {
                false
            }
        }
    }
}

/// A signature, or a token, as somebody sent it. Only a [`Key`] compares it.
#[derive(Clone)]
pub struct Signature(Vec<u8>);

impl Signature {
    /// These bytes, as sent.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({} bytes)", self.0.len())
    }
}

/// A key ready to verify with.
#[derive(Clone)]
pub struct Key {
    reference: String,
    algorithm: Algorithm,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    HmacSha1(Hmac<Sha1>),
    HmacSha256(Hmac<Sha256>),
    HmacSha512(Hmac<Sha512>),
    Sha256(Vec<u8>),
    Public(&'static dyn VerificationAlgorithm, Vec<u8>),
    Token(Vec<u8>),
}

impl Key {
    /// HMAC-SHA256 with a secret; `None` if it is empty, because anybody can sign with nothing.
    pub fn new(secret: &Secret, bytes: &[u8]) -> Option<Self> {
        Self::of(secret.reference(), Algorithm::HmacSha256, bytes)
    }

    /// A key for an algorithm; `None` if it is empty or cannot be one.
    pub fn of(reference: &str, algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        const ANY: &str = "HMAC takes a key of any length";
        if bytes.is_empty() {
            return None;
        }
        let kind = match algorithm {
            Algorithm::HmacSha1 => Kind::HmacSha1(Hmac::new_from_slice(bytes).expect(ANY)),
            Algorithm::HmacSha256 => Kind::HmacSha256(Hmac::new_from_slice(bytes).expect(ANY)),
            Algorithm::HmacSha512 => Kind::HmacSha512(Hmac::new_from_slice(bytes).expect(ANY)),
            Algorithm::Sha256 => Kind::Sha256(bytes.to_vec()),
            Algorithm::Ed25519 if is_weak_point(bytes) => return None,
            Algorithm::Ed25519 => Kind::Public(&ED25519, bytes.to_vec()),
            Algorithm::EcdsaP256 => Kind::Public(&ECDSA_P256_SHA256_ASN1, bytes.to_vec()),
            Algorithm::RsaSha256 => Kind::Public(&RSA_PKCS1_2048_8192_SHA256, bytes.to_vec()),
            Algorithm::RsaSha1 => {
                Kind::Public(&RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, bytes.to_vec())
            }
            Algorithm::Token => Kind::Token(bytes.to_vec()),
        };
        Some(Self { reference: reference.to_owned(), algorithm, kind })
    }

    /// Where its secret came from.
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// What it is a key for.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether this is the signature of these parts, one after the other.
    /// How long that takes says nothing about the signature or the key.
    pub(super) fn fits(&self, parts: &[&[u8]], signature: &Signature) -> bool {
        match &self.kind {
            Kind::HmacSha1(mac) => fed(mac, parts).verify_slice(&signature.0).is_ok(),
            Kind::HmacSha256(mac) => fed(mac, parts).verify_slice(&signature.0).is_ok(),
            Kind::HmacSha512(mac) => fed(mac, parts).verify_slice(&signature.0).is_ok(),
            Kind::Sha256(secret) => digest(secret, parts).ct_eq(&signature.0).into(),
            Kind::Public(algorithm, key) => {
                let key = UnparsedPublicKey::new(*algorithm, key);
                key.verify(&parts.concat(), &signature.0).is_ok()
            }
            // By their digests: tokens of different lengths then take the same time.
            Kind::Token(token) => digest(token, &[]).ct_eq(&digest(&signature.0, &[])).into(),
        }
    }

    /// The signature of these parts; empty where only the sender's private key could sign.
    pub fn sign(&self, parts: &[&[u8]]) -> Vec<u8> {
        match &self.kind {
            Kind::HmacSha1(mac) => fed(mac, parts).finalize().into_bytes().to_vec(),
            Kind::HmacSha256(mac) => fed(mac, parts).finalize().into_bytes().to_vec(),
            Kind::HmacSha512(mac) => fed(mac, parts).finalize().into_bytes().to_vec(),
            Kind::Sha256(secret) => digest(secret, parts).to_vec(),
            Kind::Public(..) => Vec::new(),
            Kind::Token(token) => token.clone(),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.reference)
    }
}

fn fed<M: Mac + Clone>(mac: &M, parts: &[&[u8]]) -> M {
    let mut mac = mac.clone();
    parts.iter().for_each(|part| mac.update(part));
    mac
}

fn digest(secret: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut digest = Sha256::new_with_prefix(secret);
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize().into()
}

/// Whether a public key of Ed25519 is one of the points of small order, for which anybody can sign.
fn is_weak_point(bytes: &[u8]) -> bool {
    const ORDER_8: [[u8; 8]; 2] =
        [*b"\x26\xe8\x95\x8f\xc2\xb2\x27\xb0", *b"\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f"];
    let [first, middle @ .., last] = bytes else { return true };
    let all = |byte: u8| middle.iter().all(|found| *found == byte);
    let low = *first <= 1 && all(0) && last & 0x7f == 0;
    let high = *first >= 0xec && all(0xff) && last & 0x7f == 0x7f;
    bytes.len() != 32 || low || high || ORDER_8.iter().any(|start| bytes.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_key_is_refused() {
        assert!(Key::new(&Secret::new("env:TEST", ""), b"").is_none());
        assert!(Key::of("env:TEST", Algorithm::Token, b"").is_none());
    }

    #[test]
    fn debug_shows_neither_key_nor_signature() {
        let key = Key::of("env:TEST", Algorithm::Token, b"canary-canary");
        assert_eq!(format!("{key:?}"), "Some(Key(env:TEST))");
        let signature = Signature::new(b"canary".to_vec());
        assert_eq!(format!("{signature:?}"), "Signature(6 bytes)");
    }

    #[test]
    fn a_public_key_that_anybody_can_sign_for_is_refused() {
        let mut one = [0; 32];
        one[0] = 1;
        for weak in [[0; 32], one] {
            assert!(Key::of("env:TEST", Algorithm::Ed25519, &weak).is_none());
        }
        assert!(Key::of("env:TEST", Algorithm::Ed25519, &[7; 31]).is_none());
        assert!(Key::of("env:TEST", Algorithm::Ed25519, &[7; 32]).is_some());
    }
}

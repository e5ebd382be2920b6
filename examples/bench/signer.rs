//! Senders with a private key, of which Everhook has only the public one.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use everhook_journal::Timestamp;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, UnparsedPublicKey,
};

/// What stands before a point of P-256 in a SubjectPublicKeyInfo.
const SPKI_P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A sender's key.
pub(crate) enum Signer {
    /// Telnyx: Ed25519 over time, `|` and body.
    Ed25519(Ed25519KeyPair),
    /// SendGrid: ECDSA over time and body.
    EcdsaP256(Box<EcdsaKeyPair>, SystemRandom),
}

impl Signer {
    /// A fresh key as this sender has one.
    pub(crate) fn new(sender: &str) -> Option<Self> {
        let random = SystemRandom::new();
        if sender == "telnyx" {
            let key = Ed25519KeyPair::generate_pkcs8(&random).ok()?;
            return Some(Self::Ed25519(Ed25519KeyPair::from_pkcs8(key.as_ref()).ok()?));
        }
        let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).ok()?;
        let key = EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).ok()?;
        Some(Self::EcdsaP256(Box::new(key), random))
    }

    /// The public key, as the sender shows it.
    pub(crate) fn secret(&self) -> String {
        match self {
            Self::Ed25519(key) => BASE64.encode(key.public_key()),
            Self::EcdsaP256(key, _) => {
                BASE64.encode([&SPKI_P256, key.public_key().as_ref()].concat())
            }
        }
    }

    /// What is signed of a body.
    pub(crate) fn text(&self, body: &[u8], now: Timestamp) -> Vec<u8> {
        let between = match self {
            Self::Ed25519(_) => "|",
            Self::EcdsaP256(..) => "",
        };
        [seconds(now).as_bytes(), between.as_bytes(), body].concat()
    }

    /// The headers that go with a signature.
    pub(crate) fn headers(&self, signature: &[u8], now: Timestamp) -> [(String, String); 2] {
        let (prefix, name) = match self {
            Self::Ed25519(_) => ("telnyx-", "signature-ed25519"),
            Self::EcdsaP256(..) => ("x-twilio-email-event-webhook-", "signature"),
        };
        let signature = BASE64.encode(signature);
        [(format!("{prefix}timestamp"), seconds(now)), (format!("{prefix}{name}"), signature)]
    }

    /// The signature of a text.
    pub(crate) fn signature(&self, text: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Ed25519(key) => Some(key.sign(text).as_ref().to_vec()),
            Self::EcdsaP256(key, random) => Some(key.sign(random, text).ok()?.as_ref().to_vec()),
        }
    }

    /// The bare verification of a signature.
    pub(crate) fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        let verified = match self {
            Self::Ed25519(key) => {
                UnparsedPublicKey::new(&ED25519, key.public_key()).verify(text, signature)
            }
            Self::EcdsaP256(key, _) => {
                let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.public_key());
                key.verify(text, signature)
            }
        };
        verified.is_ok()
    }
}

fn seconds(now: Timestamp) -> String {
    (now.as_millis() / 1000).to_string()
}

//! How bytes are written in headers and secrets.

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Secrets are handed out with and without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How a signature is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Hexadecimal in lower case.
    Hex,
    /// Base64 with its padding.
    Base64,
    /// As it is: a token.
    Text,
}

impl Encoding {
    /// The bytes that a text stands for; none for an empty one. Every bytes have one text only.
    pub(super) fn decode(self, text: &str) -> Option<Vec<u8>> {
        let bytes = match self {
            Self::Hex => data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?,
            Self::Base64 => STANDARD.decode(text).ok()?,
            Self::Text => text.as_bytes().to_vec(),
        };
        (!bytes.is_empty()).then_some(bytes)
    }

    /// The text of bytes.
    pub(super) fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => data_encoding::HEXLOWER.encode(bytes),
            Self::Base64 => STANDARD.encode(bytes),
            Self::Text => String::from_utf8_lossy(bytes).into_owned(),
        }
    }
}

/// How a key is written in a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyEncoding {
    /// The secret's bytes are the key.
    Text,
    /// Base64.
    Base64,
    /// Hexadecimal.
    Hex,
    /// Base64 after `whsec_`.
    Whsec,
    /// A public key in DER (SubjectPublicKeyInfo), in base64 or PEM.
    Spki,
}

impl KeyEncoding {
    /// The key that a secret stands for; `None` if it stands for none.
    pub(super) fn decode(self, secret: &[u8]) -> Option<Vec<u8>> {
        if let Self::Text = self {
            return Some(secret.to_vec());
        }
        let text = std::str::from_utf8(secret).ok()?;
        match self {
            Self::Text => None,
            Self::Base64 => LENIENT.decode(text).ok(),
            Self::Hex => data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok(),
            Self::Whsec => LENIENT.decode(text.strip_prefix("whsec_").unwrap_or(text)).ok(),
            Self::Spki => {
                let lines = text.lines().filter(|line| !line.starts_with("-----"));
                super::certificate::public_key(&LENIENT.decode(lines.collect::<String>()).ok()?)
            }
        }
    }
}

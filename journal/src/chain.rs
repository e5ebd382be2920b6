//! Each append carries the digest of the one before it, so that a history that was changed afterwards does not add up.
//!
//! A [`Digest`] is SHA-256 of these parts, in this order, each after its length in bytes as eight bytes, the highest first:
//!
//! | part | is |
//! |---|---|
//! | `everhook append 1` | what is hashed here, and in which version of this encoding |
//! | execution | the execution's id |
//! | sequence | the position of the append's first event, in decimal digits |
//! | form | the version of the stored form, in decimal digits |
//! | events | the bytes as they are stored: JSON in form 1, packed in form 2 |
//! | at | when it was appended, as it is stored |
//! | append | the name of the write |
//! | previous | the digest of the append before it, as it is stored; empty if it carries none |
//!
//! `ttl` is not part of it, nor is `names` of form 1: they follow from the events.

use std::fmt;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::id::Sequence;

/// What is hashed, and in which version of the encoding.
const DOMAIN: &str = "everhook append 1";

/// The digest of an append and, through what it carries, of all before it. Its text is base64url without padding.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

/// What the digest of an append is taken of, as it is stored.
#[derive(Debug, Clone, Copy)]
pub struct Link<'i> {
    /// The execution's id.
    pub execution: &'i str,
    /// The position of the append's first event.
    pub sequence: u64,
    /// The version of the stored form.
    pub form: u64,
    /// The events, as they are stored.
    pub events: &'i [u8],
    /// When it was appended.
    pub at: &'i str,
    /// The name of the write.
    pub append: &'i str,
    /// The digest of the append before it, if it carries one.
    pub previous: Option<&'i str>,
}

impl Link<'_> {
    /// The digest of this append.
    pub fn digest(&self) -> Digest {
        let (sequence, form) = (self.sequence.to_string(), self.form.to_string());
        let parts = [
            DOMAIN.as_bytes(),
            self.execution.as_bytes(),
            sequence.as_bytes(),
            form.as_bytes(),
            self.events,
            self.at.as_bytes(),
            self.append.as_bytes(),
            self.previous.unwrap_or_default().as_bytes(),
        ];
        let mut hash = Sha256::new();
        // Lengths go in too, so that no two lists of parts run together into the same bytes.
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Digest(hash.finalize().into())
    }
}

impl Digest {
    /// Reads its text; `None` where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a digest"))
    }
}

/// The end of a history: what the next append follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The position of the last event.
    pub sequence: Sequence,
    /// The digest of the last append; none before the first, and where it is not known.
    pub digest: Option<Digest>,
}

impl Head {
    /// Before the first append.
    pub const START: Self = Self { sequence: Sequence::START, digest: None };
}

/// A place in a history, whatever stands there.
impl From<Sequence> for Head {
    fn from(sequence: Sequence) -> Self {
        Self { sequence, digest: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Link<'_> = Link {
        execution: "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        sequence: 2,
        form: 1,
        events: br#"[{"ExecutionCompleted":{}}]"#,
        at: "2026-11-24T02:00:02.000Z",
        append: "append-1",
        previous: Some("47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"),
    };

    #[test]
    fn the_encoding_stays_as_it_is() {
        let digests = [LINK.digest(), Link { previous: None, ..LINK }.digest()];
        // Reckoned from the table above by a program in another language.
        assert_eq!(
            digests.map(|digest| digest.to_string()),
            [
                "nrGxBGjw-239rYQSVQdiiJ0HDaoX9dwDtV1abkUprh8",
                "-bDvtHyuhJN2V6iGfESZ0eTceJiaFyt7QWT3n6XHbZE"
            ]
        );
    }

    #[test]
    fn whatever_is_changed_changes_the_digest() {
        let changed = [
            Link { execution: "ABCDEFGHIJKLMNOPQRSTUVWXYA", ..LINK },
            Link { sequence: 3, ..LINK },
            Link { form: 2, ..LINK },
            Link { events: br#"[{"ExecutionCompleted": {}}]"#, ..LINK },
            Link { at: "2026-11-24T02:00:02.001Z", ..LINK },
            Link { append: "append-2", ..LINK },
            Link { previous: None, ..LINK },
        ];
        for link in changed {
            assert_ne!(link.digest(), LINK.digest(), "{link:?}");
        }
    }

    #[test]
    fn texts_do_not_run_together() {
        let one = Link { at: "ab", append: "c", ..LINK };
        let other = Link { at: "a", append: "bc", ..LINK };
        assert_ne!(one.digest(), other.digest());
    }

    #[test]
    fn a_digest_is_read_back_and_anything_else_is_none() {
        let digest = LINK.digest();
        assert_eq!(Digest::parse(&digest.to_string()), Some(digest));
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        for text in ["", "abc", "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"]
        {
            assert_eq!(Digest::parse(text), None, "{text}");
        }
        assert!(serde_json::from_str::<Digest>("\"abc\"").is_err());
    }
}

//! Names and identities.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::ambient;
use crate::guard::{self, Guard};

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes the text as it is.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// Who sends webhooks, as named in `everhook.toml`.
    SourceName
);
name!(
    /// The sender's id of a delivery, equal on redelivery.
    DeliveryId
);
name!(
    /// A workflow, as named in `everhook.toml`.
    WorkflowName
);
name!(
    /// The content hash of a workflow's definition: 32 hexadecimal digits.
    WorkflowHash
);
name!(
    /// A step of a workflow; unique in it.
    StepName
);

/// One run of a workflow; the `executionToken` of the HTTP API.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ExecutionId(String);

/// How many characters an execution id has.
pub const EXECUTION_ID_LENGTH: usize = 26;

impl ExecutionId {
    /// The id of what this delivery causes: the same for a redelivery, and unguessable without the key.
    /// `also` is what tells two deliveries of one id apart, where the id alone does not name an event.
    pub fn derive(
        key: &ExecutionKey,
        source: &SourceName,
        delivery: &DeliveryId,
        also: &[&str],
    ) -> Self {
        if !guard::holds(Guard::DerivedId) {
            return Self(key.derive_text(&[source.as_str(), &fresh()]));
        }
        let mut parts = vec![source.as_str(), delivery.as_str()];
        parts.extend(also);
        Self(key.derive_text(&parts))
    }

    /// Reads an id somebody sent us; `None` where it cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        let plausible = text.len() == EXECUTION_ID_LENGTH
            && text.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7'));
        plausible.then(|| Self(text.to_owned()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a body of a source is known by: it tells nobody without the key what the body is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyKey(String);

impl BodyKey {
    /// The key of the body with this hash.
    pub fn derive(key: &ExecutionKey, source: &SourceName, body_sha256: &str) -> Self {
        Self(key.derive_text(&["body", source.as_str(), body_sha256]))
    }
}

impl fmt::Display for BodyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The deployment's key for execution ids. Changing it forgets which deliveries were seen.
#[derive(Clone)]
pub struct ExecutionKey(Hmac<Sha256>);

/// The shortest key that makes ids unguessable.
pub const EXECUTION_KEY_BYTES_MIN: usize = 16;

impl ExecutionKey {
    /// `None` for a key shorter than [`EXECUTION_KEY_BYTES_MIN`].
    pub fn new(key: &[u8]) -> Option<Self> {
        (key.len() >= EXECUTION_KEY_BYTES_MIN)
            .then(|| Self(Hmac::new_from_slice(key).expect("HMAC takes a key of any length")))
    }

    /// 26 characters that nobody without the key can guess: 130 bits of an HMAC of these parts.
    pub(crate) fn derive_text(&self, parts: &[&str]) -> String {
        let mut mac = self.0.clone();
        // Lengths go in too, so that no two lists of parts run together into the same bytes.
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        let digest = mac.finalize().into_bytes();
        let mut text = data_encoding::BASE32_NOPAD.encode(&digest);
        text.truncate(EXECUTION_ID_LENGTH);
        text
    }

    /// What a network is known by: it tells nobody without the key which one it is.
    pub fn network(&self, network: &str) -> String {
        self.derive_text(&["network", "", network])
    }

    /// What the key is known by: it cannot be told from this, and no id is this.
    pub fn fingerprint(&self) -> String {
        self.derive_text(&["fingerprint"])
    }

    /// Another key for another purpose, from which this one cannot be told.
    /// A purpose begins with a letter and an id's material with eight bytes of a short length: they never coincide.
    pub fn derive(&self, purpose: &'static str) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(purpose.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for ExecutionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ExecutionKey(…)")
    }
}

/// An event's position in its execution: from 1, no gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(u64);

impl Sequence {
    /// Before the first event.
    pub const START: Self = Self(0);

    /// The position with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The position after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The position before this one; that of the start is the start.
    pub const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A fresh name for one write, by which it is recognised as ours when its reply is lost.
pub fn fresh() -> String {
    let mut bytes = [0u8; 12];
    ambient::fill(&mut bytes);
    data_encoding::BASE64URL_NOPAD.encode(&bytes)
}

/// Into how many parts each index is split, so that no part is written too often.
///
/// The number may be raised at any time: readers look at all parts up to the number, so what was written with a smaller
/// one is still found, and a timer that was read names the part that it is in. It must not be lowered while anything is
/// kept. How many a rate needs: `docs/deploy.md`, under *Shards*.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shards(u64);

impl Shards {
    /// The most there can be: a reader looks at each of them.
    pub const MAX: u64 = 256;

    /// So many; at least one, and at most [`Shards::MAX`].
    pub fn new(number: u64) -> Self {
        Self(number.clamp(1, Self::MAX))
    }

    /// The shard of an execution. Ids are evenly distributed already.
    pub fn of(self, id: &ExecutionId) -> u64 {
        let hash = id.as_str().bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        hash % self.0
    }

    /// All shards.
    pub fn all(self) -> std::ops::Range<u64> {
        0..self.0
    }
}

impl Default for Shards {
    fn default() -> Self {
        Self(8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ExecutionKey {
        ExecutionKey::new(b"0123456789abcdef").unwrap()
    }

    fn derived(source: &str, delivery: &str) -> ExecutionId {
        ExecutionId::derive(&key(), &SourceName::new(source), &DeliveryId::new(delivery), &[])
    }

    #[test]
    fn a_redelivery_has_the_same_execution() {
        assert_eq!(derived("github", "d-1"), derived("github", "d-1"));
        assert_ne!(derived("github", "d-1"), derived("github", "d-2"));
        assert_ne!(derived("github", "d-1"), derived("stripe", "d-1"));
    }

    #[test]
    fn names_do_not_run_together() {
        assert_ne!(derived("ab", "c"), derived("a", "bc"));
    }

    #[test]
    fn what_stands_beside_an_id_tells_deliveries_apart() {
        let (source, id) = (SourceName::new("github"), DeliveryId::new("d-1"));
        let also = |also: &[&str]| ExecutionId::derive(&key(), &source, &id, also);
        assert_eq!(also(&[]), derived("github", "d-1"));
        assert_eq!(also(&["body", "00"]), also(&["body", "00"]));
        let different =
            [also(&[]), also(&["body", "00"]), also(&["body", "01"]), also(&["body00"])];
        let unique: std::collections::BTreeSet<_> = different.iter().collect();
        assert_eq!(unique.len(), different.len());
    }

    /// Histories outlive the program that wrote them: an id derives tomorrow as it did yesterday.
    #[test]
    fn ids_derive_as_they_always_did() {
        assert_eq!(derived("github", "d-1").as_str(), "BS3THAWEMLXF2QTLHFU4AFAKYC");
    }

    #[test]
    fn a_body_is_known_by_its_source_and_content() {
        let derived = |source: &str, hash: &str| {
            BodyKey::derive(&key(), &SourceName::new(source), hash).to_string()
        };
        assert_eq!(derived("github", "00"), derived("github", "00"));
        assert_ne!(derived("github", "00"), derived("github", "01"));
        assert_ne!(derived("github", "00"), derived("gitlab", "00"));
    }

    #[test]
    fn ids_of_another_deployment_differ() {
        let other = ExecutionKey::new(b"another key of 16").unwrap();
        let id =
            ExecutionId::derive(&other, &SourceName::new("github"), &DeliveryId::new("d-1"), &[]);
        assert_ne!(id, derived("github", "d-1"));
    }

    #[test]
    fn an_id_parses_and_anything_else_does_not() {
        let id = derived("github", "d-1");
        assert_eq!(ExecutionId::parse(id.as_str()), Some(id));
        assert_eq!(ExecutionId::parse(""), None);
        assert_eq!(ExecutionId::parse("workflow#0123456789abcdef0"), None);
        assert_eq!(ExecutionId::parse("1763000000000"), None);
    }

    /// What one partition key takes: half of the 1,000 write units a second that DynamoDB gives it.
    const UNITS_MAX: u64 = 500;

    /// For how many seconds webhooks arrive.
    const SECONDS: u64 = 20;

    /// The most write units in one second at one partition key, if each webhook writes so many there.
    fn busiest(rate: u64, shards: u64, units: u64) -> u64 {
        let shards = Shards::new(shards);
        let webhook = |number: u64| derived("github", &format!("d-{number}"));
        (0..SECONDS)
            .flat_map(|second| {
                let mut written = [0; Shards::MAX as usize];
                for number in 0..rate {
                    written[shards.of(&webhook(second * rate + number)) as usize] += units;
                }
                written
            })
            .max()
            .unwrap_or_default()
    }

    /// The table of `docs/deploy.md`: webhooks a second of one source, and how many shards they need without timers and
    /// with a timer each.
    const SHARDS_NEEDED: [(u64, u64, u64); 4] =
        [(800, 8, 8), (2_500, 8, 32), (5_000, 16, 64), (10_000, 32, 128)];

    /// Every webhook has an entry in `received`. If all of them fail, each has one in `attention` as well, which has
    /// partition keys of its own. A timer is set, claimed and deleted.
    #[test]
    fn no_partition_key_takes_more_than_half_of_its_limit() {
        for (rate, without_timers, with_timers) in SHARDS_NEEDED {
            let index = busiest(rate, without_timers, 1);
            assert!(index <= UNITS_MAX, "{index} units of an index at {rate} webhooks a second");
            let timers = busiest(rate, with_timers, 3);
            assert!(timers <= UNITS_MAX, "{timers} units of timers at {rate} webhooks a second");
        }
    }

    #[test]
    fn the_default_number_of_shards_is_too_small_for_10_000_webhooks_a_second() {
        let Shards(shards) = Shards::default();
        assert!(busiest(10_000, shards, 1) > UNITS_MAX);
        assert!(busiest(10_000, 32, 3) > UNITS_MAX);
    }

    #[test]
    fn the_documented_numbers_of_shards_are_those_that_are_tested() {
        let page = include_str!("../../docs/deploy.md");
        for (rate, without_timers, with_timers) in SHARDS_NEEDED {
            let thousands = format!("{},{:03}", rate / 1000, rate % 1000);
            let rate = if rate < 1000 { rate.to_string() } else { thousands };
            let row = format!("| {rate} | {without_timers} | {with_timers} |");
            assert!(page.contains(&row), "docs/deploy.md has no row `{row}`");
        }
    }

    #[test]
    fn a_larger_number_of_shards_includes_every_shard_of_a_smaller_one() {
        for shards in 1..Shards::MAX {
            let (fewer, more) = (Shards::new(shards).all(), Shards::new(shards + 1).all());
            assert!(fewer.start >= more.start && fewer.end <= more.end);
        }
    }

    #[test]
    fn a_short_key_is_refused_and_no_key_is_shown() {
        assert!(ExecutionKey::new(b"short").is_none());
        assert_eq!(format!("{:?}", key()), "ExecutionKey(…)");
    }
}

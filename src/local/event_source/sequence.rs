//! A record's place in its shard.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The most digits a sequence number has; more than any integer type holds.
const DIGITS_MAX: usize = 40;

/// A record's place in its shard: a decimal number ordered as one, but never parsed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct SequenceNumber(Arc<str>);

/// The text is not a sequence number.
#[derive(Debug, thiserror::Error)]
#[error("a sequence number is 1 to {DIGITS_MAX} decimal digits")]
pub(super) struct NotASequenceNumber;

impl SequenceNumber {
    /// Reads a sequence number from a stream record or a checkpoint.
    pub(super) fn parse(text: &str) -> Result<Self, NotASequenceNumber> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits && text.len() <= DIGITS_MAX {
            Ok(SequenceNumber(text.into()))
        } else {
            Err(NotASequenceNumber)
        }
    }

    /// The number as DynamoDB wrote it.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Ord for SequenceNumber {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0.len(), &*self.0).cmp(&(other.0.len(), &*other.0))
    }
}

impl PartialOrd for SequenceNumber {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for SequenceNumber {
    type Error = NotASequenceNumber;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        SequenceNumber::parse(&text)
    }
}

impl From<SequenceNumber> for String {
    fn from(number: SequenceNumber) -> Self {
        number.0.as_ref().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_are_ordered_as_numbers_beyond_any_integer() {
        let number = |text: &str| SequenceNumber::parse(text).unwrap();

        assert!(number("9") < number("10"));
        assert!(number("800000000003126276362") < number("800000000003126276363"));
        assert!(number(&"9".repeat(39)) < number(&format!("1{}", "0".repeat(39))));
    }

    #[test]
    fn only_digits_are_a_sequence_number() {
        for text in ["", "12a", "-1", " 1", &"1".repeat(41)] {
            assert!(SequenceNumber::parse(text).is_err(), "{text:?}");
        }
    }
}

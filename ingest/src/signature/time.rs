//! Timestamps in requests. Only one text stands for a moment: the signature covers the text.

use std::time::Duration;

use everhook_journal::Timestamp;

use super::Unverified;

/// What a timestamp counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds since 1970, in digits.
    Seconds,
    /// Milliseconds since 1970, in digits.
    Millis,
    /// Date and time as in RFC 3339.
    Rfc3339,
}

impl Unit {
    /// The moment that a text stands for.
    pub(super) fn read(self, text: &str) -> Result<Timestamp, Unverified> {
        let digits = || {
            let plain = text.len() <= 15 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<i64>().ok().filter(|_| plain).ok_or(Unverified::Malformed)
        };
        match self {
            Self::Seconds => Ok(Timestamp::from_millis(digits()?.saturating_mul(1000))),
            Self::Millis => Ok(Timestamp::from_millis(digits()?)),
            Self::Rfc3339 => Timestamp::parse(text).ok_or(Unverified::Malformed),
        }
    }

    /// The text of a moment.
    pub(super) fn write(self, moment: Timestamp) -> String {
        match self {
            Self::Seconds => (moment.as_millis() / 1000).to_string(),
            Self::Millis => moment.as_millis().to_string(),
            Self::Rfc3339 => moment.to_string(),
        }
    }
}

/// Refuses a moment that is further than the tolerance from now, before or after.
pub(super) fn check(
    sent: Timestamp,
    now: Timestamp,
    tolerance: Duration,
) -> Result<(), Unverified> {
    // Senders count whole seconds.
    let widest = tolerance + Duration::from_millis(999);
    if now.since(sent).max(sent.since(now)) > widest { Err(Unverified::Stale) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_are_a_number() {
        for text in
            ["+1700000000", " 1700000000", "1e9", "-1", "", "1700000000.0", "9999999999999999"]
        {
            assert_eq!(Unit::Seconds.read(text), Err(Unverified::Malformed), "{text}");
        }
        assert_eq!(Unit::Seconds.read("12345"), Ok(Timestamp::from_millis(12_345_000)));
        assert_eq!(Unit::Millis.read("12345"), Ok(Timestamp::from_millis(12_345)));
    }

    #[test]
    fn the_window_is_two_sided() {
        let (now, tolerance) = (Timestamp::from_millis(1_000_000), Duration::from_secs(300));
        for (millis, judged) in [
            (700_000, Ok(())),
            (1_300_000, Ok(())),
            (699_000, Err(Unverified::Stale)),
            (1_301_000, Err(Unverified::Stale)),
        ] {
            assert_eq!(check(Timestamp::from_millis(millis), now, tolerance), judged, "{millis}");
        }
    }
}

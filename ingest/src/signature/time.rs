//! Timestamps in requests. Only one text stands for a moment: the signature covers the text.

use std::time::Duration;

use everhook_journal::Timestamp;

use super::Unverified;

/// A moment that a text stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    at: Timestamp,
    /// Whether the text has no fraction of a second: the true moment may be up to a second later.
    is_whole: bool,
}

impl Moment {
    pub(super) fn new(at: Timestamp, is_whole: bool) -> Self {
        Self { at, is_whole }
    }
}

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
    pub(super) fn read(self, text: &str) -> Result<Moment, Unverified> {
        let digits = || {
            let plain = text.len() <= 15 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<i64>().ok().filter(|_| plain).ok_or(Unverified::Malformed)
        };
        match self {
            Self::Seconds => {
                let at = Timestamp::from_millis(digits()?.saturating_mul(1000));
                Ok(Moment::new(at, true))
            }
            Self::Millis => Ok(Moment::new(Timestamp::from_millis(digits()?), false)),
            Self::Rfc3339 => {
                let at = Timestamp::parse(text).ok_or(Unverified::Malformed)?;
                Ok(Moment::new(at, !text.contains(['.', ','])))
            }
        }
    }

    /// Whether a text has the one form that is neither the beginning nor the end of another text of that form:
    /// such a timestamp can touch other parts of a signed text.
    pub(super) fn is_fixed(self, text: &[u8]) -> bool {
        let are_digits = |text: &[u8]| text.iter().all(u8::is_ascii_digit);
        match self {
            Self::Seconds => text.len() == 10 && are_digits(text),
            Self::Millis => text.len() == 13 && are_digits(text),
            Self::Rfc3339 => {
                let is_like = |text: &[u8], form: &[u8]| {
                    text.len() == form.len()
                        && text.iter().zip(form).all(|(byte, like)| match like {
                            b'0' => byte.is_ascii_digit(),
                            b'T' => matches!(byte, b'T' | b't' | b' '),
                            b'Z' => matches!(byte, b'Z' | b'z'),
                            b'+' => matches!(byte, b'+' | b'-'),
                            like => byte == like,
                        })
                };
                let Some((moment, rest)) = text.split_at_checked(19) else { return false };
                let fraction = match rest.split_first() {
                    Some((b'.', rest)) => {
                        rest.iter().take_while(|it| it.is_ascii_digit()).count() + 1
                    }
                    _ => 0,
                };
                let offset = &rest[fraction..];
                is_like(moment, b"0000-00-00T00:00:00")
                    && fraction != 1
                    && (is_like(offset, b"Z") || is_like(offset, b"+00:00"))
            }
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
pub(super) fn check(sent: Moment, now: Timestamp, tolerance: Duration) -> Result<(), Unverified> {
    let Moment { at, is_whole } = sent;
    let dropped = if is_whole { Duration::from_millis(999) } else { Duration::ZERO };
    if now.since(at) > tolerance + dropped || at.since(now) > tolerance {
        return Err(Unverified::Stale);
    }
    Ok(())
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
        let moment = |millis, is_whole| Ok(Moment::new(Timestamp::from_millis(millis), is_whole));
        assert_eq!(Unit::Seconds.read("12345"), moment(12_345_000, true));
        assert_eq!(Unit::Millis.read("12345"), moment(12_345, false));
        assert_eq!(Unit::Rfc3339.read("1970-01-01T00:00:12.345Z"), moment(12_345, false));
        assert_eq!(Unit::Rfc3339.read("1970-01-01T00:00:12Z"), moment(12_000, true));
    }

    #[test]
    fn a_fixed_form_is_no_part_of_another_one() {
        let texts = [
            (Unit::Seconds, "1700000000"),
            (Unit::Millis, "1700000000000"),
            (Unit::Rfc3339, "2026-11-30T08:00:00Z"),
            (Unit::Rfc3339, "2026-11-30T08:00:00.123456789Z"),
            (Unit::Rfc3339, "2026-11-30t08:00:00.5-02:30"),
        ];
        for (unit, text) in texts {
            assert!(unit.is_fixed(text.as_bytes()), "{text}");
            for at in 1..text.len() {
                let (start, end) = text.as_bytes().split_at(at);
                assert!(!unit.is_fixed(start) && !unit.is_fixed(end), "{text} at {at}");
            }
            for digit in '0'..='9' {
                assert!(!unit.is_fixed(format!("{digit}{text}").as_bytes()), "{digit}{text}");
                assert!(!unit.is_fixed(format!("{text}{digit}").as_bytes()), "{text}{digit}");
            }
        }
        for text in ["", "+002026-11-30T08:00:00Z", "2026-11-30T08:00Z", "2026-11-30T08:00:00.Z"] {
            assert!(!Unit::Rfc3339.is_fixed(text.as_bytes()), "{text}");
        }
        assert!(!Unit::Rfc3339.is_fixed(b"2026-11-30T08:00:00Z[UTC]"));
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
            let sent = Moment::new(Timestamp::from_millis(millis), true);
            assert_eq!(check(sent, now, tolerance), judged, "{millis}");
        }
    }

    #[test]
    fn a_fraction_of_a_second_counts() {
        let tolerance = Duration::from_secs(300);
        let judge = |unit: Unit, text: &str, now: i64| {
            check(unit.read(text).unwrap(), Timestamp::from_millis(now), tolerance)
        };
        for (unit, text) in [(Unit::Millis, "1500"), (Unit::Rfc3339, "1970-01-01T00:00:01.5Z")] {
            assert_eq!(judge(unit, text, 301_500), Ok(()), "{text}");
            assert_eq!(judge(unit, text, 301_501), Err(Unverified::Stale), "{text}");
            assert_eq!(judge(unit, text, -298_500), Ok(()), "{text}");
            assert_eq!(judge(unit, text, -298_501), Err(Unverified::Stale), "{text}");
        }
        // Whole seconds may have been anything up to the next one.
        for (unit, text) in [(Unit::Seconds, "1"), (Unit::Rfc3339, "1970-01-01T00:00:01Z")] {
            assert_eq!(judge(unit, text, 301_999), Ok(()), "{text}");
            assert_eq!(judge(unit, text, 302_000), Err(Unverified::Stale), "{text}");
            assert_eq!(judge(unit, text, -299_000), Ok(()), "{text}");
            assert_eq!(judge(unit, text, -299_001), Err(Unverified::Stale), "{text}");
        }
    }
}

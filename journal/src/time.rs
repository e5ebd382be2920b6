//! Timestamps, durations as people write them, and the clock.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A moment, to the millisecond. Its text sorts as it does: `2026-11-24T02:20:45.123Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 9999-12-30T22:00:00Z, the last moment whose text can be read back.
    const LAST: Self = Self(253_402_207_200_000);

    /// The first moment whose text can be read back.
    const FIRST: Self = Self(-377_705_023_201_000);

    /// Milliseconds since 1970.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970, rounded up: DynamoDB's unit for `ttl`.
    pub const fn to_ttl_seconds(self) -> i64 {
        self.0.div_euclid(1000) + (self.0.rem_euclid(1000) > 0) as i64
    }

    /// The moment of DynamoDB's `ttl`.
    pub fn from_ttl_seconds(seconds: u64) -> Self {
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX / 1000).min(i64::MAX / 1000);
        Self(seconds.saturating_mul(1000)).min(Self::LAST)
    }

    /// Reads the text form; `None` for anything else.
    /// A moment that no [`Timestamp`] can have is the first or the last one that can be stored:
    /// `9999-12-31T23:59:59Z` is what many senders write for never.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(moment) = text.parse::<jiff::Timestamp>() {
            return Some(Self(moment.as_millisecond()).min(Self::LAST));
        }
        // At the ends of what can be written an offset leads out of what can be counted.
        let pieces = jiff::fmt::temporal::Pieces::parse(text).ok()?;
        pieces.time()?;
        pieces.offset()?;
        match pieces.date().year() {
            9999 => Some(Self::LAST),
            -9999 => Some(Self::FIRST),
            _ => None,
        }
    }

    /// Reads a moment as HTTP writes it, in any of its three forms; `None` for anything else:
    /// `Tue, 24 Nov 2026 02:20:45 GMT`, `Tuesday, 24-Nov-26 02:20:45 GMT`, `Tue Nov 24 02:20:45 2026`.
    pub fn parse_http(text: &str, now: Timestamp) -> Option<Self> {
        if let Some(rest) = text.strip_suffix(" GMT") {
            let moment = jiff::fmt::rfc2822::parse(&format!("{rest} +0000")).ok();
            return match moment {
                Some(moment) => Some(Self(moment.timestamp().as_millisecond())),
                None => Self::parse_rfc_850(rest, now),
            };
        }
        // A day below ten stands behind a second blank.
        Self::parse_civil("%a %b %e %H:%M:%S %Y", text)
    }

    /// `Tuesday, 24-Nov-26 02:20:45`: a year that seems more than 50 years ahead is one of the past.
    fn parse_rfc_850(text: &str, now: Timestamp) -> Option<Self> {
        let (day, rest) = text.split_once(", ")?;
        let known = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
        if !known.contains(&day) {
            return None;
        }
        let (date, time) = rest.split_once(' ')?;
        let (start, year) = date.rsplit_once('-')?;
        let year: i16 = year.parse().ok().filter(|_| year.len() == 2)?;
        let now = jiff::Timestamp::from_millisecond(now.0).ok()?;
        let now = jiff::tz::Offset::UTC.to_datetime(now).year();
        let year = now - now.rem_euclid(100) + year;
        let year = match year - now {
            ahead if ahead > 50 => year - 100,
            ahead if ahead <= -50 => year + 100,
            _ => year,
        };
        Self::parse_civil("%d-%b-%Y %H:%M:%S", &format!("{start}-{year:04} {time}"))
    }

    fn parse_civil(format: &str, text: &str) -> Option<Self> {
        let moment = jiff::fmt::strtime::parse(format, text).ok()?.to_datetime().ok()?;
        let moment = jiff::tz::Offset::UTC.to_timestamp(moment).ok()?;
        Some(Self(moment.as_millisecond()))
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(millis)).max(Self::FIRST)
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        // A later moment would be stored as a text that nobody can read.
        Self(self.0.saturating_add(millis)).min(Self::LAST)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(moment) => write!(f, "{moment:.3}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom(format!("`{text}` is not a timestamp")))
    }
}

/// Reads a duration as people write it: `500ms`, `30s`, `15m`, `2h`, `7d`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let span: jiff::Span = text.parse().ok()?;
    let length = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(length).ok()
}

/// Where the time comes from: the system, or a number that a test moves.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The system's clock.
    #[default]
    System,
    /// A number of milliseconds that somebody else moves.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The time now.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp(jiff::Timestamp::now().as_millisecond()),
            Self::Manual(millis) => Timestamp(millis.load(Ordering::SeqCst)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIRST_OF_1970: i64 = 0;
    const LAST_OF_9998: i64 = 253_370_764_799_999;

    #[test]
    fn a_timestamp_is_its_text() {
        let moment = Timestamp::from_millis(1_795_486_845_120);
        assert_eq!(moment.to_string(), "2026-11-24T02:20:45.120Z");
        assert_eq!(Timestamp::parse(&moment.to_string()), Some(moment));
        assert_eq!(Timestamp::from_millis(1_795_486_845_000).to_string().len(), 24);
    }

    #[test]
    fn a_moment_of_http_is_read() {
        let moment = Timestamp::from_millis(1_795_486_845_000);
        let read = |text: &str| Timestamp::parse_http(text, moment);
        for text in [
            "Tue, 24 Nov 2026 02:20:45 GMT",
            "Tuesday, 24-Nov-26 02:20:45 GMT",
            "Tue Nov 24 02:20:45 2026",
        ] {
            assert_eq!(read(text), Some(moment), "{text}");
        }
        let first = Timestamp::parse("2026-12-01T02:20:45Z");
        for text in [
            "Tue, 01 Dec 2026 02:20:45 GMT",
            "Tuesday, 01-Dec-26 02:20:45 GMT",
            "Tue Dec  1 02:20:45 2026",
        ] {
            assert_eq!(read(text), first, "{text}");
        }
        assert_eq!(
            read("Sunday, 06-Nov-94 08:49:37 GMT"),
            Timestamp::parse("1994-11-06T08:49:37Z")
        );
        assert_eq!(
            read("Monday, 06-Nov-75 08:49:37 GMT"),
            Timestamp::parse("2075-11-06T08:49:37Z")
        );
        for text in [
            "",
            "120",
            "2026-11-24T02:20:45Z",
            "Tue, 24 Nov 2026 02:20:45 CET",
            "GMT",
            "Someday, 24-Nov-26 02:20:45 GMT",
            "Tuesday, 24-Nov-2026 02:20:45 GMT",
            "Tuesday, 99-Nov-26 02:20:45 GMT",
            "Tue Nov 31 02:20:45 2026",
            "Tue Nov 24 25:20:45 2026",
            "Tue Nov 24 02:20:45 99999",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_at_the_ends_of_what_can_be_written_is_the_furthest_that_can_be_stored() {
        let last = Timestamp::from_millis(0) + Duration::MAX;
        for text in [
            "9999-12-31T23:59:59Z",
            "9999-12-31T23:59:59.999999999Z",
            "9999-12-31T00:00:00+00:00",
            "9999-12-31T23:59:59-23:59",
            "9999-12-31T23:59:59+23:59",
            "9999-12-30T22:00:00.001Z",
        ] {
            assert_eq!(Timestamp::parse(text), Some(last), "{text}");
        }
        for text in ["-009999-01-01T00:00:00Z", "-009999-01-01T00:00:00+10:00"] {
            let first = Timestamp::parse(text).unwrap();
            assert_eq!(Timestamp::parse(&first.to_string()), Some(first), "{text}");
            assert_eq!(last.since(first), Duration::from_millis((last.0 - first.0) as u64));
        }
        for text in
            ["9999-12-31", "9999-12-31T23:59:59", "9999-13-31T23:59:59Z", "10000-01-01T00:00:00Z"]
        {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("15m"), Some(Duration::from_secs(900)));
        assert_eq!(parse_duration("7d"), Some(Duration::from_secs(604_800)));
        assert_eq!(parse_duration("7 fortnights"), None);
        assert_eq!(parse_duration("-1s"), None);
        assert_eq!(parse_duration(""), None);
        assert_eq!(parse_duration("30"), None);
        assert_eq!(parse_duration("1 month"), None);
        assert_eq!(parse_duration("1h 30m"), Some(Duration::from_secs(5_400)));
    }

    #[test]
    fn what_is_no_timestamp_does_not_parse() {
        for text in ["", "now", "1795486845", "2026-11-24", "2026-11-24T02:20:45", "9 ms"] {
            assert_eq!(Timestamp::parse(text), None, "{text}");
        }
    }

    #[test]
    fn another_offset_is_the_same_moment() {
        let moment = Timestamp::parse("2026-11-24T03:20:45.12+01:00");
        assert_eq!(moment, Some(Timestamp::from_millis(1_795_486_845_120)));
    }

    #[test]
    fn a_timestamp_is_stored_as_its_text() {
        let moment = Timestamp::from_millis(1_795_486_845_120);
        let stored = serde_json::to_string(&moment).unwrap();
        assert_eq!(stored, "\"2026-11-24T02:20:45.120Z\"");
        assert_eq!(serde_json::from_str::<Timestamp>(&stored).unwrap(), moment);
        assert!(serde_json::from_str::<Timestamp>("\"soon\"").is_err());
    }

    #[test]
    fn the_furthest_time_can_still_be_stored() {
        let never = Timestamp::from_millis(1_795_486_845_120) + Duration::MAX;
        assert_eq!(Timestamp::parse(&never.to_string()), Some(never));
        assert_eq!(never + Duration::from_secs(1), never);
    }

    #[test]
    fn no_time_has_passed_since_a_later_one() {
        let (earlier, later) = (Timestamp::from_millis(1_000), Timestamp::from_millis(3_500));
        assert_eq!(later.since(earlier), Duration::from_millis(2_500));
        assert_eq!(earlier.since(later), Duration::ZERO);
        let (first, last) = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
        assert_eq!(last.since(first), Duration::from_millis(i64::MAX as u64));
    }

    #[test]
    fn a_manual_clock_is_moved_by_hand() {
        let millis = Arc::new(AtomicI64::new(1_000));
        let clock = Clock::Manual(millis.clone());
        millis.store(2_000, Ordering::SeqCst);
        assert_eq!(clock.now(), Timestamp::from_millis(2_000));
    }

    proptest! {
        #[test]
        fn timestamps_sort_as_their_texts_do(
            a in FIRST_OF_1970..LAST_OF_9998,
            b in FIRST_OF_1970..LAST_OF_9998,
        ) {
            let (a, b) = (Timestamp::from_millis(a), Timestamp::from_millis(b));
            prop_assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
            prop_assert_eq!(Timestamp::parse(&a.to_string()), Some(a));
        }
    }

    #[test]
    fn ttl_never_ends_early() {
        assert_eq!(Timestamp::from_millis(1_000).to_ttl_seconds(), 1);
        assert_eq!(Timestamp::from_millis(1_001).to_ttl_seconds(), 2);
    }
}

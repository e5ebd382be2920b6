//! How long whoever was called asks to be left alone.

use std::time::Duration;

use everhook_journal::Timestamp;

/// Reads the header `Retry-After`: seconds, or a moment as HTTP writes it. What has passed is no wait.
pub(super) fn read(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    match text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        // More digits than a number has are a very long wait.
        true => Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX))),
        false => Timestamp::parse_http(text, now).map(|moment| moment.since(now)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_moments_are_read_and_nothing_else_is() {
        let now = Timestamp::parse("2026-11-24T02:20:45Z").unwrap();
        for (text, expected) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Tue, 24 Nov 2026 02:22:45 GMT", Some(120)),
            ("Tue, 24 Nov 2026 02:20:00 GMT", Some(0)),
            ("Tuesday, 24-Nov-26 02:22:45 GMT", Some(120)),
            ("Tue Nov 24 02:22:45 2026", Some(120)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(read(text, now), expected.map(Duration::from_secs), "{text}");
        }
    }
}

//! JSON text, looked at without changing it.

use serde::de::IgnoredAny;

use crate::step::place;

/// The deepest nesting that is read: what serde_json reads into any type.
pub(crate) const DEPTH_MAX: usize = 127;

/// The text, if it is JSON that can be read safely; otherwise what it is instead, to go after "the body".
pub(crate) fn check(bytes: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    // This reads without recursion: it can check the text, whatever its depth.
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| place(&error))?;
    if depth(text) > DEPTH_MAX {
        return Err(format!("is nested more than {DEPTH_MAX} deep"));
    }
    Ok(text)
}

/// The first character that is not blank.
pub(crate) fn first(bytes: &[u8]) -> Option<u8> {
    bytes.iter().copied().find(|byte| !byte.is_ascii_whitespace())
}

/// How deep arrays and objects are nested in JSON text.
pub(crate) fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for byte in unquoted(text) {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The bytes outside of texts.
fn unquoted(text: &str) -> impl Iterator<Item = u8> {
    let (mut quoted, mut escaped) = (false, false);
    text.bytes().filter(move |byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            _ => {}
        }
        !quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_of_texts() {
        assert_eq!(depth("1"), 0);
        assert_eq!(depth(r#"{"a":[1,{"b":2}],"c":[]}"#), 3);
        assert_eq!(depth(r#"["[[[","\"[[","\\",[1]]"#), 2);
    }

    #[test]
    fn what_is_as_deep_as_serde_json_reads_is_read_and_no_deeper() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).is_ok();

        assert!(check(nested(DEPTH_MAX).as_bytes()).is_ok() && read(&nested(DEPTH_MAX)));
        assert!(check(nested(DEPTH_MAX + 1).as_bytes()).is_err() && !read(&nested(DEPTH_MAX + 1)));
        assert!(check(nested(500_000).as_bytes()).is_err());
    }

    #[test]
    fn a_long_number_is_json() {
        assert!(check("7".repeat(1_000_000).as_bytes()).is_ok());
    }

    #[test]
    fn no_dialect_of_json_is_read() {
        for text in ["", "NaN", "{a:1}", "[1,]", "# a\n1", "01", "+1", "1 2", "b\"\"", "\u{feff}1"]
        {
            assert!(check(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(check(b"\"\xff\""), Err("is not UTF-8".to_owned()));
    }
}

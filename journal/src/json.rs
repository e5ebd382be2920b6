//! The one judgement of whether bytes are JSON.
//!
//! What passes [`check`] can be read by every reader: by serde_json into any value, by jq, by a schema.
//! A webhook, a result or an answer is judged by it before it is recorded as JSON.

use serde::de::IgnoredAny;
use serde_json::json;
use serde_json::value::RawValue;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

/// The deepest nesting that is read: what serde_json reads into any type.
pub const DEPTH_MAX: usize = 127;

/// The longest number that is read: the time to read one grows with the square of its length.
pub const NUMBER_CHARS_MAX: usize = 1_000;

/// Numbers of fewer characters and without an exponent fit a float.
const SMALL_NUMBER_CHARS: usize = 300;

/// Why bytes are not JSON that every reader can read. The text goes after "the body", and quotes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// JSON is UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
    /// It has the mark that some editors write first.
    #[error("begins with a byte order mark, which JSON does not have")]
    ByteOrderMark,
    /// It is not of JSON's grammar.
    #[error("is not JSON (line {line}, column {column})")]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// Its end is missing.
    #[error("ends too early to be JSON (line {line}, column {column})")]
    TooShort {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// Its arrays and objects are nested too deep.
    #[error("is nested more than {0} deep")]
    TooDeep(usize),
    /// It has a number that takes too long to read.
    #[error("holds a number of more than {NUMBER_CHARS_MAX} characters")]
    LongNumber,
    /// It has a number that no float is near to.
    #[error("holds a number beyond the range of a float (line {line}, column {column})")]
    LargeNumber {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// It has a text with one half of a character: `"\ud83d"`.
    #[error("holds half of a surrogate pair (line {line}, column {column})")]
    HalfCharacter {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
}

impl Unreadable {
    /// Whether the bytes follow JSON's grammar all the same, so that the parts of a list can be told apart.
    pub fn is_well_formed(self) -> bool {
        match self {
            Self::NotUtf8 | Self::ByteOrderMark | Self::Syntax { .. } | Self::TooShort { .. } => {
                false
            }
            Self::TooDeep(_)
            | Self::LongNumber
            | Self::LargeNumber { .. }
            | Self::HalfCharacter { .. } => true,
        }
    }
}

/// The text, if it is JSON that every reader can read.
pub fn check(bytes: &[u8]) -> Result<&str, Unreadable> {
    check_inside(bytes, 0)
}

/// The text, if it is JSON that every reader can read also when this many levels are around it.
pub fn check_inside(bytes: &[u8], levels: usize) -> Result<&str, Unreadable> {
    let text = std::str::from_utf8(bytes).map_err(|_| Unreadable::NotUtf8)?;
    if text.starts_with('\u{feff}') {
        return Err(Unreadable::ByteOrderMark);
    }
    // This reads without recursion, whatever the depth. What follows relies on the grammar.
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        match error.is_eof() {
            true => Unreadable::TooShort { line, column },
            false => Unreadable::Syntax { line, column },
        }
    })?;
    Scan { text, at: 0, depth: 0, depth_max: DEPTH_MAX.saturating_sub(levels) }.run()?;
    Ok(text)
}

/// Bytes as JSON that can be recorded: as they are if every reader can read them;
/// else an object that holds them as `text`, or as `base64`, and says why as `notJson`.
pub fn kept(bytes: &[u8]) -> Box<RawValue> {
    kept_inside(bytes, 0)
}

/// The same, with this many levels around it.
pub fn kept_inside(bytes: &[u8], levels: usize) -> Box<RawValue> {
    match check_inside(bytes, levels).map(|text| RawValue::from_string(text.trim().to_owned())) {
        Ok(Ok(json)) => json,
        Ok(Err(_)) => flagged(bytes, "is not JSON"),
        Err(why) => flagged(bytes, &why.to_string()),
    }
}

fn flagged(bytes: &[u8], why: &str) -> Box<RawValue> {
    let json = match std::str::from_utf8(bytes) {
        Ok(text) => json!({ "text": text, "notJson": why }),
        Err(_) => json!({ "base64": BASE64.encode(bytes), "notJson": why }),
    };
    RawValue::from_string(json.to_string()).expect("serde_json writes JSON")
}

/// The first character that is not blank.
pub fn first(bytes: &[u8]) -> Option<u8> {
    bytes.iter().copied().find(|byte| !byte.is_ascii_whitespace())
}

/// A walk through text that follows JSON's grammar, for what the grammar does not say.
struct Scan<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    depth_max: usize,
}

impl Scan<'_> {
    fn run(mut self) -> Result<(), Unreadable> {
        while let Some(byte) = self.text.as_bytes().get(self.at) {
            match byte {
                b'"' => self.string()?,
                b'-' | b'0'..=b'9' => self.number()?,
                b'[' | b'{' => {
                    self.depth += 1;
                    self.at += 1;
                    if self.depth > self.depth_max {
                        return Err(Unreadable::TooDeep(self.depth_max));
                    }
                }
                b']' | b'}' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.at += 1;
                }
                _ => self.at += 1,
            }
        }
        Ok(())
    }

    /// Goes behind a text. Every `\u` of a half character must be followed by the other half.
    fn string(&mut self) -> Result<(), Unreadable> {
        let bytes = self.text.as_bytes();
        self.at += 1;
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            let Some(found) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) else {
                self.at = bytes.len();
                return Ok(());
            };
            self.at += found;
            if bytes[self.at] == b'"' {
                self.at += 1;
                return Ok(());
            }
            match self.unit(self.at) {
                Some(0xd800..=0xdbff) => match self.unit(self.at + 6) {
                    Some(0xdc00..=0xdfff) => self.at += 12,
                    _ => return Err(self.half()),
                },
                Some(0xdc00..=0xdfff) => return Err(self.half()),
                Some(_) => self.at += 6,
                None => self.at += 2,
            }
        }
    }

    /// The code unit of an escape that begins here, if one does: `\u00e9`.
    fn unit(&self, at: usize) -> Option<u16> {
        let digits = self.text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    }

    fn number(&mut self) -> Result<(), Unreadable> {
        let rest = &self.text[self.at..];
        let in_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        let length = rest.bytes().position(|byte| !in_number(&byte)).unwrap_or(rest.len());
        let number = &rest[..length];
        if length > NUMBER_CHARS_MAX {
            return Err(Unreadable::LongNumber);
        }
        let is_small = length < SMALL_NUMBER_CHARS && !number.contains(['e', 'E']);
        if !is_small && serde_json::from_str::<f64>(number).is_err() {
            let (line, column) = self.place();
            return Err(Unreadable::LargeNumber { line, column });
        }
        self.at += length;
        Ok(())
    }

    fn half(&self) -> Unreadable {
        let (line, column) = self.place();
        Unreadable::HalfCharacter { line, column }
    }

    fn place(&self) -> (usize, usize) {
        let before = &self.text.as_bytes()[..self.at];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        (line, self.at - start + 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn nested(depth: usize) -> String {
        "[".repeat(depth) + &"]".repeat(depth)
    }

    fn told(text: &str) -> String {
        check(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn half_of_a_surrogate_pair_is_refused_wherever_it_is() {
        for text in [
            r#""\ud83d""#,
            r#""\ude00""#,
            r#""\ud83d\ud83d""#,
            r#""\ude00\ud83d""#,
            r#""\ud83dx""#,
            r#""\ud83d\n""#,
            r#""\ud83d\\ude00""#,
            r#""\uD800\u0041""#,
            r#"{"a":[{"b":"x\udfff"}]}"#,
            r#"{"\udbff":1}"#,
            r#"["\ud83d\ude00\ude00"]"#,
        ] {
            let why = check(text.as_bytes()).unwrap_err();
            assert!(matches!(why, Unreadable::HalfCharacter { .. }), "{text}: {why}");
            assert!(why.is_well_formed());
            assert!(serde_json::from_str::<Value>(text).is_err(), "{text}");
        }
        assert_eq!(
            told("{\n  \"a\": \"b\\ud83d\"}"),
            "holds half of a surrogate pair (line 2, column 10)"
        );
    }

    #[test]
    fn whole_characters_are_read_however_they_are_written() {
        for text in [
            r#""\ud83d\ude00""#,
            r#""\uD83D\uDE00\uD83D\uDE00""#,
            r#""\\ud83d""#,
            r#""\\\\ud83d\"""#,
            r#""\u0000\u001f\u00e9\uffff\u2028""#,
            "\"😀\"",
            r#""\ud7ff\ue000""#,
        ] {
            assert_eq!(check(text.as_bytes()), Ok(text), "{text}");
            assert!(serde_json::from_str::<Value>(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_as_deep_as_serde_json_reads_is_read_and_no_deeper() {
        let read = |text: &str| serde_json::from_str::<Value>(text).is_ok();
        assert!(check(nested(DEPTH_MAX).as_bytes()).is_ok() && read(&nested(DEPTH_MAX)));
        assert!(check(nested(DEPTH_MAX + 1).as_bytes()).is_err() && !read(&nested(DEPTH_MAX + 1)));
        assert_eq!(told(&nested(500_000)), "is nested more than 127 deep");
        assert!(check_inside(nested(DEPTH_MAX - 2).as_bytes(), 2).is_ok());
        assert_eq!(
            check_inside(nested(DEPTH_MAX - 1).as_bytes(), 2),
            Err(Unreadable::TooDeep(DEPTH_MAX - 2))
        );
        assert!(check(br#"["[[[","\"[[","\\",[1]]"#).is_ok());
    }

    #[test]
    fn a_number_is_bounded_and_a_text_of_digits_is_not() {
        let digits = |count: usize| "7".repeat(count);
        assert!(check(digits(300).as_bytes()).is_ok());
        assert_eq!(check(digits(NUMBER_CHARS_MAX + 1).as_bytes()), Err(Unreadable::LongNumber));
        assert!(check(format!("[\"{}\"]", digits(1_000_000)).as_bytes()).is_ok());
        let long = format!("0.{}", digits(NUMBER_CHARS_MAX - 2));
        assert!(check(long.as_bytes()).is_ok());
    }

    #[test]
    fn a_number_beyond_a_float_is_refused_and_a_large_integer_is_not() {
        for text in ["1e400", "-1E+309", "[1.5e308, 9e999]", "{\"a\":1e99999}", &"7".repeat(400)] {
            let why = check(text.as_bytes()).unwrap_err();
            assert!(matches!(why, Unreadable::LargeNumber { .. }), "{text}: {why}");
            assert!(serde_json::from_str::<Value>(text).is_err(), "{text}");
        }
        for text in ["12345678901234567890123", "1e308", "1e-400", "-0.0", "1E2", "-9e+1"] {
            assert_eq!(check(text.as_bytes()), Ok(text));
        }
    }

    #[test]
    fn no_dialect_of_json_is_read() {
        for text in [
            "",
            " ",
            "NaN",
            "Infinity",
            "-Infinity",
            "{a:1}",
            "{'a':1}",
            "[1,]",
            "# a\n1",
            "01",
            "+1",
            ".5",
            "1.",
            "1 2",
            "{} {}",
            "[]x",
            "1\0",
            "b\"\"",
            "\"\t\"",
            "\"\0\"",
            "\"\\x41\"",
            "\"\\u12\"",
            "\u{a0}1",
            "True",
            "undefined",
        ] {
            let why = check(text.as_bytes()).unwrap_err();
            assert!(!why.is_well_formed(), "{text:?}: {why}");
        }
        assert_eq!(check(b"\"\xff\""), Err(Unreadable::NotUtf8));
        assert_eq!(check(b"\"\xed\xa0\xbd\""), Err(Unreadable::NotUtf8));
        assert_eq!(check("\u{feff}{}".as_bytes()), Err(Unreadable::ByteOrderMark));
        assert_eq!(told("[1"), "ends too early to be JSON (line 1, column 2)");
    }

    #[test]
    fn what_cannot_be_kept_as_json_is_kept_as_text_and_says_why() {
        let shown = |bytes: &[u8]| kept(bytes).get().to_owned();
        assert_eq!(shown(b" {\"n\": 1.10}\n"), "{\"n\": 1.10}");
        assert_eq!(
            shown(br#""\ud83d""#),
            r#"{"notJson":"holds half of a surrogate pair (line 1, column 2)","text":"\"\\ud83d\""}"#
        );
        assert_eq!(shown(b"\xff"), r#"{"base64":"/w==","notJson":"is not UTF-8"}"#);
        assert!(shown(b"no").contains("is not JSON"));
        for bytes in [&b"\"\\ud83d\""[..], b"\xff", b"1e400", nested(200).as_bytes(), b""] {
            assert!(check(kept(bytes).get().as_bytes()).is_ok());
            assert!(check_inside(kept_inside(bytes, 5).get().as_bytes(), 5).is_ok());
        }
    }

    proptest! {
        #[test]
        fn what_passes_is_read_by_serde_json_and_what_fails_is_not(text in near_json()) {
            let read = serde_json::from_str::<Value>(&text).is_ok();
            prop_assert_eq!(check(text.as_bytes()).is_ok(), read, "{}", text);
        }

        #[test]
        fn any_bytes_are_kept_as_json(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(check(kept(&bytes).get().as_bytes()).is_ok());
        }
    }

    /// Text that is JSON, or almost.
    fn near_json() -> impl Strategy<Value = String> {
        let parts = [
            "[", "]", "{", "}", ",", ":", "\"", "\"a\"", "\"a\":", "1", "-", "1.5", "1e400", "1e3",
            "e", "null", "true", "\\", "\\u", "\\ud83d", "\\ude00", "\\n", "u0041", " ", "\n",
            "\t", "é", "\u{feff}",
        ];
        let part = proptest::sample::select(parts.to_vec());
        let loose = proptest::collection::vec(part.clone(), 0..12).prop_map(|parts| parts.concat());
        let quoted = proptest::collection::vec(part, 0..8)
            .prop_map(|parts| format!("[\"{}\"]", parts.concat().replace(['"', '\n', '\t'], "")));
        prop_oneof![loose, quoted]
    }
}

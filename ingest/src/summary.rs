//! What a body is about: its top-level keys and the type it names. Nothing else of it is kept in memory.

use std::fmt;

use everhook_journal::event::KEYS_MAX;
use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The longest name of a key, or of a type, that is kept, in characters.
const NAME_MAX: usize = 100;

/// What a JSON body is about.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The names of its first top-level keys.
    pub keys: Vec<String>,
    /// How many top-level keys (of an object) or items (of an array) it has.
    pub key_count: u64,
    /// Its top-level `type`, if that is text.
    pub event_type: Option<String>,
}

impl Summary {
    /// Reads a body; `None` if it is not JSON.
    pub fn of(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }
}

impl<'de> Deserialize<'de> for Summary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Summary;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Summary, A::Error> {
        let mut summary = Summary::default();
        while let Some(key) = map.next_key::<String>()? {
            if key == "type" {
                summary.event_type = map.next_value::<Text>()?.0.map(shortened);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            summary.key_count += 1;
            if summary.keys.len() < KEYS_MAX {
                summary.keys.push(shortened(key));
            }
        }
        Ok(summary)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Summary, A::Error> {
        let mut summary = Summary::default();
        while items.next_element::<IgnoredAny>()?.is_some() {
            summary.key_count += 1;
        }
        Ok(summary)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Summary, E> {
        Ok(Summary::default())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Summary, E> {
        Ok(Summary::default())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Summary, E> {
        Ok(Summary::default())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Summary, E> {
        Ok(Summary::default())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Summary, E> {
        Ok(Summary::default())
    }

    fn visit_unit<E: Error>(self) -> Result<Summary, E> {
        Ok(Summary::default())
    }
}

/// A value that may be text.
struct Text(Option<String>);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The raw text first: a `type` of any other shape is not an error.
        let raw = <&serde_json::value::RawValue>::deserialize(deserializer)?;
        Ok(Self(serde_json::from_str(raw.get()).ok()))
    }
}

fn shortened(mut name: String) -> String {
    if let Some((end, _)) = name.char_indices().nth(NAME_MAX) {
        name.truncate(end);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_counted_and_the_first_are_named() {
        let summary = Summary::of(br#"{"type": "invoice.paid", "amount": 1e400, "n": {"x": []}}"#);
        let keys = ["type", "amount", "n"].map(String::from).to_vec();
        let event_type = Some("invoice.paid".into());
        assert_eq!(summary, Some(Summary { keys, key_count: 3, event_type }));
    }

    #[test]
    fn any_json_has_a_summary_and_nothing_else_has() {
        for json in [
            "[1,2,3]",
            "null",
            "3.5",
            "\"text\"",
            "{\"type\": 7}",
            "true",
            "-1",
            "18446744073709551616",
        ] {
            assert!(Summary::of(json.as_bytes()).is_some(), "{json}");
        }
        for other in ["", "not json", "{", "a=b&c=d", "{} {}"] {
            assert_eq!(Summary::of(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn ten_thousand_keys_are_counted_not_kept() {
        let pairs: Vec<_> = (0..10_000).map(|n| format!("\"k{n}\":{n}")).collect();
        let summary = Summary::of(format!("{{{}}}", pairs.join(",")).as_bytes()).unwrap();
        assert_eq!((summary.key_count, summary.keys.len()), (10_000, KEYS_MAX));
    }
}

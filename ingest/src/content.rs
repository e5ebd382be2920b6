//! Which part of a body tells events apart: two bodies with the same digest are one.

use std::borrow::Cow;
use std::fmt;

use everhook_journal::payload::sha256_hex;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::outline::{Outline, Path, Wanted};

/// Which part of a body tells events apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// All of it.
    Whole,
    /// All but these members, which the sender changes when it sends again:
    /// paths of keys, `*` for each item of a list.
    Without(&'static [&'static str]),
    /// Only these members, because nothing else is signed. Bodies that have none of them are compared as a whole.
    Only(&'static [&'static str]),
}

impl Content {
    /// The digest of a body, of which the SHA-256 is known.
    pub fn digest(self, body: &[u8], body_sha256: &str) -> String {
        let selected = match self {
            Self::Whole => None,
            Self::Without(paths) => without(body, paths),
            Self::Only(paths) => only(body, paths),
        };
        selected.map_or_else(|| body_sha256.to_owned(), |selected| sha256_hex(&selected))
    }
}

fn without(body: &[u8], paths: &[&str]) -> Option<Vec<u8>> {
    let paths: Vec<Vec<&str>> = paths.iter().map(|path| path.split('.').collect()).collect();
    let paths: Vec<&[&str]> = paths.iter().map(Vec::as_slice).collect();
    let body: &RawValue = serde_json::from_slice(body).ok()?;
    let mut left = Vec::new();
    copy(body, &paths, &mut left);
    Some(left)
}

/// Copies a value without what is at these paths. No deeper than the longest path.
fn copy(raw: &RawValue, paths: &[&[&str]], to: &mut Vec<u8>) {
    let below = |step: &str| -> Vec<&[&str]> {
        let split = paths.iter().filter_map(|path| path.split_first());
        split.filter(|(first, _)| **first == step).map(|(_, rest)| rest).collect()
    };
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'{') if !paths.is_empty() => {
            let Ok(Members(members)) = serde_json::from_str(text) else {
                return to.extend(text.as_bytes());
            };
            to.push(b'{');
            for (key, value) in members {
                let inner = below(&key);
                if inner.iter().any(|path| path.is_empty()) {
                    continue;
                }
                // With its length: no two lists of members make the same bytes.
                to.extend(format!("{}:{key}", key.len()).as_bytes());
                copy(value, &inner, to);
                to.push(b',');
            }
            to.push(b'}');
        }
        Some(b'[') if !paths.is_empty() => {
            let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(text) else {
                return to.extend(text.as_bytes());
            };
            let inner = below("*");
            to.push(b'[');
            for item in items {
                copy(item, &inner, to);
                to.push(b',');
            }
            to.push(b']');
        }
        Some(_) | None => to.extend(text.as_bytes()),
    }
}

fn only(body: &[u8], paths: &[&str]) -> Option<Vec<u8>> {
    let wanted =
        Wanted { paths: paths.iter().map(|path| Path::dotted(path)).collect(), list: None };
    let outline = Outline::of(body, &wanted);
    let values: Vec<_> = paths.iter().filter_map(|path| outline.text(path)).collect();
    let joined = values.iter().map(|value| format!("{}:{value}", value.len()));
    (!values.is_empty()).then(|| joined.collect::<String>().into_bytes())
}

/// The members of an object in their order, also those that occur twice.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                #[derive(Deserialize)]
                struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
                let mut members = Vec::new();
                while let Some((Key(key), value)) = map.next_entry()? {
                    members.push((key, value));
                }
                Ok(Members(members))
            }
        }
        json.deserialize_map(Pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(content: Content, body: &str) -> String {
        content.digest(body.as_bytes(), &sha256_hex(body.as_bytes()))
    }

    #[test]
    fn what_a_retry_changes_does_not_count_and_everything_else_does() {
        let content = Content::Without(&["attempt", "events.*.context"]);
        let one = digest(
            content,
            r#"{"id": 1, "attempt": 0, "events": [{"n": 1, "context": {"x": [1]}}]}"#,
        );
        let again = r#"{"id": 1, "attempt": 12, "events": [{"n": 1, "context": null}]}"#;
        assert_eq!(digest(content, again), one);
        for other in [
            r#"{"id": 2, "attempt": 0, "events": [{"n": 1}]}"#,
            r#"{"id": 1, "attempt": 0, "events": [{"n": 2}]}"#,
            r#"{"id": 1, "attempt": 0, "events": [{"n": 1}, {"n": 1}]}"#,
            r#"{"id": 1, "attempt": 0, "events": []}"#,
            r#"{"id": 1, "id": 1, "attempt": 0, "events": [{"n": 1}]}"#,
            r#"{"id": 1, "data": {"attempt": 0}, "events": [{"n": 1}]}"#,
            r#"{"id": 1, "data": {"attempt": 1}, "events": [{"n": 1}]}"#,
            r#"{"id":1,"events":[{"n":12345678901234567890123}]}"#,
            r#"{"id":1,"events":[{"n":12345678901234567890124}]}"#,
        ] {
            assert_ne!(digest(content, other), one, "{other}");
        }
        let inner = |n: u8| digest(content, &format!(r#"{{"data": {{"attempt": {n}}}}}"#));
        assert_ne!(inner(0), inner(1), "a member of the same name elsewhere counts");
    }

    #[test]
    fn of_a_body_that_is_signed_in_part_only_that_part_counts() {
        let content = Content::Only(&["item.signature", "signature"]);
        let body = |signature: &str, note: &str| {
            digest(
                content,
                &format!(r#"{{"item": {{"signature": "{signature}", "note": "{note}"}}}}"#),
            )
        };
        assert_eq!(body("a", "x"), body("a", "y"));
        assert_ne!(body("a", "x"), body("b", "x"));
        assert_ne!(digest(content, r#"{"n": 1}"#), digest(content, r#"{"n": 2}"#));
    }

    #[test]
    fn what_is_no_json_counts_as_it_is() {
        for content in [Content::Whole, Content::Without(&["a"]), Content::Only(&["a"])] {
            for body in ["", "a=1", "{\"a\": 1", "[1] 2"] {
                assert_eq!(digest(content, body), sha256_hex(body.as_bytes()), "{body}");
            }
        }
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert_eq!(digest(Content::Without(&["*.*.a"]), &deep).len(), 64);
    }
}

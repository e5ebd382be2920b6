//! JSON objects whose members a signature covers by name.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object. One with a name that occurs twice cannot be read:
/// two readers could each take another value for the right one.
#[derive(Debug)]
pub(super) struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

/// A name, without a copy of its own where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Members<'a> {
    /// The members of this object; `None` if it is none.
    pub(super) fn of(json: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// The value of this name.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| *value)
    }

    /// Whether one of these names is there.
    pub(super) fn has_any(&self, names: &[&str]) -> bool {
        self.0.iter().any(|(found, _)| names.contains(&found.as_ref()))
    }

    /// How many members there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The text of this name: empty if it is missing or null, `None` if it is something else.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        match self.get(name).map(RawValue::get) {
            None | Some("null") => Some(String::new()),
            Some(text) => serde_json::from_str(text).ok(),
        }
    }

    /// The text, whole number or truth value of this name, as it is written.
    /// What has two spellings of one value, such as `1.0`, is none.
    pub(super) fn scalar(&self, name: &str) -> Option<String> {
        let is_whole = |text: &str| {
            let digits = text.strip_prefix('-').unwrap_or(text);
            !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
        };
        match self.get(name).map(RawValue::get) {
            Some(text @ ("true" | "false")) => Some(text.to_owned()),
            Some(text) if is_whole(text) => Some(text.to_owned()),
            _ => self.text(name),
        }
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_map(Once)
    }
}

/// Reads the members of an object, each once.
struct Once;

impl<'de> Visitor<'de> for Once {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut names = std::collections::HashSet::new();
        let mut members = Vec::new();
        while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &RawValue>()? {
            if !names.insert(name.clone()) {
                return Err(A::Error::custom("a name occurs twice"));
            }
            members.push((name, value));
        }
        Ok(Members(members))
    }
}

/// Where in a body this value of it is.
pub(super) fn place(body: &[u8], value: &RawValue) -> Range<usize> {
    let from = value.get().as_ptr().addr() - body.as_ptr().addr();
    from..from + value.get().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_with_a_doubled_name_is_unreadable() {
        for doubled in [r#"{"a":1,"a":1}"#, r#"{"a":1,"b":2,"\u0061":3}"#, "[]", "1", "", "{} {}"] {
            assert!(Members::of(doubled.as_bytes()).is_none(), "{doubled}");
        }
        let members = Members::of(br#"{"a":{"x":1,"x":2},"b":null}"#).unwrap();
        assert_eq!(members.get("a").unwrap().get(), r#"{"x":1,"x":2}"#);
        assert_eq!(members.text("b").as_deref(), Some(""));
    }

    #[test]
    fn a_scalar_has_one_spelling() {
        let members = Members::of(
            br#"{"a":"1.0","b":-12345678901234567890123,"c":true,"d":1.0,"e":1e3,"f":[1],"g":{}}"#,
        );
        let scalar = |name| members.as_ref().unwrap().scalar(name);
        assert_eq!(scalar("a").as_deref(), Some("1.0"));
        assert_eq!(scalar("b").as_deref(), Some("-12345678901234567890123"));
        assert_eq!(scalar("c").as_deref(), Some("true"));
        assert_eq!(scalar("missing").as_deref(), Some(""));
        for other in ["d", "e", "f", "g"] {
            assert_eq!(scalar(other), None, "{other}");
        }
    }

    #[test]
    fn a_value_is_found_where_it_stands() {
        let body = br#" {"a": [1, 2]}"#;
        let members = Members::of(body).unwrap();
        assert_eq!(&body[place(body, members.get("a").unwrap())], b"[1, 2]");
    }
}

//! One field out of a JSON body, without keeping the rest of it.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The text or number at a path of keys (`data.id`); `None` if there is none.
/// Of a key that occurs twice the last one counts, as for everybody who reads the body later.
pub(crate) fn field(body: &[u8], path: &str) -> Option<String> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let found = Seek { path: Some(path) }.deserialize(&mut json).ok()?;
    json.end().ok()?;
    found
}

/// What stands at the rest of a path, seen from here; at no path, nothing.
struct Seek<'p> {
    path: Option<&'p str>,
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl Seek<'_> {
    fn scalar(&self, text: impl ToString) -> Option<String> {
        self.path.filter(|path| path.is_empty()).map(|_| text.to_string())
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let path = self.path.filter(|path| !path.is_empty());
        let (wanted, rest) = path.map_or((None, ""), |path| match path.split_once('.') {
            Some((key, rest)) => (Some(key), rest),
            None => (Some(path), ""),
        });
        let mut found = None;
        while let Some(key) = map.next_key::<String>()? {
            if Some(key.as_str()) == wanted {
                found = map.next_value_seed(Seek { path: Some(rest) })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        // `0.` at the front of a path means the first item.
        let rest = self.path.and_then(|path| path.strip_prefix("0."));
        let first = items.next_element_seed(Seek { path: rest })?.flatten();
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(first)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(self.scalar(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(self.scalar(number))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.scalar(text))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_keys_finds_texts_and_whole_numbers() {
        let body = br#"{"id": "a", "n": 7, "data": {"id": "b", "list": [{"id": "c"}]}, "x": {}}"#;
        assert_eq!(field(body, "id").as_deref(), Some("a"));
        assert_eq!(field(body, "n").as_deref(), Some("7"));
        assert_eq!(field(body, "data.id").as_deref(), Some("b"));
        assert_eq!(field(body, "data.list.0.id").as_deref(), Some("c"));
        for absent in ["x", "data", "data.nothing", "id.more", "", "0.id"] {
            assert_eq!(field(body, absent), None, "{absent}");
        }
    }

    #[test]
    fn the_last_of_equal_keys_counts_and_half_a_body_has_none() {
        assert_eq!(field(br#"{"id": 1, "id": 2}"#, "id").as_deref(), Some("2"));
        assert_eq!(field(br#"{"id": 1"#, "id"), None);
        assert_eq!(field(br#"{"id": 1} x"#, "id"), None);
        assert_eq!(field(b"[{\"id\": 5}]", "0.id").as_deref(), Some("5"));
    }
}

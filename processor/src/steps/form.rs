//! A form as JSON: `a=1&b=2`.

use serde_json::{Map, Value};

use crate::step::StepError;

/// The object that a form is: a text for each name, a list of texts for one that occurs several times.
pub(crate) fn to_json(body: &[u8]) -> Result<String, StepError> {
    let invalid = |why: &str| StepError::fatal("invalid", format!("the body {why}"));
    let text = std::str::from_utf8(body).map_err(|_| invalid("is not UTF-8"))?;
    let mut form = Map::new();
    for (name, value) in form_urlencoded::parse(text.trim_end_matches(['\r', '\n']).as_bytes()) {
        let value = Value::String(value.into_owned());
        match form.get_mut(name.as_ref()) {
            None => {
                form.insert(name.into_owned(), value);
            }
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    Ok(Value::Object(form).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> String {
        to_json(body.as_bytes()).unwrap()
    }

    #[test]
    fn a_form_is_an_object_of_texts() {
        assert_eq!(read("a=1&b=x+y%26z"), r#"{"a":"1","b":"x y&z"}"#);
        assert_eq!(read("a=1&a=2&b=&a=3"), r#"{"a":["1","2","3"],"b":""}"#);
        assert_eq!(read("payload=%7B%22a%22%3A1%7D"), r#"{"payload":"{\"a\":1}"}"#);
        assert_eq!(read("c%5B%5D=1&d"), r#"{"c[]":"1","d":""}"#);
        assert_eq!(read("a=1\r\n"), r#"{"a":"1"}"#);
        assert_eq!(read(""), "{}");
    }

    #[test]
    fn what_is_no_text_in_a_form_is_still_readable() {
        assert_eq!(to_json(b"a=\xff").unwrap_err().message, "the body is not UTF-8");
        for body in ["a=%ff", "a=%", "%", "=&=&&", "a=%ed%a0%bd", "a=%00"] {
            assert!(everhook_journal::json::check(read(body).as_bytes()).is_ok(), "{body}");
        }
    }
}

//! JSON text as a value, in time that grows with its length alone.

use std::rc::Rc;

use serde::de::IgnoredAny;

use super::{Map, Value, number};

/// The deepest nesting that is read, as in jq.
pub(crate) const DEPTH_READ_MAX: usize = 10_000;

/// JSON text of at most this depth as a value; none if it is something else.
pub(crate) fn read(text: &str, depth_max: usize) -> Option<Value> {
    // This reads without recursion, and leaves nothing that the reader below has to doubt but the depth.
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    read_known(text, depth_max)
}

/// Text that is known to be JSON, as a value; none if it is deeper than this.
pub(crate) fn read_known(text: &str, depth_max: usize) -> Option<Value> {
    Reader { text, at: 0, depth: depth_max }.value()
}

/// Reads text that is known to be JSON.
struct Reader<'t> {
    text: &'t str,
    at: usize,
    /// How much deeper it goes.
    depth: usize,
}

impl Reader<'_> {
    fn value(&mut self) -> Option<Value> {
        match self.next()? {
            b'n' => self.word("null", Value::Null),
            b't' => self.word("true", Value::Bool(true)),
            b'f' => self.word("false", Value::Bool(false)),
            b'"' => self.text().map(Value::Text),
            b'[' => self.inside(Self::array),
            b'{' => self.inside(Self::object),
            _ => Some(self.number()),
        }
    }

    /// The next byte that is not blank.
    fn next(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        self.text.as_bytes().get(self.at).copied()
    }

    fn word(&mut self, word: &str, value: Value) -> Option<Value> {
        self.at += word.len();
        Some(value)
    }

    fn number(&mut self) -> Value {
        let rest = &self.text[self.at..];
        let belongs = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        let length = rest.bytes().take_while(|byte| belongs(byte)).count();
        self.at += length;
        number::from_text(&rest[..length])
    }

    fn text(&mut self) -> Option<Rc<String>> {
        let rest = &self.text[self.at + 1..];
        let end = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\'))?;
        if rest.as_bytes()[end] == b'"' {
            self.at += end + 2;
            return Some(Rc::new(rest[..end].to_owned()));
        }
        let mut escaped = false;
        let end = rest.bytes().position(|byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        })?;
        let quoted = &self.text[self.at..self.at + end + 2];
        self.at += end + 2;
        serde_json::from_str(quoted).ok().map(Rc::new)
    }

    fn inside(&mut self, read: impl FnOnce(&mut Self) -> Option<Value>) -> Option<Value> {
        self.depth = self.depth.checked_sub(1)?;
        self.at += 1;
        let value = read(self)?;
        self.at += 1;
        self.depth += 1;
        Some(value)
    }

    fn array(&mut self) -> Option<Value> {
        let mut items = Vec::new();
        while self.next()? != b']' {
            items.push(self.value()?);
            if self.next()? == b',' {
                self.at += 1;
            }
        }
        Some(Value::array(items))
    }

    fn object(&mut self) -> Option<Value> {
        let mut members = Map::new();
        while self.next()? != b'}' {
            let name = self.text()?;
            self.next()?;
            self.at += 1;
            let value = self.value()?;
            members.insert(name, value);
            if self.next()? == b',' {
                self.at += 1;
            }
        }
        Some(Value::object(members))
    }
}

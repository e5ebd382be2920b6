//! A value as JSON text.

use std::fmt::{self, Write};

use super::{Value, number};

/// The deepest nesting that is written, as in jq.
const DEPTH_WRITTEN_MAX: usize = 10_000;

/// Why a value is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteError {
    /// It is nested deeper than is asked for.
    Deep,
    /// It is longer than is asked for.
    Long,
}

/// The value as JSON of at most this depth and length.
pub(crate) fn write(value: &Value, depth: usize, bytes_max: usize) -> Result<String, WriteError> {
    let mut text = Bounded { text: String::new(), bytes_max };
    match to(&mut text, value, depth, Numbers::AsWritten) {
        Ok(true) => Ok(text.text),
        Ok(false) => Err(WriteError::Deep),
        Err(fmt::Error) => Err(WriteError::Long),
    }
}

/// The beginning of the value as JSON.
pub(super) fn prefix(value: &Value, bytes_max: usize) -> String {
    let mut text = Bounded { text: String::new(), bytes_max };
    to(&mut text, value, DEPTH_WRITTEN_MAX, Numbers::AsText).ok();
    text.text
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        to(f, self, DEPTH_WRITTEN_MAX, Numbers::AsText).map(|_| ())
    }
}

/// How numbers are written that were not calculated.
#[derive(Clone, Copy)]
enum Numbers {
    /// As they were written: in results.
    AsWritten,
    /// As jq writes them: in `tostring` and `tojson`.
    AsText,
}

/// Whether it was written whole.
fn to(
    out: &mut impl Write,
    value: &Value,
    depth: usize,
    numbers: Numbers,
) -> Result<bool, fmt::Error> {
    match value {
        Value::Null => out.write_str("null")?,
        Value::Bool(true) => out.write_str("true")?,
        Value::Bool(false) => out.write_str("false")?,
        Value::Number(number) => out.write_str(&number::format(*number))?,
        Value::Literal(literal) => match numbers {
            Numbers::AsWritten => out.write_str(&literal.text)?,
            Numbers::AsText => out.write_str(&number::canonical(&literal.text))?,
        },
        Value::Text(text) => quoted(out, text)?,
        Value::Array(_) | Value::Object(_) if depth == 0 => return Ok(false),
        Value::Array(items) => {
            out.write_char('[')?;
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.write_char(',')?;
                }
                if !to(out, item, depth - 1, numbers)? {
                    return Ok(false);
                }
            }
            out.write_char(']')?;
        }
        Value::Object(members) => {
            out.write_char('{')?;
            for (index, (name, member)) in members.iter().enumerate() {
                if index > 0 {
                    out.write_char(',')?;
                }
                quoted(out, name)?;
                out.write_char(':')?;
                if !to(out, member, depth - 1, numbers)? {
                    return Ok(false);
                }
            }
            out.write_char('}')?;
        }
    }
    Ok(true)
}

fn quoted(out: &mut impl Write, text: &str) -> fmt::Result {
    out.write_char('"')?;
    let mut rest = text;
    while let Some(place) = rest.find(|it: char| it < ' ' || matches!(it, '"' | '\\' | '\u{7f}')) {
        out.write_str(&rest[..place])?;
        match rest.as_bytes()[place] {
            b'"' => out.write_str("\\\"")?,
            b'\\' => out.write_str("\\\\")?,
            b'\n' => out.write_str("\\n")?,
            b'\r' => out.write_str("\\r")?,
            b'\t' => out.write_str("\\t")?,
            0x08 => out.write_str("\\b")?,
            0x0c => out.write_str("\\f")?,
            byte => write!(out, "\\u{byte:04x}")?,
        }
        rest = &rest[place + 1..];
    }
    out.write_str(rest)?;
    out.write_char('"')
}

/// Text up to a length; a write beyond that is an error, after what fits.
struct Bounded {
    text: String,
    bytes_max: usize,
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes_max - self.text.len();
        self.text.push_str(&text[..text.floor_char_boundary(room)]);
        if text.len() > room { Err(fmt::Error) } else { Ok(()) }
    }
}

//! A value of jq as a step's result.

use std::io;

use jaq_json::{Num, Val};
use serde::ser::{Error as _, SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::step::{Output, StepError};
use crate::steps::RESULT_BYTES_MAX;
use crate::steps::json::DEPTH_MAX;

/// The value as JSON text. What is not JSON to begin with is refused, except as jq has it:
/// not-a-number is null, an infinity the largest number.
pub(crate) fn to_output(value: &Val) -> Result<Output, StepError> {
    let mut text = Bounded(Vec::new());
    serde_json::to_writer(&mut text, &Json { value, depth: 0 }).map_err(|error| {
        if error.is_io() {
            let message = format!("the result has more than {RESULT_BYTES_MAX} bytes");
            return StepError::fatal("too_large", message);
        }
        StepError::fatal("invalid", format!("the result {error}"))
    })?;
    let text = String::from_utf8(text.0).expect("serde_json writes UTF-8");
    Ok(RawValue::from_string(text).expect("serde_json writes JSON"))
}

struct Json<'v> {
    value: &'v Val,
    depth: usize,
}

impl Json<'_> {
    fn inside<'v>(&self, value: &'v Val) -> Json<'v> {
        Json { value, depth: self.depth + 1 }
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.depth > DEPTH_MAX {
            return Err(S::Error::custom(format!("is nested more than {DEPTH_MAX} deep")));
        }
        match self.value {
            Val::Null => serializer.serialize_unit(),
            Val::Bool(flag) => serializer.serialize_bool(*flag),
            Val::Num(number) => serialize_number(number, serializer),
            Val::TStr(bytes) => serializer.serialize_str(text(bytes)?),
            Val::BStr(_) => Err(S::Error::custom("holds bytes that are not text")),
            Val::Arr(items) => {
                let mut sequence = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| sequence.serialize_element(&self.inside(item)))?;
                sequence.end()
            }
            Val::Obj(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries.iter() {
                    let Val::TStr(key) = key else {
                        return Err(S::Error::custom("has a key that is not text"));
                    };
                    map.serialize_entry(text(key)?, &self.inside(value))?;
                }
                map.end()
            }
        }
    }
}

fn text<E: serde::ser::Error>(bytes: &[u8]) -> Result<&str, E> {
    std::str::from_utf8(bytes).map_err(|_| E::custom("holds text that is not UTF-8"))
}

fn serialize_number<S: Serializer>(number: &Num, serializer: S) -> Result<S::Ok, S::Error> {
    match number {
        Num::Int(integer) => integer.serialize(serializer),
        Num::Float(float) if float.is_nan() => serializer.serialize_unit(),
        Num::Float(float) => serializer.serialize_f64(float.clamp(f64::MIN, f64::MAX)),
        Num::BigInt(_) | Num::Dec(_) => match RawValue::from_string(number.to_string()) {
            Ok(as_written) => as_written.serialize(serializer),
            // An expression may write numbers that JSON would not, such as `.5`.
            Err(_) => {
                let float = number.to_string().parse().unwrap_or(f64::NAN);
                serialize_number(&Num::Float(float), serializer)
            }
        },
    }
}

/// Bytes up to the largest result; a write beyond that is an error.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > RESULT_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

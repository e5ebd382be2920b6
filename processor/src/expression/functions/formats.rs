//! Formats: `@csv`, `@base64d` and others.

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jaq_core::native::{Fun, bome, run, v};

use super::super::value::{Result, Value, error, told};
use super::Data;

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

pub(super) fn functions() -> Vec<Fun<Data>> {
    vec![
        run(("_csv", v(0), |cv| bome(row(&cv.1, ",", csv)))),
        run(("_tsv", v(0), |cv| bome(row(&cv.1, "\t", tsv)))),
        run(("_sh", v(0), |cv| bome(shell(&cv.1)))),
        run(("_urid", v(0), |cv| bome(from_uri(&cv.1)))),
        run(("_base64d", v(0), |cv| bome(from_base64(&cv.1)))),
        run(("_base32", v(0), |cv| bome(Ok(to_base32(&cv.1))))),
        run(("_base32d", v(0), |cv| bome(from_base32(&cv.1)))),
    ]
}

fn text(value: &Value) -> &str {
    match value {
        Value::Text(text) => text,
        // Formats are applied to text.
        _ => "",
    }
}

fn row(value: &Value, between: &str, cell: fn(&str) -> String) -> Result {
    let kind = if between == "," { "csv" } else { "tsv" };
    let Value::Array(cells) = value else {
        return error(format!("{} cannot be {kind}-formatted, only array", told(value)));
    };
    let cells = cells.iter().map(|value| match value {
        Value::Null => Ok(String::new()),
        Value::Text(text) => Ok(cell(text)),
        Value::Array(_) | Value::Object(_) => {
            error(format!("{} is not valid in a csv row", told(value)))
        }
        other => Ok(other.to_string()),
    });
    Ok(Value::text(cells.collect::<Result<Vec<_>>>()?.join(between)))
}

fn csv(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

fn tsv(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
}

fn shell(value: &Value) -> Result {
    let one = |value: &Value| match value {
        Value::Text(text) => Ok(format!("'{}'", text.replace('\'', "'\\''"))),
        Value::Array(_) | Value::Object(_) => {
            error(format!("{} can not be escaped for shell", told(value)))
        }
        other => Ok(other.to_string()),
    };
    match value {
        Value::Array(words) => {
            let words = words.iter().map(one).collect::<Result<Vec<_>>>()?;
            Ok(Value::text(words.join(" ")))
        }
        word => one(word).map(Value::text),
    }
}

fn from_uri(value: &Value) -> Result {
    let text = text(value).as_bytes();
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        if *first != b'%' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let Some(byte) = byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            return error(format!("{} is not a valid uri encoding", told(value)));
        };
        bytes.push(byte);
        rest = &after[2..];
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Value::text(text)),
        Err(_) => error(format!("{} is not a valid uri encoding", told(value))),
    }
}

fn from_base64(value: &Value) -> Result {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let text = text(value).trim_end_matches('=');
    if text.len() % 4 == 1
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte))
    {
        return error(format!("{} trailing base64 byte found", told(value)));
    }
    match LENIENT.decode(text) {
        Ok(bytes) => Ok(Value::text(String::from_utf8_lossy(&bytes))),
        Err(_) => error(format!("{} is not valid base64 data", told(value))),
    }
}

fn to_base32(value: &Value) -> Value {
    let mut encoded = String::new();
    for chunk in text(value).as_bytes().chunks(5) {
        let mut bytes = [0; 8];
        bytes[3..3 + chunk.len()].copy_from_slice(chunk);
        let bits = u64::from_be_bytes(bytes);
        let count = (chunk.len() * 8).div_ceil(5);
        for place in 0..8 {
            let digit = (bits >> (35 - 5 * place)) & 31;
            encoded.push(if place < count { char::from(BASE32[digit as usize]) } else { '=' });
        }
    }
    Value::text(encoded)
}

fn from_base32(value: &Value) -> Result {
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for byte in text(value).trim_end_matches('=').bytes() {
        let Some(digit) = BASE32.iter().position(|digit| *digit == byte) else {
            return error(format!("{} is not valid base32 data", told(value)));
        };
        bits = (bits << 5) | digit as u32;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Ok(Value::text(String::from_utf8_lossy(&bytes)))
}

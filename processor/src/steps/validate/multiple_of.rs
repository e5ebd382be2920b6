//! `multipleOf`, exact also for integers that no float holds: the schema's own reader rounds them.

use std::cell::RefCell;
use std::collections::HashMap;

use jsonschema::paths::Location;
use jsonschema::{Keyword, ValidationError, Validator};
use serde_json::{Map, Value, json};

/// From here on a float does not hold every integer.
const INEXACT: f64 = 9_007_199_254_740_992.0;

/// Numbers of fewer characters are exact, or have a small exponent.
const LONG: usize = 16;

/// The largest multiple that is looked at exactly: ten times it is still a number.
const MULTIPLE_MAX: f64 = 1.0e36;

thread_local! {
    /// The numbers of the body that is being validated in this thread that are not exact, by what they are read as.
    static WRITTEN: RefCell<HashMap<u64, Vec<String>>> = RefCell::default();
}

/// Validates while [`MultipleOf`] knows how the numbers of this text are written.
pub(super) fn reading<T>(text: &str, validate: impl FnOnce() -> T) -> T {
    WRITTEN.set(inexact(text));
    let validated = validate();
    WRITTEN.take();
    validated
}

/// The keyword.
pub(super) struct MultipleOf {
    whole: Option<u128>,
    usual: Validator,
}

impl MultipleOf {
    pub(super) fn keyword<'a>(
        _: &'a Map<String, Value>,
        multiple: &'a Value,
        _: Location,
    ) -> Result<Box<dyn for<'i> Keyword<'i>>, ValidationError<'a>> {
        let usual = jsonschema::options().offline().build(&json!({ "multipleOf": multiple }))?;
        let float = multiple.as_f64().filter(|it| (1.0..=MULTIPLE_MAX).contains(it));
        let whole = match multiple.as_u64() {
            Some(whole) => Some(u128::from(whole)).filter(|whole| *whole > 0),
            None => float.filter(|it| it.fract() == 0.0).map(|it| it as u128),
        };
        Ok(Box::new(Self { whole, usual }))
    }

    fn holds(&self, instance: &Value) -> bool {
        let (Some(whole), Value::Number(number)) = (self.whole, instance) else {
            return self.usual.is_valid(instance);
        };
        if let Some(number) = number.as_u64() {
            return u128::from(number).is_multiple_of(whole);
        }
        if let Some(number) = number.as_i64() {
            return u128::from(number.unsigned_abs()).is_multiple_of(whole);
        }
        let bits = number.as_f64().unwrap_or_default().to_bits();
        WRITTEN.with_borrow(|written| match written.get(&bits) {
            Some(texts) => texts.iter().all(|text| is_multiple(text, whole)),
            None => self.usual.is_valid(instance),
        })
    }
}

impl<'i> Keyword<'i> for MultipleOf {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        match self.holds(instance) {
            true => Ok(()),
            false => Err(ValidationError::custom("not a multiple")),
        }
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        self.holds(instance)
    }
}

/// The numbers of JSON text that floats only come near to.
fn inexact(text: &str) -> HashMap<u64, Vec<String>> {
    let mut found: HashMap<u64, Vec<String>> = HashMap::new();
    let (bytes, mut at, mut quoted) = (text.as_bytes(), 0, false);
    let in_number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            b'-' | b'0'..=b'9' if !quoted => {
                let length = bytes[at..].iter().take_while(|byte| in_number(byte)).count();
                let number = &text[at..at + length];
                if (length >= LONG || number.contains(['e', 'E']))
                    && let Ok(float) = serde_json::from_str::<f64>(number)
                    && float.abs() >= INEXACT
                {
                    found.entry(float.to_bits()).or_default().push(number.to_owned());
                }
                at += length - 1;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Whether a number as it is written is a multiple of a whole one.
fn is_multiple(text: &str, whole: u128) -> bool {
    let text = text.trim_start_matches('-');
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let Ok(exponent) = exponent.parse::<i64>() else { return false };
    let digits = format!("{before}{after}");
    let zeros = exponent - after.len() as i64;
    let (kept, zeros) = match usize::try_from(zeros) {
        Ok(zeros) => (digits.as_str(), zeros),
        Err(_) => {
            // Only zeros may stand behind the point.
            let behind = usize::try_from(-zeros).unwrap_or(usize::MAX).min(digits.len());
            let (kept, fraction) = digits.split_at(digits.len() - behind);
            if fraction.bytes().any(|digit| digit != b'0') {
                return false;
            }
            (kept, 0)
        }
    };
    let digits = kept.bytes().map(|digit| u128::from(digit - b'0'));
    let digits = digits.chain(std::iter::repeat_n(0, zeros));
    digits.fold(0, |rest, digit| (rest * 10 + digit) % whole) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_they_are_written_are_divided_exactly() {
        for (text, whole, expected) in [
            ("18446744073709551616", 2, true),
            ("18446744073709551617", 2, false),
            ("-18446744073709551618", 2, true),
            ("1e20", 10, true),
            ("1e20", 3, false),
            ("1.5e20", 15, true),
            ("100000000000000000000.00", 10, true),
            ("100000000000000000000.5", 10, false),
            ("12345678901234567890123e-3", 1, false),
            ("12345678901234567890000e-3", 10, true),
            ("18446744073709551616", 18_446_744_073_709_551_616, true),
            ("36893488147419103233", 18_446_744_073_709_551_616, false),
        ] {
            assert_eq!(is_multiple(text, whole), expected, "{text} {whole}");
        }
    }

    #[test]
    fn only_numbers_outside_of_texts_are_found() {
        let found = inexact(
            r#"{"a":18446744073709551617,"b":"18446744073709551618 é\"1e99","c":[1e20,5,0.1],"ü":-9e30}"#,
        );
        let mut texts: Vec<_> = found.into_values().flatten().collect();
        texts.sort();
        assert_eq!(texts, ["-9e30", "18446744073709551617", "1e20"]);
    }
}

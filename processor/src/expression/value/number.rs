//! Numbers: as they were written, or as they were calculated.

use std::cmp::Ordering;

use everhook_journal::json::NUMBER_CHARS_MAX;

use super::Value;

/// Up to here, every whole number is one that a calculation can hold.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// The longest number that is kept as it was written: what steps and senders may give.
pub(super) const LITERAL_BYTES_MAX: usize = NUMBER_CHARS_MAX;

/// A number as it was written. It is finite, and not too long to be read again.
#[derive(Debug)]
pub(crate) struct Literal {
    /// What calculations take it for.
    pub(crate) value: f64,
    /// What it says.
    pub(crate) text: Box<str>,
}

impl Literal {
    /// Two numbers as they were written are compared digit by digit.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        let rough = compare(self.value, other.value);
        if rough != Ordering::Equal {
            return rough;
        }
        let (one, other) = (Decimal::of(&self.text), Decimal::of(&other.text));
        one.compare(&other)
    }
}

/// A number as it was written, in the one form that jq gives such numbers as text: `1.50`, `1E+17`.
pub(super) fn canonical(text: &str) -> String {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => ("-", mantissa),
        None => ("", mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let digits = match all.trim_start_matches('0') {
        "" => "0",
        digits => digits,
    };
    let Ok(exponent) = exponent.parse::<i64>() else {
        return text.to_owned();
    };
    let exponent = exponent.saturating_sub(fraction.len() as i64);
    let count = digits.len() as i64;
    let adjusted = exponent.saturating_add(count - 1);
    if exponent > 0 || adjusted < -6 {
        let (first, rest) = digits.split_at(1);
        let dot = if rest.is_empty() { "" } else { "." };
        return format!("{sign}{first}{dot}{rest}E{adjusted:+}");
    }
    let point = count + exponent;
    if point <= 0 {
        let zeros = "0".repeat(point.unsigned_abs() as usize);
        return format!("{sign}0.{zeros}{digits}");
    }
    let (whole, rest) = digits.split_at(point as usize);
    let dot = if rest.is_empty() { "" } else { "." };
    format!("{sign}{whole}{dot}{rest}")
}

/// A number in JSON's form, as a value.
pub(super) fn from_text(text: &str) -> Value {
    // The longest whole numbers that are exact have 16 digits.
    if text.len() <= 15 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Value::Number(text.parse().unwrap_or(f64::NAN));
    }
    let value: f64 = text.parse().unwrap_or(f64::NAN);
    if value.abs() <= WHOLE_MAX && format(value) == text && value.fract() == 0.0 {
        return Value::Number(value);
    }
    if !value.is_finite() || text.len() > LITERAL_BYTES_MAX {
        return Value::Number(value);
    }
    Value::Literal(Literal { value, text: text.into() }.into())
}

/// A whole number as a value; `text` writes it, if a calculation would round it.
pub(super) fn from_whole(value: f64, text: impl FnOnce() -> String) -> Value {
    if value.abs() < WHOLE_MAX {
        return Value::Number(value);
    }
    Value::Literal(Literal { value, text: text().into() }.into())
}

/// Not-a-number comes first.
pub(super) fn compare(one: f64, other: f64) -> Ordering {
    one.partial_cmp(&other).unwrap_or_else(|| other.is_nan().cmp(&one.is_nan()))
}

/// A calculated number as JSON: 17 digits at most, an exponent only where there would be many zeros,
/// null for not-a-number, the largest number for an infinity.
pub(crate) fn format(number: f64) -> String {
    if number.is_nan() {
        return "null".into();
    }
    if number == 0.0 {
        return if number.is_sign_negative() { "-0".into() } else { "0".into() };
    }
    let number = number.clamp(f64::MIN, f64::MAX);
    // `d.ddde±x`, the shortest that reads as the same number.
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').expect("it is written with an exponent");
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let digits: String = digits.chars().filter(|digit| *digit != '.').collect();
    let exponent: i32 = exponent.parse().expect("it is a number");
    let (count, point) = (digits.len() as i32, exponent + 1);
    if point <= -4 || point > count + 15 {
        let (first, rest) = digits.split_at(1);
        let dot = if rest.is_empty() { "" } else { "." };
        let by = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{first}{dot}{rest}e{by}{:02}", exponent.abs());
    }
    if point <= 0 {
        return format!("{sign}0.{}{digits}", "0".repeat(point.unsigned_abs() as usize));
    }
    if point >= count {
        return format!("{sign}{digits}{}", "0".repeat((point - count) as usize));
    }
    let (whole, rest) = digits.split_at(point as usize);
    format!("{sign}{whole}.{rest}")
}

/// A text that is one number and nothing else, as a value; blanks, names and other notations are none.
pub(crate) fn parse(text: &str) -> Option<Value> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(place) => (&unsigned[..place], Some(&unsigned[place + 1..])),
        None => (unsigned, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let exponent_is_one = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    let is_one = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    if !is_one || !exponent_is_one {
        return None;
    }
    if is_json(text) {
        return Some(from_text(text));
    }
    // JSON has no plus sign, no bare point and no leading zeros.
    text.parse().ok().map(Value::Number)
}

fn is_json(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let whole = unsigned.split(['.', 'e', 'E']).next().unwrap_or_default();
    let fraction_is_bare = unsigned.split(['e', 'E']).next().is_some_and(|it| it.ends_with('.'));
    !text.starts_with('+')
        && !fraction_is_bare
        && (whole == "0" || whole.starts_with(|first: char| ('1'..='9').contains(&first)))
}

/// A number as its digits and the place of its point.
struct Decimal {
    negative: bool,
    digits: String,
    point: i64,
}

impl Decimal {
    fn of(text: &str) -> Self {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let negative = mantissa.starts_with('-');
        let mantissa = mantissa.trim_start_matches(['-', '+']);
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let exponent: i64 = exponent.parse().unwrap_or(0);
        let all = format!("{whole}{fraction}");
        let digits = all.trim_start_matches('0');
        let point = whole.len() as i64 - (all.len() - digits.len()) as i64;
        let digits = digits.trim_end_matches('0').to_owned();
        Self { negative, point: point.saturating_add(exponent), digits }
    }

    fn compare(&self, other: &Self) -> Ordering {
        let sign = |it: &Self| match (it.digits.is_empty(), it.negative) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => -1,
        };
        let size = || self.point.cmp(&other.point).then_with(|| self.digits.cmp(&other.digits));
        sign(self).cmp(&sign(other)).then_with(|| match sign(self) {
            0 => Ordering::Equal,
            1 => size(),
            _ => size().reverse(),
        })
    }
}

//! Arithmetic.

use std::cell::Cell;
use std::ops::{Add, Div, Mul, Neg, Rem, Sub};
use std::rc::Rc;

use super::{DEPTH_COMPARED_MAX, Map, Result, Value, error, number, told};

/// The longest text that repeating one gives, as in jq.
const REPEATED_BYTES_MAX: f64 = 2_147_483_647.0;

fn cannot(one: &Value, other: &Value, what: &str) -> Result {
    error(format!("{} and {} cannot be {what}", told(one), told(other)))
}

impl Add for Value {
    type Output = Result;

    fn add(self, other: Self) -> Result {
        if let (Some(one), Some(other)) = (self.number(), other.number()) {
            return Ok(Self::Number(one + other));
        }
        match (self, other) {
            (Self::Null, value) | (value, Self::Null) => Ok(value),
            (Self::Text(mut one), Self::Text(other)) => {
                Rc::make_mut(&mut one).push_str(&other);
                Ok(Self::Text(one))
            }
            (Self::Array(mut one), Self::Array(other)) => {
                Rc::make_mut(&mut one).extend(other.iter().cloned());
                Ok(Self::Array(one))
            }
            (Self::Object(mut one), Self::Object(other)) => {
                let added = other.iter().map(|(name, value)| (name.clone(), value.clone()));
                Rc::make_mut(&mut one).extend(added);
                Ok(Self::Object(one))
            }
            (one, other) => cannot(&one, &other, "added"),
        }
    }
}

impl Sub for Value {
    type Output = Result;

    fn sub(self, other: Self) -> Result {
        if let (Some(one), Some(other)) = (self.number(), other.number()) {
            return Ok(Self::Number(one - other));
        }
        match (self, other) {
            (Self::Array(mut one), Self::Array(other)) => {
                let mut taken: Vec<_> = other.iter().collect();
                taken.sort();
                Rc::make_mut(&mut one).retain(|item| taken.binary_search(&item).is_err());
                Ok(Self::Array(one))
            }
            (one, other) => cannot(&one, &other, "subtracted"),
        }
    }
}

impl Mul for Value {
    type Output = Result;

    fn mul(self, other: Self) -> Result {
        if let (Some(one), Some(other)) = (self.number(), other.number()) {
            return Ok(Self::Number(one * other));
        }
        match (self, other) {
            (Self::Object(one), Self::Object(other)) => merge(one, &other, 0).map(Self::Object),
            (Self::Text(text), times) | (times, Self::Text(text)) if times.number().is_some() => {
                repeat(&text, times.number().unwrap_or_default())
            }
            (one, other) => cannot(&one, &other, "multiplied"),
        }
    }
}

thread_local! {
    /// The longest text that repeating one may give on this thread, and whether a longer one was asked for.
    static REPEATED: Cell<(f64, bool)> = const { Cell::new((REPEATED_BYTES_MAX, false)) };
}

/// Computes something on this thread that may repeat texts to this length only.
/// None if it asked for a longer one, whatever it made of that.
pub(crate) fn with_short_texts<T>(bytes_max: usize, compute: impl FnOnce() -> T) -> Option<T> {
    struct Before((f64, bool));
    impl Drop for Before {
        fn drop(&mut self) {
            REPEATED.set(self.0);
        }
    }
    let _before = Before(REPEATED.replace((bytes_max as f64, false)));
    let computed = compute();
    let (_, is_short_of) = REPEATED.get();
    (!is_short_of).then_some(computed)
}

fn repeat(text: &str, times: f64) -> Result {
    if times < 0.0 || times.is_nan() {
        return Ok(Value::Null);
    }
    // What is less than once but more than nothing is nothing.
    let times = times.trunc();
    let (bytes_max, _) = REPEATED.get();
    if text.len() as f64 * times > bytes_max {
        REPEATED.set((bytes_max, true));
        return error("Repeat string result too long");
    }
    Ok(Value::text(text.repeat(times as usize)))
}

fn merge(mut one: Rc<Map>, other: &Map, depth: usize) -> Result<Rc<Map>> {
    if depth > DEPTH_COMPARED_MAX {
        return error("Object merge too deep");
    }
    let members = Rc::make_mut(&mut one);
    for (name, value) in other {
        match (members.get_mut(name), value) {
            (Some(Value::Object(into)), Value::Object(from)) => {
                *into = merge(std::mem::take(into), from, depth + 1)?;
            }
            (Some(into), value) => *into = value.clone(),
            (None, value) => {
                members.insert(name.clone(), value.clone());
            }
        }
    }
    Ok(one)
}

impl Div for Value {
    type Output = Result;

    fn div(self, other: Self) -> Result {
        if let (Some(one), Some(by)) = (self.number(), other.number()) {
            if by == 0.0 {
                return cannot(&self, &other, "divided because the divisor is zero");
            }
            return Ok(Self::Number(one / by));
        }
        match (&self, &other) {
            (Self::Text(text), Self::Text(_)) if text.is_empty() => Ok(Self::array(Vec::new())),
            (Self::Text(text), Self::Text(by)) if by.is_empty() => {
                Ok(text.chars().map(Self::text).collect())
            }
            (Self::Text(text), Self::Text(by)) => {
                Ok(text.split(by.as_str()).map(Self::text).collect())
            }
            _ => cannot(&self, &other, "divided"),
        }
    }
}

impl Rem for Value {
    type Output = Result;

    fn rem(self, other: Self) -> Result {
        let (Some(one), Some(by)) = (self.number(), other.number()) else {
            return cannot(&self, &other, "divided (remainder)");
        };
        if one.is_nan() || by.is_nan() {
            return Ok(Self::Number(f64::NAN));
        }
        // Only the whole parts count.
        let (whole, by) = (one as i64, (by as i64).unsigned_abs());
        if by == 0 {
            return cannot(&self, &other, "divided (remainder) because the divisor is zero");
        }
        let rest = (whole.unsigned_abs() % by) as f64;
        Ok(Self::Number(if whole < 0 { -rest } else { rest }))
    }
}

impl Neg for Value {
    type Output = Result;

    fn neg(self) -> Result {
        match &self {
            Self::Number(value) => Ok(Self::Number(-value)),
            Self::Literal(literal) => {
                let text = match literal.text.strip_prefix('-') {
                    Some(text) => text.to_owned(),
                    None => format!("-{}", literal.text),
                };
                Ok(number::from_text(&text))
            }
            _ => error(format!("{} cannot be negated", told(&self))),
        }
    }
}

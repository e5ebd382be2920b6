//! Times: seconds since 1970, and the arrays of their parts.

use jaq_core::native::{Fun, bome, run, v};

use super::super::value::{Result, Value, error, told};
use super::Data;

/// The seconds of the years from -9999 to 9999, which formats of times know.
const FORMATTED: std::ops::RangeInclusive<f64> = -377_705_023_201.0..=253_402_207_200.0;

/// What the year of a time has to be below, as in jq.
const YEAR_MAX: i64 = 2_147_483_647;

const DAY: i64 = 86_400;

pub(super) fn functions() -> Vec<Fun<Data>> {
    vec![
        run(("gmtime", v(0), |cv| bome(parts(&cv.1)))),
        run(("mktime", v(0), |cv| {
            bome(whole_seconds(&cv.1, "mktime").map(|seconds| Value::Number(seconds as f64)))
        })),
        run(("_seconds", v(0), |cv| bome(seconds(&cv.1)))),
    ]
}

fn too_far(value: &Value) -> Result {
    error(format!("{} is too far away for a date; divide milliseconds by 1000", told(value)))
}

/// A time as its parts: year, month from 0, day, hour, minute, second, day of the week, day of the year.
fn parts(value: &Value) -> Result {
    let Some(number) = value.number() else {
        return error(format!("{} is no time: gmtime requires a number", told(value)));
    };
    let whole = number.floor();
    // Every year takes more than 31,556,000 seconds.
    if !number.is_finite() || whole.abs() > 31_556_000.0 * YEAR_MAX as f64 {
        return too_far(value);
    }
    let seconds = whole as i64;
    let (day, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let (year, month, day_of_month) = date_of(day);
    let day_of_year = day - days_until(year, 0);
    let parts = [year, month, day_of_month, rest / 3600, rest / 60 % 60, rest % 60];
    let mut parts = parts.map(|part| part as f64);
    parts[5] += number - whole;
    let days = [(day + 4).rem_euclid(7), day_of_year].map(|day| day as f64);
    Ok(parts.into_iter().chain(days).map(Value::Number).collect())
}

/// The time of an array of parts; those that are missing are 0, and parts beyond their span count on, as in C.
fn whole_seconds(value: &Value, name: &str) -> Result<i64> {
    let Value::Array(given) = value else {
        return error(format!("{name} requires array of 6 numbers"));
    };
    let mut parts = [0_i64; 6];
    for (part, given) in parts.iter_mut().zip(given.iter()) {
        match given.number() {
            // As `int` in C: everything beyond is the nearest that there is.
            Some(number) if !number.is_nan() => {
                *part = (number as i64).clamp(i32::MIN.into(), i32::MAX.into());
            }
            _ => return error(format!("{name} requires parsed datetime inputs")),
        }
    }
    let [year, month, day, hour, minute, second] = parts;
    let days = days_until(year + month.div_euclid(12), month.rem_euclid(12)) + day - 1;
    Ok(days * DAY + hour * 3600 + minute * 60 + second)
}

/// What `strftime` takes: a number of seconds that it can format.
fn seconds(value: &Value) -> Result {
    let number = match value {
        Value::Array(parts) => {
            let whole = whole_seconds(value, "strftime/1")? as f64;
            let second = parts.get(5).and_then(Value::number).unwrap_or_default();
            if second > 0.0 && second.is_finite() { whole + second.fract() } else { whole }
        }
        value => match value.number() {
            Some(number) => number,
            None => return error("strftime/1 requires parsed datetime inputs"),
        },
    };
    if FORMATTED.contains(&number) { Ok(Value::Number(number)) } else { too_far(value) }
}

/// The days from 1970 to the first day of a month, counted from 0.
fn days_until(year: i64, month: i64) -> i64 {
    // A year that begins in March has its odd day at its end.
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let day = (153 * month + 2) / 5;
    era * 146_097 + year * 365 + year / 4 - year / 100 + day - 719_468
}

/// Year, month from 0, and day from 1, of a day since 1970.
fn date_of(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let (era, day) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (year * 365 + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (next, month) = if month < 10 { (0, month + 2) } else { (1, month - 10) };
    (era * 400 + year + next, month, day)
}

//! `run = "wait"`: nothing happens until a time.

use std::time::Duration;

use everhook_journal::Timestamp;
use everhook_journal::workflow::{StepDefinition, WAIT_AHEAD_DEFAULT};
use serde_json::Value;

use super::options;
use crate::expression::Expression;
use crate::step::{DefinitionError, Input, StepError};

/// Waits for a duration, or until a time that an expression gives.
///
/// | key | means |
/// |---|---|
/// | `for` | how long |
/// | `until` | a jq expression that gives a time: RFC 3339, or seconds since 1970; one that has passed does not wait |
/// | `input` | what `.` is in `until`, as in `transform` |
/// | `max` | how far ahead `until` may lie: 31 days, if nothing is said |
#[derive(Debug, Clone)]
pub enum Wait {
    /// For so long.
    For(Duration),
    /// Until the time that this gives, if it is at most so far ahead.
    Until(Expression, Duration),
}

impl Wait {
    /// Reads the definition.
    pub fn new(step: &StepDefinition) -> Result<Self, DefinitionError> {
        options::only(step, &["for", "until", "input", "max"])?;
        let duration = options::duration(step, "for")?;
        let max = options::duration(step, "max")?;
        options::input(step)?;
        match (duration, options::jq(step, "until")?) {
            (Some(duration), None) if max.is_none() => Ok(Self::For(duration)),
            (Some(_), None) => Err(DefinitionError::at("max", "`max` goes with `until` only")),
            (None, Some(until)) => Ok(Self::Until(until, max.unwrap_or(WAIT_AHEAD_DEFAULT))),
            (Some(_), Some(_)) => {
                Err(DefinitionError::at("until", "a `wait` has either `for` or `until`"))
            }
            (None, None) => {
                Err(DefinitionError::at("run", "a `wait` needs `for`, such as \"15m\", or `until`"))
            }
        }
    }

    /// The time that is waited for.
    pub async fn until(&self, input: Input) -> Result<Timestamp, StepError> {
        let now = input.started_at;
        let (expression, max) = match self {
            Self::For(duration) => return Ok(now + *duration),
            Self::Until(expression, max) => (expression, max),
        };
        let invalid = |message: &str| StepError::fatal("invalid", format!("`until` {message}"));
        let given = expression.result(input).await?;
        let given: Value = serde_json::from_str(given.get()).map_err(|_| invalid("is no time"))?;
        let until = match &given {
            Value::String(text) => Timestamp::parse(text),
            Value::Number(seconds) => seconds.as_f64().and_then(to_time),
            _ => None,
        };
        let until = until
            .ok_or_else(|| invalid("gives neither a time in RFC 3339 nor seconds since 1970"))?;
        if until > now + *max {
            return Err(invalid(&format!("gives a time more than {max:?} ahead; see `max`")));
        }
        Ok(until)
    }
}

/// A time in seconds since 1970; one beyond what can be told is the furthest.
fn to_time(seconds: f64) -> Option<Timestamp> {
    // Up to here a float holds every whole number.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let millis = (seconds >= 0.0).then_some(seconds * 1000.0)?.min(EXACT);
    Some(Timestamp::from_millis(0) + Duration::from_millis(millis as u64))
}

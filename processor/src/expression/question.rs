//! What an expression is evaluated on, as bytes: in this process, or on their way to a worker.

use bytes::Bytes;

use super::program::{Program, VARIABLES};
use super::result::to_output;
use super::value::{Value, read_known};
use crate::step::{Output, StepError};
use crate::steps::json::{self, DEPTH_MAX};

/// What is asked of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// The first result, or null if there is none.
    Result,
    /// Whether the first result is neither null nor false.
    Truth,
    /// Null, if the input meets what is no expression but a JSON Schema.
    Schema,
}

/// An expression's input.
pub(crate) struct Question {
    pub(crate) wanted: Wanted,
    pub(crate) dot: Dot,
    /// The values of [`VARIABLES`] as JSON, in their order; none of those that the expression does not mention.
    pub(crate) variables: Vec<Option<Bytes>>,
}

/// What `.` is.
pub(crate) enum Dot {
    Json(Bytes),
    Text(Bytes),
}

impl Question {
    /// Whether a body meets a schema.
    pub(crate) fn of_schema(body: Bytes) -> Self {
        let variables = vec![None; VARIABLES.len()];
        Self { wanted: Wanted::Schema, dot: Dot::Json(body), variables }
    }

    /// How many bytes it has.
    pub(crate) fn bytes(&self) -> usize {
        let dot = match &self.dot {
            Dot::Json(bytes) | Dot::Text(bytes) => bytes.len(),
        };
        dot + self.variables.iter().flatten().map(Bytes::len).sum::<usize>()
    }

    /// The answer of this expression.
    pub(crate) fn answer(&self, program: &Program) -> Result<Output, StepError> {
        let dot = match &self.dot {
            Dot::Json(json) => value(json)?,
            Dot::Text(text) => Value::text(String::from_utf8_lossy(text)),
        };
        let variables = self.variables.iter().map(|json| match json {
            Some(json) => value(json),
            None => Ok(Value::Null),
        });
        let variables = variables.collect::<Result<Vec<_>, _>>()?;
        debug_assert_eq!(variables.len(), VARIABLES.len());
        let first = program.first(dot, variables)?.unwrap_or_default();
        match self.wanted {
            Wanted::Result | Wanted::Schema => to_output(&first),
            Wanted::Truth => to_output(&Value::Bool(first.holds())),
        }
    }
}

/// JSON that was checked, as a value.
fn value(json: &[u8]) -> Result<Value, StepError> {
    let text = std::str::from_utf8(json).ok();
    // `$steps` is one deeper than each result in it.
    let value = text.and_then(|text| read_known(text, DEPTH_MAX + 1));
    value.ok_or_else(|| StepError::fatal("invalid", "the input is not JSON"))
}

/// Refuses what is no JSON, or too deep, by these words for it.
pub(crate) fn checked(bytes: Bytes, what: &str) -> Result<Bytes, StepError> {
    match json::check(&bytes) {
        Ok(_) => Ok(bytes),
        Err(how) => Err(StepError::fatal("invalid", format!("{what} {how}"))),
    }
}

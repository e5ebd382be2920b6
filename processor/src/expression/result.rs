//! A value of jq as a step's result.

use serde_json::value::RawValue;

use super::value::{Value, WriteError, write};
use crate::step::{Output, StepError};
use crate::steps::RESULT_BYTES_MAX;
use crate::steps::json::DEPTH_MAX;

/// The value as JSON text. As in jq, not-a-number is null, and an infinity the largest number.
pub(crate) fn to_output(value: &Value) -> Result<Output, StepError> {
    match write(value, DEPTH_MAX, RESULT_BYTES_MAX) {
        Ok(text) => Ok(RawValue::from_string(text).expect("values are written as JSON")),
        Err(WriteError::Deep) => {
            let message = format!("the result is nested more than {DEPTH_MAX} deep");
            Err(StepError::fatal("invalid", message))
        }
        Err(WriteError::Long) => {
            let message = format!("the result has more than {RESULT_BYTES_MAX} bytes");
            Err(StepError::fatal("too_large", message))
        }
    }
}

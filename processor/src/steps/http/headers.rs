//! The headers of a call, but for its signature.

use everhook_journal::workflow::StepDefinition;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::step::{DefinitionError, Input, StepError};

/// Headers that the step itself writes.
pub(super) const OWN: [&str; 12] = [
    "connection",
    "content-length",
    "everhook-attempt",
    "everhook-execution",
    "host",
    "idempotency-key",
    "te",
    "transfer-encoding",
    "upgrade",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];

/// Which attempt it is.
pub(super) fn of(input: &Input) -> Result<HeaderMap, StepError> {
    let mut headers = HeaderMap::new();
    let own = [
        ("idempotency-key", input.idempotency_key()),
        ("everhook-execution", input.execution.to_string()),
        ("everhook-attempt", input.attempt.to_string()),
    ];
    for (name, text) in own {
        headers.insert(name, value(name, text)?);
    }
    Ok(headers)
}

pub(super) fn value(name: &str, text: String) -> Result<HeaderValue, StepError> {
    HeaderValue::try_from(text)
        .map_err(|_| StepError::fatal("invalid", format!("{name} is no header's value")))
}

/// Those that the definition names.
pub(super) fn read(step: &StepDefinition) -> Result<HeaderMap, DefinitionError> {
    let problem = |message: String| DefinitionError::at("headers", message);
    let table = match step.options.get("headers") {
        None => return Ok(HeaderMap::new()),
        Some(Value::Object(table)) => table,
        Some(_) => return Err(problem("`headers` must be a table of texts".into())),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in table {
        let header = HeaderName::try_from(name.as_str())
            .map_err(|_| problem(format!("`{name}` is no header's name")))?;
        if OWN.contains(&header.as_str()) {
            return Err(problem(format!("`{name}` is written by the step itself")));
        }
        let value = value.as_str().and_then(|text| HeaderValue::from_str(text).ok());
        let mut value = value.ok_or_else(|| problem(format!("`{name}` has no header's value")))?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

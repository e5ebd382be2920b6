//! `run = "transform"`: a result computed from the body by a jq expression.

mod program;
mod result;

use std::fmt;
use std::sync::Arc;

use everhook_journal::workflow::StepDefinition;
use jaq_json::{Val, read};
use serde_json::json;

use super::{json, options};
use crate::step::{DefinitionError, Input, Output, Step, StepError, StepFuture};
use program::Program;

/// Gives the first output of a jq expression, or null if it has none.
///
/// | key | means |
/// |---|---|
/// | `jq` | the expression; it sees `$webhook`, `$steps`, `$previous`, `$now`, `$keys` |
/// | `input` | what `.` is: the body as JSON, or `"text"`: the body as text, or `"previous"`: the result before |
///
/// An expression only computes: it reads no clock, no environment, no files.
/// It is not interrupted. One that loops for ever fails by its timeout, but holds on to its thread;
/// one that recurses for ever ends the process.
#[derive(Clone)]
pub struct Transform {
    program: Arc<Program>,
    dot: Dot,
}

/// What `.` is.
#[derive(Debug, Clone, Copy)]
enum Dot {
    Body,
    Text,
    Previous,
}

impl Transform {
    /// Reads the definition and compiles its expression.
    pub fn new(step: &StepDefinition) -> Result<Self, DefinitionError> {
        options::only(step, &["jq", "input"])?;
        Self::compile(step, "jq", options::required_text(step, "jq")?)
    }

    /// An expression that stands under another key, of a step that may have an `input`.
    pub(super) fn compile(
        step: &StepDefinition,
        key: &str,
        code: &str,
    ) -> Result<Self, DefinitionError> {
        let choices = [("json", Dot::Body), ("text", Dot::Text), ("previous", Dot::Previous)];
        let dot = options::choice(step, "input", &choices)?.unwrap_or(Dot::Body);
        let program =
            Program::compile(code).map_err(|message| DefinitionError::at(key, message))?;
        Ok(Self { program: Arc::new(program), dot })
    }

    fn evaluate(&self, input: &Input) -> Result<Output, StepError> {
        let dot = match self.dot {
            Dot::Body => value(&input.body, "the body")?,
            Dot::Text => text(&input.body)?,
            Dot::Previous => previous(input)?,
        };
        match self.program.first(dot, self.variables(input)?)? {
            Some(output) => result::to_output(&output),
            None => result::to_output(&Val::Null),
        }
    }

    /// The values of [`program::VARIABLES`], in their order.
    fn variables(&self, input: &Input) -> Result<[Val; program::VARIABLES.len()], StepError> {
        let steps = || {
            let each = |(name, json): &(_, bytes::Bytes)| {
                let name = Val::from(ToString::to_string(name));
                Ok((name, value(json, "the result of an earlier step")?))
            };
            Ok(Val::obj(input.outputs.iter().map(each).collect::<Result<_, StepError>>()?))
        };
        Ok([
            self.if_used("$webhook", || webhook(input))?,
            // Results may be large: they are read only for expressions that ask for them.
            self.if_used("$steps", steps)?,
            self.if_used("$previous", || previous(input))?,
            Val::from(input.started_at.to_string()),
            Val::from(usize::try_from(input.webhook.key_count).unwrap_or(usize::MAX)),
        ])
    }

    fn if_used(
        &self,
        variable: &str,
        value: impl FnOnce() -> Result<Val, StepError>,
    ) -> Result<Val, StepError> {
        if self.program.mentions(variable) { value() } else { Ok(Val::Null) }
    }
}

impl Step for Transform {
    fn run(&self, input: Input) -> StepFuture {
        let step = self.clone();
        Box::pin(async move {
            let evaluated = tokio::task::spawn_blocking(move || step.evaluate(&input)).await;
            evaluated.unwrap_or_else(|error| {
                Err(match error.is_panic() {
                    true => StepError::fatal("panic", "jq: the expression panicked on this input"),
                    false => StepError::retryable("cancelled", "jq: the process is ending"),
                })
            })
        })
    }
}

impl fmt::Debug for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transform({:?}, of {:?})", self.program, self.dot)
    }
}

/// JSON text as a value of jq. Numbers keep their text.
fn value(json: &[u8], what: &str) -> Result<Val, StepError> {
    // jaq's reader recurses without a bound and takes more than JSON: it gets to see checked text only.
    let invalid = |how: String| StepError::fatal("invalid", format!("{what} {how}"));
    let text = json::check(json).map_err(invalid)?;
    read::parse_single(text.as_bytes()).map_err(|_| invalid("is not JSON".into()))
}

fn text(body: &bytes::Bytes) -> Result<Val, StepError> {
    match std::str::from_utf8(body) {
        Ok(_) => Ok(Val::utf8_str(body.clone())),
        Err(_) => Err(StepError::fatal("invalid", "the body is not UTF-8")),
    }
}

fn previous(input: &Input) -> Result<Val, StepError> {
    input.previous().map_or(Ok(Val::Null), |json| value(json, "the result before"))
}

fn webhook(input: &Input) -> Result<Val, StepError> {
    let webhook = &input.webhook;
    let shown = json!({
        "source": webhook.source,
        "type": webhook.event_type,
        "deliveryId": webhook.delivery_id,
        "executionToken": input.execution,
        "receivedAt": input.received_at,
        "headers": webhook.headers,
        "method": webhook.method,
        "path": webhook.path,
        "query": webhook.query,
        "contentType": webhook.headers.get("content-type"),
    });
    value(shown.to_string().as_bytes(), "the webhook")
}

#[cfg(test)]
mod tests;

//! `run = "lambda"`: invokes a function, and its result is the step's.

use std::fmt;
use std::sync::Arc;

use aws_sdk_lambda::operation::invoke::InvokeOutput;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use aws_types::request_id::RequestId;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use everhook_journal::workflow::StepDefinition;
use serde_json::{Value, json};

use super::aws::{Aws, failure};
use super::sent::{self, Sent};
use super::{json, options};
use crate::step::{
    DefinitionError, Input, Outgoing, Output, Step, StepError, StepFuture, to_output,
};

/// Invokes a function. An error of the function, inside an answer of 200, is a failure.
///
/// | key | means |
/// |---|---|
/// | `function` | its name or ARN |
/// | `qualifier` | a version or an alias |
/// | `mode` | `"result"` (the default): waits for the result; `"event"`: hands the event over |
/// | `body`, `jq`, `input` | what it is invoked with, as JSON |
#[derive(Clone)]
pub struct Lambda {
    function: String,
    qualifier: Option<String>,
    mode: Mode,
    sent: Sent,
    aws: Arc<Aws>,
}

#[derive(Debug, Clone, Copy)]
enum Mode {
    Result,
    Event,
}

impl Lambda {
    /// Reads the definition.
    pub fn new(step: &StepDefinition, aws: &Arc<Aws>) -> Result<Self, DefinitionError> {
        options::only(step, &[&["function", "qualifier", "mode"][..], &sent::KEYS].concat())?;
        let modes = [("result", Mode::Result), ("event", Mode::Event)];
        Ok(Self {
            function: options::required_text(step, "function")?.to_owned(),
            qualifier: options::text(step, "qualifier")?.map(ToOwned::to_owned),
            mode: options::choice(step, "mode", &modes)?.unwrap_or(Mode::Result),
            sent: Sent::new(step)?,
            aws: aws.clone(),
        })
    }

    async fn call(&self, input: &Input) -> Result<Output, StepError> {
        let payload = self.sent.json(input).await?;
        let invocation = match self.mode {
            Mode::Result => InvocationType::RequestResponse,
            Mode::Event => InvocationType::Event,
        };
        let request = self
            .aws
            .lambda()?
            .invoke()
            .function_name(&self.function)
            .set_qualifier(self.qualifier.clone())
            .invocation_type(invocation.clone())
            .client_context(client_context(input))
            .payload(Blob::new(payload.clone()));
        let function = match &self.qualifier {
            Some(qualifier) => format!("{}:{qualifier}", self.function),
            None => self.function.clone(),
        };
        let sent = Outgoing::new("Invoke", function)
            .header("InvocationType", invocation.as_str())
            .header("idempotency-key", input.idempotency_key())
            .header("everhook-execution", input.execution.to_string())
            .header("everhook-attempt", input.attempt.to_string());
        input.record_request(sent.body(payload));
        let answer = Box::pin(request.send()).await;
        let answer = answer.map_err(|error| failure::of("Lambda", &error, input.started_at))?;
        match self.mode {
            Mode::Result => self.result(&answer),
            Mode::Event => to_output(
                &json!({ "status": answer.status_code(), "requestId": answer.request_id() }),
            ),
        }
    }

    fn result(&self, answer: &InvokeOutput) -> Result<Output, StepError> {
        let payload = answer.payload().map(AsRef::as_ref).unwrap_or_default();
        if answer.function_error().is_some() {
            let message = format!("the function {} failed{}", self.function, error_type(payload));
            return Err(StepError::retryable("lambda_error", message));
        }
        if payload.is_empty() {
            return to_output(&Value::Null);
        }
        Ok(json::kept(payload))
    }
}

/// What the function may see of the step, where its runtime shows the client's context.
fn client_context(input: &Input) -> String {
    let custom = json!({
        "idempotency-key": input.idempotency_key(),
        "everhook-execution": input.execution,
        "everhook-attempt": input.attempt.to_string(),
    });
    BASE64.encode(json!({ "custom": custom }).to_string())
}

/// The class of a function's error. Its message may hold anything, and is not told.
fn error_type(payload: &[u8]) -> String {
    let error: Value = serde_json::from_slice(payload).unwrap_or_default();
    match error["errorType"].as_str().map(failure::word) {
        Some(word) if !word.is_empty() => format!(" with {word}; see its log"),
        _ => "; see its log".to_owned(),
    }
}

impl Step for Lambda {
    fn run(&self, input: Input) -> StepFuture {
        let step = self.clone();
        Box::pin(async move { step.call(&input).await })
    }
}

impl fmt::Debug for Lambda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lambda({:?} of {})", self.mode, self.function)
    }
}

#[cfg(test)]
mod tests;

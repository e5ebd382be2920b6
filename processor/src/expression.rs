//! A jq expression of a workflow: what it sees, and what it gives.

pub(crate) mod mentions;
mod program;
mod result;

use std::fmt;
use std::sync::Arc;

use everhook_journal::ambient::{self, Panicked};
use jaq_json::{Val, read};
use serde_json::json;

use crate::step::{Input, Output, StepError};
use crate::steps::form;
use crate::steps::json as text;
use program::{Program, VARIABLES};

/// An expression. A clone is the same one.
///
/// It only computes: it reads no clock, no environment, no files.
/// It is not interrupted. One that loops for ever fails by its timeout, but holds on to its thread;
/// one that recurses for ever ends the process.
#[derive(Clone)]
pub struct Expression {
    program: Arc<Program>,
    dot: Dot,
}

/// What `.` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dot {
    /// The body, as JSON.
    Body,
    /// The body, as text.
    Text,
    /// The body, as a form.
    Form,
    /// The result of the step before, or null.
    Previous,
    /// The item of a list that the step is about, or null.
    Item,
    /// What the step saw when it last looked, or null.
    State,
}

impl Expression {
    /// Compiles it; otherwise what is wrong with it, and where.
    pub fn compile(code: &str, dot: Dot) -> Result<Self, String> {
        Ok(Self { program: Arc::new(Program::compile(code)?), dot })
    }

    /// The first result, or null if there is none.
    pub async fn result(&self, input: Input) -> Result<Output, StepError> {
        self.away(input, |expression, input| expression.evaluate(input)).await
    }

    /// Whether the first result is neither null nor false.
    pub async fn holds(&self, input: Input) -> Result<bool, StepError> {
        self.away(input, |expression, input| {
            Ok(!matches!(expression.first(input)?, Val::Null | Val::Bool(false)))
        })
        .await
    }

    /// What it says, as written.
    pub fn code(&self) -> &str {
        self.program.code()
    }

    /// The first result, in this thread.
    pub(crate) fn evaluate(&self, input: &Input) -> Result<Output, StepError> {
        result::to_output(&self.first(input)?)
    }

    fn first(&self, input: &Input) -> Result<Val, StepError> {
        let dot = match self.dot {
            Dot::Body => value(&input.body, "the body")?,
            Dot::Text => body_text(&input.body)?,
            Dot::Form => value(form::to_json(&input.body)?.as_bytes(), "the form")?,
            Dot::Previous => previous(input)?,
            Dot::Item => item(input)?,
            Dot::State => state(input)?,
        };
        Ok(self.program.first(dot, self.variables(input)?)?.unwrap_or(Val::Null))
    }

    /// Evaluates in a thread that may be kept busy.
    async fn away<T: Send + 'static>(
        &self,
        input: Input,
        evaluate: impl FnOnce(&Self, &Input) -> Result<T, StepError> + Send + 'static,
    ) -> Result<T, StepError> {
        let expression = self.clone();
        match ambient::away(move || evaluate(&expression, &input)).await {
            Ok(Some(evaluated)) => evaluated,
            Ok(None) => Err(StepError::retryable("cancelled", "jq: the process is ending")),
            Err(Panicked) => {
                Err(StepError::fatal("panic", "jq: the expression panicked on this input"))
            }
        }
    }

    /// The values of [`VARIABLES`], in their order.
    fn variables(&self, input: &Input) -> Result<[Val; VARIABLES.len()], StepError> {
        let steps = || {
            let each = |(name, json): &(_, bytes::Bytes)| {
                let name = Val::from(ToString::to_string(name));
                Ok((name, value(json, "the result of an earlier step")?))
            };
            Ok(Val::obj(input.outputs.iter().map(each).collect::<Result<_, StepError>>()?))
        };
        let index = input.item.as_ref().map(|item| item.index as usize);
        Ok([
            self.if_used("$webhook", || webhook(input))?,
            // Results may be large: they are read only for expressions that ask for them.
            self.if_used("$steps", steps)?,
            self.if_used("$previous", || previous(input))?,
            Val::from(input.started_at.to_string()),
            Val::from(usize::try_from(input.webhook.key_count).unwrap_or(usize::MAX)),
            self.if_used("$item", || item(input))?,
            index.map_or(Val::Null, Val::from),
            Val::from(input.attempt as usize),
            self.if_used("$state", || state(input))?,
            self.if_used("$callback", || shown(&input.callback))?,
            self.if_used("$error", || shown(&input.cause))?,
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

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {:?}", self.program, self.dot)
    }
}

/// JSON text as a value of jq. Numbers keep their text.
fn value(json: &[u8], what: &str) -> Result<Val, StepError> {
    // jaq's reader recurses without a bound and takes more than JSON: it gets to see checked text only.
    let invalid = |how: String| StepError::fatal("invalid", format!("{what} {how}"));
    let text = text::check(json).map_err(invalid)?;
    read::parse_single(text.as_bytes()).map_err(|_| invalid("is not JSON".into()))
}

fn body_text(body: &bytes::Bytes) -> Result<Val, StepError> {
    match std::str::from_utf8(body) {
        Ok(_) => Ok(Val::utf8_str(body.clone())),
        Err(_) => Err(StepError::fatal("invalid", "the body is not UTF-8")),
    }
}

fn previous(input: &Input) -> Result<Val, StepError> {
    input.previous().map_or(Ok(Val::Null), |json| value(json, "the result before"))
}

fn item(input: &Input) -> Result<Val, StepError> {
    input.item.as_ref().map_or(Ok(Val::Null), |item| value(&item.json, "the item"))
}

fn state(input: &Input) -> Result<Val, StepError> {
    input.state.as_ref().map_or(Ok(Val::Null), |json| value(json, "what was seen"))
}

fn shown(what: &Option<impl serde::Serialize>) -> Result<Val, StepError> {
    let json = serde_json::to_string(what).expect("it is JSON");
    value(json.as_bytes(), "what is known")
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

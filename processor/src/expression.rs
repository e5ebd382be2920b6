//! A jq expression of a workflow: what it sees, and what it gives.
//!
//! - [`place`]: whether it runs in this process or in a worker with limits
//! - [`worker`]: those workers

mod bounds;
#[cfg(test)]
mod conformance;
mod functions;
pub(crate) mod mentions;
pub mod place;
mod program;
pub(crate) mod question;
mod result;
mod rewrite;
mod value;
pub mod worker;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use everhook_journal::ambient::{self, Panicked};
use serde_json::json;

use crate::step::{Input, Output, StepError};
use crate::steps::form;
use place::Place;
use program::{Program, VARIABLES};
use question::{Question, Wanted, checked};
use value::calculate::with_short_texts;

/// The largest input that is evaluated in this process.
pub const HERE_BYTES_MAX: usize = 64 * 1024;

/// The largest input that is evaluated without a thread of its own: that takes a millisecond at most.
const INLINE_BYTES_MAX: usize = 16 * 1024;

/// The longest text that an expression in this process may repeat a text to.
const REPEATED_BYTES_MAX: usize = 64 * 1024;

/// An expression. A clone is the same one.
///
/// It only computes: it reads no clock, no environment, no files.
/// What it takes in memory, stack and time is bounded, whatever its input: by its form, or by a worker's limits.
#[derive(Clone)]
pub struct Expression {
    program: Arc<Program>,
    place: Arc<Place>,
    dot: Dot,
    /// Whether the result may depend on `.`.
    uses_dot: bool,
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
        let (program, place) = bounds::reading(code, || {
            let program = Program::compile(code)?;
            let place = Arc::new(program.place());
            Ok::<_, String>((program, place))
        })??;
        let uses_dot = mentions::uses_dot(code);
        Ok(Self { program: Arc::new(program), place, dot, uses_dot })
    }

    /// The first result, or null if there is none.
    pub async fn result(&self, input: Input) -> Result<Output, StepError> {
        self.answer(&input, Wanted::Result).await
    }

    /// Whether the first result is neither null nor false.
    pub async fn holds(&self, input: Input) -> Result<bool, StepError> {
        Ok(self.answer(&input, Wanted::Truth).await?.get() == "true")
    }

    /// What it says, as written.
    pub fn code(&self) -> &str {
        self.program.code()
    }

    /// Where it runs.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The first result, in this thread and without limits.
    #[cfg(test)]
    pub(crate) fn evaluate(&self, input: &Input) -> Result<Output, StepError> {
        self.question(input, Wanted::Result)?.answer(&self.program)
    }

    async fn answer(&self, input: &Input, wanted: Wanted) -> Result<Output, StepError> {
        let question = self.question(input, wanted)?;
        if ambient::is_simulated() {
            return unpanicked(catch_unwind(AssertUnwindSafe(|| question.answer(&self.program))));
        }
        if *self.place == Place::Here && question.bytes() <= HERE_BYTES_MAX {
            let question = match self.here(question).await? {
                Ok(answer) => return answer,
                Err(question) => question,
            };
            return worker::answer(self.code(), &question, &input.webhook.source).await;
        }
        worker::answer(self.code(), &question, &input.webhook.source).await
    }

    /// Evaluates in this process; gives the question back if that has to be done elsewhere.
    async fn here(
        &self,
        question: Question,
    ) -> Result<Result<Result<Output, StepError>, Question>, StepError> {
        let is_small = question.bytes() <= INLINE_BYTES_MAX;
        let program = self.program.clone();
        let evaluate = move || {
            let evaluated = catch_unwind(AssertUnwindSafe(|| {
                with_short_texts(REPEATED_BYTES_MAX, || question.answer(&program))
            }));
            match evaluated {
                Ok(Some(answer)) => Ok(answer),
                Ok(None) => Err(question),
                Err(panic) => Ok(unpanicked(Err(panic))),
            }
        };
        if is_small {
            return Ok(evaluate());
        }
        let _place = worker::large_here().await;
        match ambient::away(evaluate).await {
            Ok(Some(evaluated)) => Ok(evaluated),
            Ok(None) => Err(StepError::retryable("cancelled", "jq: the process is ending")),
            Err(Panicked) => Ok(Ok(unpanicked(Err(Box::new(()))))),
        }
    }

    /// What the expression gets to see, checked to be JSON.
    fn question(&self, input: &Input, wanted: Wanted) -> Result<Question, StepError> {
        let null = || Bytes::from_static(b"null");
        let dot = match self.dot {
            // A body of any kind will do where nothing is asked of it.
            _ if !self.uses_dot => question::Dot::Json(null()),
            Dot::Body => question::Dot::Json(checked(input.body.clone(), "the body")?),
            Dot::Text => match std::str::from_utf8(&input.body) {
                Ok(_) => question::Dot::Text(input.body.clone()),
                Err(_) => return Err(StepError::fatal("invalid", "the body is not UTF-8")),
            },
            Dot::Form => question::Dot::Json(form::to_json(&input.body)?.into()),
            Dot::Previous => question::Dot::Json(previous(input)?.unwrap_or_else(null)),
            Dot::Item => question::Dot::Json(item(input)?.unwrap_or_else(null)),
            Dot::State => question::Dot::Json(state(input)?.unwrap_or_else(null)),
        };
        // Results may be large: they are looked at only for expressions that ask for them.
        let variables = VARIABLES.iter().map(|name| {
            if !self.program.mentions(name) {
                return Ok(None);
            }
            Ok(match *name {
                "$webhook" => Some(webhook(input)),
                "$steps" => Some(steps(input)?),
                "$previous" => previous(input)?,
                "$now" => Some(shown(&input.started_at.to_string())),
                "$keys" => Some(shown(&input.webhook.key_count)),
                "$item" => item(input)?,
                "$index" => input.item.as_ref().map(|item| shown(&item.index)),
                "$attempt" => Some(shown(&input.attempt)),
                "$state" => state(input)?,
                "$callback" => Some(shown(&input.callback)),
                "$error" => Some(shown(&input.cause)),
                _ => None,
            })
        });
        let variables = variables.collect::<Result<_, StepError>>()?;
        Ok(Question { wanted, dot, variables })
    }
}

fn unpanicked(
    evaluated: std::thread::Result<Result<Output, StepError>>,
) -> Result<Output, StepError> {
    evaluated.unwrap_or_else(|_| {
        Err(StepError::fatal("panic", "jq: the expression panicked on this input"))
    })
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {:?}", self.program, self.dot)
    }
}

fn previous(input: &Input) -> Result<Option<Bytes>, StepError> {
    input.previous().map(|json| checked(json.clone(), "the result before")).transpose()
}

fn item(input: &Input) -> Result<Option<Bytes>, StepError> {
    input.item.as_ref().map(|item| checked(item.json.clone(), "the item")).transpose()
}

fn state(input: &Input) -> Result<Option<Bytes>, StepError> {
    input.state.as_ref().map(|json| checked(json.clone(), "what was seen")).transpose()
}

/// The results of all earlier steps, as one object.
fn steps(input: &Input) -> Result<Bytes, StepError> {
    let mut text = vec![b'{'];
    for (name, json) in input.outputs.iter() {
        if text.len() > 1 {
            text.push(b',');
        }
        text.extend_from_slice(&shown(&name.to_string()));
        text.push(b':');
        text.extend_from_slice(&checked(json.clone(), "the result of an earlier step")?);
    }
    text.push(b'}');
    Ok(text.into())
}

fn shown(what: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(what).expect("it is JSON").into()
}

fn webhook(input: &Input) -> Bytes {
    let webhook = &input.webhook;
    shown(&json!({
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
    }))
}

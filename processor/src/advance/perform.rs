//! One attempt at a step: whatever happens in it becomes a command.

use std::time::Duration;

use everhook_journal::ambient::{self, Stopwatch};
use everhook_journal::event::{Branches, StepFailure};
use everhook_journal::execution::Attempt;
use everhook_journal::guard::{self, Guard};
use everhook_journal::payload::PayloadError;
use everhook_journal::retry::Failed;
use everhook_journal::workflow::StepDefinition;
use everhook_journal::{Command, ExecutionId, Payload, Timestamp, failpoint};
use serde_json::value::RawValue;

use crate::plan::Ready;
use crate::step::{Input, Output, StepError};
use crate::steps::branches::Listed;
use crate::steps::json::{check, kept};
use crate::steps::poll::Look;
use crate::steps::{RESULT_BYTES_MAX, Work, is_built_in};

use super::{Driver, Trouble};

/// The longest word for a kind of failure that is kept, and the longest message, in bytes.
const KIND_BYTES_MAX: usize = 128;
const MESSAGE_BYTES_MAX: usize = 512;

/// An attempt that is to be made.
pub(super) struct Turn<'p> {
    pub(super) step: &'p StepDefinition,
    pub(super) ready: &'p Ready,
    /// How many of its attempts count no more.
    pub(super) forgiven: u32,
    /// When the first attempt that counts began, if this is not it.
    pub(super) first_at: Option<Timestamp>,
    pub(super) input: Input,
}

/// What an attempt came to.
enum Outcome {
    Result(Output),
    /// A command that is no outcome of a step that acts: its wait, its branches, its end.
    Command(Command),
}

/// What to record, and about how many bytes of it are inline.
pub(super) type Performed = (Command, usize);

/// Makes one attempt at a step that does nothing outside: its condition is part of it.
pub(super) async fn perform(driver: &Driver, turn: Turn<'_>) -> Result<Performed, Trouble> {
    match condition(driver, &turn).await {
        Some(performed) => Ok(performed),
        None => attempt(driver, turn).await,
    }
}

/// Looks at a step's condition before the first attempt, where it decides once; nothing if the step is wanted.
pub(super) async fn condition(driver: &Driver, turn: &Turn<'_>) -> Option<Performed> {
    let when = turn.ready.when.as_ref().filter(|_| turn.input.attempt == turn.forgiven + 1)?;
    let began = Stopwatch::start();
    match within(turn.step, when.holds(turn.input.clone())).await {
        Ok(true) => None,
        Ok(false) => Some((Command::SkipStep(turn.input.step.clone()), 0)),
        Err(error) => {
            let message = format!("`when`: {}", error.message);
            let error = StepError { message, retryable: false, ..error };
            Some(fail(driver, turn, turn.ended(began.elapsed()), error))
        }
    }
}

/// Makes one attempt.
pub(super) async fn attempt(driver: &Driver, turn: Turn<'_>) -> Result<Performed, Trouble> {
    let began = Stopwatch::start();
    let outcome = match act(driver, &turn).await? {
        Ok(Outcome::Command(command)) => {
            let bytes = command_bytes(&command);
            return Ok((command, bytes));
        }
        Ok(Outcome::Result(output)) => keep(driver, output).await?,
        Err(error) => Err(error),
    };
    let attempt = turn.ended(began.elapsed());
    Ok(match outcome {
        Ok(payload) => {
            let bytes = payload.inline_bytes() + request_bytes(&attempt);
            (Command::CompleteStep(attempt, payload), bytes)
        }
        Err(error) => fail(driver, &turn, attempt, error),
    })
}

impl Turn<'_> {
    /// The attempt, once it has ended.
    fn ended(&self, took: Duration) -> Attempt {
        let Input { step, attempt, started_at, .. } = &self.input;
        let request = self.input.recorded_request().cloned().map(Box::new);
        Attempt { step: step.clone(), number: *attempt, started_at: *started_at, took, request }
    }
}

async fn act(driver: &Driver, turn: &Turn<'_>) -> Result<Result<Outcome, StepError>, Trouble> {
    let (step, input) = (turn.step, turn.input.clone());
    let (path, number) = (input.step.clone(), input.attempt);
    let began = Stopwatch::start();
    Ok(match &turn.ready.work {
        Work::Act(act) => {
            let act = act.clone();
            let (suspects, id) = (driver.suspects.clone(), input.execution.clone());
            // A user's own step may do anything while it runs; a built-in one only computes when it is polled.
            let mark = (!is_built_in(&step.run)).then(|| suspects.mark(&id));
            let attempt = async move {
                let _mark = mark;
                suspects.while_polled(&id, act.run(input)).await
            };
            failpoint::reached("act.before");
            let acted = isolated(step, attempt).await;
            failpoint::reached("act.after");
            acted.map(Outcome::Result)
        }
        Work::Filter(filter) => within(step, filter.stops(input)).await.map(|stops| match stops {
            Some(reason) => {
                Outcome::Command(Command::FilterStep(turn.ended(began.elapsed()), reason))
            }
            None => Outcome::Result(json("true")),
        }),
        Work::Wait(wait) => within(step, wait.until(input))
            .await
            .map(|until| Outcome::Command(Command::StartWait(path, until))),
        Work::Callback(callback) => match &driver.callbacks {
            Some(callbacks) => Ok(Outcome::Command(Command::CreateCallback {
                token_sha256: callbacks
                    .token(&input.execution, input.received_at, &path, number)
                    .sha256(),
                steps: step.steps.iter().map(|step| step.name.clone()).collect(),
                expires_at: input.started_at + callback.expires,
                heartbeat: callback.heartbeat,
                attempt: number,
                step: path,
            })),
            None => {
                let message = "nobody can call back: this process has no address for callbacks";
                Err(StepError::retryable("no_address", message))
            }
        },
        Work::Poll(poll) => {
            let poll = poll.clone();
            let state = input.clone();
            let (suspects, id) = (driver.suspects.clone(), input.execution.clone());
            let is_built_in = step.steps.iter().all(|inside| is_built_in(&inside.run));
            let mark = (!is_built_in).then(|| suspects.mark(&id));
            let look = async move {
                let _mark = mark;
                suspects.while_polled(&id, poll.look(state)).await
            };
            match isolated(step, Box::pin(look)).await {
                Ok(Look::Found(output)) => Ok(Outcome::Result(output)),
                Ok(Look::Again(output)) => {
                    let counted = number.saturating_sub(turn.forgiven);
                    let now = driver.clock.now();
                    let age = now.since(turn.first_at.unwrap_or(turn.input.started_at));
                    let next = step.retry.next(counted, age, None, ambient::fraction());
                    match (next, keep(driver, output).await?) {
                        (Some(delay), Ok(seen)) => {
                            let next_at = now + delay;
                            let attempt = turn.ended(began.elapsed());
                            Ok(Outcome::Command(Command::PollStep(attempt, seen, next_at)))
                        }
                        (None, Ok(_)) => {
                            let message = format!("not there after {counted} looks");
                            Err(StepError::fatal("poll_exhausted", message))
                        }
                        (_, Err(error)) => Err(error),
                    }
                }
                Err(error) => Err(error),
            }
        }
        Work::Fan(fan) => match within(step, fan.items(input)).await {
            Err(error) => Err(error),
            Ok(listed) => {
                let items = match listed {
                    Some(Listed { list, count, labels }) => {
                        Some((driver.payloads.keep_json(list).await?, count, labels))
                    }
                    None => None,
                };
                Ok(Outcome::Command(Command::StartBranches {
                    step: path,
                    attempt: number,
                    branches: fan.branches(items),
                    concurrency: fan.concurrency,
                    rule: fan.rule,
                }))
            }
        },
    })
}

/// An attempt that failed, with the time of the next.
pub(super) fn fail(
    driver: &Driver,
    turn: &Turn<'_>,
    attempt: Attempt,
    error: StepError,
) -> Performed {
    let id = &turn.input.execution;
    let first_at = turn.first_at.unwrap_or(attempt.started_at);
    failed(driver, id, turn.step, turn.forgiven, first_at, attempt, error)
}

/// An attempt that failed, with the time of the next.
pub(super) fn failed(
    driver: &Driver,
    id: &ExecutionId,
    step: &StepDefinition,
    forgiven: u32,
    first_at: Timestamp,
    attempt: Attempt,
    error: StepError,
) -> Performed {
    let now = driver.clock.now();
    let failed = Failed {
        attempt: attempt.number.saturating_sub(forgiven),
        kind: &error.kind,
        retryable: error.retryable,
        age: now.since(first_at),
        retry_after: error.retry_after,
    };
    let retry_at = step.retry.after(&failed, ambient::fraction()).map(|delay| now + delay);
    let (path, number) = (&attempt.step, attempt.number);
    let kind = shortened(error.kind, KIND_BYTES_MAX);
    tracing::warn!(
        execution.id = %id, step.name = %path, step.attempt = number, error.kind = kind,
        "execution {id}: attempt {number} of step {path} failed ({kind})"
    );
    let message = shortened(error.message, MESSAGE_BYTES_MAX);
    let failure = StepFailure { kind, message };
    let bytes = MESSAGE_BYTES_MAX + request_bytes(&attempt);
    (Command::FailStep(attempt, failure, retry_at), bytes)
}

/// Runs a step in a task of its own, so that neither its panic nor its slowness reaches us.
/// Its time runs there too: whoever waits for it may be busy.
async fn isolated<T: Send + 'static>(
    definition: &StepDefinition,
    attempt: impl Future<Output = Result<T, StepError>> + Send + 'static,
) -> Result<T, StepError> {
    let limit = definition.timeout();
    // A step that keeps its thread busy has no time of its own, so it is given one here too.
    within(definition, async {
        // The message of a panic may hold anything: it goes to the log of the process, not to the history.
        match ambient::spawn(ambient::timeout(limit, attempt)).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(_)) => Err(out_of_time(limit)),
            Err(_) => Err(StepError::retryable("panic", "the step panicked; see the log")),
        }
    })
    .await
}

fn out_of_time(limit: Duration) -> StepError {
    StepError::retryable("timeout", format!("no result within {limit:?}"))
}

async fn within<T>(
    definition: &StepDefinition,
    attempt: impl Future<Output = Result<T, StepError>>,
) -> Result<T, StepError> {
    let limit = definition.timeout();
    ambient::timeout(limit, attempt).await.unwrap_or_else(|_| Err(out_of_time(limit)))
}

/// The result as an event holds it, or why it cannot.
/// Later steps read it as JSON: one that cannot be read like that is kept as text.
pub(super) async fn keep(
    driver: &Driver,
    output: Output,
) -> Result<Result<Payload, StepError>, PayloadError> {
    let output = match check(output.get().as_bytes()) {
        Ok(_) => output,
        Err(_) => kept(output.get().as_bytes()),
    };
    let bytes = output.get().len();
    if bytes > RESULT_BYTES_MAX && guard::holds(Guard::LargeResultFails) {
        let message = format!("the result has {bytes} bytes; at most {RESULT_BYTES_MAX} are kept");
        return Ok(Err(StepError::fatal("too_large", message)));
    }
    driver.payloads.keep_json(output).await.map(Ok)
}

/// The result of a step that holds those of others, as a command.
pub(super) async fn keep_large(
    driver: &Driver,
    attempt: Attempt,
    output: Output,
) -> Result<Performed, PayloadError> {
    let payload = driver.payloads.keep_json(output).await?;
    let bytes = payload.inline_bytes();
    Ok((Command::CompleteStep(attempt, payload), bytes))
}

pub(super) fn json(text: &str) -> Output {
    RawValue::from_string(text.to_owned()).expect("it is JSON")
}

/// About how many bytes of an event are inline.
fn command_bytes(command: &Command) -> usize {
    match command {
        Command::PollStep(attempt, seen, _) => seen.inline_bytes() + request_bytes(attempt),
        Command::StartBranches { branches: Branches::Map { items, labels, .. }, .. } => {
            items.inline_bytes() + labels.iter().map(|label| label.len() + 3).sum::<usize>()
        }
        Command::StartBranches { branches: Branches::Parallel(branches), .. } => {
            branches.len() * 128
        }
        _ => 512,
    }
}

fn request_bytes(attempt: &Attempt) -> usize {
    attempt.request.as_ref().map_or(0, |request| request.inline_bytes())
}

fn shortened(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let end = (0..=bytes_max).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}

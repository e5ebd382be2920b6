//! One attempt at a step: whatever happens in it becomes an outcome.

use std::sync::Arc;

use bytes::Bytes;
use everhook_journal::event::StepFailure;
use everhook_journal::execution::Attempt;
use everhook_journal::payload::{PayloadError, Payloads};
use everhook_journal::workflow::{RETRY_AFTER_MAX, StepDefinition};
use everhook_journal::{Command, Execution, ExecutionId, Payload, StepName};

use crate::plan::Ready;
use crate::step::{Input, Output, StepError};

use super::{Driver, Trouble};

/// The largest result that a step may have.
const RESULT_BYTES_MAX: usize = 256 * 1024;

/// The longest message of a failure that is kept, in bytes.
const MESSAGE_BYTES_MAX: usize = 512;

/// The body and the results so far, opened once a drive.
#[derive(Default)]
pub(super) struct Inputs {
    body: Option<Bytes>,
    outputs: Arc<Vec<(StepName, Bytes)>>,
}

impl Inputs {
    /// Opens what is not open yet.
    pub(super) async fn open(
        &mut self,
        payloads: &Payloads,
        execution: &Execution,
    ) -> Result<(), PayloadError> {
        if self.body.is_none() {
            self.body = Some(payloads.open(&execution.webhook.body).await?);
        }
        for (step, output) in execution.outputs().skip(self.outputs.len()) {
            let opened = payloads.open(output).await?;
            Arc::make_mut(&mut self.outputs).push((step.clone(), opened));
        }
        Ok(())
    }
}

/// Makes one attempt. Returns what to record, and about how many bytes of it are inline.
pub(super) async fn run(
    driver: &Driver,
    id: &ExecutionId,
    execution: &Execution,
    step: &StepDefinition,
    ready: &Ready,
    number: u32,
    inputs: &Inputs,
) -> Result<(Command, u64), Trouble> {
    let started_at = driver.clock.now();
    let began = std::time::Instant::now();
    let input = Input {
        execution: id.clone(),
        step: step.name.clone(),
        attempt: number,
        started_at,
        timeout: step.timeout(),
        webhook: execution.webhook.clone(),
        received_at: execution.created_at,
        body: inputs.body.clone().unwrap_or_default(),
        outputs: inputs.outputs.clone(),
        options: ready.options.clone(),
    };
    let result = isolated(ready, input, step).await;
    let took = began.elapsed();
    let attempt = Attempt { step: step.name.clone(), number, started_at, took };
    let error = match result {
        Ok(output) => match keep(driver, output).await? {
            Ok(payload) => {
                let bytes = inline_bytes(&payload);
                return Ok((Command::CompleteStep(attempt, payload), bytes));
            }
            Err(error) => error,
        },
        Err(error) => error,
    };
    let delay = error.retryable.then(|| step.retry.delay(number, rand::random())).flatten();
    let asked = error.retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
    let retry_at = delay.map(|delay| driver.clock.now() + delay.max(asked));
    let StepError { kind, message, .. } = error;
    tracing::warn!(
        execution.id = %id, step.name = %step.name, step.attempt = number, error.kind = kind,
        "execution {id}: attempt {number} of step {} failed ({kind})", step.name
    );
    let failure = StepFailure { kind, message: shortened(message) };
    Ok((Command::FailStep(attempt, failure, retry_at), MESSAGE_BYTES_MAX as u64))
}

/// Runs the step in a task of its own, so that neither its panic nor its slowness reaches us.
async fn isolated(
    ready: &Ready,
    input: Input,
    definition: &StepDefinition,
) -> Result<Output, StepError> {
    let step = ready.step.clone();
    let task = tokio::spawn(async move { step.run(input).await });
    let abort = task.abort_handle();
    match tokio::time::timeout(definition.timeout(), task).await {
        Ok(Ok(result)) => result,
        // The message of a panic may hold anything: it goes to the log of the process, not to the history.
        Ok(Err(_)) => Err(StepError::retryable("panic", "the step panicked; see the log")),
        Err(_) => {
            abort.abort();
            let limit = definition.timeout();
            Err(StepError::retryable("timeout", format!("no result within {limit:?}")))
        }
    }
}

/// The result as an event holds it, or why it cannot.
async fn keep(driver: &Driver, output: Output) -> Result<Result<Payload, StepError>, PayloadError> {
    let bytes = output.get().len();
    if bytes > RESULT_BYTES_MAX {
        let message = format!("the result has {bytes} bytes; at most {RESULT_BYTES_MAX} are kept");
        return Ok(Err(StepError::fatal("too_large", message)));
    }
    driver.payloads.keep_json(output).await.map(Ok)
}

fn inline_bytes(payload: &Payload) -> u64 {
    match payload {
        Payload::Json(_) | Payload::Text(_) | Payload::Base64(_) => payload.bytes(),
        Payload::Deflate { base64, .. } => base64.len() as u64,
        Payload::Stored { .. } => 100,
    }
}

fn shortened(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        let end = (0..=MESSAGE_BYTES_MAX).rev().find(|end| message.is_char_boundary(*end));
        message.truncate(end.unwrap_or(0));
        message.push('…');
    }
    message
}

//! What can be decided without an attempt: a wait that is over, a claim or a callback that has expired,
//! branches that have ended.

use everhook_journal::event::StepFailure;
use everhook_journal::execution::{Attempt, Move, Stage, StepState, Task};
use everhook_journal::workflow::AtMostOnce;
use everhook_journal::{Command, Execution, ExecutionId};

use crate::plan::Plan;
use crate::step::StepError;

use super::perform::{Performed, failed, json, keep_large};
use super::{Driver, Trouble, branches};

/// The command that such a move comes to.
pub(super) async fn settled(
    driver: &Driver,
    id: &ExecutionId,
    execution: &Execution,
    plan: &Plan,
    task: &Task<'_>,
) -> Result<Performed, Trouble> {
    let now = driver.clock.now();
    let state = execution.step(&task.path).ok_or_else(|| missing(task))?;
    let attempt = |number| Attempt {
        step: task.path.clone(),
        number,
        started_at: state.started_at,
        took: now.since(state.started_at),
        request: None,
    };
    Ok(match task.what {
        Move::Attempt(_) => return Err(missing(task)),
        Move::EndWait(number) => {
            let nothing = driver.payloads.keep_json(json("null")).await?;
            (Command::CompleteStep(attempt(number), nothing), 0)
        }
        Move::Expire(number) => {
            (Command::ExpireCallback(attempt(number), expired(state), now), 512)
        }
        Move::Interrupt(number) => {
            let message = "whoever made this attempt never said how it ended";
            let retryable = task.step.at_most_once == Some(AtMostOnce::Attempt);
            let error = StepError { retryable, ..StepError::fatal("interrupted", message) };
            let mut performed = failed(
                driver,
                id,
                task.step,
                state.forgiven,
                state.first_at,
                attempt(number),
                error,
            );
            // Whatever `retry` says, it is never made again.
            if let (false, Command::FailStep(_, _, retry_at)) = (retryable, &mut performed.0) {
                *retry_at = None;
            }
            performed
        }
        Move::EndBranches(number) => {
            let Stage::Branching(ended) = &state.stage else { return Err(missing(task)) };
            let verdict = ended.verdict().ok_or_else(|| missing(task))?;
            let ready = plan.ready(task.step);
            let summary = branches::summary(driver, task.step, ready, ended, verdict).await?;
            match summary {
                Ok(output) => keep_large(driver, attempt(number), output).await?,
                Err(error) => {
                    let StepError { kind, message, .. } = error;
                    (Command::FailStep(attempt(number), StepFailure { kind, message }, None), 512)
                }
            }
        }
    })
}

fn expired(state: &StepState) -> StepFailure {
    let Stage::Callback(callback) = &state.stage else {
        return StepFailure {
            kind: "callback_timeout".into(),
            message: "nobody called back".into(),
        };
    };
    let (kind, message) = if callback.due() < callback.expires_at {
        let every = callback.heartbeat.unwrap_or_default();
        ("heartbeat_timeout", format!("no sign of life within {every:?}"))
    } else {
        let at = callback.expires_at;
        ("callback_timeout", format!("nobody called back until {at}"))
    };
    StepFailure { kind: kind.into(), message }
}

fn missing(task: &Task<'_>) -> Trouble {
    Trouble::Own(format!("step {} is not where it is wanted", task.path))
}

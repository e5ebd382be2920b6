//! A history, told event by event: what happened, what it changed, and the state after it.

mod request;

use everhook_journal::event::{Branches, CallbackAnswer, Event, Recorded};
use everhook_journal::execution::{Execution, IllegalEvent, Stage, Status, StepState};
use everhook_journal::{ExecutionId, Payload, Timestamp};
use serde::Serialize;

use crate::printable;

/// One event of a history, with the state after it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// The event, as recorded.
    #[serde(flatten)]
    pub recorded: Recorded,
    /// What it changed.
    pub changed: String,
    /// Where the execution stood after it.
    pub status: String,
    /// When it then had something to do again, if it had to wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// Each step tried so far: name, attempts, outcome.
    pub steps: Vec<String>,
}

/// Folds a history again. Runs nothing: every result is the recorded one.
pub fn tell(history: &[Recorded]) -> Result<Vec<Told>, IllegalEvent> {
    let mut state: Option<Execution> = None;
    let mut told = Vec::new();
    for recorded in history {
        let after = match state {
            None => Execution::begin(recorded)?,
            Some(before) => before.evolve(recorded)?,
        };
        told.push(Told {
            changed: changed(&recorded.event),
            status: status(&after),
            due_at: after.due_at(),
            steps: steps(&after),
            recorded: recorded.clone(),
        });
        state = Some(after);
    }
    Ok(told)
}

/// A told history for people.
pub fn transcript(id: &ExecutionId, told: &[Told]) -> String {
    let mut lines = vec![format!("execution {id}")];
    for told in told {
        let recorded = &told.recorded;
        lines.push(String::new());
        lines.push(format!("{:>4}  {}  {}", recorded.sequence, recorded.at, recorded.event.name()));
        lines.push(format!("      {}", told.changed));
        if let Some(request) = recorded.event.request() {
            lines.extend(request::lines(request).iter().map(|line| format!("        {line}")));
        }
        lines.push(format!("      → {}", told.status));
        if let Some(due_at) = told.due_at {
            lines.push(format!("        waits until {due_at}"));
        }
        lines.extend(told.steps.iter().map(|step| format!("        {step}")));
    }
    // Types and messages are of strangers: each line stays one.
    lines.iter().map(|line| printable::line(line)).collect::<Vec<_>>().join("\n")
}

fn changed(event: &Event) -> String {
    match event {
        Event::WebhookReceived(webhook) => {
            let kind = webhook.event_type.as_deref().unwrap_or("a webhook");
            let by =
                webhook.verified.secret.as_deref().map_or(String::new(), |s| format!(" by {s}"));
            let then = webhook.quarantined_at.map_or(String::new(), |at| {
                format!(" as of {at}, when it was received and refused")
            });
            format!(
                "{kind} from {}, delivery {}, {} bytes, verified as {}{by}{then}; starts workflow {} ({})",
                webhook.source,
                webhook.delivery_id,
                webhook.body.bytes(),
                webhook.verified.scheme,
                webhook.workflow.name,
                webhook.workflow.hash,
            )
        }
        Event::StepCompleted { step, attempt, duration_ms, output, .. } => {
            format!(
                "step {step}, attempt {attempt}: completed in {duration_ms} ms with {}",
                shown(output)
            )
        }
        Event::StepFailed { step, attempt, duration_ms, error, retry_at, .. } => {
            let next = retry_at.map_or("no retry".to_owned(), |at| format!("retry at {at}"));
            let (kind, message) = (&error.kind, &error.message);
            format!(
                "step {step}, attempt {attempt}: failed in {duration_ms} ms ({kind}: {message}), {next}"
            )
        }
        Event::StepSkipped { step } => {
            format!("step {step}: passed over, its condition does not hold")
        }
        Event::StepFiltered { step, reason, .. } => {
            format!("step {step}: the webhook goes no further ({reason})")
        }
        Event::StepClaimed { step, attempt, until, replaces, .. } => {
            let again = if replaces.is_some() { " again" } else { "" };
            format!("step {step}, attempt {attempt}: begins{again}, claimed until {until}")
        }
        Event::StepPolled { step, attempt, state, next_at, .. } => {
            format!(
                "step {step}, look {attempt}: not there yet ({}), again at {next_at}",
                shown(state)
            )
        }
        Event::WaitStarted { step, until } => format!("step {step}: waits until {until}"),
        Event::CallbackCreated { step, expires_at, .. } => {
            format!("step {step}: may be called back until {expires_at}")
        }
        Event::CallbackReceived { step, answer } => match answer {
            CallbackAnswer::Succeeded(output) => {
                format!("step {step}: called back with {}", shown(output))
            }
            CallbackAnswer::Failed(error) => {
                format!(
                    "step {step}: called back with a failure ({}: {})",
                    error.kind, error.message
                )
            }
        },
        Event::CallbackBeat { step } => format!("step {step}: a sign of life"),
        Event::BranchesStarted { step, branches, concurrency, .. } => {
            let count = match branches {
                Branches::Parallel(branches) => branches.len(),
                Branches::Map { count, .. } => *count as usize,
            };
            format!("step {step}: {count} branches begin, {concurrency} at once")
        }
        Event::TimerFired { due } => format!("the time {due} has come"),
        Event::ExecutionCompleted { filtered: None } => "all steps completed".to_owned(),
        Event::ExecutionCompleted { filtered: Some(filtered) } => {
            format!("ended by step {} ({})", filtered.step, filtered.reason)
        }
        Event::ExecutionFailing { cause } => {
            format!(
                "cannot complete ({}: {}); what follows a failure begins",
                cause.kind, cause.message
            )
        }
        Event::ExecutionFailed { cause } => {
            let step = cause.step.as_ref().map_or(String::new(), |step| format!("step {step}: "));
            format!("ended without completing ({step}{}: {})", cause.kind, cause.message)
        }
        Event::ExecutionCancelled { reason } => format!("cancelled by an operator ({reason})"),
        Event::ExecutionRedriven { from: Some(step) } => format!("goes on from step {step}"),
        Event::ExecutionRedriven { from: None } => "goes on where it failed".to_owned(),
    }
}

fn shown(output: &Payload) -> String {
    match output {
        Payload::Json(json) => json.get().to_owned(),
        payload => format!("{} bytes", payload.bytes()),
    }
}

fn status(execution: &Execution) -> String {
    match &execution.status {
        Status::Running => match execution.waits_until() {
            Some(until) => format!("waiting until {until}"),
            None => "running".to_owned(),
        },
        Status::Failing { cause } => format!("failing ({})", cause.kind),
        Status::Completed { filtered: None } => "completed".to_owned(),
        Status::Completed { .. } => "completed (filtered)".to_owned(),
        Status::Failed { cause } => format!("failed ({})", cause.kind),
        Status::Cancelled { .. } => "cancelled".to_owned(),
    }
}

fn steps(execution: &Execution) -> Vec<String> {
    let lines = [&execution.line, &execution.rescue];
    lines.into_iter().flat_map(|line| &line.steps).map(step).collect()
}

fn step(state: &StepState) -> String {
    let stage = match &state.stage {
        Stage::Ready if state.attempts == 0 => "not begun",
        Stage::Ready | Stage::Retrying { .. } => "to be tried again",
        Stage::Claimed { .. } => "under way",
        Stage::Polling { .. } => "to look again",
        Stage::Waiting { .. } => "waiting",
        Stage::Callback(_) => "waiting to be called back",
        Stage::Branching(branches) => {
            let (completed, failed) = branches.counts();
            let total = branches.lines.len();
            return format!(
                "{}: {completed} of {total} branches completed, {failed} failed",
                state.name
            );
        }
        Stage::Completed(_) => "completed",
        Stage::Skipped => return format!("{}: passed over", state.name),
        Stage::Filtered => "stopped here",
        Stage::Failed(_) => "failed",
    };
    let attempts =
        if state.attempts == 1 { "1 attempt" } else { &format!("{} attempts", state.attempts) };
    format!("{}: {stage}, {attempts}", state.name)
}

//! A history, told event by event: what happened, what it changed, and the state after it.

use everhook_journal::event::{Event, Recorded};
use everhook_journal::execution::{Execution, IllegalEvent, Outcome, Status};
use everhook_journal::{ExecutionId, Payload, Timestamp};
use serde::Serialize;

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
    /// By when it then had to move.
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
            status: status(&after.status),
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
        lines.push(format!("      → {}", told.status));
        if let Some(due_at) = told.due_at {
            lines.push(format!("        must move by {due_at}"));
        }
        lines.extend(told.steps.iter().map(|step| format!("        {step}")));
    }
    lines.join("\n")
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
        Event::TimerFired { due } => format!("the time {due} has come"),
        Event::ExecutionCompleted {} => "all steps completed".to_owned(),
        Event::ExecutionFailed { cause } => {
            let step = cause.step.as_ref().map_or(String::new(), |step| format!("step {step}: "));
            format!("ended without completing ({step}{}: {})", cause.kind, cause.message)
        }
    }
}

fn shown(output: &Payload) -> String {
    match output {
        Payload::Json(json) => json.get().to_owned(),
        payload => format!("{} bytes", payload.bytes()),
    }
}

fn status(status: &Status) -> String {
    match status {
        Status::Running => "running".to_owned(),
        Status::Waiting { until } => format!("waiting until {until}"),
        Status::Failing { cause } => format!("failing ({})", cause.kind),
        Status::Completed => "completed".to_owned(),
        Status::Failed { cause } => format!("failed ({})", cause.kind),
    }
}

fn steps(execution: &Execution) -> Vec<String> {
    let states = execution.steps.iter();
    let line = |state: &everhook_journal::execution::StepState| {
        let outcome = match &state.outcome {
            Outcome::Completed(_) => "completed",
            Outcome::Retrying(_) => "to be tried again",
            Outcome::Failed(_) => "failed",
        };
        let attempts =
            if state.attempts == 1 { "1 attempt" } else { &format!("{} attempts", state.attempts) };
        format!("{}: {outcome}, {attempts}", state.name)
    };
    states.map(line).collect()
}

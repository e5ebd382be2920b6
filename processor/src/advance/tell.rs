//! What the logs and the metrics are told of an execution.

use std::time::Duration;

use everhook_journal::{Event, Execution, ExecutionId, Recorded, telemetry};

/// One line for an event that was appended, and its metric. Whoever appended tells it, so it is told once.
pub(super) fn recorded(before: &Execution, id: &ExecutionId, recorded: &Recorded) {
    let (name, sequence) = (recorded.event.name(), recorded.sequence);
    let source = before.webhook.source.as_str();
    let step = recorded.event.step().map_or("", |step| step.as_str());
    tracing::info!(
        execution.id = %id, source, event.sequence = sequence.get(), event.name = name,
        step.name = step, "execution {id}: {sequence} {name} {step}"
    );
    let since_received = recorded.at.since(before.created_at);
    match &recorded.event {
        Event::StepCompleted { duration_ms, .. } => {
            telemetry::step("completed", Duration::from_millis(*duration_ms));
        }
        Event::StepFailed { duration_ms, retry_at, .. } => {
            let outcome = if retry_at.is_some() { "retried" } else { "failed" };
            telemetry::step(outcome, Duration::from_millis(*duration_ms));
        }
        Event::StepFiltered { duration_ms, .. } => {
            telemetry::step("filtered", Duration::from_millis(*duration_ms));
        }
        Event::ExecutionCompleted { .. } => telemetry::execution("completed", since_received),
        Event::ExecutionFailed { .. } => telemetry::execution("failed", since_received),
        _ => {}
    }
}

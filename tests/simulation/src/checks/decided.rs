//! S8, S13: what is decided follows from what was recorded.

use std::time::Duration;

use everhook_journal::event::CallbackAnswer;
use everhook_journal::{Event, Recorded, StepName};
use serde_json::Value;

use super::history::History;
use super::{Checked, violated};
use crate::targets::LATER;

/// What an event decides follows from what was recorded before.
pub(super) fn follows(execution: &str, history: &History, event: &Recorded) -> Checked {
    let (step, decided) = match &event.event {
        Event::StepFailed { error, retry_at: Some(retry_at), started_at, duration_ms, .. }
            if error.kind == LATER =>
        {
            let seconds = error.message.parse().expect("a number of seconds");
            let ended = *started_at + Duration::from_millis(*duration_ms);
            let wanted = ended + Duration::from_secs(seconds);
            return match *retry_at < wanted {
                true => violated(
                    "S8",
                    format!("{execution} was told to come at {wanted} and will at {retry_at}"),
                ),
                false => Ok(()),
            };
        }
        Event::ExecutionFailing { cause } | Event::ExecutionFailed { cause } => {
            return match &cause.step {
                Some(step) if !has_failed(history, step) => violated(
                    "S13",
                    format!("{execution} fails because of {step}, which has not failed"),
                ),
                _ => Ok(()),
            };
        }
        Event::StepFiltered { step, .. } | Event::StepSkipped { step } => (step, false),
        Event::StepCompleted { step, .. } => (step, true),
        _ => return Ok(()),
    };
    let seen = seen(history);
    match seen.as_ref().and_then(|seen| seen.get(step.as_str())).and_then(Value::as_bool) {
        Some(wanted) if wanted != decided => violated(
            "S13",
            format!("{step} of {execution} was decided to be {decided}, and is {wanted}"),
        ),
        _ => Ok(()),
    }
}

/// Whether the last outcome of a step is that it failed for good.
fn has_failed(history: &History, step: &StepName) -> bool {
    let last = history.recorded.iter().rev().find_map(|recorded| match &recorded.event {
        Event::StepFailed { step: own, retry_at, .. } if own == step => Some(retry_at.is_none()),
        Event::CallbackReceived { step: own, answer } if own == step => {
            Some(matches!(answer, CallbackAnswer::Failed(_)))
        }
        Event::StepCompleted { step: own, .. } if own == step => Some(false),
        _ => None,
    });
    last.unwrap_or(false)
}

/// What was seen, if it is kept beside the events.
fn seen(history: &History) -> Option<Value> {
    let found = history.recorded.iter().find_map(|recorded| match &recorded.event {
        Event::StepCompleted { step, output, .. } if step.as_str() == "seen" => Some(output),
        _ => None,
    });
    serde_json::from_slice(&found?.open_inline().ok()?).ok()
}

//! The form of the peer's events.

use everhook_journal::Timestamp;
use everhook_journal::event::StepFailure;
use serde_json::{Map, Value, json};

use super::place::Kind;

/// What the peer calls a kind of operation or context.
pub(crate) struct SubType(&'static str);

impl From<Kind> for SubType {
    fn from(kind: Kind) -> Self {
        Self(match kind {
            Kind::Code | Kind::Try => "",
            Kind::Step => "Step",
            Kind::Wait => "Wait",
            Kind::Callback => "Callback",
            Kind::WaitForCallback => "WaitForCallback",
            Kind::WaitForCondition => "WaitForCondition",
            Kind::Parallel => "Parallel",
            Kind::Map => "Map",
        })
    }
}

pub(crate) fn branch_kind(kind: Kind) -> SubType {
    SubType(if kind == Kind::Map { "MapIteration" } else { "ParallelBranch" })
}

pub(crate) fn context(
    event: &str,
    id: &str,
    name: &str,
    sub_type: impl Into<SubType>,
    parent: Option<String>,
) -> Map<String, Value> {
    let mut map = Map::new();
    map.insert("EventType".into(), json!(event));
    map.insert("SubType".into(), json!(sub_type.into().0));
    map.insert("Id".into(), json!(id));
    map.insert("Name".into(), json!(name));
    if let Some(parent) = parent {
        map.insert("ParentId".into(), json!(parent));
    }
    map
}

pub(crate) fn retry(attempt: u32, next: Option<Timestamp>, at: Timestamp) -> Value {
    let mut details = json!({ "CurrentAttempt": attempt });
    if let Some(next) = next {
        details["NextAttemptDelaySeconds"] = json!(next.since(at).as_secs());
    }
    details
}

pub(crate) fn failed(failure: &StepFailure) -> Value {
    error(&failure.kind, &failure.message)
}

pub(crate) fn error(kind: &str, message: &str) -> Value {
    let kind = match kind {
        "callback_timeout" => "Callback.Timeout",
        "heartbeat_timeout" => "Callback.Heartbeat",
        kind => kind,
    };
    json!({ "Error": { "Payload": { "ErrorType": kind, "ErrorMessage": message } } })
}

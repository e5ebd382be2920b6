//! Values that the tests of several modules begin with.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::event::{Cause, Event, IdOrigin, Recorded, StepFailure, Verified, Webhook, WorkflowRef};
use crate::execution::Execution;
use crate::id::{
    DeliveryId, ExecutionId, Sequence, SourceName, StepName, WorkflowHash, WorkflowName,
};
use crate::item::{FORM_TEXT, bytes, number, read_bytes, text as attribute};
use crate::packed;
use crate::payload::Payload;
use crate::retry::Retry;
use crate::store::Item;
use crate::time::Timestamp;
use crate::workflow::{BranchDefinition, StepDefinition, Workflow};

pub(crate) fn id() -> ExecutionId {
    ExecutionId::parse("ABCDEFGHIJKLMNOPQRSTUVWXYZ").unwrap()
}

/// A moment of 2026-11-24, this many seconds after 02:00.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_795_485_600_000 + seconds * 1000)
}

pub(crate) fn step(name: &str) -> StepName {
    StepName::new(name)
}

/// A webhook into a workflow of these steps, with nothing that may be missing.
pub(crate) fn webhook(steps: &[&str]) -> Webhook {
    Webhook {
        source: SourceName::new("github"),
        delivery_id: DeliveryId::new("d-1"),
        delivery_id_from: IdOrigin::Unsigned,
        event_type: None,
        workflow: WorkflowRef {
            name: WorkflowName::new("deploy"),
            hash: WorkflowHash::new("0123456789abcdef0123456789abcdef"),
            steps: steps.iter().map(|name| step(name)).collect(),
            on_failure: Vec::new(),
        },
        verified: Verified { scheme: "none".into(), secret: None, covers: None },
        method: "POST".into(),
        path: "/webhook/github".into(),
        query: String::new(),
        headers: BTreeMap::new(),
        source_ip: None,
        request_id: "r-1".into(),
        quarantined_at: None,
        body: text("{}"),
        body_sha256: "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a".into(),
        keys: Vec::new(),
        key_count: 0,
        expires_at: at(604_800),
    }
}

pub(crate) fn received(steps: &[&str]) -> Event {
    Event::WebhookReceived(Arc::new(webhook(steps)))
}

pub(crate) fn text(text: &str) -> Payload {
    Payload::Text(text.into())
}

pub(crate) fn failure() -> StepFailure {
    StepFailure { kind: "timeout".into(), message: "no answer in 30s".into() }
}

/// An attempt that began at second 1 and gave `done`.
pub(crate) fn completed(name: &str, attempt: u32) -> Event {
    Event::StepCompleted {
        step: step(name),
        attempt,
        started_at: at(1),
        duration_ms: 20,
        output: text("done"),
        request: None,
    }
}

/// An attempt that began at second 1 and failed.
pub(crate) fn failed(name: &str, attempt: u32, retry_at: Option<Timestamp>) -> Event {
    Event::StepFailed {
        step: step(name),
        attempt,
        started_at: at(1),
        duration_ms: 20,
        error: failure(),
        retry_at,
        request: None,
    }
}

pub(crate) fn fired(due: Timestamp) -> Event {
    Event::TimerFired { due }
}

pub(crate) fn ended_badly(cause: Cause) -> Event {
    Event::ExecutionFailed { cause }
}

/// An event with an append of its own, as many seconds after 02:00 as its sequence says.
pub(crate) fn recorded(sequence: u64, event: Event) -> Recorded {
    let place = Sequence::new(sequence);
    Recorded { sequence: place, first: place, at: at(sequence.cast_signed()), event, digest: None }
}

/// These events from sequence 1 on.
pub(crate) fn history(events: impl IntoIterator<Item = Event>) -> Vec<Recorded> {
    (1..).zip(events).map(|(sequence, event)| recorded(sequence, event)).collect()
}

/// The state after a webhook into a workflow of the steps `a` and `b`, and these events.
#[track_caller]
pub(crate) fn execution(events: impl IntoIterator<Item = Event>) -> Execution {
    let history = history([received(&["a", "b"])].into_iter().chain(events));
    Execution::fold(&history).unwrap().unwrap()
}

/// The JSON of an item's packed events.
#[track_caller]
pub(crate) fn unpacked(item: &Item) -> String {
    let json = packed::unpack(read_bytes(item, "events").unwrap()).unwrap();
    String::from_utf8(json).unwrap()
}

/// An item with other events, packed.
pub(crate) fn with_events(mut item: Item, json: &str) -> Item {
    item.insert("events".into(), bytes(packed::pack(json.as_bytes())));
    item
}

/// An item as versions wrote it that packed no events.
#[track_caller]
pub(crate) fn in_form_1(mut item: Item) -> Item {
    let json = unpacked(&item);
    let events: Vec<Event> = serde_json::from_str(&json).unwrap();
    let names: Vec<_> = events.iter().map(Event::name).collect();
    item.insert("names".into(), attribute(names.join(" ")));
    item.insert("events".into(), attribute(json));
    item.insert("form".into(), number(FORM_TEXT));
    item
}

/// The definition of a step of this kind.
pub(crate) fn definition(name: &str, run: &str) -> StepDefinition {
    StepDefinition {
        name: step(name),
        run: run.into(),
        timeout_ms: 30_000,
        retry: Retry::DEFAULT,
        when: None,
        at_most_once: None,
        record_request: true,
        steps: Vec::new(),
        branches: Vec::new(),
        options: BTreeMap::new(),
    }
}

/// The definition of a workflow of these steps.
pub(crate) fn workflow(steps: &[&str]) -> Workflow {
    Workflow {
        name: WorkflowName::new("deploy"),
        steps: steps.iter().map(|name| definition(name, "http")).collect(),
        on_failure: Vec::new(),
        timeout_ms: None,
    }
}

/// A workflow with every kind of step that waits or holds others, and the event that begins it.
pub(crate) fn showcase() -> (Workflow, Event) {
    let branch = |name: &str, steps: &[&str]| BranchDefinition {
        name: step(name),
        steps: steps.iter().map(|name| definition(name, "http")).collect(),
    };
    let fork = StepDefinition {
        branches: vec![branch("left", &["l1", "l2"]), branch("right", &["r1"])],
        ..definition("fork", "parallel")
    };
    let list = StepDefinition { steps: vec![definition("m", "http")], ..definition("list", "map") };
    let ask =
        StepDefinition { steps: vec![definition("s", "http")], ..definition("ask", "callback") };
    let workflow = Workflow {
        steps: vec![definition("a", "http"), definition("w", "wait"), fork, list, ask],
        on_failure: vec![definition("tell", "http")],
        ..workflow(&[])
    };
    let webhook = Webhook { workflow: workflow.reference(), ..webhook(&[]) };
    (workflow, Event::WebhookReceived(Arc::new(webhook)))
}

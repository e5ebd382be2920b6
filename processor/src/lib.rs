//! Advances executions: each wake-up makes one execution go on as far as it can.
//!
//! - [`wakeup`]: why an execution is woken
//! - [`supervisor`], [`registry`] and [`actor`]: which executions are awake, each with one actor
//! - [`mod@advance`]: read, evolve, next, run, decide, append
//! - [`bulkhead`], [`calls`]: from which places executions are driven, and what they call
//! - [`plan`], [`step`], [`steps`]: a workflow with its steps ready to run
//! - [`expression`]: jq, as workflows use it
//! - [`destination`]: where an `http` step may go
//! - [`sweep`]: fires timers; [`audit`]: finds what has none and should
//! - [`suspects`]: which executions this process drives, should it die; [`alone`]: one that may have killed a process

pub mod actor;
pub mod advance;
pub mod alone;
pub mod audit;
pub mod bulkhead;
pub mod calls;
pub mod destination;
pub mod expression;
pub mod plan;
pub mod registry;
pub mod step;
pub mod steps;
pub mod supervisor;
pub mod suspects;
pub mod sweep;
pub mod wakeup;

use std::collections::BTreeMap;
use std::sync::Arc;

use everhook_journal::stream::{Batch, BatchResponse};
use everhook_journal::timers::Fired;
use everhook_journal::{ExecutionId, SourceName, Timer, Timestamp, telemetry};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use advance::{Advanced, Driver};
pub use audit::Audit;
pub use plan::Plans;
pub use step::{Input, Item, Outgoing, Output, Step, StepError, StepFuture};
pub use steps::Steps;
pub use supervisor::{Driven, Supervisor};
pub use suspects::Suspects;
pub use sweep::Sweep;
pub use wakeup::{Cause, Wake};

/// What the processor is invoked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invocation {
    /// Records of the journal's stream.
    Stream(Batch),
    /// Executions whose webhooks were just recorded, by way of ingest.
    Received(Vec<ExecutionId>),
    /// Timers whose time has come by the messages about them. They are not claimed yet.
    Messages(Vec<Timer>),
    /// Timers that were claimed.
    Due(Vec<Fired>),
    /// Executions whose next step acts, from an invocation that had to end soon.
    Acting(Vec<ExecutionId>),
    /// A timer that was claimed, of an execution that may have killed the process that drove it before.
    Alone(Fired),
}

impl Invocation {
    /// Reads an invocation's payload: `{"Records": […]}` from the stream or a queue; `{"due": […]}` or `{"alone": {…}}`
    /// from the sweep; `{"received": […]}` or `{"timers": […]}` from ingest; `{"acting": […]}` from the processor itself.
    pub fn from_json(payload: Value) -> Self {
        if let Some(due) = list(payload.get("due")) {
            return Self::Due(due);
        }
        if let Some(received) = list(payload.get("received")) {
            return Self::Received(received);
        }
        if let Some(timers) = list(payload.get("timers")) {
            return Self::Messages(timers);
        }
        if let Some(acting) = list(payload.get("acting")) {
            return Self::Acting(acting);
        }
        if let Some(fired) = payload.get("alone").cloned()
            && let Ok(fired) = serde_json::from_value(fired)
        {
            return Self::Alone(fired);
        }
        match messages(&payload) {
            Some(timers) => Self::Messages(timers),
            None => Self::Stream(Batch::from_json(payload)),
        }
    }

    /// The payload that [`Invocation::from_json`] reads, of what one function hands over to another.
    pub fn to_json(&self) -> Option<Value> {
        match self {
            Self::Stream(_) => None,
            Self::Received(ids) => Some(json!({ "received": ids })),
            Self::Messages(timers) => Some(json!({ "timers": timers })),
            Self::Due(fired) => Some(json!({ "due": fired })),
            Self::Acting(ids) => Some(json!({ "acting": ids })),
            Self::Alone(fired) => Some(json!({ "alone": fired })),
        }
    }

    /// How many executions it is about.
    pub fn many(&self) -> usize {
        match self {
            Self::Stream(batch) => batch.records.len(),
            Self::Received(ids) | Self::Acting(ids) => ids.len(),
            Self::Messages(timers) => timers.len(),
            Self::Due(fired) => fired.len(),
            Self::Alone(_) => 1,
        }
    }
}

/// What can be read of a list.
fn list<T: DeserializeOwned>(value: Option<&Value>) -> Option<Vec<T>> {
    let items = value?.as_array()?;
    Some(items.iter().filter_map(|item| serde_json::from_value(item.clone()).ok()).collect())
}

/// The timers that a queue's messages tell of; `None` if these are not a queue's.
fn messages(payload: &Value) -> Option<Vec<Timer>> {
    let records = payload.get("Records")?.as_array()?;
    let is_message =
        |record: &Value| record.get("eventSource").and_then(Value::as_str) == Some("aws:sqs");
    if !records.first().is_some_and(is_message) {
        return None;
    }
    let timer = |record: &Value| Timer::parse(record.get("body")?.as_str()?);
    Some(records.iter().filter_map(timer).collect())
}

/// Makes every execution of the invocation go on. None of them is being driven when this returns.
///
/// Only what could not be read or written is reported as failed: an execution's own trouble stays its own.
pub async fn handle(
    supervisor: &Arc<Supervisor>,
    invocation: Invocation,
    deadline: Timestamp,
) -> BatchResponse {
    drive(supervisor, invocation, deadline, false).await.0
}

/// The same, but a batch of the stream leaves steps that act to other invocations: a batch is as slow as its slowest.
/// Returns those executions too, by source.
pub async fn handle_soon(
    supervisor: &Arc<Supervisor>,
    invocation: Invocation,
    deadline: Timestamp,
) -> (BatchResponse, Acting) {
    drive(supervisor, invocation, deadline, true).await
}

/// Executions whose next step acts, by source.
pub type Acting = BTreeMap<SourceName, Vec<ExecutionId>>;

async fn drive(
    supervisor: &Arc<Supervisor>,
    invocation: Invocation,
    deadline: Timestamp,
    hands_over: bool,
) -> (BatchResponse, Acting) {
    let of = |ids: Vec<ExecutionId>, cause| -> Vec<_> {
        ids.into_iter().map(|id| Wake::new(id, cause)).collect()
    };
    let fired = |fired: Vec<Fired>| -> Vec<_> {
        fired.into_iter().map(|fired| Wake::fired(fired, Cause::Due)).collect()
    };
    let wakes = match invocation {
        Invocation::Stream(batch) => {
            tell(&batch);
            let wakes = wakeup::from_batch(&batch);
            let Driven { failed, acting } = supervisor.drive(wakes, deadline, hands_over).await;
            let failed = batch.records.iter().filter(|r| failed.contains(&r.execution));
            return (BatchResponse::failed(failed), acting);
        }
        Invocation::Alone(fired) => {
            let id = fired.timer.execution.clone();
            let drive = drive_alone(supervisor, Wake::fired(fired, Cause::Alone), deadline);
            alone::recorded(supervisor.driver(), &id, drive).await;
            return (BatchResponse::Complete, Acting::new());
        }
        Invocation::Received(ids) => of(ids, Cause::Received),
        Invocation::Acting(ids) => of(ids, Cause::HandedOver),
        Invocation::Due(due) => fired(due),
        Invocation::Messages(timers) => {
            fired(sweep::claim_messages(supervisor.driver(), &timers).await)
        }
    };
    // What failed keeps its timer, or is found by the audit.
    // Only a batch of the stream leaves steps that act to other invocations: what was left to this one must be done here,
    // or it would be handed over for ever, and a timer is deleted only by the drive that it woke.
    supervisor.drive(wakes, deadline, false).await;
    (BatchResponse::Complete, Acting::new())
}

/// Drives an execution that may have killed a process, while this process drives nothing else.
pub async fn drive_alone(supervisor: &Arc<Supervisor>, wake: Wake, deadline: Timestamp) {
    let id = wake.execution.clone();
    let drive = async {
        supervisor.drive(vec![wake], deadline, false).await;
    };
    alone::drive(supervisor.driver(), &id, drive).await;
}

/// Tells of records that cannot be read.
pub fn tell(batch: &Batch) {
    if batch.unreadable > 0 {
        tracing::error!(records = batch.unreadable, "skipped records that cannot be read");
        telemetry::unreadable(batch.unreadable);
    }
}

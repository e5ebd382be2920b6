//! Advances executions: each wake-up makes one execution go on as far as it can.
//!
//! - [`wakeup`]: a batch of records becomes one wake-up an execution
//! - [`supervisor`] and [`actor`]: one actor an execution, so many at once, all joined
//! - [`mod@advance`]: read, evolve, next, run, decide, append
//! - [`awake`], [`bulkhead`], [`calls`]: which executions are driven here, from which places, and what they call
//! - [`plan`], [`step`], [`steps`]: a workflow with its steps ready to run
//! - [`expression`]: jq, as workflows use it
//! - [`destination`]: where an `http` step may go
//! - [`recall`], [`memory`]: what this process has gone beyond, and the states it has seen
//! - [`sweep`]: fires what is due

pub mod actor;
pub mod advance;
pub mod awake;
pub mod bulkhead;
pub mod calls;
pub mod destination;
pub mod expression;
pub mod memory;
pub mod plan;
pub mod recall;
pub mod step;
pub mod steps;
pub mod supervisor;
pub mod sweep;
pub mod wakeup;

use std::collections::BTreeMap;

use everhook_journal::stream::{Batch, BatchResponse};
use everhook_journal::{ExecutionId, SourceName, Timestamp, telemetry};

pub use advance::{Advanced, Driver};
pub use plan::Plans;
pub use step::{Input, Item, Output, Step, StepError, StepFuture};
pub use steps::Steps;
pub use supervisor::{Driven, Supervisor};
pub use sweep::Sweep;
pub use wakeup::{Cause, Wake};

/// What the processor is invoked with.
#[derive(Debug)]
pub enum Invocation {
    /// Records of the journal's stream.
    Stream(Batch),
    /// Executions whose time has come.
    Due(Vec<ExecutionId>),
    /// Executions whose next step acts, from an invocation that had to end soon.
    Acting(Vec<ExecutionId>),
}

impl Invocation {
    /// Reads an invocation's payload: `{"Records": […]}` from the stream, `{"due": […]}` from the sweep,
    /// `{"acting": […]}` from the processor itself.
    pub fn from_json(payload: serde_json::Value) -> Self {
        let ids = |key: &str| {
            let ids = payload.get(key)?.as_array()?.iter().filter_map(|id| id.as_str());
            Some(ids.filter_map(ExecutionId::parse).collect())
        };
        if let Some(due) = ids("due") {
            return Self::Due(due);
        }
        match ids("acting") {
            Some(acting) => Self::Acting(acting),
            None => Self::Stream(Batch::from_json(payload)),
        }
    }
}

/// Makes every execution of the invocation go on. All of its actors have ended when this returns.
///
/// Only what could not be read or written is reported as failed: an execution's own trouble stays its own.
pub async fn handle(
    supervisor: &Supervisor,
    invocation: Invocation,
    deadline: Timestamp,
) -> BatchResponse {
    drive(supervisor, invocation, deadline, false).await.0
}

/// The same, but a batch of the stream leaves steps that act to other invocations: a batch is as slow as its slowest.
/// Returns those executions too, by source.
pub async fn handle_soon(
    supervisor: &Supervisor,
    invocation: Invocation,
    deadline: Timestamp,
) -> (BatchResponse, Acting) {
    drive(supervisor, invocation, deadline, true).await
}

/// Executions whose next step acts, by source.
pub type Acting = BTreeMap<SourceName, Vec<ExecutionId>>;

async fn drive(
    supervisor: &Supervisor,
    invocation: Invocation,
    deadline: Timestamp,
    hands_over: bool,
) -> (BatchResponse, Acting) {
    let (ids, cause) = match invocation {
        Invocation::Stream(batch) => {
            tell(&batch);
            let wakes = wakeup::from_batch(&batch);
            let Driven { failed, acting } = supervisor.drive(wakes, deadline, hands_over).await;
            let failed = batch.records.iter().filter(|r| failed.contains(&r.execution));
            return (BatchResponse::failed(failed), acting);
        }
        Invocation::Due(ids) => (ids, Cause::Due),
        Invocation::Acting(ids) => (ids, Cause::HandedOver),
    };
    let wakes = ids.into_iter().map(|execution| Wake { execution, cause }).collect();
    // What failed stays due: its row was only claimed for a time.
    supervisor.drive(wakes, deadline, false).await;
    (BatchResponse::Complete, Acting::new())
}

/// Tells of records that cannot be read.
pub fn tell(batch: &Batch) {
    if batch.unreadable > 0 {
        tracing::error!(records = batch.unreadable, "skipped records that cannot be read");
        telemetry::unreadable(batch.unreadable);
    }
}

//! Advances executions: each wake-up makes one execution go on as far as it can.
//!
//! - [`wakeup`]: a batch of records becomes one wake-up an execution
//! - [`supervisor`] and [`actor`]: one actor an execution, so many at once, all joined
//! - [`mod@advance`]: read, evolve, next, run, decide, append
//! - [`plan`], [`step`], [`steps`]: a workflow with its steps ready to run
//! - [`expression`]: jq, as workflows use it
//! - [`destination`]: where an `http` step may go
//! - [`recall`], [`memory`]: what this process has gone beyond, and the states it has seen
//! - [`sweep`]: fires what is due

pub mod actor;
pub mod advance;
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

use everhook_journal::stream::{Batch, BatchResponse};
use everhook_journal::{ExecutionId, Timestamp, telemetry};

pub use advance::{Advanced, Driver};
pub use plan::Plans;
pub use step::{Input, Item, Output, Step, StepError, StepFuture};
pub use steps::Steps;
pub use supervisor::Supervisor;
pub use sweep::Sweep;
pub use wakeup::{Cause, Wake};

/// What the processor is invoked with.
#[derive(Debug)]
pub enum Invocation {
    /// Records of the journal's stream.
    Stream(Batch),
    /// Executions whose time has come.
    Due(Vec<ExecutionId>),
}

impl Invocation {
    /// Reads an invocation's payload: `{"Records": […]}` from the stream, `{"due": […]}` from the sweep.
    pub fn from_json(payload: serde_json::Value) -> Self {
        match payload.get("due").and_then(|due| due.as_array()) {
            Some(due) => {
                let ids = due.iter().filter_map(|id| id.as_str());
                Self::Due(ids.filter_map(ExecutionId::parse).collect())
            }
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
    match invocation {
        Invocation::Stream(batch) => {
            if batch.unreadable > 0 {
                tracing::error!(records = batch.unreadable, "skipped records that cannot be read");
                telemetry::unreadable(batch.unreadable);
            }
            let failed = supervisor.drive(wakeup::from_batch(&batch), deadline).await;
            BatchResponse::failed(batch.records.iter().filter(|r| failed.contains(&r.execution)))
        }
        Invocation::Due(ids) => {
            let wakes = ids.into_iter().map(|execution| Wake { execution, cause: Cause::Due });
            // What failed stays due: its row was only claimed for a time.
            supervisor.drive(wakes.collect(), deadline).await;
            BatchResponse::Complete
        }
    }
}

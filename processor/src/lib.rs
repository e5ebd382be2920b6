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
//! - [`suspects`]: which executions this process drives, should it die; [`alone`]: one that may have killed a process

pub mod actor;
pub mod advance;
pub mod alone;
pub mod destination;
pub mod expression;
pub mod memory;
pub mod plan;
pub mod recall;
pub mod step;
pub mod steps;
pub mod supervisor;
pub mod suspects;
pub mod sweep;
pub mod wakeup;

use everhook_journal::stream::{Batch, BatchResponse};
use everhook_journal::{ExecutionId, Timestamp, telemetry};
use serde_json::{Value, json};

pub use advance::{Advanced, Driver};
pub use plan::Plans;
pub use step::{Input, Item, Output, Step, StepError, StepFuture};
pub use steps::Steps;
pub use supervisor::Supervisor;
pub use suspects::Suspects;
pub use sweep::Sweep;
pub use wakeup::{Cause, Wake};

/// What the processor is invoked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invocation {
    /// Records of the journal's stream.
    Stream(Batch),
    /// Executions whose time has come.
    Due(Vec<ExecutionId>),
    /// An execution whose time has come, and which may have killed the process that drove it before.
    Alone {
        /// The execution.
        execution: ExecutionId,
        /// How many processes are known to have died.
        deaths: u64,
    },
}

impl Invocation {
    /// Reads an invocation's payload: `{"Records": […]}` from the stream; from the sweep `{"due": […]}`,
    /// or `{"alone": "…", "deaths": 1}`.
    pub fn from_json(payload: Value) -> Self {
        let id = |id: &Value| id.as_str().and_then(ExecutionId::parse);
        if let Some(due) = payload.get("due").and_then(Value::as_array) {
            return Self::Due(due.iter().filter_map(id).collect());
        }
        if let Some(execution) = payload.get("alone").and_then(id) {
            let deaths = payload.get("deaths").and_then(Value::as_u64).unwrap_or(0);
            return Self::Alone { execution, deaths };
        }
        Self::Stream(Batch::from_json(payload))
    }

    /// The payload that [`Invocation::from_json`] reads, of what the sweep hands over.
    pub fn to_json(&self) -> Option<Value> {
        match self {
            Self::Stream(_) => None,
            Self::Due(ids) => Some(json!({ "due": ids })),
            Self::Alone { execution, deaths } => {
                Some(json!({ "alone": execution, "deaths": deaths }))
            }
        }
    }

    /// How many executions the sweep hands over with it.
    pub fn many(&self) -> usize {
        match self {
            Self::Stream(batch) => batch.records.len(),
            Self::Due(ids) => ids.len(),
            Self::Alone { .. } => 1,
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
        Invocation::Alone { execution, deaths } => {
            let wake = Wake { execution: execution.clone(), cause: Cause::Alone };
            let drive = async {
                let failed = supervisor.drive(vec![wake], deadline).await;
                failed.is_empty()
            };
            alone::drive(supervisor.driver(), &execution, deaths, deadline, drive).await;
            BatchResponse::Complete
        }
    }
}

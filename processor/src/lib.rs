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
//! - [`suspects`]: which executions this process drives, should it die; [`alone`]: one that may have killed a process

pub mod actor;
pub mod advance;
pub mod alone;
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
pub mod suspects;
pub mod sweep;
pub mod wakeup;

use std::collections::BTreeMap;

use everhook_journal::stream::{Batch, BatchResponse};
use everhook_journal::{ExecutionId, SourceName, Timestamp, telemetry};
use serde_json::{Value, json};

pub use advance::{Advanced, Driver};
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
    /// Executions whose time has come.
    Due(Vec<ExecutionId>),
    /// Executions whose next step acts, from an invocation that had to end soon.
    Acting(Vec<ExecutionId>),
    /// An execution whose time has come, and which may have killed the process that drove it before.
    Alone {
        /// The execution.
        execution: ExecutionId,
        /// How many processes are known to have died.
        deaths: u64,
    },
}

impl Invocation {
    /// Reads an invocation's payload: `{"Records": […]}` from the stream; `{"due": […]}`,
    /// or `{"alone": "…", "deaths": 1}` from the sweep; `{"acting": […]}` from the processor itself.
    pub fn from_json(payload: Value) -> Self {
        let id = |id: &Value| id.as_str().and_then(ExecutionId::parse);
        let ids = |key: &str| {
            let ids = payload.get(key)?.as_array()?;
            Some(ids.iter().filter_map(id).collect())
        };
        if let Some(due) = ids("due") {
            return Self::Due(due);
        }
        if let Some(acting) = ids("acting") {
            return Self::Acting(acting);
        }
        if let Some(execution) = payload.get("alone").and_then(id) {
            let deaths = payload.get("deaths").and_then(Value::as_u64).unwrap_or(0);
            return Self::Alone { execution, deaths };
        }
        Self::Stream(Batch::from_json(payload))
    }

    /// The payload that [`Invocation::from_json`] reads, of what one function hands over to another.
    pub fn to_json(&self) -> Option<Value> {
        match self {
            Self::Stream(_) => None,
            Self::Due(ids) => Some(json!({ "due": ids })),
            Self::Acting(ids) => Some(json!({ "acting": ids })),
            Self::Alone { execution, deaths } => {
                Some(json!({ "alone": execution, "deaths": deaths }))
            }
        }
    }

    /// How many executions it is about.
    pub fn many(&self) -> usize {
        match self {
            Self::Stream(batch) => batch.records.len(),
            Self::Due(ids) | Self::Acting(ids) => ids.len(),
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
        Invocation::Alone { execution, deaths } => {
            let wake = Wake { execution: execution.clone(), cause: Cause::Alone };
            let drive =
                async { supervisor.drive(vec![wake], deadline, false).await.failed.is_empty() };
            alone::drive(supervisor.driver(), &execution, deaths, deadline, drive).await;
            return (BatchResponse::Complete, Acting::new());
        }
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

//! What happened to every webhook, and what must happen next.
//!
//! The first seven modules are pure: no `async`, no clock, no AWS.
//! The rest keeps them in DynamoDB.
//!
//! - [`id`]: names and identities
//! - [`time`]: timestamps and the clock
//! - [`event`]: what happens to an execution
//! - [`chain`]: what shows that a history was changed afterwards
//! - [`workflow`] and [`retry`]: what is wanted of it
//! - [`execution`]: the state after its events, and the next event
//! - [`view`]: what a reader is shown of it
//! - [`payload`]: bodies and step results, inline or in an object store
//! - [`packed`]: events as few bytes
//! - [`item`], [`store`], [`table`], [`executions`], [`timers`]: the three tables
//! - [`verify`]: whether a history is the one that was written
//! - [`stream`]: what the journal's stream tells, and what its readers answer
//! - [`config`]: what `everhook.toml` says
//! - [`secret`]: secrets and where they are, by reference
//! - [`environment`]: what a Lambda function finds around it
//! - [`gateway`]: what API Gateway hands to a function
//! - [`telemetry`]: what is counted and timed
//! - [`ambient`], [`guard`], [`failpoint`]: where a simulation and a test of crashes come in

pub mod gateway;
pub mod id;
pub mod time;

pub mod chain;
pub mod event;
pub mod execution;
pub mod retry;
pub mod view;
pub mod workflow;

pub mod json;
pub mod payload;
pub mod quarantine;

pub mod executions;
pub mod item;
pub mod packed;
pub mod schema;
pub mod store;
pub mod stream;
pub mod table;
pub mod timers;
pub mod verify;

pub mod ambient;
pub mod failpoint;
pub mod guard;

pub mod callback;
pub mod config;
pub mod credential;
pub mod environment;
pub mod secret;
pub mod telemetry;

#[cfg(test)]
mod model;
#[cfg(test)]
mod samples;

pub use chain::{Digest, Head};
pub use event::{Event, Events, Recorded};
pub use execution::{Command, Execution, Next, Refusal, Status};
pub use executions::Executions;
pub use id::{DeliveryId, ExecutionId, ExecutionKey, Sequence, SourceName, StepName, WorkflowName};
pub use payload::{Payload, Payloads};
pub use quarantine::Quarantine;
pub use secret::Secrets;
pub use table::Journal;
pub use time::{Clock, Timestamp};
pub use timers::{Timer, Timers};
pub use view::View;
pub use workflow::Workflow;

/// Where everything about executions is kept. A clone is the same places.
#[derive(Debug, Clone)]
pub struct Storage {
    /// The histories.
    pub journal: Journal,
    /// The views.
    pub executions: Executions,
    /// The timers.
    pub timers: Timers,
    /// The large payloads.
    pub payloads: Payloads,
}

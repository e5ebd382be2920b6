//! What a reader is shown of an execution: derived from its history, never the other way round.

use serde::{Deserialize, Serialize};

use crate::event::Cause;
use crate::execution::{Execution, Outcome, Status};
use crate::id::{DeliveryId, ExecutionId, Sequence, SourceName, StepName, WorkflowName};
use crate::time::Timestamp;

/// The status of an execution, as of one of its events.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// Which execution.
    pub execution: ExecutionId,
    /// Where it stands.
    pub status: ViewStatus,
    /// The step that is next, or the one that failed.
    pub current_step: Option<StepName>,
    /// Who sent the webhook.
    pub source: SourceName,
    /// The sender's id of it.
    pub delivery_id: DeliveryId,
    /// What the sender calls this kind of event.
    pub event_type: Option<String>,
    /// The workflow it went into.
    pub workflow: WorkflowName,
    /// When the webhook was received.
    pub created_at: Timestamp,
    /// When the execution last moved.
    pub updated_at: Timestamp,
    /// Why it failed, if it did.
    pub error: Option<Cause>,
    /// The names of the body's first top-level keys.
    pub keys: Vec<String>,
    /// How many top-level keys or items the body has.
    pub key_count: u64,
    /// Each step of the workflow, in order.
    pub steps: Vec<StepView>,
    /// The event it is as of.
    pub sequence: Sequence,
    /// When it may be deleted.
    pub expires_at: Timestamp,
}

/// Where an execution stands, as readers see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ViewStatus {
    /// Recorded; no step has ended yet.
    Received,
    /// Some step has ended.
    Running,
    /// Waiting for a time.
    Waiting,
    /// Ended well.
    Completed,
    /// Ended otherwise.
    Failed,
    /// Not moving, and somebody should look.
    Stalled,
}

impl ViewStatus {
    /// Its word in the API and in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Stalled => "stalled",
        }
    }

    /// Reads its word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Received, Self::Running, Self::Waiting, Self::Completed, Self::Failed, Self::Stalled]
            .into_iter()
            .find(|status| status.as_str() == word)
    }

    /// Whether nothing more can happen.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

/// One step, as readers see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// Its name.
    pub name: StepName,
    /// `pending`, `completed`, `retrying` or `failed`.
    pub status: String,
    /// How many attempts have ended.
    pub attempts: u32,
    /// When its first attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When its last attempt ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// What went wrong in its last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl View {
    /// The view of an execution.
    pub fn of(id: &ExecutionId, execution: &Execution) -> Self {
        let webhook = &execution.webhook;
        Self {
            execution: id.clone(),
            status: status(execution),
            current_step: execution.step_wanted().cloned(),
            source: webhook.source.clone(),
            delivery_id: webhook.delivery_id.clone(),
            event_type: webhook.event_type.clone(),
            workflow: webhook.workflow.name.clone(),
            created_at: execution.created_at,
            updated_at: execution.updated_at,
            error: match &execution.status {
                Status::Failing { cause } | Status::Failed { cause } => Some(cause.clone()),
                Status::Running | Status::Waiting { .. } | Status::Completed => None,
            },
            keys: webhook.keys.clone(),
            key_count: webhook.key_count,
            steps: webhook.workflow.steps.iter().map(|name| step(name, execution)).collect(),
            sequence: execution.sequence,
            expires_at: webhook.expires_at,
        }
    }
}

fn status(execution: &Execution) -> ViewStatus {
    match execution.status {
        Status::Running if execution.steps.is_empty() => ViewStatus::Received,
        Status::Running | Status::Failing { .. } => ViewStatus::Running,
        Status::Waiting { .. } => ViewStatus::Waiting,
        Status::Completed => ViewStatus::Completed,
        Status::Failed { .. } => ViewStatus::Failed,
    }
}

fn step(name: &StepName, execution: &Execution) -> StepView {
    let Some(state) = execution.steps.iter().find(|state| state.name == *name) else {
        return StepView {
            name: name.clone(),
            status: "pending".into(),
            attempts: 0,
            started_at: None,
            ended_at: None,
            error: None,
        };
    };
    let (status, error) = match &state.outcome {
        Outcome::Completed(_) => ("completed", None),
        Outcome::Retrying(error) => ("retrying", Some(error)),
        Outcome::Failed(error) => ("failed", Some(error)),
    };
    StepView {
        name: name.clone(),
        status: status.into(),
        attempts: state.attempts,
        started_at: Some(state.started_at),
        ended_at: Some(state.ended_at),
        error: error.map(|error| format!("{}: {}", error.kind, error.message)),
    }
}

#[cfg(test)]
mod tests;

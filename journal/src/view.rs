//! What a reader is shown of an execution: derived from its history, never the other way round.

use serde::{Deserialize, Serialize};

use crate::chain::Digest;
use crate::event::{Cause, Filtered};
use crate::execution::{Execution, Line, Stage, Status, StepState};
use crate::id::{
    DeliveryId, ExecutionId, Sequence, SourceName, StepName, WorkflowHash, WorkflowName,
};
use crate::time::Timestamp;

/// The status of an execution, as of one of its events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// Which execution.
    pub execution: ExecutionId,
    /// Where it stands.
    pub status: ViewStatus,
    /// The step that is next, or the one that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_step: Option<StepName>,
    /// Who sent the webhook.
    pub source: SourceName,
    /// The sender's id of it.
    pub delivery_id: DeliveryId,
    /// What the sender calls this kind of event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// The workflow it went into.
    pub workflow: WorkflowName,
    /// The definition of it that it is pinned to. Kept only while it is unfinished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_hash: Option<WorkflowHash>,
    /// When the webhook was received.
    pub created_at: Timestamp,
    /// When the execution last moved.
    pub updated_at: Timestamp,
    /// Why it failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Cause>,
    /// The step that stopped it before its end, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filtered: Option<Filtered>,
    /// The names of the body's first top-level keys.
    pub keys: Vec<String>,
    /// How many top-level keys or items the body has.
    pub key_count: u64,
    /// Each step of the workflow, in order.
    pub steps: Vec<StepView>,
    /// The event it is as of.
    pub sequence: Sequence,
    /// The digest of that event's append; unknown while it is being appended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Digest>,
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
    /// Ended by an operator.
    Cancelled,
    /// Not moving, and somebody should look.
    Stalled,
}

impl ViewStatus {
    /// Every one of them.
    pub const ALL: [Self; 7] = [
        Self::Received,
        Self::Running,
        Self::Waiting,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
        Self::Stalled,
    ];

    /// Its word in the API and in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Stalled => "stalled",
        }
    }

    /// Reads its word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether nothing more can happen.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// One step, as readers see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepView {
    /// Its name.
    pub name: StepName,
    /// `pending`, `running`, `waiting`, `retrying`, `completed`, `skipped`, `filtered` or `failed`.
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
    /// How its branches are getting on, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branches: Option<BranchesView>,
}

/// A step's branches, as readers see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BranchesView {
    /// How many there are.
    pub total: usize,
    /// How many of them completed.
    pub completed: usize,
    /// How many of them failed.
    pub failed: usize,
}

impl View {
    /// The view of an execution.
    pub fn of(id: &ExecutionId, execution: &Execution) -> Self {
        let webhook = &execution.webhook;
        Self {
            execution: id.clone(),
            status: status(execution),
            current_step: execution.step_in_hand().cloned(),
            source: webhook.source.clone(),
            delivery_id: webhook.delivery_id.clone(),
            event_type: webhook.event_type.clone(),
            workflow: webhook.workflow.name.clone(),
            workflow_hash: (!status(execution).is_terminal())
                .then(|| webhook.workflow.hash.clone()),
            created_at: execution.created_at,
            updated_at: execution.updated_at,
            error: match &execution.status {
                Status::Failing { cause } | Status::Failed { cause } => Some(cause.clone()),
                Status::Cancelled { reason } => {
                    Some(Cause { step: None, kind: "cancelled".into(), message: reason.clone() })
                }
                Status::Running | Status::Completed { .. } => None,
            },
            filtered: match &execution.status {
                Status::Completed { filtered } => filtered.clone(),
                _ => None,
            },
            keys: webhook.keys.clone(),
            key_count: webhook.key_count,
            steps: steps(execution),
            sequence: execution.sequence,
            head: execution.digest,
            expires_at: webhook.expires_at,
        }
    }
}

fn status(execution: &Execution) -> ViewStatus {
    match execution.status {
        Status::Running if execution.line.steps.is_empty() => ViewStatus::Received,
        Status::Running if execution.waits_until().is_some() => ViewStatus::Waiting,
        Status::Running | Status::Failing { .. } => ViewStatus::Running,
        Status::Completed { .. } => ViewStatus::Completed,
        Status::Failed { .. } => ViewStatus::Failed,
        Status::Cancelled { .. } => ViewStatus::Cancelled,
    }
}

/// Each step of the workflow; those that follow a failure only once it has failed.
fn steps(execution: &Execution) -> Vec<StepView> {
    let failed = matches!(execution.status, Status::Failing { .. } | Status::Failed { .. });
    let lines = [&execution.line].into_iter().chain(failed.then_some(&execution.rescue));
    let each = |line: &Line| -> Vec<_> {
        line.names()
            .iter()
            .enumerate()
            .map(|(place, name)| step(name, line.steps.get(place)))
            .collect()
    };
    lines.flat_map(each).collect()
}

fn step(name: &StepName, state: Option<&StepState>) -> StepView {
    let Some(state) = state else {
        return StepView {
            name: name.clone(),
            status: "pending".into(),
            attempts: 0,
            started_at: None,
            ended_at: None,
            error: None,
            branches: None,
        };
    };
    let status = match &state.stage {
        Stage::Ready if state.error.is_some() => "retrying",
        Stage::Ready | Stage::Claimed { .. } | Stage::Branching(_) => "running",
        Stage::Retrying { .. } => "retrying",
        Stage::Polling { .. } | Stage::Waiting { .. } | Stage::Callback(_) => "waiting",
        Stage::Completed(_) => "completed",
        Stage::Skipped => "skipped",
        Stage::Filtered => "filtered",
        Stage::Failed(_) => "failed",
    };
    let branches = match &state.stage {
        Stage::Branching(branches) | Stage::Failed(Some(branches)) => {
            let (completed, failed) = branches.counts();
            Some(BranchesView { total: branches.lines.len(), completed, failed })
        }
        _ => None,
    };
    StepView {
        name: name.clone(),
        status: status.into(),
        attempts: state.attempts,
        started_at: Some(state.started_at),
        ended_at: (state.attempts > 0).then_some(state.ended_at),
        error: state.error.as_ref().map(|error| format!("{}: {}", error.kind, error.message)),
        branches,
    }
}

#[cfg(test)]
mod tests;

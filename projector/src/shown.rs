//! How an execution looks in JSON.

use everhook_journal::event::{Cause, Filtered};
use everhook_journal::executions::Row;
use everhook_journal::view::{StepView, ViewStatus};
use everhook_journal::{DeliveryId, ExecutionId, SourceName, StepName, Timestamp, WorkflowName};
use serde::{Deserialize, Serialize};

/// An execution as `GET /status/{token}` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownExecution {
    /// Which execution.
    pub execution_token: ExecutionId,
    /// Where it stands.
    pub status: ViewStatus,
    /// The step that is next, or the one that failed.
    pub current_step: Option<StepName>,
    /// When the webhook was received.
    pub created_at: Timestamp,
    /// When the execution last moved.
    pub last_updated: Timestamp,
    /// Why it failed or does not move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Cause>,
    /// The step that stopped it before its end, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filtered: Option<Filtered>,
    /// What the webhook is about.
    pub webhook_summary: ShownSummary,
    /// The sender's id of the webhook.
    pub delivery_id: DeliveryId,
    /// The execution that the same body had come with before, under another id that nobody signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat_of: Option<ExecutionId>,
    /// The workflow it went into.
    pub workflow: WorkflowName,
    /// The last event it is as of.
    pub sequence: u64,
    /// Each step, in order.
    pub steps: Vec<StepView>,
}

/// What a webhook is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownSummary {
    /// What the sender calls this kind of event.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    /// Who sent it.
    pub source: SourceName,
    /// The names of the body's first top-level keys.
    pub keys: Vec<String>,
    /// How many top-level keys or items the body has.
    pub key_count: u64,
}

/// A page of executions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShownPage {
    /// The executions, the newest first.
    pub executions: Vec<ShownExecution>,
    /// Where the next page begins, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl ShownExecution {
    /// What is shown of a row; nothing of one without a view.
    pub fn of(row: Row) -> Option<Self> {
        let view = row.view?;
        let stalled = row.stalled.filter(|_| !view.status.is_terminal());
        let reason = |message| Cause { step: None, kind: "stalled".into(), message };
        Some(Self {
            execution_token: view.execution,
            status: if stalled.is_some() { ViewStatus::Stalled } else { view.status },
            current_step: view.current_step,
            created_at: view.created_at,
            last_updated: view.updated_at,
            error: stalled.map(reason).or(view.error),
            filtered: view.filtered,
            webhook_summary: ShownSummary {
                event_type: view.event_type,
                source: view.source,
                keys: view.keys,
                key_count: view.key_count,
            },
            delivery_id: view.delivery_id,
            repeat_of: row.repeat_of,
            workflow: view.workflow,
            sequence: view.sequence.get(),
            steps: view.steps,
        })
    }
}

//! What happens to an execution.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::{DeliveryId, Sequence, SourceName, StepName, WorkflowHash, WorkflowName};
use crate::payload::Payload;
use crate::time::Timestamp;

/// Something that happened to an execution.
///
/// These names and fields are the storage format: a variant or an optional field may be added,
/// anything else needs a translation of the old form in [`crate::item`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum Event {
    /// A verified webhook arrived and started the execution.
    WebhookReceived(Arc<Webhook>),
    /// A step gave its result.
    StepCompleted {
        /// Which step.
        step: StepName,
        /// Which try, from 1.
        attempt: u32,
        /// When the try began.
        started_at: Timestamp,
        /// How long it took.
        duration_ms: u64,
        /// Its result.
        output: Payload,
    },
    /// A step's attempt ended without a result.
    StepFailed {
        /// Which step.
        step: StepName,
        /// Which try, from 1.
        attempt: u32,
        /// When the try began.
        started_at: Timestamp,
        /// How long it took.
        duration_ms: u64,
        /// What went wrong.
        error: StepFailure,
        /// When the next try may begin; none if there is no next.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_at: Option<Timestamp>,
    },
    /// A step was passed over: its condition did not hold.
    StepSkipped {
        /// Which step.
        step: StepName,
    },
    /// A step said that this webhook goes no further.
    StepFiltered {
        /// Which step.
        step: StepName,
        /// Which try, from 1.
        attempt: u32,
        /// When the try began.
        started_at: Timestamp,
        /// How long it took.
        duration_ms: u64,
        /// Why.
        reason: String,
    },
    /// An attempt is about to act, and nobody else may make it.
    StepClaimed {
        /// Which step.
        step: StepName,
        /// Which try, from 1.
        attempt: u32,
        /// From when on it counts as interrupted.
        until: Timestamp,
    },
    /// A step looked, and what it waits for is not there yet.
    StepPolled {
        /// Which step.
        step: StepName,
        /// Which look, from 1.
        attempt: u32,
        /// When it began.
        started_at: Timestamp,
        /// How long it took.
        duration_ms: u64,
        /// What it saw.
        state: Payload,
        /// When it looks again.
        next_at: Timestamp,
    },
    /// A step began to wait for a time.
    WaitStarted {
        /// Which step.
        step: StepName,
        /// The time.
        until: Timestamp,
    },
    /// A step can be called back.
    CallbackCreated {
        /// Which step.
        step: StepName,
        /// Which try, from 1.
        attempt: u32,
        /// SHA-256 of the callback's token, in hexadecimal.
        token_sha256: String,
        /// The steps that come before it waits, in order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        steps: Vec<StepName>,
        /// When nobody called, it has failed.
        expires_at: Timestamp,
        /// How long it may be from one sign of life to the next.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        heartbeat_ms: Option<u64>,
    },
    /// Somebody called back with an answer.
    CallbackReceived {
        /// Which step.
        step: StepName,
        /// The answer.
        answer: CallbackAnswer,
    },
    /// Somebody who will call back gave a sign of life.
    CallbackBeat {
        /// Which step.
        step: StepName,
    },
    /// A step's branches began.
    BranchesStarted {
        /// Which step.
        step: StepName,
        /// Which try, from 1.
        attempt: u32,
        /// What they are.
        branches: Branches,
        /// How many go on at once.
        concurrency: u32,
        /// When they have done enough, and when too many have failed.
        #[serde(default)]
        rule: CompletionRule,
    },
    /// The time that the execution waited for has come.
    TimerFired {
        /// The time that was waited for.
        due: Timestamp,
    },
    /// All steps completed, or one of them stopped the rest.
    ExecutionCompleted {
        /// The step that stopped the rest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        filtered: Option<Filtered>,
    },
    /// The execution cannot complete; what follows a failure follows now.
    ExecutionFailing {
        /// Why.
        cause: Cause,
    },
    /// The execution ended without completing.
    ExecutionFailed {
        /// Why.
        cause: Cause,
    },
    /// An operator ended the execution.
    ExecutionCancelled {
        /// Why, in the operator's words.
        reason: String,
    },
    /// An operator made an execution go on that had ended without completing.
    ExecutionRedriven {
        /// The step to go on from; none for the one that failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<StepName>,
    },
}

/// What somebody called back with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CallbackAnswer {
    /// It went well; the answer is the step's result.
    Succeeded(Payload),
    /// It did not.
    Failed(StepFailure),
}

/// The branches of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Branches {
    /// Each its own steps.
    Parallel(Vec<Branch>),
    /// The same steps for each item of a list.
    Map {
        /// The list, as JSON.
        items: Payload,
        /// How many items there are.
        count: u32,
        /// The steps, in order.
        steps: Vec<StepName>,
        /// What each item is called for those who look on, if it is called anything.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        labels: Vec<String>,
    },
}

/// One branch of several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Branch {
    /// Its name, unique in its step.
    pub name: StepName,
    /// Its steps, in order.
    pub steps: Vec<StepName>,
}

/// When branches have done enough, and when too many have failed.
/// Nothing said means: all of them, and the first failure is one too many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CompletionRule {
    /// So many that completed are enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enough: Option<u32>,
    /// So many may fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerated: Option<u32>,
    /// So many of a hundred may fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerated_percent: Option<u8>,
}

/// Why an execution completed early.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filtered {
    /// The step that stopped the rest.
    pub step: StepName,
    /// Why.
    pub reason: String,
}

/// A verified webhook, as it was received.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// Who sent it.
    pub source: SourceName,
    /// The sender's id of it, or one derived from the body.
    pub delivery_id: DeliveryId,
    /// Where the id was found.
    pub delivery_id_from: IdOrigin,
    /// What the sender calls this kind of event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// The workflow it starts.
    pub workflow: WorkflowRef,
    /// How it was verified.
    pub verified: Verified,
    /// The request's method.
    pub method: String,
    /// The request's path.
    pub path: String,
    /// The request's query, as sent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub query: String,
    /// The headers that were kept, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The caller's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<String>,
    /// The gateway's name for the request.
    pub request_id: String,
    /// When it was received, if it was refused then, kept in quarantine, and verified later as of that moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantined_at: Option<Timestamp>,
    /// The body, byte for byte.
    pub body: Payload,
    /// SHA-256 of the body, in hexadecimal.
    pub body_sha256: String,
    /// The names of the body's top-level keys, the first [`KEYS_MAX`] of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// How many top-level keys (of an object) or items (of an array) the body has.
    pub key_count: u64,
    /// When the whole history may be deleted.
    pub expires_at: Timestamp,
}

/// How many of a body's top-level keys are listed.
pub const KEYS_MAX: usize = 50;

/// Where a delivery id was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum IdOrigin {
    /// In a part of the request that the signature covers.
    Signed,
    /// In a part of the request that the signature does not cover.
    Unsigned,
    /// Derived from the body's hash: the sender gave none.
    Body,
}

/// A workflow, pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowRef {
    /// Its name when the execution started.
    pub name: WorkflowName,
    /// The content hash of its definition.
    pub hash: WorkflowHash,
    /// The names of its steps, in order.
    pub steps: Vec<StepName>,
    /// The names of the steps that follow a failure, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_failure: Vec<StepName>,
}

/// How a webhook was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// The scheme, as named in `everhook.toml`; `none` if the source asks for none.
    pub scheme: String,
    /// Which of the source's secrets matched, by its reference; never its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// What went wrong in a step's attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepFailure {
    /// The kind of failure: `timeout`, `panic`, `invalid`, `refused`, `http_503`, …
    pub kind: String,
    /// What to know about it, without secrets or bodies.
    pub message: String,
}

/// Why an execution failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// The step that failed, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<StepName>,
    /// The kind of failure: a step's, or `budget`.
    pub kind: String,
    /// What to know about it.
    pub message: String,
}

impl Event {
    /// The event's name, as stored.
    pub fn name(&self) -> &'static str {
        match self {
            Self::WebhookReceived(_) => "WebhookReceived",
            Self::StepCompleted { .. } => "StepCompleted",
            Self::StepFailed { .. } => "StepFailed",
            Self::StepSkipped { .. } => "StepSkipped",
            Self::StepFiltered { .. } => "StepFiltered",
            Self::StepClaimed { .. } => "StepClaimed",
            Self::StepPolled { .. } => "StepPolled",
            Self::WaitStarted { .. } => "WaitStarted",
            Self::CallbackCreated { .. } => "CallbackCreated",
            Self::CallbackReceived { .. } => "CallbackReceived",
            Self::CallbackBeat { .. } => "CallbackBeat",
            Self::BranchesStarted { .. } => "BranchesStarted",
            Self::TimerFired { .. } => "TimerFired",
            Self::ExecutionCompleted { .. } => "ExecutionCompleted",
            Self::ExecutionFailing { .. } => "ExecutionFailing",
            Self::ExecutionFailed { .. } => "ExecutionFailed",
            Self::ExecutionCancelled { .. } => "ExecutionCancelled",
            Self::ExecutionRedriven { .. } => "ExecutionRedriven",
        }
    }

    /// The step it is about, if it is about one.
    pub fn step(&self) -> Option<&StepName> {
        match self {
            Self::StepCompleted { step, .. }
            | Self::StepFailed { step, .. }
            | Self::StepSkipped { step }
            | Self::StepFiltered { step, .. }
            | Self::StepClaimed { step, .. }
            | Self::StepPolled { step, .. }
            | Self::WaitStarted { step, .. }
            | Self::CallbackCreated { step, .. }
            | Self::CallbackReceived { step, .. }
            | Self::CallbackBeat { step }
            | Self::BranchesStarted { step, .. } => Some(step),
            Self::ExecutionFailed { cause } | Self::ExecutionFailing { cause } => {
                cause.step.as_ref()
            }
            Self::ExecutionRedriven { from } => from.as_ref(),
            Self::ExecutionCompleted { filtered } => filtered.as_ref().map(|it| &it.step),
            Self::WebhookReceived(_)
            | Self::TimerFired { .. }
            | Self::ExecutionCancelled { .. } => None,
        }
    }
}

/// The events of one append: at least one, decided together.
#[derive(Debug, Clone, PartialEq)]
pub struct Events(Vec<Event>);

impl Events {
    /// `None` if there are none.
    pub fn new(events: Vec<Event>) -> Option<Self> {
        (!events.is_empty()).then_some(Self(events))
    }

    /// The events, in order.
    pub fn as_slice(&self) -> &[Event] {
        &self.0
    }

    /// The events, numbered from after `after`.
    pub fn record(self, after: Sequence, at: Timestamp) -> Vec<Recorded> {
        let first = after.next();
        (first.get()..)
            .zip(self.0)
            .map(|(n, event)| Recorded { sequence: Sequence::new(n), first, at, event })
            .collect()
    }
}

impl From<Event> for Events {
    fn from(event: Event) -> Self {
        Self(vec![event])
    }
}

/// An event with its place in the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// Its position in the execution.
    pub sequence: Sequence,
    /// The position of the first event of the same append: the key of its item.
    #[serde(rename = "append")]
    pub first: Sequence,
    /// When it was appended. Order is `sequence`, never this.
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
}

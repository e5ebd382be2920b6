//! What happens to an execution.

mod request;
mod webhook;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::chain::{Digest, Head};
use crate::id::{Sequence, StepName};
use crate::payload::Payload;
use crate::time::Timestamp;

pub use request::{OutgoingBody, OutgoingRequest};
pub use webhook::{Covers, IdOrigin, KEYS_MAX, Verified, Webhook, WorkflowRef};

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
        /// What it sent, if it sent anything outside and that is recorded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<Box<OutgoingRequest>>,
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
        /// What it sent, if it sent anything outside and that is recorded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<Box<OutgoingRequest>>,
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
        /// What it sent, if it sent anything outside and that is recorded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<Box<OutgoingRequest>>,
    },
    /// An attempt is about to act, and no other driver may make it.
    StepClaimed {
        /// Which step.
        step: StepName,
        /// Which try, from 1.
        attempt: u32,
        /// When the claim ends. Then the attempt may be claimed again, or, at most once, is interrupted.
        until: Timestamp,
        /// The end of the earlier claim of this attempt that this one replaces.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaces: Option<Timestamp>,
        /// The start of the process that claims, where a data folder belongs to one process.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        process: Option<String>,
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
        /// What it sent, if it sent anything outside and that is recorded.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<Box<OutgoingRequest>>,
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

    /// Whether nothing happens after it by itself.
    pub fn ends_execution(&self) -> bool {
        matches!(
            self,
            Self::ExecutionCompleted { .. }
                | Self::ExecutionFailed { .. }
                | Self::ExecutionCancelled { .. }
        )
    }

    /// What the attempt sent that ended with it, if that is recorded.
    pub fn request(&self) -> Option<&OutgoingRequest> {
        match self {
            Self::StepCompleted { request, .. }
            | Self::StepFailed { request, .. }
            | Self::StepFiltered { request, .. }
            | Self::StepPolled { request, .. } => request.as_deref(),
            _ => None,
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

    /// The events, numbered from after `after`, as an append with this digest has them.
    pub fn record(self, after: Sequence, at: Timestamp, digest: Option<Digest>) -> Vec<Recorded> {
        let first = after.next();
        (first.get()..)
            .zip(self.0)
            .map(|(n, event)| Recorded { sequence: Sequence::new(n), first, at, event, digest })
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
    /// The digest of its append; none as long as it is not appended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

impl Recorded {
    /// The end of a history whose last event this is.
    pub fn head(&self) -> Head {
        Head { sequence: self.sequence, digest: self.digest }
    }
}

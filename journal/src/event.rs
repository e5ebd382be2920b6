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
    /// The time that the execution waited for has come.
    TimerFired {
        /// The time that was waited for.
        due: Timestamp,
    },
    /// All steps completed.
    ExecutionCompleted {},
    /// The execution ended without completing.
    ExecutionFailed {
        /// Why.
        cause: Cause,
    },
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
            Self::TimerFired { .. } => "TimerFired",
            Self::ExecutionCompleted {} => "ExecutionCompleted",
            Self::ExecutionFailed { .. } => "ExecutionFailed",
        }
    }

    /// The step it is about, if it is about one.
    pub fn step(&self) -> Option<&StepName> {
        match self {
            Self::StepCompleted { step, .. } | Self::StepFailed { step, .. } => Some(step),
            Self::ExecutionFailed { cause } => cause.step.as_ref(),
            Self::WebhookReceived(_) | Self::TimerFired { .. } | Self::ExecutionCompleted {} => {
                None
            }
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

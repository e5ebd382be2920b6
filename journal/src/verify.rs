//! Whether a history is the one that was written: its digests, its row, its bodies.
//!
//! What follows of a history's items alone is in `examine`; here they are read, and payloads are opened.

mod examine;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::chain::Digest;
use crate::event::{Branches, CallbackAnswer, Event, Recorded};
use crate::executions::Executions;
use crate::id::{ExecutionId, Sequence};
use crate::payload::{Payload, PayloadError, Payloads, sha256_hex};
use crate::store::Unavailable;
use crate::table::{Journal, ReadError};

/// What was found out about a history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// Which execution.
    pub execution_token: ExecutionId,
    /// Its appends, in order.
    pub appends: Vec<SeenAppend>,
    /// How many bodies and stored results are what their events say.
    pub bodies: u64,
    /// How many stored ones were not looked at, because nobody said where they are.
    pub unseen: u64,
    /// What is not as it was written. Nothing, if all is well.
    pub touched: Vec<Touched>,
}

/// An append, as it stands in the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeenAppend {
    /// The position of its first event.
    pub sequence: Sequence,
    /// How many events it has.
    pub events: u64,
    /// Their names.
    pub names: String,
    /// Its digest, if one can be taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Whether it carries the digest of the append before it, or is the first.
    pub chained: bool,
}

/// An event that is not as it was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Touched {
    /// Its position.
    pub sequence: Sequence,
    /// Its name, or those of its append's events; empty if it is missing.
    pub name: String,
    /// What differs.
    pub differs: Differs,
}

/// What differs from what was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Differs {
    /// The append is another than the one that its successor was appended after.
    Contents {
        /// The first event of the successor.
        next: Sequence,
    },
    /// The last append, or the digest of it that the row holds.
    Last,
    /// The append says that it follows another one than the one before it, and is itself not what was appended.
    Previous,
    /// The append stands where another one belongs.
    Order {
        /// The event that it follows, or the place that it belongs at.
        belongs: Sequence,
    },
    /// Events are not there.
    Missing {
        /// The last one of them.
        until: Sequence,
        /// Whether the row tells so, and not the history.
        row: bool,
    },
    /// The row's digest is of none of the appends.
    Row,
    /// An attribute of the append.
    Attribute {
        /// Its name.
        attribute: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The event cannot follow those before it.
    Illegal,
    /// The webhook's body.
    Body {
        /// What is wrong with it.
        reason: String,
    },
    /// A result that is kept outside of the history.
    Payload {
        /// What is wrong with it.
        reason: String,
    },
}

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contents { next } => {
                write!(f, "its append was changed: it is not the one that event {next} was appended after")
            }
            Self::Last => f.write_str(
                "its append was changed: it is not the one that the row of the executions table was written after",
            ),
            Self::Previous => f.write_str(
                "its append was changed: it says that it follows another one than the one before it",
            ),
            Self::Order { belongs } => {
                write!(f, "its append stands out of its order: it belongs to event {belongs}")
            }
            Self::Missing { until, row: true } => write!(
                f,
                "it is missing: the row of the executions table has seen events up to {until}"
            ),
            Self::Missing { until, row: false } => {
                write!(f, "it is missing: the history goes on after event {until}")
            }
            Self::Row => f.write_str(
                "the row of the executions table was changed: its `head` is the digest of no append",
            ),
            Self::Attribute { attribute, reason } => {
                write!(f, "its append's attribute `{attribute}` was changed: {reason}")
            }
            Self::Illegal => f.write_str("it cannot follow what stands before it"),
            Self::Body { reason } => write!(f, "its body was changed: {reason}"),
            Self::Payload { reason } => write!(f, "its stored result was changed: {reason}"),
        }
    }
}

impl fmt::Display for Touched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.as_str() {
            "" => write!(f, "event {}: {}", self.sequence, self.differs),
            name => write!(f, "event {} ({name}): {}", self.sequence, self.differs),
        }
    }
}

impl Verified {
    /// How many events the history has.
    pub fn events(&self) -> u64 {
        self.appends.iter().map(|append| append.events).sum()
    }
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The history, or its row, cannot be read.
    #[error(transparent)]
    History(#[from] ReadError),
    /// The payload store does not answer.
    #[error(transparent)]
    Payloads(#[from] PayloadError),
}

impl From<Unavailable> for VerifyError {
    fn from(error: Unavailable) -> Self {
        Self::History(error.into())
    }
}

/// Compares a history with its digests, its row and its bodies; `None` if there is no such execution.
/// Without `payloads`, what is stored there is not looked at.
pub async fn verify(
    journal: &Journal,
    executions: &Executions,
    payloads: Option<&Payloads>,
    id: &ExecutionId,
) -> Result<Option<Verified>, VerifyError> {
    // The row first: whatever it has seen must then be in the history.
    let row = executions.get(id).await?;
    let items = journal.items(id, Sequence::START).await?;
    let view = row.and_then(|row| row.view).filter(|view| view.expires_at > journal.now());
    if items.is_empty() && view.is_none() {
        return Ok(None);
    }
    let row = view.map(|view| (view.sequence, view.head));
    let examined = examine::examine(&items, row);
    let mut verified = Verified {
        execution_token: id.clone(),
        appends: examined.appends,
        bodies: 0,
        unseen: 0,
        touched: examined.touched,
    };
    for recorded in &examined.recorded {
        verified.look(payloads, recorded).await?;
    }
    verified.touched.sort_by_key(|touched| touched.sequence);
    Ok(Some(verified))
}

impl Verified {
    /// Compares an event's payloads with what it says of them.
    async fn look(
        &mut self,
        payloads: Option<&Payloads>,
        recorded: &Recorded,
    ) -> Result<(), PayloadError> {
        let Some(payload) = payload_of(&recorded.event) else { return Ok(()) };
        let webhook = match &recorded.event {
            Event::WebhookReceived(webhook) => Some(webhook),
            _ => None,
        };
        let is_stored = matches!(payload, Payload::Stored { .. });
        // What is inside of an event is part of its append's digest.
        if webhook.is_none() && !is_stored {
            return Ok(());
        }
        let opened = match payloads {
            Some(payloads) => payloads.open(payload).await,
            None if is_stored => {
                self.unseen += 1;
                return Ok(());
            }
            None => payload.open_inline(),
        };
        let reason = match opened {
            Ok(bytes) => webhook
                .filter(|webhook| webhook.body_sha256 != sha256_hex(&bytes))
                .map(|_| "its SHA-256 is not the one that was recorded".to_owned()),
            Err(error @ PayloadError::Unavailable(_)) => return Err(error),
            Err(error) => Some(error.to_string()),
        };
        let Some(reason) = reason else {
            self.bodies += 1;
            return Ok(());
        };
        let differs = match webhook {
            Some(_) => Differs::Body { reason },
            None => Differs::Payload { reason },
        };
        let name = recorded.event.name().to_owned();
        self.touched.push(Touched { sequence: recorded.sequence, name, differs });
        Ok(())
    }
}

/// The payload that an event holds or names.
fn payload_of(event: &Event) -> Option<&Payload> {
    match event {
        Event::WebhookReceived(webhook) => Some(&webhook.body),
        Event::StepCompleted { output, .. } => Some(output),
        Event::StepPolled { state, .. } => Some(state),
        Event::CallbackReceived { answer: CallbackAnswer::Succeeded(output), .. } => Some(output),
        Event::BranchesStarted { branches: Branches::Map { items, .. }, .. } => Some(items),
        _ => None,
    }
}

#[cfg(test)]
mod tests;

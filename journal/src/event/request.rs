//! What a step sent, as its outcome holds it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::StepName;

/// The call that an attempt made, without its credentials.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutgoingRequest {
    /// The method of HTTP, or the operation of an AWS service: `SendMessage`.
    pub method: String,
    /// The URL, or the name of what AWS was asked to use: an ARN, a queue's URL, `s3://BUCKET/KEY`.
    pub url: String,
    /// Headers, or what an operation of AWS takes beside its body. Null: the value is left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Option<String>>,
    /// How many headers more there were, for which there is no room.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_headers: u32,
    /// The body, if one was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<OutgoingBody>,
}

/// A body that was sent.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OutgoingBody {
    /// The webhook's body, byte for byte: event 1 holds it.
    Webhook,
    /// The result of this earlier step, byte for byte: its event holds it.
    Result(StepName),
    /// This text.
    Text(String),
    /// Too large, no text, or not to be shown.
    Omitted {
        /// SHA-256 of the bytes, in hexadecimal.
        sha256: String,
        /// How many bytes there are.
        bytes: u64,
    },
}

impl OutgoingRequest {
    /// How many bytes of an event it takes.
    pub fn inline_bytes(&self) -> usize {
        serde_json::to_string(self).map_or(0, |json| json.len())
    }
}

// By reference, as serde calls it.
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Shows neither the URL nor the headers: what was sent never reaches a log.
impl fmt::Debug for OutgoingRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OutgoingRequest({}, {:?})", self.method, self.body)
    }
}

/// Shows the kind only.
impl fmt::Debug for OutgoingBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Webhook => f.write_str("Webhook"),
            Self::Result(step) => write!(f, "Result({step})"),
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Omitted { bytes, .. } => write!(f, "Omitted({bytes} bytes)"),
        }
    }
}

//! What starts an execution.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{DeliveryId, SourceName, StepName, WorkflowHash, WorkflowName};
use crate::payload::Payload;
use crate::time::Timestamp;

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
    /// What the signature covers of the body, if that is less than every byte.
    /// Histories of earlier versions never say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covers: Option<Covers>,
}

/// What a signature covers of a body, where it does not cover every byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Covers {
    /// Some fields, which the documentation of the scheme names.
    Fields,
    /// The parameters of a form, but not where one ends and the next begins.
    Form,
    /// A checksum, for which other bodies are easily found.
    Checksum,
    /// Nothing.
    Nothing,
}

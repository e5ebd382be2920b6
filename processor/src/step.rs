//! What a step is, and what it gets to see.

mod outgoing;
mod sample;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use everhook_journal::callback::CallbackUrls;
use everhook_journal::event::{Cause, Webhook};
use everhook_journal::guard::{self, Guard};
use everhook_journal::workflow::RETRY_AFTER_MAX;
use everhook_journal::{ExecutionId, StepName, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

pub(crate) use outgoing::Recorder;
pub use outgoing::{Hidden, Outgoing, REQUEST_BYTES_MAX};

/// A step's result: JSON text, kept as it is written, so that no number changes.
pub type Output = Box<RawValue>;

/// A running attempt.
pub type StepFuture = Pin<Box<dyn Future<Output = Result<Output, StepError>> + Send>>;

/// One unit of work whose outcome is recorded.
///
/// It may run more than once: after a crash, or when an attempt's outcome could not be recorded.
/// Whatever it does outside should carry [`Input::idempotency_key`].
///
/// Any `async fn(Input) -> Result<T, StepError>` is a step, if its result is JSON by serde.
pub trait Step: Send + Sync + 'static {
    /// Makes one attempt.
    fn run(&self, input: Input) -> StepFuture;
}

impl<F, A, T> Step for F
where
    F: Fn(Input) -> A + Send + Sync + 'static,
    A: Future<Output = Result<T, StepError>> + Send + 'static,
    T: Serialize,
{
    fn run(&self, input: Input) -> StepFuture {
        let attempt = self(input);
        Box::pin(async move { to_output(&attempt.await?) })
    }
}

/// A value as a step's result.
pub fn to_output(value: &impl Serialize) -> Result<Output, StepError> {
    serde_json::value::to_raw_value(value)
        .map_err(|error| StepError::fatal("invalid", format!("the result is not JSON: {error}")))
}

/// What an attempt gets to see. A clone is cheap.
#[derive(Clone)]
pub struct Input {
    /// The execution it belongs to.
    pub execution: ExecutionId,
    /// The step's name in its workflow, with the steps it is inside of: `lines/3/reserve`.
    pub step: StepName,
    /// Which try, from 1.
    pub attempt: u32,
    /// When the attempt began.
    pub started_at: Timestamp,
    /// How long it may take.
    pub timeout: Duration,
    /// What was received.
    pub webhook: Arc<Webhook>,
    /// When it was received.
    pub received_at: Timestamp,
    /// The webhook's body, byte for byte.
    pub body: bytes::Bytes,
    /// The results of earlier steps, in order, as JSON text.
    pub outputs: Arc<Vec<(StepName, bytes::Bytes)>>,
    /// The step's own keys in `everhook.toml`.
    pub options: Arc<BTreeMap<String, Value>>,
    /// The item of a list that it is about, inside of a `map`.
    pub item: Option<Item>,
    /// What it saw when it last looked, inside of a `poll`; JSON text.
    pub state: Option<bytes::Bytes>,
    /// Where to call back, before a `callback` waits.
    pub callback: Option<CallbackUrls>,
    /// Why the execution fails, in what follows a failure.
    pub cause: Option<Cause>,
    /// Where it notes what it sends.
    pub(crate) recorder: Recorder,
}

/// An item of a list.
#[derive(Clone)]
pub struct Item {
    /// Its place, from 0.
    pub index: u32,
    /// The item, as JSON text.
    pub json: bytes::Bytes,
}

impl Input {
    /// The same for every attempt of this step in this execution, and for no other.
    pub fn idempotency_key(&self) -> String {
        if !guard::holds(Guard::StableKey) {
            return format!("{}:{}:{}", self.execution, self.step, self.attempt);
        }
        format!("{}:{}", self.execution, self.step)
    }

    /// The body, read as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, StepError> {
        read(&self.body)
            .map_err(|error| StepError::fatal("invalid", format!("the body: {}", place(&error))))
    }

    /// The result of an earlier step, read as JSON.
    pub fn output<T: DeserializeOwned>(&self, step: &str) -> Result<T, StepError> {
        let found = self.outputs.iter().find(|(name, _)| name.as_str() == step);
        let (_, json) = found.ok_or_else(|| {
            StepError::fatal("invalid", format!("no earlier step is named `{step}`"))
        })?;
        read(json).map_err(|error| {
            StepError::fatal("invalid", format!("the result of `{step}`: {}", place(&error)))
        })
    }

    /// The item of a list that it is about, read as JSON.
    pub fn item<T: DeserializeOwned>(&self) -> Result<T, StepError> {
        let item = self.item.as_ref();
        let item = item.ok_or_else(|| StepError::fatal("invalid", "this step is in no `map`"))?;
        read(&item.json)
            .map_err(|error| StepError::fatal("invalid", format!("the item: {}", place(&error))))
    }

    /// What it saw when it last looked, read as JSON; nothing the first time.
    pub fn state<T: DeserializeOwned>(&self) -> Result<Option<T>, StepError> {
        let Some(json) = &self.state else { return Ok(None) };
        read(json).map(Some).map_err(|error| {
            StepError::fatal("invalid", format!("what was seen: {}", place(&error)))
        })
    }

    /// When the attempt is given up.
    pub fn deadline(&self) -> Timestamp {
        self.started_at + self.timeout
    }

    /// The result of the step before, as JSON text.
    pub fn previous(&self) -> Option<&bytes::Bytes> {
        self.outputs.last().map(|(_, json)| json)
    }
}

/// Shows which it is, never the item.
impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Item({})", self.index)
    }
}

/// Shows what it is about, never the body.
impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Input({}, {}, attempt {})", self.execution, self.step, self.attempt)
    }
}

/// Why an attempt gave no result. It is recorded and shown: no secrets, no bodies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct StepError {
    /// The kind of failure, in a word: `invalid`, `timeout`, `http_503`, …
    pub kind: String,
    /// What to know about it.
    pub message: String,
    /// Whether another attempt could do better.
    pub retryable: bool,
    /// How long the next attempt should wait at least, by whoever was called.
    pub retry_after: Option<Duration>,
}

impl StepError {
    /// A failure that another attempt may not meet.
    pub fn retryable(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind: kind.into(), message: message.into(), retryable: true, retry_after: None }
    }

    /// A failure that every attempt would meet.
    pub fn fatal(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind: kind.into(), message: message.into(), retryable: false, retry_after: None }
    }

    /// The same failure, with a wait before the next attempt. At most an hour of it counts.
    #[must_use]
    pub fn with_retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait.min(RETRY_AFTER_MAX)), ..self }
    }
}

/// Something wrong with a step's definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DefinitionError {
    /// The key it is about, if it is about one.
    pub option: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
}

impl DefinitionError {
    /// Something wrong with one key.
    pub fn at(option: &str, message: impl Into<String>) -> Self {
        Self { option: Some(option.to_owned()), message: message.into() }
    }
}

/// Reads JSON into a type. Of a key that occurs twice the last one counts, as in expressions;
/// serde by itself refuses it where it names a field.
fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(json).or_else(|error| {
        let value = serde_json::from_slice::<Value>(json);
        value.and_then(serde_json::from_value).map_err(|_| error)
    })
}

/// Where JSON text is wrong. serde's own message may quote the text, so only the place is told.
pub(crate) fn place(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Io => "cannot be read",
        serde_json::error::Category::Syntax => "is not JSON",
        serde_json::error::Category::Eof => "ends too early to be JSON",
        serde_json::error::Category::Data => "is JSON of another shape",
    };
    format!("{what} (line {}, column {})", error.line(), error.column())
}

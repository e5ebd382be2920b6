//! `run = "eventbridge"`: puts an event onto a bus.

use std::fmt;
use std::sync::Arc;

use aws_sdk_eventbridge::operation::put_events::PutEventsOutput;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use everhook_journal::workflow::StepDefinition;
use serde_json::json;

use super::aws::{Aws, failure};
use super::sent::{self, Sent};
use super::template::Template;
use super::{json, options};
use crate::step::{
    DefinitionError, Input, Outgoing, Output, Step, StepError, StepFuture, to_output,
};

/// Puts an event onto a bus. An entry that failed, inside an answer of 200, is a failure.
///
/// | key | means |
/// |---|---|
/// | `bus` | its name or ARN; the account's default bus if nothing is said |
/// | `source`, `detail_type` | what rules look at |
/// | `body`, `jq`, `input` | the event's detail, a JSON object |
#[derive(Clone)]
pub struct EventBridge {
    bus: Option<String>,
    source: Template,
    detail_type: Template,
    sent: Sent,
    aws: Arc<Aws>,
}

impl EventBridge {
    /// Reads the definition.
    pub fn new(step: &StepDefinition, aws: &Arc<Aws>) -> Result<Self, DefinitionError> {
        options::only(step, &[&["bus", "source", "detail_type"][..], &sent::KEYS].concat())?;
        let required = |key: &str| {
            let missing = || DefinitionError::at(key, format!("`{key}` is missing"));
            Template::new(step, key)?.ok_or_else(missing)
        };
        let source = required("source")?;
        if let Template::Fixed(text) = &source
            && text.starts_with("aws.")
        {
            let message = "`source` cannot begin with aws.: these are AWS's own events";
            return Err(DefinitionError::at("source", message));
        }
        let bus = options::text(step, "bus")?.map(ToOwned::to_owned);
        let detail_type = required("detail_type")?;
        Ok(Self { bus, source, detail_type, sent: Sent::new(step)?, aws: aws.clone() })
    }

    async fn call(&self, input: &Input) -> Result<Output, StepError> {
        let detail = self.sent.json(input).await?;
        if json::first(&detail) != Some(b'{') {
            let message = "what is sent is no JSON object, which an event's detail has to be";
            return Err(StepError::fatal("invalid", message));
        }
        let detail = String::from_utf8(detail.into())
            .map_err(|_| StepError::fatal("invalid", "what is sent is not UTF-8"))?;
        let source = self.source.text(input).await?;
        let detail_type = self.detail_type.text(input).await?;
        let sent = Outgoing::new("PutEvents", self.bus.as_deref().unwrap_or("default"))
            .header("Source", &source)
            .header("DetailType", &detail_type)
            .body(detail.clone());
        let entry = PutEventsRequestEntry::builder()
            .set_event_bus_name(self.bus.clone())
            .source(source)
            .detail_type(detail_type)
            .detail(detail)
            .build();
        let request = self.aws.eventbridge()?.put_events().entries(entry);
        input.record_request(sent);
        let answer = Box::pin(request.send()).await;
        let answer =
            answer.map_err(|error| failure::of("EventBridge", &error, input.started_at))?;
        published(&answer)
    }
}

/// The event's id, or why it is on no bus although the call succeeded.
fn published(answer: &PutEventsOutput) -> Result<Output, StepError> {
    let entry = answer.entries().first();
    let id = entry.and_then(|entry| entry.event_id());
    let code = entry.and_then(|entry| entry.error_code()).map(failure::word);
    match (answer.failed_entry_count(), id, code) {
        (0, Some(id), None) => to_output(&json!({ "eventId": id })),
        (_, _, code) => {
            let code = code.unwrap_or_else(|| "unknown".to_owned());
            // Without a code nothing says that it would fail again.
            let known = failure::answered("EventBridge", 400, &code, None);
            let retryable = known.retryable || code == "unknown";
            let (kind, message) =
                (format!("eventbridge_{code}"), format!("EventBridge took no event: {code}"));
            Err(match retryable {
                true => StepError::retryable(kind, message),
                false => StepError::fatal(kind, message),
            })
        }
    }
}

impl Step for EventBridge {
    fn run(&self, input: Input) -> StepFuture {
        let step = self.clone();
        Box::pin(async move { step.call(&input).await })
    }
}

impl fmt::Debug for EventBridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventBridge(to {})", self.bus.as_deref().unwrap_or("default"))
    }
}

#[cfg(test)]
mod tests;

//! `run = "sqs"`: sends a message to a queue.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::types::MessageAttributeValue;
use everhook_journal::time::parse_duration;
use everhook_journal::workflow::StepDefinition;
use serde_json::json;
use tokio::sync::OnceCell;

use super::aws::{Aws, failure};
use super::fifo::{self, Fifo};
use super::options;
use super::sent::{self, Sent};
use crate::step::{
    DefinitionError, Input, Outgoing, Output, Step, StepError, StepFuture, to_output,
};

/// The longest delay that SQS knows.
const DELAY_MAX: Duration = Duration::from_secs(15 * 60);

/// Sends a message. It has the attribute `idempotency-key`.
///
/// | key | means |
/// |---|---|
/// | `queue` | its URL, or its name in the region and account of the credentials |
/// | `body`, `jq`, `input` | what the message is |
/// | `delay` | how long it stays hidden, up to 15 minutes |
/// | `group`, `deduplication` | for a queue whose name ends in `.fifo` |
#[derive(Clone)]
pub struct Sqs {
    queue: String,
    url: Arc<OnceCell<String>>,
    sent: Sent,
    delay_seconds: Option<i32>,
    fifo: Option<Fifo>,
    aws: Arc<Aws>,
}

impl Sqs {
    /// Reads the definition.
    pub fn new(step: &StepDefinition, aws: &Arc<Aws>) -> Result<Self, DefinitionError> {
        options::only(step, &[&["queue", "delay"][..], &fifo::KEYS, &sent::KEYS].concat())?;
        let queue = options::required_text(step, "queue")?.to_owned();
        if queue.starts_with("arn:") {
            let message = "`queue` is a queue's URL or its name, not its ARN";
            return Err(DefinitionError::at("queue", message));
        }
        let fifo = Fifo::new(step, &queue)?;
        let delay_seconds = delay(step)?;
        if fifo.is_some() && delay_seconds.is_some() {
            let message =
                "`delay` is not for queues that keep an order: they have one delay for all";
            return Err(DefinitionError::at("delay", message));
        }
        let known = queue.contains("://").then(|| queue.clone());
        let url = Arc::new(OnceCell::new_with(known));
        Ok(Self { queue, url, sent: Sent::new(step)?, delay_seconds, fifo, aws: aws.clone() })
    }

    async fn call(&self, input: &Input) -> Result<Output, StepError> {
        let body = self.sent.text(input).await?;
        let place = match &self.fifo {
            Some(fifo) => Some(fifo.place(input).await?),
            None => None,
        };
        let (group, deduplication) = place.map(|place| (place.group, place.deduplication)).unzip();
        let key = MessageAttributeValue::builder()
            .data_type("String")
            .string_value(input.idempotency_key())
            .build()
            .expect("it has a type");
        let url = self.url.get_or_try_init(|| Box::pin(self.look_up(input))).await?;
        let sent = Outgoing::new("SendMessage", url)
            .header("idempotency-key", input.idempotency_key())
            .optional("DelaySeconds", self.delay_seconds.map(|seconds| seconds.to_string()))
            .optional("MessageGroupId", group.as_ref())
            .optional("MessageDeduplicationId", deduplication.as_ref())
            .body(body.clone());
        let request = self
            .aws
            .sqs()?
            .send_message()
            .queue_url(url)
            .message_body(body)
            .message_attributes("idempotency-key", key)
            .set_delay_seconds(self.delay_seconds)
            .set_message_group_id(group)
            .set_message_deduplication_id(deduplication);
        input.record_request(sent);
        let answer = Box::pin(request.send()).await;
        let answer = answer.map_err(|error| failure::of("SQS", &error, input.started_at))?;
        to_output(&json!({ "messageId": answer.message_id() }))
    }

    async fn look_up(&self, input: &Input) -> Result<String, StepError> {
        let request = self.aws.sqs()?.get_queue_url().queue_name(&self.queue);
        let answer = request.send().await;
        let answer = answer.map_err(|error| failure::of("SQS", &error, input.started_at))?;
        let none = || StepError::retryable("aws_unavailable", "SQS told no URL of the queue");
        answer.queue_url.ok_or_else(none)
    }
}

fn delay(step: &StepDefinition) -> Result<Option<i32>, DefinitionError> {
    let Some(text) = options::text(step, "delay")? else { return Ok(None) };
    let delay = parse_duration(text).filter(|delay| *delay <= DELAY_MAX);
    let seconds = delay.filter(|delay| delay.subsec_nanos() == 0).map(|delay| delay.as_secs());
    match seconds.and_then(|seconds| i32::try_from(seconds).ok()) {
        Some(seconds) => Ok(Some(seconds)),
        None => {
            let message = "`delay` is whole seconds, at most 15m, in quotes: \"30s\"";
            Err(DefinitionError::at("delay", message))
        }
    }
}

impl Step for Sqs {
    fn run(&self, input: Input) -> StepFuture {
        let step = self.clone();
        Box::pin(async move { step.call(&input).await })
    }
}

impl fmt::Debug for Sqs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sqs(to {})", self.queue)
    }
}

#[cfg(test)]
mod tests;

//! `run = "sns"`: publishes to a topic.

use std::fmt;
use std::sync::Arc;

use aws_sdk_sns::types::MessageAttributeValue;
use everhook_journal::workflow::StepDefinition;
use serde_json::json;

use super::aws::{Aws, failure};
use super::fifo::{self, Fifo};
use super::options;
use super::sent::{self, Sent};
use super::template::Template;
use crate::step::{
    DefinitionError, Input, Outgoing, Output, Step, StepError, StepFuture, to_output,
};

/// Publishes a message. It has the attribute `idempotency-key`.
///
/// | key | means |
/// |---|---|
/// | `topic` | its ARN |
/// | `body`, `jq`, `input` | what the message is |
/// | `subject` | the subject of mails |
/// | `group`, `deduplication` | for a topic whose name ends in `.fifo` |
#[derive(Clone)]
pub struct Sns {
    topic: String,
    sent: Sent,
    subject: Option<Template>,
    fifo: Option<Fifo>,
    aws: Arc<Aws>,
}

impl Sns {
    /// Reads the definition.
    pub fn new(step: &StepDefinition, aws: &Arc<Aws>) -> Result<Self, DefinitionError> {
        options::only(step, &[&["topic", "subject"][..], &fifo::KEYS, &sent::KEYS].concat())?;
        let topic = options::required_text(step, "topic")?.to_owned();
        if !(topic.starts_with("arn:") && topic.contains(":sns:")) {
            let message = "`topic` is a topic's ARN: arn:aws:sns:REGION:ACCOUNT:NAME";
            return Err(DefinitionError::at("topic", message));
        }
        let fifo = Fifo::new(step, &topic)?;
        let subject = Template::new(step, "subject")?;
        Ok(Self { topic, sent: Sent::new(step)?, subject, fifo, aws: aws.clone() })
    }

    async fn call(&self, input: &Input) -> Result<Output, StepError> {
        let message = self.sent.text(input).await?;
        let subject = match &self.subject {
            Some(subject) => Some(subject.text(input).await?),
            None => None,
        };
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
        let sent = Outgoing::new("Publish", &self.topic)
            .header("idempotency-key", input.idempotency_key())
            .optional("Subject", subject.as_ref())
            .optional("MessageGroupId", group.as_ref())
            .optional("MessageDeduplicationId", deduplication.as_ref())
            .body(message.clone());
        let request = self
            .aws
            .sns()?
            .publish()
            .topic_arn(&self.topic)
            .message(message)
            .set_subject(subject)
            .message_attributes("idempotency-key", key)
            .set_message_group_id(group)
            .set_message_deduplication_id(deduplication);
        input.record_request(sent);
        let answer = Box::pin(request.send()).await;
        let answer = answer.map_err(|error| failure::of("SNS", &error, input.started_at))?;
        to_output(&json!({ "messageId": answer.message_id() }))
    }
}

impl Step for Sns {
    fn run(&self, input: Input) -> StepFuture {
        let step = self.clone();
        Box::pin(async move { step.call(&input).await })
    }
}

impl fmt::Debug for Sns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sns(to {})", self.topic)
    }
}

#[cfg(test)]
mod tests;

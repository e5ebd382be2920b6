//! What a step sends: the webhook as it was received, the result before, or what an expression gives.

use bytes::Bytes;
use everhook_journal::workflow::StepDefinition;
use serde_json::Value;

use super::{json, options};
use crate::expression::Expression;
use crate::step::{DefinitionError, Input, StepError};

/// The keys with which a definition says it.
pub(super) const KEYS: [&str; 3] = ["body", "jq", "input"];

/// What is sent.
#[derive(Debug, Clone)]
pub(super) enum Sent {
    /// The webhook's body, byte for byte.
    Webhook,
    /// The result of the step before, as JSON.
    Previous,
    /// What an expression gives: a text as it is, anything else as JSON.
    Computed(Expression),
}

/// What one attempt sends.
#[derive(Debug)]
pub(super) struct Content {
    /// Byte for byte.
    pub(super) bytes: Bytes,
    /// What the bytes are, if that is known.
    pub(super) content_type: Option<String>,
}

impl Sent {
    /// Reads `body`, `jq` and `input`.
    pub(super) fn new(step: &StepDefinition) -> Result<Self, DefinitionError> {
        let bodies = [("webhook", false), ("previous", true)];
        let previous = options::choice(step, "body", &bodies)?;
        options::input(step)?;
        let Some(code) = options::text(step, "jq")? else {
            return Ok(if previous == Some(true) { Self::Previous } else { Self::Webhook });
        };
        if previous.is_some() {
            let message = "`jq` and `body` both say what is sent; keep one of them";
            return Err(DefinitionError::at("body", message));
        }
        Ok(Self::Computed(options::expression(step, "jq", code)?))
    }

    /// What is sent, a text of an expression without its quotes.
    pub(super) async fn content(&self, input: &Input) -> Result<Content, StepError> {
        match self {
            Self::Webhook => {
                let content_type = input.webhook.headers.get("content-type").cloned();
                Ok(Content { bytes: input.body.clone(), content_type })
            }
            Self::Previous => Ok(Content { bytes: previous(input)?, content_type: is_json() }),
            Self::Computed(expression) => {
                let output = expression.result(input.clone()).await?;
                match serde_json::from_str(output.get()) {
                    Ok(Value::String(text)) => {
                        let content_type = Some("text/plain; charset=utf-8".into());
                        Ok(Content { bytes: text.into(), content_type })
                    }
                    _ => {
                        let bytes = Bytes::from(Box::<str>::from(output).into_string());
                        Ok(Content { bytes, content_type: is_json() })
                    }
                }
            }
        }
    }

    /// What is sent, as text.
    pub(super) async fn text(&self, input: &Input) -> Result<String, StepError> {
        let bytes = self.content(input).await?.bytes;
        String::from_utf8(bytes.into()).map_err(|_| {
            StepError::fatal("invalid", "what is sent is not UTF-8; say with `jq` what to send")
        })
    }

    /// What is sent, as JSON.
    pub(super) async fn json(&self, input: &Input) -> Result<Bytes, StepError> {
        let bytes = match self {
            Self::Webhook => input.body.clone(),
            Self::Previous => previous(input)?,
            Self::Computed(expression) => {
                let output = expression.result(input.clone()).await?;
                Bytes::from(Box::<str>::from(output).into_string())
            }
        };
        let invalid = |how: String| StepError::fatal("invalid", format!("what is sent {how}"));
        json::check(&bytes).map_err(invalid)?;
        Ok(bytes)
    }
}

fn is_json() -> Option<String> {
    Some("application/json".into())
}

fn previous(input: &Input) -> Result<Bytes, StepError> {
    let missing = || StepError::fatal("invalid", "there is no step before this one");
    input.previous().cloned().ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use everhook_journal::StepName;
    use serde_json::json;

    use super::super::tests::{definition, input};
    use super::*;

    async fn sent(options: Value, body: &str) -> (String, Option<String>) {
        let mut input = input(body);
        input.outputs = Arc::new(vec![(StepName::new("before"), r#"{"n": 1.10}"#.into())]);
        let sent = Sent::new(&definition("sqs", options)).unwrap();
        let content = sent.content(&input).await.unwrap();
        (String::from_utf8(content.bytes.into()).unwrap(), content.content_type)
    }

    #[tokio::test]
    async fn what_is_sent_is_as_it_was_unless_an_expression_says_otherwise() {
        let json = Some("application/json".to_owned());
        let text = Some("text/plain; charset=utf-8".to_owned());
        let body = r#"{ "id": 7.50, "who": "Ann" }"#;
        for (options, expected) in [
            (json!({}), (body, json.clone())),
            (json!({"body": "webhook"}), (body, json.clone())),
            (json!({"body": "previous"}), (r#"{"n": 1.10}"#, json.clone())),
            (json!({"jq": "{id}"}), (r#"{"id":7.50}"#, json.clone())),
            (json!({"jq": ".who"}), ("Ann", text)),
            (json!({"jq": ".who | tojson | [.]"}), (r#"["\"Ann\""]"#, json)),
        ] {
            let (content, content_type) = sent(options, body).await;
            assert_eq!((content.as_str(), content_type), expected);
        }
    }

    #[tokio::test]
    async fn json_is_sent_as_json_and_nothing_else_is() {
        let sent = |options| Sent::new(&definition("lambda", options)).unwrap();

        assert_eq!(
            sent(json!({"jq": ".who"})).json(&input(r#"{"who":"Ann"}"#)).await.unwrap(),
            "\"Ann\""
        );
        let error = sent(json!({})).json(&input("a=1")).await.unwrap_err();
        let words = "what is sent is not JSON (line 1, column 1)";
        assert_eq!(error, StepError::fatal("invalid", words));
    }

    #[test]
    fn two_answers_to_what_is_sent_are_refused() {
        let both = definition("sqs", json!({"jq": ".", "body": "previous"}));
        assert_eq!(Sent::new(&both).unwrap_err().option.as_deref(), Some("body"));
    }
}

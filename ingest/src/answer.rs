//! What the sender is told.

use std::borrow::Cow;

use aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use aws_lambda_events::encodings::Body;
use aws_lambda_events::http::{HeaderMap, HeaderName, HeaderValue};
use everhook_journal::ExecutionId;
use serde_json::{Value, json};

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: i64,
    /// What it says.
    pub content: Content,
    headers: Vec<(&'static str, Cow<'static, str>)>,
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// In our own words: JSON, to which the request's id is added.
    Ours(Value),
    /// JSON of a sender's form, exactly this.
    Json(String),
    /// Plain text, exactly this; it may be a stranger's.
    Text(String),
    /// Nothing.
    Empty,
}

/// What came of an event that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its execution.
    pub execution: ExecutionId,
    /// Whether it had been recorded before.
    pub duplicate: bool,
    /// The execution that the same body came with first, if that is another one.
    pub repeat_of: Option<ExecutionId>,
}

impl Accepted {
    fn to_json(&self) -> Value {
        let mut json = json!({ "executionToken": self.execution, "duplicate": self.duplicate });
        if let Some(first) = &self.repeat_of {
            json["repeatOf"] = json!(first);
        }
        json
    }
}

impl Answer {
    /// Recorded, now or before.
    /// What is said of one event is said of the first, and of all of them below `executions`.
    pub fn accepted(recorded: &[Accepted]) -> Self {
        let duplicate = recorded.iter().all(|event| event.duplicate);
        let message = if duplicate { "Webhook already received" } else { "Webhook received" };
        let mut body = recorded.first().map_or_else(|| json!({}), Accepted::to_json);
        body["message"] = json!(message);
        body["duplicate"] = json!(duplicate);
        if let Some(first) = recorded.first() {
            body["statusUrl"] = json!(format!("/status/{}", first.execution));
        }
        if recorded.len() > 1 {
            body["executions"] = recorded.iter().map(Accepted::to_json).collect();
        }
        Self::of(202, Content::Ours(body))
    }

    /// Not recorded, and why.
    pub fn error(status: i64, error: impl Into<String>) -> Self {
        Self::of(status, Content::Ours(json!({ "error": error.into() })))
    }

    /// A handshake's JSON.
    pub fn json(body: &Value) -> Self {
        Self::of(200, Content::Json(body.to_string()))
    }

    /// A handshake's text.
    pub fn text(text: String) -> Self {
        Self::of(200, Content::Text(text))
    }

    /// Nothing but a status.
    pub fn empty(status: i64) -> Self {
        Self::of(status, Content::Empty)
    }

    /// With one more header; a value that cannot be one is left out.
    pub fn with_header(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// As API Gateway takes it.
    pub fn into_response(self, request_id: &str) -> ApiGatewayV2httpResponse {
        let (content_type, body) = match self.content {
            Content::Ours(mut body) => {
                body["requestId"] = json!(request_id);
                (Some("application/json"), Some(body.to_string()))
            }
            Content::Json(body) => (Some("application/json"), Some(body)),
            Content::Text(body) => (Some("text/plain"), Some(body)),
            Content::Empty => (None, None),
        };
        let mut headers = HeaderMap::new();
        headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        if let Some(content_type) = content_type {
            headers.insert("content-type", HeaderValue::from_static(content_type));
        }
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        let mut response = ApiGatewayV2httpResponse::default();
        response.status_code = self.status;
        response.headers = headers;
        response.body = body.map(Body::Text);
        response
    }

    fn of(status: i64, content: Content) -> Self {
        Self { status, content, headers: Vec::new() }
    }
}

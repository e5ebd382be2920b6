//! What the sender is told.

use aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use aws_lambda_events::encodings::Body;
use aws_lambda_events::http::{HeaderMap, HeaderName, HeaderValue};
use everhook_journal::ExecutionId;
use serde_json::{Value, json};

/// An answer in JSON.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The HTTP status.
    pub status: i64,
    /// The body, before the request's id is added.
    pub body: Value,
    headers: Vec<(&'static str, &'static str)>,
}

impl Answer {
    /// Recorded, now or before: each event of the request with its execution and whether it was known.
    /// What is said of one event is said of the first, and of all of them below `executions`.
    pub fn accepted(recorded: &[(ExecutionId, bool)]) -> Self {
        let duplicate = recorded.iter().all(|(_, duplicate)| *duplicate);
        let message = if duplicate { "Webhook already received" } else { "Webhook received" };
        let mut body = json!({ "message": message, "duplicate": duplicate });
        if let Some((first, _)) = recorded.first() {
            body["executionToken"] = json!(first);
            body["statusUrl"] = json!(format!("/status/{first}"));
        }
        if recorded.len() > 1 {
            let each = |(id, duplicate): &(ExecutionId, bool)| json!({ "executionToken": id, "duplicate": duplicate });
            body["executions"] = recorded.iter().map(each).collect();
        }
        Self { status: 202, body, headers: Vec::new() }
    }

    /// Not recorded, and why.
    pub fn error(status: i64, error: impl Into<String>) -> Self {
        Self { status, body: json!({ "error": error.into() }), headers: Vec::new() }
    }

    /// With one more header.
    pub fn with_header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    /// As API Gateway takes it.
    pub fn into_response(mut self, request_id: &str) -> ApiGatewayV2httpResponse {
        self.body["requestId"] = json!(request_id);
        let mut headers = HeaderMap::new();
        let json = [("content-type", "application/json"), ("x-content-type-options", "nosniff")];
        for (name, value) in json.into_iter().chain(self.headers) {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let mut response = ApiGatewayV2httpResponse::default();
        response.status_code = self.status;
        response.headers = headers;
        response.body = Some(Body::Text(self.body.to_string()));
        response
    }
}

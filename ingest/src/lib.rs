//! Accepts webhooks: verifies the exact bytes, records them, answers.
//!
//! - [`request`]: what API Gateway hands over
//! - [`source`]: who may send, and what proves it
//! - [`signature`]: whether these bytes are theirs
//! - [`handshake`]: what senders ask before they send
//! - [`fetch`]: certificates and confirmations that senders serve
//! - [`items`]: the events of a request that has several
//! - [`outline`], [`summary`]: what is read of a body, in one pass, without keeping it in memory twice
//! - [`receive`]: the journal's first event, durable before the 202
//! - [`quarantine`]: what is kept of refused requests, where a source asks for it
//! - [`reverify`]: kept requests that can be verified after all
//! - [`operators`]: the calls of operators
//! - [`answer`]: what the sender is told
//! - [`callbacks`]: answers that steps wait for
//! - [`fact`]: what somebody outside appends to a history

pub mod answer;
pub mod callbacks;
pub mod content;
pub mod fact;
pub mod fetch;
pub mod handshake;
pub mod items;
pub mod operators;
pub mod outline;
pub mod quarantine;
pub mod receive;
pub mod request;
pub mod reverify;
pub mod seen;
pub mod signature;
pub mod source;
pub mod summary;

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use everhook_journal::{gateway, telemetry};
use serde_json::Value;

pub use receive::Ingest;
pub use source::Sources;

use answer::Answer;
use request::{Rejected, Request};
use seen::Seen;

/// Answers one event as Lambda hands it over. What cannot be read is refused, and fails nothing.
pub async fn handle_event(ingest: &Ingest, event: Value) -> ApiGatewayV2httpResponse {
    match gateway::read(event) {
        Ok(event) if operators::is_theirs(path(&event)) => operators::handle(ingest, event).await,
        Ok(event) => handle(ingest, event).await,
        Err(unreadable) => {
            telemetry::rejected("malformed");
            tracing::warn!("rejected: {unreadable}");
            Answer::error(400, unreadable.to_string()).into_response("")
        }
    }
}

/// Answers one request. A 202 means: durably recorded, and it will be carried to an end.
pub async fn handle(ingest: &Ingest, event: ApiGatewayV2httpRequest) -> ApiGatewayV2httpResponse {
    handle_if(ingest, event, || Ok(())).await
}

/// The same, but a verified webhook is recorded only if `admit` lets it; what it gives is kept meanwhile.
pub async fn handle_if<T>(
    ingest: &Ingest,
    event: ApiGatewayV2httpRequest,
    admit: impl FnOnce() -> Result<T, Answer>,
) -> ApiGatewayV2httpResponse {
    let request_id = event.request_context.request_id.clone().unwrap_or_default();
    if callbacks::is_one(path(&event)) {
        return Box::pin(callbacks::handle(ingest, event)).await.into_response(&request_id);
    }
    let seen = Seen::of_event(&event);
    let answer = match Request::from_event(event, ingest.body_bytes_max) {
        Ok(request) => Box::pin(ingest.receive(request, admit)).await,
        Err(rejected) => {
            telemetry::rejected(rejected.kind());
            tracing::info!(
                request.id = request_id, reason = %rejected,
                address = seen.address, path = seen.path, agent = seen.agent,
                "rejected: {rejected}"
            );
            Answer::from(rejected)
        }
    };
    answer.into_response(&request_id)
}

/// The path of a request.
fn path(event: &ApiGatewayV2httpRequest) -> &str {
    event.raw_path.as_deref().or(event.request_context.http.path.as_deref()).unwrap_or_default()
}

impl From<Rejected> for Answer {
    fn from(rejected: Rejected) -> Self {
        let what_to_do = rejected.to_string();
        match rejected {
            Rejected::NoSuchPath => Self::error(404, what_to_do),
            Rejected::NotPost => Self::error(405, what_to_do).with_header("allow", "POST"),
            Rejected::TooLarge { .. } => Self::error(413, what_to_do),
            Rejected::Encoded => Self::error(415, what_to_do),
            Rejected::NotBase64 => Self::error(400, what_to_do),
        }
    }
}

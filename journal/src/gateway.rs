//! What API Gateway hands to a function.

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use serde_json::Value;

/// The event is none of an HTTP API in payload format 2.0.
#[derive(Debug, thiserror::Error)]
#[error("the event is no request of an HTTP API in payload format 2.0")]
pub struct Unreadable;

/// Reads an event, unknown fields included. One that cannot be read is to be answered like any bad request:
/// if the function failed instead, the caller would be told of an error of ours.
pub fn read(event: Value) -> Result<ApiGatewayV2httpRequest, Unreadable> {
    // The error's words would hold what the caller sent.
    serde_json::from_value(event).map_err(|_| Unreadable)
}

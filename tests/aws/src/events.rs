//! What functions are invoked with: the events that API Gateway makes of requests, and the stream's records.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;

use crate::function::{Answered, Function};

/// The address that requests come from.
const SENDER: &str = "140.82.115.12";

/// What a caller is told.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: i64,
    pub(crate) headers: Value,
    pub(crate) body: Vec<u8>,
    /// How the function took it.
    pub(crate) answered: Answered,
}

impl Told {
    /// The body as JSON, null if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The token of a 202.
    pub(crate) fn token(&self) -> String {
        let body = self.json();
        let token = body["executionToken"].as_str();
        token.unwrap_or_else(|| panic!("{} {body}", self.status)).to_owned()
    }
}

/// A webhook of GitHub's, or of a sender's that signs as GitHub does.
#[derive(Debug, Clone)]
pub(crate) struct Webhook {
    pub(crate) source: &'static str,
    pub(crate) event: String,
    pub(crate) delivery: String,
    pub(crate) body: Vec<u8>,
}

impl Webhook {
    /// The event of its request, signed with this secret.
    pub(crate) fn signed(&self, secret: &str) -> Value {
        let signature = |parts: &[&[u8]]| {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
            parts.iter().for_each(|part| mac.update(part));
            HEXLOWER.encode(&mac.finalize().into_bytes())
        };
        let of_body = signature(&[&self.body]);
        let mut headers = gateway(self.body.len());
        headers.extend(match self.source {
            "circleci" => github(self, ("circleci-signature", format!("v1={of_body}"))),
            source if source.starts_with("stripe") => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
                let signed = signature(&[now.to_string().as_bytes(), b".", &self.body]);
                stripe(format!("t={now},v1={signed}"))
            }
            _ => github(self, ("x-hub-signature-256", format!("sha256={of_body}"))),
        });
        event(
            "POST",
            "/webhook/{source}",
            &format!("/webhook/{}", self.source),
            Value::Object(headers),
            &self.body,
        )
    }
}

/// What API Gateway adds, and what every client sends that it forwards.
fn gateway(length: usize) -> Map<String, Value> {
    let headers = json!({
        "accept-encoding": "gzip, deflate",
        "content-length": length.to_string(),
        "host": "f3k2m8q1zx.execute-api.eu-central-1.amazonaws.com",
        "x-amzn-trace-id": "Root=1-6923a8bd-0f1e2d3c4b5a69788796a5b4",
        "x-forwarded-for": SENDER,
        "x-forwarded-port": "443",
        "x-forwarded-proto": "https",
    });
    fields(headers)
}

/// The headers of GitHub, and of a sender that is like it but for its proof.
fn github(webhook: &Webhook, (proof, signature): (&str, String)) -> Map<String, Value> {
    let headers = json!({
        "accept": "*/*",
        "content-type": "application/json",
        "user-agent": "GitHub-Hookshot/044aadd",
        "x-github-delivery": webhook.delivery,
        "x-github-event": webhook.event,
        "x-github-hook-id": "482915036",
        "x-github-hook-installation-target-id": "734120958",
        "x-github-hook-installation-target-type": "repository",
        (proof): signature,
    });
    fields(headers)
}

/// The headers of Stripe, whose ids are in the body.
fn stripe(signature: String) -> Map<String, Value> {
    let headers = json!({
        "accept": "*/*; q=0.5, application/json",
        "cache-control": "no-cache",
        "content-type": "application/json; charset=utf-8",
        "stripe-signature": signature,
        "user-agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
    });
    fields(headers)
}

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        other => panic!("{other} has no fields"),
    }
}

/// The event of a call with `POST` that is no webhook: an answer to a callback, an operator's word.
pub(crate) fn post(route: &str, path: &str, body: &[u8]) -> Value {
    event("POST", route, path, json!({ "content-type": "application/json" }), body)
}

/// The event of a request for a status or an operator's query.
pub(crate) fn get(route: &str, path: &str) -> Value {
    event("GET", route, path, json!({ "accept": "application/json" }), b"")
}

/// An event in payload format 2.0.
fn event(method: &str, route: &str, path: &str, headers: Value, body: &[u8]) -> Value {
    let text = std::str::from_utf8(body).ok();
    let encoded = text.map_or_else(|| BASE64.encode(body), str::to_owned);
    json!({
        "version": "2.0",
        "routeKey": format!("{method} {route}"),
        "rawPath": path,
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "api",
            "domainName": "api.execute-api.eu-central-1.amazonaws.com",
            "domainPrefix": "api",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": SENDER,
                "userAgent": "GitHub-Hookshot/044aadd",
            },
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": format!("{method} {route}"),
            "stage": "$default",
            "time": "12/Mar/2026:19:03:58 +0000",
            "timeEpoch": 1_773_342_238_000_i64,
        },
        "body": if body.is_empty() { Value::Null } else { Value::String(encoded) },
        "isBase64Encoded": text.is_none(),
    })
}

/// The record of an append, as an event source mapping hands it over.
pub(crate) fn record(execution: &str, number: u64) -> Value {
    json!({
        "eventID": number.to_string(),
        "eventName": "INSERT",
        "eventVersion": "1.1",
        "eventSource": "aws:dynamodb",
        "awsRegion": "eu-central-1",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_795_486_845,
            "Keys": { "execution": { "S": execution }, "sequence": { "N": "1" } },
            "SequenceNumber": format!("{:021}", 400_000_000 + number),
            "SizeBytes": 40,
            "StreamViewType": "KEYS_ONLY",
        },
        "eventSourceARN": "arn:aws:dynamodb:eu-central-1:123456789012:table/journal/stream/2026-01-01T00:00:00.000",
    })
}

/// Invokes a function with an event, and reads its answer as API Gateway does.
/// A function that fails is a 500, as there.
pub(crate) async fn call(function: &Function, event: Value) -> Told {
    let answered = match function.invoke(event).await {
        Ok(answered) => answered,
        Err(error) => panic!("the function failed, which API Gateway answers with 500: {error}"),
    };
    let answer = &answered.payload;
    let text = answer["body"].as_str().unwrap_or_default();
    let body = match answer["isBase64Encoded"].as_bool() {
        Some(true) => BASE64.decode(text).unwrap(),
        _ => text.as_bytes().to_vec(),
    };
    let status = answer["statusCode"].as_i64().expect("an answer has a status");
    Told { status, headers: answer["headers"].clone(), body, answered }
}

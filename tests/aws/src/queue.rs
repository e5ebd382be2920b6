//! SQS, as far as timers use it: messages that reach the processor when their delay is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::lambda_api::Processor;
use crate::template::Template;

/// The longest delay that SQS takes, in seconds.
const DELAY_MAX: u64 = 900;

/// The queue of the stack.
#[derive(Clone)]
pub(crate) struct Queue {
    pub(crate) endpoint: String,
    processor: Processor,
    sent: Arc<AtomicU64>,
}

impl Queue {
    /// Starts it; the processor need not be there yet.
    pub(crate) async fn start(processor: Processor) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let queue = Self { endpoint, processor, sent: Arc::default() };
        let app = Router::new().fallback(answer).with_state(queue.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        queue
    }

    /// How many messages were sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Takes a message; says whether SQS would.
    fn take(&self, message: &Value) -> bool {
        let delay = message["DelaySeconds"].as_u64().unwrap_or_default();
        let Some(body) = message["MessageBody"].as_str().filter(|_| delay <= DELAY_MAX) else {
            return false;
        };
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        let event = json!({ "Records": [{
            "messageId": number.to_string(),
            "receiptHandle": number.to_string(),
            "body": body,
            "attributes": {},
            "messageAttributes": {},
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:eu-central-1:123456789012:timers",
            "awsRegion": "eu-central-1",
        }] });
        let processor = self.processor.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(delay)).await;
            // The mapping makes one message a batch: the processor has to take any number.
            if let Some(processor) = processor.get() {
                processor.invoke(event).await.ok();
            }
        });
        true
    }
}

async fn answer(State(queue): State<Queue>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok());
    let Ok(request) = serde_json::from_slice::<Value>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    if request["QueueUrl"] != Template::table("TimersQueue").as_str() {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let sent = |id: &Value| json!({ "Id": id, "MessageId": "m", "MD5OfMessageBody": "" });
    match target {
        Some("AmazonSQS.SendMessage") if queue.take(&request) => {
            Json(sent(&Value::Null)).into_response()
        }
        Some("AmazonSQS.SendMessageBatch") => {
            let entries = request["Entries"].as_array().cloned().unwrap_or_default();
            let (taken, refused): (Vec<_>, Vec<_>) =
                entries.iter().partition(|entry| queue.take(entry));
            let taken: Vec<_> = taken.iter().map(|entry| sent(&entry["Id"])).collect();
            let refused: Vec<_> = refused
                .iter()
                .map(|entry| json!({ "Id": entry["Id"], "SenderFault": true, "Code": "Invalid" }))
                .collect();
            Json(json!({ "Successful": taken, "Failed": refused })).into_response()
        }
        _ => StatusCode::BAD_REQUEST.into_response(),
    }
}

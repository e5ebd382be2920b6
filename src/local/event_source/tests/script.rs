//! A stream that answers from a script.

use std::collections::HashMap;
use std::sync::Mutex;

use aws_sdk_dynamodbstreams::primitives::DateTime;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::*;

/// Answers the calls of one stream from a script, and remembers them.
#[derive(Default)]
pub(super) struct Script {
    pub(super) shards: Vec<Value>,
    /// How many shards one listing shows; none means all.
    pub(super) shards_at_once: Option<usize>,
    /// Shards that only later listings show.
    pub(super) late_shards: Vec<Value>,
    /// What `GetRecords` answers for an iterator; a text is an error code.
    pub(super) pages: HashMap<&'static str, Value>,
    /// Error codes that the first calls of a kind get before any answer.
    pub(super) refusals: Mutex<HashMap<&'static str, Vec<&'static str>>>,
    pub(super) calls: Mutex<Vec<String>>,
}

impl Script {
    /// One open shard, `only`, with these records.
    pub(super) fn of(records: &[Value]) -> Self {
        Script {
            shards: vec![shard("only")],
            pages: HashMap::from([
                ("only start", page(records, Some("end"))),
                ("end", page(&[], Some("end"))),
            ]),
            ..Script::default()
        }
    }

    /// An iterator's name tells its shard and what it starts after.
    fn answer(&self, call: &str, body: &Value) -> (StatusCode, Value) {
        if let Some(code) = self.refusals.lock().unwrap().get_mut(call).and_then(Vec::pop) {
            return refusal(code);
        }
        let answer = match call {
            "DescribeStream" => json!({"StreamDescription": self.listing(body)}),
            "GetShardIterator" => {
                let after = match body["ShardIteratorType"].as_str().unwrap() {
                    "TRIM_HORIZON" => "start",
                    "AFTER_SEQUENCE_NUMBER" => body["SequenceNumber"].as_str().unwrap(),
                    other => panic!("unexpected iterator {other}"),
                };
                let iterator = format!("{} {after}", body["ShardId"].as_str().unwrap());
                self.calls.lock().unwrap().push(iterator.clone());
                json!({"ShardIterator": iterator})
            }
            "GetRecords" => {
                self.pages.get(body["ShardIterator"].as_str().unwrap()).cloned().unwrap()
            }
            other => panic!("unexpected call {other}"),
        };
        match answer.as_str() {
            Some(code) => refusal(code),
            None => (StatusCode::OK, answer),
        }
    }

    fn listing(&self, body: &Value) -> Value {
        // What is late is not there until a shard has been read.
        let is_late = self.calls.lock().unwrap().is_empty();
        let late: &[Value] = if is_late { &[] } else { &self.late_shards };
        let there: Vec<&Value> = self.shards.iter().chain(late).collect();
        let place = |id: &Value| there.iter().position(|shard| shard["ShardId"] == *id);
        let start = place(&body["ExclusiveStartShardId"]).map_or(0, |place| place + 1);
        let end = self.shards_at_once.map_or(there.len(), |count| there.len().min(start + count));
        let mut listing = json!({"StreamArn": "arn", "Shards": there[start..end]});
        if end < there.len() {
            listing["LastEvaluatedShardId"] = there[end - 1]["ShardId"].clone();
        }
        listing
    }

    pub(super) async fn serve(self) -> (String, Arc<Script>) {
        let script = Arc::new(self);
        let served = Arc::clone(&script);
        let answer = move |headers: HeaderMap, body: Bytes| async move {
            let call =
                headers["x-amz-target"].to_str().unwrap().rsplit('.').next().unwrap().to_owned();
            let (status, answer) = served.answer(&call, &serde_json::from_slice(&body).unwrap());
            (status, [("content-type", "application/x-amz-json-1.0")], answer.to_string())
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = axum::Router::new().fallback(answer);
        tokio::spawn(async { axum::serve(listener, app).await });
        (url, script)
    }
}

pub(super) fn record(sequence: &str, execution: &str) -> Value {
    let now = DateTime::from(std::time::SystemTime::now()).as_secs_f64();
    json!({
        "eventID": sequence, "eventName": "INSERT", "awsRegion": "local",
        "dynamodb": {
            "ApproximateCreationDateTime": now, "Keys": {"execution": {"S": execution}},
            "SequenceNumber": sequence, "SizeBytes": 1,
        },
    })
}

pub(super) fn page(records: &[Value], next: Option<&str>) -> Value {
    json!({"Records": records, "NextShardIterator": next})
}

pub(super) fn source(url: &str, function: Function) -> EventSource {
    EventSource {
        streams: Arc::new(streams_client(url)),
        stream_arn: "arn".to_owned(),
        settings: Settings { idle_poll: Duration::from_millis(5), ..Settings::default() },
        function,
        doorbell: Doorbell::new(),
        checkpoint: None,
        failed_batches: None,
    }
}

pub(super) fn shard(id: &str) -> Value {
    // As the embedded engine does, this shows an end although the shard is open.
    json!({"ShardId": id, "SequenceNumberRange": {"StartingSequenceNumber": "1", "EndingSequenceNumber": "2"}})
}

/// A shard that has split off from another.
pub(super) fn child(id: &str, parent: &str) -> Value {
    let mut shard = shard(id);
    shard["ParentShardId"] = json!(parent);
    shard
}

fn refusal(code: &str) -> (StatusCode, Value) {
    (StatusCode::BAD_REQUEST, json!({"__type": code, "message": "as scripted"}))
}

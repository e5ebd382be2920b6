//! What the embedded engine never shows: shards that end, iterators that expire, records that are trimmed.

use std::collections::HashMap;
use std::sync::Mutex;

use aws_sdk_dynamodbstreams::primitives::DateTime;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::*;

/// Answers the calls of one stream from a script, and remembers them.
#[derive(Default)]
struct Script {
    shards: Vec<Value>,
    /// What `GetRecords` answers for an iterator; a text is an error code.
    pages: HashMap<&'static str, Value>,
    calls: Mutex<Vec<String>>,
}

impl Script {
    /// An iterator's name tells its shard and what it starts after.
    fn answer(&self, call: &str, body: &Value) -> (StatusCode, Value) {
        let answer = match call {
            "DescribeStream" => {
                json!({"StreamDescription": {"StreamArn": "arn", "Shards": self.shards}})
            }
            "GetShardIterator" => {
                let after = body["SequenceNumber"].as_str().unwrap_or("start");
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
            Some(code) => {
                (StatusCode::BAD_REQUEST, json!({"__type": code, "message": "as scripted"}))
            }
            None => (StatusCode::OK, answer),
        }
    }

    async fn serve(self) -> (String, Arc<Script>) {
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

fn record(sequence: &str, execution: &str) -> Value {
    let now = DateTime::from(std::time::SystemTime::now()).as_secs_f64();
    json!({
        "eventID": sequence, "eventName": "INSERT", "awsRegion": "local",
        "dynamodb": {
            "ApproximateCreationDateTime": now, "Keys": {"execution": {"S": execution}},
            "SequenceNumber": sequence, "SizeBytes": 1,
        },
    })
}

fn page(records: &[Value], next: Option<&str>) -> Value {
    json!({"Records": records, "NextShardIterator": next})
}

fn source(url: &str, function: Function) -> EventSource {
    EventSource {
        streams: streams_client(url),
        stream_arn: "arn".to_owned(),
        settings: Settings { idle_poll: Duration::from_millis(5), ..Settings::default() },
        function,
        doorbell: Doorbell::new(),
        checkpoint: None,
        failed_batches: None,
    }
}

fn shard(id: &str) -> Value {
    // As the embedded engine does, this shows an end although the shard is open.
    json!({"ShardId": id, "SequenceNumberRange": {"StartingSequenceNumber": "1", "EndingSequenceNumber": "2"}})
}

#[tokio::test]
async fn a_child_is_read_when_the_last_batch_of_its_parent_is_done() {
    let mut child = shard("child");
    child["ParentShardId"] = json!("parent");
    let script = Script {
        shards: vec![child, shard("parent")],
        pages: HashMap::from([
            ("parent start", page(&[record("1", "first")], Some("parent 1"))),
            ("parent 1", page(&[record("2", "second")], None)),
            ("child start", page(&[record("3", "third")], Some("child 3"))),
            ("child 3", page(&[], Some("child 3"))),
        ]),
        ..Script::default()
    };
    let (url, script) = script.serve().await;
    let (function, mut deliveries) = told(|call| match call {
        0 => Err("not yet".to_owned()),
        _ => Ok(BatchOutcome::Complete),
    });

    let running = run(source(&url, function));

    assert_eq!(deliveries.executions(4).await.last().unwrap(), "third");
    assert_eq!(*script.calls.lock().unwrap(), ["parent start", "child start"]);
    running.stop().await;
}

#[tokio::test]
async fn an_iterator_that_expired_is_replaced_after_the_last_record_read() {
    let script = Script {
        shards: vec![shard("only")],
        pages: HashMap::from([
            ("only start", page(&[record("1", "first")], Some("stale"))),
            ("stale", json!("ExpiredIteratorException")),
            ("only 1", page(&[record("2", "second")], Some("end"))),
            ("end", page(&[], Some("end"))),
        ]),
        ..Script::default()
    };
    let (url, script) = script.serve().await;
    let (function, mut deliveries) = told(complete);

    let running = run(source(&url, function));

    assert_eq!(deliveries.executions(2).await, ["first", "second"]);
    assert_eq!(*script.calls.lock().unwrap(), ["only start", "only 1"]);
    running.stop().await;
}

#[tokio::test]
async fn after_a_trim_reading_goes_on_at_the_oldest_record() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("checkpoint.json");
    std::fs::write(&checkpoint, r#"{"stream":"arn","shards":{"only":"1","long-gone":"1"}}"#)
        .unwrap();
    let script = Script {
        shards: vec![shard("only")],
        pages: HashMap::from([
            ("only 1", json!("TrimmedDataAccessException")),
            ("only start", page(&[record("7", "seventh")], Some("end"))),
            ("end", page(&[], Some("end"))),
        ]),
        ..Script::default()
    };
    let (url, _) = script.serve().await;
    let (function, mut deliveries) = told(complete);

    let running =
        run(EventSource { checkpoint: Some(checkpoint.clone()), ..source(&url, function) });

    assert_eq!(deliveries.executions(1).await, ["seventh"]);
    running.stop().await;
    assert_eq!(
        std::fs::read_to_string(checkpoint).unwrap(),
        r#"{"stream":"arn","shards":{"only":"7"}}"#
    );
}

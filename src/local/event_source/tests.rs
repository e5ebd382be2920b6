//! The event source against the embedded engine.

mod conformance;
mod script;
mod shards;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant as StdInstant;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType,
    ScalarAttributeType, StreamSpecification, StreamViewType,
};
use aws_sdk_dynamodbstreams::Client;
use aws_sdk_dynamodbstreams::config::{BehaviorVersion, Credentials, Region};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;

/// Longer than anything here takes when it works.
const AT_LAST: Duration = Duration::from_secs(10);

/// A journal table in an engine of its own.
struct Engine {
    engine: crate::local::Engine,
    table: aws_sdk_dynamodb::Client,
    stream_arn: String,
}

impl Engine {
    async fn start() -> Self {
        let engine = crate::local::Engine::in_memory().unwrap();
        let table = engine.dynamodb();
        let created = table
            .create_table()
            .table_name("everhook-journal")
            .billing_mode(BillingMode::PayPerRequest)
            .attribute_definitions(attribute("execution", ScalarAttributeType::S))
            .attribute_definitions(attribute("sequence", ScalarAttributeType::N))
            .key_schema(key("execution", KeyType::Hash))
            .key_schema(key("sequence", KeyType::Range))
            .stream_specification(
                StreamSpecification::builder()
                    .stream_enabled(true)
                    .stream_view_type(StreamViewType::KeysOnly)
                    .build()
                    .unwrap(),
            )
            .send()
            .await
            .unwrap();
        let stream_arn = created.table_description.unwrap().latest_stream_arn.unwrap();
        Engine { engine, table, stream_arn }
    }

    async fn append(&self, execution: &str, sequence: u32) {
        self.table
            .put_item()
            .table_name("everhook-journal")
            .item("execution", AttributeValue::S(execution.to_owned()))
            .item("sequence", AttributeValue::N(sequence.to_string()))
            .send()
            .await
            .unwrap();
    }

    fn source(&self, settings: Settings, function: Function) -> EventSource {
        EventSource {
            streams: Arc::new(self.engine.streams()),
            stream_arn: self.stream_arn.clone(),
            settings,
            function,
            doorbell: Doorbell::new(),
            checkpoint: None,
            failed_batches: None,
        }
    }
}

fn attribute(name: &str, kind: ScalarAttributeType) -> AttributeDefinition {
    AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().unwrap()
}

fn key(name: &str, kind: KeyType) -> KeySchemaElement {
    KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap()
}

fn streams_client(url: &str) -> Client {
    let config = aws_sdk_dynamodbstreams::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(everhook_journal::environment::https())
        .endpoint_url(url)
        .region(Region::new("local"))
        .credentials_provider(Credentials::new("local", "local", None, None, "test"))
        .build();
    Client::from_conf(config)
}

/// An event source at work.
struct Running {
    stop: watch::Sender<bool>,
    ended: JoinHandle<()>,
}

fn run(source: EventSource) -> Running {
    let (stop, shutdown) = watch::channel(false);
    Running { stop, ended: tokio::spawn(source.run(shutdown)) }
}

impl Running {
    async fn stop(self) {
        self.stop.send(true).unwrap();
        timeout(AT_LAST, self.ended).await.unwrap().unwrap();
    }
}

/// A function that tells which events it was called with, and answers as told.
fn told(
    answer: impl Fn(usize) -> Result<BatchOutcome, String> + Send + Sync + 'static,
) -> (Function, Deliveries) {
    let (tell, deliveries) = mpsc::unbounded_channel();
    let calls = AtomicUsize::new(0);
    let function: Function = Arc::new(move |event: Event| {
        let answer = answer(calls.fetch_add(1, Ordering::Relaxed));
        tell.send(event).unwrap();
        Box::pin(async { answer })
    });
    (function, Deliveries(deliveries))
}

fn complete(_call: usize) -> Result<BatchOutcome, String> {
    Ok(BatchOutcome::Complete)
}

struct Deliveries(mpsc::UnboundedReceiver<Event>);

impl Deliveries {
    /// The executions of this many records, in the order they were delivered.
    async fn executions(&mut self, count: usize) -> Vec<String> {
        let mut executions = Vec::new();
        while executions.len() < count {
            let event =
                timeout(AT_LAST, self.0.recv()).await.expect("a record was not delivered").unwrap();
            executions.extend(event.records.iter().map(|record| {
                let keys = serde_json::to_value(&record.change.keys).unwrap();
                keys["execution"]["S"].as_str().unwrap().to_owned()
            }));
        }
        executions
    }

    /// The records of one batch, as the function sees them.
    async fn batch(&mut self) -> Vec<serde_json::Value> {
        let event = timeout(AT_LAST, self.0.recv()).await.expect("no batch was delivered");
        let records = event.unwrap().records;
        records.iter().map(|record| serde_json::to_value(record).unwrap()).collect()
    }

    async fn nothing_more(&mut self) -> bool {
        timeout(Duration::from_millis(50), self.0.recv()).await.is_err()
    }
}

#[tokio::test]
async fn every_record_is_delivered_once_while_nothing_fails() {
    let engine = Engine::start().await;
    let (function, mut deliveries) = told(complete);
    let source = engine.source(Settings { batch_size: 7, ..Settings::default() }, function);
    let doorbell = source.doorbell.clone();
    let running = run(source);

    let mut appended = Vec::new();
    for number in 0..60 {
        let execution = format!("execution-{number}");
        engine.append(&execution, 1).await;
        doorbell.ring();
        appended.push(execution);
    }

    let mut delivered = deliveries.executions(60).await;
    assert!(deliveries.nothing_more().await);
    delivered.sort();
    appended.sort();
    assert_eq!(delivered, appended);
    running.stop().await;
}

#[tokio::test]
async fn a_ring_is_answered_at_once() {
    let engine = Engine::start().await;
    let (function, mut deliveries) = told(complete);
    let source = engine
        .source(Settings { idle_poll: Duration::from_secs(60), ..Settings::default() }, function);
    let doorbell = source.doorbell.clone();
    let running = run(source);
    engine.append("warm-up", 1).await;
    doorbell.ring();
    deliveries.executions(1).await;
    tokio::time::sleep(Duration::from_millis(20)).await;

    engine.append("webhook", 1).await;
    let rung = StdInstant::now();
    doorbell.ring();

    assert_eq!(deliveries.executions(1).await, ["webhook"]);
    assert!(rung.elapsed() < Duration::from_secs(1), "{:?}", rung.elapsed());
    running.stop().await;
}

#[tokio::test]
async fn without_a_ring_the_stream_is_read_now_and_then() {
    let engine = Engine::start().await;
    let (function, mut deliveries) = told(complete);
    let running = run(engine.source(
        Settings { idle_poll: Duration::from_millis(20), ..Settings::default() },
        function,
    ));
    tokio::time::sleep(Duration::from_millis(50)).await;

    engine.append("webhook", 1).await;

    assert_eq!(deliveries.executions(1).await, ["webhook"]);
    running.stop().await;
}

#[tokio::test]
async fn after_a_restart_delivery_goes_on_after_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::start().await;
    let source = |function| EventSource {
        checkpoint: Some(File::at(folder.path().join("checkpoint.json"))),
        ..engine.source(Settings::default(), function)
    };

    let (function, mut deliveries) = told(complete);
    let running = run(source(function));
    engine.append("before", 1).await;
    deliveries.executions(1).await;
    running.stop().await;
    engine.append("meanwhile", 1).await;

    let (function, mut deliveries) = told(complete);
    let running = run(source(function));
    assert_eq!(deliveries.executions(1).await, ["meanwhile"]);
    assert!(deliveries.nothing_more().await);
    running.stop().await;
}

#[tokio::test]
async fn a_batch_that_failed_is_delivered_again() {
    let engine = Engine::start().await;
    engine.append("webhook", 1).await;
    let (function, mut deliveries) =
        told(
            |call| if call == 0 { Err("not today".to_owned()) } else { Ok(BatchOutcome::Complete) },
        );

    let running = run(engine.source(Settings::default(), function));

    assert_eq!(deliveries.executions(2).await, ["webhook", "webhook"]);
    assert!(deliveries.nothing_more().await);
    running.stop().await;
}

#[tokio::test]
async fn a_batch_in_flight_ends_before_shutdown() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("checkpoint.json");
    let engine = Engine::start().await;
    engine.append("webhook", 1).await;
    let (begun, has_begun) = oneshot::channel();
    let (end, may_end) = oneshot::channel::<()>();
    let once = std::sync::Mutex::new(Some((begun, may_end)));
    let function: Function = Arc::new(move |_| {
        let (begun, may_end) = once.lock().unwrap().take().unwrap();
        Box::pin(async move {
            begun.send(()).unwrap();
            may_end.await.unwrap();
            Ok(BatchOutcome::Complete)
        })
    });
    let running = run(EventSource {
        checkpoint: Some(File::at(&checkpoint)),
        ..engine.source(Settings::default(), function)
    });
    has_begun.await.unwrap();

    running.stop.send(true).unwrap();
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(!running.ended.is_finished());

    end.send(()).unwrap();
    timeout(AT_LAST, running.ended).await.unwrap().unwrap();
    assert!(std::fs::read_to_string(checkpoint).unwrap().contains(&engine.stream_arn));
}

#[tokio::test]
async fn a_panic_and_a_timeout_are_failures_and_what_is_given_up_is_noted() {
    let folder = tempfile::tempdir().unwrap();
    let failed_batches = folder.path().join("failed-batches.jsonl");
    let engine = Engine::start().await;
    for execution in ["panics", "hangs", "works"] {
        engine.append(execution, 1).await;
    }
    let (tell, mut works) = mpsc::unbounded_channel();
    let function: Function = Arc::new(move |event| {
        let keys = serde_json::to_string(&event.records[0].change.keys).unwrap();
        assert!(!keys.contains("panics"), "on purpose");
        let tell = tell.clone();
        Box::pin(async move {
            if keys.contains("hangs") {
                std::future::pending::<()>().await;
            }
            tell.send(()).unwrap();
            Ok(BatchOutcome::Complete)
        })
    });
    let settings = Settings {
        batch_size: 1,
        retry_attempts: Some(0),
        timeout: Duration::from_millis(30),
        ..Settings::default()
    };

    let running = run(EventSource {
        failed_batches: Some(File::at(&failed_batches)),
        ..engine.source(settings, function)
    });
    works.recv().await.unwrap();
    let noted = async {
        loop {
            let text = std::fs::read_to_string(&failed_batches).unwrap_or_default();
            if text.lines().count() == 2 {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let noted = timeout(AT_LAST, noted).await.unwrap();
    running.stop().await;

    let first: serde_json::Value = serde_json::from_str(noted.lines().next().unwrap()).unwrap();
    assert_eq!(first["requestContext"]["condition"], "RetryAttemptsExhausted");
    assert_eq!(first["DDBStreamBatchInfo"]["batchSize"], 1);
    assert_eq!(first["DDBStreamBatchInfo"]["streamArn"], engine.stream_arn);
    assert!(!noted.contains("panics"), "keys are item data");
}

#[tokio::test]
async fn a_batch_that_hangs_does_not_hold_up_other_executions() {
    let engine = Engine::start().await;
    engine.append("stuck", 1).await;
    let (tell, deliveries) = mpsc::unbounded_channel();
    let (begun, mut has_begun) = mpsc::unbounded_channel();
    let function: Function = Arc::new(move |event| {
        let (tell, begun) = (tell.clone(), begun.clone());
        Box::pin(async move {
            if serde_json::to_string(&event.records[0].change.keys).unwrap().contains("stuck") {
                begun.send(()).unwrap();
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            tell.send(event).unwrap();
            Ok(BatchOutcome::Complete)
        })
    });
    let source = engine
        .source(Settings { idle_poll: Duration::from_millis(5), ..Settings::default() }, function);
    let running = run(source);
    has_begun.recv().await.unwrap();

    engine.append("stuck", 2).await;
    engine.append("free", 1).await;
    engine.append("free", 2).await;

    let mut deliveries = Deliveries(deliveries);
    assert_eq!(deliveries.executions(4).await, ["free", "free", "stuck", "stuck"]);
    running.stop().await;
}

//! The functions' handlers with their log and their metrics, in a process of their own.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::http::HeaderValue;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use everhook::Steps;
use everhook::local::Doorbell;
use everhook::local::event_source::{BatchOutcome, EventSource, File, Settings};
use everhook_journal::{ExecutionId, environment, telemetry};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Markers, Told, assert_silent};
use crate::world::{World, delivery, signed_with};

/// Set in the process of its own.
const INSIDE: &str = "EVERHOOK_TEST_INSIDE";

/// What a line begins with that tells what is in a place.
const TOLD: &str = "told: ";

const CONFIG: &str = r#"
    [settings]
    execution_key = "file:marked-key"

    [sources.default]
    scheme = "hmac-sha256"
    secrets = ["file:marked-secret"]
    quarantine = true

    [[workflows.default.steps]]
    name = "look"
    run = "validate"

    [[workflows.default.steps]]
    name = "number"
    run = "transform"
    jq = ".secret | if type == \"string\" then tonumber else . end"
    retry = { attempts = 2, first = "1s" }
"#;

/// What an append's events become when a disk, or somebody, has changed them.
fn poisons(word: &str) -> [String; 6] {
    [
        word.to_owned(),
        format!("[\"{word}\"]"),
        format!("[{{\"{word}\": {{}}}}]"),
        format!("[{{\"WebhookReceived\": \"{word}\"}}]"),
        format!("[{{\"WebhookReceived\": {{\"webhook\": \"{word}\"}}}}]"),
        format!("{{\"{word}\": \"{word}\"}}"),
    ]
}

#[tokio::test]
async fn a_function_tells_nobody() {
    if std::env::var_os(INSIDE).is_some() {
        return inside().await;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["hostile::canaries::inside::a_function_tells_nobody", "--exact", "--nocapture"]);
    command.env(INSIDE, "1").env("RUST_LOG", "trace");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));

    let told: Vec<_> = text.lines().map(told).collect();
    let places = [
        "a function's log, traced",
        "a function's metrics",
        "statuses",
        "the list of executions",
        "the list of failed executions",
        "the rows of executions",
        "the stream's records",
        "a dead letter's note in the file of failed batches",
    ];
    assert_silent(&Markers::new(), &told, &places);
}

/// What a line of the process tells.
fn told(line: &str) -> Told {
    if let Some(Value::Array(pair)) =
        line.strip_prefix(TOLD).and_then(|json| serde_json::from_str(json).ok())
    {
        let place = super::PLACES.iter().find(|place| pair[0] == **place).unwrap();
        return Told { place, text: pair[1].as_str().unwrap().to_owned() };
    }
    let is_metric = line.contains("\"_aws\"");
    let place = if is_metric { "a function's metrics" } else { "a function's log, traced" };
    Told { place, text: line.to_owned() }
}

fn tell(place: &str, text: &str) {
    println!("{TOLD}{}", json!([place, text]));
}

async fn inside() {
    environment::observe();
    let markers = Markers::new();
    let engine = everhook::local::Engine::in_memory().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = CONFIG.replace("marked-", &format!("{}/marked-", folder.path().display()));
    let secret = markers.text("source secret");
    std::fs::write(folder.path().join("marked-secret"), secret).unwrap();
    std::fs::write(folder.path().join("marked-key"), markers.text("execution key")).unwrap();
    let world = World::over(engine, &config, Steps::new()).await;

    let body = |rest: String| format!("{{\"secret\":\"{}\"{rest}}}", markers.text("body"));
    let mut ids = Vec::new();
    for number in 0..12 {
        let secret_or_number = match number % 2 {
            0 => body(format!(",\"n\":{number}")),
            _ => format!("{{\"secret\":7,\"n\":{number},\"more\":\"{}\"}}", markers.text("body")),
        };
        let mut request = signed_with(secret, &delivery(&format!("d-{number}"), &secret_or_number));
        request.headers.insert("x-marked", HeaderValue::from_str(markers.text("header")).unwrap());
        request.raw_query_string = Some(format!("q={}", markers.text("query")));
        ids.push(world.send(request).await.token());
    }
    let mut forged = signed_with("a guess", &delivery("forged", &body(String::new())));
    let wrong = HeaderValue::from_str(markers.text("signature")).unwrap();
    forged.headers.insert("x-webhook-signature", wrong);
    assert_eq!(world.send(forged).await.status, 401);
    for (id, events) in ids.iter().zip(poisons(markers.text("body"))) {
        poison(&world, id, &events).await;
    }

    let records = world.records().await;
    tell("the stream's records", &json!(records).to_string());
    world.process(&records).await;
    world.project(&records).await;
    world.live_through(Duration::from_secs(90), Duration::from_secs(10)).await;
    let mut ends = Vec::new();
    for id in &ids {
        let status = world.get(&format!("/status/{id}")).await.body;
        ends.push(status["status"].as_str().unwrap_or_default().to_owned());
        tell("statuses", &status.to_string());
        let answer = world.get(&format!("/executions/{id}/events")).await;
        if answer.status != 200 {
            tell("statuses", &answer.body.to_string());
        }
    }
    for end in ["completed", "failed"] {
        assert!(ends.iter().any(|it| it == end), "{ends:?}");
    }
    // Of those whose first event cannot be read there is no status, but they are marked.
    for (id, end) in ids.iter().zip(&ends).filter(|(_, end)| end.is_empty()) {
        let row = world.parts.ingest.executions.get(id).await.unwrap().unwrap();
        assert!(row.stalled.is_some(), "{id} {end}");
    }
    let list = world.get("/executions").await.body;
    tell("the list of executions", &list.to_string());
    let list = world.get("/executions?status=stalled").await.body;
    tell("the list of failed executions", &list.to_string());
    let rows = world.engine.dynamodb().scan().table_name("executions").send().await.unwrap();
    tell("the rows of executions", &format!("{:?}", rows.items));
    let note = failed_batch(&world, folder.path()).await;
    tell("a dead letter's note in the file of failed batches", &note);
    telemetry::flush();
}

/// Changes what the first append of an execution says.
async fn poison(world: &World, id: &ExecutionId, events: &str) {
    let client = world.engine.dynamodb();
    let key = AttributeValue::S(id.to_string());
    let first = AttributeValue::N("1".into());
    let item = client.get_item().table_name("journal").key("execution", key).key("sequence", first);
    let mut item = item.send().await.unwrap().item.unwrap();
    let packed = Blob::new(everhook_journal::packed::pack(events.as_bytes()));
    item.insert("events".into(), AttributeValue::B(packed));
    client.put_item().table_name("journal").set_item(Some(item)).send().await.unwrap();
}

/// The file of failed batches, of a function that fails whatever it is given.
async fn failed_batch(world: &World, folder: &std::path::Path) -> String {
    let streams = world.engine.streams();
    let listed = streams.list_streams().table_name("journal").send().await.unwrap();
    let path = folder.join("failed-batches.jsonl");
    let source = EventSource {
        stream_arn: listed.streams()[0].stream_arn().unwrap().to_owned(),
        streams: Arc::new(streams),
        settings: Settings { retry_attempts: Some(0), bisect: false, ..Settings::default() },
        function: Arc::new(|event| {
            Box::pin(async move {
                tracing::error!("failed with {} records", event.records.len());
                Ok(BatchOutcome::FailedFrom(String::new()))
            })
        }),
        doorbell: Doorbell::new(),
        checkpoint: None,
        failed_batches: Some(File::at(&path)),
    };
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(source.run(stopped));
    for _ in 0..200 {
        if std::fs::read_to_string(&path).is_ok_and(|text| text.contains("DDBStreamBatchInfo")) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    stop.send(true).ok();
    running.await.unwrap();
    std::fs::read_to_string(&path).unwrap()
}

//! Tables of a version that wrote a row for each webhook: what is unfinished in them ends, and what has ended is listed.

use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement,
    KeyType, Projection, ProjectionType, ScalarAttributeType, StreamSpecification, StreamViewType,
};
use everhook::Steps;
use everhook::local::Engine;
use everhook_journal::store::Item;
use everhook_journal::{Execution, ExecutionId, Timestamp, View};
use serde_json::Value;

use crate::world::{BEGINNING, World, delivery};

const WORKFLOW: &str = r#"
    [sources.default]
    scheme = "standard-webhooks"
    secrets = ["file:secret"]

    [[workflows.default.steps]]
    name = "later"
    run = "wait"
    for = "1h"

    [[workflows.default.steps]]
    name = "validate"
    run = "validate"
"#;

const MINUTE: Duration = Duration::from_secs(60);

fn text(text: impl ToString) -> AttributeValue {
    AttributeValue::S(text.to_string())
}

fn number(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn attribute(name: &str, kind: ScalarAttributeType) -> AttributeDefinition {
    AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().unwrap()
}

fn key(name: &str, kind: KeyType) -> KeySchemaElement {
    KeySchemaElement::builder().attribute_name(name).key_type(kind).build().unwrap()
}

fn index(name: &str, hash: &str, range: &str) -> GlobalSecondaryIndex {
    GlobalSecondaryIndex::builder()
        .index_name(name)
        .key_schema(key(hash, KeyType::Hash))
        .key_schema(key(range, KeyType::Range))
        .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
        .build()
        .unwrap()
}

/// The tables as that version made them.
async fn earlier_tables() -> Engine {
    use ScalarAttributeType::{N, S};
    let engine = Engine::in_memory().unwrap();
    let client = engine.dynamodb();
    let table = |name: &str| {
        client.create_table().table_name(name).billing_mode(BillingMode::PayPerRequest)
    };
    let stream = StreamSpecification::builder()
        .stream_enabled(true)
        .stream_view_type(StreamViewType::KeysOnly)
        .build();
    let journal = table("journal")
        .attribute_definitions(attribute("execution", S))
        .attribute_definitions(attribute("sequence", N))
        .key_schema(key("execution", KeyType::Hash))
        .key_schema(key("sequence", KeyType::Range))
        .stream_specification(stream.unwrap());
    journal.send().await.unwrap();
    let mut executions = table("executions").attribute_definitions(attribute("due_shard", N));
    for name in ["execution", "due_at", "source", "created_at", "attention"] {
        executions = executions.attribute_definitions(attribute(name, S));
    }
    let executions = executions
        .key_schema(key("execution", KeyType::Hash))
        .global_secondary_indexes(index("due", "due_shard", "due_at"))
        .global_secondary_indexes(index("recent", "source", "created_at"))
        .global_secondary_indexes(index("attention", "attention", "created_at"));
    executions.send().await.unwrap();
    engine
}

/// The row of an execution as that version wrote it; with a due time while it is unfinished.
fn earlier_row(view: &View, due_at: Option<Timestamp>) -> Item {
    let json = |value: Value| text(value);
    let mut row = Item::from([
        ("execution".into(), text(view.execution.as_str())),
        ("status".into(), text(view.status.as_str())),
        ("source".into(), text(view.source.as_str())),
        ("delivery_id".into(), text(view.delivery_id.as_str())),
        ("workflow".into(), text(view.workflow.as_str())),
        ("created_at".into(), text(view.created_at)),
        ("updated_at".into(), text(view.updated_at)),
        ("keys".into(), json(serde_json::to_value(&view.keys).unwrap())),
        ("key_count".into(), number(view.key_count)),
        ("steps".into(), json(serde_json::to_value(&view.steps).unwrap())),
        ("sequence".into(), number(view.sequence)),
        ("ttl".into(), number(view.expires_at.to_ttl_seconds())),
    ]);
    if let Some(digest) = &view.head {
        row.insert("head".into(), text(digest));
    }
    if let Some(error) = &view.error {
        row.insert("error".into(), json(serde_json::to_value(error).unwrap()));
        row.insert("attention".into(), text(view.status.as_str()));
    }
    if let Some(due_at) = due_at {
        row.insert("due_at".into(), text(due_at));
        row.insert("due_shard".into(), number(3));
        row.insert("generation".into(), number(1));
    }
    row
}

/// Puts a delivery's history into the tables as that version left it after so many events, with its row.
async fn left(
    world: &World,
    id: &str,
    body: &str,
    events: usize,
    due_at: Option<Timestamp>,
) -> ExecutionId {
    let whole = World::start(WORKFLOW).await;
    let token = whole.accepted(&delivery(id, body)).await;
    whole.settle().await;
    whole.pass(60 * MINUTE);
    whole.settle().await;
    let history = whole.history(&token).await;
    let history = &history[..events.min(history.len())];
    world.append(&token, history.chunk_by(|one, two| one.first == two.first)).await;
    let update = world.engine.dynamodb().update_item().table_name("journal");
    let update = update.key("execution", text(token.as_str())).key("sequence", number(1));
    update.update_expression("REMOVE received").send().await.unwrap();
    let execution = Execution::fold(&world.history(&token).await).unwrap().unwrap();
    let row = earlier_row(&View::of(&token, &execution), due_at);
    let put = world.engine.dynamodb().put_item().table_name("executions");
    put.set_item(Some(row)).send().await.unwrap();
    token
}

/// A world over such tables: an execution that was just received, one that waits, one that has ended and one that failed.
async fn upgraded() -> (World, [ExecutionId; 4]) {
    let world = World::over(earlier_tables().await, WORKFLOW, Steps::new()).await;
    let received = left(&world, "received", "{}", 1, Some(BEGINNING + MINUTE)).await;
    let waiting = left(&world, "waiting", "{}", 2, Some(BEGINNING + 60 * MINUTE)).await;
    let ended = left(&world, "ended", "{}", usize::MAX, None).await;
    let failed = left(&world, "failed", "[]", usize::MAX, None).await;
    world.records().await;
    (world, [received, waiting, ended, failed])
}

async fn ids(world: &World, path: &str) -> Vec<String> {
    let told = world.get(path).await;
    assert_eq!(told.status, 200, "{:?}", told.body);
    let executions = told.body["executions"].as_array().unwrap().clone();
    let mut ids: Vec<_> =
        executions.iter().map(|shown| shown["deliveryId"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn unfinished_executions_of_an_earlier_version_end() {
    let (world, [received, waiting, ended, _]) = upgraded().await;

    assert_eq!(world.parts.sweep.take_over().await.unwrap(), (2, false));
    assert_eq!(world.parts.sweep.take_over().await.unwrap(), (0, false));
    let due: Vec<_> = world.timers().await.into_iter().map(|timer| timer.due).collect();
    assert_eq!(due, [BEGINNING + MINUTE, BEGINNING + 60 * MINUTE]);
    world.live_through(150 * MINUTE, 10 * MINUTE).await;

    for token in [received, waiting, ended] {
        assert_eq!(world.status(&token).await["status"], "completed");
        let story = world.story(&token).await;
        assert_eq!(story.last().unwrap(), "ExecutionCompleted");
        assert_eq!(story.iter().filter(|it| it.starts_with("WaitStarted")).count(), 1);
    }
    assert_eq!(world.timers().await, []);
    assert_eq!(ids(&world, "/executions?status=waiting").await, [""; 0]);
}

#[tokio::test]
async fn executions_of_an_earlier_version_are_listed_with_those_of_this_one() {
    let (world, _) = upgraded().await;
    world.accepted(&delivery("new", "{}")).await;

    assert_eq!(ids(&world, "/executions").await, ["ended", "failed", "new", "received", "waiting"]);
    assert_eq!(ids(&world, "/executions?status=completed").await, ["ended"]);
    assert_eq!(ids(&world, "/executions?status=failed").await, ["failed"]);
    world.parts.sweep.take_over().await.unwrap();
    assert_eq!(ids(&world, "/executions?status=waiting").await, ["waiting"]);
    assert_eq!(ids(&world, "/executions?status=received").await, ["new", "received"]);
    world.live_through(150 * MINUTE, 10 * MINUTE).await;
    let all = ["ended", "failed", "new", "received", "waiting"];
    assert_eq!(ids(&world, "/executions").await, all);
    assert_eq!(ids(&world, "/executions?status=completed").await.len(), 4);
}

#[tokio::test]
async fn a_redelivery_of_a_webhook_that_an_earlier_version_recorded_is_a_duplicate() {
    let (world, [_, _, ended, _]) = upgraded().await;
    let told = world.deliver(&delivery("ended", "{}")).await;
    assert_eq!((told.token(), &told.body["duplicate"]), (ended, &true.into()));
}

#[tokio::test]
async fn tables_without_the_earlier_indexes_have_nothing_to_take_over() {
    let world = World::start(WORKFLOW).await;
    assert_eq!(world.parts.sweep.take_over().await.unwrap(), (0, false));
    assert_eq!(ids(&world, "/executions").await, [""; 0]);
}

//! Bodies that come again under another id.

use std::sync::atomic::Ordering;
use std::time::Duration;

use everhook_journal::id::{BodyKey, Sequence};
use everhook_journal::payload::sha256_hex;
use everhook_journal::view::ViewStatus;
use everhook_journal::{Execution, ExecutionId, SourceName, View};
use serde_json::{Value, json};

use crate::world::{Delivery, PLAIN, World, delivery};

/// Three senders: one whose signature does not cover the id, one whose does, one whose id is in the body.
const THREE: &str = r#"
    [sources.default]
    scheme = "hmac-sha256"
    secrets = ["file:secret"]

    [sources.signed]
    scheme = "standard-webhooks"
    secrets = ["file:secret"]

    [sources.inside]
    scheme = "recipe"
    secrets = ["file:secret"]
    header = "x-signature"
    id = "json:id"

    [[workflows.default.steps]]
    name = "validate"
    run = "validate"
"#;

const BODY: &str = r#"{"order": 7}"#;

fn repeated(world: &World) -> u64 {
    world.parts.ingest.counts.repeated.load(Ordering::Relaxed)
}

async fn repeat_of(world: &World, token: &ExecutionId) -> Value {
    world.status(token).await["repeatOf"].clone()
}

#[tokio::test]
async fn a_body_under_another_id_is_executed_and_flagged_for_good() {
    let world = World::start(PLAIN).await;
    let first = world.accepted(&delivery("d-1", BODY)).await;
    let told = world.deliver(&delivery("d-2", BODY)).await;
    let second = told.token();

    assert_eq!(told.body["duplicate"], false);
    assert_eq!(repeat_of(&world, &second).await, json!(first));
    world.settle().await;

    let status = world.status(&second).await;
    assert_eq!((&status["status"], &status["repeatOf"]), (&json!("completed"), &json!(first)));
    assert_eq!(repeat_of(&world, &first).await, Value::Null);
    let listed = world.get("/executions").await.body;
    let listed = listed["executions"].as_array().unwrap();
    let marked: Vec<_> = listed.iter().filter_map(|one| one.get("repeatOf")).collect();
    assert_eq!((listed.len(), marked), (2, vec![&json!(first)]));
    assert_eq!(repeated(&world), 1);
}

#[tokio::test]
async fn a_redelivery_and_another_body_are_no_repeats() {
    let world = World::start(PLAIN).await;
    let one = world.accepted(&delivery("d-1", BODY)).await;
    let other = world.accepted(&delivery("d-2", "{}")).await;

    assert_eq!(world.accepted(&delivery("d-1", BODY)).await, one);
    for token in [&one, &other] {
        assert_eq!(repeat_of(&world, token).await, Value::Null);
    }
    assert_eq!(repeated(&world), 0);

    // One id with a body that came with another one is an execution of its own, and a repeat.
    let third = world.accepted(&delivery("d-1", "{}")).await;
    assert_eq!(repeat_of(&world, &third).await, json!(other));
    let counts = &world.parts.ingest.counts;
    assert_eq!((repeated(&world), counts.mismatched.load(Ordering::Relaxed)), (1, 0));
}

#[tokio::test]
async fn a_redelivery_of_a_repeat_is_flagged_once() {
    let world = World::start(PLAIN).await;
    let first = world.accepted(&delivery("d-1", BODY)).await;
    let second = world.accepted(&delivery("d-2", BODY)).await;
    assert_eq!(world.accepted(&delivery("d-2", BODY)).await, second);
    assert_eq!(repeated(&world), 1);

    // As if the first try had died before it marked the execution: the next one does.
    let key = aws_sdk_dynamodb::types::AttributeValue::S(second.to_string());
    let delete = world.engine.dynamodb().delete_item().table_name("executions");
    delete.key("execution", key).send().await.unwrap();
    assert_eq!(repeat_of(&world, &second).await, Value::Null);
    assert_eq!(world.deliver(&delivery("d-2", BODY)).await.body["duplicate"], true);
    assert_eq!(repeat_of(&world, &second).await, json!(first));
}

#[tokio::test]
async fn a_try_that_died_after_the_body_is_no_repeat_of_itself() {
    let world = World::start(PLAIN).await;
    let other = World::start(PLAIN).await;
    let token = other.accepted(&delivery("d-1", BODY)).await;
    let ingest = &world.parts.ingest;
    let hash = sha256_hex(BODY.as_bytes());
    let body = BodyKey::derive(&ingest.key, &SourceName::new("default"), &hash);
    let later = world.now() + Duration::from_secs(3600);
    ingest.executions.first_with(&body, &token, later, world.now()).await.unwrap();
    assert_eq!(world.history(&token).await, []);

    assert_eq!(world.accepted(&delivery("d-1", BODY)).await, token);
    assert_eq!(repeat_of(&world, &token).await, Value::Null);
}

#[tokio::test]
async fn the_mark_survives_every_later_writing_of_the_view() {
    let world = World::start(PLAIN).await;
    let first = world.accepted(&delivery("d-1", BODY)).await;
    let second = world.accepted(&delivery("d-2", BODY)).await;
    let executions = &world.parts.ingest.executions;
    let history = world.history(&second).await;
    let mut view = View::of(&second, &Execution::fold(&history).unwrap().unwrap());
    let marked = Some(first);
    // The projector, of an execution that rests.
    assert!(executions.show(&view).await.unwrap());
    assert_eq!(executions.get(&second).await.unwrap().unwrap().repeat_of, marked);
    // It is stalled, its end is shown, and it is redriven.
    assert!(executions.stall(&second, "why", world.now(), view.expires_at).await.unwrap());
    (view.sequence, view.status) = (Sequence::new(3), ViewStatus::Failed);
    assert!(executions.show(&view).await.unwrap());
    let row = executions.get(&second).await.unwrap().unwrap();
    assert_eq!((row.repeat_of, row.stalled), (marked.clone(), None));
    (view.sequence, view.status) = (Sequence::new(4), ViewStatus::Running);
    assert!(executions.reopen(&view).await.unwrap());
    assert_eq!(executions.get(&second).await.unwrap().unwrap().repeat_of, marked);
    // What is older than the view changes nothing.
    view.sequence = Sequence::new(1);
    assert!(!executions.show(&view).await.unwrap());
}

#[tokio::test]
async fn senders_whose_ids_are_signed_or_in_the_body_pay_nothing() {
    let world = World::start(THREE).await;
    let puts = || world.parts.store.calls().snapshot()[0].1;
    for (source, writes, id) in [("default", 2, "d-"), ("signed", 1, "d-"), ("inside", 1, "")] {
        for number in 1..3 {
            let body = match source {
                "inside" => format!(r#"{{"id": "{number}"}}"#),
                _ => format!("[\"{source}\"]"),
            };
            let id = if id.is_empty() { String::new() } else { format!("{id}{number}") };
            let before = puts();
            let delivery = Delivery { source, id, event_type: None, body: body.into() };
            let token = world.accepted(&delivery).await;
            assert_eq!(puts() - before, writes, "{source}");
            let flagged = !repeat_of(&world, &token).await.is_null();
            assert_eq!(flagged, source == "default" && number == 2, "{source} {number}");
        }
    }
}

#[tokio::test]
async fn a_source_that_remembers_no_bodies_writes_none_and_flags_no_repeat() {
    let config = PLAIN.replace("[sources.default]", "[sources.default]\nremember_bodies = false");
    let world = World::start(&config).await;
    let puts = || world.parts.store.calls().snapshot()[0].1;
    let before = puts();

    let first = world.accepted(&delivery("d-1", BODY)).await;
    let told = world.deliver(&delivery("d-2", BODY)).await;

    assert_eq!(puts() - before, 2);
    assert_eq!(told.body["duplicate"], false);
    assert_eq!(repeat_of(&world, &told.token()).await, Value::Null);
    assert_eq!(repeated(&world), 0);
    // The same id and the same body are a redelivery all the same.
    let again = world.deliver(&delivery("d-1", BODY)).await;
    assert_eq!((again.token(), &again.body["duplicate"]), (first, &json!(true)));
}

#[tokio::test]
async fn a_body_is_forgotten_with_the_history_it_came_with() {
    let world = World::start(PLAIN).await;
    world.accepted(&delivery("d-1", BODY)).await;
    world.settle().await;
    world.pass(Duration::from_secs(40 * 24 * 3600));

    let second = world.accepted(&delivery("d-2", BODY)).await;
    assert_eq!(repeat_of(&world, &second).await, Value::Null);
    let third = world.accepted(&delivery("d-3", BODY)).await;
    assert_eq!(repeat_of(&world, &third).await, json!(second));
}

//! What everybody does first.

use serde_json::json;

use crate::world::{World, delivery};

/// The shipped configuration, with the secret of every test.
fn shipped() -> String {
    include_str!("../config/everhook.toml").replace("generated:default", "file:secret")
}

#[tokio::test]
async fn a_webhook_is_answered_at_once_and_completes() {
    let world = World::start(&shipped()).await;

    let told = world.deliver(&delivery("d-1", r#"{"type": "push", "amount": 99.99}"#)).await;
    let token = told.token();
    let before = world.status(&token).await;
    world.settle().await;
    let after = world.status(&token).await;

    assert_eq!(told.body["duplicate"], false);
    assert_eq!(told.body["statusUrl"], format!("/status/{token}"));
    assert_eq!(told.body["requestId"], "request-1");
    assert_eq!(
        (&before["status"], &before["currentStep"]),
        (&json!("received"), &json!("validate"))
    );
    assert_eq!((&after["status"], &after["currentStep"]), (&json!("completed"), &json!(null)));
    let steps = after["steps"].as_array().unwrap();
    let names: Vec<_> = steps.iter().map(|step| step["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["validate", "process", "finalize"]);
    assert!(steps.iter().all(|step| step["attempts"] == 1 && step["endedAt"].is_string()));
}

#[tokio::test]
async fn the_default_workflow_takes_two_appends_and_five_calls() {
    let world = World::start(&shipped()).await;
    let calls = || world.parts.store.calls().snapshot().map(|(_, count)| count);
    let before = calls();

    world.accepted(&delivery("d-1", "{}")).await;
    let records = world.records().await;
    world.process(&records).await;

    let [puts, updates, deletes, gets, batch_gets, queries] = calls();
    let made = [puts - before[0], updates, deletes, gets - before[3], batch_gets, queries];
    // Event 1, what the body came with first, and the steps with the end; the view; the history.
    assert_eq!(made, [3, 1, 0, 0, 0, 1]);
}

#[tokio::test]
async fn the_results_carry_what_the_aws_sample_gives() {
    let world = World::start(&shipped()).await;
    let token = world.accepted(&delivery("d-1", r#"{"type": "order", "a": 1, "b": 2}"#)).await;
    world.settle().await;

    let events = world.get(&format!("/executions/{token}/events")).await.body;

    let outputs: Vec<_> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|event| event["event"]["StepCompleted"]["output"].get("json"))
        .collect();
    assert_eq!(outputs[0]["status"], "validated");
    assert_eq!(outputs[1]["eventType"], "order");
    assert_eq!(outputs[1]["source"], "default");
    assert_eq!(outputs[1]["keysProcessed"], 3);
    assert!(outputs[1]["processedAt"].is_string());
    assert_eq!(outputs[2]["status"], "completed");
    assert!(outputs[2]["completedAt"].is_string());
}

#[tokio::test]
async fn a_redelivery_is_accepted_once() {
    let world = World::start(&shipped()).await;
    let webhook = delivery("d-1", r#"{"a": 1}"#);
    let first = world.deliver(&webhook).await;
    world.settle().await;
    let story = world.story(&first.token()).await;

    let again = world.deliver(&webhook).await;
    world.settle().await;

    assert_eq!(again.token(), first.token());
    assert_eq!(again.body["duplicate"], true);
    assert_eq!(world.story(&first.token()).await, story);
}

#[tokio::test]
async fn an_unsigned_id_with_another_body_is_another_execution() {
    let world = World::start(&shipped()).await;
    let first = world.deliver(&delivery("d-1", r#"{"a": 1}"#)).await;

    let other = world.deliver(&delivery("d-1", r#"{"a": 2}"#)).await;
    world.settle().await;

    assert_ne!(other.token(), first.token());
    assert_eq!(other.body["duplicate"], false);
    for (token, body) in [(first.token(), r#"{"a": 1}"#), (other.token(), r#"{"a": 2}"#)] {
        let kept = world.get(&format!("/executions/{token}/body")).await.body;
        assert_eq!(kept, data_encoding::HEXLOWER.encode(body.as_bytes()));
    }
}

#[tokio::test]
async fn the_same_webhook_many_times_at_once_is_one_execution() {
    let world = World::start(&shipped()).await;
    let webhook = delivery("d-1", "{}");

    let told = futures_util::future::join_all((0..32).map(|_| world.deliver(&webhook))).await;
    world.settle().await;

    let fresh = told.iter().filter(|told| told.body["duplicate"] == false).count();
    assert_eq!(fresh, 1);
    assert!(told.iter().all(|other| other.token() == told[0].token()));
    let story = world.story(&told[0].token()).await;
    assert_eq!(story.len(), 5, "{story:?}");
}

#[tokio::test]
async fn tokens_of_many_webhooks_at_once_never_collide() {
    let world = World::start(&shipped()).await;
    let webhooks: Vec<_> = (0..400).map(|n| delivery(&format!("d-{n}"), "{}")).collect();

    let mut told = Vec::new();
    // So many at once are recorded in time on a busy machine, too.
    for together in webhooks.chunks(100) {
        let delivered = together.iter().map(|webhook| world.deliver(webhook));
        told.extend(futures_util::future::join_all(delivered).await);
    }

    let tokens: std::collections::HashSet<_> = told.iter().map(crate::world::Told::token).collect();
    assert_eq!(tokens.len(), 400);
}

#[tokio::test]
async fn created_at_stays_the_time_of_creation() {
    let world = World::start(&shipped()).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;
    let created = world.status(&token).await["createdAt"].clone();
    world.pass(std::time::Duration::from_secs(5));
    world.settle().await;

    let after = world.status(&token).await;

    assert_eq!(after["createdAt"], created);
    assert_ne!(after["lastUpdated"], created);
}

//! Senders that put several events in one request.

use everhook_journal::ExecutionId;
use serde_json::json;

use crate::world::{Delivery, Told, World, delivery};

const CONFIG: &str = r#"
    [sources.default]
    scheme = "hmac-sha256"
    secrets = ["file:secret"]
    items = "/events"
    item_id = ["/id"]
    item_type = "/kind"

    [[workflows.default.steps]]
    name = "read"
    run = "transform"
    jq = '{n: .n, type: $webhook.type}'
"#;

fn batch(id: &str, events: &serde_json::Value) -> Delivery {
    delivery(id, &json!({ "events": events }).to_string())
}

#[track_caller]
fn tokens(told: &Told) -> Vec<ExecutionId> {
    assert_eq!(told.status, 202, "{:?}", told.body);
    let each = told.body["executions"].as_array().unwrap();
    each.iter()
        .map(|e| ExecutionId::parse(e["executionToken"].as_str().unwrap()).unwrap())
        .collect()
}

#[tokio::test]
async fn each_event_of_a_request_is_an_execution_of_its_own() {
    let world = World::start(CONFIG).await;
    let events = json!([{"id": "a", "kind": "open", "n": 1}, {"id": "b", "kind": "click", "n": 2}]);

    let told = world.deliver(&batch("1", &events)).await;
    world.settle().await;

    let tokens = tokens(&told);
    assert_eq!(told.body["executionToken"], json!(tokens[0]));
    for (token, (kind, n)) in tokens.iter().zip([("open", 1), ("click", 2)]) {
        let status = world.status(token).await;
        assert_eq!(
            (&status["status"], &status["webhookSummary"]["type"]),
            (&json!("completed"), &json!(kind))
        );
        let everhook_journal::Event::WebhookReceived(webhook) =
            &world.history(token).await[0].event
        else {
            panic!("a history begins with its webhook");
        };
        let body = world.parts.status.payloads.open(&webhook.body).await.unwrap();
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap()["n"], n);
    }
}

#[tokio::test]
async fn a_batch_sent_again_creates_none_twice_and_one_more_event_one_more() {
    let world = World::start(CONFIG).await;
    let first = json!([{"id": "a"}, {"id": "b"}]);
    let more = json!([{"id": "b"}, {"id": "c"}, {"id": "a"}]);

    let once = tokens(&world.deliver(&batch("1", &first)).await);
    let told = world.deliver(&batch("2", &more)).await;
    let again = tokens(&told);

    assert_eq!((&again[0], &again[2]), (&once[1], &once[0]));
    let known: Vec<_> = (0..3).map(|n| told.body["executions"][n]["duplicate"].clone()).collect();
    assert_eq!(known, [json!(true), json!(false), json!(true)]);
    assert_eq!(told.body["duplicate"], false);
    assert_eq!(world.deliver(&batch("3", &more)).await.body["duplicate"], true);
    assert_eq!(world.get("/executions").await.body["executions"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn what_is_no_batch_is_one_event_and_too_large_a_one_is_told_so() {
    let world = World::start(CONFIG).await;
    let many = json!(vec![json!({}); 10_001]);

    let odd = world.deliver(&delivery("1", r#"{"events": {}}"#)).await;
    let empty = world.deliver(&batch("2", &json!([]))).await;
    let one = world.deliver(&batch("3", &json!([{"id": "a"}]))).await;
    let many = world.deliver(&batch("4", &many)).await;

    assert_eq!((odd.status, empty.status, one.status), (202, 202, 202));
    assert!(one.body["executions"].is_null() && one.body["executionToken"].is_string());
    assert_eq!(many.status, 400);
    assert!(many.body["error"].as_str().unwrap().contains("more than 10000 events"));
}

#[tokio::test]
async fn a_large_batch_is_recorded_whole() {
    let world = World::start(CONFIG).await;
    let events: Vec<_> = (0..520).map(|id| json!({ "id": id })).collect();
    let large = batch("1", &json!(events));

    // On a slow machine it takes longer than a sender waits: sent again, it goes on.
    let mut told = world.deliver(&large).await;
    for _ in 0..30 {
        if told.status == 503 {
            told = world.deliver(&large).await;
        }
    }

    assert_eq!(tokens(&told).len(), 520);
}

#[tokio::test]
async fn the_senders_that_batch_are_known_without_being_told() {
    let world = World::start(
        r#"
        [sources.default]
        scheme = "hubspot-v1"
        secrets = ["file:secret"]

        [[workflows.default.steps]]
        name = "validate"
        run = "validate"
    "#,
    )
    .await;
    let events = json!([
        {"eventId": 1, "subscriptionId": 7, "subscriptionType": "contact.creation", "attemptNumber": 0},
        {"eventId": 2, "subscriptionId": 7, "subscriptionType": "contact.deletion", "attemptNumber": 0},
    ]);
    let mut retried = events.clone();
    retried[0]["attemptNumber"] = json!(1);

    let first = world.deliver(&delivery("1", &events.to_string())).await;
    let second = world.deliver(&delivery("2", &retried.to_string())).await;

    assert_eq!(tokens(&first), tokens(&second));
    let types: Vec<_> = {
        let mut types = Vec::new();
        for token in tokens(&first) {
            types.push(world.status(&token).await["webhookSummary"]["type"].clone());
        }
        types
    };
    assert_eq!(types, [json!("contact.creation"), json!("contact.deletion")]);
}

//! Events as AWS hands them over, and odd ones: no handler fails over what it can survive.

use aws_lambda_events::apigw::ApiGatewayV2httpResponse;
use aws_lambda_events::encodings::Body;
use everhook_journal::stream::{Batch, BatchResponse};
use everhook_processor::Invocation;
use serde_json::{Value, json};

use crate::world::{BEGINNING, PLAIN, World, delivery};

/// What functions behind an HTTP API are handed, one of the older format and one of a REST API among them.
const REQUESTS: [&str; 7] = [
    include_str!("events/example-apigw-v2-request-iam.json"),
    include_str!("events/example-apigw-v2-request-jwt-authorizer.json"),
    include_str!("events/example-apigw-v2-request-lambda-authorizer.json"),
    include_str!("events/example-apigw-v2-request-multi-value-parameters.json"),
    include_str!("events/example-apigw-v2-request-no-authorizer.json"),
    include_str!("events/example-apigw-sam-http-request.json"),
    include_str!("events/example-apigw-request.json"),
];

/// What functions behind a stream are handed.
const BATCHES: [&str; 3] = [
    include_str!("events/example-dynamodb-event.json"),
    include_str!("events/example-dynamodb-event-null-items.json"),
    include_str!("events/example-dynamodb-event-record-with-optional-fields.json"),
];

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Every event that is this one with one part gone, or with something else in its place.
fn odd(event: &Value) -> Vec<Value> {
    let mut odd = Vec::new();
    let mut pointers = vec![String::new()];
    while let Some(pointer) = pointers.pop() {
        let children: Vec<String> = match event.pointer(&pointer).unwrap() {
            Value::Object(map) => map.keys().map(|key| escaped(key)).collect(),
            Value::Array(items) => (0..items.len()).map(|index| index.to_string()).collect(),
            _ => Vec::new(),
        };
        pointers.extend(children.into_iter().map(|child| format!("{pointer}/{child}")));
        let others = [json!(null), json!(17), json!("odd"), json!([]), json!({}), json!([null])];
        for other in others {
            let mut changed = event.clone();
            *changed.pointer_mut(&pointer).unwrap() = other;
            odd.push(changed);
        }
        if let Some((parent, key)) = pointer.rsplit_once('/') {
            let mut changed = event.clone();
            if let Some(Value::Object(map)) = changed.pointer_mut(parent) {
                map.remove(&key.replace("~1", "/").replace("~0", "~"));
                map.insert("surprise".into(), json!({ "of": "a later version" }));
                odd.push(changed);
            }
        }
    }
    odd
}

fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// A caller's fault, told in JSON: no acceptance, no error of ours, no failed function.
#[track_caller]
fn is_refused(response: &ApiGatewayV2httpResponse, event: &Value) {
    let Some(Body::Text(body)) = &response.body else { panic!("{response:?} for {event}") };
    let body: Value = serde_json::from_str(body).unwrap();
    assert!(body["error"].is_string(), "{body} for {event}");
    assert!((400..500).contains(&response.status_code), "{} for {event}", response.status_code);
}

#[tokio::test]
async fn no_request_that_is_no_webhook_is_accepted_or_fails_a_function() {
    let world = World::start(PLAIN).await;
    for event in REQUESTS.map(parsed) {
        for event in odd(&event).into_iter().chain([event]) {
            let answer = everhook_ingest::handle_event(&world.parts.ingest, event.clone()).await;
            is_refused(&answer, &event);
            let answer = world.parts.status.handle_event(event.clone()).await;
            is_refused(&answer, &event);
        }
    }
}

#[tokio::test]
async fn a_webhook_in_an_odd_event_is_accepted_as_it_was_signed_or_refused() {
    let world = World::start(PLAIN).await;
    let signed = serde_json::to_value(world.signed(&delivery("1", r#"{"n": 1}"#))).unwrap();
    let mut accepted = 0;
    for event in odd(&signed) {
        let answer = everhook_ingest::handle_event(&world.parts.ingest, event.clone()).await;
        if answer.status_code == 202 {
            accepted += 1;
        } else {
            is_refused(&answer, &event);
        }
        if event["body"] != signed["body"] || event["headers"].get("x-webhook-signature").is_none()
        {
            assert_ne!(answer.status_code, 202, "{event}");
        }
    }
    // Most of an event is not looked at.
    assert!(accepted > 50, "{accepted}");
}

#[tokio::test]
async fn records_of_others_and_odd_ones_fail_no_batch() {
    let world = World::start(PLAIN).await;
    for event in BATCHES.map(parsed) {
        for event in odd(&event).into_iter().chain([event]) {
            let invocation = Invocation::from_json(event.clone());
            let deadline = BEGINNING + std::time::Duration::from_secs(60);
            let answer =
                everhook_processor::handle(&world.parts.supervisor, invocation, deadline).await;
            assert_eq!(answer, BatchResponse::Complete, "{event}");
            let batch = Batch::from_json(event.clone());
            let answer = everhook_projector::handle(&world.parts.projector, batch).await;
            assert_eq!(answer, BatchResponse::Complete, "{event}");
        }
    }
}

#[tokio::test]
async fn one_broken_record_of_25_and_an_expiry_leave_the_others_whole() {
    let world = World::start(PLAIN).await;
    let mut tokens = Vec::new();
    for number in 0..23 {
        tokens.push(world.accepted(&delivery(&number.to_string(), "{}")).await);
    }
    let mut records = world.records().await;
    records.retain(|record| record["dynamodb"]["Keys"]["sequence"]["N"] == "1");
    let workflow = records.iter().position(|record| {
        record["dynamodb"]["Keys"]["execution"]["S"].as_str().unwrap().starts_with("workflow#")
    });
    records.remove(workflow.unwrap());
    assert_eq!(records.len(), 23);
    records.insert(7, json!({ "eventName": "INSERT", "dynamodb": { "Keys": "broken" } }));
    let mut expired = records[3].clone();
    expired["eventName"] = json!("REMOVE");
    expired["userIdentity"] = json!({ "type": "Service", "principalId": "dynamodb.amazonaws.com" });
    records.insert(12, expired);

    assert_eq!(world.process(&records).await, BatchResponse::Complete);
    assert_eq!(world.project(&records).await, BatchResponse::Complete);

    for token in tokens {
        assert_eq!(world.status(&token).await["status"], "completed");
    }
}

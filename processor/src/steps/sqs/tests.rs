use serde_json::Value;

use super::super::aws::tests::outcome;
use super::super::loopback::answer;
use super::super::tests::refused;
use super::*;

fn sent() -> Vec<u8> {
    answer(
        "200 OK",
        "application/x-amz-json-1.0",
        br#"{"MessageId": "m-1", "QueueUrl": "https://q/1/orders"}"#,
    )
}

fn body(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test]
async fn a_message_is_the_body_with_the_idempotency_key_beside_it() {
    let options = json!({"queue": "https://q/1/orders", "delay": "1m"});

    let (result, request) = outcome("sqs", options, sent()).await;

    assert_eq!(result, Ok(json!({"messageId": "m-1"})));
    let key = json!({"DataType": "String", "StringValue": "ABCDEFGHIJKLMNOPQRSTUVWXYZ:it"});
    let expected = json!({
        "QueueUrl": "https://q/1/orders",
        "MessageBody": r#"{"id": 7, "who": "Ann"}"#,
        "DelaySeconds": 60,
        "MessageAttributes": {"idempotency-key": key},
    });
    assert_eq!(body(&request), expected);
}

#[tokio::test]
async fn a_queue_that_keeps_an_order_knows_a_message_again() {
    let options = json!({"queue": "https://q/1/a.fifo", "group": r"order-\(.id)", "jq": ".who"});

    let (_, request) = outcome("sqs", options, sent()).await;

    let body = body(&request);
    assert_eq!(body["MessageGroupId"], "order-7");
    assert_eq!(body["MessageDeduplicationId"], "ABCDEFGHIJKLMNOPQRSTUVWXYZ:it");
    assert_eq!(body["MessageBody"], "Ann");
}

#[tokio::test]
async fn the_url_of_a_name_is_asked_for_once() {
    let server = super::super::loopback::Server::answering(sent()).await;
    let step = server.called_by("sqs", json!({"queue": "orders"}));

    for _ in 0..2 {
        step.run(super::super::tests::input("{}")).await.unwrap();
    }

    let requests = server.requests.lock().unwrap().clone();
    let urls: Vec<_> = requests.iter().map(|r| body(r)["QueueUrl"].clone()).collect();
    assert_eq!(urls, [Value::Null, "https://q/1/orders".into(), "https://q/1/orders".into()]);
}

#[tokio::test]
async fn bytes_are_no_message() {
    let server = super::super::loopback::Server::answering(sent()).await;
    let step = server.called_by("sqs", json!({"queue": "https://q/1/orders"}));
    let input =
        Input { body: bytes::Bytes::from_static(b"\xff"), ..super::super::tests::input("") };
    let error = step.run(input).await.unwrap_err();
    assert_eq!((error.kind.as_str(), error.retryable), ("invalid", false));
}

#[test]
fn a_wrong_definition_is_told_at_its_key() {
    for (options, key) in [
        (json!({}), "queue"),
        (json!({"queue": "arn:aws:sqs:eu-central-1:1:orders"}), "queue"),
        (json!({"queue": "orders.fifo"}), "group"),
        (json!({"queue": "orders", "group": "a"}), "group"),
        (json!({"queue": "orders", "delay": "16m"}), "delay"),
        (json!({"queue": "orders", "delay": "1500ms"}), "delay"),
        (json!({"queue": "orders", "delay": 5}), "delay"),
        (json!({"queue": "orders.fifo", "group": "a", "delay": "5s"}), "delay"),
    ] {
        assert_eq!(refused("sqs", options).option.as_deref(), Some(key));
    }
}

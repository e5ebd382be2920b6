//! What the items of a webhook are billed by: DynamoDB counts write units of 1 KiB, names of attributes included.

use std::path::PathBuf;

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use aws_sdk_dynamodb::types::AttributeValue;
use everhook_journal::ExecutionId;
use everhook_journal::store::Item;
use everhook_journal::stream::BatchResponse;
use serde_json::Value;

use crate::world::{Delivery, World, item_bytes};

/// A write unit, in bytes.
const UNIT: usize = 1024;

/// What event 1 leaves free for attributes that are not written yet.
const ROOM: usize = 60;

/// Bodies of real senders, if they lie beside this repository.
const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/webhooks");

/// What API Gateway adds, and what every client sends that it forwards.
const GATEWAY: [(&str, &str); 7] = [
    ("accept-encoding", "gzip, deflate"),
    ("content-length", "1005"),
    ("host", "f3k2m8q1zx.execute-api.eu-central-1.amazonaws.com"),
    ("x-amzn-trace-id", "Root=1-6923a8bd-0f1e2d3c4b5a69788796a5b4"),
    ("x-forwarded-for", "140.82.115.12"),
    ("x-forwarded-port", "443"),
    ("x-forwarded-proto", "https"),
];

const GITHUB: [(&str, &str); 6] = [
    ("accept", "*/*"),
    ("content-type", "application/json"),
    ("user-agent", "GitHub-Hookshot/7d2a91c"),
    ("x-github-hook-id", "482915036"),
    ("x-github-hook-installation-target-id", "734120958"),
    ("x-github-hook-installation-target-type", "repository"),
];

const STRIPE: [(&str, &str); 4] = [
    ("accept", "*/*; q=0.5, application/json"),
    ("cache-control", "no-cache"),
    ("content-type", "application/json; charset=utf-8"),
    ("user-agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)"),
];

/// Headers of other senders. No dictionary was made from bodies of the last three.
const OTHERS: [(&str, &[(&str, &str)]); 7] = [
    (
        "AWS SNS",
        &[
            ("content-type", "text/plain; charset=UTF-8"),
            ("user-agent", "Amazon Simple Notification Service Agent"),
            ("x-amz-sns-message-id", "17dea24b-55c2-540b-8362-f916557af765"),
            ("x-amz-sns-message-type", "Notification"),
            ("x-amz-sns-topic-arn", "arn:aws:sns:us-east-2:295079676684:orders"),
        ],
    ),
    (
        "SendGrid",
        &[
            ("content-type", "application/json;charset=utf-8"),
            ("user-agent", "SendGrid Event API"),
            ("x-twilio-email-event-webhook-timestamp", "1795486844"),
        ],
    ),
    (
        "Slack",
        &[
            ("accept", "application/json,*/*"),
            ("content-type", "application/x-www-form-urlencoded"),
            ("user-agent", "Slackbot 1.0 (+https://api.slack.com/robots)"),
            ("x-slack-request-timestamp", "1795486844"),
        ],
    ),
    (
        "PayPal",
        &[
            ("accept", "*/*"),
            ("content-type", "application/json"),
            ("correlation-id", "f95843e2b1c07"),
            ("paypal-auth-algo", "SHA256withRSA"),
            ("paypal-auth-version", "v2"),
            (
                "paypal-cert-url",
                "https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-a5cafa77",
            ),
            ("paypal-transmission-id", "dfb3be50-fd74-11e4-8bf3-77339302725b"),
            ("paypal-transmission-time", "2026-11-24T02:20:44Z"),
            ("user-agent", "PayPal/AUHR-214.0-58843"),
        ],
    ),
    (
        "Square",
        &[
            ("content-type", "application/json"),
            ("square-environment", "Production"),
            ("square-initial-delivery-timestamp", "2026-11-24T02:20:44Z"),
            ("square-version", "2026-01-22"),
            ("user-agent", "Square Connect v2"),
        ],
    ),
    (
        "Adyen",
        &[
            ("accept", "*/*"),
            ("content-type", "application/json; charset=utf-8"),
            ("user-agent", "Adyen HttpClient 1.0"),
        ],
    ),
    (
        "PagerDuty",
        &[
            ("accept", "*/*"),
            ("content-type", "application/json; charset=utf-8"),
            ("user-agent", "PagerDuty-Webhook/V3.0"),
            ("x-webhook-id", "0a6b7c8d-9e0f-4a1b-8c2d-3e4f5a6b7c8d"),
            ("x-webhook-subscription", "PQK2M8F"),
        ],
    ),
];

const SOURCES: &str = r#"
    [sources.github]
    scheme = "github"
    secrets = ["file:secret"]

    [sources.stripe]
    scheme = "stripe"
    secrets = ["file:secret"]

    [sources.forgetful]
    scheme = "github"
    secrets = ["file:secret"]
    remember_bodies = false

    [sources.open]
    verify = "none"
    expect = "any"
"#;

/// The configuration that is shipped, whose default workflow has three steps, with these sources.
async fn world() -> World {
    let shipped = include_str!("../config/everhook.toml");
    World::start(&format!("{}{SOURCES}", shipped.replace("generated:default", "file:secret"))).await
}

/// Sends it with what the sender and the gateway add, and lets it end.
async fn ended(world: &World, delivery: &Delivery, headers: &[(&str, &str)]) -> ExecutionId {
    let token = world.send(requested(world, delivery, headers)).await.token();
    world.settle().await;
    token
}

/// Its request, with what the sender and the gateway add.
fn requested(
    world: &World,
    delivery: &Delivery,
    headers: &[(&str, &str)],
) -> ApiGatewayV2httpRequest {
    let mut request = world.signed(delivery);
    for (name, value) in headers.iter().chain(&GATEWAY) {
        let name = name.parse::<aws_lambda_events::http::HeaderName>().unwrap();
        request.headers.insert(name, value.parse().unwrap());
    }
    request.request_context.http.source_ip = Some("140.82.115.12".into());
    request.request_context.request_id = Some("LV7fzho-PHcEJPw=".into());
    request
}

/// The items of a history.
async fn items(world: &World, id: &ExecutionId) -> Vec<Item> {
    let query = world.engine.dynamodb().query().table_name("journal");
    let query = query.key_condition_expression("execution = :id");
    let id = AttributeValue::S(id.to_string());
    query.expression_attribute_values(":id", id).send().await.unwrap().items.unwrap()
}

fn delivery(source: &'static str, id: &str, kind: Option<&'static str>, body: &str) -> Delivery {
    Delivery { source, id: id.into(), event_type: kind, body: body.into() }
}

#[tokio::test]
async fn a_payment_and_a_push_of_1_kb_take_two_write_units_of_the_journal() {
    let world = world().await;
    let payment = include_str!("write_units/payment.json");
    let push = include_str!("write_units/push.json");
    let (stripe, github) = (
        delivery("stripe", "evt_3QKd2vLkdIwHu7ix0nQ8ZtYb", None, payment),
        delivery("github", "72d3162e-cc78-11e3-81ab-4c9367dc0958", Some("push"), push),
    );
    for (sent, headers) in [(stripe, STRIPE.as_slice()), (github, GITHUB.as_slice())] {
        assert!((1000..=UNIT).contains(&sent.body.len()), "{}", sent.body.len());

        let id = ended(&world, &sent, headers).await;

        assert_eq!(world.status(&id).await["status"], "completed");
        let bytes: Vec<_> = items(&world, &id).await.iter().map(item_bytes).collect();
        println!("{}: a body of {} bytes, items of {bytes:?}", sent.source, sent.body.len());
        // Event 1; and all steps with the end.
        assert_eq!(bytes.len(), 2);
        assert!(bytes[0] + ROOM <= UNIT && bytes[1] + ROOM <= UNIT, "{}: {bytes:?}", sent.source);
    }
}

/// Items of up to 1 KiB take a unit for each write, and event 1 another one for its entry in the index `received`.
#[tokio::test]
async fn a_webhook_costs_four_write_units_and_a_remembered_body_a_fifth() {
    let world = world().await;
    let (payment, push) =
        (include_str!("write_units/payment.json"), include_str!("write_units/push.json"));
    let delivery_id = "72d3162e-cc78-11e3-81ab-4c9367dc0958";
    for (sent, headers, units) in [
        (delivery("stripe", "evt_3QKd2vLkdIwHu7ix0nQ8ZtYb", None, payment), STRIPE.as_slice(), 4),
        (delivery("forgetful", delivery_id, Some("push"), push), GITHUB.as_slice(), 4),
        (delivery("github", delivery_id, Some("push"), push), GITHUB.as_slice(), 5),
    ] {
        let before = writes(&world);
        let token = world.send(requested(&world, &sent, headers)).await.token();
        let records = world.records().await;
        assert_eq!(world.process(&records).await, BatchResponse::Complete);
        let records = [records, world.records().await].concat();
        assert_eq!(world.project(&records).await, BatchResponse::Complete);

        assert_eq!(world.status(&token).await["status"], "completed");
        let items = items(&world, &token).await;
        assert!(items.iter().all(|item| item_bytes(item) <= UNIT), "{}", sent.source);
        let indexed = items.iter().filter(|item| item.contains_key("received")).count();
        assert_eq!(writes(&world) - before + indexed as u64, units, "{}", sent.source);
    }
}

/// How many writes were made.
fn writes(world: &World) -> u64 {
    let calls = world.parts.store.calls().snapshot();
    let of_writes =
        calls.iter().filter(|(name, _)| ["PutItem", "UpdateItem", "DeleteItem"].contains(name));
    of_writes.map(|(_, count)| count).sum()
}

#[tokio::test]
async fn event_1_keeps_what_the_sender_says_and_not_how_it_came() {
    let world = world().await;
    let push = delivery("github", "d-1", Some("push"), include_str!("write_units/push.json"));
    let id = ended(&world, &push, &GITHUB).await;
    let events = world.get(&format!("/executions/{id}/events")).await.body;
    let headers = events["events"][0]["event"]["WebhookReceived"]["headers"].as_object().unwrap();
    let names: Vec<_> = headers.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "accept",
            "content-type",
            "user-agent",
            "x-github-delivery",
            "x-github-event",
            "x-github-hook-id",
            "x-github-hook-installation-target-id",
            "x-github-hook-installation-target-type",
        ]
    );
}

#[tokio::test]
async fn event_1_keeps_the_addresses_that_a_request_was_forwarded_for() {
    let world = world().await;
    for (number, (forwarded, is_kept)) in
        [("140.82.115.12", false), ("203.0.113.9, 140.82.115.12", true)].into_iter().enumerate()
    {
        let push = delivery("github", &format!("d-{number}"), Some("push"), "{}");
        let mut request = world.signed(&push);
        request.headers.insert("x-forwarded-for", forwarded.parse().unwrap());
        request.request_context.http.source_ip = Some("140.82.115.12".into());
        let token = world.send(request).await.token();

        let events = world.get(&format!("/executions/{token}/events")).await.body;

        let webhook = &events["events"][0]["event"]["WebhookReceived"];
        let kept = webhook["headers"].get("x-forwarded-for").and_then(Value::as_str);
        assert_eq!(kept, is_kept.then_some(forwarded));
        assert_eq!(webhook["sourceIp"], "140.82.115.12");
    }
}

#[tokio::test]
async fn event_1_of_real_senders_takes_one_write_unit_up_to_1_kb() {
    let path = PathBuf::from(SHARED);
    let Ok(vectors) = std::fs::read_to_string(path.join("signature-vectors.json")) else {
        println!("skipped: {SHARED} is not there");
        return;
    };
    let world = world().await;
    let vectors: Value = serde_json::from_str(&vectors).unwrap();
    let mut measured = 0;
    for (sender, headers) in OTHERS {
        let vectors = vectors["vectors"].as_array().unwrap().iter();
        let valid = vectors.filter(|it| it["provider"] == sender && it["expected"] == "valid");
        let bodies = valid.filter_map(|it| it["body"].as_str());
        for body in bodies.filter(|body| body.len() > 150) {
            measured += 1;
            let sent = delivery("open", &format!("d-{measured}"), None, body);
            measure(&world, sender, &sent, headers).await;
        }
    }
    let files = std::fs::read_dir(path.join("payloads/github")).unwrap();
    for file in files.map(|file| file.unwrap().path()) {
        measured += 1;
        // GitHub sends no blanks.
        let body = compact(&std::fs::read_to_string(&file).unwrap());
        let sent = delivery("github", &format!("d-{measured}"), Some("push"), &body);
        measure(&world, file.file_name().unwrap().to_str().unwrap(), &sent, &GITHUB).await;
    }
    assert!(measured > 40, "{measured}");
}

async fn measure(world: &World, sender: &str, sent: &Delivery, headers: &[(&str, &str)]) {
    let id = ended(world, sent, headers).await;
    let bytes = item_bytes(&items(world, &id).await[0]);
    println!("{sender}: a body of {} bytes, event 1 of {bytes}", sent.body.len());
    assert!(sent.body.len() > UNIT || bytes + ROOM <= UNIT, "{sender}: {bytes}");
}

/// JSON without blanks between its tokens.
fn compact(json: &str) -> String {
    let (mut in_text, mut is_escaped) = (false, false);
    let is_kept = |c: &char| {
        let kept = in_text || !c.is_ascii_whitespace();
        in_text ^= *c == '"' && !is_escaped;
        is_escaped = *c == '\\' && !is_escaped;
        kept
    };
    json.chars().filter(is_kept).collect()
}

//! Bodies are kept exactly as received, byte for byte.

use serde_json::json;

use crate::world::{Delivery, World, delivery};

const ANY: &str = r#"
    [sources.default]
    verify = "none"
    expect = "any"

    [[workflows.default.steps]]
    name = "look"
    run = "validate"
    expect = "any"
"#;

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 7u64;
    let byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    std::iter::repeat_with(byte).take(length).collect()
}

fn ten_thousand_keys() -> Vec<u8> {
    let pairs: Vec<_> = (0..10_000).map(|n| format!("\"key-{n}\": {n}")).collect();
    format!("{{{}}}", pairs.join(", ")).into_bytes()
}

#[tokio::test]
async fn every_body_is_given_back_byte_for_byte() {
    let world = World::start(ANY).await;
    let bodies: [Vec<u8>; 8] = [
        Vec::new(),
        b"\xff\xfe\x00\x80".to_vec(),
        br#" {"escaped": "\u00e9\ud83d\ude00", "plain": "\u00fc", "n": 1.50, "big": 12345678901234567890123} "#.to_vec(),
        "{\"é\":\"ü\"}\r\n".into(),
        ten_thousand_keys(),
        format!("{{\"text\": \"{}\"}}", data_encoding::BASE64.encode(&noise(675 * 1024))).into_bytes(),
        noise(900 * 1024),
        b"{\"repeated\": \"".iter().copied().chain(vec![b'a'; 900 * 1024]).chain(*b"\"}").collect(),
    ];
    for (n, body) in bodies.into_iter().enumerate() {
        let sent = Delivery { body: body.clone(), ..delivery(&format!("d-{n}"), "") };
        let token = world.accepted(&sent).await;
        world.settle().await;

        let given = world.get(&format!("/executions/{token}/body")).await.body;

        assert_eq!(given, data_encoding::HEXLOWER.encode(&body), "body {n}");
        assert_eq!(world.status(&token).await["status"], "completed", "body {n}");
    }
}

#[tokio::test]
async fn ten_thousand_keys_are_counted_and_the_view_stays_small() {
    let world = World::start(ANY).await;
    let token =
        world.accepted(&Delivery { body: ten_thousand_keys(), ..delivery("d-1", "") }).await;
    world.settle().await;

    let summary = &world.status(&token).await["webhookSummary"];

    assert_eq!(summary["keyCount"], 10_000);
    assert_eq!(summary["keys"].as_array().unwrap().len(), 50);
}

#[tokio::test]
async fn a_large_body_is_stored_beside_the_journal() {
    let world = World::start(ANY).await;
    let body = noise(100 * 1024);
    let token = world.accepted(&Delivery { body, ..delivery("d-1", "") }).await;

    let events = world.get(&format!("/executions/{token}/events")).await.body;

    let kept = &events["events"][0]["event"]["WebhookReceived"]["body"];
    assert_eq!(kept["stored"]["bytes"], 100 * 1024);
}

#[tokio::test]
async fn floats_and_big_numbers_reach_the_steps_unchanged() {
    let config = r#"
        [sources.default]
        scheme = "hmac-sha256"
        secrets = ["file:secret"]

        [[workflows.default.steps]]
        name = "copy"
        run = "transform"
        jq = '[.amount, .big, .tiny]'
    "#;
    let world = World::start(config).await;
    let body = r#"{"amount": 99.990, "big": 12345678901234567890123, "tiny": 1e-400}"#;
    let token = world.accepted(&delivery("d-1", body)).await;
    world.settle().await;

    let execution = everhook_journal::Execution::fold(&world.history(&token).await);
    let execution = execution.unwrap().unwrap();
    let (_, output) = execution.line.outputs().next().unwrap();
    let output = world.parts.ingest.payloads.open(output).await.unwrap();

    assert_eq!(output, r#"[99.990,12345678901234567890123,1e-400]"#.as_bytes());
}

#[tokio::test]
async fn what_surrounds_the_body_is_kept_and_credentials_are_not() {
    let world = World::start(ANY).await;
    let mut request = world.signed(&delivery("d-1", "{}"));
    request.raw_query_string = Some("a=1&b=%20".into());
    request.request_context.http.source_ip = Some("192.0.2.7".into());
    for (name, value) in [("user-agent", "Hookshot"), ("authorization", "Bearer canary")] {
        request.headers.insert(name, value.parse().unwrap());
    }
    let token = world.send(request).await.token();

    let events = world.get(&format!("/executions/{token}/events")).await.body;

    let webhook = &events["events"][0]["event"]["WebhookReceived"];
    assert_eq!(webhook["query"], "a=1&b=%20");
    assert_eq!(webhook["sourceIp"], "192.0.2.7");
    assert_eq!(webhook["method"], "POST");
    assert_eq!(webhook["headers"]["user-agent"], "Hookshot");
    assert_eq!(webhook["headers"]["authorization"], json!(null));
    assert!(!events.to_string().contains("canary"));
}

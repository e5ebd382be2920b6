//! What a receiver is trusted for: what it refuses. Nothing of it is written.

use aws_lambda_events::http::{HeaderValue, Method};
use serde_json::json;

use crate::world::{Delivery, World, delivery, request};

const SOURCES: &str = r#"
    [settings]
    body_bytes_max = 1000

    [sources.default]
    scheme = "hmac-sha256"
    secrets = ["file:secret"]

    [sources.github]
    scheme = "github"
    secrets = ["file:secret", "file:other-secret"]

    [sources.standard]
    scheme = "standard-webhooks"
    secrets = ["file:secret"]

    [sources.open]
    verify = "none"
    expect = "any"

    [[workflows.default.steps]]
    name = "look"
    run = "validate"
    expect = "any"
"#;

const SIGNED: [&str; 3] = ["default", "github", "standard"];

fn from(source: &'static str) -> Delivery {
    Delivery { source, ..delivery("d-1", r#"{"a": 1}"#) }
}

fn signature_header(source: &str) -> &'static str {
    match source {
        "default" => "x-webhook-signature",
        "github" => "x-hub-signature-256",
        _ => "webhook-signature",
    }
}

#[track_caller]
fn assert_refused(told: &crate::world::Told, status: i64, why: &str) {
    assert_eq!(told.status, status, "{why}: {:?}", told.body);
    assert!(told.body["error"].is_string(), "{why}");
}

async fn assert_nothing_written(world: &World) {
    assert_eq!(world.records().await, Vec::<serde_json::Value>::new());
    assert_eq!(world.get("/executions").await.body["executions"], json!([]));
}

/// A world whose stream has been read up to its definitions.
async fn world() -> World {
    let world = World::start(SOURCES).await;
    world.records().await;
    world
}

#[tokio::test]
async fn what_is_not_signed_for_these_bytes_is_401_and_leaves_nothing() {
    let world = world().await;
    for source in SIGNED {
        let header = signature_header(source);
        let good = || world.signed(&from(source));

        let mut missing = good();
        missing.headers.remove(header);
        let mut empty = good();
        empty.headers.insert(header, HeaderValue::from_static(""));
        let mut wrong = good();
        let other = Delivery { body: b"{}".to_vec(), ..from(source) };
        wrong.headers = world.signed(&other).headers;
        let mut twice = good();
        let value = twice.headers[header].clone();
        twice.headers.append(header, value);
        let mut joined = good();
        let value = joined.headers[header].to_str().unwrap().to_owned();
        joined.headers.insert(header, format!("{value},{value}").parse().unwrap());
        let mut changed = good();
        changed.body = Some(r#"{"a": 2}"#.into());
        let mut unknown = good();
        unknown.raw_path = Some("/webhook/nobody".into());
        let mut other_source = good();
        other_source.raw_path =
            Some(if source == "standard" { "/webhook/github" } else { "/webhook/standard" }.into());

        for (why, request) in [
            ("missing", missing),
            ("empty", empty),
            ("of another body", wrong),
            ("twice", twice),
            ("joined", joined),
            ("changed body", changed),
            ("unknown source", unknown),
            ("other source", other_source),
        ] {
            assert_refused(&world.send(request).await, 401, &format!("{source}, {why}"));
        }
    }
    assert_nothing_written(&world).await;
}

#[tokio::test]
async fn an_unknown_source_and_a_wrong_signature_are_told_alike() {
    let world = world().await;
    let mut unknown = world.signed(&from("github"));
    unknown.raw_path = Some("/webhook/nobody".into());
    let mut wrong = world.signed(&from("github"));
    wrong.body = Some("{}".into());
    assert_eq!(world.send(unknown).await, world.send(wrong).await);
}

#[tokio::test]
async fn every_active_secret_is_accepted_and_none_other() {
    let world = world().await;
    for (secret, status) in [("another secret", 202), ("a third secret", 401)] {
        let key = everhook_journal::secret::Secret::new("env:TEST", secret);
        let key = everhook_ingest::signature::Key::new(&key, secret.as_bytes()).unwrap();
        let digits = data_encoding::HEXLOWER.encode(&key.sign(&[b"{}"]));
        let headers = [("x-hub-signature-256".to_owned(), format!("sha256={digits}"))];
        assert_eq!(world.send(request("github", &headers, b"{}")).await.status, status, "{secret}");
    }
}

#[tokio::test]
async fn header_names_are_compared_without_case() {
    let world = world().await;
    let signed = world.signed(&from("github"));
    let event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": "/webhook/github", "rawQueryString": "",
        "headers": { "X-HUB-Signature-256": signed.headers["x-hub-signature-256"].to_str().unwrap() },
        "requestContext": { "http": { "method": "POST", "path": "/webhook/github" }, "requestId": "r" },
        "body": "{\"a\": 1}", "isBase64Encoded": false
    });
    let told = world.send(serde_json::from_value(event).unwrap()).await;
    assert_eq!(told.status, 202, "{:?}", told.body);
}

#[tokio::test]
async fn a_base64_body_is_verified_as_the_bytes_it_stands_for() {
    let world = world().await;
    let mut encoded = world.signed(&from("github"));
    encoded.body = Some(data_encoding::BASE64.encode(br#"{"a": 1}"#));
    encoded.is_base64_encoded = true;
    assert_eq!(world.send(encoded).await.status, 202);

    let mut broken = world.signed(&from("github"));
    broken.is_base64_encoded = true;
    assert_refused(&world.send(broken).await, 400, "not base64");
}

#[tokio::test]
async fn not_json_where_json_is_expected_is_400() {
    let world = world().await;
    for body in ["not json", "", "a=b&c=d", "{\"a\":", "{} trailing"] {
        let told = world.deliver(&Delivery { body: body.into(), ..from("github") }).await;
        assert_refused(&told, 400, body);
    }
    assert_nothing_written(&world).await;
}

#[tokio::test]
async fn forms_and_arrays_are_accepted_where_the_source_says_so() {
    let world = world().await;
    for body in ["a=b&c=d", "", "[1]", "null", "{}"] {
        let token = world
            .accepted(&Delivery { id: format!("of {body}"), body: body.into(), ..from("open") })
            .await;
        world.settle().await;
        assert_eq!(world.status(&token).await["status"], "completed", "{body}");
    }
}

#[tokio::test]
async fn the_limit_is_exact_and_nothing_is_cut() {
    let world = world().await;
    let body = |length: usize| format!("\"{}\"", "x".repeat(length - 2)).into_bytes();
    for (length, status) in [(999, 202), (1000, 202), (1001, 413), (5000, 413)] {
        let delivery = Delivery { body: body(length), ..delivery(&format!("d-{length}"), "") };
        assert_eq!(world.deliver(&delivery).await.status, status, "{length}");
        let mut encoded = world.signed(&delivery);
        encoded.body = Some(data_encoding::BASE64.encode(&body(length)));
        encoded.is_base64_encoded = true;
        assert_eq!(world.send(encoded).await.status, status, "{length} in base64");
    }
}

#[tokio::test]
async fn other_methods_paths_and_encodings_are_told_what_to_do() {
    let world = world().await;
    let mut get = world.signed(&from("github"));
    get.request_context.http.method = Method::GET;
    let mut elsewhere = world.signed(&from("github"));
    elsewhere.raw_path = Some("/hooks/github".into());
    let mut packed = world.signed(&from("github"));
    packed.headers.insert("content-encoding", HeaderValue::from_static("gzip"));

    assert_refused(&world.send(get).await, 405, "GET");
    assert_refused(&world.send(elsewhere).await, 404, "elsewhere");
    assert_refused(&world.send(packed).await, 415, "gzip");
    assert_nothing_written(&world).await;
}

#[tokio::test]
async fn odd_requests_are_answered_and_never_panic() {
    let world = world().await;
    let mut no_headers = world.signed(&from("github"));
    no_headers.headers.clear();
    let mut no_body = world.signed(&from("github"));
    no_body.body = None;
    let mut latin = world.signed(&from("github"));
    latin.headers.insert("x-hub-signature-256", HeaderValue::from_bytes(b"sha256=\xe9").unwrap());
    for request in [no_headers, no_body, latin, Default::default()] {
        let told = world.send(request).await;
        assert!((400..500).contains(&told.status), "{told:?}");
    }
}

#[tokio::test]
async fn a_number_as_type_is_no_fault() {
    let world = world().await;
    let body = r#"{"type": 7, "source": 3.5}"#;
    let token = world.accepted(&Delivery { body: body.into(), ..from("default") }).await;
    world.settle().await;
    let status = world.status(&token).await;
    assert_eq!(
        (&status["status"], &status["webhookSummary"]["type"]),
        (&json!("completed"), &json!(null))
    );
}

#[tokio::test]
async fn an_old_standard_webhook_is_refused_and_its_redelivery_in_time_is_not() {
    let world = world().await;
    let old = world.signed(&from("standard"));
    world.pass(std::time::Duration::from_secs(302));
    assert_refused(&world.send(old).await, 401, "old");
    assert_eq!(world.deliver(&from("standard")).await.status, 202);
}

/// One change to a signed request at a time: a bit of the body, or a character of a signature.
#[tokio::test]
async fn a_mutated_request_is_never_accepted() {
    let world = world().await;
    for source in SIGNED {
        let delivery = from(source);
        for bit in 0..delivery.body.len() * 8 {
            let mut body = delivery.body.clone();
            body[bit / 8] ^= 1 << (bit % 8);
            let mut mutated = world.signed(&delivery);
            mutated.body = Some(data_encoding::BASE64.encode(&body));
            mutated.is_base64_encoded = true;
            assert_eq!(world.send(mutated).await.status, 401, "{source}, bit {bit}");
        }
        let header = signature_header(source);
        let value = world.signed(&delivery).headers[header].to_str().unwrap().to_owned();
        for place in 0..value.len() {
            let mut bytes = value.clone().into_bytes();
            bytes[place] = if bytes[place] == b'0' { b'1' } else { b'0' };
            let mut mutated = world.signed(&delivery);
            mutated.headers.insert(header, HeaderValue::from_bytes(&bytes).unwrap());
            // In base64 the last character before the padding has bits that stand for nothing,
            // and a decoder that ignored them would accept it here.
            assert_eq!(world.send(mutated).await.status, 401, "{source}, character {place}");
        }
    }
    assert_nothing_written(&world).await;
}

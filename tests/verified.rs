//! What a signature does not cover: it is refused, or the history says so.

use std::cell::Cell;
use std::collections::BTreeSet;

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use data_encoding::BASE64;
use everhook_ingest::signature::Key;
use everhook_journal::event::{Covers, Event};
use everhook_journal::{ExecutionId, SourceName};
use serde_json::json;

use crate::world::{Delivery, World, delivery, request};

const SOURCES: &str = r#"
    [sources.default]
    scheme = "hmac-sha256"
    secrets = ["file:secret"]

    [sources.pay]
    scheme = "adyen-item"
    secrets = ["generated:x"]

    [sources.call]
    scheme = "twilio"
    secrets = ["file:secret"]
    public_url = "https://hooks.example.com/webhook/call"

    [sources.token]
    scheme = "bearer"
    secrets = ["file:secret"]

    [sources.topic]
    scheme = "sns"
    topics = ["arn:aws:sns:eu-central-1:123456789012:topic"]

    [sources.odd]
    scheme = "github"
    secrets = ["file:secret"]
    content_encoding = "utf-8"
    skip_bom = true

    [[workflows.default.steps]]
    name = "look"
    run = "validate"
    expect = "any"
"#;

fn key(world: &World, source: &str) -> Key {
    world.parts.ingest.sources.find(&SourceName::new(source)).scheme.keys()[0].clone()
}

async fn covers(world: &World, id: &ExecutionId) -> Option<Covers> {
    match &world.history(id).await[0].event {
        Event::WebhookReceived(webhook) => webhook.verified.covers,
        other => panic!("{other:?} begins a history"),
    }
}

async fn count(world: &World) -> usize {
    world.get("/executions").await.body["executions"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_signed_item_brings_no_unsigned_one_with_it() {
    let world = World::start(SOURCES).await;
    let signature = key(&world, "pay").sign(&[b"P1::::1130:EUR:CAPTURE:true"]);
    let signature = BASE64.encode(&signature);
    let item = format!(
        r#"{{"pspReference":"P1","amount":{{"value":1130,"currency":"EUR"}},"eventCode":"CAPTURE","success":"true","additionalData":{{"hmacSignature":"{signature}"}}}}"#
    );
    let forged = r#""notificationItems":[{"NotificationRequestItem":{"pspReference":"P2","eventCode":"CAPTURE"}}]"#;
    let both = item.replacen('{', &format!("{{{forged},"), 1);
    let wrapped =
        format!(r#"{{"live":"true","notificationItems":[{{"NotificationRequestItem":{item}}}]}}"#);

    let refused = world.send(request("pay", &[], both.as_bytes())).await;
    assert_eq!(refused.status, 401);
    assert_eq!(count(&world).await, 0);

    let accepted = world.send(request("pay", &[], wrapped.as_bytes())).await.token();
    assert_eq!(covers(&world, &accepted).await, Some(Covers::Fields));
    assert_eq!(count(&world).await, 1);
}

/// A form as its sender would send it, and others with the same signature.
fn forms() -> [&'static str; 6] {
    [
        "Body=hello&From=%2B1415&To=%2B1416",
        "To=%2B1416&From=%2B1415&Body=hello",
        "Bodyh=ello&From=%2B1415&To=%2B1416",
        "B=odyhello&From=%2B1415&To=%2B1416",
        "Body=helloFrom%2B1415&To=%2B1416",
        "Body=hello&Body=hello&From=%2B1415&To=%2B1416",
    ]
}

fn called(world: &World, form: &str, id: Option<&str>) -> ApiGatewayV2httpRequest {
    let text = "https://hooks.example.com/webhook/callBodyhelloFrom+1415To+1416";
    let signature = BASE64.encode(&key(world, "call").sign(&[text.as_bytes()]));
    let mut headers = vec![
        ("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()),
        ("x-twilio-signature".to_owned(), signature),
    ];
    headers.extend(id.map(|id| ("i-twilio-idempotency-token".to_owned(), id.to_owned())));
    request("call", &headers, form.as_bytes())
}

#[tokio::test]
async fn forms_with_one_signature_are_one_execution() {
    for id in [None, Some("one")] {
        let world = World::start(SOURCES).await;
        let mut tokens = BTreeSet::new();
        for form in forms() {
            let told = world.send(called(&world, form, id)).await;
            assert_eq!(told.status, 202, "{form}: {:?}", told.body);
            tokens.insert(told.token());
        }
        assert_eq!((tokens.len(), count(&world).await), (1, 1));
        assert_eq!(covers(&world, tokens.first().unwrap()).await, Some(Covers::Form));
    }
}

#[tokio::test]
async fn a_form_sent_again_under_another_id_is_a_repeat() {
    let world = World::start(SOURCES).await;
    let first = world.send(called(&world, forms()[0], Some("one"))).await.token();
    let second = world.send(called(&world, forms()[2], Some("two"))).await.token();
    assert_eq!(world.status(&second).await["repeatOf"], json!(first));
}

#[tokio::test]
async fn a_history_says_what_its_signature_covers() {
    let world = World::start(SOURCES).await;
    let signed = world.accepted(&delivery("1", "{}")).await;
    let token = Delivery { source: "token", ..delivery("1", "{}") };
    let token = world.accepted(&token).await;

    assert_eq!(covers(&world, &signed).await, None);
    assert_eq!(covers(&world, &token).await, Some(Covers::Nothing));
    let events = world.get(&format!("/executions/{token}/events")).await.body.to_string();
    assert!(events.contains(r#""covers":"nothing""#), "{events}");
}

#[tokio::test]
async fn a_place_is_taken_only_by_what_is_verified() {
    let world = World::start(SOURCES).await;
    let asked = Cell::new(0);
    let admit = || {
        asked.set(asked.get() + 1);
        Ok(())
    };
    let forged = json!({
        "Type": "Notification", "MessageId": "1", "Message": "m", "SignatureVersion": "2",
        "TopicArn": "arn:aws:sns:s3:123456789012:topic", "Timestamp": world.now(),
        "Signature": BASE64.encode(&[1; 256]),
        "SigningCertURL": "https://sns.s3.amazonaws.com/x.pem",
    });
    for (source, body) in
        [("topic", forged.to_string()), ("default", "{}".into()), ("nobody", "{}".into())]
    {
        let unsigned = request(source, &[], body.as_bytes());
        let response = everhook_ingest::handle_if(&world.parts.ingest, unsigned, admit).await;
        assert_eq!((response.status_code, asked.get()), (401, 0), "{source}");
    }

    let signed = world.signed(&delivery("1", "{}"));
    let response = everhook_ingest::handle_if(&world.parts.ingest, signed, admit).await;

    assert_eq!((response.status_code, asked.get()), (202, 1));
}

#[tokio::test]
async fn a_source_reads_what_its_sender_writes_beside_json() {
    let world = World::start(SOURCES).await;
    let send = |source: &'static str, encoding: &str, body: &str| {
        let mut sent = world.signed(&Delivery { source, ..delivery(body, body) });
        sent.headers.insert("content-encoding", encoding.parse().unwrap());
        world.send(sent)
    };
    assert_eq!(send("odd", "UTF-8", "{}").await.status, 202);
    assert_eq!(send("odd", "identity", r#"{"a":1}"#).await.status, 202);
    assert_eq!(send("odd", "gzip", "{}").await.status, 415);
    assert_eq!(send("default", "UTF-8", "{}").await.status, 415);

    let marked = "\u{feff}{\"marked\":1}";
    assert_eq!(send("default", "identity", marked).await.status, 400);
    let token = send("odd", "identity", marked).await.token();
    let Event::WebhookReceived(webhook) = &world.history(&token).await[0].event else { panic!() };
    let body = world.parts.status.payloads.open(&webhook.body).await.unwrap();
    assert_eq!(&body[..], br#"{"marked":1}"#);
}

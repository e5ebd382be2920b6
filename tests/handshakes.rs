//! What senders ask before they send: answered for configured sources, and never recorded.

use aws_lambda_events::encodings::Body;
use aws_lambda_events::http::Method;
use serde_json::json;

use crate::world::{Delivery, World, delivery, request};

const SOURCES: &str = r#"
    [sources.dropbox]
    scheme = "dropbox"
    secrets = ["file:secret"]

    [sources.trello]
    scheme = "trello"
    secrets = ["file:secret"]
    public_url = "https://hooks.example.com/webhook/trello"

    [sources.slack]
    scheme = "slack"
    secrets = ["file:secret"]

    [sources.github]
    scheme = "github"
    secrets = ["file:secret"]

    [[workflows.default.steps]]
    name = "look"
    run = "validate"
    expect = "any"
"#;

async fn asked(world: &World, method: Method, source: &str, query: &str) -> (i64, String, String) {
    let mut request = request(source, &[], b"");
    request.request_context.http.method = method;
    request.raw_query_string = Some(query.to_owned());
    let told = everhook_ingest::handle(&world.parts.ingest, request).await;
    let header = |name: &str| {
        told.headers.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    let body = match told.body {
        Some(Body::Text(text)) => text,
        _ => String::new(),
    };
    let headers = format!("{} {}", header("content-type"), header("x-content-type-options"));
    (told.status_code, headers.trim().to_owned(), body)
}

#[tokio::test]
async fn a_strangers_text_is_sent_back_as_text_and_only_by_a_source_whose_sender_asks() {
    let world = World::start(SOURCES).await;
    let query = "challenge=%3Cscript%3E";

    let (status, headers, body) = asked(&world, Method::GET, "dropbox", query).await;
    assert_eq!((status, &*headers, &*body), (200, "text/plain nosniff", "<script>"));
    assert_eq!(asked(&world, Method::HEAD, "trello", "").await.0, 200);

    for (method, source) in [
        (Method::GET, "github"),
        (Method::HEAD, "github"),
        (Method::GET, "slack"),
        (Method::GET, "nobody"),
        (Method::OPTIONS, "dropbox"),
        (Method::PUT, "dropbox"),
    ] {
        assert_eq!(asked(&world, method, source, query).await.0, 405, "{source}");
    }
    assert_eq!(asked(&world, Method::GET, "dropbox", "").await.0, 405);
    assert_eq!(world.get("/executions").await.body["executions"], json!([]));
}

#[tokio::test]
async fn a_signed_question_is_answered_only_if_the_signature_fits() {
    let world = World::start(SOURCES).await;
    let body = br#"{"type": "url_verification", "challenge": "abc"}"#.to_vec();
    let question = Delivery { source: "slack", body, ..delivery("d-1", "") };

    let signed = world.signed(&question);
    let mut forged = signed.clone();
    forged.body = Some(r#"{"type": "url_verification", "challenge": "abd"}"#.into());

    let told = everhook_ingest::handle(&world.parts.ingest, signed).await;
    assert_eq!(told.status_code, 200);
    assert_eq!(told.body, Some(Body::Text("abc".into())));
    assert_eq!(world.send(forged).await.status, 401);
    assert_eq!(world.get("/executions").await.body["executions"], json!([]));
}

#[tokio::test]
async fn a_webhook_of_a_source_with_a_handshake_is_recorded() {
    let world = World::start(SOURCES).await;
    for source in ["slack", "dropbox", "trello"] {
        let webhook = Delivery { source, ..delivery(source, r#"{"type": "event_callback"}"#) };
        assert_eq!(world.send(world.signed(&webhook)).await.status, 202, "{source}");
    }
}

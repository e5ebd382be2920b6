//! What an `http` step sends, judged by our own receiver.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use tokio::net::TcpListener;

use crate::world::{World, delivery, request};

/// What a target received, and what it answers.
struct Target {
    received: Mutex<Vec<(HeaderMap, Bytes)>>,
    answer: (StatusCode, &'static str),
}

async fn target(answer: (StatusCode, &'static str)) -> (Arc<Target>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let target = Arc::new(Target { received: Mutex::default(), answer });
    let app = Router::new().fallback(receive).with_state(target.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (target, url)
}

async fn receive(
    State(target): State<Arc<Target>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, [(&'static str, &'static str); 1]) {
    target.received.lock().unwrap().push((headers, body));
    (target.answer.0, [("retry-after", target.answer.1)])
}

/// A workflow that calls this URL, and receivers that know one of its secrets each, or none.
fn config(url: &str, sign: &str) -> String {
    let receiver = |name: &str, secret: &str| {
        format!(
            "[sources.{name}]\nscheme = \"standard-webhooks\"\nsecrets = [\"{secret}\"]\n\
             workflow = \"look\"\n"
        )
    };
    [
        "[settings]\nprivate_hosts = [\"127.0.0.1\"]\n".to_owned(),
        receiver("knows-new", "generated:new"),
        receiver("knows-old", "generated:old"),
        receiver("knows-none", "generated:third"),
        "[sources.default]\nscheme = \"hmac-sha256\"\nsecrets = [\"file:secret\"]\n".to_owned(),
        "[[workflows.look.steps]]\nname = \"look\"\nrun = \"validate\"\n".to_owned(),
        format!(
            "[[workflows.default.steps]]\nname = \"call\"\nrun = \"http\"\nurl = \"{url}\"\n{sign}\n"
        ),
    ]
    .concat()
}

#[tokio::test]
async fn a_receiver_that_knows_one_of_the_secrets_accepts_what_is_sent() {
    let (target, url) = target((StatusCode::OK, "0")).await;
    let sign = "sign = { secrets = [\"generated:new\", \"generated:old\"] }";
    let world = World::start(&config(&url, sign)).await;
    let sent = world.accepted(&delivery("1", r#"{"a": 1.50}"#)).await;
    world.settle().await;
    assert_eq!(world.story(&sent).await.last().unwrap(), "ExecutionCompleted");

    let (headers, body) = target.received.lock().unwrap().pop().unwrap();
    assert_eq!(body, r#"{"a": 1.50}"#);
    assert_eq!(headers["webhook-id"], *format!("{sent}:call"));
    let text = |(name, value): (&_, &axum::http::HeaderValue)| {
        (ToString::to_string(name), value.to_str().unwrap().to_owned())
    };
    let headers: Vec<_> = headers.iter().map(text).collect();
    let judged = |source, body: &'static [u8]| world.send(request(source, &headers, body));
    assert_eq!(judged("knows-new", br#"{"a": 1.50}"#).await.status, 202);
    assert_eq!(judged("knows-old", br#"{"a": 1.50}"#).await.status, 202);
    assert_eq!(judged("knows-none", br#"{"a": 1.50}"#).await.status, 401);
    assert_eq!(judged("knows-new", br#"{"a": 1.51}"#).await.status, 401);
}

#[tokio::test]
async fn the_next_attempt_waits_as_long_as_the_target_asks() {
    let (target, url) = target((StatusCode::TOO_MANY_REQUESTS, "300")).await;
    let retry = "retry = { attempts = 2, first = \"1s\" }";
    let world = World::start(&config(&url, retry)).await;
    world.accepted(&delivery("1", "{}")).await;
    world.settle().await;
    let calls = || target.received.lock().unwrap().len();

    world.live_through(Duration::from_secs(290), Duration::from_secs(10)).await;
    assert_eq!(calls(), 1);

    world.live_through(Duration::from_secs(20), Duration::from_secs(10)).await;
    assert_eq!(calls(), 2);
}

//! The server's own door, and steps that go out through HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use everhook::local::door::Limits;
use serde_json::{Value, json};

use crate::standing::Standing;

/// A target that refuses twice, accepts, takes its time, or never answers; it says how often it was called.
async fn target(State(calls): State<Arc<AtomicU32>>, request: Request) -> (StatusCode, String) {
    match request.uri().path() {
        "/hangs" => std::future::pending().await,
        "/count" => (StatusCode::OK, calls.load(Ordering::SeqCst).to_string()),
        "/slow" => {
            calls.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(2_500)).await;
            (StatusCode::OK, "done".into())
        }
        "/flaky" if calls.fetch_add(1, Ordering::SeqCst) < 2 => {
            (StatusCode::SERVICE_UNAVAILABLE, "not now".into())
        }
        _ => {
            let key = request.headers()["idempotency-key"].to_str().unwrap().to_owned();
            (StatusCode::OK, key)
        }
    }
}

async fn start_target() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().fallback(target).with_state(Arc::new(AtomicU32::new(0)));
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

fn config(target: SocketAddr) -> String {
    let source = |name: &str, path: &str, retry: &str| {
        format!(
            r#"
            [sources.{name}]
            verify = "none"
            workflow = "{name}"

            [[workflows.{name}.steps]]
            name = "call"
            run = "http"
            url = "http://{target}{path}"
            timeout = "4s"
            retry = {retry}
            "#
        )
    };
    let thrice = r#"{ attempts = 3, backoff = "fixed", first = "10ms" }"#;
    [
        "[settings]\nprivate_hosts = [\"127.0.0.1\"]\n".to_owned(),
        source("fine", "/fine", thrice),
        source("flaky", "/flaky", thrice),
        source("hangs", "/hangs", "{ attempts = 1 }"),
        source("slow", "/slow", "{ attempts = 1 }"),
    ]
    .join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_hangs_holds_up_nobody_else() {
    let running = Standing::start(&config(start_target().await), Limits::default()).await;
    let hanging = running.accepted("hangs", "{}").await;
    let fine = running.accepted("fine", "{}").await;

    let done = running.ended(&fine).await;

    assert_eq!(done["status"], "completed");
    assert_ne!(running.status(&hanging).await["status"], "failed");
    let failed = running.ended(&hanging).await;
    assert_eq!(
        (&failed["status"], &failed["error"]["kind"]),
        (&json!("failed"), &json!("timeout"))
    );
    running.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_refuses_twice_is_called_three_times() {
    let running = Standing::start(&config(start_target().await), Limits::default()).await;
    let token = running.accepted("flaky", "{}").await;

    let done = running.ended(&token).await;

    assert_eq!(done["status"], "completed");
    assert_eq!(done["steps"][0]["attempts"], 3);
    running.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_cancelled_and_redriven_in_flight_is_made_once() {
    let target = start_target().await;
    let running = Standing::start(&config(target), Limits::default()).await;
    let token = running.accepted("slow", "{}").await;
    for action in ["cancel", "redrive"] {
        // The driver notices the first before the second comes.
        tokio::time::sleep(Duration::from_millis(700)).await;
        let asked = running.client.post(running.url(&format!("/executions/{token}/{action}")));
        assert_eq!(asked.send().await.unwrap().status(), 200, "{action}");
    }

    let done = running.ended(&token).await;

    assert_eq!(done["status"], "completed");
    let count = running.client.get(format!("http://{target}/count")).send().await.unwrap();
    assert_eq!(count.text().await.unwrap(), "1");
    running.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_door_answers_in_json_whatever_is_asked() {
    let running = Standing::start(&config(start_target().await), Limits::default()).await;
    let asked = |method: reqwest::Method, path: &str| {
        let request = running.client.request(method, running.url(path));
        async { request.send().await.unwrap() }
    };
    for (method, path, status) in [
        (reqwest::Method::GET, "/", 404),
        (reqwest::Method::GET, "/webhook/fine", 405),
        (reqwest::Method::POST, "/status/AAAAAAAAAAAAAAAAAAAAAAAAAA", 405),
        (reqwest::Method::GET, "/status/AAAAAAAAAAAAAAAAAAAAAAAAAA", 404),
        (reqwest::Method::GET, "/executions", 200),
        (reqwest::Method::POST, "/webhook/nobody", 401),
    ] {
        let response = asked(method, path).await;
        assert_eq!(response.status(), status, "{path}");
        let text = response.text().await.unwrap();
        assert!(serde_json::from_str::<Value>(&text).is_ok(), "{path}: {text}");
    }
    let large = running.client.post(running.url("/webhook/fine")).body(vec![b'x'; 1024 * 1024 + 1]);
    assert_eq!(large.send().await.unwrap().status(), 413);
    running.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_with_a_name_of_its_own_cannot_ask_operators_questions() {
    let running = Standing::start(&config(start_target().await), Limits::default()).await;
    let request = running.client.get(running.url("/executions")).header("host", "evil.example");
    assert_eq!(request.send().await.unwrap().status(), 403);
    running.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_forwarded_is_no_operators() {
    let running = Standing::start(&config(start_target().await), Limits::default()).await;
    let token = running.accepted("fine", "{}").await;
    for (name, value) in [
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-for", "127.0.0.1"),
        ("forwarded", "for=203.0.113.9"),
        ("via", "1.1 proxy"),
        ("x-real-ip", "203.0.113.9"),
        ("cf-connecting-ip", "203.0.113.9"),
    ] {
        for (method, path, direct) in [
            (reqwest::Method::GET, "/executions".to_owned(), 200),
            (reqwest::Method::GET, format!("/executions/{token}/events"), 200),
            (reqwest::Method::GET, "/workflows".to_owned(), 200),
            (reqwest::Method::GET, "/sources/fine/quarantine".to_owned(), 200),
            (reqwest::Method::POST, "/sources/fine/quarantine/clear".to_owned(), 200),
            (reqwest::Method::POST, format!("/executions/{token}/redrive"), 409),
        ] {
            let ask = || running.client.request(method.clone(), running.url(&path));
            let response = ask().header(name, value).send().await.unwrap();
            assert_eq!(response.status(), 403, "{name} {path}");
            assert!(response.text().await.unwrap().contains(name), "{name} {path}");
            assert_ne!(ask().send().await.unwrap().status(), 403, "{path}: {direct}");
        }
        // Webhooks come through proxies all the time.
        let webhook = running.client.post(running.url("/webhook/fine")).header(name, value);
        assert_eq!(webhook.body("{}").send().await.unwrap().status(), 202);
    }
    running.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_quarantined_is_for_operators_and_no_page_releases_it() {
    let running = Standing::start(&config(start_target().await), Limits::default()).await;
    let reverify = || running.client.post(running.url("/sources/fine/reverify"));
    for (request, status) in [
        (reverify(), 200),
        (reverify().header("host", "evil.example"), 403),
        (reverify().header("origin", "https://evil.example"), 403),
        (running.client.get(running.url("/sources/fine/quarantine")), 200),
        (running.client.get(running.url("/sources/fine/reverify")), 405),
        (running.client.get(running.url("/sources/nobody/quarantine")), 404),
        (running.client.get(running.url("/sources")), 404),
    ] {
        assert_eq!(request.send().await.unwrap().status(), status);
    }
    running.server.stop().await;
}

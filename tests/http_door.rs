//! The server's own door, and steps that go out through HTTP.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use everhook::Steps;
use everhook::local::Server;
use everhook::local::door::Limits;
use everhook::local::server::Options;
use everhook_processor::steps::aws::Endpoints;
use serde_json::{Value, json};

use crate::world::client;

/// A target that refuses twice, accepts, or never answers.
async fn target(State(calls): State<Arc<AtomicU32>>, request: Request) -> (StatusCode, String) {
    match request.uri().path() {
        "/hangs" => std::future::pending().await,
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

struct Running {
    server: Server,
    client: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Running {
    async fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = folder.path().join("everhook.toml");
        std::fs::write(&path, config).unwrap();
        let options = Options {
            listen: "127.0.0.1:0".parse().unwrap(),
            data_dir: folder.path().join("data"),
            in_memory: true,
            config: path,
            dynamodb_endpoint: None,
            endpoints: Endpoints::default(),
            limits: Limits::default(),
        };
        let server = Server::start(&options, Steps::new()).await.unwrap();
        Self { server, client: client(), _folder: folder }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address)
    }

    async fn post(&self, source: &str, body: &str) -> String {
        let url = self.url(&format!("/webhook/{source}"));
        let response = self.client.post(url).body(body.to_owned()).send().await.unwrap();
        assert_eq!(response.status(), 202);
        let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        answer["executionToken"].as_str().unwrap().to_owned()
    }

    async fn ended(&self, token: &str) -> Value {
        for _ in 0..400 {
            let response = self.client.get(self.url(&format!("/status/{token}"))).send().await;
            let text = response.unwrap().text().await.unwrap();
            let status: Value = serde_json::from_str(&text).unwrap();
            if matches!(status["status"].as_str(), Some("completed" | "failed")) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{token} does not end");
    }
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
            timeout = "1s"
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
    ]
    .join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_hangs_holds_up_nobody_else() {
    let running = Running::start(&config(start_target().await)).await;
    let hanging = running.post("hangs", "{}").await;
    let began = std::time::Instant::now();
    let fine = running.post("fine", "{}").await;

    let done = running.ended(&fine).await;

    assert_eq!(done["status"], "completed");
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    let failed = running.ended(&hanging).await;
    assert_eq!(
        (&failed["status"], &failed["error"]["kind"]),
        (&json!("failed"), &json!("timeout"))
    );
    running.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_refuses_twice_is_called_three_times() {
    let running = Running::start(&config(start_target().await)).await;
    let token = running.post("flaky", "{}").await;

    let done = running.ended(&token).await;

    assert_eq!(done["status"], "completed");
    assert_eq!(done["steps"][0]["attempts"], 3);
    running.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_door_answers_in_json_whatever_is_asked() {
    let running = Running::start(&config(start_target().await)).await;
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
    let running = Running::start(&config(start_target().await)).await;
    let request = running.client.get(running.url("/executions")).header("host", "evil.example");
    assert_eq!(request.send().await.unwrap().status(), 403);
    running.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_quarantined_is_for_operators_and_no_page_releases_it() {
    let running = Running::start(&config(start_target().await)).await;
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

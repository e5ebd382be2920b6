//! Whatever is sent to us and whatever answers us: what must never happen, tried.
//!
//! `cargo test -p everhook --test everhook hostile -- --nocapture` prints how much is tried.

mod addresses;
mod canaries;
mod clients;
mod raw;
mod targets;

use std::time::Duration;

use everhook::Steps;
use everhook::local::Server;
use everhook::local::door::Limits;
use everhook::local::server::Options;
use everhook_processor::steps::aws::Endpoints;
use serde_json::Value;

use crate::world::client;

/// A server as `everhook serve` starts it, with shorter patience.
struct Standing {
    server: Server,
    client: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Standing {
    async fn start(config: &str, limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("everhook.toml");
        std::fs::write(&path, config).unwrap();
        let options = Options {
            listen: "127.0.0.1:0".parse().unwrap(),
            data_dir: folder.path().join("data"),
            in_memory: true,
            config: path,
            dynamodb_endpoint: None,
            endpoints: Endpoints::default(),
            limits,
        };
        let server = Server::start(&options, Steps::new()).await.unwrap();
        Self { server, client: client(), _folder: folder }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address)
    }

    async fn accepted(&self, source: &str, body: &str) -> String {
        let url = self.url(&format!("/webhook/{source}"));
        let response = self.client.post(url).body(body.to_owned()).send().await.unwrap();
        assert_eq!(response.status(), 202);
        let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        answer["executionToken"].as_str().unwrap().to_owned()
    }

    /// The status of an execution, once it has ended.
    async fn ended(&self, token: &str) -> Value {
        for _ in 0..800 {
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

    /// Whether anybody is served: a webhook is accepted and carried to its end.
    async fn serves(&self, source: &str, body: &str) {
        let token = self.accepted(source, body).await;
        assert_eq!(self.ended(&token).await["status"], "completed");
    }
}

/// How much all of this is.
#[test]
fn what_is_tried_is_counted() {
    println!(
        "{} address forms, {} hostile targets, {} hostile clients, {} canary places",
        addresses::count(),
        targets::count(),
        clients::count(),
        canaries::count(),
    );
}

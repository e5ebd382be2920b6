//! A server as `everhook serve` starts it, in memory.

use std::time::{Duration, Instant};

use everhook::Steps;
use everhook::local::Server;
use everhook::local::door::Limits;
use everhook::local::server::Options;
use everhook_processor::steps::aws::Endpoints;
use serde_json::Value;

use crate::world::client;

/// How long an execution may take, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Standing {
    pub(crate) server: Server,
    pub(crate) client: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Standing {
    pub(crate) async fn start(config: &str, limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("everhook.toml");
        std::fs::write(&path, config).unwrap();
        let options = Options {
            listen: "127.0.0.1:0".parse().unwrap(),
            data_dir: folder.path().join("data"),
            in_memory: true,
            new_keys: false,
            config: path,
            dynamodb_endpoint: None,
            endpoints: Endpoints::default(),
            limits,
        };
        let server = Server::start(&options, Steps::new()).await.unwrap();
        Self { server, client: client(), _folder: folder }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address)
    }

    pub(crate) async fn accepted(&self, source: &str, body: &str) -> String {
        let url = self.url(&format!("/webhook/{source}"));
        let response = self.client.post(url).body(body.to_owned()).send().await.unwrap();
        assert_eq!(response.status(), 202);
        let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        answer["executionToken"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn status(&self, token: &str) -> Value {
        let response = self.client.get(self.url(&format!("/status/{token}"))).send().await;
        serde_json::from_str(&response.unwrap().text().await.unwrap()).unwrap()
    }

    /// The status of an execution, once it has ended.
    pub(crate) async fn ended(&self, token: &str) -> Value {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let status = self.status(token).await;
            if matches!(status["status"].as_str(), Some("completed" | "failed")) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{token} does not end");
    }

    /// Whether anybody is served: a webhook is accepted and carried to its end.
    pub(crate) async fn serves(&self, source: &str, body: &str) {
        let token = self.accepted(source, body).await;
        assert_eq!(self.ended(&token).await["status"], "completed");
    }
}

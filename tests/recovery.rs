//! The real server, killed without warning.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use everhook_projector::shown::ShownExecution;
use everhook_projector::status::ShownEvents;

use crate::world::client;

/// How many webhooks are sent.
const WEBHOOKS: usize = 500;

/// How many connections send them.
const SENDERS: usize = 8;

/// How long the server may take to finish what it has acknowledged.
const PATIENCE: Duration = Duration::from_secs(100);

const CONFIG: &str = r#"
    [sources.default]
    verify = "none"

    [[workflows.default.steps]]
    name = "validate"
    run = "validate"

    [[workflows.default.steps]]
    name = "copy"
    run = "transform"
    jq = "."
"#;

pub(crate) struct Server {
    process: Child,
    pub(crate) url: String,
}

impl Server {
    fn start(folder: &Path) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_everhook")), folder)
    }

    /// Starts it by a command that takes its arguments.
    pub(crate) fn start_by(mut command: Command, folder: &Path) -> Self {
        let mut process = command
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.join("data"))
            .arg("--config")
            .arg(folder.join("everhook.toml"))
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let url = ready.split_whitespace().find(|word| word.starts_with("http://"));
        let url = url.unwrap_or_else(|| panic!("not ready: {ready}")).to_owned();
        Self { process, url }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Asks the server to stop, and says whether it ended well.
    pub(crate) fn stop(mut self) -> bool {
        let id = self.process.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().unwrap();
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(20) {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.success();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

async fn post(client: &reqwest::Client, url: &str, n: usize) -> Option<(usize, String)> {
    let request = client.post(format!("{url}/webhook")).header("webhook-id", format!("d-{n}"));
    let response = request.body(format!("{{\"n\": {n}}}")).send().await.ok()?;
    if response.status() != 202 {
        return None;
    }
    let answer: serde_json::Value = serde_json::from_str(&response.text().await.ok()?).ok()?;
    Some((n, answer["executionToken"].as_str()?.to_owned()))
}

/// Sends all webhooks until the server is gone; returns those that were acknowledged.
async fn send_all(client: &reqwest::Client, url: &str) -> HashMap<usize, String> {
    let senders = (0..SENDERS).map(|sender| async move {
        let mut acknowledged = Vec::new();
        for n in (sender..WEBHOOKS).step_by(SENDERS) {
            acknowledged.extend(post(client, url, n).await);
        }
        acknowledged
    });
    futures_util::future::join_all(senders).await.into_iter().flatten().collect()
}

pub(crate) async fn get<T: serde::de::DeserializeOwned>(
    client: &reqwest::Client,
    url: String,
) -> T {
    let text = client.get(url).send().await.unwrap().text().await.unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_when_the_server_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("everhook.toml"), CONFIG).unwrap();
    let client = client();

    let server = Server::start(folder.path());
    let url = server.url.clone();
    let (acknowledged, ()) = tokio::join!(send_all(&client, &url), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        tokio::task::block_in_place(|| server.kill());
    });
    assert!(!acknowledged.is_empty(), "the server was killed before it had answered anything");

    let server = Server::start(folder.path());
    let mut open: Vec<_> = acknowledged.values().cloned().collect();
    let began = Instant::now();
    while let Some(token) = open.pop() {
        let shown: ShownExecution = get(&client, format!("{}/status/{token}", server.url)).await;
        if shown.status.is_terminal() {
            assert_eq!(shown.status.as_str(), "completed");
            let history = format!("{}/executions/{token}/events", server.url);
            let history: ShownEvents = get(&client, history).await;
            let names: Vec<_> = history.events.iter().map(|r| r.event.name()).collect();
            let once = ["WebhookReceived", "StepCompleted", "StepCompleted", "ExecutionCompleted"];
            assert_eq!(names, once);
        } else {
            assert!(began.elapsed() < PATIENCE, "{token} is {:?}", shown.status);
            open.insert(0, token);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let tokens: HashSet<_> = acknowledged.values().collect();
    assert_eq!(tokens.len(), acknowledged.len());

    // A sender that was not answered sends again: the same token, or the first one it gets.
    let (n, token) = acknowledged.iter().next().unwrap();
    assert_eq!(post(&client, &server.url, *n).await, Some((*n, token.clone())));
    assert!(server.stop(), "a termination signal ends the server well");
}

#[cfg(unix)]
#[test]
fn a_shell_that_allows_few_files_does_not_bound_the_callers() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("everhook.toml"), CONFIG).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -Sn 64 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_everhook")]);
    let server = Server::start_by(shell, folder.path());
    let address = server.url.trim_start_matches("http://");
    let mut answer = [0; 4096];

    let callers = (0..100).map(|_| {
        let mut caller = TcpStream::connect(address).unwrap();
        caller.write_all(b"GET /status/x HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        assert!(caller.read(&mut answer).unwrap() > 0);
        caller
    });
    let callers: Vec<_> = callers.collect();

    // Nobody had to go for another one to come.
    for mut caller in callers {
        caller.set_nonblocking(true).unwrap();
        assert_eq!(caller.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    }
    assert!(server.stop());
}

//! The real server with a step that ends its process, restarted as a supervisor would.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use everhook::{Cli, Input, StepError, Steps};
use everhook_projector::shown::ShownExecution;
use serde_json::{Value, json};

use crate::world::client;

/// Tells the test's own program that it is the server, and where its folder is.
const FOLDER: &str = "EVERHOOK_TEST_SUSPECTS";

/// Where the webhooks are sent.
const LISTEN: &str = "EVERHOOK_TEST_SUSPECTS_LISTEN";

/// How long everything may take.
const PATIENCE: Duration = Duration::from_secs(60);

const CONFIG: &str = r#"
    [settings]
    private_hosts = ["127.0.0.1"]

    [sources.default]
    verify = "none"

    [sources.healthy]
    verify = "none"

    [sources.calls]
    verify = "none"

    [[workflows.default.steps]]
    name = "copy"
    run = "transform"
    jq = "."

    [[workflows.default.steps]]
    name = "work"
    run = "work"

    [[workflows.healthy.steps]]
    name = "work"
    run = "work"

    [[workflows.calls.steps]]
    name = "call"
    run = "http"
    url = "http://TARGET/"
"#;

/// A step as a user may write it.
async fn work(input: Input) -> Result<Value, StepError> {
    let body: Value = input.json()?;
    tokio::time::sleep(Duration::from_millis(30)).await;
    match body["do"].as_str() {
        Some("abort") => std::process::abort(),
        Some("abort in a thread") => {
            tokio::task::spawn_blocking(|| std::process::abort()).await.ok();
        }
        Some("overflow") => {
            std::hint::black_box(deep(std::hint::black_box(0)));
        }
        _ => {}
    }
    Ok(json!({ "done": true }))
}

#[expect(unconditional_recursion, reason = "that is the point")]
fn deep(level: u64) -> u64 {
    let page = std::hint::black_box([level; 512]);
    deep(level + 1) + page[0]
}

/// The server: this test's program again.
#[test]
#[ignore = "a process of the other tests"]
fn serve() {
    let (Ok(folder), Ok(listen)) = (std::env::var(FOLDER), std::env::var(LISTEN)) else { return };
    let config = Path::new(&folder).join("everhook.toml");
    let data = Path::new(&folder).join("data");
    let said = ["everhook", "serve", "--listen", &listen, "--data-dir"];
    let said = said.iter().map(std::ffi::OsString::from);
    let said = said.chain([data.into(), "--config".into(), config.into()]);
    everhook::main(Cli::parse_from(said), Steps::new().with("work", work));
}

struct Server {
    process: Child,
    listen: SocketAddr,
}

impl Server {
    fn start(folder: &Path, listen: SocketAddr) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["suspects::serve", "--exact", "--ignored", "--nocapture"])
            .env(FOLDER, folder)
            .env(LISTEN, listen.to_string())
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let ready = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("http://")));
        // It may die of what an earlier one left before it is ready.
        drop(ready);
        std::thread::spawn(move || lines.count());
        Self { process, listen }
    }

    fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    fn has_died(&mut self) -> bool {
        self.process.try_wait().unwrap().is_some()
    }

    fn kill(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An address that nobody listens on.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

async fn post(client: &reqwest::Client, url: &str, source: &str, id: &str, body: &Value) -> String {
    let began = Instant::now();
    loop {
        let request = client.post(format!("{url}/webhook/{source}")).header("webhook-id", id);
        let response = request.body(body.to_string()).send().await;
        if let Ok(response) = response
            && response.status() == 202
            && let Ok(text) = response.text().await
        {
            let answer: Value = serde_json::from_str(&text).unwrap();
            return answer["executionToken"].as_str().unwrap().to_owned();
        }
        assert!(began.elapsed() < PATIENCE, "{id} was never accepted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn shown(client: &reqwest::Client, url: &str, token: &str) -> Option<ShownExecution> {
    let response = client.get(format!("{url}/status/{token}")).send().await.ok()?;
    serde_json::from_str(&response.text().await.ok()?).ok()
}

/// Restarts the server whenever it dies, until all of these have this status; says how often it died.
async fn until(
    client: &reqwest::Client,
    server: &mut Server,
    folder: &Path,
    tokens: &[String],
    status: &str,
) -> usize {
    let began = Instant::now();
    let mut deaths = 0;
    let mut open = tokens.to_vec();
    while let Some(token) = open.pop() {
        if server.has_died() {
            deaths += 1;
            *server = tokio::task::block_in_place(|| Server::start(folder, server.listen));
        }
        let now = shown(client, &server.url(), &token).await;
        if now.as_ref().is_none_or(|now| now.status.as_str() != status) {
            let is = now.map(|now| now.status);
            assert!(began.elapsed() < PATIENCE, "{token} is {is:?} after {deaths} deaths");
            open.insert(0, token);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    deaths
}

/// So many innocent webhooks and one that ends the process, all under way at once:
/// says with which server it ends, and which webhook is stalled.
async fn one_among_many(folder: &Path, many: usize, how: &str) -> (Server, String) {
    let config = CONFIG.replace("TARGET", "127.0.0.1:9");
    std::fs::write(folder.join("everhook.toml"), config).unwrap();
    let client = client();
    let mut server = Server::start(folder, free_address());
    let url = server.url();

    let (nothing, guilty) = (json!({}), json!({ "do": how }));
    let ids: Vec<_> = (0..many).map(|number| format!("i-{number}")).collect();
    let innocent = ids.iter().map(|id| post(&client, &url, "default", id, &nothing));
    let innocent = futures_util::future::join_all(innocent);
    let all = async {
        let guilty = post(&client, &url, "default", "guilty", &guilty);
        tokio::join!(innocent, guilty)
    };
    // A webhook whose answer died with the server is sent again.
    let mut restarted = 0;
    let mut all = std::pin::pin!(all);
    let (innocent, guilty) = loop {
        match tokio::time::timeout(Duration::from_millis(50), all.as_mut()).await {
            Ok(accepted) => break accepted,
            Err(_) if server.has_died() => {
                restarted += 1;
                let listen = server.listen;
                server = tokio::task::block_in_place(|| Server::start(folder, listen));
            }
            Err(_) => {}
        }
    };
    let guilty = vec![guilty];

    let deaths = until(&client, &mut server, folder, &guilty, "stalled").await + restarted;
    let more = until(&client, &mut server, folder, &innocent, "completed").await;
    assert_eq!((deaths, more), (3, 0));
    let error = shown(&client, &url, &guilty[0]).await.unwrap().error.unwrap();
    assert!(error.message.starts_with("the process died 3 times"), "{}", error.message);

    (server, guilty.into_iter().next().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_aborts_the_process_is_stalled_after_three_deaths() {
    let folder = tempfile::tempdir().unwrap();
    let (mut server, guilty) = one_among_many(folder.path(), 20, "abort").await;
    let (client, url) = (client(), server.url());

    // Another start does not try it again, and a healthy source goes on.
    server.kill();
    server = tokio::task::block_in_place(|| Server::start(folder.path(), server.listen));
    let began = Instant::now();
    let healthy = post(&client, &url, "healthy", "h-1", &json!({})).await;
    let deaths = until(&client, &mut server, folder.path(), &[healthy], "completed").await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(deaths == 0 && !server.has_died());

    // An operator may try it again. The process dies of it once.
    let redriven = client.post(format!("{url}/executions/{guilty}/redrive")).send().await;
    assert_eq!(redriven.unwrap().status(), 200);
    let began = Instant::now();
    while !server.has_died() && began.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server = tokio::task::block_in_place(|| Server::start(folder.path(), server.listen));
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(!server.has_died());
    assert_eq!(until(&client, &mut server, folder.path(), &[guilty], "stalled").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_ends_the_process_in_another_way_is_stalled_too() {
    for how in ["abort in a thread", "overflow"] {
        let folder = tempfile::tempdir().unwrap();
        one_among_many(folder.path(), 2, how).await;
    }
}

/// A target that answers after a second, and counts its calls.
fn slow_target(calls: Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut caller in listener.incoming().map_while(Result::ok) {
            let calls = calls.clone();
            std::thread::spawn(move || {
                calls.fetch_add(1, Ordering::SeqCst);
                caller.set_read_timeout(Some(Duration::from_millis(200))).ok();
                // The request is read as far as it comes at once.
                let mut request = Vec::new();
                Read::by_ref(&mut caller).take(4096).read_to_end(&mut request).ok();
                std::thread::sleep(Duration::from_secs(1));
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
                caller.write_all(answer.as_bytes()).ok();
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_a_server_that_waits_for_slow_calls_stalls_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let target = slow_target(calls.clone()).to_string();
    std::fs::write(folder.path().join("everhook.toml"), CONFIG.replace("TARGET", &target)).unwrap();
    let client = client();
    let mut server = Server::start(folder.path(), free_address());
    let url = server.url();

    let mut tokens = Vec::new();
    for number in 0..10 {
        let id = format!("c-{number}");
        tokens.push(post(&client, &url, "calls", &id, &json!({})).await);
    }
    for _ in 0..10 {
        let before = calls.load(Ordering::SeqCst);
        let began = Instant::now();
        // Each life is long enough to call, and too short to be answered.
        while calls.load(Ordering::SeqCst) == before && began.elapsed() < Duration::from_secs(2) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.kill();
        let driving = std::fs::read_to_string(folder.path().join("data/driving")).unwrap();
        let suspects = driving.lines().filter(|line| !line.trim().is_empty()).count();
        assert!(suspects <= 2, "{suspects} of those that only waited for a call are suspect");
        server = tokio::task::block_in_place(|| Server::start(folder.path(), server.listen));
    }

    let deaths = until(&client, &mut server, folder.path(), &tokens, "completed").await;

    assert_eq!(deaths, 0);
}

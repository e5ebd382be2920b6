//! What the log says of requests that are refused, and what commands say of what they cannot do.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::world::client;

const CONFIG: &str = r#"
    [settings]
    body_bytes_max = 1000

    [sources.orders]
    scheme = "hmac-sha256"
    secrets = ["file:secret"]

    [sources.github]
    scheme = "github"
    secrets = ["file:secret"]

    [sources.open]
    scheme = "none"

    [sources.stripe]
    scheme = "stripe"
    secrets = ["file:secret"]

    [sources.twilio]
    scheme = "twilio"
    secrets = ["file:secret"]
    public_url = "https://hooks.example.com/webhook/twilio"

    [[workflows.default.steps]]
    name = "look"
    run = "validate"
    expect = "any"
"#;

struct Everhook {
    child: Child,
    url: String,
}

impl Everhook {
    fn start(folder: &Path) -> Self {
        std::fs::write(folder.join("everhook.toml"), CONFIG).unwrap();
        std::fs::write(folder.join("secret"), "a secret of the test").unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_everhook"))
            .args(["serve", "--in-memory", "--listen", "127.0.0.1:0", "--config"])
            .arg(folder.join("everhook.toml"))
            .env_remove("RUST_LOG")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
        Self { url: url.to_owned(), child }
    }

    /// Ends it; each line of its log.
    fn log(mut self) -> Vec<Value> {
        self.child.kill().unwrap();
        let log = BufReader::new(self.child.stderr.take().unwrap()).lines();
        let log = log.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
        self.child.wait().unwrap();
        log
    }
}

async fn everhook(arguments: Vec<String>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_everhook"));
    command.args(arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test]
async fn every_refusal_says_who_was_refused_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let server = Everhook::start(folder.path());
    let post = async |path: &str, id: &str, body: Vec<u8>| {
        let request = client().post(format!("{}{path}", server.url)).body(body);
        let request = request.header("user-agent", format!("agent\t{}", "x".repeat(500)));
        request.header("x-github-delivery", id).send().await.unwrap().status().as_u16()
    };
    assert_eq!(post("/webhook/order?token=canary", "d-0", b"canary".to_vec()).await, 401);
    assert_eq!(post("/webhook/github", "d-1", b"{}".to_vec()).await, 401);
    assert_eq!(post("/webhook/nothing-like-it%1b[2J", "d-2", b"{}".to_vec()).await, 401);
    assert_eq!(post("/nowhere", "d-3", b"{}".to_vec()).await, 404);
    assert_eq!(post("/webhook/open", "d-4", b"no json, canary".to_vec()).await, 400);
    assert_eq!(post("/webhook/open", "d-5", vec![b' '; 2_000_000]).await, 413);
    let forwarded = client().get(format!("{}/executions/A-TOKEN-canary/events", server.url));
    let forwarded = forwarded.header("user-agent", format!("agent\t{}", "x".repeat(500)));
    let forwarded = forwarded.header("x-forwarded-for", "192.0.2.1").send().await.unwrap();
    assert_eq!(forwarded.status(), 403);
    let log = server.log();

    let refusals: Vec<_> = log.iter().filter(|line| line["path"].is_string()).collect();
    assert_eq!(refusals.len(), 7, "{log:#?}");
    for line in &refusals {
        assert_eq!(line["address"], "127.0.0.1", "{line}");
        let agent = line["agent"].as_str().unwrap();
        assert!(agent.starts_with("agent\\tx") && agent.chars().count() == 121, "{agent}");
        assert!(!line.to_string().contains("canary"), "{line}");
    }
    let text = |place: usize, key: &str| refusals[place][key].as_str().unwrap_or_default();
    assert_eq!(text(0, "message"), "no source named \"order\"; did you mean \"orders\"?");
    assert_eq!((text(0, "source"), text(0, "path")), ("none", "/webhook/order"));
    assert_eq!(
        text(1, "message"),
        "not verified for the source github: a signature header is missing"
    );
    assert_eq!((text(1, "source"), text(1, "delivery.id")), ("github", "d-1"));
    assert!(text(2, "message").starts_with("no source named \"nothing-like-it"));
    assert_eq!(text(3, "path"), "/nowhere");
    assert!(text(4, "message").starts_with("rejected for the source open: the body is not JSON"));
    assert!(text(5, "message").starts_with("rejected: the body is larger than"));
    assert_eq!((text(5, "path"), text(6, "path")), ("/webhook/open", "/executions"));
    assert!(text(6, "message").contains("answered on this machine only"));
}

#[tokio::test]
async fn what_send_signs_is_accepted_and_an_id_that_would_be_ignored_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = Everhook::start(folder.path());
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (form, json) =
        (file("form", "Body=hello+you&From=%2B1"), file("json", r#"{"id":"evt_1"}"#));
    let config = folder.path().join("everhook.toml").display().to_string();
    let send = |source: &str, file: &str, more: &[&str]| {
        let line = ["send", "--source", source, "--server", &server.url, "--config", &config, file];
        everhook(line.iter().chain(more).map(ToString::to_string).collect())
    };
    for (source, file, more) in [
        ("twilio", &form, &["--id", "t-1"][..]),
        ("twilio", &json, &[]),
        ("github", &json, &["--id", "g-1"]),
        ("stripe", &json, &[]),
    ] {
        let output = send(source, file, more).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("executionToken"), "{source}: {output:?}");
    }
    let refused = send("stripe", &json, &["--id", "s-1"]).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("has its id in the body"), "{said}");
    let unknown = send("githbu", &json, &[]).await;
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("did you mean \"github\"?"));

    let list = ["list", "--limit", "1", "--server", &server.url].map(str::to_owned).to_vec();
    let listed = String::from_utf8(everhook(list).await.stdout).unwrap();
    assert_eq!(listed.lines().last(), Some("1 shown, 3 more; --limit 4 shows all"), "{listed}");
    let mut server = server;
    server.child.kill().unwrap();
    server.child.wait().unwrap();
}

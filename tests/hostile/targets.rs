//! Targets of `http` steps that answer as no server may, or do not answer.

mod servers;

use std::time::{Duration, Instant};

use everhook::local::door::Limits;
use everhook_journal::{Event, ExecutionId, Sequence};
use serde_json::Value;

use servers::{Answering, Server, Target, Wanted, targets};

use crate::standing::Standing;

/// How long a step may take here, and how much longer an execution may take to show that it failed.
const STEP_TIMEOUT: Duration = Duration::from_secs(3);
const GRACE: Duration = Duration::from_secs(6);

/// How much more memory the process may have used at its peak than before, whatever was sent to it.
const MEMORY_KIB_MAX: u64 = 192 * 1024;

/// How many targets the table has.
pub(super) fn count() -> usize {
    targets().len()
}

/// A source and a workflow for each target, and one that calls nobody.
fn config(servers: &[Server]) -> String {
    let mut config = "[settings]\nprivate_hosts = [\"127.0.0.1\"]\n\n[sources.plain]\nverify = \"none\"\n\
                      workflow = \"plain\"\n\n[[workflows.plain.steps]]\nname = \"look\"\nrun = \"validate\"\n"
        .to_owned();
    for (number, server) in servers.iter().enumerate() {
        config.push_str(&format!(
            "\n[sources.t{number}]\nverify = \"none\"\nworkflow = \"t{number}\"\n\n\
             [[workflows.t{number}.steps]]\nname = \"call\"\nrun = \"http\"\nurl = \"http://{}/\"\n\
             timeout = \"{}ms\"\nretry = {{ attempts = 1 }}\n",
            server.address,
            STEP_TIMEOUT.as_millis(),
        ));
    }
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn every_target_is_judged_in_its_time_and_holds_up_nobody() {
    let targets = targets();
    let mut servers = Vec::new();
    for target in &targets {
        servers.push(Server::start(target.answering.clone()).await);
    }
    let standing = Standing::start(&config(&servers), Limits::default()).await;
    let before = peak_memory_kib();

    let began = Instant::now();
    let mut tokens = Vec::new();
    for number in 0..targets.len() {
        tokens.push(standing.accepted(&format!("t{number}"), "{}").await);
    }
    let asked = Instant::now();
    standing.serves("plain", "{}").await;
    assert!(asked.elapsed() < STEP_TIMEOUT, "held up for {:?}", asked.elapsed());
    let mut complaints = Vec::new();
    for ((target, token), server) in targets.iter().zip(&tokens).zip(&servers) {
        let status = standing.ended(token).await;
        complaints.extend(complaint(&standing, target, token, &status, server).await);
    }
    let took = began.elapsed();

    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert!(took < STEP_TIMEOUT + GRACE, "{took:?}");
    if let (Some(before), Some(after)) = (before, peak_memory_kib()) {
        assert!(after - before < MEMORY_KIB_MAX, "{} KiB more", after - before);
    }
    standing.serves("plain", "{\"again\": true}").await;
    standing.server.stop().await;
}

/// What is wrong with how it ended.
async fn complaint(
    standing: &Standing,
    target: &Target,
    token: &str,
    status: &Value,
    server: &Server,
) -> Option<String> {
    let attempts = &status["steps"][0]["attempts"];
    let told = match &target.wanted {
        Wanted::Fails(kind) => status["status"] == "failed" && status["error"]["kind"] == *kind,
        Wanted::Completes(body) => {
            let shown = result(standing, token).await;
            status["status"] == "completed" && shown["body"] == *body
        }
        Wanted::IsCut => {
            let shown = result(standing, token).await;
            status["status"] == "completed" && shown["truncated"] == true
        }
    };
    let once = *attempts == 1 && server.connections() <= 1;
    (!told || !once).then(|| {
        format!(
            "{}: wanted {:?}, {} connections, {}",
            target.name,
            target.wanted,
            server.connections(),
            status
        )
    })
}

/// The result of the only step.
async fn result(standing: &Standing, token: &str) -> Value {
    let ingest = &standing.server.parts.ingest;
    let id = ExecutionId::parse(token).unwrap();
    let history = ingest.journal.read(&id, Sequence::START).await.unwrap();
    let output = history.into_iter().find_map(|recorded| match recorded.event {
        Event::StepCompleted { output, .. } => Some(output),
        _ => None,
    });
    let Some(output) = output else { return Value::Null };
    serde_json::from_slice(&ingest.payloads.open(&output).await.unwrap()).unwrap()
}

/// The most memory that this process had so far, where the system tells.
fn peak_memory_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// The answers that send elsewhere, each to another server on this machine.
#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_followed_nowhere() {
    let inner =
        Server::start(Answering::whole("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")).await;
    let port = inner.address.port();
    let mut servers = Vec::new();
    for status in [301, 302, 303, 307, 308] {
        for to in
            ["http://127.0.0.1", "http://localhost", "http://[::1]", "//127.1", "http://0x7f.1"]
        {
            let head = format!("HTTP/1.1 {status} Elsewhere\r\nlocation: {to}:{port}/\r\n");
            let answer = format!("{head}refresh: 0; url={to}:{port}/\r\ncontent-length: 0\r\n\r\n");
            servers.push((status, Server::start(Answering::whole(&answer)).await));
        }
    }
    let (statuses, servers): (Vec<_>, Vec<_>) = servers.into_iter().unzip();
    let standing = Standing::start(&config(&servers), Limits::default()).await;

    for (number, (status, server)) in statuses.iter().zip(&servers).enumerate() {
        let token = standing.accepted(&format!("t{number}"), "{}").await;
        let ended = standing.ended(&token).await;
        assert_eq!(ended["error"]["kind"], format!("http_{status}"));
        assert_eq!(server.connections(), 1);
    }

    assert_eq!(inner.connections(), 0);
    standing.server.stop().await;
}

//! `everhook redrive` and `everhook cancel`, as they are typed.

use std::path::Path;
use std::process::{Command, Output};

use everhook::local::Server;
use everhook::local::door::Limits;
use everhook::local::server::Options;
use everhook_processor::steps::aws::Endpoints;

use super::*;
use crate::world::client;

const CONFIG: &str = r#"
    [sources.open]
    scheme = "none"

    [[workflows.default.steps]]
    name = "charge"
    run = "charge"

    [[workflows.default.steps]]
    name = "later"
    run = "wait"
    for = "1h"
    when = ".wait"
"#;

async fn everhook(arguments: String) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_everhook"));
    command.args(arguments.split(' '));
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn said(arguments: String) -> String {
    let output = everhook(arguments).await;
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

async fn serve(folder: &Path, steps: Steps) -> Server {
    let config = folder.join("everhook.toml");
    std::fs::write(&config, CONFIG).unwrap();
    let options = Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        data_dir: folder.join("data"),
        in_memory: true,
        new_keys: false,
        config,
        dynamodb_endpoint: None,
        endpoints: Endpoints::default(),
        limits: Limits::default(),
    };
    Server::start(&options, steps).await.unwrap()
}

async fn send(server: &Server, body: &str) -> String {
    let url = format!("http://{}/webhook/open", server.address);
    let answer = client().post(url).body(body.to_owned()).send().await.unwrap();
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    answer["executionToken"].as_str().unwrap().to_owned()
}

async fn until(server: &Server, token: &str, status: &str) {
    let url = format!("http://{}/status/{token}", server.address);
    for _ in 0..200 {
        let shown = client().get(&url).send().await.unwrap().text().await.unwrap();
        let shown: Value = serde_json::from_str(&shown).unwrap();
        if shown["status"] == status {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{token} is never {status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_failed_go_on_at_a_rate_after_they_were_counted() {
    let folder = tempfile::tempdir().unwrap();
    let charge = Counted::default();
    let server = serve(folder.path(), Steps::new().with("charge", charge.failing(5))).await;
    let at = format!("--server http://{}", server.address);
    let mut tokens = Vec::new();
    for number in 0..5 {
        tokens.push(send(&server, &format!("{{\"n\": {number}, \"wait\": false}}")).await);
    }
    for token in &tokens {
        until(&server, token, "failed").await;
    }

    let meant = said(format!("redrive --failed --since 2h --source open --dry-run {at}")).await;
    assert!(meant.starts_with("5 failed executions\n"), "{meant}");
    assert!(meant.contains("broken: it is broken"), "{meant}");
    assert_eq!(charge.times(), 5);
    let none = said(format!("redrive --failed --since 2h --source other --dry-run {at}")).await;
    assert_eq!(none, "0 failed executions\n");
    let done = said(format!("redrive --failed --rate 100 {at}")).await;
    assert!(done.ends_with("5 go on, 0 did not\n"), "{done}");

    for token in &tokens {
        until(&server, token, "completed").await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_is_cancelled_and_redriven_by_its_token() {
    let folder = tempfile::tempdir().unwrap();
    let server =
        serve(folder.path(), Steps::new().with("charge", Counted::default().count())).await;
    let at = format!("--server http://{}", server.address);
    let token = send(&server, r#"{"wait": true}"#).await;
    until(&server, &token, "waiting").await;

    said(format!("cancel {token} --reason mistaken {at}")).await;
    until(&server, &token, "cancelled").await;
    let again = everhook(format!("cancel {token} {at}")).await;
    let words = String::from_utf8(again.stderr).unwrap();
    assert!(!again.status.success() && words.contains("the execution has ended"), "{words}");
    said(format!("redrive {token} --from charge {at}")).await;
    until(&server, &token, "waiting").await;

    let neither = everhook(format!("redrive {at}")).await;
    assert!(!neither.status.success());
    server.stop().await;
}

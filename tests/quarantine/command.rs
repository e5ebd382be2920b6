//! The calls of operators, and the commands as they are typed.

use std::path::Path;
use std::process::{Command, Output};

use aws_lambda_events::encodings::Body;
use everhook::Steps;
use everhook::local::Server;
use everhook::local::door::Limits;
use everhook::local::server::Options;
use everhook_processor::steps::aws::Endpoints;
use serde_json::{Value, json};

use super::{ON, config, mistaken};
use crate::world::{SECRET, client, delivery, signed_with};

/// The call of an operator, as API Gateway hands it over.
fn call(method: &str, path: &str) -> Value {
    json!({
        "version": "2.0", "rawPath": path, "rawQueryString": "", "isBase64Encoded": false,
        "requestContext": { "http": { "method": method, "path": path }, "requestId": "r" },
    })
}

#[tokio::test]
async fn the_function_answers_operators_and_the_way_of_webhooks_does_not() {
    let world = mistaken().await;
    world.send(signed_with(SECRET, &delivery("d-1", "{}"))).await;
    for (method, path, wanted) in [
        ("GET", "/sources/default/quarantine", (200, r#""reason":"no secret matches""#)),
        ("POST", "/sources/default/reverify", (200, r#""refused":1"#)),
        ("GET", "/sources/default/quarantine/clear", (405, "this is asked with POST")),
        ("POST", "/sources/default/quarantine/clear", (200, r#"{"cleared":1}"#)),
        ("POST", "/sources/default/quarantine", (405, "this is asked with GET")),
        ("GET", "/sources/nobody/quarantine", (404, "there is no source `nobody`")),
        ("DELETE", "/sources/default", (404, "there is nothing here")),
    ] {
        let event = call(method, path);
        let answer = everhook_ingest::handle_event(&world.parts.ingest, event.clone()).await;
        let Some(Body::Text(text)) = answer.body else { panic!("{path} says nothing") };
        assert_eq!(answer.status_code, wanted.0, "{path}: {text}");
        assert!(text.contains(wanted.1), "{path}: {text}");

        let webhook = serde_json::from_value(event).unwrap();
        assert_eq!(world.send(webhook).await.status, 404, "{path}");
    }
}

async fn everhook(arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_everhook"));
    command.args(arguments.split(' '));
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn serve(folder: &Path, secret: &str) -> Server {
    let toml = folder.join("everhook.toml");
    std::fs::write(&toml, config("secret", ON)).unwrap();
    std::fs::write(folder.join("secret"), secret).unwrap();
    let options = Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        data_dir: folder.join("data"),
        in_memory: false,
        new_keys: false,
        config: toml,
        dynamodb_endpoint: None,
        endpoints: Endpoints::default(),
        limits: Limits::default(),
    };
    Server::start(&options, Steps::new()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_releases_after_a_restart_with_the_right_secret() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(folder.path(), "the wrong secret").await;
    let sent = signed_with(SECRET, &delivery("d-1", "{}"));
    let url = format!("http://{}/webhook/default", server.address);
    let post = sent.headers.iter().fold(client().post(url), |post, (name, value)| {
        post.header(name.as_str(), value.as_bytes())
    });
    assert_eq!(post.body("{}").send().await.unwrap().status(), 401);
    server.stop().await;

    let server = serve(folder.path(), SECRET).await;
    let at = format!("--server http://{}", server.address);
    let toml = folder.path().join("everhook.toml");
    let sources = everhook(&format!("sources --config {} {at}", toml.display())).await;
    let shown = String::from_utf8(sources.stdout).unwrap();
    assert!(shown.contains("no webhooks  1 in quarantine"), "{shown}");
    let kept = everhook(&format!("quarantine --source default {at}")).await;
    let shown = String::from_utf8(kept.stdout).unwrap();
    assert!(
        shown.contains("no secret matches") && shown.ends_with("\n1 in quarantine\n"),
        "{shown}"
    );
    let dry = everhook(&format!("reverify --source default --dry-run {at}")).await;
    let shown = String::from_utf8(dry.stdout).unwrap();
    assert!(
        shown.ends_with("would be released\n1 would be released, 0 still refused\n"),
        "{shown}"
    );
    let reverified = everhook(&format!("reverify --source default {at}")).await;
    let shown = String::from_utf8(reverified.stdout).unwrap();
    assert!(reverified.status.success() && shown.ends_with("\n1 released, 0 still refused\n"));
    let token = shown.split("released as ").nth(1).unwrap().split('\n').next().unwrap();

    assert!(everhook(&format!("status {token} --wait {at}")).await.status.success());
    let replay = everhook(&format!("replay {token} {at}")).await;
    let told = String::from_utf8(replay.stdout).unwrap();
    assert!(told.contains("by file:secret as of 2"), "{told}");
    let cleared = everhook(&format!("quarantine --source default --clear {at}")).await;
    assert_eq!(String::from_utf8(cleared.stdout).unwrap(), "0 removed\n");
    let nobody = everhook(&format!("reverify --source nobody {at}")).await;
    assert_eq!(nobody.status.code(), Some(1));
    server.stop().await;
}

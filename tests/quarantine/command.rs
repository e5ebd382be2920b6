//! The commands, as they are typed.

use std::path::Path;
use std::process::{Command, Output};

use everhook::Steps;
use everhook::local::Server;
use everhook::local::server::Options;

use super::{ON, config};
use crate::world::{SECRET, client, delivery, signed_with};

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
        config: toml,
        dynamodb_endpoint: None,
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
    let nobody = everhook(&format!("reverify --source nobody {at}")).await;
    assert_eq!(nobody.status.code(), Some(1));
    server.stop().await;
}

//! Executions that nothing wakes: no record of the stream, and not ingest.

use std::time::{Duration, Instant};

use everhook::Steps;
use everhook::local::Server;
use everhook::local::door::Limits;
use everhook::local::server::Options;
use everhook_processor::steps::aws::Endpoints;
use everhook_projector::shown::ShownExecution;
use serde_json::Value;

use crate::recovery::get;
use crate::world::{PLAIN, World, client, delivery};

const WEBHOOKS: usize = 200;

const CONFIG: &str = r#"
    [sources.default]
    verify = "none"

    [[workflows.default.steps]]
    name = "pause"
    run = "wait"
    for = "2s"

    [[workflows.default.steps]]
    name = "validate"
    run = "validate"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_loses_every_stream_record_ends_everything_within_two_minutes() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("everhook.toml"), CONFIG).unwrap();
    let options = Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        data_dir: folder.path().join("data"),
        in_memory: false,
        new_keys: false,
        config: folder.path().join("everhook.toml"),
        dynamodb_endpoint: None,
        endpoints: Endpoints::default(),
        limits: Limits::default(),
    };
    let server = Server::start_without_stream(&options, Steps::new()).await.unwrap();
    let (client, url) = (client(), format!("http://{}", server.address));
    let mut tokens = Vec::new();
    for number in 0..WEBHOOKS {
        let request =
            client.post(format!("{url}/webhook")).header("webhook-id", number.to_string());
        let response = request.body("{}").send().await.unwrap();
        assert_eq!(response.status(), 202);
        let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        tokens.push(answer["executionToken"].as_str().unwrap().to_owned());
    }
    let began = Instant::now();

    while let Some(token) = tokens.pop() {
        let shown: ShownExecution = get(&client, format!("{url}/status/{token}")).await;
        if shown.status.as_str() != "completed" {
            let elapsed = began.elapsed();
            assert!(elapsed < Duration::from_secs(120), "{token} is {:?}", shown.status);
            tokens.push(token);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    server.stop().await;
}

#[tokio::test]
async fn a_clock_that_was_an_hour_ahead_hides_nothing_from_the_audit() {
    let world = World::start(PLAIN).await;
    let hour = Duration::from_secs(3600);
    world.pass(hour);
    world.settle().await;
    world.turn_back(hour);
    let token = world.accepted(&delivery("d-1", "{}")).await;
    drop(world.records().await);

    world.pass(Duration::from_secs(61));
    world.parts.audit.run(world.now() + hour).await.unwrap();

    assert_eq!(world.fire().await, 1);
    assert_eq!(world.status(&token).await["status"], "completed");
}

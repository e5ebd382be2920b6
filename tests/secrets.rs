//! Secrets that AWS keeps, asked for over the wire as the SDK does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_dynamodb::config::{Credentials, Region, SharedCredentialsProvider};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use everhook::Steps;
use everhook::local::Engine;
use everhook_journal::{SourceName, environment};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::world::{Delivery, World, delivery};

/// Two senders: one has two secrets, the newest first.
const CONFIG: &str = r#"
    [sources.default]
    scheme = "hmac-sha256"
    secrets = ["secretsmanager:everhook/new#webhook", "secretsmanager:everhook/old"]

    [sources.other]
    scheme = "hmac-sha256"
    secrets = ["ssm:/everhook/other"]

    [[workflows.default.steps]]
    name = "validate"
    run = "validate"
"#;

/// What AWS keeps here, and how often it was asked.
#[derive(Debug, Default)]
struct Kept {
    values: HashMap<String, String>,
    asked: usize,
    broken: bool,
}

type Aws = Arc<Mutex<Kept>>;

/// Secrets Manager and Parameter Store, as far as one value of each can be asked for.
async fn aws() -> (Aws, SdkConfig) {
    let kept = Aws::default();
    set(&kept, "everhook/new", r#"{"webhook": "the new secret", "other": 1}"#);
    set(&kept, "everhook/old", "the old secret");
    set(&kept, "/everhook/other", "the other secret");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(answer).with_state(kept.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let credentials = Credentials::new("test", "test", None, None, "test");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(environment::https())
        .endpoint_url(endpoint)
        .build();
    (kept, config)
}

async fn answer(State(kept): State<Aws>, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    let mut kept = kept.lock().unwrap();
    kept.asked += 1;
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let name = asked["SecretId"].as_str().or(asked["Name"].as_str()).unwrap();
    let Some(value) = kept.values.get(name).filter(|_| !kept.broken) else {
        let error = json!({ "__type": "ResourceNotFoundException", "message": "it is not there" });
        return (StatusCode::BAD_REQUEST, error.to_string());
    };
    let answer = match headers["x-amz-target"].to_str().unwrap() {
        "secretsmanager.GetSecretValue" => json!({ "Name": name, "SecretString": value }),
        "AmazonSSM.GetParameter" => json!({ "Parameter": { "Name": name, "Value": value } }),
        target => panic!("nobody should ask for {target}"),
    };
    (StatusCode::OK, answer.to_string())
}

fn set(kept: &Aws, name: &str, value: &str) {
    kept.lock().unwrap().values.insert(name.into(), value.into());
}

fn asked(kept: &Aws) -> usize {
    std::mem::take(&mut kept.lock().unwrap().asked)
}

async fn world(aws: &SdkConfig) -> World {
    let aws = aws.clone();
    let engine = Engine::in_memory().unwrap();
    World::with_secrets(engine, CONFIG, Steps::new(), |secrets| secrets.reaching(aws)).await
}

/// Sends a webhook as somebody would who signs with this secret.
async fn send(world: &World, delivery: &Delivery, secret: &str) -> i64 {
    world.send(crate::world::signed_with(secret, delivery)).await.status
}

#[tokio::test]
async fn secrets_are_fetched_once_at_the_start() {
    let (kept, config) = aws().await;
    let world = world(&config).await;
    assert_eq!(asked(&kept), 3);

    let other = Delivery { source: "other", ..delivery("3", "{}") };
    assert_eq!(send(&world, &delivery("1", "{}"), "the new secret").await, 202);
    assert_eq!(send(&world, &delivery("2", "{}"), "the old secret").await, 202);
    assert_eq!(send(&world, &other, "the other secret").await, 202);
    assert_eq!(asked(&kept), 0);
}

#[tokio::test]
async fn a_changed_secret_is_found_when_a_signature_does_not_fit() {
    let (kept, config) = aws().await;
    let world = world(&config).await;
    set(&kept, "everhook/old", "a third secret");
    world.pass(Duration::from_secs(31));
    asked(&kept);

    assert_eq!(send(&world, &delivery("1", "{}"), "a third secret").await, 202);

    assert_eq!(asked(&kept), 2);
    assert_eq!(send(&world, &delivery("2", "{}"), "the old secret").await, 401);
}

#[tokio::test]
async fn forged_requests_drive_no_calls() {
    let (kept, config) = aws().await;
    let world = world(&config).await;
    asked(&kept);

    // The secrets were just fetched: nobody asks again.
    for number in 0..50 {
        assert_eq!(send(&world, &delivery(&number.to_string(), "{}"), "a guess").await, 401);
    }
    assert_eq!(asked(&kept), 0);

    // Two secrets, once in 30 seconds, whatever comes.
    for _ in 0..4 {
        world.pass(Duration::from_secs(15));
        for number in 0..50 {
            assert_eq!(send(&world, &delivery(&number.to_string(), "{}"), "a guess").await, 401);
        }
    }
    assert_eq!(asked(&kept), 4);

    let nowhere = Delivery { source: "nowhere", ..delivery("1", "{}") };
    world.pass(Duration::from_secs(31));
    assert_eq!(send(&world, &nowhere, "a guess").await, 401);
    assert_eq!(asked(&kept), 0);
}

#[tokio::test]
async fn reverifying_asks_for_the_secrets_at_once() {
    let (kept, aws) = aws().await;
    let config = CONFIG.replacen("\"hmac-sha256\"", "\"hmac-sha256\"\nquarantine = true", 1);
    let engine = Engine::in_memory().unwrap();
    let world =
        World::with_secrets(engine, &config, Steps::new(), |secrets| secrets.reaching(aws)).await;
    assert_eq!(send(&world, &delivery("1", "{}"), "a third secret").await, 401);
    set(&kept, "everhook/old", "a third secret");

    let source = SourceName::new("default");
    let reverified = world.parts.ingest.reverify(&source, false).await.unwrap().unwrap();

    assert_eq!((reverified.released, reverified.refused), (1, 0));
}

#[tokio::test]
async fn secrets_are_asked_for_again_after_five_minutes() {
    let (kept, config) = aws().await;
    let world = world(&config).await;
    set(&kept, "everhook/old", "a third secret");
    asked(&kept);
    world.pass(Duration::from_secs(301));

    // The secret that was taken back is not accepted any more, although nothing failed before.
    assert_eq!(send(&world, &delivery("1", "{}"), "the old secret").await, 401);

    assert_eq!(asked(&kept), 2);
    assert_eq!(send(&world, &delivery("1", "{}"), "a third secret").await, 202);
}

#[tokio::test]
async fn while_aws_does_not_answer_what_is_known_stays() {
    let (kept, config) = aws().await;
    let world = world(&config).await;
    kept.lock().unwrap().broken = true;
    world.pass(Duration::from_secs(301));

    assert_eq!(send(&world, &delivery("1", "{}"), "the old secret").await, 202);
    assert_eq!(send(&world, &delivery("2", "{}"), "the new secret").await, 202);
}

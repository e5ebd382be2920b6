//! `everhook verify`, as it is typed.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use dynoxide::Database;
use everhook::Steps;
use everhook::local::Server;
use everhook::local::door::Limits;
use everhook::local::server::Options;
use everhook_processor::steps::aws::Endpoints;
use serde_json::{Value, json};

use crate::world::client;

const CONFIG: &str = r#"
    [sources.open]
    scheme = "none"
    workflow = "open"

    [sources.other]
    scheme = "none"
    workflow = "open"

    [[workflows.open.steps]]
    name = "copy"
    run = "transform"
    jq = ".n"
"#;

async fn serve(folder: &Path) -> Server {
    let config = folder.join("everhook.toml");
    std::fs::write(&config, CONFIG).unwrap();
    let options = Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        data_dir: folder.join("data"),
        in_memory: false,
        new_keys: false,
        config,
        dynamodb_endpoint: None,
        endpoints: Endpoints::default(),
        limits: Limits::default(),
    };
    Server::start(&options, Steps::new()).await.unwrap()
}

async fn everhook(arguments: String) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_everhook"));
    let credentials = [
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
        ("AWS_REGION", "eu-central-1"),
    ];
    command.args(arguments.split(' ')).envs(credentials);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// What was said, and what was complained of.
fn words(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

async fn send(server: &Server, source: &str, body: String) -> String {
    let url = format!("http://{}/webhook/{source}", server.address);
    let answer = client().post(url).body(body).send().await.unwrap();
    let answer: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    let token = answer["executionToken"].as_str().unwrap().to_owned();
    let url = format!("http://{}/status/{token}", server.address);
    let mut shown = Value::Null;
    for _ in 0..200 {
        let answer = client().get(&url).send().await.unwrap().text().await.unwrap();
        shown = serde_json::from_str(&answer).unwrap();
        if shown["status"] == "completed" {
            return token;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{token} does not complete: {shown}");
}

/// The two calls of DynamoDB that it takes to verify, over the tables of a server that has stopped.
async fn door(database: Arc<Database>) -> String {
    async fn answer(
        State(database): State<Arc<Database>>,
        headers: HeaderMap,
        body: Bytes,
    ) -> (StatusCode, String) {
        fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> T {
            serde_json::from_slice(body).unwrap()
        }
        let said = match headers["x-amz-target"].to_str().unwrap() {
            "DynamoDB_20120810.Query" => match database.query(read(&body)) {
                Ok(found) => json!(found),
                // Tables of this version lack an index that those of earlier ones have.
                Err(error) => {
                    let kind = "com.amazon.coral.validate#ValidationException";
                    let said = json!({ "__type": kind, "message": error.to_string() });
                    return (StatusCode::BAD_REQUEST, said.to_string());
                }
            },
            "DynamoDB_20120810.GetItem" => json!(database.get_item(read(&body)).unwrap()),
            other => panic!("{other} is not needed"),
        };
        (StatusCode::OK, said.to_string())
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().fallback(answer).with_state(database);
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn histories_are_verified_over_a_server_and_over_the_tables_alone() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(folder.path()).await;
    let large: String =
        (0..10_000u64).map(|n| format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    let mut tokens = Vec::new();
    for number in 0..3 {
        tokens.push(send(&server, "open", format!("{{\"n\": {number}}}")).await);
    }
    let stored = send(&server, "other", format!("{{\"n\": \"{large}\"}}")).await;
    let at = format!("--server http://{}", server.address);

    let one = everhook(format!("verify {} {at}", tokens[0])).await;
    let (said, _) = words(&one);
    assert!(one.status.success(), "{one:?}");
    assert!(said.starts_with(&format!("execution {}\n   1  ", tokens[0])), "{said}");
    assert!(said.contains("  StepCompleted ExecutionCompleted\n"), "{said}");
    assert!(said.ends_with("\n1 history, 3 events, 1 body verified, 0 touched\n"), "{said}");
    let json = everhook(format!("verify {} --json {at}", tokens[0])).await;
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["touched"], &json["bodies"]), (&json!([]), &json!(1)));
    let all = everhook(format!("verify --all {at}")).await;
    // The large body, and the result that is made of it.
    assert_eq!(words(&all).0, "4 histories, 12 events, 5 bodies verified, 0 touched\n");
    let some = everhook(format!("verify --all --source open {at}")).await;
    assert_eq!(words(&some).0, "3 histories, 9 events, 3 bodies verified, 0 touched\n");
    let none = everhook(format!("verify AAAAAAAAAAAAAAAAAAAAAAAAAA {at}")).await;
    assert!(!none.status.success() && words(&none).1.contains("no execution"), "{none:?}");

    server.stop().await;
    let data = folder.path().join("data");
    let database = Database::new(data.join("tables.db").to_str().unwrap()).unwrap();
    let database = Arc::new(database);
    let config = format!("--config {}", folder.path().join("everhook.toml").display());
    let at = format!("--dynamodb-endpoint {} {config}", door(database.clone()).await);
    let all = everhook(format!("verify --all {at}")).await;
    let blind = "4 histories, 12 events, 3 bodies verified \
                 (2 not looked at: name their place with --payloads), 0 touched\n";
    assert_eq!(words(&all).0, blind);
    let at = format!("{at} --payloads file://{}", data.join("objects").display());
    let all = everhook(format!("verify --all {at}")).await;
    assert_eq!(words(&all).0, "4 histories, 12 events, 5 bodies verified, 0 touched\n");

    let key = json!({ "execution": { "S": tokens[1] }, "sequence": { "N": "2" } });
    let read = json!({ "TableName": "journal", "Key": key });
    let read = json!(database.get_item(serde_json::from_value(read).unwrap()).unwrap());
    let mut item = read["Item"].clone();
    item["append"] = json!({ "S": "another" });
    let put = json!({ "TableName": "journal", "Item": item });
    database.put_item(serde_json::from_value(put).unwrap()).unwrap();

    let all = everhook(format!("verify --all {at}")).await;
    let (said, complaint) = words(&all);
    let touched = format!(
        "execution {} was touched at event 2 (StepCompleted ExecutionCompleted): its append was changed: \
         it is not the one that the row of the executions table was written after\n\
         4 histories, 12 events, 5 bodies verified, 1 touched\n",
        tokens[1]
    );
    assert_eq!(said, touched);
    assert!(!all.status.success() && complaint.contains("1 history was touched"), "{complaint}");
    let one = everhook(format!("verify {} {at}", tokens[1])).await;
    let (said, complaint) = words(&one);
    assert!(said.contains("\ntouched: event 2 (StepCompleted ExecutionCompleted): "), "{said}");
    assert!(!one.status.success() && complaint.contains("touched at event 2"), "{complaint}");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    let other = everhook(format!("verify {stored} {at}")).await;
    assert!(other.status.success(), "{other:?}");
}

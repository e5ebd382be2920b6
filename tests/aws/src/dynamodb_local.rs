//! AWS's DynamoDB for one machine.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use everhook_journal::environment;
use everhook_journal::schema::Tables;
use everhook_journal::store::Store;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::template::{TABLES, Template};

/// How long it may take to start.
const START: Duration = Duration::from_secs(60);

/// How often a call is made at most.
const TRIES: u32 = 20;

/// A running DynamoDB Local, which ends with this value.
#[derive(Debug)]
pub(crate) struct DynamoDbLocal {
    pub(crate) endpoint: String,
    client: reqwest::Client,
    _process: Child,
    /// It writes a file where it starts.
    _folder: TempDir,
}

impl DynamoDbLocal {
    /// Starts one in memory. With `clock`, its time runs as libfaketime is told: `+0 x720`.
    pub(crate) async fn start(clock: Option<&str>) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/dynamodb-local.sh");
        let found = Command::new(script).stderr(Stdio::inherit()).output().await.unwrap();
        assert!(found.status.success(), "DynamoDB Local cannot be had");
        let folder = String::from_utf8(found.stdout).unwrap().trim().to_owned();
        let port = free_port();
        let started_in = tempfile::tempdir().unwrap();
        let mut command = Command::new("java");
        if let Some(clock) = clock {
            command
                .env("LD_PRELOAD", faketime_library())
                .env("FAKETIME", clock)
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "0");
        }
        let process = command
            .arg(format!("-Djava.library.path={folder}/DynamoDBLocal_lib"))
            .args(["-jar", &format!("{folder}/DynamoDBLocal.jar")])
            .args(["-inMemory", "-sharedDb", "-disableTelemetry", "-port", &port.to_string()])
            .current_dir(started_in.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let endpoint = format!("http://127.0.0.1:{port}");
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let local = Self { endpoint, client, _process: process, _folder: started_in };
        let latest = Instant::now() + START;
        while local
            .try_call("DynamoDB_20120810.ListTables", &Value::Object(Default::default()))
            .await
            .is_none()
        {
            assert!(Instant::now() < latest, "DynamoDB Local does not start");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        local
    }

    /// Makes the template's tables.
    pub(crate) async fn make_tables(&self, template: &Template) {
        for table in TABLES {
            for (operation, body) in template.table_calls(table) {
                self.call(operation, &body).await;
            }
        }
    }

    /// One call, as it goes over the wire.
    pub(crate) async fn call(&self, operation: &str, body: &Value) -> Value {
        let target = format!("DynamoDB_20120810.{operation}");
        self.called(&target, body).await.unwrap_or_else(|| panic!("{operation} failed"))
    }

    /// One call that may be refused; says with which error.
    pub(crate) async fn refused(&self, operation: &str, body: &Value) -> Option<String> {
        let target = format!("DynamoDB_20120810.{operation}");
        let answer = self.send(&target, body).await.expect("DynamoDB Local answers");
        let told: Value = answer.json().await.unwrap_or_default();
        let kind = told["__type"].as_str()?;
        Some(kind.rsplit('#').next().unwrap_or_default().to_owned())
    }

    /// One call for streams.
    pub(crate) async fn streams_call(&self, operation: &str, body: &Value) -> Value {
        let target = format!("DynamoDBStreams_20120810.{operation}");
        self.called(&target, body).await.unwrap_or_else(|| panic!("{operation} failed"))
    }

    /// One call, made again if it has no answer, or one of its own trouble: where its time runs fast,
    /// a connection is soon too old, and a lock soon waited for too long.
    async fn called(&self, target: &str, body: &Value) -> Option<Value> {
        for _ in 0..TRIES {
            if let Some(answer) = self.try_call(target, body).await {
                return Some(answer);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        None
    }

    async fn try_call(&self, target: &str, body: &Value) -> Option<Value> {
        let answer = self.send(target, body).await?;
        if answer.status().is_server_error() {
            return None;
        }
        if !answer.status().is_success() {
            panic!("{target}: {}", answer.text().await.unwrap_or_default());
        }
        serde_json::from_str(&answer.text().await.ok()?).ok()
    }

    async fn send(&self, target: &str, body: &Value) -> Option<reqwest::Response> {
        let request = self
            .client
            .post(&self.endpoint)
            .header("x-amz-target", target)
            .header("content-type", "application/x-amz-json-1.0")
            // It wants a name to be there, and asks nobody whether it is right.
            .header("authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/local/dynamodb/aws4_request, SignedHeaders=host, Signature=0")
            .body(body.to_string());
        request.send().await.ok()
    }

    /// A store over it, for what the functions would write.
    pub(crate) fn store(&self) -> Store {
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .http_client(environment::https())
            .endpoint_url(&self.endpoint)
            .build();
        Store::new(aws_sdk_dynamodb::Client::from_conf(config))
    }
}

/// The names of the stack's tables.
pub(crate) fn tables() -> Tables {
    Tables {
        journal: Template::table("JournalTable"),
        executions: Template::table("ExecutionsTable"),
        timers: Template::table("TimersTable"),
        ..Tables::default()
    }
}

/// A port that nobody listens at now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn faketime_library() -> String {
    let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"];
    let libraries = folders.map(|folder| format!("{folder}/faketime/libfaketimeMT.so.1"));
    let library = libraries.into_iter().find(|path| std::path::Path::new(path).exists());
    library.expect("libfaketime is missing: install it (Debian: apt-get install faketime)")
}

//! The server's own binary, at its most talkative.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use everhook_ingest::signature::Key;
use everhook_journal::secret::Secret;
use serde_json::Value;
use tokio::net::TcpListener;

use super::{Markers, Told, assert_silent};
use crate::hostile::raw::{Manner, exchange};
use crate::world::client;

/// What the target was sent.
type Received = Arc<Mutex<Vec<String>>>;

/// A target that gives everything back; at `/fails` as a failure.
async fn target(reply: String) -> (std::net::SocketAddr, Received) {
    let received = Received::default();
    let answer = move |State(received): State<Received>, uri: axum::http::Uri, body: String| async move {
        received.lock().unwrap().push(body.clone());
        let status = if uri.path() == "/fails" { StatusCode::BAD_REQUEST } else { StatusCode::OK };
        (status, [("x-reply", reply.clone())], format!("{reply} {body}"))
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().fallback(answer).with_state(received.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (address, received)
}

/// Sources by the name of their workflow, all with the same secret.
fn config(target: std::net::SocketAddr) -> String {
    let mut config = "[settings]\nprivate_hosts = [\"127.0.0.1\"]\nbody_bytes_max = 100000\n\
                      execution_key = \"file:execution-key\"\ncallback_key = \"file:callback-key\"\n"
        .to_owned();
    let schema = r#"{ type = "object", properties = { secret = { type = "number", enum = [1], maxLength = 1, pattern = "^a$" } } }"#;
    let http = |path: &str| {
        format!(
            "run = \"http\"\nurl = \"http://{target}{path}\"\nretry = {{ attempts = 1 }}\nsign = {{ secrets = [\"file:step-secret\"] }}"
        )
    };
    for (name, step) in [
        ("done", http("/done")),
        ("fails", http("/fails")),
        ("large", http("/large")),
        ("nowhere", "run = \"http\"\nurl = \"http://127.0.0.1:1/\"\nretry = { attempts = 1 }".into()),
        ("schema", format!("run = \"validate\"\nschema = {schema}")),
        ("error", "run = \"transform\"\njq = 'error(.secret)'".into()),
        ("thrown", "run = \"transform\"\njq = 'error(.)'".into()),
        ("number", "run = \"transform\"\njq = '.secret | tonumber'".into()),
        ("json", "run = \"transform\"\njq = '.secret | fromjson'".into()),
        ("add", "run = \"transform\"\njq = '.secret + 1'".into()),
        ("index", "run = \"transform\"\njq = '.secret.secret'".into()),
        ("time", "run = \"transform\"\njq = '.secret | fromdateiso8601'".into()),
        ("regex", "run = \"transform\"\njq = '. as $body | \"a\" | test(\"(\" + $body.secret)'".into()),
        ("filter", "run = \"filter\"\njq = '.secret | tonumber'".into()),
        ("map", "run = \"map\"\nitems = '.secret'\n\n[[workflows.map.steps.steps]]\nname = \"in\"\nrun = \"validate\"".into()),
        ("until", "run = \"wait\"\nuntil = '.secret'".into()),
        ("ask", "run = \"callback\"\nexpires = \"1h\"\n\n[[workflows.ask.steps.steps]]\nname = \"tell\"\njq = '$callback.url'\n".to_owned() + &http("/ask")),
    ] {
        config.push_str(&format!(
            "\n[sources.{name}]\nscheme = \"hmac-sha256\"\nsecrets = [\"file:source-secret\"]\nquarantine = true\n\
             workflow = \"{name}\"\n\n[[workflows.{name}.steps]]\nname = \"it\"\n{step}\n"
        ));
    }
    config
}

/// A running server, which is killed in the end.
pub(super) struct Binary {
    child: Child,
    pub(super) address: std::net::SocketAddr,
}

impl Binary {
    pub(super) async fn start(folder: &Path) -> Self {
        let file = |name| File::create(folder.join(name)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_everhook"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(folder.join("data"))
            .arg("--config")
            .arg(folder.join("everhook.toml"))
            .env("RUST_LOG", "trace")
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap();
        // From here on it is ended whatever happens.
        let mut binary = Self { child, address: ([0, 0, 0, 0], 0).into() };
        for _ in 0..400 {
            let said = std::fs::read_to_string(folder.join("stdout")).unwrap();
            if let Some(address) = said.split("http://").nth(1).and_then(|it| it.split(' ').next())
            {
                binary.address = address.parse().unwrap();
                return binary;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{}", std::fs::read_to_string(folder.join("stderr")).unwrap());
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Somebody who talks to the server, and what was told.
pub(super) struct Caller {
    pub(super) client: reqwest::Client,
    pub(super) base: String,
    pub(super) told: Vec<Told>,
}

impl Caller {
    pub(super) async fn call(
        &mut self,
        place: &'static str,
        request: reqwest::RequestBuilder,
    ) -> (u16, Value) {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), format!("{:?}", response.headers()));
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        self.told.push(Told { place, text: format!("{status} {headers} {text}") });
        (status, body)
    }

    pub(super) async fn get(&mut self, place: &'static str, path: &str) -> Value {
        let request = self.client.get(format!("{}{path}", self.base));
        self.call(place, request).await.1
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_binary_tells_nobody() {
    let markers = Markers::new();
    let folder = tempfile::tempdir().unwrap();
    let (target, received) = target(markers.text("reply").to_owned()).await;
    for name in ["source secret", "step secret", "execution key", "callback key"] {
        std::fs::write(folder.path().join(name.replace(' ', "-")), markers.text(name)).unwrap();
    }
    let config = config(target);
    std::fs::write(folder.path().join("everhook.toml"), &config).unwrap();
    let binary = Binary::start(folder.path()).await;
    let base = format!("http://{}", binary.address);
    let mut caller = Caller { client: client(), base: base.clone(), told: Vec::new() };

    let body = |rest: &str| format!("{{\"secret\":\"{}\"{rest}}}", markers.text("body"));
    let large = body(&format!(",\"more\":\"{}\"", markers.text("body").repeat(2_000)));
    let too_large = markers.text("body").repeat(4_000);
    let key = Key::new(
        &Secret::new("it", markers.text("source secret")),
        markers.text("source secret").as_bytes(),
    );
    let key = key.unwrap();
    let sign = |body: &str| {
        format!("sha256={}", data_encoding::HEXLOWER.encode(&key.sign(&[body.as_bytes()])))
    };
    let post = |source: &str, body: &str, signature: &str| {
        caller
            .client
            .post(format!("{base}/webhook/{source}?q={}", markers.text("query")))
            .header("x-webhook-signature", signature)
            .header("x-marked", markers.text("header"))
            .header("cookie", markers.text("cookie"))
            .header("authorization", format!("Bearer {}", markers.text("cookie")))
            .body(body.to_owned())
    };

    // What is accepted, and comes to whatever end.
    let sources: Vec<_> = config
        .lines()
        .filter_map(|line| line.strip_prefix("[sources.")?.strip_suffix(']'))
        .collect();
    let mut requests = Vec::new();
    let mut signatures = Vec::new();
    for (number, source) in sources.iter().enumerate() {
        let body =
            if *source == "large" { large.clone() } else { body(&format!(",\"n\":{number}")) };
        let signature = sign(&body);
        requests.push((*source, post(source, &body, &signature)));
        signatures.push(signature.strip_prefix("sha256=").unwrap().to_owned());
    }
    // What is not.
    let wrong = format!("sha256={}", markers.text("signature"));
    let whole = body("");
    let refused = [
        post("done", &whole, &wrong),
        post("done", &whole, markers.text("signature")),
        post("nobody", &whole, &wrong),
        post("done", &too_large, &sign(&too_large)),
        post("done", &whole[..whole.len() - 1], &sign(&whole[..whole.len() - 1])),
        post("done", markers.text("body"), &sign(markers.text("body"))),
        post("done", &whole, &sign(&whole)).header("content-encoding", markers.text("header")),
        caller.client.put(format!("{base}/webhook/done")).body(whole.clone()),
        caller.client.get(format!("{base}/webhook/done?{}", markers.text("query"))),
        caller
            .client
            .post(format!("{base}/callbacks/{}", markers.text("token guess")))
            .body(whole.clone()),
        caller.client.post(format!(
            "{base}/callbacks/AAAAAAAAAAAAAAAAAAAAAAAAAA.it.1.{}",
            markers.text("token guess")
        )),
        caller
            .client
            .get(format!("{base}/status/AAAAAAAAAAAAAAAAAAAAAAAAAA?{}", markers.text("query"))),
        caller.client.get(format!("{base}/executions?cursor={}", markers.text("query"))),
        caller.client.get(format!("{base}/executions?status={}", markers.text("query"))),
    ];

    let mut tokens = Vec::new();
    for (source, request) in requests {
        let (status, told) = caller.call("answers to senders", request).await;
        assert_eq!(status, 202, "{source}: {told}");
        tokens.push((source, told["executionToken"].as_str().unwrap().to_owned()));
    }
    for request in refused {
        let (status, told) = caller.call("refusals of senders", request).await;
        assert!((400..500).contains(&status), "{status} {told}");
    }
    let odd = format!(
        "POST /webhook/done?{} HTTP/1.1\r\nx-marked : {}\r\n\r\n{whole}",
        markers.text("query"),
        markers.text("header")
    );
    exchange(binary.address, odd.as_bytes(), Manner::default()).await;

    // Whoever was asked to call back does so, and again.
    let mut asked = None;
    for _ in 0..200 {
        let url = |body: &String| {
            body.trim_matches('"')
                .contains("/callbacks/")
                .then(|| body.trim_matches('"').to_owned())
        };
        asked = received.lock().unwrap().iter().find_map(url);
        if asked.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let asked = asked.unwrap();
    for answer in [markers.text("answer"), "another answer"] {
        let request = caller.client.post(&asked).body(format!("\"{answer}\""));
        caller.call("answers to callbacks", request).await;
    }

    for (source, token) in &tokens {
        for _ in 0..400 {
            let status = caller.get("statuses", &format!("/status/{token}")).await;
            if matches!(status["status"].as_str(), Some("completed" | "failed")) {
                break;
            }
            assert!(!status.is_null(), "{source}");
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        caller.get("histories, for secrets", &format!("/executions/{token}/events")).await;
    }
    let listed = caller.get("the list of executions", "/executions").await;
    let ends: Vec<_> = listed["executions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["status"].as_str().unwrap())
        .collect();
    assert_eq!(ends.len(), sources.len());
    assert!(ends.iter().filter(|end| **end == "failed").count() >= 10, "{ends:?}");
    assert!(ends.iter().filter(|end| **end == "completed").count() >= 3, "{ends:?}");
    caller.get("the list of failed executions", "/executions?status=failed").await;
    caller.get("the list of workflows", "/workflows").await;
    let kept = caller.get("the list of a quarantine", "/sources/done/quarantine").await;
    assert!(!kept["requests"].as_array().unwrap().is_empty());

    // It is written once a second.
    let positions = folder.path().join("data/processor-position.json");
    for _ in 0..400 {
        if positions.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let mut told = caller.told;
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    told.push(Told { place: "the server's log, traced", text: read("stderr") });
    told.push(Told { place: "the server's standard output", text: read("stdout") });
    told.push(Told {
        place: "the file of positions in the stream",
        text: read("data/processor-position.json"),
    });
    // A signature that fits is kept with the other headers, for operators, and told to nobody else.
    let log = read("stderr");
    assert!(
        signatures.iter().all(|signature| !log.contains(signature.as_str())),
        "a signature is logged"
    );
    // The token of a callback is in nothing that the server tells; the history of its step has the step's own answer.
    let token = asked.rsplit('/').next().unwrap();
    let outside: Vec<_> = told.iter().filter(|told| !told.place.starts_with("histories")).collect();
    for told in outside {
        assert!(!told.text.contains(token), "a callback's token is in {}", told.place);
    }
    assert_silent(
        &markers,
        &told,
        &[
            "the server's log, traced",
            "the server's standard output",
            "answers to senders",
            "refusals of senders",
            "answers to callbacks",
            "statuses",
            "the list of executions",
            "the list of failed executions",
            "the list of workflows",
            "the list of a quarantine",
            "histories, for secrets",
            "the file of positions in the stream",
        ],
    );
    drop(binary);
}

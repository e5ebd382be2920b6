//! What steps send with credentials in it, and what is recorded of it: never these.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use everhook_ingest::signature::Key;
use everhook_journal::secret::Secret;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::binary::{Binary, Caller};
use super::presets::files;
use super::{Markers, Told, assert_silent};
use crate::world::client;

/// What the target was sent: path, headers, body.
type Received = Arc<Mutex<Vec<(String, HeaderMap, String)>>>;

/// A target that tells nothing back; at `/slow` it never answers.
async fn target() -> (std::net::SocketAddr, Received) {
    let received = Received::default();
    let answer = |State(received): State<Received>, uri: Uri, headers: HeaderMap, body: String| async move {
        received.lock().unwrap().push((uri.to_string(), headers, body));
        if uri.path() == "/slow" {
            std::future::pending::<()>().await;
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().fallback(answer).with_state(received.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (address, received)
}

/// One workflow of steps with a secret in every place that a step has for one, and in some that it should not have.
fn config(target: std::net::SocketAddr, markers: &Markers) -> String {
    let (header, query) = (markers.text("step header"), markers.text("step query"));
    let step = |place: &str, name: &str, path: &str, more: &str| {
        format!(
            "[[workflows.default.{place}]]\nname = \"{name}\"\nrun = \"http\"\nretry = \"none\"\n\
             url = 'http://{target}{path}'\n{more}\n"
        )
    };
    let signed = format!(
        "jq = '{{id}}'\nsign = {{ secrets = [\"file:step-secret\"] }}\n\
         headers = {{ Authorization = \"Bearer {header}\", X-Api-Key = \"{header}\", Cookie = \"a={header}\", X-Team = \"billing\" }}"
    );
    let ask = "[[workflows.default.steps]]\nname = \"ask\"\nrun = \"callback\"\nexpires = \"1h\"\n";
    [
        "[settings]\nprivate_hosts = [\"127.0.0.1\"]\nexecution_key = \"file:execution-key\"\n\
         callback_key = \"file:callback-key\"\n\
         [sources.default]\nscheme = \"hmac-sha256\"\nsecrets = [\"file:source-secret\"]\n"
            .to_owned(),
        step("steps", "signed", &format!("/signed?api_key={query}&page=1"), &signed),
        step("steps", "large", "/large", "jq = '.large'"),
        step("steps", "quiet", "/quiet", "jq = '{quiet: .id}'\nrecord_request = false"),
        ask.to_owned(),
        step("steps.steps", "tell", "/tell", "jq = '{answerTo: $callback.url}'"),
        step("steps.steps", "disguised", "/disguised", "jq = '$callback.token | @base64'"),
        step("steps.steps", "elsewhere", r"/\($callback.token | ascii_downcase)", ""),
        step("steps", "slow", "/slow", "timeout = \"300ms\""),
    ]
    .concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_credential_that_a_step_sends_is_kept_or_told() {
    let markers = Markers::new();
    let folder = tempfile::tempdir().unwrap();
    let (target, received) = target().await;
    for name in ["source secret", "step secret", "execution key", "callback key"] {
        std::fs::write(folder.path().join(name.replace(' ', "-")), markers.text(name)).unwrap();
    }
    std::fs::write(folder.path().join("everhook.toml"), config(target, &markers)).unwrap();
    let binary = Binary::start(folder.path()).await;
    let base = format!("http://{}", binary.address);
    let mut caller = Caller { client: client(), base: base.clone(), told: Vec::new() };
    let sent = |path: &str| {
        let received = received.lock().unwrap();
        received.iter().find(|(called, ..)| called.starts_with(path)).cloned()
    };

    let body = json!({"id": 7, "large": "x".repeat(5_000)}).to_string();
    let secret = markers.text("source secret");
    let key = Key::new(&Secret::new("it", secret), secret.as_bytes()).unwrap();
    let signature = data_encoding::HEXLOWER.encode(&key.sign(&[body.as_bytes()]));
    let request = caller
        .client
        .post(format!("{base}/webhook/default"))
        .header("x-webhook-signature", format!("sha256={signature}"))
        .body(body);
    let (status, answer) = caller.call("answers to senders", request).await;
    assert_eq!(status, 202, "{answer}");
    let token = answer["executionToken"].as_str().unwrap().to_owned();
    let status = async |caller: &mut Caller, wanted: &[&str], called: &str| {
        for _ in 0..400 {
            let status = caller.get("statuses", &format!("/status/{token}")).await;
            if wanted.contains(&status["status"].as_str().unwrap()) && sent(called).is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{called} was not called");
    };
    status(&mut caller, &["running", "waiting"], "/disguised").await;
    let (_, _, asked) = sent("/tell").unwrap();
    let asked: Value = serde_json::from_str(&asked).unwrap();
    let asked = asked["answerTo"].as_str().unwrap();
    let callback_token = asked.rsplit('/').next().unwrap();
    let request = caller.client.post(asked).body("{}");
    caller.call("answers to callbacks", request).await;
    status(&mut caller, &["failed"], "/slow").await;
    let told = caller.get("histories, for secrets", &format!("/executions/{token}/events")).await;
    caller.get("the list of executions", "/executions").await;
    caller.get("the list of failed executions", "/executions?status=failed").await;
    caller.get("the list of workflows", "/workflows").await;

    // What is recorded is what was sent, but for the credentials.
    let events = told["events"].as_array().unwrap();
    let outcome = |name: &str| {
        let mut outcomes = events.iter().rev().filter_map(|event| {
            let (kind, outcome) = event["event"].as_object()?.iter().next()?;
            let is_outcome = ["StepCompleted", "StepFailed"].contains(&kind.as_str());
            (outcome["step"] == name && is_outcome).then(|| (kind.clone(), outcome.clone()))
        });
        outcomes.next().unwrap_or_else(|| panic!("{name} has no outcome: {told:#}"))
    };
    let (_, signed) = outcome("signed");
    assert_eq!(signed["request"]["url"], format!("http://{target}/signed?api_key=…&page=1"));
    let headers = &signed["request"]["headers"];
    for name in ["authorization", "x-api-key", "cookie", "webhook-signature"] {
        assert_eq!(headers.get(name), Some(&Value::Null), "{name}");
    }
    assert_eq!(
        (&headers["x-team"], &headers["everhook-attempt"]),
        (&json!("billing"), &json!("1"))
    );
    assert_eq!(signed["request"]["body"], json!({"text": "{\"id\":7}"}));
    let (_, _, large) = sent("/large").unwrap();
    let sha256 = everhook_journal::payload::sha256_hex(large.as_bytes());
    let omitted = json!({"omitted": {"sha256": sha256, "bytes": 5_000}});
    assert_eq!(outcome("large").1["request"]["body"], omitted);
    assert_eq!(outcome("quiet").1.get("request"), None);
    for name in ["ask/tell", "ask/disguised"] {
        let body = &outcome(name).1["request"]["body"];
        assert!(body["omitted"]["bytes"].as_u64().is_some_and(|bytes| bytes > 50), "{body}");
    }
    assert_eq!(outcome("ask/elsewhere").1["request"]["url"], format!("http://{target}/…"));
    let (kind, slow) = outcome("slow");
    assert_eq!((kind.as_str(), &slow["error"]["kind"]), ("StepFailed", &json!("timeout")));
    assert_eq!(slow["request"]["url"], format!("http://{target}/slow"));
    assert_eq!(slow["request"]["body"], "webhook");

    let (_, headers, _) = sent("/signed").unwrap();
    let signature = headers["webhook-signature"].to_str().unwrap().trim_start_matches("v1,");
    assert!(headers["authorization"].to_str().unwrap().contains(markers.text("step header")));
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let mut told = caller.told;
    told.push(Told { place: "the server's log, traced", text: read("stderr") });
    told.push(Told { place: "the server's standard output", text: read("stdout") });
    let places = [
        "answers to senders",
        "answers to callbacks",
        "statuses",
        "histories, for secrets",
        "the list of executions",
        "the list of failed executions",
        "the list of workflows",
        "the server's log, traced",
        "the server's standard output",
    ];
    assert_silent(&markers, &told, &places);
    drop(binary);

    // The literal headers are part of the stored definition; what comes from a reference, or is derived from it, is nowhere.
    // Events are stored packed: the histories that were told are what they unpack to.
    let mut stored = files(&folder.path().join("data"));
    assert!(told.iter().any(|told| told.text.contains("everhook-attempt")));
    stored.extend(told.into_iter().map(|told| (told.place.to_owned(), told.text)));
    let disguised = data_encoding::BASE64_NOPAD.encode(callback_token.as_bytes());
    let lower = callback_token.to_lowercase();
    // The last character depends on what follows.
    let nowhere = [signature.trim_end_matches('='), callback_token, &disguised, &lower];
    for (place, text) in &stored {
        for secret in nowhere {
            assert!(!text.contains(secret), "{secret} is in {place}");
        }
        let secrets = markers.secrets();
        let secret = secrets.iter().find(|it| it.name == "step secret").unwrap();
        assert_eq!(secret.found_in(text), None, "{place}");
    }
}

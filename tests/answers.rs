//! Callbacks that are answered while a call is in flight, through a real server: each target is asked once, and what
//! waits for the answer goes on at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::Uri;
use everhook::local::door::Limits;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::standing::Standing;

/// How soon after its answer a branch goes on. It takes milliseconds; a machine that is busy with other tests gets more
/// time, but less than the other branch's call takes.
const SOON: Duration = Duration::from_secs(3);

/// How long a call goes on after its target has answered the callback.
const AFTERWARDS: Duration = Duration::from_secs(1);

/// How long the slow call takes.
const SLOW: Duration = Duration::from_secs(5);

/// What targets were asked, by path, and when.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<BTreeMap<String, Vec<Instant>>>>);

impl Asked {
    fn note(&self, path: &str) {
        self.0.lock().unwrap().entry(path.to_owned()).or_default().push(Instant::now());
    }

    /// How often each target was asked.
    fn counts(&self) -> BTreeMap<String, usize> {
        let asked = self.0.lock().unwrap();
        asked.iter().map(|(path, times)| (path.clone(), times.len())).collect()
    }

    /// When a target was asked first.
    async fn first(&self, path: &str) -> Instant {
        loop {
            let first = self.0.lock().unwrap().get(path).map(|times| times[0]);
            match first {
                Some(first) => return first,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }
}

/// Targets that note what they are asked, and where to answer.
#[derive(Clone)]
struct Targets {
    asked: Asked,
    answer_to: Arc<Mutex<Option<String>>>,
    client: reqwest::Client,
}

async fn receive(State(targets): State<Targets>, uri: Uri, body: Bytes) -> String {
    targets.asked.note(uri.path());
    match uri.path() {
        "/slow" => tokio::time::sleep(SLOW).await,
        "/ask" | "/ask-and-answer" => {
            let asked: Value = serde_json::from_slice(&body).unwrap();
            let url = asked["answerTo"].as_str().unwrap().to_owned();
            *targets.answer_to.lock().unwrap() = Some(url.clone());
            if uri.path() == "/ask-and-answer" {
                answer(&targets.client, &url).await;
                // The answer is there well before this call has ended.
                tokio::time::sleep(AFTERWARDS).await;
            }
        }
        _ => {}
    }
    "{}".to_owned()
}

async fn answer(client: &reqwest::Client, url: &str) {
    let response = client.post(format!("{url}/success")).body("{}").send().await.unwrap();
    assert_eq!(response.status(), 200);
}

/// A server of this workflow, and its targets.
async fn serving(workflow: &str) -> (Standing, Targets) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let targets = Targets {
        asked: Asked::default(),
        answer_to: Arc::default(),
        client: crate::world::client(),
    };
    let app = Router::new().fallback(receive).with_state(targets.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let config = format!(
        "[settings]\nprivate_hosts = [\"127.0.0.1\"]\n[sources.default]\nverify = \"none\"\n{}",
        workflow.replace("TARGET", &address.to_string())
    );
    (Standing::start(&config, Limits::default()).await, targets)
}

/// A branch with a slow call beside one that asks, waits for the answer, and tells.
const FORK: &str = r#"
    [[workflows.default.steps]]
    name = "both"
    run = "parallel"

    [[workflows.default.steps.branches]]
    name = "a"
    [[workflows.default.steps.branches.steps]]
    name = "slow"
    run = "http"
    url = "http://TARGET/slow"

    [[workflows.default.steps.branches]]
    name = "b"
    [[workflows.default.steps.branches.steps]]
    name = "answer"
    run = "callback"
    expires = "1h"
    [[workflows.default.steps.branches.steps.steps]]
    name = "ask"
    run = "http"
    url = "http://TARGET/ask"
    jq = "{answerTo: $callback.url}"
    [[workflows.default.steps.branches.steps]]
    name = "tell"
    run = "http"
    url = "http://TARGET/tell"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_beside_a_call_goes_on_at_once_and_repeats_nothing() {
    let (standing, targets) = serving(FORK).await;
    let token = standing.accepted("default", "{}").await;
    targets.asked.first("/slow").await;
    targets.asked.first("/ask").await;
    tokio::time::sleep(Duration::from_secs(1)).await;

    // An operator's redrive of what has not failed is refused, and changes nothing.
    let redrive = standing.url(&format!("/executions/{token}/redrive"));
    assert_eq!(standing.client.post(redrive).send().await.unwrap().status(), 409);
    let url = targets.answer_to.lock().unwrap().clone().unwrap();
    let answered = Instant::now();
    answer(&standing.client, &url).await;
    let told = targets.asked.first("/tell").await;

    let took = told.duration_since(answered);
    println!("the branch went on {took:?} after its answer");
    assert!(took < SOON, "{took:?}");
    assert_eq!(standing.ended(&token).await["status"], "completed");
    let once = ["/ask", "/slow", "/tell"].map(|path| (path.to_owned(), 1));
    assert_eq!(targets.asked.counts(), BTreeMap::from(once));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_answers_its_callback_before_its_call_is_asked_once() {
    let (standing, targets) = serving(&FORK.replace("TARGET/ask", "TARGET/ask-and-answer")).await;

    let token = standing.accepted("default", "{}").await;

    assert_eq!(standing.ended(&token).await["status"], "completed");
    let once = ["/ask-and-answer", "/slow", "/tell"].map(|path| (path.to_owned(), 1));
    assert_eq!(targets.asked.counts(), BTreeMap::from(once));
    let (asked, told) =
        (targets.asked.first("/ask-and-answer").await, targets.asked.first("/tell").await);
    assert!(told.duration_since(asked) < SLOW, "{:?}", told.duration_since(asked));
}

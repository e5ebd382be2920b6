//! A target that hangs slows down nobody else: a real server, and targets on this machine.

use std::time::{Duration, Instant};

use everhook::local::door::Limits;
use futures_util::future::join_all;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::standing::Standing;

/// How soon another source's webhook completes at least.
const SOON: Duration = Duration::from_secs(2);

/// How much longer than on the same machine without the other source, which is busy as well.
const TIMES: u32 = 20;

/// A target that takes connections and never answers.
async fn hanging() -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let holding = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    (format!("http://{address}/"), holding)
}

/// A source whose step calls a target that hangs, and one that only looks.
fn config(url: &str, more: &str, is_map: bool) -> String {
    let call = format!(
        "run = \"http\"\nurl = \"{url}\"\ntimeout = \"20s\"\nretry = {{ attempts = 1 }}\n{more}\n"
    );
    let steps = match is_map {
        false => format!("[[workflows.bad.steps]]\nname = \"call\"\n{call}"),
        true => format!(
            "[[workflows.bad.steps]]\nname = \"each\"\nrun = \"map\"\nitems = \"[range(100)]\"\n\
             concurrency = 100\n[[workflows.bad.steps.steps]]\nname = \"call\"\n{call}"
        ),
    };
    format!(
        "[settings]\nprivate_hosts = [\"127.0.0.1\"]\nconcurrency = 8\n\
         [sources.bad]\nverify = \"none\"\nworkflow = \"bad\"\n\
         [sources.good]\nverify = \"none\"\nworkflow = \"good\"\n\
         {steps}\n[[workflows.good.steps]]\nname = \"look\"\nrun = \"validate\"\n"
    )
}

/// How long a webhook of the healthy source takes to its end.
async fn healthy(standing: &Standing, number: usize) -> Duration {
    let began = Instant::now();
    let token = standing.accepted("good", &format!("{{\"n\":{number}}}")).await;
    assert_eq!(standing.ended(&token).await["status"], "completed");
    began.elapsed()
}

async fn assert_others_are_served(more: &str, is_map: bool, burst: usize) {
    let (url, holding) = hanging().await;
    let standing = Standing::start(&config(&url, more, is_map), Limits::default()).await;
    let alone = healthy(&standing, 0).await.max(healthy(&standing, 1).await);
    let bodies: Vec<_> = (0..burst).map(|n| format!("{{\"bad\":{n}}}")).collect();
    for bodies in bodies.chunks(30) {
        join_all(bodies.iter().map(|body| standing.accepted("bad", body))).await;
    }

    for number in 2..5 {
        let took = healthy(&standing, number).await;
        assert!(
            took < SOON.max(alone * TIMES),
            "{took:?} after a burst of {burst}, {alone:?} alone"
        );
    }

    holding.abort();
    // Those calls need not be waited for.
    drop(standing);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_webhooks_to_a_target_that_hangs_slow_down_nobody_else() {
    assert_others_are_served("", false, 12).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_to_a_target_that_hangs_slows_down_nobody_else() {
    assert_others_are_served("", false, 300).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_at_a_target_that_hangs_slows_down_nobody_else() {
    assert_others_are_served("limit = { concurrency = 4 }", false, 40).await;
    assert_others_are_served("limit = { rate = \"2/s\" }", false, 40).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_map_of_calls_to_a_target_that_hangs_slows_down_nobody_else() {
    assert_others_are_served("", true, 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_a_turn_is_no_attempt_and_never_a_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let app = axum::Router::new().fallback(|| async { "ok" });
    let target = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let limit = "limit = { rate = \"5/s\", concurrency = 1 }";
    let standing = Standing::start(&config(&url, limit, false), Limits::default()).await;

    let began = Instant::now();
    let bodies: Vec<_> = (0..25).map(|n| format!("{{\"bad\":{n}}}")).collect();
    let tokens = join_all(bodies.iter().map(|body| standing.accepted("bad", body))).await;
    for token in &tokens {
        let status: Value = standing.ended(token).await;
        assert_eq!(status["status"], "completed", "{status}");
        assert_eq!(status["steps"][0]["attempts"], 1, "{status}");
    }

    // The first begins at once, each of the others a fifth of a second after the one before.
    assert!(began.elapsed() >= Duration::from_millis(24 * 200), "{:?}", began.elapsed());
    target.abort();
}

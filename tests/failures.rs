//! Steps that fail, panic or hang.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use everhook::{Input, StepError, Steps};
use serde_json::json;

use crate::world::{World, delivery};

/// A workflow whose middle step is the user's own `middle`.
fn workflow(retry: &str) -> String {
    format!(
        r#"
        [sources.default]
        scheme = "hmac-sha256"
        secrets = ["file:secret"]

        [[workflows.default.steps]]
        name = "validate"
        run = "validate"

        [[workflows.default.steps]]
        name = "middle"
        run = "middle"
        timeout = "100ms"
        retry = {retry}

        [[workflows.default.steps]]
        name = "last"
        run = "transform"
        jq = '$steps.middle'
    "#
    )
}

const THREE: &str = r#"{ attempts = 3, backoff = "fixed", first = "10s" }"#;

#[derive(Clone, Default)]
struct Runs(Arc<AtomicU32>);

impl Runs {
    fn add(&self) -> u32 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn count(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Fails so many times, then succeeds.
fn flaky(failures: u32) -> (Steps, Runs) {
    let runs = Runs::default();
    let counted = runs.clone();
    let step = move |_: Input| {
        let run = counted.add();
        async move {
            if run <= failures {
                return Err(StepError::retryable("unlucky", format!("run {run}")));
            }
            Ok(json!({ "run": run }))
        }
    };
    (Steps::new().with("middle", step), runs)
}

#[tokio::test]
async fn a_step_that_fails_twice_then_succeeds_completes() {
    let (steps, runs) = flaky(2);
    let world = World::with_steps(&workflow(THREE), steps).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;

    world.settle().await;
    let waiting = world.status(&token).await;
    world.pass(Duration::from_secs(9));
    world.settle().await;
    let too_early = runs.count();
    world.live_through(Duration::from_secs(20), Duration::from_secs(1)).await;

    assert_eq!(waiting["status"], "waiting");
    assert_eq!(waiting["currentStep"], "middle");
    assert_eq!(waiting["steps"][1]["status"], "retrying");
    assert_eq!(waiting["steps"][1]["error"], "unlucky: run 1");
    assert_eq!(too_early, 1);
    assert_eq!(
        world.story(&token).await,
        [
            "WebhookReceived",
            "StepCompleted validate 1",
            "StepFailed middle 1 unlucky",
            "TimerFired",
            "StepFailed middle 2 unlucky",
            "TimerFired",
            "StepCompleted middle 3",
            "StepCompleted last 1",
            "ExecutionCompleted",
        ]
    );
    let status = world.status(&token).await;
    assert_eq!(
        (&status["status"], &status["steps"][1]["attempts"]),
        (&json!("completed"), &json!(3))
    );
    assert_eq!(runs.count(), 3);
}

#[tokio::test]
async fn a_step_that_never_succeeds_fails_its_execution_visibly() {
    let (steps, runs) = flaky(u32::MAX);
    let world = World::with_steps(&workflow(THREE), steps).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;

    world.live_through(Duration::from_secs(60), Duration::from_secs(1)).await;

    let status = world.status(&token).await;
    assert_eq!(status["status"], "failed");
    assert_eq!(status["currentStep"], "middle");
    assert_eq!(status["error"], json!({"step": "middle", "kind": "unlucky", "message": "run 3"}));
    assert_eq!(runs.count(), 3);
    let listed = world.get("/executions?status=failed").await.body;
    assert_eq!(listed["executions"][0]["executionToken"], json!(token));
}

#[tokio::test]
async fn a_step_that_panics_is_a_failure_like_any_other() {
    let step = |input: Input| async move {
        assert!(input.attempt > 1, "the first attempt panics");
        Ok(json!("fine"))
    };
    let world = World::with_steps(&workflow(THREE), Steps::new().with("middle", step)).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;

    world.live_through(Duration::from_secs(12), Duration::from_secs(1)).await;

    let story = world.story(&token).await;
    assert_eq!(story[2..5], ["StepFailed middle 1 panic", "TimerFired", "StepCompleted middle 2"]);
}

#[tokio::test]
async fn a_step_that_hangs_times_out_and_others_are_untouched() {
    let step = |input: Input| async move {
        if input.webhook.delivery_id.as_str() == "hangs" {
            std::future::pending::<()>().await;
        }
        Ok(json!("fine"))
    };
    let once = r#"{ attempts = 1 }"#;
    let world = World::with_steps(&workflow(once), Steps::new().with("middle", step)).await;
    let hanging = world.accepted(&delivery("hangs", "{}")).await;
    let fine = world.accepted(&delivery("fine", "{}")).await;

    world.settle().await;

    assert_eq!(world.status(&fine).await["status"], "completed");
    assert_eq!(
        world.story(&hanging).await,
        [
            "WebhookReceived",
            "StepCompleted validate 1",
            "StepFailed middle 1 timeout",
            "ExecutionFailed timeout",
        ]
    );
}

#[tokio::test]
async fn a_failure_that_every_attempt_would_meet_is_not_tried_again() {
    let step = |_: Input| async { Err::<(), _>(StepError::fatal("invalid", "never")) };
    let world = World::with_steps(&workflow(THREE), Steps::new().with("middle", step)).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;

    world.settle().await;

    assert_eq!(world.story(&token).await.last().unwrap(), "ExecutionFailed invalid");
}

#[tokio::test]
async fn an_invalid_body_fails_visibly_and_not_silently() {
    let world = World::start(crate::world::PLAIN).await;
    let array = world.accepted(&delivery("d-1", "[1, 2]")).await;

    world.settle().await;

    let status = world.status(&array).await;
    assert_eq!(
        (&status["status"], &status["error"]["kind"]),
        (&json!("failed"), &json!("invalid"))
    );
}

#[tokio::test]
async fn a_result_that_is_too_large_is_a_failure() {
    let step = |_: Input| async { Ok("x".repeat(300_000)) };
    let world = World::with_steps(&workflow(THREE), Steps::new().with("middle", step)).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;

    world.settle().await;

    assert_eq!(world.story(&token).await.last().unwrap(), "ExecutionFailed too_large");
}

#[tokio::test]
async fn large_results_reach_the_next_step_whole() {
    let noise: String =
        (0..200_000u64).map(|n| char::from(b'a' + (n * n % 23 + n % 3) as u8)).collect();
    let expected = noise.clone();
    let step = move |_: Input| {
        let noise = noise.clone();
        async move { Ok(noise) }
    };
    let world = World::with_steps(&workflow(THREE), Steps::new().with("middle", step)).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;

    world.settle().await;

    let execution =
        everhook_journal::Execution::fold(&world.history(&token).await).unwrap().unwrap();
    let (_, last) = execution.line.outputs().last().unwrap();
    let opened = world.parts.ingest.payloads.open(last).await.unwrap();
    assert_eq!(serde_json::from_slice::<String>(&opened).unwrap(), expected);
}

#[tokio::test]
async fn every_attempt_carries_one_idempotency_key() {
    let keys = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = keys.clone();
    let step = move |input: Input| {
        seen.lock().unwrap().push(input.idempotency_key());
        async move {
            if input.attempt < 3 {
                return Err(StepError::retryable("unlucky", ""));
            }
            Ok(1)
        }
    };
    let world = World::with_steps(&workflow(THREE), Steps::new().with("middle", step)).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;

    world.live_through(Duration::from_secs(25), Duration::from_secs(1)).await;

    assert_eq!(*keys.lock().unwrap(), vec![format!("{token}:middle"); 3]);
}

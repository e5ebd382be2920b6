//! How long failed steps are tried again, and that `everhook check --explain` says the same.

use std::path::PathBuf;

use everhook_journal::config::Config;

use super::*;

/// Fails in a way that could go better.
async fn down(_: Input) -> Result<(), StepError> {
    Err(StepError::retryable("http_503", "it is down"))
}

/// Looks, and finds nothing.
async fn nothing(_: Input) -> Result<bool, StepError> {
    Ok(false)
}

fn retried(retry: &str) -> String {
    format!("[[workflows.default.steps]]\nname = \"call\"\nrun = \"down\"\nretry = {retry}\n")
}

/// How long after its first attempt a step was given up, and after how many.
async fn given_up(world: &World, id: &ExecutionId) -> (Duration, usize) {
    let ends: Vec<_> = world
        .history(id)
        .await
        .into_iter()
        .filter_map(|recorded| match recorded.event {
            Event::StepFailed { started_at, .. } | Event::StepPolled { started_at, .. } => {
                Some(started_at)
            }
            _ => None,
        })
        .collect();
    (ends[ends.len() - 1].since(ends[0]), ends.len())
}

/// Lets time pass from attempt to attempt, at most so many.
async fn attempt(world: &World, id: &ExecutionId, attempts_max: usize) {
    for _ in 0..attempts_max {
        world.settle().await;
        let history = world.history(id).await;
        let next = history.iter().rev().find_map(|recorded| match &recorded.event {
            Event::StepFailed { retry_at, .. } => Some(*retry_at),
            Event::StepPolled { next_at, .. } => Some(Some(*next_at)),
            _ => None,
        });
        match next.flatten() {
            Some(at) => world.pass(at.since(world.now())),
            None => return,
        }
    }
}

/// What is told of the only step.
fn explained(workflow: &str) -> String {
    let config = Config::parse(&format!("{SOURCE}{workflow}"), PathBuf::new()).unwrap();
    everhook::explain::explain(&config).lines().nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn an_age_without_attempts_lasts_that_long() {
    let told = explained(&retried(r#"{ max_age = "3d", jitter = "none" }"#));
    assert!(told.contains("1s doubling to 43m 12s, gives up after 3d;"), "{told}");
    let workflow = retried(r#"{ max_age = "3d", max = "6h", jitter = "none" }"#);
    let world = world(&workflow, Steps::new().with("down", down)).await;
    let id = world.accepted(&order(json!({}))).await;
    attempt(&world, &id, 100).await;

    assert_eq!(world.status(&id).await["status"], "failed");
    let (age, attempts) = given_up(&world, &id).await;
    assert!(age > 66 * HOUR && age <= 72 * HOUR && attempts > 20, "{attempts}: {age:?}");
}

#[tokio::test]
async fn attempts_that_end_before_the_age_are_told_as_they_are() {
    let workflow = retried(r#"{ attempts = 80, max = "1h", max_age = "3d", jitter = "none" }"#);
    let told = explained(&workflow);
    assert!(told.contains("up to 80 attempts, 1s doubling to 1h, gives up after 2d 20h"), "{told}");
    let drawn = explained(&retried(r#"{ attempts = 80, max = "1h", max_age = "3d" }"#));
    let words = "gives up after about 1d 10h, after 2d 20h at the latest";
    assert!(drawn.contains(words), "{drawn}");
    let usual = explained(&retried("{}"));
    assert!(usual.contains("gives up after about 15s 500ms, after 31s at the latest"), "{usual}");
}

#[tokio::test]
async fn a_redrive_gives_the_age_anew() {
    let workflow = retried(r#"{ max_age = "1h", max = "30m", jitter = "none" }"#);
    let world = world(&workflow, Steps::new().with("down", down)).await;
    let id = world.accepted(&order(json!({}))).await;
    attempt(&world, &id, 100).await;
    let (_, before) = given_up(&world, &id).await;
    assert_eq!(world.status(&id).await["status"], "failed");

    world.pass(HOUR);
    assert_eq!(post(&world, &format!("/executions/{id}/redrive"), "").await.0, 200);
    attempt(&world, &id, 100).await;

    let (_, after) = given_up(&world, &id).await;
    assert_eq!((world.status(&id).await["status"].clone(), after), (json!("failed"), 2 * before));
}

#[tokio::test]
async fn a_poll_stops_at_its_age() {
    let workflow = r#"
        [[workflows.default.steps]]
        name = "call"
        run = "poll"
        until = "."
        retry = { max_age = "1h", attempts = 100, first = "5m", backoff = "fixed" }

        [[workflows.default.steps.steps]]
        name = "look"
        run = "nothing"
    "#;
    let world = world(workflow, Steps::new().with("nothing", nothing)).await;
    let id = world.accepted(&order(json!({}))).await;
    attempt(&world, &id, 30).await;
    let status = world.status(&id).await;
    assert_eq!(status["error"]["kind"], "poll_exhausted", "{status}");
    let (age, looks) = given_up(&world, &id).await;
    assert!(age <= HOUR && looks <= 13, "{age:?} {looks}");
}

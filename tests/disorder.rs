//! Records that come late, twice, in another order or never.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use everhook::{Input, StepError, Steps};
use everhook_journal::stream::BatchResponse;
use everhook_journal::{ExecutionId, Recorded};
use everhook_processor::sweep::SWEEP_EVERY;
use everhook_simulation::dice::Dice;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::{World, delivery};

const WORKFLOW: &str = r#"
    [sources.default]
    scheme = "hmac-sha256"
    secrets = ["file:secret"]

    [[workflows.default.steps]]
    name = "validate"
    run = "validate"

    [[workflows.default.steps]]
    name = "flaky"
    run = "flaky"
    retry = { attempts = 3, backoff = "fixed", first = "10s" }

    [[workflows.default.steps]]
    name = "then"
    run = "transform"
    jq = '$steps.flaky'

    [[workflows.default.steps]]
    name = "steady"
    run = "steady"
"#;

const STORY: [&str; 8] = [
    "WebhookReceived",
    "StepCompleted validate 1",
    "StepFailed flaky 1 unlucky",
    "TimerFired",
    "StepCompleted flaky 2",
    "StepCompleted then 1",
    "StepCompleted steady 1",
    "ExecutionCompleted",
];

/// Fails on every first attempt; counts all runs.
fn steps() -> (Steps, Arc<AtomicU32>) {
    let runs = Arc::new(AtomicU32::new(0));
    let (one, two) = (runs.clone(), runs.clone());
    let flaky = move |input: Input| {
        one.fetch_add(1, Ordering::SeqCst);
        async move {
            if input.attempt == 1 {
                return Err(StepError::retryable("unlucky", ""));
            }
            Ok(json!(input.attempt))
        }
    };
    let steady = move |_: Input| {
        two.fetch_add(1, Ordering::SeqCst);
        async { Ok(json!(null)) }
    };
    (Steps::new().with("flaky", flaky).with("steady", steady), runs)
}

/// How one round of records reaches the functions.
#[derive(Debug, Clone)]
struct Disorder {
    shuffle: u64,
    double: bool,
    drop: bool,
}

fn disorders() -> impl Strategy<Value = Vec<Disorder>> {
    let one = (any::<u64>(), any::<bool>(), prop::bool::weighted(0.3))
        .prop_map(|(shuffle, double, drop)| Disorder { shuffle, double, drop });
    prop::collection::vec(one, 1..12)
}

/// The records in another order, perhaps twice, perhaps not all.
fn disordered(records: &[Value], disorder: &Disorder) -> Vec<Value> {
    let mut result = records.to_vec();
    if disorder.double {
        result.extend_from_slice(records);
    }
    Dice::new(disorder.shuffle).shuffle(&mut result);
    if disorder.drop {
        result.truncate(result.len() / 2);
    }
    result
}

async fn live_in_disorder(disorders: &[Disorder]) {
    let (steps, _) = steps();
    let world = World::with_steps(WORKFLOW, steps).await;
    let mut tokens = Vec::new();
    for n in 0..3 {
        tokens.push(world.accepted(&delivery(&format!("d-{n}"), "{}")).await);
    }

    let mut seen = Vec::new();
    for disorder in disorders.iter().cycle().take(disorders.len().max(6)) {
        seen.extend(world.records().await);
        // Old records come again beside new ones.
        let batch = disordered(&seen, disorder);
        let (one, two) = batch.split_at(batch.len() / 2);
        let (one, two, three) =
            tokio::join!(world.process(one), world.process(two), world.project(&batch));
        assert_eq!([one, two, three], [const { BatchResponse::Complete }; 3]);
        world.pass(Duration::from_secs(5));
        world.sweep().await;
    }
    // What was lost is found by the audit.
    world.live_through(Duration::from_secs(300), Duration::from_secs(20)).await;

    for token in &tokens {
        assert_eq!(world.story(token).await, STORY);
        assert_eq!(world.status(token).await["status"], "completed");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn shuffled_doubled_and_dropped_records_leave_the_same_history(disorders in disorders()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(live_in_disorder(&disorders));
    }
}

#[tokio::test]
async fn an_execution_whose_every_record_is_lost_completes_all_the_same() {
    let (steps, runs) = steps();
    let world = World::with_steps(WORKFLOW, steps).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;

    // Nobody reads the stream: only the sweep moves anything.
    let mut waited = 0;
    while world.status(&token).await["status"] != "completed" && waited < 1_000 {
        world.sweep().await;
        world.pass(Duration::from_secs(1));
        waited += 1;
    }

    assert_eq!(world.story(&token).await, STORY);
    assert_eq!(world.timers().await, []);
    assert_eq!(runs.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_lost_wake_up_is_made_good_within_two_minutes() {
    let world = World::start(crate::world::PLAIN).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;
    world.records().await;
    let mut waited = Duration::ZERO;
    // A look each minute, as the schedule of the sweep has it; the audit is behind by its horizon.
    while world.status(&token).await["status"] != "completed" {
        world.pass(SWEEP_EVERY);
        waited += SWEEP_EVERY;
        world.sweep().await;
        assert!(waited <= Duration::from_secs(120), "{waited:?}");
    }
}

#[tokio::test]
async fn in_order_no_step_runs_twice() {
    let (steps, runs) = steps();
    let world = World::with_steps(WORKFLOW, steps).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;

    world.live_through(Duration::from_secs(100), Duration::from_secs(1)).await;

    assert_eq!(world.story(&token).await, STORY);
    assert_eq!(runs.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn records_of_later_appends_wake_nothing() {
    let (steps, runs) = steps();
    let world = World::with_steps(WORKFLOW, steps).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;
    world.process(&world.records().await).await;
    let later = world.records().await;
    assert!(!later.is_empty());
    world.pass(Duration::from_secs(10));

    // The timer is due, and another process knows nothing of what this one did.
    let (other_steps, other_runs) = self::steps();
    let other = World::over(world.engine.clone(), WORKFLOW, other_steps).await;
    other.pass(Duration::from_secs(10));
    for _ in 0..3 {
        world.process(&later).await;
        other.process(&later).await;
    }
    assert_eq!((runs.load(Ordering::SeqCst), other_runs.load(Ordering::SeqCst)), (1, 0));
    assert_eq!(world.story(&token).await, STORY[..3]);

    world.fire().await;
    assert_eq!(world.story(&token).await, STORY);
}

#[tokio::test]
async fn a_driver_that_the_clock_woke_goes_on_and_no_step_runs_twice() {
    let (steps, runs) = steps();
    let world = World::with_steps(WORKFLOW, steps).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;
    world.settle().await;
    world.pass(Duration::from_secs(10));

    world.sweep().await;
    let after_the_clock = (world.story(&token).await, runs.load(Ordering::SeqCst));
    world.process(&world.records().await).await;

    assert_eq!(after_the_clock, (STORY.iter().map(ToString::to_string).collect(), 3));
    assert_eq!(world.story(&token).await, STORY);
    assert_eq!(runs.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn two_processors_at_once_leave_one_history() {
    let (steps, _) = steps();
    let world = World::with_steps(WORKFLOW, steps).await;
    let other = World::over(world.engine.clone(), WORKFLOW, self::steps().0).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;

    for _ in 0..20 {
        let records = world.records().await;
        tokio::join!(world.process(&records), other.process(&records));
        world.pass(Duration::from_secs(5));
        other.pass(Duration::from_secs(5));
        tokio::join!(world.sweep(), other.sweep());
    }

    assert_eq!(world.story(&token).await, STORY);
    assert_eq!(world.status(&token).await["status"], "completed");
}

#[tokio::test]
async fn an_execution_resumes_from_every_prefix_of_its_history() {
    let (steps, _) = steps();
    let whole = World::with_steps(WORKFLOW, steps).await;
    let token = whole.accepted(&delivery("d-1", "{}")).await;
    whole.live_through(Duration::from_secs(100), Duration::from_secs(1)).await;
    let history = whole.history(&token).await;
    let ends: Vec<_> = (1..=history.len())
        .filter(|end| history.get(*end).is_none_or(|next| next.first == next.sequence))
        .collect();
    assert!(ends.len() >= 5, "{ends:?}");

    for end in ends {
        let world = World::with_steps(WORKFLOW, self::steps().0).await;
        put_back(&world, &token, &history[..end]).await;
        world.live_through(Duration::from_secs(300), Duration::from_secs(10)).await;

        assert_eq!(world.story(&token).await, STORY, "after {end} events");
        assert_eq!(world.status(&token).await["status"], "completed", "after {end} events");
    }
}

/// Writes a history as a crash would have left it, long enough ago that it is audited.
async fn put_back(world: &World, token: &ExecutionId, history: &[Recorded]) {
    world.append(token, history.chunk_by(|one, two| one.first == two.first)).await;
    world.records().await;
    world.pass(Duration::from_secs(60));
}

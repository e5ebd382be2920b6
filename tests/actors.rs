//! Executions' actors: one at a time for each execution, none for what only waits, and each alone with its panic.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use everhook::{Input, Steps};
use everhook_journal::ExecutionId;
use everhook_processor::advance::unknown_lane;
use everhook_processor::{Cause, Wake};
use futures_util::{StreamExt, stream};
use serde_json::json;

use crate::world::{World, delivery};

/// How long it may take until idle actors are gone.
const PATIENCE: Duration = Duration::from_secs(60);

const SOURCE: &str = r#"
    [sources.default]
    scheme = "hmac-sha256"
    secrets = ["file:secret"]
"#;

const WAIT: &str = r#"
    [[workflows.default.steps]]
    name = "pause"
    run = "wait"
    for = "1d"
"#;

fn wake(world: &World, id: &ExecutionId, cause: Cause) {
    world.parts.supervisor.hand_over(Wake::new(id.clone(), cause), &unknown_lane());
}

async fn until(holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wake_ups_at_once_never_drive_an_execution_twice_at_once() {
    let (inside, most, calls) =
        (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (now, highest, all) = (inside.clone(), most.clone(), calls.clone());
    let steps = Steps::new().with("slow", move |_: Input| {
        let (now, highest, all) = (now.clone(), highest.clone(), all.clone());
        async move {
            all.fetch_add(1, Ordering::SeqCst);
            highest.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(50)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(json!(1))
        }
    });
    let workflow = r#"
        [[workflows.default.steps]]
        name = "one"
        run = "slow"

        [[workflows.default.steps]]
        name = "two"
        run = "slow"
    "#;
    let world = Arc::new(World::with_steps(&format!("{SOURCE}{workflow}"), steps).await);
    let id = world.accepted(&delivery("d-1", "{}")).await;

    let wakes = (0..100).map(|number| {
        let (world, id) = (world.clone(), id.clone());
        let cause = [Cause::Received, Cause::Due, Cause::Signal][number % 3];
        tokio::spawn(async move { wake(&world, &id, cause) })
    });
    for task in wakes.collect::<Vec<_>>() {
        task.await.unwrap();
        assert!(world.parts.supervisor.live() <= 1);
    }
    until(|| world.parts.supervisor.busy() == 0).await;

    assert_eq!(world.status(&id).await["status"], "completed");
    assert_eq!((most.load(Ordering::SeqCst), calls.load(Ordering::SeqCst)), (1, 2));
}

#[tokio::test]
async fn a_panic_ends_one_actor_and_its_execution_goes_on() {
    let panics = Arc::new(AtomicU32::new(0));
    let count = panics.clone();
    let steps = Steps::new().with("odd", move |input: Input| {
        let is_odd = input.attempt == 1 && count.fetch_add(1, Ordering::SeqCst) == 0;
        assert!(!is_odd, "odd");
        std::future::ready(Ok(json!(1)))
    });
    let workflow = r#"
        [[workflows.default.steps]]
        name = "odd"
        run = "odd"
        retry = { attempts = 2, first = "1s" }
    "#;
    let world = World::with_steps(&format!("{SOURCE}{workflow}"), steps).await;
    let mut tokens = Vec::new();
    for number in 0..5 {
        tokens.push(world.accepted(&delivery(&format!("d-{number}"), "{}")).await);
    }

    world.live_through(Duration::from_secs(300), Duration::from_secs(10)).await;

    for token in &tokens {
        assert_eq!(world.status(token).await["status"], "completed");
    }
    assert_eq!(panics.load(Ordering::SeqCst), 5);
}

/// Each has an actor while it is driven, and for a moment after that; what waits for a day has none.
#[tokio::test(flavor = "multi_thread")]
async fn executions_that_wait_have_no_actors() {
    // A hundred thousand of them take a while: `.ci/nightly` asks for so many.
    let many = std::env::var("EVERHOOK_TEST_WAITING").map_or(2_000, |many| many.parse().unwrap());
    let world = Arc::new(World::start(&format!("{SOURCE}{WAIT}")).await);

    stream::iter(0..many)
        .for_each_concurrent(100, async |number: u32| {
            let id = world.accepted(&delivery(&format!("d-{number}"), "{}")).await;
            wake(&world, &id, Cause::Received);
        })
        .await;
    until(|| world.parts.supervisor.busy() == 0).await;
    until(|| world.parts.supervisor.live() == 0).await;

    let (waiting, _) = world.parts.status.timers.first(1_000_000).await.unwrap();
    assert_eq!(waiting.len(), usize::try_from(many).unwrap());
    assert_eq!(world.parts.supervisor.len(), 0, "nothing is remembered of them");
}

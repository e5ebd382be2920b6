//! Calls in flight: whatever happens meanwhile, without a crash or a failure each of them is made once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use everhook::{Input, StepError, Steps};
use everhook_journal::{Event, ExecutionId, StepName};
use everhook_processor::Invocation;
use everhook_processor::advance::advance;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::world::{World, delivery, woken};

const SOURCE: &str = r#"
    [sources.default]
    scheme = "hmac-sha256"
    secrets = ["file:secret"]
"#;

/// A branch that calls, and one that waits for an answer and calls then.
const FORK: &str = r#"
    [[workflows.default.steps]]
    name = "both"
    run = "parallel"

    [[workflows.default.steps.branches]]
    name = "a"
    [[workflows.default.steps.branches.steps]]
    name = "slow"
    run = "slow"

    [[workflows.default.steps.branches]]
    name = "b"
    [[workflows.default.steps.branches.steps]]
    name = "answer"
    run = "callback"
    heartbeat = "5m"
    [[workflows.default.steps.branches.steps]]
    name = "tell"
    run = "quick"
"#;

/// One call.
const SLOW: &str = r#"
    [[workflows.default.steps]]
    name = "slow"
    run = "slow"
"#;

/// What steps call: how often each was called, and a door that slow calls wait at.
#[derive(Clone)]
struct Targets {
    calls: Arc<Mutex<BTreeMap<(String, u32), u32>>>,
    door: Arc<Semaphore>,
}

impl Targets {
    fn new() -> Self {
        Self { calls: Arc::default(), door: Arc::new(Semaphore::new(0)) }
    }

    fn steps(&self) -> Steps {
        let (slow, quick, flaky) = (self.clone(), self.clone(), self.clone());
        Steps::new()
            .with("slow", move |input: Input| {
                let called = slow.clone();
                async move {
                    called.count(&input);
                    called.door.acquire().await.unwrap().forget();
                    Ok(json!(1))
                }
            })
            .with("quick", move |input: Input| {
                quick.count(&input);
                std::future::ready(Ok(json!(1)))
            })
            .with("flaky", move |input: Input| {
                flaky.count(&input);
                let failed = StepError::retryable("unlucky", "");
                std::future::ready(if input.attempt == 1 { Err(failed) } else { Ok(json!(1)) })
            })
    }

    fn count(&self, input: &Input) {
        let key = (input.step.to_string(), input.attempt);
        *self.calls.lock().unwrap().entry(key).or_default() += 1;
    }

    fn total(&self) -> u32 {
        self.calls.lock().unwrap().values().sum()
    }

    /// Waits until so many calls were made.
    async fn begun(&self, calls: u32) {
        while self.total() < calls {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    #[track_caller]
    fn assert_once(&self, expected: &[(&str, u32)]) {
        let calls = self.calls.lock().unwrap();
        let expected = expected.iter().map(|(step, attempt)| (((*step).to_owned(), *attempt), 1));
        assert_eq!(*calls, expected.collect::<BTreeMap<_, _>>());
    }
}

/// Runs something while the first `calls` calls of a workflow are in flight; then every driver comes that may come.
async fn while_in_flight(
    workflow: &str,
    targets: &Targets,
    calls: u32,
    meanwhile: impl AsyncFnOnce(&World, &ExecutionId),
) -> (World, ExecutionId) {
    let world = World::with_steps(&format!("{SOURCE}{workflow}"), targets.steps()).await;
    let id = world.accepted(&delivery("d-1", "{}")).await;
    let first = world.records().await;
    // Another process, which remembers nothing of what this one did.
    let other =
        World::over(world.engine.clone(), &format!("{SOURCE}{workflow}"), targets.steps()).await;
    let others = async {
        targets.begun(calls).await;
        meanwhile(&world, &id).await;
        for _ in 0..2 {
            other.process(&first).await;
            other.process(&other.records().await).await;
            other.sweep().await;
            // The process that makes the calls is only told.
            world.tell().await;
        }
        targets.door.add_permits(1_000);
    };
    tokio::join!(world.process(&first), others);
    world.live_through(Duration::from_secs(120), Duration::from_secs(10)).await;
    (world, id)
}

pub(crate) async fn callback(world: &World, id: &ExecutionId, step: &str) -> String {
    let began_at = world.history(id).await[0].at;
    let callbacks = world.parts.supervisor.driver().callbacks.as_ref().unwrap();
    let url = callbacks.urls(&callbacks.token(id, began_at, &StepName::new(step), 1)).url;
    url.strip_prefix("https://hooks.example.com").unwrap().to_owned()
}

pub(crate) async fn post(world: &World, path: &str) -> i64 {
    let event = json!({
        "version": "2.0", "rawPath": path, "rawQueryString": "", "isBase64Encoded": false,
        "headers": {}, "body": "{}",
        "requestContext": { "http": { "method": "POST", "path": path }, "requestId": "r" },
    });
    everhook_ingest::handle_event(&world.parts.ingest, event).await.status_code
}

async fn outcomes(world: &World, id: &ExecutionId) -> usize {
    let history = world.history(id).await;
    history.iter().filter(|it| matches!(it.event, Event::StepCompleted { .. })).count()
}

#[tokio::test]
async fn an_answer_in_another_branch_repeats_no_call() {
    let targets = Targets::new();
    let (world, id) = while_in_flight(FORK, &targets, 1, async |world, id| {
        let path = callback(world, id, "both/b/answer").await;
        assert_eq!(post(world, &format!("{path}/heartbeat")).await, 200);
        assert_eq!(post(world, &format!("{path}/success")).await, 200);
    })
    .await;

    targets.assert_once(&[("both/a/slow", 1), ("both/b/tell", 1)]);
    assert_eq!(world.status(&id).await["status"], "completed");
}

#[tokio::test]
async fn an_answer_that_comes_before_the_call_is_answered_repeats_no_call() {
    let targets = Targets::new();
    let workflow = r#"
        [[workflows.default.steps]]
        name = "answer"
        run = "callback"
        [[workflows.default.steps.steps]]
        name = "ask"
        run = "slow"

        [[workflows.default.steps]]
        name = "tell"
        run = "quick"
    "#;
    let (world, id) = while_in_flight(workflow, &targets, 1, async |world, id| {
        let path = callback(world, id, "answer").await;
        for _ in 0..3 {
            assert_eq!(post(world, &format!("{path}/success")).await, 200);
        }
    })
    .await;

    targets.assert_once(&[("answer/ask", 1), ("tell", 1)]);
    assert_eq!(world.status(&id).await["status"], "completed");
}

#[tokio::test]
async fn an_outcome_survives_a_conflict() {
    let targets = Targets::new();
    let world = World::with_steps(&format!("{SOURCE}{FORK}"), targets.steps()).await;
    let id = world.accepted(&delivery("d-1", "{}")).await;
    let first = world.records().await;
    let others = async {
        targets.begun(1).await;
        // Its driver hears of nothing until it appends.
        let path = callback(&world, &id, "both/b/answer").await;
        assert_eq!(post(&world, &format!("{path}/success")).await, 200);
        targets.door.add_permits(1_000);
    };
    tokio::join!(world.process(&first), others);

    targets.assert_once(&[("both/a/slow", 1), ("both/b/tell", 1)]);
    assert_eq!(world.status(&id).await["status"], "completed");
}

#[tokio::test]
async fn a_refused_redrive_repeats_no_call() {
    let targets = Targets::new();
    let (_, _) = while_in_flight(SLOW, &targets, 1, async |world, id| {
        assert_eq!(post(world, &format!("/executions/{id}/redrive")).await, 409);
    })
    .await;

    targets.assert_once(&[("slow", 1)]);
}

#[tokio::test]
async fn a_cancel_and_a_redrive_during_a_call_do_not_repeat_it_at_once() {
    let targets = Targets::new();
    let workflow = r#"
        [[workflows.default.steps]]
        name = "slow"
        run = "slow"
        timeout = "30s"
    "#;
    let world = World::with_steps(&format!("{SOURCE}{workflow}"), targets.steps()).await;
    let id = world.accepted(&delivery("d-1", "{}")).await;
    let first = world.records().await;
    let others = async {
        targets.begun(1).await;
        assert_eq!(post(&world, &format!("/executions/{id}/cancel")).await, 200);
        let redrive = format!("/executions/{id}/redrive");
        assert_eq!(post(&world, &redrive).await, 200);
        // From a step that is named, it is the same.
        assert_eq!(post(&world, &format!("/executions/{id}/cancel")).await, 200);
        assert_eq!(post(&world, &redrive).await, 200);
        world.process(&world.records().await).await;
        world.tell().await;
        assert_eq!(targets.total(), 1);
        targets.door.add_permits(1_000);
    };
    tokio::join!(world.process(&first), others);
    world.live_through(Duration::from_secs(120), Duration::from_secs(10)).await;

    targets.assert_once(&[("slow", 1)]);
    assert_eq!(outcomes(&world, &id).await, 1);
    assert_eq!(world.status(&id).await["status"], "completed");
}

#[tokio::test]
async fn a_redrive_long_after_a_cancel_takes_what_the_call_came_to() {
    let targets = Targets::new();
    let world = World::with_steps(&format!("{SOURCE}{SLOW}"), targets.steps()).await;
    let id = world.accepted(&delivery("d-1", "{}")).await;
    let first = world.records().await;
    let others = async {
        targets.begun(1).await;
        assert_eq!(post(&world, &format!("/executions/{id}/cancel")).await, 200);
        world.process(&world.records().await).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(world.status(&id).await["status"], "cancelled");
        assert_eq!(post(&world, &format!("/executions/{id}/redrive")).await, 200);
        world.tell().await;
        targets.door.add_permits(1_000);
    };
    tokio::join!(world.process(&first), others);
    assert_eq!(outcomes(&world, &id).await, 1);
    world.live_through(Duration::from_secs(120), Duration::from_secs(10)).await;

    targets.assert_once(&[("slow", 1)]);
    assert_eq!(world.status(&id).await["status"], "completed");
}

#[tokio::test]
async fn a_call_of_a_cancelled_execution_that_nobody_redrives_changes_nothing() {
    let targets = Targets::new();
    let world = World::with_steps(&format!("{SOURCE}{SLOW}"), targets.steps()).await;
    let id = world.accepted(&delivery("d-1", "{}")).await;
    let first = world.records().await;
    let others = async {
        targets.begun(1).await;
        assert_eq!(post(&world, &format!("/executions/{id}/cancel")).await, 200);
        world.process(&world.records().await).await;
        targets.door.add_permits(1_000);
    };
    tokio::join!(world.process(&first), others);
    world.live_through(Duration::from_secs(120), Duration::from_secs(10)).await;

    targets.assert_once(&[("slow", 1)]);
    assert_eq!(outcomes(&world, &id).await, 0);
    assert_eq!(world.status(&id).await["status"], "cancelled");
}

#[tokio::test]
async fn a_map_makes_each_call_once_whoever_comes() {
    let targets = Targets::new();
    let workflow = r#"
        [[workflows.default.steps]]
        name = "each"
        run = "map"
        items = "[range(6)]"
        concurrency = 3
        [[workflows.default.steps.steps]]
        name = "slow"
        run = "slow"
        [[workflows.default.steps.steps]]
        name = "then"
        run = "quick"
    "#;
    let (world, id) = while_in_flight(workflow, &targets, 3, async |_, _| {}).await;

    let calls: Vec<_> =
        (0..6).flat_map(|n| [format!("each/{n}/slow"), format!("each/{n}/then")]).collect();
    targets.assert_once(&calls.iter().map(|it| (it.as_str(), 1)).collect::<Vec<_>>());
    assert_eq!(world.status(&id).await["status"], "completed");
}

#[tokio::test]
async fn a_retry_and_a_poll_beside_a_call_repeat_nothing() {
    let targets = Targets::new();
    let workflow = r#"
        [[workflows.default.steps]]
        name = "both"
        run = "parallel"

        [[workflows.default.steps.branches]]
        name = "a"
        [[workflows.default.steps.branches.steps]]
        name = "slow"
        run = "slow"

        [[workflows.default.steps.branches]]
        name = "b"
        [[workflows.default.steps.branches.steps]]
        name = "flaky"
        run = "flaky"
        retry = { attempts = 2, first = "1s", backoff = "fixed" }

        [[workflows.default.steps.branches]]
        name = "c"
        [[workflows.default.steps.branches.steps]]
        name = "seen"
        run = "poll"
        until = "$attempt > 1"
        retry = { attempts = 3, first = "1s", backoff = "fixed" }
        [[workflows.default.steps.branches.steps.steps]]
        name = "look"
        run = "quick"
    "#;
    let (world, id) = while_in_flight(workflow, &targets, 3, async |world, _| {
        world.pass(Duration::from_secs(5));
    })
    .await;

    let calls = targets.calls.lock().unwrap().clone();
    assert!(calls.values().all(|times| *times == 1), "{calls:?}");
    assert_eq!(calls.get(&("both/b/flaky".into(), 2)), Some(&1));
    assert_eq!(world.status(&id).await["steps"][0]["name"], "both");
}

#[tokio::test]
async fn a_branchs_outcome_is_recorded_while_its_sibling_is_being_called() {
    let targets = Targets::new();
    let workflow = r#"
        [[workflows.default.steps]]
        name = "both"
        run = "parallel"

        [[workflows.default.steps.branches]]
        name = "a"
        [[workflows.default.steps.branches.steps]]
        name = "done"
        run = "quick"

        [[workflows.default.steps.branches]]
        name = "b"
        [[workflows.default.steps.branches.steps]]
        name = "slow"
        run = "slow"
        timeout = "20s"
    "#;
    let world = World::with_steps(&format!("{SOURCE}{workflow}"), targets.steps()).await;
    let id = world.accepted(&delivery("d-1", "{}")).await;
    let (wake, deadline) = (woken(&id), world.now() + Duration::from_secs(60));
    let dying = advance(world.parts.supervisor.driver(), &wake, deadline);
    let recorded = async {
        while outcomes(&world, &id).await == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::select! {
        _ = dying => panic!("the slow call never ends"),
        () = recorded => {}
    }

    // The process has died. The call in flight is made again when its claim has ended; the other is not.
    targets.door.add_permits(1_000);
    world.settle().await;
    assert_eq!(targets.total(), 2);
    world.live_through(Duration::from_secs(60), Duration::from_secs(5)).await;
    assert_eq!(world.status(&id).await["status"], "completed");
    assert_eq!(targets.calls.lock().unwrap()[&("both/a/done".to_owned(), 1)], 1);
    assert_eq!(outcomes(&world, &id).await, 3);
}

#[tokio::test]
async fn a_process_that_is_alone_waits_for_no_claim_of_an_earlier_one() {
    let targets = Targets::new();
    let config = format!("{SOURCE}{SLOW}");
    let world = World::with_steps(&config, targets.steps()).await;
    world.parts.supervisor.driver().is_alone();
    let id = world.accepted(&delivery("d-1", "{}")).await;
    let (wake, deadline) = (woken(&id), world.now() + Duration::from_secs(60));
    tokio::select! {
        _ = advance(world.parts.supervisor.driver(), &wake, deadline) => panic!("it ended"),
        () = targets.begun(1) => {}
    }

    let next = World::over(world.engine.clone(), &config, targets.steps()).await;
    let process = next.parts.supervisor.driver().is_alone();
    let sweep = next.parts.sweep.clone().in_process(process);
    targets.door.add_permits(1_000);
    // What was recorded before it began is driven by no other: the audit need not wait.
    let audited = next.parts.audit.run_up_to(next.now(), deadline).await.unwrap();
    assert_eq!(audited.timers, 1);
    let released = Mutex::new(Vec::new());
    let wake = |invocation: Invocation| released.lock().unwrap().push(invocation);
    assert_eq!(sweep.release(wake).await.unwrap(), 1);
    for invocation in released.into_inner().unwrap() {
        everhook_processor::handle(&next.parts.supervisor, invocation, deadline).await;
    }

    assert_eq!(next.status(&id).await["status"], "completed");
    assert_eq!(targets.total(), 2);
}

#[tokio::test]
async fn a_claim_costs_no_append_where_something_is_decided_before_it() {
    let targets = Targets::new();
    targets.door.add_permits(1_000);
    let workflow = r#"
        [[workflows.default.steps]]
        name = "validate"
        run = "validate"
        [[workflows.default.steps]]
        name = "a"
        run = "quick"
        [[workflows.default.steps]]
        name = "b"
        run = "quick"
    "#;
    let world = World::with_steps(&format!("{SOURCE}{workflow}"), targets.steps()).await;
    let id = world.accepted(&delivery("d-1", "{}")).await;
    world.settle().await;

    let history = world.history(&id).await;
    let appends = history.chunk_by(|one, two| one.first == two.first).count();
    // The webhook; validate and a's claim; a and b's claim; b and the end.
    assert_eq!(appends, 4);
    targets.assert_once(&[("a", 1), ("b", 1)]);
}

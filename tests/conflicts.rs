//! Another process appends first, right when a driver is about to: outcomes count all the same, and everything else is
//! decided by what the other one has left.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use everhook::{Input, Steps};
use everhook_journal::ExecutionId;
use everhook_processor::advance::unknown_lane;
use everhook_processor::{Cause, Wake};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::hooked::Hook;
use crate::in_flight::{callback, post};
use crate::world::{World, delivery};

/// How far the clocks of two processes may be apart.
const APART: Duration = Duration::from_secs(2);

const ASK: &str = r#"
    [sources.default]
    scheme = "hmac-sha256"
    secrets = ["file:secret"]

    [[workflows.default.steps]]
    name = "answer"
    run = "callback"
    expires = "1m"
"#;

/// The same beside a call that takes longer.
const ASK_BESIDE_A_CALL: &str = r#"
    [sources.default]
    scheme = "hmac-sha256"
    secrets = ["file:secret"]

    [[workflows.default.steps]]
    name = "both"
    run = "parallel"

    [[workflows.default.steps.branches]]
    name = "a"
    [[workflows.default.steps.branches.steps]]
    name = "slow"
    run = "slow"
    timeout = "50s"

    [[workflows.default.steps.branches]]
    name = "b"
    [[workflows.default.steps.branches.steps]]
    name = "answer"
    run = "callback"
    expires = "20s"
"#;

/// Answers in another process, whose clock is a little behind.
async fn answer(world: &World, path: String) {
    world.turn_back(APART);
    assert_eq!(post(world, &format!("{path}/success")).await, 200);
    world.pass(APART);
}

/// Before the next append the callback is answered.
fn answer_first(world: &Arc<World>, hook: &Hook, path: String) {
    let world = world.clone();
    hook.before_append(async move { answer(&world, path).await });
}

#[tokio::test]
async fn an_answer_that_comes_right_before_its_expiry_is_recorded_counts() {
    let hook = Hook::default();
    let world = Arc::new(World::hooked(ASK, Steps::new(), hook.clone()).await);
    let id = world.accepted(&delivery("d-1", "{}")).await;
    world.settle().await;
    let path = callback(&world, &id, "answer").await;
    world.pass(Duration::from_secs(61));

    answer_first(&world, &hook, path);
    world.settle().await;

    assert!(hook.is_over());
    assert_eq!(world.status(&id).await["status"], "completed");
}

#[tokio::test]
async fn a_call_in_flight_is_kept_until_what_makes_it_pointless_is_recorded() {
    let (calls, door) = (Arc::new(AtomicU32::new(0)), Arc::new(Semaphore::new(0)));
    let (count, wait) = (calls.clone(), door.clone());
    let steps = Steps::new().with("slow", move |_: Input| {
        let (count, wait) = (count.clone(), wait.clone());
        async move {
            count.fetch_add(1, Ordering::SeqCst);
            wait.acquire().await.unwrap().forget();
            Ok(json!(1))
        }
    });
    let hook = Hook::default();
    let world = Arc::new(World::hooked(ASK_BESIDE_A_CALL, steps, hook.clone()).await);
    let id = world.accepted(&delivery("d-1", "{}")).await;
    let records = world.records().await;
    wake(&world, &id, Cause::Received);
    until(|| calls.load(Ordering::SeqCst) == 1).await;
    let path = callback(&world, &id, "both/b/answer").await;
    world.pass(Duration::from_secs(21));

    answer_first(&world, &hook, path);
    wake(&world, &id, Cause::Due);
    until(|| hook.is_over()).await;
    until(|| world.parts.supervisor.busy() == 1).await;
    door.add_permits(10);
    until(|| world.parts.supervisor.busy() == 0).await;

    drop(records);
    world.settle().await;
    assert_eq!(world.status(&id).await["status"], "completed");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

fn wake(world: &World, id: &ExecutionId, cause: Cause) {
    world.parts.supervisor.hand_over(Wake::new(id.clone(), cause), &unknown_lane());
}

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

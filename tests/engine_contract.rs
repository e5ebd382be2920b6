//! What the journal, the timers and the views promise, on the real engine.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use everhook_journal::event::{Event, Events};
use everhook_journal::table::{AppendError, Draft};
use everhook_journal::timers::{AGAIN, Fired, Terms, pause};
use everhook_journal::{
    Execution, ExecutionId, Recorded, Sequence, Timer, Timers, Timestamp, View,
};
use everhook_processor::Invocation;
use everhook_processor::audit::HORIZON;

use crate::world::{BEGINNING, PLAIN, World, delivery};

/// An execution that was only received.
async fn received() -> (World, ExecutionId, Recorded) {
    let world = World::start(PLAIN).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;
    let first = world.history(&token).await.remove(0);
    (world, token, first)
}

fn timer(due: i64) -> Events {
    Event::TimerFired { due: Timestamp::from_millis(due) }.into()
}

async fn append(
    world: &World,
    token: &ExecutionId,
    after: u64,
    events: Events,
    name: &str,
) -> Result<Vec<Recorded>, AppendError> {
    let draft = Draft {
        after: Sequence::new(after).into(),
        events,
        at: world.now(),
        expires_at: world.now() + Duration::from_secs(3600),
        until: None,
        name: name.to_owned(),
    };
    world.parts.ingest.journal.append(token, draft).await
}

fn view(token: &ExecutionId, first: &Recorded) -> View {
    View::of(token, &Execution::begin(first).unwrap())
}

#[tokio::test]
async fn of_many_appends_after_the_same_event_exactly_one_succeeds() {
    let (world, token, _) = received().await;
    let world = Arc::new(world);

    let names: Vec<_> = (0..64).map(|n| format!("append-{n}")).collect();
    let appends = names.iter().map(|name| append(&world, &token, 1, timer(1), name));
    let results = futures_util::future::join_all(appends).await;

    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.iter().all(|r| matches!(r, Ok(_) | Err(AppendError::Conflict { .. }))));
    assert_eq!(world.history(&token).await.len(), 2);
}

#[tokio::test]
async fn an_append_whose_reply_was_lost_is_recognised_as_our_own() {
    let (world, token, _) = received().await;
    let first = append(&world, &token, 1, timer(1), "mine").await.unwrap();
    let again = append(&world, &token, 1, timer(1), "mine").await.unwrap();
    assert_eq!(first, again);
    assert_eq!(world.history(&token).await.len(), 2);
}

#[tokio::test]
async fn a_conflict_shows_what_stands_there() {
    let (world, token, _) = received().await;
    append(&world, &token, 1, timer(1), "theirs").await.unwrap();
    let error = append(&world, &token, 1, timer(2), "mine").await.unwrap_err();
    let AppendError::Conflict { existing, .. } = error else { panic!("{error}") };
    assert_eq!(existing[0].event, Event::TimerFired { due: Timestamp::from_millis(1) });
}

#[tokio::test]
async fn a_long_history_is_read_whole() {
    let (world, token, _) = received().await;
    for n in 1..300 {
        // Large enough that a page of DynamoDB's does not hold them all.
        let events = Events::new(vec![
            Event::ExecutionFailed {
                cause: everhook_journal::event::Cause {
                    step: None,
                    kind: "filler".into(),
                    message: "x".repeat(8_000),
                },
            };
            1
        ]);
        append(&world, &token, n, events.unwrap(), &format!("append-{n}")).await.unwrap();
    }
    let history = world.history(&token).await;
    let numbers: Vec<_> = history.iter().map(|recorded| recorded.sequence.get()).collect();
    assert_eq!(numbers, (1..=300).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_has_expired_is_gone_as_a_whole_and_may_begin_anew() {
    let (world, token, _) = received().await;
    world.settle().await;
    assert_eq!(world.history(&token).await.len(), 3);
    world.pass(Duration::from_secs(9 * 24 * 3600));

    let gone = world.history(&token).await.len();
    let again = world.deliver(&delivery("d-1", "{}")).await;
    // This process may remember that it has finished with that id: the audit finds it.
    world.live_through(Duration::from_secs(70), Duration::from_secs(10)).await;

    assert_eq!(gone, 0);
    assert_eq!((again.token(), &again.body["duplicate"]), (token.clone(), &false.into()));
    assert_eq!(world.history(&token).await.len(), 3);
    assert_eq!(world.status(&token).await["status"], "completed");
}

#[tokio::test]
async fn a_definition_outlives_the_configuration_that_named_it() {
    let (world, token, _) = received().await;
    let changed = PLAIN.replace("name = \"validate\"", "name = \"renamed\"");
    let newer = World::over(world.engine.clone(), &changed, everhook::Steps::new()).await;

    newer.settle().await;

    let story = newer.story(&token).await;
    assert_eq!(story, ["WebhookReceived", "StepCompleted validate 1", "ExecutionCompleted"]);
}

#[tokio::test]
async fn a_step_that_this_program_does_not_have_stalls_the_execution() {
    let config = PLAIN.replace("run = \"validate\"", "run = \"mine\"");
    let step = |_: everhook::Input| async { Ok(1) };
    let with = everhook::Steps::new().with("mine", step);
    let world = World::with_steps(&config, with).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;

    let without = World::over(world.engine.clone(), PLAIN, everhook::Steps::new()).await;
    without.settle().await;

    let status = without.status(&token).await;
    assert_eq!(status["status"], "stalled");
    assert_eq!(without.get("/executions?status=stalled").await.body["executions"][0], status);
    // The program that has it carries on an hour later.
    world.pass(Duration::from_secs(3601));
    world.sweep().await;
    assert_eq!(world.status(&token).await["status"], "completed");
}

#[tokio::test]
async fn an_older_view_never_replaces_a_newer_one() {
    let (world, token, first) = received().await;
    let older = view(&token, &first);
    world.settle().await;

    let executions = &world.parts.ingest.executions;
    let (shown, reopened) = tokio::join!(executions.show(&older), executions.reopen(&older));

    assert_eq!((shown.unwrap(), reopened.unwrap()), (false, false));
    assert_eq!(world.status(&token).await["status"], "completed");
}

/// A timer of an execution that was only received, which is due now.
async fn due() -> (World, Timers, Timer) {
    let (world, token, _) = received().await;
    let timers = world.parts.status.timers.clone();
    let timer = Timer { due: world.now(), execution: token };
    timers.set(&timer, terms()).await.unwrap();
    (world, timers, timer)
}

fn terms() -> Terms {
    let expires_at = BEGINNING + Duration::from_secs(30 * 24 * 3600);
    Terms { is_suspect: false, is_claim: false, is_stalled: false, expires_at }
}

/// The timer that is claimed now.
async fn claimed(world: &World) -> Fired {
    let mut claimed = world.claim().await;
    let Some(Invocation::Due(fired)) = claimed.pop() else { panic!("{claimed:?}") };
    assert_eq!((claimed, fired.len()), (vec![], 1));
    fired.into_iter().next().unwrap()
}

#[tokio::test]
async fn of_two_sweeps_one_gets_the_claim() {
    let (world, _, timer) = due().await;
    let (one, two) = tokio::join!(world.claim(), world.claim());
    let [Invocation::Due(fired)] = &[one, two].concat()[..] else { panic!("claimed twice") };
    assert_eq!((&fired[0].timer, fired[0].fired), (&timer, 1));
}

#[tokio::test]
async fn a_claimed_timer_is_handed_over_again_less_and_less_often() {
    let (world, timers, timer) = due().await;
    for fired in 0..3 {
        assert_eq!(world.claim().await.len(), 1, "after {fired}");
        world.pass(pause(fired) - Duration::from_millis(1));
        assert_eq!(world.claim().await, []);
        world.pass(Duration::from_millis(1));
    }
    assert!(pause(1) > AGAIN && timers.get(&timer).await.unwrap().is_some());
}

#[tokio::test]
async fn a_claim_of_an_earlier_process_is_released_at_the_next_start() {
    let (world, timers, timer) = due().await;
    timers.set(&timer, Terms { is_claim: true, ..terms() }).await.unwrap();
    let sweep = |process: &str| world.parts.sweep.clone().in_process(process.into());
    let released = Mutex::new(Vec::new());
    let wake = |invocation| released.lock().unwrap().push(invocation);

    assert_eq!(sweep("one").release(wake).await.unwrap(), 1);
    assert_eq!(sweep("two").release(wake).await.unwrap(), 1);

    assert_eq!(released.into_inner().unwrap().len(), 2);
}

#[tokio::test]
async fn a_timer_that_is_no_end_of_a_claim_waits_for_its_time_at_a_start() {
    let (world, timers, timer) = due().await;
    let later = Timer { due: world.now() + Duration::from_secs(600), ..timer.clone() };
    timers.set(&later, terms()).await.unwrap();
    let sweep = world.parts.sweep.clone().in_process("one".into());
    assert_eq!(sweep.release(|invocation| panic!("{invocation:?}")).await.unwrap(), 0);
    assert_eq!(world.timers().await, [timer, later]);
}

#[tokio::test]
async fn the_same_wake_up_is_the_same_timer() {
    let (world, timers, timer) = due().await;
    assert!(!timers.set_if_missing(&timer, terms()).await.unwrap());
    timers.set(&timer, terms()).await.unwrap();
    assert_eq!(world.timers().await, [timer]);
}

#[tokio::test]
async fn a_timer_that_was_written_again_is_not_deleted_by_what_it_woke_before() {
    let (world, timers, timer) = due().await;
    let fired = claimed(&world).await;
    timers.set(&timer, terms()).await.unwrap();

    assert!(!timers.clear(&fired).await.unwrap());
    assert!(!timers.again(&fired, world.now(), 0, false).await.unwrap());

    let again = claimed(&world).await;
    assert_eq!(again.fired, 1);
    assert!(timers.clear(&again).await.unwrap());
    assert_eq!(world.timers().await, []);
}

#[tokio::test]
async fn a_timer_that_was_handed_over_again_is_deleted_only_by_what_it_woke_last() {
    let (world, timers, timer) = due().await;
    let first = claimed(&world).await;
    world.pass(AGAIN);
    let [Invocation::Alone(second)] = &world.claim().await[..] else { panic!("not alone") };

    assert!(!timers.clear(&first).await.unwrap());
    assert!(timers.get(&timer).await.unwrap().is_some());
    assert!(timers.clear(second).await.unwrap());
}

#[tokio::test]
async fn a_message_claims_only_a_timer_that_was_not_handed_over_before() {
    let (world, timers, timer) = due().await;
    let again_at = world.now() + AGAIN;
    let (one, two) = tokio::join!(
        timers.claim_unfired(&timer, again_at, None),
        timers.claim_unfired(&timer, again_at, None)
    );
    assert_eq!(usize::from(one.unwrap().is_some()) + usize::from(two.unwrap().is_some()), 1);
    world.pass(AGAIN);
    assert_eq!(timers.claim_unfired(&timer, again_at, None).await.unwrap(), None);
    let gone = Timer { due: world.now(), ..timer };
    assert_eq!(timers.claim_unfired(&gone, again_at, None).await.unwrap(), None);
}

/// Audits everything that was recorded before now.
async fn audited(world: &World) -> (usize, usize) {
    let audited = world.parts.audit.run_up_to(world.now(), world.now() + AGAIN).await.unwrap();
    (audited.timers, audited.views)
}

#[tokio::test]
async fn the_audit_sets_a_timer_for_a_webhook_whose_record_was_lost() {
    let (world, token, _) = received().await;
    world.pass(HORIZON - Duration::from_millis(1));
    let early = world.parts.audit.run(world.now() + AGAIN).await.unwrap();
    world.pass(Duration::from_millis(1));
    let due = world.parts.audit.run(world.now() + AGAIN).await.unwrap();

    assert_eq!((early.timers, due.timers), (0, 1));
    assert_eq!(world.timers().await, [Timer { due: world.now(), execution: token.clone() }]);
    world.fire().await;
    assert_eq!(world.status(&token).await["status"], "completed");
    assert_eq!(world.timers().await, []);
}

#[tokio::test]
async fn the_audit_writes_the_timer_that_a_resting_execution_lacks() {
    let wait = PLAIN.replace("run = \"validate\"", "run = \"wait\"\nfor = \"1h\"");
    let world = World::start(&wait).await;
    world.accepted(&delivery("d-1", "{}")).await;
    world.settle().await;
    let timers = world.timers().await;
    assert_eq!((timers.len(), timers[0].due), (1, world.now() + Duration::from_secs(3600)));
    assert_eq!(audited(&world).await, (0, 0));
    world.pass(Duration::from_secs(3599));
    let fired = world.parts.status.timers.claim_unfired(&timers[0], world.now(), None).await;
    assert!(world.parts.status.timers.clear(&fired.unwrap().unwrap()).await.unwrap());

    // The pass an hour later looks at it again.
    world.pass(Duration::from_secs(1));
    let audited = world.parts.audit.run(world.now() + AGAIN).await.unwrap();

    assert_eq!(audited.timers, 1);
    assert_eq!(world.timers().await, timers);
}

#[tokio::test]
async fn the_audit_shows_the_end_of_an_execution_whose_view_was_not_written() {
    let (world, token, _) = received().await;
    let whole = World::start(PLAIN).await;
    assert_eq!(whole.accepted(&delivery("d-1", "{}")).await, token);
    whole.settle().await;
    world.append(&token, [&whole.history(&token).await[1..]]).await;
    let executions = &world.parts.ingest.executions;
    assert!(executions.get(&token).await.unwrap().is_none_or(|row| row.view.is_none()));

    assert_eq!(audited(&world).await, (0, 1));

    assert!(executions.get(&token).await.unwrap().unwrap().has_ended());
    assert_eq!(world.timers().await, []);
}

#[tokio::test]
async fn an_audit_that_has_passed_looks_at_nothing_again_until_the_next_pass() {
    let (world, _, _) = received().await;
    world.settle().await;
    let look = || async { world.parts.audit.run(world.now() + AGAIN).await.unwrap().looked_at };
    world.pass(HORIZON + Duration::from_secs(1));
    assert_eq!((look().await, look().await), (1, 0));
    world.pass(Duration::from_secs(3600));
    assert_eq!((look().await, look().await), (1, 0));
    world.pass(Duration::from_secs(23 * 3600));
    assert_eq!((look().await, look().await), (1, 0));
    world.pass(Duration::from_secs(72 * 3600));
    assert_eq!(look().await, 0);
}

#[tokio::test]
async fn a_missing_view_is_made_again_by_the_projector() {
    let (world, token, _) = received().await;
    world.settle().await;
    let executions = &world.parts.ingest.executions;
    let before = executions.get(&token).await.unwrap().unwrap();
    let key = aws_sdk_dynamodb::types::AttributeValue::S(token.to_string());
    let delete = world.engine.dynamodb().delete_item().table_name("executions");
    delete.key("execution", key).send().await.unwrap();

    world.parts.projector.project(&token).await.unwrap();

    assert_eq!(executions.get(&token).await.unwrap().unwrap(), before);
}

#[tokio::test]
async fn a_timer_of_no_execution_is_removed() {
    let (world, _, _) = received().await;
    world.settle().await;
    let execution = ExecutionId::parse("AAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap();
    let ghost = Timer { due: world.now(), execution };
    world.parts.status.timers.set(&ghost, terms()).await.unwrap();

    assert_eq!(world.fire().await, 1);

    assert_eq!(world.timers().await, []);
}

#[tokio::test]
async fn a_timer_that_cannot_be_read_holds_up_no_other() {
    let (world, _, timer) = due().await;
    let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.into());
    let put = world.engine.dynamodb().put_item().table_name("timers");
    let shards = world.parts.status.timers.shards().all();
    let put = shards.map(|shard| {
        let put = put.clone().item("shard", text(&format!("shard#{shard}")));
        put.item("due", text("2000-01-01T00:00:00.000Z#?")).send()
    });
    futures_util::future::join_all(put).await.into_iter().for_each(|put| drop(put.unwrap()));

    assert_eq!(claimed(&world).await.timer, timer);
}

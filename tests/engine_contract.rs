//! What journal and rows promise, on the real engine.

use std::sync::Arc;
use std::time::Duration;

use everhook_journal::event::{Event, Events};
use everhook_journal::executions::{Due, Opened};
use everhook_journal::table::AppendError;
use everhook_journal::{Execution, ExecutionId, Recorded, Sequence, Timestamp, View};
use everhook_processor::Invocation;

use crate::world::{PLAIN, World, delivery};

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
    let journal = &world.parts.ingest.journal;
    let expires_at = world.now() + Duration::from_secs(3600);
    journal.append(token, Sequence::new(after).into(), events, expires_at, world.now(), name).await
}

async fn due(world: &World, token: &ExecutionId) -> Due {
    world.parts.ingest.executions.get(token).await.unwrap().unwrap().due.unwrap()
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
    // This process remembers that it has finished with that id: the due time tells it better.
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
async fn a_step_that_this_program_does_not_have_parks_the_execution() {
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
    let projected = executions.project(&older, world.now()).await.unwrap();
    let finished = executions.finish(&older).await.unwrap();

    assert_eq!((projected, finished), (false, false));
    assert_eq!(world.status(&token).await["status"], "completed");
}

#[tokio::test]
async fn of_two_sweeps_one_gets_the_claim() {
    let (world, token, _) = received().await;
    world.pass(Duration::from_secs(61));
    let (one, two) = tokio::join!(world.parts.sweep.claim(), world.parts.sweep.claim());
    assert_eq!(one.len() + two.len(), 1);
    assert_eq!(due(&world, &token).await.redrives, 1);
}

#[tokio::test]
async fn a_claim_whose_owner_is_gone_is_given_back_at_the_next_start() {
    let (world, token, _) = received().await;
    world.pass(Duration::from_secs(61));
    let claim = [Invocation::Due(vec![token.clone()])];
    assert_eq!(world.parts.sweep.claim().await, claim);
    assert_eq!(world.parts.sweep.claim().await, []);

    let released = world.parts.sweep.release().await.unwrap();

    assert_eq!((released, due(&world, &token).await.redrives), (1, 0));
    assert_eq!(world.parts.sweep.claim().await, claim);
}

#[tokio::test]
async fn what_was_just_received_is_due_at_the_next_start_and_what_waits_is_not() {
    let (world, token, _) = received().await;
    assert_eq!(world.parts.sweep.release().await.unwrap(), 1);

    let read = due(&world, &token).await;
    let later = world.now() + Duration::from_secs(600);
    assert!(world.parts.ingest.executions.postpone(&token, &read, later).await.unwrap());
    assert_eq!(world.parts.sweep.release().await.unwrap(), 0);
    assert_eq!(due(&world, &token).await.at, later);
}

#[tokio::test]
async fn postponing_is_refused_once_the_obligation_has_changed() {
    let (world, token, _) = received().await;
    let executions = &world.parts.ingest.executions;
    let read = due(&world, &token).await;
    let later = world.now() + Duration::from_secs(500);

    assert!(executions.postpone(&token, &read, later).await.unwrap());
    assert!(!executions.postpone(&token, &read, later).await.unwrap());
    assert!(!executions.claim(&token, &read, later).await.unwrap());
    assert_eq!(due(&world, &token).await.at, later);
}

#[tokio::test]
async fn a_missing_row_is_made_again_by_the_redelivery() {
    let (world, token, _) = received().await;
    let executions = &world.parts.ingest.executions;
    let created_at = executions.get(&token).await.unwrap().unwrap().view.created_at;
    assert!(executions.discard(&token, &due(&world, &token).await, created_at).await.unwrap());

    let again = world.deliver(&delivery("d-1", "{}")).await;

    assert_eq!((again.token(), &again.body["duplicate"]), (token.clone(), &true.into()));
    assert_eq!(world.status(&token).await["status"], "received");
    assert_eq!(due(&world, &token).await.generation, 1);
}

#[tokio::test]
async fn a_row_of_another_try_is_made_anew_before_the_redelivery_is_answered() {
    let (world, token, first) = received().await;
    let executions = &world.parts.ingest.executions;
    let own = view(&token, &first);
    assert!(executions.discard(&token, &due(&world, &token).await, own.created_at).await.unwrap());
    let before = Timestamp::from_millis(own.created_at.as_millis() - 700_000);
    let ghost = View { created_at: before, ..own.clone() };
    executions.open(&ghost, world.now()).await.unwrap();
    let read = due(&world, &token).await;

    let again = world.deliver(&delivery("d-1", "{}")).await;

    assert_eq!(again.body["duplicate"], true);
    assert!(!executions.discard(&token, &read, before).await.unwrap());
    assert_eq!(executions.get(&token).await.unwrap().unwrap().view, own);
}

#[tokio::test]
async fn an_execution_that_is_due_already_is_still_made_due_anew() {
    let (world, token, _) = received().await;
    let executions = &world.parts.ingest.executions;
    world.pass(Duration::from_secs(61));
    let read = due(&world, &token).await;
    assert!(read.at < world.now());

    assert!(executions.hasten(&token, world.now()).await.unwrap());

    // Whoever read the row before that may not put it off.
    let later = world.now() + Duration::from_secs(3_600);
    assert!(!executions.postpone(&token, &read, later).await.unwrap());
    assert!(due(&world, &token).await.at <= world.now());
}

#[tokio::test]
async fn a_missing_row_is_made_again_by_the_projector() {
    let (world, token, first) = received().await;
    let executions = &world.parts.ingest.executions;
    let created_at = executions.get(&token).await.unwrap().unwrap().view.created_at;
    assert!(executions.discard(&token, &due(&world, &token).await, created_at).await.unwrap());

    world.parts.projector.project(&token).await.unwrap();

    assert_eq!(executions.get(&token).await.unwrap().unwrap().view, view(&token, &first));
    assert!(due(&world, &token).await.at <= world.now() + Duration::from_secs(60));
}

#[tokio::test]
async fn a_row_without_an_execution_is_left_a_while_and_then_removed() {
    let (world, _, first) = received().await;
    let ghost = ExecutionId::parse("AAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap();
    let executions = &world.parts.ingest.executions;
    let due_at = world.now() + Duration::from_secs(60);
    assert_eq!(executions.open(&view(&ghost, &first), due_at).await.unwrap(), Opened::Made);

    world.live_through(Duration::from_secs(300), Duration::from_secs(30)).await;
    let kept = executions.get(&ghost).await.unwrap().is_some();
    world.live_through(Duration::from_secs(2_000), Duration::from_secs(60)).await;

    assert!(kept);
    assert_eq!(executions.get(&ghost).await.unwrap(), None);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_holds_up_no_other() {
    let (world, token, _) = received().await;
    let broken = "AAAAAAAAAAAAAAAAAAAAAAAAAA";
    let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.into());
    let put = world.engine.dynamodb().put_item().table_name("executions");
    let put = (0..8).map(|shard| {
        put.clone()
            .item(
                "execution",
                text(&broken.replacen('A', &char::from(b'B' + shard).to_string(), 1)),
            )
            .item("due_at", text("2000-01-01T00:00:00.000Z"))
            .item("due_shard", aws_sdk_dynamodb::types::AttributeValue::N(shard.to_string()))
            .send()
    });
    futures_util::future::join_all(put).await.into_iter().for_each(|put| drop(put.unwrap()));
    world.pass(Duration::from_secs(61));

    assert_eq!(world.parts.sweep.claim().await, [Invocation::Due(vec![token])]);
}

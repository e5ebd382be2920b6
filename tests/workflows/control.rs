//! Steps that filter, wait, look again, are passed over, or run at most once; what follows a failure.

use everhook_processor::advance::advance;
use tokio::sync::Notify;

use super::*;
use crate::world::woken;

#[tokio::test]
async fn a_filter_ends_the_execution_as_completed_and_says_why() {
    let counted = Counted::default();
    let steps = Steps::new().with("count", counted.count());
    let world = world(
        r#"
        [[workflows.default.steps]]
        name = "only-main"
        run = "filter"
        jq = '.ref == "refs/heads/main"'

        [[workflows.default.steps]]
        name = "count"
        run = "count"
        "#,
        steps,
    )
    .await;

    let other = world.accepted(&delivery("d-1", r#"{"ref": "refs/heads/other"}"#)).await;
    let main = world.accepted(&delivery("d-2", r#"{"ref": "refs/heads/main"}"#)).await;
    world.settle().await;

    let status = world.status(&other).await;
    assert_eq!(status["status"], "completed");
    let reason = r#"not .ref == "refs/heads/main""#;
    assert_eq!(status["filtered"], json!({ "step": "only-main", "reason": reason }));
    assert_eq!(status["steps"][0]["status"], "filtered");
    assert_eq!(status["steps"][1]["status"], "pending");
    let story = ["WebhookReceived", "StepFiltered", "ExecutionCompleted"];
    assert_eq!(world.story(&other).await, story);

    assert_eq!(world.status(&main).await["filtered"], Value::Null);
    assert_eq!((result(&world, &main, "count").await, counted.times()), (json!(1), 1));
}

#[tokio::test]
async fn a_step_whose_condition_does_not_hold_is_passed_over() {
    let counted = Counted::default();
    let steps = Steps::new().with("count", counted.count());
    let world = world(
        r#"
        [[workflows.default.steps]]
        name = "large"
        run = "count"
        when = ".amount > 100"

        [[workflows.default.steps]]
        name = "said"
        run = "transform"
        jq = "[$steps.large, .amount]"
        "#,
        steps,
    )
    .await;

    let small = world.accepted(&delivery("d-1", r#"{"amount": 7}"#)).await;
    let large = world.accepted(&delivery("d-2", r#"{"amount": 700}"#)).await;
    world.settle().await;

    assert_eq!(result(&world, &small, "said").await, json!([null, 7]));
    assert_eq!(result(&world, &large, "said").await, json!([1, 700]));
    assert_eq!(world.status(&small).await["steps"][0]["status"], "skipped");
    assert_eq!(counted.times(), 1);
}

#[tokio::test]
async fn a_wait_ends_when_its_time_has_come_and_takes_two_appends() {
    let world = world(
        r#"
        [[workflows.default.steps]]
        name = "later"
        run = "wait"
        for = "3d"

        [[workflows.default.steps]]
        name = "at-the-time"
        run = "wait"
        until = ".at"
        "#,
        Steps::new(),
    )
    .await;
    let at = world.now() + 4 * 24 * HOUR;

    let id = world.accepted(&order(json!({ "at": at.to_string() }))).await;
    world.settle().await;
    assert_eq!(world.status(&id).await["status"], "waiting");
    world.pass(3 * 24 * HOUR - SECOND);
    world.settle().await;
    assert_eq!(world.story(&id).await, ["WebhookReceived", "WaitStarted"]);
    world.pass(SECOND);
    world.settle().await;
    let both = ["WebhookReceived", "WaitStarted", "StepCompleted later 1", "WaitStarted"];
    assert_eq!(world.story(&id).await, both);
    world.pass(24 * HOUR);
    world.settle().await;

    assert_eq!(world.status(&id).await["status"], "completed");
    let history = world.history(&id).await;
    let appends: std::collections::BTreeSet<_> = history.iter().map(|it| it.first).collect();
    assert_eq!(appends.len(), 4, "{history:?}");
}

#[tokio::test]
async fn a_time_that_is_none_or_lies_too_far_ahead_fails_the_wait() {
    let wait = "[[workflows.default.steps]]\nname = \"w\"\nrun = \"wait\"\nuntil = \".at\"\n";
    let world = world(wait, Steps::new()).await;
    let far = world.now() + 40 * 24 * HOUR;

    for (place, (at, said)) in [
        (json!("tomorrow"), "neither a time"),
        (json!(null), "neither a time"),
        (json!(-1e300), "neither a time"),
        (json!(far.to_string()), "more than"),
        (json!("9999-12-31T23:59:59Z"), "more than"),
        (json!("9999-12-31T23:59:59+00:00"), "more than"),
        (json!(1e300), "more than"),
        (json!(253_402_300_799_i64), "more than"),
    ]
    .into_iter()
    .enumerate()
    {
        let body = json!({ "at": at }).to_string();
        let id = world.accepted(&delivery(&format!("d-{place}"), &body)).await;
        world.settle().await;
        let error = world.status(&id).await["error"].to_string();
        assert!(error.contains(said), "{at}: {error}");
    }
}

#[tokio::test]
async fn a_poll_looks_again_until_it_is_there_and_carries_what_it_saw() {
    let world = world(
        r#"
        [[workflows.default.steps]]
        name = "ready"
        run = "poll"
        until = ". >= 3"
        initial = 0

        [[workflows.default.steps.steps]]
        name = "look"
        run = "transform"
        jq = "$state + 1"
        "#,
        Steps::new(),
    )
    .await;

    let id = world.accepted(&order(json!({}))).await;
    world.live_through(5 * MINUTE, SECOND).await;

    assert_eq!(result(&world, &id, "ready").await, 3);
    assert_eq!(
        world.story(&id).await,
        [
            "WebhookReceived",
            "StepPolled",
            "TimerFired",
            "StepPolled",
            "TimerFired",
            "StepCompleted ready 3",
            "ExecutionCompleted",
        ]
    );
}

#[tokio::test]
async fn a_poll_that_never_finds_it_fails() {
    let world = world(
        r#"
        [[workflows.default.steps]]
        name = "ready"
        run = "poll"
        until = "false"
        retry = { attempts = 2, backoff = "fixed", first = "1s" }

        [[workflows.default.steps.steps]]
        name = "look"
        run = "transform"
        jq = "1"
        "#,
        Steps::new(),
    )
    .await;

    let id = world.accepted(&order(json!({}))).await;
    world.live_through(MINUTE, SECOND).await;

    let error = &world.status(&id).await["error"];
    assert!(error.to_string().contains("poll_exhausted"), "{error}");
}

#[tokio::test]
async fn what_follows_a_failure_sees_it_and_the_execution_fails_with_its_cause() {
    let (broken, told) = (Counted::default(), Counted::default());
    let steps = Steps::new().with("broken", broken.failing(9)).with("tell", told.count());
    let world = world(
        r#"
        [[workflows.default.steps]]
        name = "before"
        run = "transform"
        jq = "7"

        [[workflows.default.steps]]
        name = "charge"
        run = "broken"

        [[workflows.default.on_failure]]
        name = "words"
        run = "transform"
        jq = "[$error.step, $error.kind, $steps.before]"

        [[workflows.default.on_failure]]
        name = "tell"
        run = "tell"
        "#,
        steps,
    )
    .await;

    let id = world.accepted(&order(json!({}))).await;
    world.settle().await;

    assert_eq!(result(&world, &id, "words").await, json!(["charge", "broken", 7]));
    assert_eq!((broken.times(), told.times()), (1, 1));
    let status = world.status(&id).await;
    assert_eq!(status["status"], "failed");
    assert_eq!(status["currentStep"], "charge");
    assert_eq!(world.story(&id).await.last().unwrap(), "ExecutionFailed broken");
}

#[tokio::test]
async fn a_workflow_that_takes_too_long_fails_and_what_follows_a_failure_follows() {
    let told = Counted::default();
    let steps = Steps::new().with("tell", told.count());
    let world = world(
        r#"
        [workflows.default]
        timeout = "1h"

        [[workflows.default.steps]]
        name = "later"
        run = "wait"
        for = "1d"

        [[workflows.default.on_failure]]
        name = "tell"
        run = "tell"
        "#,
        steps,
    )
    .await;

    let id = world.accepted(&order(json!({}))).await;
    world.settle().await;
    world.pass(HOUR - SECOND);
    world.settle().await;
    assert_eq!(world.status(&id).await["status"], "waiting");
    world.pass(SECOND);
    world.settle().await;

    assert_eq!(told.times(), 1);
    assert_eq!(
        world.story(&id).await,
        [
            "WebhookReceived",
            "WaitStarted",
            "ExecutionFailing",
            "StepCompleted tell 1",
            "ExecutionFailed timeout",
        ]
    );
}

/// Drives an execution into a step that does not return, and dies there.
async fn until_it_acts(dying: impl Future<Output: std::fmt::Debug>, acts: &Notify) {
    tokio::select! {
        ended = dying => panic!("it did not die: {ended:?}"),
        () = acts.notified() => {}
    }
}

#[tokio::test]
async fn what_precedes_a_step_that_acts_is_recorded_before_it_acts() {
    let acts = Arc::new(Notify::new());
    let begun = Arc::clone(&acts);
    let steps = Steps::new().with("act", move |_: Input| {
        begun.notify_one();
        std::future::pending::<Result<(), StepError>>()
    });
    let workflow = r#"
        [[workflows.default.steps]]
        name = "computed"
        run = "transform"
        jq = "1"

        [[workflows.default.steps]]
        name = "act"
        run = "act"
    "#;
    let world = world(workflow, steps).await;
    let id = world.accepted(&order(json!({}))).await;

    let wake = woken(&id);
    let dying = advance(world.parts.supervisor.driver(), &wake, world.now() + HOUR);
    until_it_acts(dying, &acts).await;

    assert_eq!(world.story(&id).await, ["WebhookReceived", "StepCompleted computed 1"]);
}

#[tokio::test]
async fn an_attempt_that_runs_at_most_once_is_claimed_first_and_never_made_again() {
    let hung = Counted::default();
    let counter = hung.0.clone();
    // The process dies in the step: its future is dropped, and nobody records how it ended.
    let acts = Arc::new(Notify::new());
    let begun = Arc::clone(&acts);
    let steps = Steps::new().with("charge", move |_: Input| {
        counter.fetch_add(1, Ordering::SeqCst);
        begun.notify_one();
        std::future::pending::<Result<(), StepError>>()
    });
    let world = world(
        r#"
        [[workflows.default.steps]]
        name = "charge"
        run = "charge"
        at_most_once = true
        timeout = "30s"
        "#,
        steps,
    )
    .await;

    let id = world.accepted(&order(json!({}))).await;
    let records = world.records().await;
    let driver = world.parts.supervisor.driver();
    let wake = woken(&id);
    let dying = advance(driver, &wake, world.now() + HOUR);
    until_it_acts(dying, &acts).await;
    assert_eq!(
        (world.story(&id).await, world.claims(&id).await),
        (vec!["WebhookReceived".to_owned()], 1)
    );

    // The same record again, and everybody else: nobody makes the attempt again.
    world.process(&records).await;
    world.live_through(5 * MINUTE, 5 * SECOND).await;

    assert_eq!(hung.times(), 1);
    let story = world.story(&id).await;
    let end = ["StepFailed charge 1 interrupted", "ExecutionFailed interrupted"];
    assert_eq!(world.claims(&id).await, 1);
    assert_eq!(story[1..], end);
}

//! What operators do to executions: cancel and redrive.

use everhook_journal::table::Draft;

use super::*;

const CHARGE: &str = r#"
    [[workflows.default.steps]]
    name = "first"
    run = "first"

    [[workflows.default.steps]]
    name = "charge"
    run = "charge"
"#;

#[tokio::test]
async fn an_execution_that_failed_goes_on_where_it_failed() {
    let (first, charge) = (Counted::default(), Counted::default());
    let steps = Steps::new().with("first", first.count()).with("charge", charge.failing(1));
    let world = world(CHARGE, steps).await;
    let id = world.accepted(&order(json!({}))).await;
    world.settle().await;
    assert_eq!(world.status(&id).await["status"], "failed");

    let (status, body) = post(&world, &format!("/executions/{id}/redrive"), "").await;
    assert_eq!((status, &body["message"]), (200, &json!("redriven")));
    world.settle().await;

    assert_eq!(world.status(&id).await["status"], "completed");
    assert_eq!((first.times(), charge.times()), (1, 2));
    let end = ["ExecutionRedriven", "StepCompleted charge 2", "ExecutionCompleted"];
    assert_eq!(world.story(&id).await[4..], end);
}

#[tokio::test]
async fn an_execution_goes_on_from_the_step_that_is_named() {
    let (first, charge) = (Counted::default(), Counted::default());
    let steps = Steps::new().with("first", first.count()).with("charge", charge.failing(1));
    let world = world(CHARGE, steps).await;
    let id = world.accepted(&order(json!({}))).await;
    world.settle().await;

    let redrive = |from: &str| format!("/executions/{id}/redrive?from={from}");
    assert_eq!(post(&world, &redrive("nowhere"), "").await.0, 409);
    assert_eq!(post(&world, &redrive("first"), "").await.0, 200);
    world.settle().await;

    assert_eq!(world.status(&id).await["status"], "completed");
    assert_eq!((first.times(), charge.times()), (2, 2));
}

#[tokio::test]
async fn only_what_has_failed_is_redriven() {
    let steps = Steps::new().with("first", Counted::default().count());
    let world = world(CHARGE, steps.with("charge", Counted::default().count())).await;
    let id = world.accepted(&order(json!({}))).await;

    let path = format!("/executions/{id}/redrive");
    assert_eq!(post(&world, &path, "").await.0, 409, "while it runs");
    world.settle().await;
    let (status, body) = post(&world, &path, "").await;
    assert_eq!((status, &body["error"]), (409, &json!("the execution has not failed")));
    let absent = "/executions/AAAAAAAAAAAAAAAAAAAAAAAAAA/redrive";
    assert_eq!(post(&world, absent, "").await.0, 404);
    assert_eq!(post(&world, "/executions/x/redrive", "").await.0, 404);
    assert_eq!(post(&world, &format!("{path}?form=first"), "").await.0, 400);
}

#[tokio::test]
async fn an_execution_that_is_cancelled_stops_and_can_be_redriven() {
    let wait = "[[workflows.default.steps]]\nname = \"w\"\nrun = \"wait\"\nfor = \"1h\"\n";
    let world = world(wait, Steps::new()).await;
    let id = world.accepted(&order(json!({}))).await;
    world.settle().await;

    let cancel = format!("/executions/{id}/cancel");
    assert_eq!(post(&world, &format!("{cancel}?reason=a%20mistake"), "").await.0, 200);
    let status = world.status(&id).await;
    assert_eq!(status["status"], "cancelled");
    assert!(status["error"].to_string().contains("a mistake"));
    assert_eq!(post(&world, &cancel, "").await.0, 409);
    world.pass(2 * HOUR);
    world.settle().await;
    assert_eq!(world.story(&id).await, ["WebhookReceived", "WaitStarted", "ExecutionCancelled"]);

    assert_eq!(post(&world, &format!("/executions/{id}/redrive"), "").await.0, 200);
    world.settle().await;
    assert_eq!(world.status(&id).await["status"], "completed", "{:?}", world.history(&id).await);
}

#[tokio::test]
async fn a_redrive_sets_a_timer_before_it_is_answered() {
    let charge = Counted::default();
    let steps =
        Steps::new().with("first", Counted::default().count()).with("charge", charge.failing(1));
    let world = world(CHARGE, steps).await;
    let id = world.accepted(&order(json!({}))).await;
    world.settle().await;
    assert_eq!(world.timers().await, []);

    post(&world, &format!("/executions/{id}/redrive"), "").await;
    let lost = world.records().await;
    assert!(!lost.is_empty());
    // One for now, and the one that was set before the append, should the call have died after it.
    let due: Vec<_> = world.timers().await.iter().map(|timer| timer.due).collect();
    assert_eq!(due, [world.now(), world.now() + 30 * SECOND]);
    world.fire().await;

    assert_eq!(world.status(&id).await["status"], "completed");
    world.pass(30 * SECOND);
    world.settle().await;
    assert_eq!((charge.times(), world.timers().await), (2, vec![]));
}

/// A redrive of which nothing but the append was made: whoever made it died then, and the record is lost.
async fn redriven_by_the_dead(world: &World, id: &ExecutionId) {
    let ingest = &world.parts.ingest;
    let execution = ingest.execution(id).await.unwrap();
    let draft = Draft {
        after: execution.head(),
        events: Event::ExecutionRedriven { from: None }.into(),
        at: world.now(),
        expires_at: execution.webhook.expires_at,
        until: None,
        name: "redrive".into(),
    };
    ingest.journal.append(id, draft).await.unwrap();
    world.records().await;
}

#[tokio::test]
async fn a_redrive_that_is_asked_for_again_sets_its_timer_again() {
    let charge = Counted::default();
    let steps =
        Steps::new().with("first", Counted::default().count()).with("charge", charge.failing(1));
    let world = world(CHARGE, steps).await;
    let id = world.accepted(&order(json!({}))).await;
    world.settle().await;
    redriven_by_the_dead(&world, &id).await;

    assert_eq!(post(&world, &format!("/executions/{id}/redrive"), "").await.0, 409);
    assert_eq!(world.fire().await, 1);

    assert_eq!(world.status(&id).await["status"], "completed");
}

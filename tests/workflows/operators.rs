//! What operators do to executions: cancel and redrive.

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
async fn an_execution_is_redriven_even_if_the_record_of_it_is_lost() {
    let charge = Counted::default();
    let steps =
        Steps::new().with("first", Counted::default().count()).with("charge", charge.failing(1));
    let world = world(CHARGE, steps).await;
    let id = world.accepted(&order(json!({}))).await;
    world.settle().await;

    post(&world, &format!("/executions/{id}/redrive"), "").await;
    let lost = world.records().await;
    assert!(!lost.is_empty());
    world.sweep().await;
    world.settle().await;

    assert_eq!(world.status(&id).await["status"], "completed");
}

#[tokio::test]
async fn a_redrive_that_nobody_came_for_is_made_due_when_it_is_asked_for_again() {
    let charge = Counted::default();
    let steps =
        Steps::new().with("first", Counted::default().count()).with("charge", charge.failing(1));
    let world = world(CHARGE, steps).await;
    let id = world.accepted(&order(json!({}))).await;
    world.settle().await;
    // Whoever redrove it died before the row was owed again, and the record is lost.
    let ingest = &world.parts.ingest;
    let execution = ingest.execution(&id).await.unwrap();
    let redriven = Event::ExecutionRedriven { from: None };
    let (head, ends) = (execution.head(), execution.webhook.expires_at);
    let append = ingest.journal.append(&id, head, redriven.into(), ends, world.now(), "redrive");
    append.await.unwrap();
    world.records().await;

    assert_eq!(post(&world, &format!("/executions/{id}/redrive"), "").await.0, 409);
    assert_eq!(world.sweep().await, 1);
    world.settle().await;

    assert_eq!(world.status(&id).await["status"], "completed");
}

//! The rules of the data path, each by its name. What else keeps them: `engine_contract`, `disorder`, `in_flight`,
//! `identities`, `bulkheads` and `suspects`.

use std::time::Duration;

use everhook::Steps;
use everhook_journal::stream::BatchResponse;
use everhook_journal::timers::{AGAIN_MAX, FIRED_MAX};
use everhook_journal::{Execution, ExecutionId, View};
use serde_json::json;

use crate::world::{PLAIN, World, delivery};

const STORY: [&str; 3] = ["WebhookReceived", "StepCompleted validate 1", "ExecutionCompleted"];

const HOUR: Duration = Duration::from_secs(3600);

/// The same delivery, to a sender whose id is signed.
const SIGNED: &str = r#"
    [sources.default]
    scheme = "standard-webhooks"
    secrets = ["file:secret"]

    [[workflows.default.steps]]
    name = "validate"
    run = "validate"

    [[workflows.default.steps]]
    name = "copy"
    run = "transform"
    jq = "."

    [[workflows.default.steps]]
    name = "again"
    run = "transform"
    jq = "."
"#;

/// How many writes of each kind were made: puts, updates and deletes.
fn writes(world: &World) -> [u64; 3] {
    let [(_, puts), (_, updates), (_, deletes), ..] = world.parts.store.calls().snapshot();
    [puts, updates, deletes]
}

#[tokio::test]
async fn a_stream_record_is_a_wake_up_and_never_data() {
    let world = World::start(PLAIN).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;
    let records = world.records().await;
    let own = records.iter().position(|it| it.to_string().contains(token.as_str())).unwrap();
    let mut other = records[own].clone();
    other["dynamodb"]["Keys"]["execution"]["S"] = json!("AAAAAAAAAAAAAAAAAAAAAAAAAA");
    other["dynamodb"]["NewImage"] = json!({ "events": { "S": "[]" } });
    let mut lying = records[own].clone();
    lying["dynamodb"]["NewImage"] = json!({ "names": { "S": "ExecutionCancelled" } });

    for batch in [vec![other, lying.clone()], vec![lying.clone(), lying], records] {
        assert_eq!(world.process(&batch).await, BatchResponse::Complete);
    }

    assert_eq!(world.story(&token).await, STORY);
    let nobody = ExecutionId::parse("AAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap();
    assert_eq!((world.history(&nobody).await, world.timers().await), (vec![], vec![]));
}

#[tokio::test]
async fn an_append_is_one_conditional_put_and_a_webhook_costs_two_and_a_view() {
    let world = World::start(SIGNED).await;
    let before = writes(&world);
    let token = world.accepted(&delivery("d-1", "{}")).await;
    let received = writes(&world);
    world.process(&world.records().await).await;
    let ended = writes(&world);

    let made = |after: [u64; 3], before: [u64; 3]| [0, 1, 2].map(|kind| after[kind] - before[kind]);
    assert_eq!(made(received, before), [1, 0, 0]);
    assert_eq!(made(ended, received), [1, 1, 0]);
    // The projector has nothing to write, and no timer was needed.
    world.settle().await;
    assert_eq!((writes(&world)[0], world.timers().await), (ended[0], vec![]));
    assert_eq!(world.status(&token).await["status"], "completed");
}

#[tokio::test]
async fn everything_that_moves_an_execution_is_an_append_and_the_view_is_their_fold() {
    let wait = PLAIN.replace("run = \"validate\"", "run = \"wait\"\nfor = \"1h\"");
    let world = World::start(&wait).await;
    let cancelled = world.accepted(&delivery("d-1", "{}")).await;
    let waited = world.accepted(&delivery("d-2", "{}")).await;
    world.settle().await;
    let mut call = aws_lambda_events::apigw::ApiGatewayV2httpRequest::default();
    call.raw_path = Some(format!("/executions/{cancelled}/cancel"));
    call.request_context.http.method = "POST".parse().unwrap();
    let answer = everhook_ingest::operators::handle(&world.parts.ingest, call).await;
    assert_eq!(answer.status_code, 200);
    world.pass(HOUR);
    world.settle().await;

    let by_the_operator = ["WebhookReceived", "WaitStarted", "ExecutionCancelled"];
    let by_the_clock =
        ["WebhookReceived", "WaitStarted", "StepCompleted validate 1", "ExecutionCompleted"];
    assert_eq!(world.story(&cancelled).await, by_the_operator);
    assert_eq!(world.story(&waited).await, by_the_clock);
    for id in [cancelled, waited] {
        let folded = Execution::fold(&world.history(&id).await).unwrap().unwrap();
        let row = world.parts.ingest.executions.get(&id).await.unwrap().unwrap();
        assert_eq!(row.view, Some(View::of(&id, &folded)));
    }
}

#[tokio::test]
async fn a_redelivery_finds_sequence_1_taken() {
    let world = World::start(SIGNED).await;
    let first = world.deliver(&delivery("d-1", "{}")).await;
    world.settle().await;
    let before = writes(&world);
    let again = world.deliver(&delivery("d-1", "{}")).await;

    assert_eq!((first.token(), &first.body["duplicate"]), (again.token(), &json!(false)));
    assert_eq!(again.body["duplicate"], true);
    // The put whose condition fails is all.
    assert_eq!(writes(&world), [before[0] + 1, before[1], before[2]]);
}

#[tokio::test]
async fn a_webhook_is_answered_with_202_only_when_event_1_is_durable() {
    let world = World::start(PLAIN).await;
    world.engine.dynamodb().delete_table().table_name("journal").send().await.unwrap();

    let told = world.deliver(&delivery("d-1", "{}")).await;

    assert_eq!((told.status, &told.body["executionToken"]), (503, &json!(null)));
}

#[tokio::test]
async fn an_unfinished_execution_has_a_timer_or_the_audit_ahead_of_it() {
    let wait = PLAIN.replace("run = \"validate\"", "run = \"wait\"\nfor = \"1h\"");
    let world = World::start(&wait).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;
    let received_at = world.history(&token).await[0].at;
    let executions = &world.parts.ingest.executions;
    for _ in 0..4 {
        let audited = executions.audited(everhook_journal::executions::Pass::Soon).await.unwrap();
        let is_ahead = audited.is_none_or(|audited| audited < received_at);
        let mine = world.timers().await.iter().any(|timer| timer.execution == token);
        assert!(mine || is_ahead, "{:?}", world.story(&token).await);
        world.sweep().await;
        world.pass(Duration::from_secs(30));
    }
    world.live_through(2 * HOUR, HOUR / 2).await;
    assert_eq!(world.status(&token).await["status"], "completed");
    assert_eq!(world.timers().await, []);
}

#[tokio::test]
async fn one_executions_trouble_stays_its_own() {
    let world = World::start(PLAIN).await;
    let poisoned = world.accepted(&delivery("d-1", "{}")).await;
    let healthy = world.accepted(&delivery("d-2", "{}")).await;
    let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.into());
    let update = world.engine.dynamodb().update_item().table_name("journal");
    let update = update.key("execution", text(poisoned.as_str()));
    let update = update
        .key("sequence", aws_sdk_dynamodb::types::AttributeValue::N("1".into()))
        .update_expression("SET events = :nonsense")
        .expression_attribute_values(":nonsense", text("?"));
    update.send().await.unwrap();

    let records = world.records().await;
    assert_eq!(world.process(&records).await, BatchResponse::Complete);
    assert_eq!(world.project(&records).await, BatchResponse::Complete);

    assert_eq!(world.story(&healthy).await, STORY);
    let row = world.parts.ingest.executions.get(&poisoned).await.unwrap().unwrap();
    assert!(row.stalled.is_some());
    // It is tried again, and an audit over both ends.
    let audited = world.parts.audit.run_up_to(world.now(), world.now() + HOUR).await.unwrap();
    assert_eq!(audited.looked_at, 2);
    assert!(world.timers().await.iter().any(|timer| timer.execution == poisoned));
}

#[tokio::test]
async fn an_execution_that_is_woken_in_vain_is_stalled_and_not_tried_for_ever() {
    let world = World::start(PLAIN).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;
    world.parts.audit.run_up_to(world.now(), world.now() + HOUR).await.unwrap();
    for fired in 0..FIRED_MAX {
        // Nothing comes of it.
        assert_eq!(world.claim().await.len(), 1, "after {fired}");
        world.pass(AGAIN_MAX);
    }
    assert_eq!(world.claim().await, []);

    let status = world.status(&token).await;
    assert_eq!(status["status"], "stalled");
    assert_eq!(status["error"]["message"], "no progress after it was woken 20 times");
    // A later version may be able to move it.
    let later = World::over(world.engine.clone(), PLAIN, Steps::new()).await;
    later.pass(world.now().since(later.now()) + 7 * HOUR);
    later.fire().await;
    assert_eq!(later.status(&token).await["status"], "completed");
}

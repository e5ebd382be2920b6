//! Histories that expire: nothing unfinished is forgotten, and what comes later begins anew.

use std::time::Duration;

use everhook::Steps;
use everhook_journal::Event;
use serde_json::json;

use crate::sweep::killed_three_processes;
use crate::world::{PLAIN, World, delivery};

const HOUR: Duration = Duration::from_secs(3600);

/// Histories are kept for a day beyond the minutes that their workflow takes.
fn kept_for_a_day(workflow: &str) -> String {
    format!("[settings]\nretention = \"1d\"\n{workflow}")
}

#[tokio::test]
async fn an_execution_that_cannot_move_ends_before_its_history_expires() {
    let mine = PLAIN.replace("run = \"validate\"", "run = \"mine\"");
    let with = Steps::new().with("mine", |_: everhook::Input| async { Ok(1) });
    let world = World::with_steps(&kept_for_a_day(&mine), with).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;
    let plain = kept_for_a_day(PLAIN);
    let without = World::over(world.engine.clone(), &plain, Steps::new()).await;

    let first = without.history(&token).await.remove(0);
    let Event::WebhookReceived(webhook) = &first.event else { panic!("{first:?}") };
    let kept = webhook.expires_at.since(without.now());

    without.live_through(kept - 4 * HOUR, HOUR).await;
    assert_eq!(without.status(&token).await["status"], "stalled");
    // Not longer: what has expired cannot be looked at any more.
    without.live_through(HOUR * 5 / 2, HOUR / 2).await;

    let status = without.status(&token).await;
    assert_eq!(
        (&status["status"], &status["error"]["kind"]),
        (&json!("failed"), &json!("expired"))
    );
    assert_eq!(without.story(&token).await.last().unwrap(), "ExecutionFailed expired");
}

#[tokio::test]
async fn what_killed_three_processes_ends_before_its_history_expires() {
    let world = World::start(&kept_for_a_day(PLAIN)).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;
    killed_three_processes(&world, &token).await;
    let mut hours = 0;
    while world.status(&token).await["status"] != "failed" {
        assert!(hours < 24, "{}", world.status(&token).await);
        // Each try before that would end its process.
        if hours < 23 {
            world.claim().await;
        } else {
            world.sweep().await;
        }
        world.pass(HOUR);
        hours += 1;
    }
    assert_eq!(world.status(&token).await["error"]["kind"], "expired");
}

#[tokio::test]
async fn what_is_stalled_in_the_last_hours_ends_before_its_history_expires() {
    let world = World::start(&kept_for_a_day(PLAIN)).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;
    let first = world.history(&token).await.remove(0);
    let Event::WebhookReceived(webhook) = &first.event else { panic!("{first:?}") };
    world.pass(webhook.expires_at.since(world.now()) - 3 * HOUR);
    killed_three_processes(&world, &token).await;
    world.claim().await;
    assert_eq!(world.status(&token).await["status"], "stalled");

    world.pass(HOUR * 5 / 4);
    world.sweep().await;

    assert_eq!(world.status(&token).await["error"]["kind"], "expired");
}

#[tokio::test]
async fn a_redrive_shortly_before_the_expiry_ends_and_says_why() {
    let config =
        kept_for_a_day(&PLAIN.replace("run = \"validate\"", "run = \"transform\"\njq = 'error'"));
    let world = World::start(&config).await;
    let token = world.accepted(&delivery("d-1", "{}")).await;
    world.settle().await;
    assert_eq!(world.status(&token).await["status"], "failed");
    world.pass(23 * HOUR);

    let mut call = aws_lambda_events::apigw::ApiGatewayV2httpRequest::default();
    call.raw_path = Some(format!("/executions/{token}/redrive"));
    call.request_context.http.method = "POST".parse().unwrap();
    let answer = everhook_ingest::operators::handle(&world.parts.ingest, call).await;
    assert_eq!(answer.status_code, 200);
    world.settle().await;

    let status = world.status(&token).await;
    assert_eq!(
        (&status["status"], &status["error"]["kind"]),
        (&json!("failed"), &json!("expired"))
    );
}

#[tokio::test]
async fn a_redelivery_after_the_expiry_is_a_new_execution_and_says_so() {
    let world = World::start(&kept_for_a_day(PLAIN)).await;
    let first = world.deliver(&delivery("d-1", "{}")).await;
    world.settle().await;
    let again = world.deliver(&delivery("d-1", "{}")).await;
    assert_eq!((&first.body["duplicate"], &again.body["duplicate"]), (&json!(false), &json!(true)));

    world.pass(30 * 24 * HOUR);
    let later = world.deliver(&delivery("d-1", "{}")).await;
    assert_eq!(later.body["duplicate"], false);
    let token = later.token();
    // This process may take its record for the old one's: the audit finds it.
    world.live_through(Duration::from_secs(120), Duration::from_secs(60)).await;

    let story = ["WebhookReceived", "StepCompleted validate 1", "ExecutionCompleted"];
    assert_eq!(world.story(&token).await, story);
    assert_eq!(world.status(&token).await["status"], "completed");
}

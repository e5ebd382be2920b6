//! Steps that wait until somebody outside answers.

use super::*;

const APPROVAL: &str = r#"
    [[workflows.default.steps]]
    name = "approval"
    run = "callback"
    expires = "3d"

    [[workflows.default.steps.steps]]
    name = "mail"
    run = "mail"

    [[workflows.default.steps]]
    name = "said"
    run = "transform"
    jq = "$steps.approval"
"#;

/// A mailer that gives back the address it would send.
async fn mail(input: Input) -> Result<String, StepError> {
    Ok(input.callback.map(|callback| callback.url).unwrap_or_default())
}

#[tokio::test]
async fn an_answer_is_the_steps_result_and_counts_once() {
    let world = world(APPROVAL, Steps::new().with("mail", mail)).await;
    let id = world.accepted(&order(json!({}))).await;
    world.settle().await;
    assert_eq!(world.status(&id).await["status"], "waiting");
    let url = result(&world, &id, "approval/mail").await;
    let path = url.as_str().unwrap().strip_prefix("https://hooks.example.com").unwrap().to_owned();
    assert_eq!(path, callback(&world, &id, "approval", 1).await);

    let (status, body) = post(&world, &path, r#"{"approved": 1.10}"#).await;
    assert_eq!((status, &body["duplicate"]), (200, &json!(false)));
    // The reply was lost: the same answer again is the same answer.
    let (status, body) = post(&world, &path, r#"{"approved": 1.10}"#).await;
    assert_eq!((status, &body["duplicate"]), (200, &json!(true)));
    let (status, _) = post(&world, &path, r#"{"approved": false}"#).await;
    assert_eq!(status, 409);
    let (status, _) = post(&world, &format!("{path}/failure"), "").await;
    assert_eq!(status, 409);
    world.settle().await;

    assert_eq!(result(&world, &id, "said").await, json!({ "approved": 1.10 }));
    assert_eq!(world.status(&id).await["status"], "completed");
    let received = world.story(&id).await.iter().filter(|it| *it == "CallbackReceived").count();
    assert_eq!(received, 1);
}

/// An answer that is too large for an event, however it is compressed.
fn large(seed: u64) -> String {
    let mut state = seed;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        format!("{:016x}", state)
    });
    format!("\"{}\"", noise.take(8_000).collect::<String>())
}

#[tokio::test]
async fn an_answer_that_nobody_waits_for_is_not_stored() {
    let world = world(APPROVAL, Steps::new().with("mail", mail)).await;
    let id = world.accepted(&order(json!({}))).await;
    world.settle().await;
    let path = callback(&world, &id, "approval", 1).await;
    let payloads = &world.parts.ingest.payloads;
    let future = everhook_journal::Timestamp::from_millis(i64::MAX / 4);
    let stored = async || payloads.stored_before(future).await.unwrap().len();

    let guessed = format!("/callbacks/{id}{}", "A".repeat(26));
    for path in [&"A".repeat(52), &"B".repeat(52)].map(|token| format!("/callbacks/{token}")) {
        assert_eq!(post(&world, &path, &large(1)).await.0, 404);
        assert_eq!(post(&world, &format!("{path}/success"), &large(2)).await.0, 404);
    }
    assert_eq!(
        post(&world, &guessed, &large(3)).await.0,
        404,
        "an execution is known, not a token"
    );
    assert_eq!(post(&world, &callback(&world, &id, "approval", 2).await, &large(4)).await.0, 404);
    assert_eq!(stored().await, 0);

    assert_eq!(post(&world, &path, &large(5)).await.0, 200);
    let (status, body) = post(&world, &path, &large(5)).await;
    assert_eq!((status, &body["duplicate"]), (200, &json!(true)));
    assert_eq!(post(&world, &path, &large(6)).await.0, 409, "it was answered before");
    assert_eq!(stored().await, 1);
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_not_stored() {
    let world = world(APPROVAL, Steps::new().with("mail", mail)).await;
    let id = world.accepted(&order(json!({}))).await;
    world.settle().await;
    let path = callback(&world, &id, "approval", 1).await;
    world.pass(Duration::from_secs(4 * 24 * 3600));

    assert_eq!(post(&world, &path, &large(1)).await.0, 409);

    let future = everhook_journal::Timestamp::from_millis(i64::MAX / 4);
    assert_eq!(world.parts.ingest.payloads.stored_before(future).await.unwrap(), []);
}

#[tokio::test]
async fn a_failure_fails_the_step_in_the_callers_words() {
    let world = world(APPROVAL, Steps::new().with("mail", mail)).await;
    let id = world.accepted(&order(json!({}))).await;
    world.settle().await;

    let path = format!("{}/failure", callback(&world, &id, "approval", 1).await);
    let said = r#"{"error": "Rejected", "message": "too expensive"}"#;
    assert_eq!(post(&world, &path, said).await.0, 200);
    world.settle().await;

    let error = &world.status(&id).await["error"];
    assert_eq!(error["kind"], "Rejected", "{error}");
    assert!(error.to_string().contains("too expensive"));
}

#[tokio::test]
async fn an_answer_that_comes_before_the_step_waits_is_kept_for_it() {
    let workflow = r#"
        [[workflows.default.steps]]
        name = "approval"
        run = "callback"

        [[workflows.default.steps.steps]]
        name = "pause"
        run = "wait"
        for = "1h"
    "#;
    let world = world(workflow, Steps::new()).await;
    let id = world.accepted(&order(json!({}))).await;
    world.settle().await;

    let path = callback(&world, &id, "approval", 1).await;
    assert_eq!(post(&world, &path, "yes").await.0, 200);
    world.settle().await;
    assert_eq!(world.status(&id).await["status"], "waiting");
    world.pass(HOUR);
    world.settle().await;

    assert_eq!(world.status(&id).await["status"], "completed");
}

#[tokio::test]
async fn who_has_no_token_or_the_token_of_another_step_is_told_nothing() {
    let world = world(APPROVAL, Steps::new().with("mail", mail)).await;
    let id = world.accepted(&order(json!({}))).await;
    let early = callback(&world, &id, "approval", 1).await;
    assert_eq!(post(&world, &early, "yes").await.0, 404, "before the step began");
    world.settle().await;

    let unknown = "/callbacks/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let of_another = callback(&world, &id, "said", 1).await;
    let second = callback(&world, &id, "approval", 2).await;
    for path in [unknown, &of_another, &second, "/callbacks/x", &format!("{early}/approve")] {
        let (status, body) = post(&world, path, "yes").await;
        assert_eq!((status, &body["error"]), (404, &json!("there is no such callback")), "{path}");
    }
    assert_eq!(world.status(&id).await["status"], "waiting");
}

#[tokio::test]
async fn nobody_who_calls_too_late_is_heard() {
    let world = world(APPROVAL, Steps::new().with("mail", mail)).await;
    let id = world.accepted(&order(json!({}))).await;
    world.settle().await;
    world.pass(3 * 24 * HOUR);

    let path = callback(&world, &id, "approval", 1).await;
    assert_eq!(post(&world, &path, "yes").await.0, 409, "at the time, before anybody saw it");
    world.settle().await;

    assert_eq!(world.status(&id).await["error"]["kind"], "callback_timeout");
    assert_eq!(post(&world, &path, "yes").await.0, 409);
}

#[tokio::test]
async fn signs_of_life_keep_a_callback_alive_and_their_absence_ends_it() {
    let workflow = r#"
        [[workflows.default.steps]]
        name = "work"
        run = "callback"
        expires = "1d"
        heartbeat = "10m"
    "#;
    let world = world(workflow, Steps::new()).await;
    let id = world.accepted(&order(json!({}))).await;
    world.settle().await;
    let beat = format!("{}/heartbeat", callback(&world, &id, "work", 1).await);

    for _ in 0..3 {
        world.pass(9 * MINUTE);
        assert_eq!(post(&world, &beat, "").await.0, 200);
        // One right after it changes nothing.
        assert_eq!(post(&world, &beat, "").await.1["duplicate"], true);
        world.settle().await;
    }
    assert_eq!(world.status(&id).await["status"], "waiting");
    world.pass(10 * MINUTE);
    world.settle().await;

    assert_eq!(world.status(&id).await["error"]["kind"], "heartbeat_timeout");
    let beats = world.story(&id).await.iter().filter(|it| *it == "CallbackBeat").count();
    assert_eq!(beats, 3);
}

#[tokio::test]
async fn an_answer_is_bounded_and_must_be_text() {
    let world = world(APPROVAL, Steps::new().with("mail", mail)).await;
    let id = world.accepted(&order(json!({}))).await;
    world.settle().await;
    let path = callback(&world, &id, "approval", 1).await;

    assert_eq!(post(&world, &path, &"x".repeat(256 * 1024 + 1)).await.0, 413);
    assert_eq!(post(&world, &path, &format!("\"{}\"", "x".repeat(200_000))).await.0, 200);
    world.settle().await;

    assert_eq!(result(&world, &id, "said").await.as_str().unwrap().len(), 200_000);
}

/// A callback that runs out, or is answered, while a `wait` runs inside of it.
const PAUSE: &str = r#"
    [[workflows.default.steps]]
    name = "approval"
    run = "callback"
    expires = "30m"
    heartbeat = "20m"

    [[workflows.default.steps.steps]]
    name = "pause"
    run = "wait"
    for = "1h"

    [[workflows.default.steps.steps]]
    name = "mail"
    run = "mail"
"#;

#[tokio::test]
async fn what_ends_a_callback_waits_until_the_steps_inside_are_over() {
    for (answer, kind) in [
        (None, "heartbeat_timeout"),
        (Some(("", "yes")), ""),
        (Some(("/failure", r#"{"error":"Rejected"}"#)), "Rejected"),
    ] {
        let sent = Counted::default();
        let world = world(PAUSE, Steps::new().with("mail", sent.count())).await;
        let id = world.accepted(&order(json!({}))).await;
        world.settle().await;
        let path = callback(&world, &id, "approval", 1).await;
        if let Some((end, body)) = answer {
            assert_eq!(post(&world, &format!("{path}{end}"), body).await.0, 200);
        }
        for _ in 0..5 {
            world.pass(10 * MINUTE);
            world.settle().await;
            assert_eq!(world.status(&id).await["status"], "waiting", "{kind}");
        }
        // Its time is over, although it has not ended yet.
        assert_eq!(post(&world, &path, "other").await.0, 409);
        assert_eq!(post(&world, &format!("{path}/heartbeat"), "").await.0, 409);
        world.pass(10 * MINUTE);
        world.settle().await;

        let status = world.status(&id).await;
        assert_eq!(status["error"]["kind"].as_str().unwrap_or_default(), kind);
        assert_eq!(sent.times(), 1, "{kind}: the steps inside ran to their end");
    }
}

#[tokio::test]
async fn a_callback_whose_steps_are_over_runs_out_at_its_time() {
    let workflow = PAUSE.replace("\"1h\"", "\"1m\"").replace("heartbeat = \"20m\"", "");
    let world = world(&workflow, Steps::new().with("mail", mail)).await;
    let id = world.accepted(&order(json!({}))).await;
    world.settle().await;
    world.pass(29 * MINUTE);
    world.settle().await;
    assert_eq!(world.status(&id).await["status"], "waiting");
    world.pass(MINUTE);
    world.settle().await;
    assert_eq!(world.status(&id).await["error"]["kind"], "callback_timeout");
}

#[tokio::test]
async fn a_heartbeat_after_the_end_is_refused() {
    let quiet = "[[workflows.default.steps]]\nname = \"work\"\nrun = \"callback\"\n";
    let beating = format!("{quiet}heartbeat = \"10m\"\n");
    for workflow in [quiet, &beating] {
        for end in ["answered", "failed", "expired", "cancelled"] {
            let world = world(workflow, Steps::new()).await;
            let id = world.accepted(&order(json!({}))).await;
            world.settle().await;
            let path = callback(&world, &id, "work", 1).await;
            let beat = format!("{path}/heartbeat");
            assert_eq!(post(&world, &beat, "").await.0, 200, "while it waits");
            match end {
                "answered" => assert_eq!(post(&world, &path, "yes").await.0, 200),
                "failed" => assert_eq!(post(&world, &format!("{path}/failure"), "").await.0, 200),
                "expired" => world.pass(24 * HOUR),
                _ => {
                    let path = format!("/executions/{id}/cancel");
                    assert_eq!(post(&world, &path, "{}").await.0, 200);
                }
            }
            assert_eq!(post(&world, &beat, "").await.0, 409, "{end}, before it was seen");
            world.settle().await;
            assert_eq!(post(&world, &beat, "").await.0, 409, "{end}");
        }
    }
}

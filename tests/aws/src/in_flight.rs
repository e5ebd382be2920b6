//! Two processes of the processor at one execution: what one of them is calling the other does not call again,
//! and what can go on does not wait for that call.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::checks::Checks;
use crate::deployment::Deployment;
use crate::e2e::{completed_within, small};
use crate::target::Called;

/// How long the call in the other branch takes.
const CALL: Duration = Duration::from_secs(5);

/// How long it is from the question to its answer.
const ANSWER: Duration = Duration::from_secs(1);

/// How soon the branch that was answered has to go on.
const GOES_ON: Duration = Duration::from_secs(5);

/// How long the call takes that asks, where its target answers the callback before it answers the call.
const ASKS: Duration = Duration::from_secs(3);

/// How long an execution may take in all.
const WHOLE: Duration = Duration::from_secs(60);

/// What happens while the first process is in its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    Answer,
    RefusedRedrive,
    AnswerBeforeReturn,
}

pub(crate) async fn each_target_is_called_once(aws: &Deployment, checks: &mut Checks) {
    aws.target.take_time_at("/slow", CALL);
    for (meanwhile, name) in [
        (Meanwhile::Answer, "an answer comes while another branch is in a call"),
        (Meanwhile::RefusedRedrive, "a redrive is refused in between"),
        (Meanwhile::AnswerBeforeReturn, "a target answers its callback before its call returns"),
    ] {
        let asks = if meanwhile == Meanwhile::AnswerBeforeReturn { ASKS } else { Duration::ZERO };
        aws.target.take_time_at("/ask", asks);
        one(aws, meanwhile, name, checks).await;
    }
}

async fn one(aws: &Deployment, meanwhile: Meanwhile, name: &str, checks: &mut Checks) {
    println!("        {name}");
    let token = aws.deliver(&small("branching", &format!("{meanwhile:?}"))).await.token();
    let asked = called(aws, &token, "/ask").await;
    let address = asked.body["answerTo"].as_str().unwrap_or_default().to_owned();
    sleep(ANSWER).await;
    let told = aws.call_back(&address, &json!({ "ok": true })).await;
    let answered = SystemTime::now();
    checks.that("its answer is accepted", told.status == 200, told.status);
    if meanwhile == Meanwhile::AnswerBeforeReturn {
        let open = calls(aws, &token, "/ask").iter().any(|call| call.ended.is_none());
        checks.that("while the call that asked is still open", open, "it had returned");
    }
    if meanwhile == Meanwhile::RefusedRedrive {
        let told = aws.redrive(&token).await;
        checks.that("a redrive of what runs is refused", told.status == 409, told.status);
    }
    let status = completed_within(aws, &token, WHOLE).await;
    checks.that("it comes to its end", status["status"] == "completed", &status);
    for path in ["/slow", "/ask", "/after"] {
        let count = calls(aws, &token, path).len();
        checks.that(&format!("{path} saw one request"), count == 1, count);
    }
    let after = calls(aws, &token, "/after").first().map(|call| call.began);
    let took = after.and_then(|after| after.duration_since(answered).ok()).unwrap_or_default();
    let soon = after.is_some() && took <= GOES_ON;
    checks.that("the branch that was answered goes on in time", soon, format!("{took:?}"));
    if meanwhile != Meanwhile::AnswerBeforeReturn {
        let slow = calls(aws, &token, "/slow").first().and_then(|call| call.ended);
        let beside = after.zip(slow).is_some_and(|(after, slow)| after < slow);
        checks.that("and does not wait for the other branch's call", beside, "it waited");
    }
    let events = aws.part_of(&token, "events").await.json();
    let claims = events["events"].as_array().map_or(0, |events| {
        events.iter().filter(|event| !event["event"]["StepClaimed"].is_null()).count()
    });
    checks.that("each of its three attempts was claimed once", claims == 3, claims);
}

fn calls(aws: &Deployment, token: &str, path: &str) -> Vec<Called> {
    aws.target.calls_for(token).into_iter().filter(|call| call.path == path).collect()
}

/// The first call of a path, once it has begun.
async fn called(aws: &Deployment, token: &str, path: &str) -> Called {
    let latest = Instant::now() + WHOLE;
    loop {
        if let Some(call) = calls(aws, token, path).into_iter().next() {
            return call;
        }
        let status: Value = aws.status_of(token).await;
        assert!(Instant::now() < latest, "nothing calls {path}: {status}");
        sleep(Duration::from_millis(20)).await;
    }
}

//! Webhooks all the way through the functions' own binaries, with deaths and outages.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use data_encoding::HEXLOWER;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::Built;
use crate::checks::Checks;
use crate::deployment::{Deployment, SECRET};
use crate::events::{self, Webhook};
use crate::{costs, in_flight, odd_events};

/// How long something may take that should take a moment.
const SOON: Duration = Duration::from_secs(30);

/// How long an execution may take whose processor was killed: the audit finds it after 20 s, its claim has to end, and
/// then it is driven alone.
const AFTER_DEATH: Duration = Duration::from_secs(180);

/// After how long the audit looks at a webhook, and a second for a clock that was read before.
const AUDITED: Duration = Duration::from_secs(21);

/// How late a wait of 3 s may end: a delay is in whole seconds, and a process may have to start.
const WAIT_LATE: Duration = Duration::from_secs(4);

/// Where a checkout may have a collection of real webhooks beside it: `EVENT.….payload.json`.
const COLLECTION: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/webhooks/payloads/github");

/// A webhook that is always there.
const PUSH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/push.json");

/// What must never stand in a log: a sender chose it, or it is a secret.
const CANARIES: [&str; 4] = [
    "canary-of-a-body-1f2e3d4c",
    "canary-of-a-header-9a8b7c6d",
    SECRET,
    "canary-of-the-execution-key-5f6e7d8c",
];

/// How many processes a function may have.
const CONCURRENCY: usize = 4;

/// How long a sweep may take: it leaves 5 seconds before its deadline.
const SWEEP: Duration = Duration::from_secs(9);

/// How many webhooks are under way when processors are killed.
const UNDER_WAY: usize = 40;

pub(crate) async fn run(built: &Built, checks: &mut Checks) {
    let aws = Deployment::start(built, CONCURRENCY).await;
    let processor = aws.map("ProcessorFunction");
    let projector = aws.map("ProjectorFunction");
    come_to_an_end(&aws, checks).await;
    are_refused(&aws, checks).await;
    a_large_body_comes_back(&aws, checks).await;
    odd_events::spoil_nothing(&aws, checks).await;
    a_wait_ends_on_time(&aws, checks).await;
    in_flight::each_target_is_called_once(&aws, checks).await;
    processor.stop().await;
    the_sweep_brings_back(&aws, checks).await;
    let processor = aws.map("ProcessorFunction");
    killed_processors_lose_nothing(&aws, checks).await;
    without_dynamodb_nothing_is_accepted(&aws, checks).await;
    processor.stop().await;
    projector.stop().await;
    for name in ["ProcessorFunction", "ProjectorFunction"] {
        let given_up = aws.given_up(name);
        checks.that(
            &format!("the mapping of {name} gave nothing up"),
            given_up.is_empty(),
            given_up,
        );
    }
    logs_are_json_and_hold_no_content(&aws, checks);
    costs::are_as_documented(built, checks).await;
}

/// The webhooks that are at hand: GitHub's own examples, or one.
fn webhooks() -> Vec<Webhook> {
    let listed = std::fs::read_dir(COLLECTION).into_iter().flatten().flatten();
    let mut paths: Vec<_> = listed.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths.push(PUSH.into());
    paths.iter().map(|path| webhook(path)).collect()
}

fn webhook(path: &Path) -> Webhook {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let event = name.split('.').next().unwrap().to_owned();
    Webhook { source: "github", event, delivery: name, body: std::fs::read(path).unwrap() }
}

/// A small webhook with this delivery id.
pub(crate) fn small(source: &'static str, delivery: &str) -> Webhook {
    let body = json!({ "ref": "refs/heads/main", "text": CANARIES[0], "number": delivery });
    let body = serde_json::to_vec(&body).unwrap();
    Webhook { source, event: "push".into(), delivery: delivery.into(), body }
}

async fn come_to_an_end(aws: &Deployment, checks: &mut Checks) {
    let webhooks = webhooks();
    let mut tokens = Vec::new();
    for webhook in &webhooks {
        let told = aws.deliver(webhook).await;
        if !checks.that(
            &format!("{} is accepted", webhook.delivery),
            told.status == 202,
            told.status,
        ) {
            continue;
        }
        let token = told.token();
        // A status that has no view yet is folded from the history.
        let status = aws.status_of(&token).await;
        let shown = status["executionToken"] == token.as_str();
        checks.that("its status is there at once", shown, &status);
        tokens.push((token, webhook));
    }
    for (token, webhook) in &tokens {
        let status = completed(aws, token).await;
        let whole = status["status"] == "completed"
            && status["webhookSummary"]["type"] == webhook.event.as_str()
            && status["steps"].as_array().is_some_and(|steps| steps.len() == 3);
        let name = format!("{} comes to its end", webhook.delivery);
        assert!(checks.that(&name, whole, &status), "nothing else makes sense without this");
        let events = aws.part_of(token, "events").await.json();
        let names: Vec<_> = events["events"].as_array().unwrap().iter().map(name_of).collect();
        let expected = [
            "WebhookReceived",
            "StepCompleted",
            "StepCompleted",
            "StepCompleted",
            "ExecutionCompleted",
        ];
        checks.that("its history has five events", names == expected, format!("{names:?}"));
        let body = aws.part_of(token, "body").await;
        checks.that("its body comes back byte for byte", body.body == webhook.body, body.status);
    }
    let (token, webhook) = tokens.last().unwrap();
    let again = aws.deliver(webhook).await.json();
    let known = again["duplicate"] == true && again["executionToken"] == token.as_str();
    checks.that("a redelivery is known", known, &again);
    let renamed = Webhook { delivery: format!("{}-again", webhook.delivery), ..(*webhook).clone() };
    let repeat = aws.deliver(&renamed).await.token();
    let status = completed(aws, &repeat).await;
    checks.that(
        "a body under another id is flagged",
        status["repeatOf"] == token.as_str(),
        &status,
    );
    let other = Webhook { body: b"{}".to_vec(), ..(*webhook).clone() };
    let again = aws.deliver(&other).await.json();
    let runs = again["duplicate"] == false && again["executionToken"] != token.as_str();
    checks.that("another body under a known id that is not signed is another event", runs, &again);
    // CircleCI's id is signed, and names one event.
    let event = |outcome| Webhook {
        body: format!(r#"{{"type":"job-completed","id":"1","outcome":"{outcome}"}}"#).into_bytes(),
        ..small("circleci", "1")
    };
    let token = aws.deliver(&event("success")).await.token();
    let again = aws.deliver(&event("failure")).await.json();
    let known = again["duplicate"] == true && again["executionToken"] == token.as_str();
    checks.that("another body under a signed id is a redelivery", known, &again);
    let stranger = events::get("/status/{executionToken}", "/status/AAAAAAAAAAAAAAAAAAAAAAAAAA");
    let status = events::call(&aws.status, stranger).await.status;
    checks.that("an unknown token is a 404", status == 404, status);
}

fn name_of(event: &Value) -> String {
    let event = &event["event"];
    let tagged = event.as_object().and_then(|event| event.keys().next().cloned());
    event["type"].as_str().map(str::to_owned).or(tagged).unwrap_or_else(|| event.to_string())
}

/// The status once it is an end, or as it was last.
pub(crate) async fn completed(aws: &Deployment, token: &str) -> Value {
    completed_within(aws, token, SOON).await
}

pub(crate) async fn completed_within(aws: &Deployment, token: &str, time: Duration) -> Value {
    let latest = Instant::now() + time;
    loop {
        let status = aws.status_of(token).await;
        let ended =
            ["completed", "failed"].contains(&status["status"].as_str().unwrap_or_default());
        if ended || Instant::now() > latest {
            return status;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

async fn are_refused(aws: &Deployment, checks: &mut Checks) {
    let webhook = small("github", "refused");
    let mut unsigned = webhook.signed(SECRET);
    unsigned["headers"].as_object_mut().unwrap().remove("x-hub-signature-256");
    unsigned["headers"]["x-canary"] = json!(CANARIES[1]);
    let elsewhere = Webhook { source: "nowhere", ..webhook.clone() };
    let mut compressed = webhook.signed(SECRET);
    compressed["headers"]["content-encoding"] = json!("gzip");
    let mut text = webhook.clone();
    text.body = b"not JSON".to_vec();
    let mut large = webhook.clone();
    large.body = vec![b' '; 1024 * 1024 + 1];
    for (name, event, expected) in [
        ("without a signature", unsigned, 401),
        ("with another secret's signature", webhook.signed("another secret"), 401),
        ("for an unknown source", elsewhere.signed(SECRET), 401),
        ("with a content encoding", compressed, 415),
        ("that is not JSON", text.signed(SECRET), 400),
        ("that is too large", large.signed(SECRET), 413),
    ] {
        let told = events::call(&aws.ingest, event).await;
        let clear = told.status == expected && told.json()["error"].is_string();
        checks.that(&format!("a webhook {name} is a {expected}"), clear, told.status);
    }
}

async fn a_large_body_comes_back(aws: &Deployment, checks: &mut Checks) {
    let mut noise = vec![0u8; 100_000];
    getrandom::fill(&mut noise).unwrap();
    let body = json!({ "noise": HEXLOWER.encode(&noise), "text": CANARIES[0] });
    let body = serde_json::to_vec(&body).unwrap();
    let webhook = Webhook { body: body.clone(), ..small("github", "large") };
    let token = aws.deliver(&webhook).await.token();
    let status = completed(aws, &token).await;
    checks.that("a large body comes to its end", status["status"] == "completed", &status);
    let told = aws.part_of(&token, "body").await;
    checks.that("and comes back byte for byte", told.body == body, told.status);
}

/// No sweep runs: a message wakes the processor when the timer is due.
async fn a_wait_ends_on_time(aws: &Deployment, checks: &mut Checks) {
    let before = aws.queue.sent();
    let began = Instant::now();
    let token = aws.deliver(&small("waiting", "waiting")).await.token();
    let status = completed(aws, &token).await;
    let took = began.elapsed();
    let wait = Duration::from_secs(3);
    let on_time = status["status"] == "completed" && took >= wait && took < wait + WAIT_LATE;
    checks.that("a wait ends on time without the sweep", on_time, format!("{took:?} {status}"));
    let sent = aws.queue.sent() - before;
    checks.that("one message was sent for its timer", sent == 1, sent);
}

/// The processor's mapping is stopped: nothing but the sweep wakes it.
async fn the_sweep_brings_back(aws: &Deployment, checks: &mut Checks) {
    let token = aws.deliver(&small("github", "lost")).await.token();
    sleep(AUDITED).await;
    let before = aws.status_of(&token).await;
    checks.that("without its record an execution waits", before["status"] == "received", &before);
    let swept = aws.sweep.invoke_within(minute(), SWEEP).await;
    checks.that("the sweep ends in time", swept.is_ok(), format!("{swept:?}"));
    let status = completed(aws, &token).await;
    checks.that("the sweep brings it on", status["status"] != "received", &status);
}

/// What EventBridge invokes the sweep with.
fn minute() -> Value {
    json!({ "time": "2026-11-25T12:00:00Z" })
}

async fn killed_processors_lose_nothing(aws: &Deployment, checks: &mut Checks) {
    aws.target.take_time(Duration::from_millis(100));
    let before = aws.target.calls().len();
    let mut tokens = Vec::new();
    for number in 0..UNDER_WAY {
        let webhook = small("calling", &format!("killed-{number}"));
        tokens.push(aws.deliver(&webhook).await.token());
    }
    // Calls take their time: once some have begun, others are in flight.
    let latest = Instant::now() + SOON;
    while aws.target.calls().len() < before + UNDER_WAY / 2 && Instant::now() < latest {
        sleep(Duration::from_millis(10)).await;
    }
    aws.processor.kill_busy();
    // Again while batches are retried.
    sleep(Duration::from_millis(700)).await;
    aws.processor.kill_busy();
    // The calls that were in flight are made again when their claims have ended, and the sweep finds them.
    let swept = async {
        loop {
            aws.sweep.invoke_within(minute(), SWEEP).await.ok();
            sleep(Duration::from_secs(1)).await;
        }
    };
    let ended = async {
        let mut unfinished = Vec::new();
        for token in &tokens {
            let status = completed_within(aws, token, AFTER_DEATH).await;
            if status["status"] != "completed" {
                unfinished.push(status);
            }
        }
        unfinished
    };
    let unfinished = tokio::select! {
        unfinished = ended => unfinished,
        () = swept => unreachable!("it is swept without an end"),
    };
    checks.that(
        &format!("of {UNDER_WAY} webhooks whose processors were killed all come to their end"),
        unfinished.is_empty(),
        format!("{unfinished:?}"),
    );
    let mut outcomes = 0;
    for token in &tokens {
        let events = aws.part_of(token, "events").await.json();
        let names = events["events"].as_array().unwrap().iter().map(name_of);
        outcomes += names.filter(|name| name == "StepCompleted").count();
    }
    let steps = UNDER_WAY * 10;
    checks.that("each of their steps has one outcome", outcomes == steps, outcomes);
    let mut calls: BTreeMap<String, usize> = BTreeMap::new();
    for call in &aws.target.calls()[before..] {
        *calls.entry(call.key.clone()).or_default() += 1;
    }
    checks.that("all calls of a step have one key", calls.len() == steps, calls.len());
    let repeated = calls.values().filter(|count| **count > 1).count();
    // If nothing was repeated, nobody was killed at work.
    checks.that("what was under way was done again", repeated > 0, "no call was repeated");
    println!("        {repeated} of {steps} calls were repeated");
    aws.target.take_time(Duration::ZERO);
}

async fn without_dynamodb_nothing_is_accepted(aws: &Deployment, checks: &mut Checks) {
    let webhook = small("github", "outage");
    // Nobody listens there.
    let cut_off =
        aws.function_with("IngestFunction", &[("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9")]);
    for when in ["after its start", "later"] {
        let told = events::call(&cut_off, webhook.signed(SECRET)).await;
        let said = told.status == 503 && told.headers["retry-after"].is_string();
        let name =
            format!("an ingest that cannot reach DynamoDB says 503 {when}, and when to try again");
        checks.that(&name, said, format!("{} {}", told.status, told.headers));
    }
    aws.proxy.be_silent(true);
    let began = Instant::now();
    let told = events::call(&aws.ingest, webhook.signed(SECRET)).await;
    let took = began.elapsed();
    let in_time = told.status == 503 && took < Duration::from_secs(10);
    let name = "an ingest whose DynamoDB falls silent says 503 before its timeout";
    checks.that(name, in_time, format!("{} after {took:?}", told.status));
    aws.proxy.be_silent(false);
    let told = aws.deliver(&webhook).await;
    checks.that("with DynamoDB back it accepts the same webhook", told.status == 202, told.status);
    let status = completed(aws, &told.token()).await;
    checks.that("which comes to its end", status["status"] == "completed", &status);
}

fn logs_are_json_and_hold_no_content(aws: &Deployment, checks: &mut Checks) {
    let lines = aws.lines.lock().unwrap().clone();
    let parsed: Vec<Value> =
        lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let odd = lines.iter().find(|line| serde_json::from_str::<Value>(line).is_err());
    checks.that(
        &format!("all {} lines of logs are JSON", lines.len()),
        odd.is_none(),
        odd.cloned().unwrap_or_default(),
    );
    for canary in CANARIES {
        let told = lines.iter().find(|line| line.contains(canary));
        checks.that(
            "no line has a body, a header or a secret",
            told.is_none(),
            told.cloned().unwrap_or_default(),
        );
    }
    let step = parsed.iter().find(|line| line["event.name"] == "StepCompleted");
    let step = step.cloned().unwrap_or_default();
    let fields = ["execution.id", "source", "event.sequence", "step.name", "level", "timestamp"];
    let missing: Vec<_> = fields.iter().filter(|field| step[**field].is_null()).collect();
    checks.that(
        "a step's line says of whom and where",
        missing.is_empty(),
        format!("{missing:?} {step}"),
    );
    let documents: Vec<_> = parsed.iter().filter(|line| line["_aws"].is_object()).collect();
    for metric in [
        "Accepted",
        "Duplicate",
        "MismatchedBodies",
        "RepeatedBodies",
        "Rejected",
        "StepDuration",
        "ExecutionDuration",
        "DueAge",
        "Due",
        "AuditAge",
        "AuditTimers",
        "Unreadable",
    ] {
        let written = documents.iter().any(|document| {
            let declared = document["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array();
            let declared = declared.into_iter().flatten().any(|m| m["Name"] == metric);
            declared && !document[metric].is_null() && document["Deployment"] == "everhook"
        });
        checks.that(&format!("the metric {metric} is written"), written, "it is not");
    }
}

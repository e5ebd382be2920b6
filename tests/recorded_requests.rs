//! What each acting step sent, in the history of its execution.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, Uri};
use everhook::{Input, Outgoing, StepError, Steps, replay};
use everhook_journal::{Event, ExecutionId, Recorded, Sequence};
use everhook_processor::step::REQUEST_BYTES_MAX;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::world::{World, delivery};

/// A server whose answer depends on the path and on nothing else.
async fn target() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = |uri: Uri, headers: HeaderMap| async move {
        let attempt = headers["everhook-attempt"].to_str().unwrap().to_owned();
        match uri.path() {
            "/hangs" => std::future::pending().await,
            "/fails" => (StatusCode::BAD_REQUEST, attempt),
            _ => (StatusCode::OK, attempt),
        }
    };
    let app = Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    url
}

/// A step with these keys, behind those before it.
fn step(name: &str, more: &str) -> String {
    format!("[[workflows.default.steps]]\nname = \"{name}\"\nretry = \"none\"\n{more}\n")
}

fn config(steps: &[String]) -> String {
    let source = "[settings]\nprivate_hosts = [\"127.0.0.1\"]\n\
                  [sources.default]\nscheme = \"hmac-sha256\"\nsecrets = [\"file:secret\"]\n";
    format!("{source}{}", steps.concat())
}

/// The outcomes of an execution of these steps: name, kind of event, attempt, and what was sent.
async fn outcomes(world: &World, body: &str) -> Vec<(String, &'static str, Value)> {
    let token = world.accepted(&delivery("d-1", body)).await;
    world.live_through(Duration::from_secs(20), Duration::from_secs(2)).await;
    let history = world.history(&token).await;
    let outcome = |recorded: &Recorded| {
        let step = recorded.event.step()?.to_string();
        let is_outcome = !matches!(recorded.event, Event::StepClaimed { .. })
            && recorded.event.name().starts_with("Step");
        let request = serde_json::to_value(recorded.event.request()).unwrap();
        is_outcome.then(|| (step, recorded.event.name(), request))
    };
    history.iter().filter_map(outcome).collect()
}

#[tokio::test]
async fn a_call_is_recorded_with_its_outcome_whatever_that_is() {
    let url = target().await;
    let http = |path: &str, more: &str| format!("run = \"http\"\nurl = \"{url}{path}\"\n{more}");
    let tolerant = "run = \"parallel\"\ntolerate = 3\n";
    let branch = |name: &str, more: &str| {
        format!(
            "[[workflows.default.steps.branches]]\nname = \"{name}\"\n\
             [[workflows.default.steps.branches.steps]]\nname = \"{name}-it\"\nretry = \"none\"\n{more}\n"
        )
    };
    let world = World::start(&config(&[
        step("first", "run = \"transform\"\njq = '{n: 1}'"),
        step("sends", &http("/ok", "body = \"previous\"")),
        step("quiet", &http("/ok", "record_request = false")),
        step("large", &http("/ok", "jq = '.large'")),
        step("branches", tolerant),
        branch("fails", &http("/fails", "")),
        branch("hangs", &http("/hangs", "timeout = \"50ms\"")),
        branch("nobody", "run = \"http\"\nurl = \"http://127.0.0.1:1/\""),
    ]))
    .await;
    let large = "x".repeat(3_000);

    let outcomes = outcomes(&world, &json!({ "large": large }).to_string()).await;

    let found = |name: &str| {
        let found: Vec<_> = outcomes.iter().filter(|(step, ..)| step == name).collect();
        assert_eq!(found.len(), 1, "{name}: {outcomes:#?}");
        (found[0].1, found[0].2.clone())
    };
    assert_eq!(found("first"), ("StepCompleted", Value::Null));
    let (kind, sent) = found("sends");
    assert_eq!((kind, &sent["body"]), ("StepCompleted", &json!({"result": "first"})));
    assert_eq!((&sent["method"], &sent["url"]), (&json!("POST"), &json!(format!("{url}/ok"))));
    assert_eq!(sent["headers"]["everhook-attempt"], "1");
    assert_eq!(found("quiet"), ("StepCompleted", Value::Null));
    let sha256 = everhook_journal::payload::sha256_hex(large.as_bytes());
    assert_eq!(found("large").1["body"], json!({"omitted": {"sha256": sha256, "bytes": 3_000}}));
    for (name, path) in [
        ("branches/fails/fails-it", format!("{url}/fails")),
        ("branches/hangs/hangs-it", format!("{url}/hangs")),
        ("branches/nobody/nobody-it", "http://127.0.0.1:1/".into()),
    ] {
        let (kind, sent) = found(name);
        assert_eq!((kind, &sent["url"]), ("StepFailed", &json!(path)));
        assert_eq!(sent["body"], "webhook");
    }
    assert_eq!(found("branches"), ("StepCompleted", Value::Null));
}

#[tokio::test]
async fn each_attempt_and_each_look_has_its_own_request() {
    let url = target().await;
    let world = World::start(&config(&[
        step(
            "built",
            &format!(
                "run = \"poll\"\nuntil = '.body == \"3\"'\n\
                 [[workflows.default.steps.steps]]\nname = \"look\"\nrun = \"http\"\nurl = \"{url}/ok\"\n"
            ),
        )
        .replace("retry = \"none\"\n", "retry = { attempts = 3, first = \"1s\" }\n"),
    ]))
    .await;

    let outcomes = outcomes(&world, "{}").await;

    let attempts: Vec<_> = outcomes
        .iter()
        .map(|(_, kind, sent)| (*kind, sent["headers"]["everhook-attempt"].as_str().unwrap()))
        .collect();
    assert_eq!(attempts, [("StepPolled", "1"), ("StepPolled", "2"), ("StepCompleted", "3")]);
}

/// Notes what it sends, and then does whatever the body says.
async fn own(input: Input) -> Result<(), StepError> {
    input.record_request(Outgoing::new("SEND", "queue").body(input.idempotency_key()));
    match &input.body[..] {
        b"\"hang\"" => std::future::pending().await,
        b"\"panic\"" => std::panic::resume_unwind(Box::new("on purpose")),
        _ => Ok(()),
    }
}

#[tokio::test]
async fn what_a_step_of_ones_own_notes_is_recorded_also_if_it_hangs_or_panics() {
    for (body, kind) in
        [("\"\"", "StepCompleted"), ("\"hang\"", "StepFailed"), ("\"panic\"", "StepFailed")]
    {
        let config = config(&[step("own", "run = \"own\"\ntimeout = \"50ms\"")]);
        let world = World::with_steps(&config, Steps::new().with("own", own)).await;
        let outcomes = outcomes(&world, body).await;
        assert_eq!(outcomes.len(), 1, "{outcomes:?}");
        let (_, outcome, sent) = &outcomes[0];
        assert_eq!((*outcome, &sent["method"]), (kind, &json!("SEND")), "{body}");
        assert!(sent["body"]["text"].as_str().unwrap().ends_with(":own"), "{sent}");
    }
}

/// Notes as much as is recorded of a request, in characters that are two bytes each in an event.
async fn long(input: Input) -> Result<(), StepError> {
    let body = "\"".repeat(REQUEST_BYTES_MAX - 100);
    input.record_request(Outgoing::new("SEND", "queue").body(body));
    Ok(())
}

#[tokio::test]
async fn outcomes_with_long_requests_fit_into_an_append_together() {
    let steps = [
        step("all", "run = \"map\"\nitems = '.'\nconcurrency = 100"),
        "[[workflows.default.steps.steps]]\nname = \"long\"\nrun = \"long\"\n".to_owned(),
    ];
    let world = World::with_steps(&config(&steps), Steps::new().with("long", long)).await;
    let items: Vec<_> = (0..100).collect();
    let token = world.accepted(&delivery("d-1", &json!(items).to_string())).await;
    world.settle().await;

    assert_eq!(world.story(&token).await.last().unwrap(), "ExecutionCompleted");
    let mut appends: BTreeMap<Sequence, (usize, usize)> = BTreeMap::new();
    for recorded in world.history(&token).await {
        let (outcomes, bytes) = appends.entry(recorded.first).or_default();
        *outcomes += usize::from(recorded.event.request().is_some());
        *bytes += serde_json::to_string(&recorded.event).unwrap().len();
    }
    let most = |of: fn(&(usize, usize)) -> usize| appends.values().map(of).max().unwrap();
    // Several are together, and not as many as would fit without what they sent.
    assert!((10..40).contains(&most(|(outcomes, _)| *outcomes)), "{appends:?}");
    assert!(most(|(_, bytes)| *bytes) < 160 * 1024, "{appends:?}");
}

/// A history, as the API gives it.
fn history(outcomes: &[Value]) -> Vec<Recorded> {
    let webhook = json!({"WebhookReceived": {
        "source": "shop", "deliveryId": "d-1", "deliveryIdFrom": "body",
        "workflow": {"name": "default", "hash": "0", "steps": ["a", "b", "c"]},
        "verified": {"scheme": "none"}, "method": "POST", "path": "/webhook/shop", "headers": {},
        "requestId": "r-1", "body": {"text": "{}"}, "bodySha256": "", "keyCount": 0,
        "expiresAt": "2026-12-01T02:00:00.000Z",
    }});
    let events = [&[webhook], outcomes].concat();
    let recorded = (1..).zip(events).map(|(sequence, event)| {
        json!({"sequence": sequence, "append": sequence, "at": "2026-11-24T02:00:00.000Z", "event": event})
    });
    recorded.map(|recorded| serde_json::from_value(recorded).unwrap()).collect()
}

fn completed(step: &str, request: Option<Value>) -> Value {
    let mut outcome = json!({
        "step": step, "attempt": 1, "startedAt": "2026-11-24T02:00:00.000Z", "durationMs": 20,
        "output": {"json": {"status": 200}},
    });
    if let Some(request) = request {
        outcome["request"] = request;
    }
    json!({ "StepCompleted": outcome })
}

fn transcript(outcomes: &[Value]) -> String {
    let id = ExecutionId::parse("ABCDEFGHIJKLMNOPQRSTUVWXYZ").unwrap();
    replay::transcript(&id, &replay::tell(&history(outcomes)).unwrap())
}

#[test]
fn what_was_sent_is_told_below_its_outcome() {
    let headers = json!({"authorization": null, "content-type": "text/plain"});
    let text = format!("line 1\nline 2 {}", "é".repeat(300));
    let told = transcript(&[
        completed(
            "a",
            Some(json!({
                "method": "POST", "url": "https://example.com/a?api_key=…", "headers": headers,
                "body": "webhook",
            })),
        ),
        completed(
            "b",
            Some(json!({
                "method": "SendMessage", "url": "https://q/1/orders", "moreHeaders": 3,
                "body": {"text": text},
            })),
        ),
        completed(
            "c",
            Some(json!({
                "method": "PutObject", "url": "s3://archive/a",
                "body": {"omitted": {"sha256": "2c26b46b", "bytes": 5_000}},
            })),
        ),
    ]);
    insta::assert_snapshot!(told);
}

#[test]
fn a_history_from_before_requests_were_recorded_is_told_as_before() {
    let told = transcript(&[completed("a", None), completed("b", None)]);
    assert!(told.contains("step b, attempt 1: completed in 20 ms"), "{told}");
    assert!(!told.contains("sent"), "{told}");
}

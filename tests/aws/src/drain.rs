//! Ten thousand timers are due at once, as after an outage: how the sweep hands them over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use everhook_journal::id::ExecutionKey;
use everhook_journal::timers::Terms;
use everhook_journal::{Clock, DeliveryId, ExecutionId, SourceName, Timer, id};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::Built;
use crate::checks::Checks;
use crate::deployment::Deployment;
use crate::dynamodb_local::tables;
use crate::function::Function;
use crate::template::Template;

/// How many timers are due.
const TIMERS: usize = 10_000;

/// How many items one call puts.
const PUT_TOGETHER: usize = 25;

/// How many invocations of the processor are refused at first.
const REFUSED: usize = 40;

/// How many times as many timers the first look hands over as are refused, at least.
const OTHERS_MIN: usize = 5;

/// How long each call takes here, at least: so long that it is the waiting and not this machine's processors that
/// decides how many are in flight.
const LATENCY: Duration = Duration::from_millis(60);

/// How often the sweep may be started until all are handed over.
const LOOKS_MAX: usize = 6;

/// How long it is from one start of the sweep to the next here: what could not be handed over is due again after 10 s.
const BETWEEN: Duration = Duration::from_secs(4);

/// What a call to DynamoDB, and an asynchronous invocation, are taken to last in AWS, in seconds.
const DYNAMODB: f64 = 0.010;
const LAMBDA: f64 = 0.050;

/// How many calls to DynamoDB and to Lambda a timer may cost.
const CALLS_MAX: (f64, f64) = (1.1, 0.15);

/// How many timers a second must be possible.
const RATE_MIN: f64 = 1_000.0;

/// Lambda's Invoke: it notes which timers are handed over, and refuses the first few invocations.
#[derive(Debug, Default)]
struct Lambda {
    refused: Vec<String>,
    accepted: BTreeMap<String, usize>,
    invocations: usize,
    spans: Vec<(SystemTime, SystemTime)>,
}

pub(crate) async fn run(built: &Built, checks: &mut Checks) {
    let aws = Deployment::start(built, 1).await;
    let timers = put(&aws).await;
    let lambda = Arc::new(Mutex::new(Lambda::default()));
    let endpoint = start(lambda.clone()).await;
    let sweep = aws.function_with("SweepFunction", &[("AWS_ENDPOINT_URL_LAMBDA", &endpoint)]);
    // A start is not what is measured.
    sweep.start_once().await;
    aws.proxy.take();
    aws.proxy.take_time(LATENCY);

    let (first, took) = look(&sweep).await;
    let calls = aws.proxy.take();
    checks.that("the first look ends in time", first.is_ok(), format!("{first:?}"));
    let (refused, handed, invocations, spans) = {
        let lambda = lambda.lock().unwrap();
        (lambda.refused.len(), lambda.accepted.len(), lambda.invocations, lambda.spans.clone())
    };
    println!("        {handed} of {TIMERS} timers in {took:.1?}, {refused} refused by Lambda");
    // How far the first look gets in its minute depends on this machine.
    let name = format!("what Lambda refuses ({refused} timers) stops none of the others");
    checks.that(&name, refused > 0 && handed > OTHERS_MIN * refused, handed);
    let claimed = (handed + refused) as f64;
    let (of_dynamodb, of_lambda) = (calls.len() as f64 / claimed, invocations as f64 / claimed);
    let told =
        format!("a timer takes {of_dynamodb:.3} calls to DynamoDB, {of_lambda:.3} to Lambda");
    let few = of_dynamodb <= CALLS_MAX.0 && of_lambda <= CALLS_MAX.1;
    checks.that(&told, few, format!("at most {CALLS_MAX:?}"));
    let spans = calls.iter().map(|call| (call.began, call.ended)).chain(spans);
    let busy: f64 = spans.map(|(from, to)| seconds(from, to)).sum();
    let in_flight = busy / took.as_secs_f64();
    let rate = in_flight / (of_dynamodb * DYNAMODB + of_lambda * LAMBDA);
    let told = format!(
        "with {in_flight:.0} calls in flight, of 10 ms and 50 ms, {rate:.0} timers a second are possible"
    );
    checks.that(&told, rate >= RATE_MIN, format!("at least {RATE_MIN}"));
    let per_thousand = sweep.processor_time().as_secs_f64() * 1e6 / claimed;
    println!("        {per_thousand:.0} ms of processor time for 1,000 timers, with this build");

    for _ in 1..LOOKS_MAX {
        if lambda.lock().unwrap().accepted.len() == TIMERS {
            break;
        }
        sleep(BETWEEN).await;
        look(&sweep).await.0.ok();
    }
    let accepted = std::mem::take(&mut lambda.lock().unwrap().accepted);
    let missing = timers.iter().filter(|timer| !accepted.contains_key(&timer.to_string())).count();
    let name = format!("all {TIMERS} timers are handed over in the end");
    checks.that(&name, missing == 0, format!("{missing} are not"));
    let twice = accepted.values().filter(|count| **count > 1).count();
    checks.that("none is handed over twice", twice == 0, twice);
}

/// Starts the sweep as the schedule does; says how long it took.
async fn look(sweep: &Function) -> (Result<(), String>, Duration) {
    let began = SystemTime::now();
    let swept = sweep.invoke(json!({ "time": "2026-11-25T12:00:00Z" })).await;
    (swept.map(drop), began.elapsed().unwrap_or_default())
}

/// Sets timers that became due in the last minute, of executions that rest until then.
async fn put(aws: &Deployment) -> Vec<Timer> {
    let (store, now) = (aws.dynamodb.store(), Clock::System.now());
    let timers = tables().timers_in(&store);
    let key = ExecutionKey::new(b"0123456789abcdef").unwrap();
    let expires_at = now + Duration::from_secs(7 * 24 * 3600);
    let terms = Terms { is_suspect: false, is_claim: false, is_stalled: false, expires_at };
    let timer = |number: usize| {
        let delivery = DeliveryId::new(number.to_string());
        let execution = ExecutionId::derive(&key, &SourceName::new("github"), &delivery, &[]);
        let ago = Duration::from_millis(u64::try_from(number).unwrap() * 60_000 / TIMERS as u64);
        Timer { due: now - ago, execution }
    };
    let all: Vec<_> = (0..TIMERS).map(timer).collect();
    // One is set as the functions do; the others are like it.
    timers.set(&all[0], terms).await.unwrap();
    let table = Template::table("TimersTable");
    let scanned = aws.dynamodb.call("Scan", &json!({ "TableName": table })).await;
    let like = &scanned["Items"][0];
    let request = |timer: &Timer| {
        let mut item = like.clone();
        item["shard"]["S"] = json!(format!("shard#{}", timers.shards().of(&timer.execution)));
        item["due"]["S"] = json!(timer.to_string());
        item["name"]["S"] = json!(id::fresh());
        json!({ "PutRequest": { "Item": item } })
    };
    for some in all.chunks(PUT_TOGETHER) {
        let requests: Vec<_> = some.iter().map(request).collect();
        let put = json!({ "RequestItems": { table.as_str(): requests } });
        let left = aws.dynamodb.call("BatchWriteItem", &put).await;
        assert_eq!(left["UnprocessedItems"], json!({}), "all are put");
    }
    all
}

/// Starts Lambda; gives its address.
async fn start(lambda: Arc<Mutex<Lambda>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(invoke).with_state(lambda);
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    endpoint
}

async fn invoke(State(lambda): State<Arc<Mutex<Lambda>>>, body: Bytes) -> Response {
    let began = SystemTime::now();
    sleep(LATENCY).await;
    let payload: Value = serde_json::from_slice(&body).unwrap_or_default();
    let due = payload["due"].as_array().into_iter().flatten();
    let alone = Some(&payload["alone"]).filter(|alone| alone.is_object());
    let handed = due.chain(alone).filter_map(|fired| fired["timer"].as_str().map(str::to_owned));
    let handed: Vec<_> = handed.collect();
    let mut lambda = lambda.lock().unwrap();
    lambda.invocations += 1;
    lambda.spans.push((began, SystemTime::now()));
    if lambda.invocations <= REFUSED {
        lambda.refused.extend(handed);
        let kind = [("x-amzn-errortype", "AccessDeniedException")];
        return (StatusCode::FORBIDDEN, kind, "{}").into_response();
    }
    for timer in handed {
        *lambda.accepted.entry(timer).or_default() += 1;
    }
    StatusCode::ACCEPTED.into_response()
}

fn seconds(from: SystemTime, to: SystemTime) -> f64 {
    to.duration_since(from).unwrap_or_default().as_secs_f64()
}

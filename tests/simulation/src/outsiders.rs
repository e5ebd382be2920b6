//! Whoever is outside: senders, callers, operators, the clock of the sweep, and what kills processes.

use std::time::Duration;

use aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse};
use aws_lambda_events::encodings::Body;
use aws_lambda_events::http::{HeaderMap, HeaderName, HeaderValue, Method};
use everhook_journal::payload::sha256_hex;
use everhook_journal::{ExecutionId, ambient};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::answers::{Said, too_large};
use crate::executor::{WORLD, executor, roll, sleep};
use crate::expiry::Sent;
use crate::faults::Fault;
use crate::focus::Focus;
use crate::functions;
use crate::kit::kit;
use crate::world::world;

/// How long things go wrong, in seconds.
const FAULTY_LEAST: u64 = 60;
const FAULTY_MOST: u64 = 1_500;

/// How long executions may take once nothing goes wrong any more.
const PATIENCE: Duration = Duration::from_secs(48 * 3600);

/// The same where executions that cannot move are looked at until their histories expire.
const WEEKS: Duration = Duration::from_secs(60 * 24 * 3600);

/// How often the sweep starts, and how far ahead it sends messages.
const MINUTE: Duration = Duration::from_secs(60);
const AHEAD: Duration = Duration::from_secs(75);

/// Sends a webhook until it is accepted, and now and then again.
pub(crate) async fn sender(source: &'static str, number: usize) {
    sleep(Duration::from_millis(roll(|dice| dice.between(0, 120_000)))).await;
    let id = format!("{source}-{number}");
    let large = world().strikes(Fault::LargePayload);
    if world().strikes(Fault::WebhookTwice) {
        executor().spawn(WORLD, {
            let id = id.clone();
            async move {
                deliver(source, source, &id, body(large, false)).await;
            }
        });
    }
    if kit().is_signed_without_id(source) && world().strikes(Fault::Captured) {
        // Somebody who has seen another request sends it again under this id, before its own webhook comes.
        deliver(source, source, &id, captured()).await;
    }
    while !deliver(source, source, &id, body(large, false)).await {
        pause().await;
    }
    world().sender_is_done();
    if world().strikes(Fault::WebhookAgain) {
        sleep(Duration::from_secs(roll(|dice| dice.between(0, 300)))).await;
        let other = world().strikes(Fault::OtherBody);
        deliver(source, source, &id, body(large, other)).await;
    }
}

/// What a sender leaves between one try and the next.
pub(crate) async fn pause() {
    let pause = match () {
        () if world().strikes(Fault::SenderPauses) => roll(|dice| dice.between(940_000, 975_000)),
        () => roll(|dice| dice.between(500, 30_000)),
    };
    sleep(Duration::from_millis(pause)).await;
}

/// What a webhook says.
pub(crate) fn body(large: bool, other: bool) -> String {
    match (large, other) {
        (true, _) => format!("{{\"noise\":\"{}\"}}", kit().noise),
        (false, true) => "{\"n\":2}".to_owned(),
        (false, false) => "{\"n\":1}".to_owned(),
    }
}

/// A body that was seen on its way.
fn captured() -> String {
    "{\"n\":3}".to_owned()
}

/// Sends it once, signed as by the sender of some source; says whether it was accepted.
pub(crate) async fn deliver(source: &str, signer: &str, id: &str, body: String) -> bool {
    world().checks.borrow_mut().said.sent(id, body.as_bytes());
    let event = kit().event(source, id, &sha256_hex(body.as_bytes()));
    let headers = kit().signed(signer, id, body.as_bytes(), world().now());
    let request = post(&format!("/webhook/{source}"), "", &headers, body.clone());
    let sent = Sent { source: signer.to_owned(), id: id.to_owned(), body };
    let Some(token) = send(id, request).await else { return false };
    let now = world().now();
    world().sent.borrow_mut().insert(token.clone(), sent);
    world().check(|checks| checks.acknowledged(&event, &token, now));
    true
}

/// Sends a request with one event; returns the execution that it was told, if it was accepted.
pub(crate) async fn send(id: &str, request: ApiGatewayV2httpRequest) -> Option<String> {
    let response = functions::request(request).await?;
    if response.status_code != 202 {
        world().tell(|| format!("{id} answered {}", response.status_code));
        return None;
    }
    let token = answer(&response)["executionToken"].as_str().unwrap_or_default().to_owned();
    world().tell(|| format!("202 {token}"));
    Some(token)
}

pub(crate) fn post(
    path: &str,
    query: &str,
    headers: &[(String, String)],
    body: String,
) -> ApiGatewayV2httpRequest {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::try_from(name.as_str()).expect("a header's name");
        map.append(name, HeaderValue::from_str(value).expect("a header's value"));
    }
    let mut request = ApiGatewayV2httpRequest::default();
    request.raw_path = Some(path.to_owned());
    request.raw_query_string = (!query.is_empty()).then(|| query.to_owned());
    request.headers = map;
    request.request_context.http.method = Method::POST;
    request.request_context.request_id = Some("request".into());
    request.body = Some(body);
    request
}

/// What a successful answer says, if it says what is expected.
pub(crate) fn told<T: DeserializeOwned>(response: &ApiGatewayV2httpResponse) -> Option<T> {
    let Some(Body::Text(text)) = &response.body else { return None };
    serde_json::from_str(text).ok().filter(|_| response.status_code == 200)
}

pub(crate) fn answer(response: &ApiGatewayV2httpResponse) -> Value {
    match &response.body {
        Some(Body::Text(text)) => serde_json::from_str(text).unwrap_or_default(),
        _ => Value::Null,
    }
}

/// How long something waits for its answer that waits for long, in milliseconds.
const LONG: u64 = 60_000;

/// Calls back, as whoever was asked does.
pub(crate) async fn callback(token: String, execution: ExecutionId, expires: Duration) {
    let expires = expires.as_millis() as u64;
    let fates = [Fault::CallbackNever, Fault::CallbackEarly, Fault::CallbackLate];
    let fate = fates.into_iter().find(|fault| world().strikes(*fault));
    let delay = match fate {
        Some(Fault::CallbackNever) => return,
        Some(Fault::CallbackEarly) => roll(|dice| dice.between(0, 100)),
        Some(_) if expires < LONG => roll(|dice| dice.between(expires - 800, expires + 800)),
        Some(_) => roll(|dice| dice.between(expires - 5_000, expires + 5_000)),
        None => roll(|dice| dice.between(100, expires.min(240_000))),
    };
    sleep(Duration::from_millis(delay)).await;
    let said = Said::draw(&execution);
    if world().strikes(Fault::CallbackTooLarge) {
        too_large(&token).await;
    }
    let mut again = world().strikes(Fault::CallbackTwice);
    for _ in 0..12 {
        let path = format!("/callbacks/{token}/{}", said.path);
        let response = functions::request(post(&path, "", &[], said.body.clone())).await;
        let status = response.map_or(0, |response| response.status_code);
        world().tell(|| format!("called back: {status}"));
        if status == 200 && !world().strikes(Fault::CallbackLostReply) {
            let now = world().now();
            world().check(|checks| checks.fact_told(execution.as_str(), now));
            if !std::mem::take(&mut again) {
                return;
            }
        }
        if status == 409 || status == 404 {
            return;
        }
        sleep(Duration::from_millis(roll(|dice| dice.between(100, 20_000)))).await;
    }
}

/// Cancels some executions, and redrives some that have failed.
pub(crate) async fn operator() {
    loop {
        sleep(Duration::from_secs(roll(|dice| dice.between(5, 60)))).await;
        if world().is_calm() {
            return;
        }
        let executions = world().checks.borrow().executions();
        for execution in executions {
            if !world().checks.borrow().has_ended(&execution) && world().strikes(Fault::Cancelled) {
                operate(&execution, "cancel").await;
            }
        }
        let failed = world().checks.borrow().failed();
        for execution in failed {
            if world().strikes(Fault::Redriven) {
                operate(&execution, "redrive").await;
            }
        }
    }
}

/// Asks until there is an answer.
pub(crate) async fn operate(execution: &str, what: &str) {
    for _ in 0..200 {
        let path = format!("/executions/{execution}/{what}");
        let response = functions::operate(post(&path, "", &[], String::new())).await;
        let status = response.map_or(0, |response| response.status_code);
        world().tell(|| format!("{what} {execution}: {status}"));
        let now = world().now();
        world().check(|checks| checks.answered(execution, what, status, now));
        // One that was redriven before is owed again too.
        if status == 200 || (status == 409 && what == "redrive") {
            world().check(|checks| checks.redrive_told(execution, now));
        }
        if status != 0 && status != 503 {
            return;
        }
        sleep(Duration::from_millis(roll(|dice| dice.between(1_000, 20_000)))).await;
    }
}

/// Starts the sweep in each minute in which it may find something.
pub(crate) async fn sweep() {
    loop {
        let now = world().now();
        let first = world().items.borrow().first_due().map(|due| due - AHEAD);
        let next = first.into_iter().chain(world().next_audit()).min();
        let wait = next.map_or(Duration::from_secs(24 * 3600), |next| next.since(now));
        if wait > MINUTE {
            // Something may come meanwhile.
            let news = async { world().due.notified().await };
            ambient::timeout(wait - MINUTE, news).await.ok();
            continue;
        }
        // It starts by the clock, a little late.
        let past = u64::try_from(now.as_millis().rem_euclid(60_000)).unwrap_or(0);
        sleep(MINUTE - Duration::from_millis(past)).await;
        sleep(Duration::from_millis(roll(|dice| dice.between(0, 900)))).await;
        if world().strikes(Fault::SweepOutage) {
            sleep(Duration::from_secs(roll(|dice| dice.between(60, 2_700)))).await;
        }
        let began = world().now();
        if functions::sweep().await {
            world().audited(began);
        }
    }
}

/// Kills processes at whatever await they stand.
pub(crate) async fn kills() {
    loop {
        sleep(Duration::from_millis(roll(|dice| dice.between(100, 10_000)))).await;
        if world().is_calm() {
            return;
        }
        if world().strikes(Fault::CrashAnywhere)
            && let Some(process) = world().functions.busy()
        {
            world().tell(|| format!("process {} is killed", process.0));
            world().kill(process);
        }
    }
}

/// Ends the world: first what goes wrong, then, when all is done, the rest.
pub(crate) async fn end() {
    sleep(Duration::from_secs(roll(|dice| dice.between(FAULTY_LEAST, FAULTY_MOST)))).await;
    world().tell(|| "nothing goes wrong any more".into());
    world().cease();
    let began = executor().now();
    let (patience, pause) = match world().is_about(Focus::Weeks) {
        true => (WEEKS, Duration::from_secs(600)),
        false => (PATIENCE, Duration::from_secs(30)),
    };
    while executor().now() < began + patience {
        sleep(pause).await;
        let now = world().now();
        world().check(|checks| checks.nothing_is_forgotten(now));
        if world().is_done(now) {
            break;
        }
    }
    executor().stop();
}

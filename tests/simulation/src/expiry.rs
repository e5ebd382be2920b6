//! What comes after histories expire: DynamoDB deletes what is left of them, item by item, and those outside come back.

use std::time::Duration;

use aws_lambda_events::http::Method;
use everhook_journal::{ExecutionId, Timestamp};

use crate::checks::violated;
use crate::executor::{WORLD, executor, roll, sleep};
use crate::functions;
use crate::outsiders::{deliver, operate, pause, post};
use crate::tables::delete_expired;
use crate::world::world;

/// How long after its expiry an item is deleted at the latest.
const DELETED_WITHIN: Duration = Duration::from_secs(48 * 3600);

/// How long after its expiry nothing is deleted yet.
const KEPT: Duration = Duration::from_secs(60);

/// How long nothing is deleted at most.
const PACE_MOST: Duration = Duration::from_secs(1_200);

/// How long after the expiry somebody comes back at the latest.
const BACK_WITHIN: Duration = Duration::from_secs(50 * 3600);

/// How long before the expiry the first of them come.
const BEFORE: Duration = Duration::from_secs(30);

/// A webhook that was accepted.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) source: String,
    pub(crate) id: String,
    pub(crate) body: String,
}

/// Redrives what has failed, in the last hours before the histories expire, and lets everybody come back afterwards.
pub(crate) async fn last_hours() {
    // Until then everybody who sends has been answered.
    sleep(Duration::from_secs(24 * 3600)).await;
    let Some(first) = world().checks.borrow().expiries().values().min().copied() else { return };
    until(first, Duration::from_secs(4 * 3600)).await;
    for execution in world().checks.borrow().failed() {
        executor().spawn(WORLD, async move {
            sleep(Duration::from_secs(roll(|dice| dice.between(0, 3 * 3600)))).await;
            operate(&execution, "redrive").await;
        });
    }
    until(first, BEFORE).await;
    // What has not ended by then is given a last chance in peace.
    if world().checks.borrow().unfinished(true, world().now()).is_some() {
        let last = world().checks.borrow().expiries().into_values().max().unwrap_or(first);
        until(last, BEFORE).await;
    }
    world().tell(|| "the first histories expire, and things go wrong again".into());
    world().resume();
    let last = come_back();
    sleep(roll(|dice| Duration::from_secs(dice.between(60, BACK_WITHIN.as_secs())))).await;
    world().cease();
    until(last + DELETED_WITHIN.max(BACK_WITHIN) + Duration::from_secs(3600), Duration::ZERO).await;
    world().check(|_| match remains() {
        Some(what) => violated("S18", format!("{what} is left, which has expired")),
        None => Ok(()),
    });
    world().sender_is_done();
}

/// What is left of what has expired, or was never recorded.
fn remains() -> Option<String> {
    let world = world();
    let items = world.items.borrow();
    let left = items
        .expired(world.now())
        .into_iter()
        .find(|(_, _, expires_at)| *expires_at + DELETED_WITHIN + PACE_MOST < world.now());
    let left = left.map(|(table, (key, _), _)| format!("{key} in {table}"));
    left.or_else(|| items.has_orphan().then(|| "a row without a history".into()))
}

/// Sleeps until so long before a time.
async fn until(time: Timestamp, before: Duration) {
    sleep(time.since(world().now()).saturating_sub(before)).await;
}

/// Lets senders, operators and callers come back to each execution; says when the last of these expires.
fn come_back() -> Timestamp {
    let world = world();
    let expiries = world.checks.borrow().expiries();
    for (execution, expires_at) in &expiries {
        let sent = world.sent.borrow().get(execution).cloned();
        for sent in std::iter::repeat_n(sent, roll(|dice| dice.below(3))).flatten() {
            world.senders_come(1);
            executor().spawn(WORLD, sender(sent, *expires_at));
        }
        for _ in 0..roll(|dice| dice.below(4)) {
            executor().spawn(WORLD, operator(execution.clone(), *expires_at));
        }
    }
    for (token, execution) in world.asked.borrow().iter() {
        if let Some(expires_at) = expiries.get(execution.as_str())
            && roll(|dice| dice.happens(0.5))
        {
            executor().spawn(WORLD, caller(token.clone(), execution.clone(), *expires_at));
        }
    }
    expiries.into_values().max().expect("some history expires")
}

/// Comes when a history expires: within a second or two, within minutes, or while it is being deleted.
async fn late(expires_at: Timestamp) {
    let (first, last) = match roll(|dice| dice.below(4)) {
        0 => (28_000, 34_000),
        1 => (0, 120_000),
        2 => (0, 1_200_000),
        _ => (0, 3_600_000 * 50),
    };
    until(expires_at, BEFORE).await;
    sleep(Duration::from_millis(roll(|dice| dice.between(first, last)))).await;
}

/// Sends once more what was accepted before.
async fn sender(sent: Sent, expires_at: Timestamp) {
    late(expires_at).await;
    while !deliver(&sent.source, &sent.source, &sent.id, sent.body.clone()).await {
        pause().await;
    }
    world().sender_is_done();
}

/// Asks for an old execution, or wants it to go on.
async fn operator(execution: String, expires_at: Timestamp) {
    late(expires_at).await;
    match roll(|dice| dice.below(4)) {
        0 => operate(&execution, "cancel").await,
        1 => ask(&execution).await,
        _ => operate(&execution, "redrive").await,
    }
}

/// Asks for a history.
async fn ask(execution: &str) {
    let mut request = post(&format!("/executions/{execution}/events"), "", &[], String::new());
    request.request_context.http.method = Method::GET;
    let response = functions::query(request).await;
    answered(execution, "events", response.map_or(0, |response| response.status_code));
}

/// Answers what an execution that has expired asked for. Whatever stands in its place did not ask for this.
async fn caller(token: String, execution: ExecutionId, expires_at: Timestamp) {
    late(expires_at).await;
    let body = "\"too late\"".to_owned();
    let response = functions::request(post(&format!("/callbacks/{token}"), "", &[], body)).await;
    answered(execution.as_str(), "callback", response.map_or(0, |response| response.status_code));
}

fn answered(execution: &str, what: &str, status: i64) {
    let now = world().now();
    world().tell(|| format!("{what} {execution}: {status}"));
    world().check(|checks| checks.answered(execution, what, status, now));
}

/// Deletes what has expired, as DynamoDB does it: one item after the other, in any order, within two days.
pub(crate) async fn deletions() {
    let pace = roll(|dice| [0.003, 0.01, 0.05][dice.below(3)]);
    loop {
        sleep(Duration::from_secs(roll(|dice| dice.between(60, PACE_MOST.as_secs())))).await;
        let mut expired = world().items.borrow().expired(world().now() - KEPT);
        roll(|dice| dice.shuffle(&mut expired));
        for (table, key, expires_at) in expired {
            let is_last = expires_at + DELETED_WITHIN < world().now() + PACE_MOST;
            if is_last || roll(|dice| dice.happens(pace)) {
                delete_expired(table, key);
                sleep(Duration::from_millis(roll(|dice| dice.between(1, 5_000)))).await;
            }
        }
    }
}

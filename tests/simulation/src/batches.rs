//! Senders that put several events in one request, and send what was not accepted again: alike, or otherwise put together.

use std::time::Duration;

use everhook_journal::Timestamp;
use everhook_journal::payload::sha256_hex;
use serde_json::Value;

use crate::checks::Meant;
use crate::executor::{WORLD, executor, roll, sleep};
use crate::faults::Fault;
use crate::functions;
use crate::kit::kit;
use crate::outsiders::{answer, pause, post};
use crate::world::world;

/// The source whose requests have several events.
pub(crate) const SOURCE: &str = "batch";

/// An event of a sender.
#[derive(Debug, Clone)]
struct Sent {
    /// What it is known by.
    delivery: String,
    /// Its bytes in a request.
    body: String,
}

impl Sent {
    /// Every fifth has no id, and is known by its content.
    fn new(number: usize, place: usize, is_large: bool) -> Self {
        let kit = kit();
        let noise = if is_large { kit.noise.as_str() } else { "" };
        let body = match place % 5 {
            4 => format!("{{\"n\":{place},\"of\":{number},\"noise\":\"{noise}\"}}"),
            _ => format!("{{\"id\":\"batch-{number}-{place}\",\"noise\":\"{noise}\"}}"),
        };
        let delivery = match place % 5 {
            4 => format!("body:{}", sha256_hex(body.as_bytes())),
            _ => format!("batch-{number}-{place}"),
        };
        Self { delivery, body }.noted()
    }

    /// The same id with another body.
    fn changed(&self) -> Self {
        match self.delivery.starts_with("body:") {
            true => self.clone(),
            false => {
                let body = format!("{{\"id\":\"{}\",\"other\":true}}", self.delivery);
                Self { delivery: self.delivery.clone(), body }.noted()
            }
        }
    }

    fn meant(&self, sent_at: Timestamp) -> Meant {
        match self.delivery.starts_with("body:") {
            true => Meant::Body { name: self.delivery.clone(), sent_at },
            false => {
                let body_sha256 = sha256_hex(self.body.as_bytes());
                Meant::Event(kit().event(SOURCE, &self.delivery, &body_sha256))
            }
        }
    }

    fn noted(self) -> Self {
        world().checks.borrow_mut().said.sent(&self.delivery, self.body.as_bytes());
        self
    }
}

/// Sends events until each of them is accepted, and now and then again.
pub(crate) async fn sender(number: usize) {
    sleep(Duration::from_millis(roll(|dice| dice.between(0, 120_000)))).await;
    let many = match world().strikes(Fault::BatchLarge) {
        true => roll(|dice| dice.between(4, 30)),
        false => roll(|dice| dice.between(1, 3)),
    };
    let many = many as usize;
    let large = world().strikes(Fault::LargePayload).then(|| roll(|dice| dice.below(many)));
    let all: Vec<_> =
        (0..many).map(|place| Sent::new(number, place, large == Some(place))).collect();
    if world().strikes(Fault::WebhookTwice) {
        let request = together(&all, &all);
        executor().spawn(WORLD, async move {
            deliver(&request).await;
        });
    }
    let mut left = all.clone();
    while !left.is_empty() {
        let request = together(&left, &all);
        match deliver(&request).await {
            true => left.retain(|it| request.iter().all(|sent| sent.delivery != it.delivery)),
            false => pause().await,
        }
    }
    world().sender_is_done();
    if world().strikes(Fault::WebhookAgain) {
        sleep(Duration::from_secs(roll(|dice| dice.between(0, 300)))).await;
        let mut request = together(&all, &all);
        if world().strikes(Fault::OtherBody) {
            let place = roll(|dice| dice.below(request.len()));
            request[place] = request[place].changed();
        }
        deliver(&request).await;
    }
}

/// The events of the next request: those that are left in their order, or some of all in any order, one of them perhaps twice.
fn together(left: &[Sent], all: &[Sent]) -> Vec<Sent> {
    let mut request = left.to_vec();
    if world().strikes(Fault::BatchRegrouped) {
        request = all.to_vec();
        roll(|dice| dice.shuffle(&mut request));
        request.truncate(roll(|dice| dice.between(1, all.len() as u64)) as usize);
    }
    if world().strikes(Fault::BatchRepeats) {
        let again = request[roll(|dice| dice.below(request.len()))].clone();
        let again = if world().strikes(Fault::OtherBody) { again.changed() } else { again };
        request.insert(roll(|dice| dice.below(request.len() + 1)), again);
    }
    request
}

/// Sends them in one request; says whether it was accepted, which is to say that each of them was.
async fn deliver(events: &[Sent]) -> bool {
    let each: Vec<_> = events.iter().map(|event| event.body.as_str()).collect();
    let body = format!("{{\"events\":[{}]}}", each.join(", "));
    let sent_at = world().now();
    let headers = kit().signed(SOURCE, "request", body.as_bytes(), sent_at);
    let request = post(&format!("/webhook/{SOURCE}"), "", &headers, body);
    let Some(response) = functions::request(request).await else { return false };
    if response.status_code != 202 {
        world().tell(|| format!("answered {} to {} events", response.status_code, events.len()));
        return false;
    }
    let tokens = tokens(&answer(&response));
    world().tell(|| format!("202 {}", tokens.join(" ")));
    let now = world().now();
    let meant: Vec<_> = events.iter().map(|event| event.meant(sent_at)).collect();
    world().check(|checks| checks.all_acknowledged(&meant, &tokens, now));
    true
}

/// The tokens of an answer, in the order of the request's events.
fn tokens(answer: &Value) -> Vec<String> {
    let token = |it: &Value| it["executionToken"].as_str().unwrap_or_default().to_owned();
    match answer["executions"].as_array() {
        Some(each) => each.iter().map(token).collect(),
        None => vec![token(answer)],
    }
}

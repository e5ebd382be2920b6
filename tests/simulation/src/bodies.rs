//! Senders whose ids do not tell events apart: one without ids, whose bodies repeat, and one whose ids cover several topics.

use std::time::Duration;

use everhook_journal::payload::sha256_hex;

use crate::executor::{roll, sleep};
use crate::kit::kit;
use crate::outsiders::{pause, post, send};
use crate::world::world;

/// The source without ids.
pub(crate) const POKE: &str = "poke";

/// The source whose ids cover several topics.
pub(crate) const SHOP: &str = "shop";

/// What every sender without ids sends: nobody can tell one event from another.
const BODY: &str = "22.5";

/// Sends a body now, and the same again some time later: a second event, and a redelivery at most within the window.
pub(crate) async fn poke(number: usize) {
    sleep(Duration::from_millis(roll(|dice| dice.between(0, 120_000)))).await;
    for event in 0..roll(|dice| dice.between(2, 3)) {
        let id = format!("{POKE}-{number}-{event}");
        while !deliver_poke(&id).await {
            pause().await;
        }
        sleep(Duration::from_secs(roll(|dice| dice.between(1, 1_500)))).await;
    }
    world().sender_is_done();
}

async fn deliver_poke(id: &str) -> bool {
    let delivery = format!("body:{}", sha256_hex(BODY.as_bytes()));
    world().checks.borrow_mut().said.sent(&delivery, BODY.as_bytes());
    let mut headers = kit().signed(POKE, "", BODY.as_bytes(), world().now());
    headers.retain(|(name, _)| name != "webhook-id" && name != "x-webhook-event");
    let sent_at = world().now();
    let request = post(&format!("/webhook/{POKE}"), "", &headers, BODY.to_owned());
    let Some(token) = send(id, request).await else { return false };
    let now = world().now();
    world().check(|checks| checks.acknowledged_body(id, &token, sent_at, now));
    true
}

/// Sends one id, and one body, under two topics to two subscriptions.
pub(crate) async fn shop(number: usize) {
    sleep(Duration::from_millis(roll(|dice| dice.between(0, 120_000)))).await;
    let id = format!("{SHOP}-{number}");
    for (topic, subscription) in
        [("orders/create", "1"), ("orders/paid", "1"), ("orders/paid", "2")]
    {
        while !deliver_topic(&id, topic, subscription).await {
            pause().await;
        }
    }
    world().sender_is_done();
}

async fn deliver_topic(id: &str, topic: &str, subscription: &str) -> bool {
    let body = "{\"order\":1}";
    world().checks.borrow_mut().said.sent(id, body.as_bytes());
    let mut headers = kit().signed(SHOP, id, body.as_bytes(), world().now());
    headers.retain(|(name, _)| name != "x-shopify-topic");
    headers.push(("x-shopify-topic".into(), topic.into()));
    headers.push(("x-shopify-webhook-id".into(), subscription.into()));
    let request = post(&format!("/webhook/{SHOP}"), "", &headers, body.to_owned());
    let Some(token) = send(id, request).await else { return false };
    let event = format!("{id} {topic} {subscription}");
    let now = world().now();
    world().check(|checks| checks.acknowledged(&event, &token, now));
    true
}

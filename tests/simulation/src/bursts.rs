//! A burst of webhooks whose target hangs, and sources that have nothing to do with it.

use std::time::Duration;

use crate::executor::{WORLD, executor, roll, sleep};
use crate::kit::HANG;
use crate::outsiders::{body, deliver, pause};
use crate::world::world;

/// When the last webhook is sent at the latest, in milliseconds: the first calls hang until then, and longer.
const SENT_WITHIN: u64 = 40_000;

/// Sends many webhooks of the source whose target hangs, nearly at once.
pub(crate) async fn sender() {
    sleep(Duration::from_millis(roll(|dice| dice.between(0, SENT_WITHIN / 4)))).await;
    for number in 0..roll(|dice| dice.between(14, 28)) {
        executor().spawn(WORLD, send(HANG, format!("{HANG}-{number}")));
        sleep(Duration::from_millis(roll(|dice| dice.between(0, 60)))).await;
    }
    world().sender_is_done();
}

/// Sends a few webhooks of a healthy source meanwhile.
pub(crate) async fn calm(source: &'static str, number: usize) {
    for event in 0..roll(|dice| dice.between(1, 3)) {
        sleep(Duration::from_millis(roll(|dice| dice.between(0, SENT_WITHIN / 3)))).await;
        send(source, format!("{source}-{number}-{event}")).await;
    }
    world().sender_is_done();
}

async fn send(source: &'static str, id: String) {
    while !deliver(source, source, &id, body(false, false)).await {
        pause().await;
    }
}

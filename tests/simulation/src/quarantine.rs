//! A sender that signs with a secret that we do not have yet, and an operator who then adds it
//! and has what was refused verified again.

use std::time::Duration;

use everhook_ingest::reverify::{Outcome, Reverified};

use crate::executor::{roll, sleep};
use crate::faults::Fault;
use crate::functions;
use crate::outsiders::{body, deliver, pause, post, told};
use crate::world::world;

/// The source that keeps what it refuses.
pub(crate) const SOURCE: &str = "late";

/// A source of the same scheme that has the new secret.
const SIGNER: &str = "once";

/// Sends a webhook a few times, and gives up. Then it is the operator's turn.
pub(crate) async fn sender(number: usize) {
    sleep(Duration::from_millis(roll(|dice| dice.between(0, 120_000)))).await;
    let id = format!("{SOURCE}-{number}");
    for _ in 0..roll(|dice| dice.between(1, 3)) {
        deliver(SOURCE, SIGNER, &id, body(false, false)).await;
        sleep(Duration::from_secs(roll(|dice| dice.between(1, 60)))).await;
    }
    sleep(Duration::from_secs(roll(|dice| dice.between(0, 600)))).await;
    world().version.set(1);
    while !reverify().await {
        pause().await;
    }
    if world().strikes(Fault::WebhookAgain) {
        deliver(SOURCE, SIGNER, &id, body(false, false)).await;
    }
    world().sender_is_done();
}

/// Has all that is kept verified again; says whether nothing of it is left.
async fn reverify() -> bool {
    let request = post(&format!("/sources/{SOURCE}/reverify"), "", &[], String::new());
    let Some(response) = functions::operate(request).await else { return false };
    let Some(reverified) = told(&response) else {
        world().tell(|| format!("reverify: {}", response.status_code));
        return false;
    };
    let Reverified { released, refused, failed, requests } = reverified;
    world().tell(|| format!("reverified: {released} released, {refused} refused, {failed} failed"));
    let now = world().now();
    for looked in requests {
        if let Outcome::Released { executions, .. } = looked.outcome {
            let told = |execution| world().check(|it| it.released(execution, now));
            executions.iter().for_each(|execution| told(execution.as_str()));
        }
    }
    refused == 0 && failed == 0
}

//! What callers say when they call back: in few words, at length, and at more length than is taken.

use std::time::Duration;

use everhook_ingest::callbacks::ANSWER_BYTES_MAX;
use everhook_journal::ExecutionId;

use crate::checks::violated;
use crate::executor::{roll, sleep};
use crate::faults::Fault;
use crate::functions;
use crate::kit::kit;
use crate::outsiders::post;
use crate::world::world;

/// What a caller says, each time it calls.
pub(crate) struct Said {
    /// The last part of the path.
    pub(crate) path: &'static str,
    pub(crate) body: String,
}

impl Said {
    /// What whoever was asked by this execution says.
    pub(crate) fn draw(execution: &ExecutionId) -> Self {
        let noise = || kit().noise.clone();
        if world().strikes(Fault::CallbackFails) {
            let message = if world().strikes(Fault::FailureLong) { noise() } else { "no".into() };
            let body = format!("{{\"error\":\"Rejected\",\"message\":\"{message}\"}}");
            return Self { path: "failure", body };
        }
        let body = match world().strikes(Fault::CallbackLarge) {
            true => format!("\"{}\"", noise()),
            false => "{\"yes\":true}".to_owned(),
        };
        world().checks.borrow_mut().said.answered(execution.as_str(), body.as_bytes());
        Self { path: "success", body }
    }
}

/// Calls back with more than is taken. It is refused, and changes nothing.
pub(crate) async fn too_large(token: &str) {
    let body = "7".repeat(ANSWER_BYTES_MAX + 1);
    let path = format!("/callbacks/{token}/success");
    let Some(response) = functions::request(post(&path, "", &[], body)).await else { return };
    let status = response.status_code;
    world().tell(|| format!("called back with too much: {status}"));
    if status != 413 {
        let what = format!("an answer larger than may be kept was answered with {status}");
        world().check(|_| violated("S13", what));
    }
}

/// Says now and then that whoever was asked is still at it, until nobody waits any more.
pub(crate) async fn beats(token: String, execution: ExecutionId) {
    loop {
        sleep(Duration::from_secs(roll(|dice| dice.between(20, 100)))).await;
        if world().strikes(Fault::BeatsCease) {
            return;
        }
        let path = format!("/callbacks/{token}/heartbeat");
        let response = functions::request(post(&path, "", &[], String::new())).await;
        match response.map(|response| response.status_code) {
            Some(200) => {
                let now = world().now();
                world().check(|checks| checks.fact_told(execution.as_str(), now));
            }
            Some(404 | 409) => return,
            _ => {}
        }
    }
}

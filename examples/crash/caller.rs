//! Whoever was asked to call back: does so early, late and twice, until somebody answers.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use crate::chance::Chance;
use crate::ledger::Ledger;

/// How long the caller waits before it tries again.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

/// How often a caller tries.
const TRIES_MAX: usize = 6_000;

/// What everybody answers.
const ANSWER: &str = r#"{"approved":true}"#;

/// Those who call back. A clone is the same ones.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    client: reqwest::Client,
    ledger: Ledger,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    chance: Chance,
    asked: BTreeSet<String>,
    /// The addresses whose call was acknowledged.
    acknowledged: BTreeSet<String>,
}

impl Caller {
    pub(crate) fn new(client: reqwest::Client, ledger: Ledger, chance: Chance) -> Self {
        let state = State { chance, asked: BTreeSet::new(), acknowledged: BTreeSet::new() };
        Self { client, ledger, state: Arc::new(Mutex::new(state)) }
    }

    /// Somebody was asked: returns before or after they have answered.
    pub(crate) async fn asked(&self, url: &str) {
        let (is_first, is_early, is_twice, pause) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let is_first = state.asked.insert(url.to_owned());
            let chance = &mut state.chance;
            (is_first, chance.percent(30), chance.percent(30), chance.between_ms(20, 1_500))
        };
        // Asked again: they remember, and say it again now and then.
        if !is_first && !is_twice {
            return;
        }
        let (caller, url) = (self.clone(), url.to_owned());
        let call = async move {
            if !is_early {
                sleep(pause).await;
            }
            caller.call(&url, ANSWER, 200).await;
            if is_twice {
                caller.call(&url, ANSWER, 200).await;
                caller.call(&url, r#"{"approved":false}"#, 409).await;
            }
        };
        match is_early {
            // The step that asks waits for us; it gives up before we do.
            true => drop(tokio::time::timeout(Duration::from_secs(1), spawned(call)).await),
            false => drop(tokio::spawn(call)),
        }
    }

    /// How many calls were acknowledged, of how many that were asked for.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.acknowledged.len(), state.asked.len())
    }

    async fn call(&self, url: &str, answer: &'static str, wanted: u16) {
        for _ in 0..TRIES_MAX {
            let sent = self.client.post(url).body(answer).send().await;
            match sent.map(|response| response.status().as_u16()) {
                Ok(status) if status == wanted => {
                    if wanted == 200 {
                        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                        state.acknowledged.insert(url.to_owned());
                    }
                    return;
                }
                Ok(429 | 503) | Err(_) => sleep(AGAIN_AFTER).await,
                Ok(status) => {
                    let text = format!("a call back got {status} and not {wanted}: {url}");
                    return self.ledger.violation(text);
                }
            }
        }
        // The run may have ended.
    }
}

/// Goes on when nobody waits for it any more.
async fn spawned(call: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(call).await.ok();
}

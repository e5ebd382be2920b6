//! What the steps call: a server that outlives every kill, counts each call, and is not always well.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::sleep;

use crate::caller::Caller;
use crate::chance::Chance;
use crate::ledger::Ledger;

/// Longer than a step waits.
const TOO_LATE: Duration = Duration::from_millis(2_300);

/// An execution and one of its steps.
pub(crate) type Place = (String, String);

/// The calls that one step of one execution made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Calls {
    /// By attempt.
    pub(crate) attempts: BTreeMap<u32, u64>,
    pub(crate) idempotency_keys: BTreeSet<String>,
}

/// The target. A clone is the same one.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    calls: Arc<Mutex<BTreeMap<Place, Calls>>>,
    chance: Arc<Mutex<Chance>>,
    caller: Caller,
    ledger: Ledger,
}

/// How a call is answered.
enum Mood {
    Well,
    Slow(Duration),
    Ill,
    /// It is done, and the answer comes when nobody waits for it.
    Late,
}

impl Target {
    /// Starts it; says where it listens.
    pub(crate) async fn start(
        caller: Caller,
        ledger: Ledger,
        chance: Chance,
    ) -> std::io::Result<(Self, SocketAddr)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let target =
            Self { calls: Arc::default(), chance: Arc::new(Mutex::new(chance)), caller, ledger };
        let app = Router::new().fallback(answer).with_state(target.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Ok((target, address))
    }

    /// All calls so far.
    pub(crate) fn calls(&self) -> BTreeMap<Place, Calls> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, Calls>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mood(&self) -> Mood {
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        match chance.below(100) {
            0..80 => Mood::Well,
            80..90 => Mood::Ill,
            90..98 => Mood::Slow(chance.between_ms(50, 500)),
            _ => Mood::Late,
        }
    }
}

async fn answer(State(target): State<Target>, request: Request) -> (StatusCode, String) {
    let (parts, body) = request.into_parts();
    let step = parts.uri.path().trim_start_matches('/').to_owned();
    // It is counted when it arrives: whoever is killed while waiting has called all the same.
    if let Err(problem) = count(&target, &step, &parts.headers) {
        target.ledger.violation(problem);
    }
    let body = to_bytes(body, 1 << 20).await.unwrap_or_default();
    let mood = target.mood();
    if step == "approve/ask" {
        called_back(&target, &body).await;
    }
    match mood {
        Mood::Well => {}
        Mood::Slow(time) => sleep(time).await,
        Mood::Late => sleep(TOO_LATE).await,
        Mood::Ill => return (StatusCode::INTERNAL_SERVER_ERROR, "{}".into()),
    }
    (StatusCode::OK, json!({ "ok": true }).to_string())
}

fn count(target: &Target, step: &str, headers: &HeaderMap) -> Result<(), String> {
    let header = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.map(str::to_owned).ok_or_else(|| format!("a call of {step} without {name}"))
    };
    let (execution, key) = (header("everhook-execution")?, header("idempotency-key")?);
    let attempt = header("everhook-attempt")?.parse().map_err(|_| "no attempt".to_owned())?;
    let mut all = target.lock();
    let calls = all.entry((execution, step.to_owned())).or_default();
    *calls.attempts.entry(attempt).or_default() += 1;
    calls.idempotency_keys.insert(key);
    Ok(())
}

/// Has the address called, that somebody was asked to call.
async fn called_back(target: &Target, body: &Bytes) {
    let asked: Value = serde_json::from_slice(body).unwrap_or_default();
    match asked["answerTo"].as_str() {
        Some(url) => target.caller.asked(url).await,
        None => target.ledger.violation(format!("asked without an address: {asked}")),
    }
}

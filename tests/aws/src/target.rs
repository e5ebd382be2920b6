//! The host that `http` steps call: it notes each call, and may take its time or fail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde_json::Value;
use tokio::net::TcpListener;

/// Calls to paths that begin with this fail the first time, for each idempotency key.
pub(crate) const FLAKY: &str = "/flaky";

/// A running target.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// `127.0.0.1:PORT`
    pub(crate) address: String,
    shared: Arc<Shared>,
}

/// One call, from its beginning on.
#[derive(Debug, Clone)]
pub(crate) struct Called {
    pub(crate) path: String,
    /// The idempotency key, which names the execution and the step.
    pub(crate) key: String,
    /// The body, null if it is not JSON.
    pub(crate) body: Value,
    pub(crate) began: SystemTime,
    /// When it was answered, if it was.
    pub(crate) ended: Option<SystemTime>,
}

#[derive(Debug, Default)]
struct Shared {
    delay: Mutex<Duration>,
    /// How long calls to a path take, where that is not [`Shared::delay`].
    delays: Mutex<BTreeMap<String, Duration>>,
    calls: Mutex<Vec<Called>>,
    /// The keys whose first call has failed.
    failed: Mutex<BTreeSet<String>>,
}

impl Target {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared::default());
        let app = Router::new().fallback(answer).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, shared }
    }

    /// Takes this long for each call from now on.
    pub(crate) fn take_time(&self, delay: Duration) {
        *self.shared.delay.lock().unwrap() = delay;
    }

    /// Takes this long for each call to a path from now on.
    pub(crate) fn take_time_at(&self, path: &str, delay: Duration) {
        self.shared.delays.lock().unwrap().insert(path.to_owned(), delay);
    }

    /// All calls so far, in the order in which they began.
    pub(crate) fn calls(&self) -> Vec<Called> {
        self.shared.calls.lock().unwrap().clone()
    }

    /// The calls for one execution so far.
    pub(crate) fn calls_for(&self, token: &str) -> Vec<Called> {
        self.calls().into_iter().filter(|call| call.key.contains(token)).collect()
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or("none");
    let key = key.to_owned();
    let path = uri.path().to_owned();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let began = SystemTime::now();
    let delay = shared.delays.lock().unwrap().get(&path).copied();
    let delay = delay.unwrap_or_else(|| *shared.delay.lock().unwrap());
    let fails = path.starts_with(FLAKY) && shared.failed.lock().unwrap().insert(key.clone());
    let place = {
        let mut calls = shared.calls.lock().unwrap();
        calls.push(Called { path, key, body, began, ended: None });
        calls.len() - 1
    };
    tokio::time::sleep(delay).await;
    shared.calls.lock().unwrap()[place].ended = Some(SystemTime::now());
    if fails { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::NO_CONTENT }
}

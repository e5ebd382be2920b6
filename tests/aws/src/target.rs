//! Whom `http` steps call: it notes who called, and may take its time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use tokio::net::TcpListener;

/// A running target.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// `127.0.0.1:PORT`
    pub(crate) address: String,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    delay_ms: AtomicU64,
    /// How many calls began, by idempotency key.
    calls: Mutex<BTreeMap<String, u64>>,
    times: Mutex<Vec<(SystemTime, SystemTime)>>,
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
        let millis = u64::try_from(delay.as_millis()).unwrap();
        self.shared.delay_ms.store(millis, Ordering::Relaxed);
    }

    /// How many calls began, by idempotency key.
    pub(crate) fn calls(&self) -> BTreeMap<String, u64> {
        self.shared.calls.lock().unwrap().clone()
    }

    /// From when to when each call since the last time took.
    pub(crate) fn take_times(&self) -> Vec<(SystemTime, SystemTime)> {
        std::mem::take(&mut self.shared.times.lock().unwrap())
    }
}

async fn answer(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> StatusCode {
    let began = SystemTime::now();
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or("none");
    *shared.calls.lock().unwrap().entry(key.to_owned()).or_default() += 1;
    tokio::time::sleep(Duration::from_millis(shared.delay_ms.load(Ordering::Relaxed))).await;
    shared.times.lock().unwrap().push((began, SystemTime::now()));
    StatusCode::NO_CONTENT
}

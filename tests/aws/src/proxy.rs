//! What stands between the functions and DynamoDB Local: it counts, times and cuts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// One call that was passed on.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// `PutItem`, and so on.
    pub(crate) operation: String,
    /// The table, if the call has one.
    pub(crate) table: String,
    /// When it came.
    pub(crate) began: SystemTime,
    /// When the answer went back.
    pub(crate) ended: SystemTime,
    /// What DynamoDB says it consumed, if it was asked; of a write whose condition did not hold, what it would bill.
    pub(crate) units: f64,
    /// What DynamoDB says is wrong, if anything: `ExpiredIteratorException`.
    pub(crate) error: Option<String>,
}

/// The way to DynamoDB Local.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    pub(crate) endpoint: String,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    client: reqwest::Client,
    calls: Mutex<Vec<Call>>,
    /// When the last call ended.
    last: Mutex<Instant>,
    silent: AtomicBool,
    delay_ms: AtomicU64,
    metered: AtomicBool,
}

impl Proxy {
    /// A way to `upstream`, open.
    pub(crate) async fn start(upstream: &str) -> Self {
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            calls: Mutex::default(),
            last: Mutex::new(Instant::now()),
            silent: AtomicBool::new(false),
            delay_ms: AtomicU64::new(0),
            metered: AtomicBool::new(false),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(pass).with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { endpoint, shared }
    }

    /// Leaves every call unanswered from now on, or no longer.
    pub(crate) fn be_silent(&self, silent: bool) {
        self.shared.silent.store(silent, Ordering::Relaxed);
    }

    /// Takes this long for each call from now on, beside what it takes here.
    pub(crate) fn take_time(&self, delay: Duration) {
        let millis = u64::try_from(delay.as_millis()).unwrap();
        self.shared.delay_ms.store(millis, Ordering::Relaxed);
    }

    /// Asks DynamoDB what each call consumes from now on.
    pub(crate) fn meter(&self) {
        self.shared.metered.store(true, Ordering::Relaxed);
    }

    /// Waits until no call has ended for so long.
    pub(crate) async fn quiet_for(&self, time: Duration) {
        loop {
            let quiet = self.shared.last.lock().unwrap().elapsed();
            if quiet >= time {
                return;
            }
            tokio::time::sleep(time - quiet).await;
        }
    }

    /// The calls since the last time.
    pub(crate) fn take(&self) -> Vec<Call> {
        std::mem::take(&mut self.shared.calls.lock().unwrap())
    }
}

async fn pass(State(proxy): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let began = SystemTime::now();
    if proxy.silent.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
    let delay = Duration::from_millis(proxy.delay_ms.load(Ordering::Relaxed));
    tokio::time::sleep(delay).await;
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok());
    let operation = target.and_then(|target| target.split_once('.')).map_or("", |(_, name)| name);
    let operation = operation.to_owned();
    let metered = proxy.metered.load(Ordering::Relaxed);
    let sent = if metered { asking(&body) } else { body.clone() };
    let mut request = proxy.client.post(&proxy.upstream).body(sent);
    for name in ["x-amz-target", "content-type", "authorization", "x-amz-date"] {
        if let Some(value) = headers.get(name) {
            request = request.header(name, value);
        }
    }
    let Ok(answer) = request.send().await else { return StatusCode::BAD_GATEWAY.into_response() };
    let status = StatusCode::from_u16(answer.status().as_u16()).unwrap();
    let received = answer.bytes().await.unwrap_or_default();
    let (table, units) = if metered { read(&body, &received) } else { Default::default() };
    let ended = SystemTime::now();
    let error = (!status.is_success()).then(|| error(&received));
    let units = match error.as_deref() {
        Some("ConditionalCheckFailedException") => refused_units(&received),
        _ => units,
    };
    let call = Call { operation, table, began, ended, units, error };
    proxy.calls.lock().unwrap().push(call);
    *proxy.last.lock().unwrap() = Instant::now();
    let kind = [("content-type", "application/x-amz-json-1.0")];
    (status, kind, Body::from(received)).into_response()
}

/// The name of what is wrong.
fn error(received: &Bytes) -> String {
    let received: Value = serde_json::from_slice(received).unwrap_or_default();
    let kind = received["__type"].as_str().unwrap_or_default();
    kind.rsplit('#').next().unwrap_or_default().to_owned()
}

/// What a write is billed whose condition did not hold: a unit for each KiB of the item that is there, one at least.
/// The answer has that item where it was asked for.
fn refused_units(received: &Bytes) -> f64 {
    let received: Value = serde_json::from_slice(received).unwrap_or_default();
    let bytes: usize = received["Item"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| name.len() + value_bytes(value))
        .sum();
    u32::try_from(bytes.div_ceil(1024).max(1)).map_or(f64::INFINITY, f64::from)
}

/// The size of an attribute's value as it is billed, of the types that are written here.
fn value_bytes(value: &Value) -> usize {
    let text = |kind: &str| value[kind].as_str().unwrap_or_default();
    match value.as_object().and_then(|value| value.keys().next()).map(String::as_str) {
        Some("B") => BASE64.decode(text("B")).unwrap_or_default().len(),
        Some("N") => text("N").len().div_ceil(2) + 1,
        Some("BOOL") => 1,
        _ => text("S").len(),
    }
}

/// The same request, and what it consumes.
fn asking(body: &Bytes) -> Bytes {
    match serde_json::from_slice::<Value>(body) {
        Ok(mut body) if body.is_object() => {
            body["ReturnConsumedCapacity"] = json!("TOTAL");
            body.to_string().into()
        }
        _ => body.clone(),
    }
}

/// The table and the consumed units.
fn read(sent: &Bytes, received: &Bytes) -> (String, f64) {
    let sent: Value = serde_json::from_slice(sent).unwrap_or_default();
    let received: Value = serde_json::from_slice(received).unwrap_or_default();
    let units = |consumed: &Value| consumed["CapacityUnits"].as_f64().unwrap_or_default();
    let consumed = match &received["ConsumedCapacity"] {
        Value::Array(of_tables) => of_tables.iter().map(units).sum(),
        one => units(one),
    };
    let tables = sent["RequestItems"].as_object().and_then(|tables| tables.keys().next().cloned());
    let table = sent["TableName"].as_str().map(str::to_owned).or(tables);
    (table.unwrap_or_default(), consumed)
}

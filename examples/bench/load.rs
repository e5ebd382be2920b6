//! As many webhooks as so many connections can send, each after the answer to the one before, and their executions.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use everhook_journal::view::ViewStatus;
use everhook_journal::{Clock, Timestamp};
use everhook_projector::shown::ShownExecution;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::client::Connection;
use crate::figures::{Spread, rounded};
use crate::process::Process;
use crate::webhook::Sender;

/// How many webhooks a server handles before it is measured.
const WARM_UP: u64 = 200;

/// A server that has not written anything for so long has nothing left to do.
const QUIET: Duration = Duration::from_secs(1);

/// How long the executions may take to end after the load has.
const DRAIN_MAX: Duration = Duration::from_secs(300);

/// How many connections ask for the outcomes, afterwards.
const ASKING: usize = 8;

/// What so many connections got.
#[derive(Debug, Serialize)]
pub(crate) struct Load {
    connections: usize,
    seconds: f64,
    accepted: usize,
    pub(crate) accepted_per_second: f64,
    pub(crate) acknowledgement_ms: Spread,
    /// Completed while load was on.
    completed_under_load: usize,
    pub(crate) completed_under_load_per_second: f64,
    /// From the end of the load to the last completion.
    pub(crate) drain_seconds: f64,
    /// All that were accepted, from the first webhook to the last completion.
    pub(crate) sustained_per_second: f64,
    pub(crate) memory_peak_mib: Option<f64>,
    pub(crate) processor_us_per_webhook: Option<f64>,
    pub(crate) calls_per_webhook: BTreeMap<String, f64>,
}

impl Load {
    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.connections
    }
}

/// Measures one number of connections on a fresh server.
pub(crate) async fn measure(connections: usize, time: Duration) -> io::Result<Load> {
    let mut process = Process::start()?;
    let host = process.address.to_string();
    let sender = Arc::new(Sender::new(process.data_dir.path(), &host)?);
    let numbers = Arc::new(AtomicU64::new(0));
    let warm = |number: u64| number < WARM_UP;
    send(&process, &sender, &numbers, connections, warm).await?;
    settle(&mut process).await?;

    let (calls, processor) = (process.calls()?, process.processor_time());
    let (began, began_at) = (Instant::now(), Clock::System.now());
    let more = move |_| began.elapsed() < time;
    let sent = send(&process, &sender, &numbers, connections, more).await?;
    let (seconds, ended_at) = (began.elapsed().as_secs_f64(), Clock::System.now());
    settle(&mut process).await?;
    let processor = process.processor_time().zip(processor).map(|(now, then)| now - then);
    let calls_now = process.calls()?;
    let memory_peak_mib = process.memory_peak_mib().map(rounded);

    let (tokens, took): (Vec<_>, Vec<_>) = sent.into_iter().unzip();
    let accepted = tokens.len();
    let each = |count: f64| rounded(count / accepted as f64);
    let ends = ends(process.address, tokens).await?;
    let last = ends.iter().copied().max().unwrap_or(ended_at).max(ended_at);
    let completed_under_load = ends.iter().filter(|end| **end <= ended_at).count();
    Ok(Load {
        connections,
        seconds: rounded(seconds),
        accepted,
        accepted_per_second: rounded(accepted as f64 / seconds),
        acknowledgement_ms: Spread::of(took),
        completed_under_load,
        completed_under_load_per_second: rounded(completed_under_load as f64 / seconds),
        drain_seconds: rounded(last.since(ended_at).as_secs_f64()),
        sustained_per_second: rounded(accepted as f64 / last.since(began_at).as_secs_f64()),
        memory_peak_mib,
        processor_us_per_webhook: processor.map(|time| each(time.as_secs_f64() * 1e6)),
        calls_per_webhook: calls_now
            .into_iter()
            .map(|(name, now)| {
                let then = calls.get(&name).copied().unwrap_or_default();
                (name, each((now - then) as f64))
            })
            .collect(),
    })
}

/// Sends while `more` says so of the next number; returns each token and how long its acknowledgement took.
async fn send(
    process: &Process,
    sender: &Arc<Sender>,
    numbers: &Arc<AtomicU64>,
    connections: usize,
    more: impl Fn(u64) -> bool + Copy + Send + 'static,
) -> io::Result<Vec<(String, Duration)>> {
    let mut senders = JoinSet::new();
    for _ in 0..connections {
        let mut connection = Connection::open(process.address).await?;
        let (sender, numbers) = (sender.clone(), numbers.clone());
        senders.spawn(async move {
            let mut sent = Vec::new();
            loop {
                let number = numbers.fetch_add(1, Ordering::Relaxed);
                if !more(number) {
                    return Ok(sent);
                }
                let request = sender.request(number);
                let began = Instant::now();
                let token = connection.post(&request).await?;
                sent.push((token, began.elapsed()));
            }
        });
    }
    let results: io::Result<Vec<_>> = senders.join_all().await.into_iter().collect();
    Ok(results?.concat())
}

/// Waits until the server has stopped writing. Asking it for executions instead would be load of its own.
async fn settle(process: &mut Process) -> io::Result<()> {
    let began = Instant::now();
    let mut before = None;
    while began.elapsed() < DRAIN_MAX {
        let calls = process.calls()?;
        let writes = ["PutItem", "UpdateItem"].map(|name| calls.get(name).copied());
        if before == Some(writes) {
            return Ok(());
        }
        before = Some(writes);
        sleep(QUIET).await;
    }
    Err(io::Error::other(format!("the executions have not ended after {DRAIN_MAX:?}")))
}

/// When each of these executions was completed. All must be.
async fn ends(server: SocketAddr, tokens: Vec<String>) -> io::Result<Vec<Timestamp>> {
    let mut asking = JoinSet::new();
    for tokens in tokens.chunks(tokens.len().div_ceil(ASKING).max(1)) {
        let mut connection = Connection::open(server).await?;
        let tokens = tokens.to_vec();
        asking.spawn(async move {
            let mut ends = Vec::with_capacity(tokens.len());
            for token in tokens {
                let body = connection.get(&format!("/status/{token}")).await?;
                let shown: ShownExecution = serde_json::from_slice(body)?;
                if shown.status != ViewStatus::Completed {
                    return Err(io::Error::other(format!("execution {token} is not completed")));
                }
                ends.push(shown.last_updated);
            }
            Ok(ends)
        });
    }
    let results: io::Result<Vec<_>> = asking.join_all().await.into_iter().collect();
    Ok(results?.concat())
}

//! A steady trickle of webhooks, and how soon a client that keeps asking sees each completed.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::client::Connection;
use crate::figures::Spread;
use crate::process::Process;
use crate::webhook::Sender;

/// How many webhooks are sent a second, whether or not those before them have been answered.
const PER_SECOND: u32 = 20;

/// How long the client waits before it asks again.
const POLL_EVERY: Duration = Duration::from_millis(1);

/// How long one execution may take.
const COMPLETED_MAX: Duration = Duration::from_secs(60);

/// How many of the first webhooks are not counted.
const WARM_UP: u64 = 20;

/// How long it took, from the time at which a webhook was to be sent.
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) webhooks: usize,
    pub(crate) per_second: u32,
    pub(crate) acknowledged_ms: Spread,
    pub(crate) completed_ms: Spread,
}

#[derive(Deserialize)]
struct Shown {
    status: String,
}

/// Connections that wait to be used again.
#[derive(Default)]
struct Pool(Mutex<Vec<Connection>>);

/// Measures a trickle of this length on a fresh server.
pub(crate) async fn measure(time: Duration) -> io::Result<Latency> {
    let process = Process::start()?;
    let server = process.address;
    let sender = Sender::new(process.data_dir.path(), &server.to_string())?;
    let pool = Arc::new(Pool::default());
    let count = WARM_UP + (time.as_secs_f64() * f64::from(PER_SECOND)) as u64;
    let mut ticks = interval(Duration::from_secs(1) / PER_SECOND);
    // A late one is sent at once and counts from when it was due: a server that stalls cannot hide it.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut running = JoinSet::new();
    for number in 0..count {
        let request = sender.request(number);
        let due = ticks.tick().await.into_std();
        let pool = pool.clone();
        running.spawn(async move {
            let took = until_completed(server, &pool, &request, due).await;
            took.map(|took| (number, took))
        });
    }
    let results: io::Result<Vec<_>> = running.join_all().await.into_iter().collect();
    let counted = results?.into_iter().filter(|(number, _)| *number >= WARM_UP);
    let (acknowledged, completed): (Vec<_>, Vec<_>) = counted.map(|(_, took)| took).unzip();
    Ok(Latency {
        webhooks: completed.len(),
        per_second: PER_SECOND,
        acknowledged_ms: Spread::of(acknowledged),
        completed_ms: Spread::of(completed),
    })
}

/// Sends a webhook and asks until it is completed; both times are counted from `due`.
async fn until_completed(
    server: SocketAddr,
    pool: &Pool,
    request: &[u8],
    due: Instant,
) -> io::Result<(Duration, Duration)> {
    let mut connection = pool.take(server).await?;
    let token = connection.post(request).await?;
    let acknowledged = due.elapsed();
    let path = format!("/status/{token}");
    while due.elapsed() < COMPLETED_MAX {
        let shown: Shown = serde_json::from_slice(connection.get(&path).await?)?;
        match shown.status.as_str() {
            "completed" => {
                let completed = due.elapsed();
                pool.give(connection);
                return Ok((acknowledged, completed));
            }
            "failed" | "stalled" => break,
            _ => sleep(POLL_EVERY).await,
        }
    }
    Err(io::Error::other(format!("execution {token} was not completed")))
}

impl Pool {
    async fn take(&self, server: SocketAddr) -> io::Result<Connection> {
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match free {
            Some(connection) => Ok(connection),
            None => Connection::open(server).await,
        }
    }

    fn give(&self, connection: Connection) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}

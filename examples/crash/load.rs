//! More than the server can do: what it refuses, what it needs, and what is left when it is killed at the peak.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use everhook_ingest::Sources;
use everhook_journal::config::Config;
use everhook_journal::payload::sha256_hex;
use everhook_journal::{Clock, ExecutionId, Secrets, SourceName};
use everhook_projector::shown::ShownExecution;
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::audit::{self, Histories};
use crate::ledger::Acknowledged;
use crate::server::{Server, Start, data, free_address};
use crate::wire::{Answer, Wire};

const CONFIG: &str = include_str!("load.toml");

/// Its one source.
const SOURCE: &str = "load";

/// With how many connections it is found out what the server can do, and for how long.
const FINDING_OUT: (usize, Duration) = (16, Duration::from_secs(4));

/// With how many connections it is loaded.
const CONNECTIONS: usize = 192;

/// The most memory the server may need, in MiB.
const MEMORY_MAX_MIB: u64 = 512;

/// How long the executions may take to end.
const END_MAX: Duration = Duration::from_secs(300);

/// How many ask for statuses at once.
const ASKING: usize = 8;

/// How many histories are read in the end, one after the other, besides all statuses.
const HISTORIES: usize = 2_000;

/// One server under load.
struct Loaded {
    address: SocketAddr,
    sources: Arc<Sources>,
    numbers: Arc<AtomicU64>,
}

/// What so much load got.
#[derive(Default)]
struct Got {
    acknowledged: Vec<Acknowledged>,
    statuses: BTreeMap<u16, u64>,
    unanswered: u64,
    without_retry_after: u64,
    /// From when each was due to be sent to its 202.
    took: Vec<Duration>,
    /// From when each was due to be sent to its refusal.
    refused_in: Vec<Duration>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Accepted {
    execution_token: ExecutionId,
}

/// Loads a server for so many seconds with half of what it can do, and then with twice as much.
pub(crate) async fn run(folder: &Path, time: Duration) -> io::Result<()> {
    std::fs::write(folder.join("everhook.toml"), CONFIG)?;
    let address = free_address()?;
    let start = Start {
        listen: address,
        folder: folder.to_owned(),
        failpoint: None,
        file_kib_max: None,
        clock: None,
        sync: None,
    };
    let server = start.serve()?;
    let loaded = Loaded { address, sources: sources(folder)?, numbers: Arc::default() };
    let mut all = Vec::new();

    let (connections, finding_out) = FINDING_OUT;
    let began = Instant::now();
    let got = loaded.send(connections, finding_out, None).await;
    let accepted = got.acknowledged.len();
    loaded.ended(&got.acknowledged).await?;
    let capacity = accepted as f64 / began.elapsed().as_secs_f64();
    let idle_mib = memory_mib(&server, "VmRSS:");
    println!(
        "this build carries {capacity:.0} webhooks a second to their end: {connections} connections had \
         {accepted} accepted in {} s, and all had ended after {:.1} s",
        finding_out.as_secs(),
        began.elapsed().as_secs_f64()
    );
    all.extend(got.acknowledged);

    let got = loaded.send(CONNECTIONS, time, Some(capacity / 2.0)).await;
    println!("at half of that for {} s: {got}", time.as_secs());
    if got.acknowledged.is_empty() || got.refused() * 100 > got.acknowledged.len() as u64 {
        return Err(io::Error::other("half of what it can do was refused"));
    }
    loaded.ended(&got.acknowledged).await?;
    all.extend(got.acknowledged);

    // It is killed while all connections still send.
    let more = time + Duration::from_secs(5);
    let (sent, killed) =
        tokio::join!(loaded.send(CONNECTIONS, more, Some(capacity * 2.0)), async {
            sleep(time).await;
            let peak_mib = memory_mib(&server, "VmHWM:");
            tokio::task::block_in_place(|| server.kill()).map(|()| peak_mib)
        });
    let (got, peak_mib) = (sent, killed?);
    println!("at twice of that for {} s: {got}", time.as_secs());
    if got.without_retry_after > 0 {
        let text = format!("{} refusals say not when to send again", got.without_retry_after);
        return Err(io::Error::other(text));
    }
    let waiting = got.acknowledged.len();
    all.extend(got.acknowledged);

    let server = start.serve()?;
    let ready = server.began.elapsed();
    let began = Instant::now();
    loaded.ended(&all).await?;
    println!(
        "killed at the peak, ready again after {} ms; all {} have ended {:.1} s later",
        ready.as_millis(),
        all.len(),
        began.elapsed().as_secs_f64()
    );
    tokio::task::block_in_place(|| server.stop())?;
    audit::integrity(folder)?;
    let histories = Histories::open(folder)?;
    for entry in all.iter().rev().step_by((all.len() / HISTORIES).max(1)) {
        histories.check(entry).await.map_err(io::Error::other)?;
    }
    histories.close().await;
    println!(
        "load: {} webhooks got a 202, {waiting} of them under twice the load before the kill; 0 lost, \
         0 ended twice; memory {idle_mib} MiB at first, {peak_mib} MiB at the peak (at most {MEMORY_MAX_MIB})",
        all.len(),
    );
    match peak_mib <= MEMORY_MAX_MIB {
        true => Ok(()),
        false => Err(io::Error::other(format!("the server needed {peak_mib} MiB"))),
    }
}

fn sources(folder: &Path) -> io::Result<Arc<Sources>> {
    let config = Config::load(&folder.join("everhook.toml")).map_err(io::Error::other)?;
    let secrets = Secrets::new(config.folder.clone(), Some(data(folder).join("secrets")));
    let sources = Sources::from_config(&config, &secrets);
    sources.map(Arc::new).map_err(|problems| io::Error::other(format!("{problems:?}")))
}

/// A line of Linux's account of the server's memory; 0 where there is none.
fn memory_mib(server: &Server, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id()));
    let status = status.unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let kib = line.trim().trim_end_matches("kB").trim().parse().unwrap_or(0);
    u64::div_ceil(kib, 1024)
}

impl Loaded {
    /// Sends for so long: as fast as answers come, or so many a second, whether or not they come.
    async fn send(&self, connections: usize, time: Duration, per_second: Option<f64>) -> Got {
        let began = Instant::now();
        let turns = Arc::new(AtomicU64::new(0));
        let mut sending = JoinSet::new();
        for _ in 0..connections {
            let (sources, numbers) = (self.sources.clone(), self.numbers.clone());
            let (mut wire, turns) = (Wire::new(self.address), turns.clone());
            sending.spawn(async move {
                let mut got = Got::default();
                loop {
                    let turn = turns.fetch_add(1, Ordering::Relaxed);
                    let after = per_second.map(|rate| Duration::from_secs_f64(turn as f64 / rate));
                    let due = after.map_or_else(Instant::now, |after| began + after);
                    if due > began + time {
                        return got;
                    }
                    tokio::time::sleep_until(due.into()).await;
                    if began.elapsed() > time {
                        return got;
                    }
                    let number = numbers.fetch_add(1, Ordering::Relaxed);
                    let (request, acknowledged) = request(&sources, number);
                    match wire.ask(&request).await {
                        Ok(answer) => got.answered(&answer, acknowledged, due),
                        Err(_) => {
                            got.unanswered += 1;
                            sleep(Duration::from_millis(100)).await;
                        }
                    }
                }
            });
        }
        let mut all = Got::default();
        while let Some(got) = sending.join_next().await {
            all.add(got.unwrap_or_default());
        }
        all
    }

    /// Waits until all of these have ended well.
    async fn ended(&self, acknowledged: &[Acknowledged]) -> io::Result<()> {
        let began = Instant::now();
        let mut asking = JoinSet::new();
        for entries in acknowledged.chunks(acknowledged.len().div_ceil(ASKING).max(1)) {
            let ids: Vec<_> = entries.iter().map(|entry| entry.execution.clone()).collect();
            let mut wire = Wire::new(self.address);
            asking.spawn(async move {
                for id in ids {
                    completed(&mut wire, &id, began).await?;
                }
                io::Result::Ok(())
            });
        }
        asking.join_all().await.into_iter().collect()
    }
}

async fn completed(wire: &mut Wire, id: &ExecutionId, began: Instant) -> io::Result<()> {
    let request = format!("GET /status/{id} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    loop {
        let answer = wire.ask(request.as_bytes()).await?;
        let text = String::from_utf8_lossy(&answer.body);
        if answer.status == 404 {
            return Err(io::Error::other(format!("execution {id} was acknowledged, and LOST")));
        }
        let shown: ShownExecution = serde_json::from_str(&text)?;
        match (shown.status.is_terminal(), shown.status.as_str()) {
            (true, "completed") => return Ok(()),
            (false, _) if began.elapsed() < END_MAX => sleep(Duration::from_millis(20)).await,
            (_, status) => return Err(io::Error::other(format!("execution {id} is {status}"))),
        }
    }
}

fn request(sources: &Sources, number: u64) -> (Vec<u8>, Acknowledged) {
    let body =
        format!("{{\"n\":{number},\"of\":\"a webhook of a usual size: {}\"}}", "x".repeat(600));
    let delivery = format!("load-{number}");
    let scheme = &sources.find(&SourceName::new(SOURCE)).scheme;
    let mut head = format!(
        "POST /webhook/{SOURCE} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n",
        body.len()
    );
    for (name, value) in scheme.sign(&delivery, Some("load"), body.as_bytes(), Clock::System.now())
    {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let request = format!("{head}\r\n{body}").into_bytes();
    let body_sha256 = sha256_hex(body.as_bytes());
    let execution = ExecutionId::parse(&"A".repeat(26)).expect("it looks like one");
    (request, Acknowledged { flow: SOURCE, delivery, body_sha256, execution })
}

impl Got {
    fn answered(&mut self, answer: &Answer, acknowledged: Acknowledged, due: Instant) {
        *self.statuses.entry(answer.status).or_default() += 1;
        match (answer.status, serde_json::from_slice::<Accepted>(&answer.body)) {
            (202, Ok(Accepted { execution_token: execution })) => {
                self.took.push(due.elapsed());
                self.acknowledged.push(Acknowledged { execution, ..acknowledged });
            }
            _ => {
                self.refused_in.push(due.elapsed());
                self.without_retry_after += u64::from(answer.retry_after.is_none());
            }
        }
    }

    fn refused(&self) -> u64 {
        self.statuses.iter().filter(|(status, _)| **status != 202).map(|(_, count)| count).sum()
    }

    fn add(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        self.unanswered += other.unanswered;
        self.without_retry_after += other.without_retry_after;
        self.took.extend(other.took);
        self.refused_in.extend(other.refused_in);
    }
}

impl std::fmt::Display for Got {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { statuses, unanswered, .. } = self;
        let spread = crate::spread;
        write!(
            f,
            "answers by status {statuses:?}, {unanswered} unanswered; 202 after {}, refused after {}",
            spread(&self.took),
            spread(&self.refused_in)
        )
    }
}

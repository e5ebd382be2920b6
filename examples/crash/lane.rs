//! A server with all that surrounds it: those who send, what it calls, who calls it back, and what they know.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use everhook_journal::ExecutionId;
use everhook_projector::shown::ShownExecution;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::audit::{self, Found, Histories};
use crate::caller::Caller;
use crate::chance::Chance;
use crate::ledger::{Acknowledged, Ledger};
use crate::sender::Sender;
use crate::server::{Server, Start, free_address};
use crate::target::Target;

const CONFIG: &str = include_str!("everhook.toml");

/// The target's address in it.
const TARGET: &str = "127.0.0.1:9000";

/// How many send at once.
const SENDERS: u64 = 4;

/// How long one post may take.
const POST_MAX: Duration = Duration::from_secs(5);

/// How many ask for statuses at once.
const ASKING: usize = 8;

/// How long the executions may take to end, once nothing is killed any more.
const END_MAX: Duration = Duration::from_secs(150);

/// How many histories are looked at between kills: the last ones, and as many by chance.
const LOOKED_AT: usize = 100;

/// One server and its surroundings.
pub(crate) struct Lane {
    pub(crate) folder: PathBuf,
    pub(crate) ledger: Ledger,
    pub(crate) target: Target,
    pub(crate) caller: Caller,
    client: reqwest::Client,
    address: SocketAddr,
    seed: u64,
    sender: Option<Sender>,
    senders: JoinSet<()>,
    audits: JoinSet<()>,
}

/// What became of a lane.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) acknowledged: usize,
    pub(crate) found: Found,
    pub(crate) drained_in: Duration,
}

impl Lane {
    /// A lane in this folder.
    pub(crate) async fn new(folder: &Path, seed: u64) -> io::Result<Self> {
        let folder = folder.to_owned();
        let client = reqwest::Client::builder().no_proxy().timeout(POST_MAX).build();
        let client = client.map_err(io::Error::other)?;
        let ledger = Ledger::default();
        let caller = Caller::new(client.clone(), ledger.clone(), Chance::new(seed, "caller"));
        let chance = Chance::new(seed, "target");
        let (target, address) = Target::start(caller.clone(), ledger.clone(), chance).await?;
        let config = CONFIG.replace(TARGET, &address.to_string());
        std::fs::write(folder.join("everhook.toml"), config)?;
        let address = free_address()?;
        Ok(Self {
            folder,
            ledger,
            target,
            caller,
            client,
            address,
            seed,
            sender: None,
            senders: JoinSet::new(),
            audits: JoinSet::new(),
        })
    }

    /// How its server is started when nothing is to happen to it.
    pub(crate) fn start(&self) -> Start {
        let folder = self.folder.clone();
        let (failpoint, file_kib_max) = (None, None);
        Start { listen: self.address, folder, failpoint, file_kib_max, clock: None, sync: None }
    }

    /// Starts a server.
    pub(crate) fn spawn(&self, start: &Start) -> io::Result<Server> {
        let server = start.spawn()?;
        self.ledger.started(server.began);
        Ok(server)
    }

    /// Starts a server that must become ready.
    pub(crate) fn serve(&self, start: &Start) -> io::Result<Server> {
        let server = start.serve()?;
        self.ledger.started(server.began);
        Ok(server)
    }

    /// Lets the senders begin. The server must have made its secrets.
    pub(crate) fn send(&mut self, pause_ms: (u64, u64)) -> io::Result<Sender> {
        let (ledger, client) = (self.ledger.clone(), self.client.clone());
        let sender = Sender::new(&self.folder, self.address, ledger, client, self.seed)?;
        for writer in 0..SENDERS {
            self.senders.spawn(sender.clone().run(writer, pause_ms));
        }
        self.sender = Some(sender.clone());
        Ok(sender)
    }

    /// Looks at the files of a server that is down, and at some of what it acknowledged.
    pub(crate) fn look(&mut self, number: u64, chance: &mut Chance) -> io::Result<()> {
        let entries: Vec<_> = self.ledger.acknowledged().into_values().collect();
        let copy = self.folder.join(format!("copy-{number}"));
        audit::copy(&self.folder, &copy)?;
        let newest = entries.iter().rev().take(LOOKED_AT).cloned();
        let others = (0..LOOKED_AT.min(entries.len()))
            .map(|_| entries[chance.below(entries.len() as u64) as usize].clone());
        let looked_at: Vec<_> = newest.chain(others).collect();
        let ledger = self.ledger.clone();
        self.audits.spawn(async move {
            match look(&copy, &looked_at).await {
                Ok(()) => drop(std::fs::remove_dir_all(&copy)),
                Err(problem) => ledger.violation(format!("after kill {number}: {problem}")),
            }
        });
        Ok(())
    }

    /// Lets everything end and compares it all. A server must be running.
    pub(crate) async fn finish(mut self, server: Server) -> io::Result<Outcome> {
        if let Some(sender) = &self.sender {
            sender.stop();
        }
        let began = Instant::now();
        while self.senders.join_next().await.is_some() {}
        let shown = self.statuses().await;
        let drained_in = began.elapsed();
        while self.audits.join_next().await.is_some() {}
        tokio::task::block_in_place(|| server.stop())?;
        if let Err(problem) = audit::integrity(&self.folder) {
            self.ledger.violation(problem.to_string());
        }
        let histories = Histories::open(&self.folder)?;
        let found = histories.check_all(&self.ledger, &shown, &self.target.calls()).await;
        histories.close().await;
        Ok(Outcome { acknowledged: self.ledger.count(), found, drained_in })
    }

    /// The last status of every execution, once it has ended.
    async fn statuses(&self) -> BTreeMap<ExecutionId, ShownExecution> {
        let began = Instant::now();
        let ids: Vec<_> = self.ledger.acknowledged().into_values().map(|it| it.execution).collect();
        let mut asking = JoinSet::new();
        for ids in ids.chunks(ids.len().div_ceil(ASKING).max(1)) {
            let (client, ledger) = (self.client.clone(), self.ledger.clone());
            let (address, ids) = (self.address, ids.to_vec());
            asking.spawn(async move {
                let mut all = Vec::new();
                for id in ids {
                    match ended(&client, address, &id, began).await {
                        Ok(shown) => all.push((id, shown)),
                        Err(problem) => ledger.violation(problem),
                    }
                }
                all
            });
        }
        asking.join_all().await.into_iter().flatten().collect()
    }
}

async fn look(copy: &Path, entries: &[Acknowledged]) -> Result<(), String> {
    let folder = copy.to_owned();
    let checked = tokio::task::spawn_blocking(move || audit::integrity(&folder)).await;
    checked.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let histories = Histories::open(copy).map_err(|error| error.to_string())?;
    for entry in entries {
        histories.check(entry).await?;
    }
    histories.close().await;
    Ok(())
}

/// An execution's status once it has ended.
async fn ended(
    client: &reqwest::Client,
    address: SocketAddr,
    id: &ExecutionId,
    began: Instant,
) -> Result<ShownExecution, String> {
    loop {
        let url = format!("http://{address}/status/{id}");
        let answer = async { client.get(url).send().await?.text().await };
        let text = answer.await.map_err(|error| format!("no status of execution {id}: {error}"))?;
        let shown: ShownExecution = serde_json::from_str(&text)
            .map_err(|error| format!("the status of execution {id} is {text}: {error}"))?;
        if shown.status.is_terminal() {
            return Ok(shown);
        }
        if began.elapsed() > END_MAX {
            return Err(format!("execution {id} has not ended after {END_MAX:?}: {shown:?}"));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

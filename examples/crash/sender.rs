//! Those who send webhooks: each until it is acknowledged, whatever happens to the server meanwhile.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use everhook_ingest::Sources;
use everhook_journal::config::Config;
use everhook_journal::payload::sha256_hex;
use everhook_journal::{Clock, ExecutionId, Secrets, SourceName, Timestamp};
use serde::Deserialize;
use serde_json::json;
use tokio::time::sleep;

use crate::chance::Chance;
use crate::ledger::{Acknowledged, FLOWS, Flow, Ledger};

/// How soon a webhook is sent again that got no 202.
const AGAIN_AFTER: Duration = Duration::from_millis(5);

/// How soon it is sent again when the server asked for patience.
const AGAIN_AFTER_503: Duration = Duration::from_millis(200);

/// How much of a hundred is sent again although it was acknowledged.
const REDELIVERED_PERCENT: u64 = 5;

/// How much of a hundred does not fit into an event.
const LARGE_PERCENT: u64 = 8;

/// A body that stays beyond 32 KiB once it is compressed.
const LARGE_BYTES: usize = 48 * 1024;

/// Who sends to one server. A clone is the same one.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    pub(crate) address: SocketAddr,
    pub(crate) ledger: Ledger,
    client: reqwest::Client,
    sources: Arc<Sources>,
    seed: u64,
    numbers: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
    /// Whether the server's clock jumps, so that a signature may be out of date when it arrives.
    pub(crate) jumps: Arc<AtomicBool>,
    /// How much the server's clock is ahead, in seconds.
    pub(crate) ahead: Arc<AtomicI64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Accepted {
    execution_token: ExecutionId,
    duplicate: bool,
}

impl Sender {
    /// Shares the secrets in the data folder.
    pub(crate) fn new(
        folder: &Path,
        address: SocketAddr,
        ledger: Ledger,
        client: reqwest::Client,
        seed: u64,
    ) -> std::io::Result<Self> {
        let config = Config::load(&folder.join("everhook.toml")).map_err(std::io::Error::other)?;
        let secrets = crate::server::data(folder).join("secrets");
        let secrets = Secrets::new(config.folder.clone(), Some(secrets));
        let sources = Sources::from_config(&config, &secrets)
            .map_err(|problems| std::io::Error::other(format!("{problems:?}")))?;
        Ok(Self {
            address,
            ledger,
            client,
            sources: Arc::new(sources),
            seed,
            numbers: Arc::default(),
            stopped: Arc::default(),
            jumps: Arc::default(),
            ahead: Arc::default(),
        })
    }

    /// Sends one webhook after the other with pauses between these, in milliseconds, until it is stopped.
    pub(crate) async fn run(self, writer: u64, pause_ms: (u64, u64)) {
        let mut chance = Chance::new(self.seed ^ writer, "sender");
        while !self.stopped.load(Ordering::Relaxed) {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            self.send(number).await;
            if chance.percent(REDELIVERED_PERCENT)
                && let Some(number) = self.ledger.any(chance.below(number + 1))
            {
                self.send(number).await;
            }
            sleep(chance.between_ms(pause_ms.0, pause_ms.1)).await;
        }
    }

    /// Begins no more webhooks.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Sends the webhook with this number until it is acknowledged.
    async fn send(&self, number: u64) {
        let mut chance = Chance::new(self.seed ^ number, "webhook");
        let flow = flow(&mut chance);
        let body = body(number, &mut chance);
        let delivery = format!("{flow}-{number}");
        loop {
            let posted = Instant::now();
            let answer = self.post(flow, &delivery, &body).await;
            match answer {
                Ok((202, text)) => {
                    self.ledger.answered(202, posted);
                    return self.accepted(number, flow, &delivery, &body, &text);
                }
                Ok((status, _)) if self.is_worth_another(status) => {
                    self.ledger.answered(status, posted);
                    sleep(AGAIN_AFTER_503).await;
                }
                Ok((status, text)) => {
                    let text = format!("webhook {delivery} got {status}: {text}");
                    return self.ledger.violation(text);
                }
                Err(_) => {
                    self.ledger.unanswered();
                    sleep(AGAIN_AFTER).await;
                }
            }
        }
    }

    fn is_worth_another(&self, status: u16) -> bool {
        matches!(status, 429 | 503) || status == 401 && self.jumps.load(Ordering::Relaxed)
    }

    async fn post(
        &self,
        flow: Flow,
        delivery: &str,
        body: &[u8],
    ) -> reqwest::Result<(u16, String)> {
        let scheme = &self.sources.find(&SourceName::new(flow)).scheme;
        let ahead = self.ahead.load(Ordering::Relaxed) * 1000;
        let now = Timestamp::from_millis(Clock::System.now().as_millis() + ahead);
        let url = format!("http://{}/webhook/{flow}", self.address);
        let mut request = self.client.post(url).header("content-type", "application/json");
        for (name, value) in scheme.sign(delivery, Some("crash"), body, now) {
            request = request.header(name, value);
        }
        let response = request.body(body.to_vec()).send().await?;
        Ok((response.status().as_u16(), response.text().await?))
    }

    fn accepted(&self, number: u64, flow: Flow, delivery: &str, body: &[u8], text: &str) {
        match serde_json::from_str::<Accepted>(text) {
            Ok(Accepted { execution_token, duplicate }) => {
                let acknowledged = Acknowledged {
                    flow,
                    delivery: delivery.to_owned(),
                    body_sha256: sha256_hex(body),
                    execution: execution_token,
                };
                self.ledger.acknowledge(number, acknowledged, duplicate);
            }
            Err(error) => self.ledger.violation(format!("a 202 that says {text}: {error}")),
        }
    }
}

fn flow(chance: &mut Chance) -> Flow {
    let mut drawn = chance.below(100);
    for (flow, percent) in FLOWS {
        match drawn.checked_sub(percent) {
            None => return flow,
            Some(rest) => drawn = rest,
        }
    }
    FLOWS[0].0
}

/// No two are the same.
fn body(number: u64, chance: &mut Chance) -> Vec<u8> {
    let mut padding = String::new();
    if chance.percent(LARGE_PERCENT) {
        while padding.len() < LARGE_BYTES * 2 {
            padding.push_str(&format!("{:016x}", chance.next()));
        }
    }
    json!({ "n": number, "padding": padding }).to_string().into_bytes()
}

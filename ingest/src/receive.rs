//! A verified webhook becomes the first event of an execution.

pub(crate) mod arrived;
mod begin;
mod unfinished;
mod verify;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use everhook_journal::config::{Config, Problem, SourceSection};
use everhook_journal::event::{self, Webhook};
use everhook_journal::guard::{self, Guard};
use everhook_journal::id::{EXECUTION_KEY_BYTES_MIN, ExecutionKey};
use everhook_journal::payload::PayloadError;
use everhook_journal::store::Unavailable;
use everhook_journal::table::AppendError;
use everhook_journal::{
    Clock, ExecutionId, Executions, Journal, Payloads, SourceName, Storage, Timers, Timestamp,
    Workflow, ambient, failpoint, telemetry,
};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::OnceCell;

use crate::answer::{Accepted, Answer};
use crate::fetch::Fetch;
use crate::handshake::Reply;
use crate::quarantine::Quarantine;
use crate::request::{self, Rejected, Request};
use crate::seen::{self, Seen};
use crate::signature::Unverified;
use crate::source::{self, Source, Sources};
use everhook_journal::secret::{SecretError, Secrets};

use arrived::{Arrived, By, NoEvents, Parts};
use unfinished::Unfinished;

/// The longest type of an event that is kept, in characters.
const EVENT_TYPE_MAX: usize = 128;

/// How long recording a webhook may take: senders give up after a while, and so does a function.
const RECORDED_WITHIN: Duration = Duration::from_secs(8);

/// How many events of one request are recorded at once.
pub(crate) const RECORDED_TOGETHER: usize = 16;

/// The same for a request with more events than [`MANY`].
const MANY_TOGETHER: usize = 64;

/// How many events make a request a large one.
const MANY: usize = 500;

/// How long a history is kept beyond the longest its workflow can take, if nothing is said.
const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

/// Where the key for execution ids is, if nothing is said.
const EXECUTION_KEY: &str = "generated:execution-key";

/// What a sender is told of every request that is not verified, whatever the reason.
const UNVERIFIED: &str = "the signature is missing or wrong, or there is no such source";

/// What it takes to accept webhooks.
#[derive(Debug)]
pub struct Ingest {
    /// Who may send.
    pub sources: Sources,
    /// The key of the deployment's execution ids.
    pub key: ExecutionKey,
    /// The histories.
    pub journal: Journal,
    /// The views.
    pub executions: Executions,
    /// The timers.
    pub timers: Timers,
    /// The large bodies.
    pub payloads: Payloads,
    /// The time.
    pub clock: Clock,
    /// How long a history is kept beyond the longest its workflow can take.
    pub retention: Duration,
    /// The largest body that is accepted.
    pub body_bytes_max: usize,
    /// What was answered so far.
    pub counts: Counts,
    /// What is told of each webhook that begins an execution, if anything is.
    pub teller: Option<Teller>,
    pub(crate) quarantine: Quarantine,
    fetch: Arc<Fetch>,
    unfinished: Unfinished,
    workflows: Vec<Workflow>,
    published: OnceCell<()>,
}

/// Tells the processor of a webhook by a shorter way than the stream. What is told may be lost, or come early.
pub struct Teller {
    /// Whether it is told while the webhook is being recorded, because telling takes long.
    pub early: bool,
    /// Tells it.
    pub tell: Tell,
}

/// Tells of an execution that has begun, and of its source.
pub type Tell = Box<dyn Fn(&ExecutionId, &SourceName) -> BoxFuture<'static, ()> + Send + Sync>;

impl fmt::Debug for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Teller").field("early", &self.early).finish_non_exhaustive()
    }
}

/// How many requests were answered, by answer.
#[derive(Debug, Default)]
pub struct Counts {
    /// Recorded.
    pub accepted: AtomicU64,
    /// Recorded before.
    pub duplicates: AtomicU64,
    /// Recorded before under the same id with another body.
    pub mismatched: AtomicU64,
    /// Recorded before with the same body and no id.
    pub by_body: AtomicU64,
    /// Recorded, but the same body had come before: under another id that is not signed, or without an id.
    pub repeated: AtomicU64,
    /// Not verified.
    pub unverified: AtomicU64,
}

/// Why ingest cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Some sources cannot be used.
    #[error("everhook.toml: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Sources(Vec<Problem>),
    /// The key for execution ids cannot be read.
    #[error("`execution_key` in [settings]: {0}")]
    Key(#[source] SecretError),
    /// The key for execution ids protects nothing.
    #[error("`execution_key` in [settings] must have at least {EXECUTION_KEY_BYTES_MIN} bytes")]
    ShortKey,
}

/// The reference to the key for execution ids.
pub fn execution_key(config: &Config) -> &str {
    config.settings.execution_key.as_deref().unwrap_or(EXECUTION_KEY)
}

/// Something a webhook is recorded in did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Outage {
    #[error(transparent)]
    Store(#[from] Unavailable),
    #[error(transparent)]
    Payloads(#[from] PayloadError),
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl Ingest {
    /// The references to all secrets that ingest needs.
    pub fn references(config: &Config) -> Vec<String> {
        let of_source = |source: &SourceSection| source::references(&source.section);
        let mut references: Vec<_> = config.sources.values().flat_map(of_source).collect();
        references.push(execution_key(config).to_owned());
        references
    }

    /// Fetches the secrets that AWS keeps, for [`Ingest::from_config`] to read.
    pub async fn fetch(config: &Config, secrets: &Secrets) {
        secrets.fetch(Self::references(config).iter().map(String::as_str)).await;
    }

    /// Ingest as configured.
    pub fn from_config(
        config: &Config,
        secrets: &Secrets,
        storage: Storage,
        clock: Clock,
    ) -> Result<Self, StartError> {
        let Storage { journal, executions, timers, payloads } = storage;
        let sources = Sources::from_config(config, secrets).map_err(StartError::Sources)?;
        let key = secrets.read(execution_key(config)).map_err(StartError::Key)?;
        let key = ExecutionKey::new(key.expose()).ok_or(StartError::ShortKey)?;
        let settings = &config.settings;
        sources.fetched_at(clock.now());
        Ok(Self {
            quarantine: Quarantine::new(&key, executions.quarantine()),
            sources,
            key,
            journal,
            executions,
            timers,
            payloads,
            clock,
            retention: settings.retention.unwrap_or(RETENTION),
            body_bytes_max: settings.body_bytes_max,
            counts: Counts::default(),
            teller: None,
            fetch: Arc::default(),
            unfinished: Unfinished::default(),
            workflows: config.workflows.values().cloned().collect(),
            published: OnceCell::new(),
        })
    }

    /// Keeps the definitions of all workflows and the names of all sources, unless that is done. No webhook is recorded
    /// before it is: every history finds the definition it names, and the audit finds every history.
    pub async fn publish(&self) -> Result<(), Unavailable> {
        let publish = || async {
            let published = self.workflows.iter().map(|workflow| self.journal.publish(workflow));
            let published = futures_util::future::try_join_all(published);
            let names = self.sources.names();
            let added = self.executions.add_sources(&names);
            futures_util::future::try_join(published, added).await.map(drop)
        };
        self.published.get_or_try_init(publish).await.copied()
    }

    /// Whether the tables were made with this key for execution ids, as far as they know.
    pub async fn knows_its_key(&self) -> Result<bool, Unavailable> {
        self.executions.knows_key("execution", &self.key).await
    }

    /// Answers a request that may be a webhook. `admit` is asked once it is verified, so that strangers take
    /// no places; what it gives is kept until the webhook is recorded.
    pub async fn receive<T>(
        &self,
        request: Request,
        admit: impl FnOnce() -> Result<T, Answer>,
    ) -> Answer {
        let now = self.clock.now();
        if let Err(rejected) = self.sources.find(&request.source).reads(&request.headers) {
            telemetry::rejected(rejected.kind());
            let seen = Seen::of(&request);
            tracing::info!(
                request.id = request.request_id, reason = %rejected,
                address = seen.address, path = seen.path, agent = seen.agent,
                "rejected: {rejected}"
            );
            return rejected.into();
        }
        if let Some(answer) = self.unsigned_handshake(&request, now).await {
            return answer;
        }
        let (source, verified) = match self.verify(&request, now).await {
            Ok(verified) => verified,
            // Some senders do not send again what was refused.
            Err(reason @ Unverified::Unreachable) => {
                telemetry::rejected("unavailable");
                let source = self.sources.known(&request.source).unwrap_or("none");
                tracing::error!(
                    request.id = request.request_id, source, reason = %reason,
                    "not verified for the source {source}: {reason}"
                );
                return Answer::error(503, "the signature cannot be checked now; send it again")
                    .with_header("retry-after", "5");
            }
            Err(reason) => {
                count(&self.counts.unverified);
                telemetry::rejected("unverified");
                let quarantine = Box::pin(self.keep_refused(&request, reason, now)).await;
                self.tell_refused(&request, reason, quarantine);
                return Answer::error(401, UNVERIFIED);
            }
        };
        let sent = request.sent(now, None);
        let authentic = source.scheme.read(verified, &sent);
        let handshake = source.scheme.preset().handshake;
        if let Some(reply) = handshake.after(&source.scheme, &sent, &authentic.outline) {
            return self.shake(&request, reply).await;
        }
        let delivery = authentic.claims.delivery_id.as_ref().map(|(id, _)| id.clone());
        let (events, unreadable) = match arrived::events(&source, authentic) {
            Ok(events) => events,
            Err(refused) => return malformed(&request, delivery.as_deref(), refused),
        };
        let _admitted = match admit() {
            Ok(admitted) => admitted,
            Err(answer) => return answer,
        };
        let (request_id, name) = (request.request_id.clone(), request.source.clone());
        let record = self.record_all(&request, &source, events, now);
        let reason = match ambient::timeout(RECORDED_WITHIN, record).await {
            Ok(Ok(recorded)) => {
                failpoint::reached("answer.before");
                return match unreadable {
                    None => Answer::accepted(&recorded),
                    Some(refused) => malformed(&request, delivery.as_deref(), refused),
                };
            }
            Ok(Err(outage)) => outage.to_string(),
            Err(_) => format!("no end within {RECORDED_WITHIN:?}"),
        };
        telemetry::rejected("unavailable");
        tracing::error!(
            request.id = request_id, source = %name, reason,
            "could not record a webhook: {reason}"
        );
        Answer::error(503, "the webhook could not be recorded; send it again")
            .with_header("retry-after", "5")
    }

    /// Logs a request that was not verified. What its sender calls itself is shown as it is, and believed in nothing.
    fn tell_refused(
        &self,
        request: &Request,
        reason: Unverified,
        quarantine: Option<&'static str>,
    ) {
        let seen = Seen::of(request);
        let delivery = self.sources.find(&request.source);
        let delivery = delivery.scheme.said_id(&request.sent(self.clock.now(), None));
        let source = self.sources.known(&request.source);
        let why = match source {
            Some(source) => format!("not verified for the source {source}: {reason}"),
            None => self.sources.unknown(&request.source),
        };
        tracing::warn!(
            request.id = request.request_id, source = source.unwrap_or("none"), reason = %reason,
            quarantine, address = seen.address, path = seen.path, agent = seen.agent,
            delivery.id = delivery.as_deref().map(seen::shown),
            "{why}"
        );
    }

    /// The answer to a request that is no webhook and that nobody signs.
    async fn unsigned_handshake(&self, request: &Request, now: Timestamp) -> Option<Answer> {
        let source = self.sources.fresh(&request.source, now).await;
        let handshake = source.scheme.preset().handshake;
        let answer = handshake.before(&source.scheme, &request.sent(now, None));
        let known = self.sources.known(&request.source);
        if let (Some(answer), Some(source)) = (answer, known) {
            tracing::info!(request.id = request.request_id, source, "answered a handshake");
            return Some(answer);
        }
        (request.method != "POST").then(|| {
            telemetry::rejected(Rejected::NotPost.kind());
            Rejected::NotPost.into()
        })
    }

    /// Answers a verified handshake, after what it asks for.
    async fn shake(&self, request: &Request, reply: Reply) -> Answer {
        let (id, source) = (&request.request_id, &request.source);
        if let Some(url) = reply.fetch
            && let Err(error) = Box::pin(self.fetch.get(&url)).await
        {
            tracing::error!(request.id = id, source = %source, "not confirmed: {error}");
            return Answer::error(503, "the confirmation could not be fetched; send it again")
                .with_header("retry-after", "5");
        }
        tracing::info!(request.id = id, source = %source, "answered a handshake");
        reply.answer
    }

    /// Makes all events of a request durable, or says that not all of them are:
    /// sent again, those that are there are known.
    pub(crate) async fn record_all(
        &self,
        request: &Request,
        source: &Source,
        events: Vec<Arrived>,
        now: Timestamp,
    ) -> Result<Vec<Accepted>, Outage> {
        self.publish().await?;
        let is_one = events.len() == 1;
        let is_large = events.len() > MANY;
        let together = if is_large { MANY_TOGETHER } else { RECORDED_TOGETHER };
        let recorded =
            events.into_iter().map(|event| self.record(request, source, event, is_large, now));
        let recorded = futures_util::stream::iter(recorded).buffered(together);
        if is_one || guard::holds(Guard::WholeRequest) {
            let recorded: Vec<_> = recorded.try_collect().await?;
            if is_large {
                self.unfinished.forget(&recorded);
            }
            return Ok(recorded);
        }
        Ok(recorded.filter_map(|recorded| std::future::ready(recorded.ok())).collect().await)
    }

    /// Makes an event durable, if it is not.
    async fn record(
        &self,
        request: &Request,
        source: &Source,
        event: Arrived,
        is_of_many: bool,
        now: Timestamp,
    ) -> Result<Accepted, Outage> {
        let Parts { body, body_sha256, secret, event_type, known, summary, covers } =
            event.into_parts();
        // A body without an id may be another event later.
        let id = (is_of_many && known.by != By::BodyForAWhile)
            .then(|| known.execution(&self.key, &request.source));
        if let Some(id) = &id
            && self.unfinished.has(id)
        {
            return Ok(Accepted { execution: id.clone(), duplicate: true, repeat_of: None });
        }
        let event_type = event_type.or(summary.event_type);
        let webhook = Webhook {
            source: request.source.clone(),
            delivery_id: known.delivery_id.clone(),
            delivery_id_from: known.origin,
            event_type: event_type.map(|text| text.chars().take(EVENT_TYPE_MAX).collect()),
            workflow: source.workflow.clone(),
            verified: event::Verified { scheme: source.scheme.name().into(), secret, covers },
            method: "POST".into(),
            path: request.path.clone(),
            query: request::kept_query(&request.query),
            headers: request.kept_headers(&source.scheme),
            source_ip: request.source_ip.clone(),
            request_id: request.request_id.clone(),
            quarantined_at: request.quarantined_at,
            // Durable before the event that names it.
            body: self.payloads.keep(body).await?,
            body_sha256,
            keys: summary.keys,
            key_count: summary.key_count,
            expires_at: now + source.longest + self.retention,
        };
        let recorded = self.begin(&known, source, Arc::new(webhook), now).await?;
        if let Some(id) = id {
            self.unfinished.add(id);
        }
        Ok(recorded)
    }
}

/// Answers a verified request that is not what its source expects, or not all of it.
fn malformed(request: &Request, delivery: Option<&str>, refused: NoEvents) -> Answer {
    telemetry::rejected("malformed");
    let (source, seen) = (&request.source, Seen::of(request));
    tracing::warn!(
        request.id = request.request_id, source = %source, reason = %refused,
        address = seen.address, path = seen.path, agent = seen.agent,
        delivery.id = delivery.map(seen::shown),
        "rejected for the source {source}: {refused}"
    );
    Answer::error(400, refused.to_string())
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

//! A deployment in memory, whose clock goes straight to what is next.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use aws_lambda_events::encodings::Body;
use aws_lambda_events::http::Method;
use everhook::Steps;
use everhook::local::Engine;
use everhook_ingest::Ingest;
use everhook_journal::callback::Callbacks;
use everhook_journal::config::Config;
use everhook_journal::schema::Tables;
use everhook_journal::store::Store;
use everhook_journal::{
    Clock, Execution, ExecutionId, Payloads, Recorded, Secrets, Sequence, Storage, Timestamp,
};
use everhook_processor::sweep::HandOver;
use everhook_processor::{Audit, Cause, Driver, Invocation, Sweep, Wake, advance};
use object_store::memory::InMemory;
use serde_json::Value;
use tempfile::TempDir;

use super::act::Act;

/// When every world begins.
const BEGINNING: i64 = 1_795_486_845_000;

/// How long an invocation lasts at most.
const INVOCATION: Duration = Duration::from_secs(60);

/// How many timers of one shard are looked at.
const TIMERS_MAX: i32 = 1_000;

/// How many wake-ups may follow one another without waiting.
const WAKES_MAX: usize = 1_000;

pub(crate) struct World {
    pub(crate) ingest: Ingest,
    pub(crate) callbacks: Callbacks,
    pub(crate) act: Act,
    driver: Driver,
    sweep: Sweep,
    audit: Audit,
    time: Arc<AtomicI64>,
    _engine: Engine,
    _folder: TempDir,
}

impl World {
    pub(crate) async fn start(config: &Config, folder: &Path) -> Result<Self, String> {
        let own = tempfile::tempdir().map_err(words)?;
        let secrets = Secrets::new(folder.to_owned(), Some(own.path().to_owned()));
        let engine = Engine::in_memory().map_err(words)?;
        let client = engine.dynamodb();
        let tables = Tables::default();
        tables.create(&client).await.map_err(words)?;
        let time = Arc::new(AtomicI64::new(BEGINNING));
        let clock = Clock::Manual(time.clone());
        let store = Store::new(client);
        let storage = Storage {
            journal: tables.journal_in(&store, clock.clone()),
            executions: tables.executions_in(&store),
            timers: tables.timers_in(&store),
            payloads: Payloads::new(Arc::new(InMemory::new())),
        };
        let ingest =
            Ingest::from_config(config, &secrets, storage.clone(), clock.clone()).map_err(words)?;
        ingest.publish().await.map_err(words)?;
        let callbacks = Callbacks::new(ingest.key.clone(), "https://hooks.example.com");
        let act = Act::default();
        let steps = Steps::new().with("act", act.clone());
        let Storage { journal, executions, timers, .. } = storage.clone();
        let audit = Audit::new(journal.clone(), executions.clone(), timers.clone(), clock.clone());
        let sweep = Sweep::new(timers, executions, journal, clock.clone());
        let driver = Driver::from_config(config, steps, storage, clock)
            .map_err(words)?
            .with_callbacks(callbacks.clone());
        Ok(Self {
            ingest,
            callbacks,
            act,
            driver,
            sweep,
            audit,
            time,
            _engine: engine,
            _folder: own,
        })
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.time.load(Ordering::SeqCst))
    }

    /// Goes on to this time, never back.
    pub(crate) fn go_to(&self, time: Timestamp) {
        self.time.fetch_max(time.as_millis(), Ordering::SeqCst);
    }

    /// Sends a webhook with this body.
    pub(crate) async fn send(&self, body: &Value) -> Result<ExecutionId, String> {
        let told = self.post("/webhook", Some(body.to_string())).await?;
        let token = told["executionToken"].as_str().and_then(ExecutionId::parse);
        token.ok_or_else(|| format!("ingest answered {told}"))
    }

    /// Sends a request to the door for senders; an answer that is not 2xx is an error.
    pub(crate) async fn post(&self, path: &str, body: Option<String>) -> Result<Value, String> {
        let mut request = ApiGatewayV2httpRequest::default();
        request.raw_path = Some(path.to_owned());
        request.request_context.http.method = Method::POST;
        request.request_context.request_id = Some("request-1".into());
        request.body = body;
        let response = everhook_ingest::handle(&self.ingest, request).await;
        let text = match response.body {
            Some(Body::Text(text)) => text,
            _ => String::new(),
        };
        let told = serde_json::from_str(&text).unwrap_or(Value::String(text));
        match response.status_code {
            200..=299 => Ok(told),
            status => Err(format!("{path} answered {status}: {told}")),
        }
    }

    pub(crate) async fn history(&self, id: &ExecutionId) -> Result<Vec<Recorded>, String> {
        self.driver.journal.read(id, Sequence::START).await.map_err(words)
    }

    pub(crate) async fn execution(&self, id: &ExecutionId) -> Result<Execution, String> {
        let folded = Execution::fold(&self.history(id).await?).map_err(words)?;
        folded.ok_or_else(|| "there is no execution".to_owned())
    }

    /// When something is due; none once it has ended. What a crash left without a timer is found by the audit.
    pub(crate) async fn due(&self, id: &ExecutionId) -> Result<Option<Timestamp>, String> {
        self.audit.run_up_to(self.now(), self.now() + INVOCATION).await.map_err(words)?;
        let (timers, _) = self.driver.timers.first(TIMERS_MAX).await.map_err(words)?;
        let own = timers.into_iter().filter(|timer| timer.execution == *id);
        Ok(own.map(|timer| timer.due).min())
    }

    /// Wakes the execution as long as that moves it.
    pub(crate) async fn follow(&self, id: &ExecutionId) -> Result<(), String> {
        for _ in 0..WAKES_MAX {
            let before = self.execution(id).await?.sequence;
            let lives = self.wake(&Wake::new(id.clone(), Cause::Received)).await?;
            if !lives || self.execution(id).await?.sequence == before {
                return Ok(());
            }
        }
        Err(format!("no rest after {WAKES_MAX} wake-ups"))
    }

    /// Fires what is due now.
    pub(crate) async fn fire(&self) -> Result<(), String> {
        let claimed = Mutex::new(Vec::new());
        let until = self.now() + INVOCATION;
        let hand_over = |handed| {
            let wakes = match handed {
                HandOver::Now(Invocation::Due(fired)) => {
                    fired.into_iter().map(|fired| Wake::fired(fired, Cause::Due)).collect()
                }
                HandOver::Now(Invocation::Alone(fired)) => vec![Wake::fired(fired, Cause::Alone)],
                _ => Vec::new(),
            };
            claimed.lock().unwrap_or_else(PoisonError::into_inner).extend(wakes);
            std::future::ready(true)
        };
        self.sweep.look(Duration::ZERO, until, hand_over).await;
        for wake in claimed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            let id = wake.execution.clone();
            let before = self.execution(&id).await?.sequence;
            let lives = self.wake(&wake).await?;
            if lives && self.execution(&id).await?.sequence != before {
                self.follow(&id).await?;
            }
        }
        Ok(())
    }

    /// One wake-up; false if the process died in it, which drops it wherever it is.
    async fn wake(&self, wake: &Wake) -> Result<bool, String> {
        let deadline = self.now() + INVOCATION;
        tokio::select! {
            biased;
            () = self.act.died.notified() => Ok(false),
            advanced = advance::advance(&self.driver, wake, deadline) => {
                advanced.map_err(words)?;
                Ok(true)
            }
        }
    }
}

pub(crate) fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

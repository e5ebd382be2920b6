//! All handlers of a deployment, sharing one store.

use std::future::ready;
use std::sync::Arc;

use everhook_ingest::Ingest;
use everhook_ingest::receive::{StartError, Teller};
use everhook_journal::callback::{Callbacks, CallbacksError};
use everhook_journal::config::{Config, Problem};
use everhook_journal::schema::Tables;
use everhook_journal::store::Store;
use everhook_journal::{Clock, Payloads, Secrets, Storage};
use everhook_processor::{Audit, Cause, Driver, Steps, Supervisor, Sweep, Wake};
use everhook_projector::{Projector, StatusApi};

use super::timers::Schedule;

/// All handlers of a deployment. A clone is the same handlers.
#[derive(Debug, Clone)]
pub struct Parts {
    /// DynamoDB.
    pub store: Store,
    /// Accepts webhooks.
    pub ingest: Arc<Ingest>,
    /// Advances executions.
    pub supervisor: Arc<Supervisor>,
    /// Keeps the views.
    pub projector: Arc<Projector>,
    /// Answers queries.
    pub status: Arc<StatusApi>,
    /// Fires timers.
    pub sweep: Sweep,
    /// Finds what has no timer and should.
    pub audit: Audit,
    /// The timers that are soon due.
    pub schedule: Schedule,
}

/// Why the handlers cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum PartsError {
    /// Ingest cannot start.
    #[error(transparent)]
    Ingest(#[from] StartError),
    /// A workflow cannot be run.
    #[error("everhook.toml: {0}")]
    Workflow(Problem),
    /// Nobody could be asked to call back.
    #[error(transparent)]
    Callbacks(#[from] CallbacksError),
    /// The supervisor did not start.
    #[error("the processor's supervisor did not start")]
    Supervisor(#[from] ractor::SpawnErr),
}

impl Parts {
    /// The handlers of this configuration over this store, where callers reach them at `public_url`.
    pub async fn new(
        config: &Config,
        secrets: &Secrets,
        steps: Steps,
        store: Store,
        payloads: Payloads,
        clock: Clock,
        public_url: &str,
    ) -> Result<Self, PartsError> {
        let tables = Tables::default();
        let schedule = Schedule::default();
        let (told, now) = (schedule.clone(), clock.clone());
        let timers = tables.timers_in(&store).telling(move |timer, _| {
            told.add(timer.clone(), now.now());
            Box::pin(ready(()))
        });
        let storage = Storage {
            journal: tables.journal_in(&store, clock.clone()),
            executions: tables.executions_in(&store),
            timers,
            payloads,
        };
        Ingest::fetch(config, secrets).await;
        secrets.fetch([Callbacks::reference(config)]).await;
        let mut ingest = Ingest::from_config(config, secrets, storage.clone(), clock.clone())?;
        let steps = steps.reading(secrets.clone());
        let driver = Driver::from_config(config, steps, storage.clone(), clock.clone())
            .map_err(PartsError::Workflow)?
            .with_callbacks(Callbacks::from_config(config, secrets, public_url)?);
        let supervisor = Arc::new(Supervisor::start(Arc::new(driver)).await?);
        let told = Arc::downgrade(&supervisor);
        ingest.teller = Some(Teller {
            early: false,
            tell: Box::new(move |id, source| {
                if let Some(supervisor) = told.upgrade() {
                    let wake = Wake::new(id.clone(), Cause::Received);
                    supervisor.hand_over(wake, &source.as_str().into());
                }
                Box::pin(ready(()))
            }),
        });
        let sources = config.sources.keys().cloned().collect();
        let Storage { journal, executions, timers, payloads } = storage;
        Ok(Self {
            store,
            ingest: Arc::new(ingest),
            supervisor,
            projector: Arc::new(Projector {
                journal: journal.clone(),
                executions: executions.clone(),
            }),
            status: Arc::new(StatusApi {
                journal: journal.clone(),
                executions: executions.clone(),
                timers: timers.clone(),
                payloads,
                sources,
            }),
            sweep: Sweep::new(timers.clone(), executions.clone(), journal.clone(), clock.clone()),
            audit: Audit::new(journal, executions, timers, clock),
            schedule,
        })
    }
}

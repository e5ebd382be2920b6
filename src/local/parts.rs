//! All handlers of a deployment, sharing one store.

use std::sync::Arc;

use everhook_ingest::Ingest;
use everhook_ingest::receive::StartError;
use everhook_journal::callback::{Callbacks, CallbacksError};
use everhook_journal::config::{Config, Problem};
use everhook_journal::schema::Tables;
use everhook_journal::store::Store;
use everhook_journal::{Clock, Executions, Journal, Payloads, Secrets};
use everhook_processor::{Driver, Steps, Supervisor, Sweep};
use everhook_projector::{Projector, StatusApi};

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
    /// Finds what is due.
    pub sweep: Sweep,
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
        let journal = Journal::new(store.clone(), tables.journal, clock.clone());
        let executions = Executions::new(store.clone(), tables.executions);
        Ingest::fetch(config, secrets).await;
        secrets.fetch([Callbacks::reference(config)]).await;
        let ingest = Ingest::from_config(
            config,
            secrets,
            journal.clone(),
            executions.clone(),
            payloads.clone(),
            clock.clone(),
        )?;
        let driver = Driver::from_config(
            config,
            steps.reading(secrets.clone()),
            journal.clone(),
            executions.clone(),
            payloads.clone(),
            clock.clone(),
        )
        .map_err(PartsError::Workflow)?
        .with_callbacks(Callbacks::from_config(config, secrets, public_url)?);
        let supervisor = Supervisor::start(Arc::new(driver)).await?;
        let sources = config.sources.keys().cloned().collect();
        Ok(Self {
            store,
            ingest: Arc::new(ingest),
            supervisor: Arc::new(supervisor),
            projector: Arc::new(Projector {
                journal: journal.clone(),
                executions: executions.clone(),
                clock: clock.clone(),
            }),
            status: Arc::new(StatusApi {
                journal,
                executions: executions.clone(),
                payloads,
                sources,
            }),
            sweep: Sweep::new(executions, clock),
        })
    }
}

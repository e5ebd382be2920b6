//! Runs everything on one machine until it is told to stop.

use std::future::ready;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use everhook_journal::config::{Config, ConfigError};
use everhook_journal::execution::WATCHDOG;
use everhook_journal::schema::Tables;
use everhook_journal::store::{Store, Unavailable};
use everhook_journal::stream::{Batch, Record};
use everhook_journal::{Clock, ExecutionId, Payloads, Secrets, Sequence};
use everhook_processor::steps::aws::Endpoints;
use everhook_processor::sweep::SWEEP_EVERY;
use everhook_processor::{Invocation, Steps};
use futures_util::FutureExt;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::aws::{self, NoRegion};

use super::door::Limits;
use super::engine::EngineError;
use super::event_source::{BatchOutcome, EventSource, File, Filter, Function, Settings};
use super::parts::PartsError;
use super::{Doorbell, Engine, Parts, Pressure, alone, door, files};

/// How often the embedded engine is rid of what has expired.
const UPKEEP_EVERY: Duration = Duration::from_secs(3600);

/// How long stream records are kept, as in AWS.
const STREAM_AGE: Duration = Duration::from_secs(24 * 3600);

/// Which records wake anybody, as the deployed mappings have it: a removal is the expiry of an item.
pub(super) const APPENDS: &str = r#"{"eventName":["INSERT","MODIFY"]}"#;

/// How long the projector gathers records: usually the processor has shown the end by then.
const PROJECTOR_WINDOW: Duration = Duration::from_millis(250);

/// What to serve, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Whether journal and payloads are in memory only.
    pub in_memory: bool,
    /// Sources and workflows.
    pub config: PathBuf,
    /// Another DynamoDB than the embedded one.
    pub dynamodb_endpoint: Option<String>,
    /// Where the services are that steps call, if not where AWS has them.
    pub endpoints: Endpoints,
    /// How much callers may ask of the HTTP door at once.
    pub limits: Limits,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its handlers.
    pub parts: Parts,
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
    engine: Option<Engine>,
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The embedded engine does not open.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// DynamoDB does not answer.
    #[error(transparent)]
    Store(#[from] Unavailable),
    /// AWS cannot be reached by the steps.
    #[error(transparent)]
    Aws(#[from] NoRegion),
    /// The handlers cannot be made.
    #[error(transparent)]
    Parts(#[from] PartsError),
    /// The data folder cannot be used.
    #[error("the folder {folder} cannot be used: {reason}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another address with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

impl Server {
    /// Starts everything; returns once webhooks are accepted.
    pub async fn start(options: &Options, steps: Steps) -> Result<Self, ServerError> {
        files::allow_many();
        let config = Config::load(&options.config)?;
        let generated = options.data_dir.join("secrets");
        let secrets = Secrets::new(config.folder.clone(), Some(generated));
        let secrets = aws::secrets(&config, secrets).await;
        let steps = aws::steps(&config, steps, &options.endpoints).await?;
        let (engine, client, streams) = connect(options).await?;
        Tables::default().create(&client).await?;
        let payloads = Payloads::new(objects(options)?);
        let store = Store::new(client.clone());
        let listen = |source| ServerError::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let clock = Clock::System;
        let parts =
            Parts::new(&config, &secrets, steps, store, payloads, clock, &url(address)).await?;
        parts.ingest.publish().await?;

        let suspects = &parts.supervisor.driver().suspects;
        let driven = match options.in_memory {
            true => Vec::new(),
            false => suspects.keep_in(&options.data_dir),
        };
        let (stop, stopped) = watch::channel(false);
        let doorbell = Doorbell::new();
        let pressure = Pressure::new(config.settings.backlog_max);
        let mut tasks = JoinSet::new();
        for source in event_sources(options, &parts, &client, streams, &doorbell, &pressure).await?
        {
            tasks.spawn(source.run(stopped.clone()));
        }
        let is_alone = engine.is_some();
        tasks.spawn(sweep(parts.clone(), doorbell.clone(), is_alone, driven, stopped.clone()));
        if let Some(engine) = &engine {
            tasks.spawn(upkeep(engine.clone(), stopped.clone()));
        }
        tasks.spawn(door::serve(
            listener,
            parts.clone(),
            doorbell,
            pressure,
            options.limits,
            stopped,
        ));
        Ok(Self { address, parts, tasks, stop, engine })
    }

    /// Stops accepting, lets what runs end, and closes the engine.
    pub async fn stop(mut self) {
        self.stop.send(true).ok();
        while self.tasks.join_next().await.is_some() {}
        drop(self.parts);
        if let Some(engine) = self.engine {
            engine.close().await;
        }
    }
}

/// Where callers on this machine reach an address.
fn url(address: SocketAddr) -> String {
    let mut reached = address;
    if address.ip().is_unspecified() {
        reached.set_ip(IpAddr::from([127, 0, 0, 1]));
    }
    format!("http://{reached}")
}

type Streams = aws_sdk_dynamodbstreams::Client;

async fn connect(options: &Options) -> Result<(Option<Engine>, Client, Streams), ServerError> {
    if let Some(endpoint) = &options.dynamodb_endpoint {
        let aws = aws::at(endpoint).await;
        return Ok((None, Client::new(&aws), Streams::new(&aws)));
    }
    let engine = match options.in_memory {
        true => Engine::in_memory()?,
        false => Engine::on_disk(&options.data_dir)?,
    };
    let (client, streams) = (engine.dynamodb(), engine.streams());
    Ok((Some(engine), client, streams))
}

fn objects(options: &Options) -> Result<Arc<dyn ObjectStore>, ServerError> {
    if options.in_memory {
        return Ok(Arc::new(InMemory::new()));
    }
    let folder = options.data_dir.join("objects");
    let unusable = |reason: String| ServerError::Folder { folder: folder.clone(), reason };
    std::fs::create_dir_all(&folder).map_err(|error| unusable(error.to_string()))?;
    let objects = LocalFileSystem::new_with_prefix(&folder);
    Ok(Arc::new(objects.map_err(|error| unusable(error.to_string()))?.with_fsync(true)))
}

async fn event_sources(
    options: &Options,
    parts: &Parts,
    client: &Client,
    streams: Streams,
    doorbell: &Doorbell,
    pressure: &Pressure,
) -> Result<[EventSource; 2], ServerError> {
    let table = Tables::default().journal;
    let described = client.describe_table().table_name(&table).send().await;
    let described = described.map_err(|error| {
        Unavailable(aws_sdk_dynamodb::error::DisplayErrorContext(&error).to_string())
    })?;
    let arn = described.table.and_then(|table| table.latest_stream_arn);
    let stream_arn = arn.ok_or_else(|| Unavailable(format!("the table {table} has no stream")))?;
    let kept = |name: &str| (!options.in_memory).then(|| File::at(options.data_dir.join(name)));
    if !options.in_memory {
        make_folder(&options.data_dir)?;
    }
    let source = |name: &str, settings: Settings, function: Function| EventSource {
        streams: Arc::new(streams.clone()),
        stream_arn: stream_arn.clone(),
        settings,
        function,
        doorbell: doorbell.clone(),
        checkpoint: kept(&format!("{name}-position.json")),
        failed_batches: kept(&format!("{name}-failed-batches.jsonl")),
    };
    let appends = Filter::parse(APPENDS).expect("the pattern is one of names");
    let settings = Settings { filters: vec![appends], ..Settings::default() };
    let gathering = Settings { batching_window: PROJECTOR_WINDOW, ..settings.clone() };
    Ok([
        source("processor", settings, processor(parts, doorbell, pressure)),
        source("projector", gathering, projector(parts)),
    ])
}

fn make_folder(folder: &Path) -> Result<(), ServerError> {
    std::fs::create_dir_all(folder).map_err(|error| ServerError::Folder {
        folder: folder.to_owned(),
        reason: error.to_string(),
    })
}

fn processor(parts: &Parts, doorbell: &Doorbell, pressure: &Pressure) -> Function {
    let shared = (parts.supervisor.clone(), doorbell.clone(), pressure.clone());
    Arc::new(move |event| {
        let (supervisor, doorbell, pressure) = shared.clone();
        async move {
            let batch = Batch::from_event(event);
            let is_first = |record: &&Record| record.sequence.before() == Sequence::START;
            pressure.taken(batch.records.iter().filter(is_first).count());
            let invocation = Invocation::Stream(batch);
            let deadline = Clock::System.now() + WATCHDOG;
            let response = everhook_processor::handle(&supervisor, invocation, deadline).await;
            // What was appended here is news too.
            doorbell.ring();
            Ok(BatchOutcome::from(response))
        }
        .boxed()
    })
}

fn projector(parts: &Parts) -> Function {
    let projector = parts.projector.clone();
    Arc::new(move |event| {
        let projector = projector.clone();
        async move {
            let batch = Batch::from_event(event);
            Ok(BatchOutcome::from(everhook_projector::handle(&projector, batch).await))
        }
        .boxed()
    })
}

/// How often what is due is looked for: twice as often as in AWS, because looking costs nothing here.
const LOOK_EVERY: Duration = Duration::from_millis(SWEEP_EVERY.as_millis() as u64 / 2);

/// Looks for what is due, and drives it. What an earlier process was driving when it died is counted first.
async fn sweep(
    parts: Parts,
    doorbell: Doorbell,
    is_alone: bool,
    mut driven: Vec<ExecutionId>,
    mut stopped: watch::Receiver<bool>,
) {
    let (alone, waiting) = mpsc::unbounded_channel();
    let turns = tokio::spawn(alone::take_turns(parts.clone(), waiting, stopped.clone()));
    let mut is_released = !is_alone && driven.is_empty();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    let running = Mutex::new(JoinSet::new());
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.wait_for(|stop| *stop) => break,
        }
        while lock(&running).try_join_next().is_some() {}
        if !is_released {
            is_released = release(&parts, is_alone, &mut driven).await;
        }
        let drive = |invocation| {
            if let Invocation::Alone { .. } = invocation {
                return ready(alone.send(invocation).is_ok());
            }
            let (supervisor, doorbell) = (parts.supervisor.clone(), doorbell.clone());
            lock(&running).spawn(async move {
                let deadline = Clock::System.now() + WATCHDOG;
                everhook_processor::handle(&supervisor, invocation, deadline).await;
                doorbell.ring();
            });
            ready(true)
        };
        let until = Clock::System.now() + WATCHDOG;
        parts.sweep.look(until, drive).await;
    }
    let mut running = running.into_inner().unwrap_or_else(PoisonError::into_inner);
    while running.join_next().await.is_some() {}
    turns.await.ok();
}

fn lock(running: &Mutex<JoinSet<()>>) -> MutexGuard<'_, JoinSet<()>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes due what an earlier process was at when it ended, and says whether that could be done.
async fn release(parts: &Parts, is_alone: bool, driven: &mut Vec<ExecutionId>) -> bool {
    let suspects = &parts.supervisor.driver().suspects;
    match parts.sweep.count_deaths(driven).await {
        Ok(ended) => {
            ended.iter().for_each(|id| suspects.clear(id));
            suspects.counted();
            driven.clear();
        }
        Err(error) => {
            tracing::warn!("could not record which executions a process died of: {error}");
            return false;
        }
    }
    // The data folder is this process's alone: whatever claimed something before has died.
    if !is_alone {
        return true;
    }
    match parts.sweep.release().await {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "{count} interrupted executions continue"),
        Err(error) => tracing::warn!("could not look for what was interrupted: {error}"),
    }
    true
}

async fn upkeep(engine: Engine, mut stopped: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(UPKEEP_EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        let remove = async {
            let trimmed = engine.trim_streams(STREAM_AGE).await;
            let swept = engine.sweep_ttl().await;
            match (trimmed, swept) {
                (Ok(0), Ok(0)) => {}
                (Ok(records), Ok(items)) => {
                    tracing::info!(
                        records,
                        items,
                        "removed {items} expired items, {records} old stream records"
                    );
                }
                (Err(error), _) | (_, Err(error)) => {
                    tracing::warn!("could not remove what has expired: {error}");
                }
            }
        };
        // It may take minutes, and what is left is found the next time.
        tokio::select! {
            () = remove => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
    }
}

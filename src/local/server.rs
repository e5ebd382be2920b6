//! Runs everything on one machine until it is told to stop.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_sdk_dynamodb::Client;
use everhook_journal::config::{Config, ConfigError};
use everhook_journal::schema::Tables;
use everhook_journal::store::{Store, Unavailable};
use everhook_journal::stream::Batch;
use everhook_journal::{Clock, Payloads, Secrets, Timestamp};
use everhook_processor::advance::unknown_lane;
use everhook_processor::steps::aws::Endpoints;
use everhook_processor::{Steps, wakeup};
use futures_util::FutureExt;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::aws::{self, NoRegion};

use super::door::{Connections, Limits};
use super::engine::EngineError;
use super::event_source::{BatchOutcome, EventSource, File, Filter, Function, Settings};
use super::keys::KeyError;
use super::objects::CollectError;
use super::parts::PartsError;
use super::{Doorbell, Engine, Parts, Pressure, door, files, keys, objects, timers};

/// How often the embedded engine is rid of what has expired.
const UPKEEP_EVERY: Duration = Duration::from_secs(3600);

/// How often objects that no history names are removed.
const COLLECT_EVERY: Duration = Duration::from_secs(3600);

/// Where large bodies and results are, in the data folder.
const OBJECTS: &str = "objects";

/// How long stream records are kept, as in AWS.
const STREAM_AGE: Duration = Duration::from_secs(24 * 3600);

/// Which records the projector is given, as the deployed mapping has it: a removal is the expiry of an item.
pub(super) const APPENDS: &str = r#"{"eventName":["INSERT","MODIFY"]}"#;

/// Which records the processor is given: first appends only.
pub(super) const RECEIVED: &str =
    r#"{"eventName":["INSERT","MODIFY"],"dynamodb":{"Keys":{"sequence":{"N":["1"]}}}}"#;

/// How many executions wait to be driven before batches of the stream wait too.
const HANDED_OVER_MAX: usize = 50_000;

/// How long a batch waits before it looks again.
const FULL_PAUSE: Duration = Duration::from_millis(10);

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
    /// Whether it goes on with other keys than the tables were made with.
    pub new_keys: bool,
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
    /// Its callers' connections.
    pub connections: Connections,
    /// What it has taken on.
    pub pressure: Pressure,
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
    /// A key is lost or another one.
    #[error(transparent)]
    Key(#[from] KeyError),
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
        source: io::Error,
    },
}

impl Server {
    /// Starts everything; returns once webhooks are accepted.
    pub async fn start(options: &Options, steps: Steps) -> Result<Self, ServerError> {
        Box::pin(Self::start_told(options, steps, true)).await
    }

    /// The same, but nothing wakes an execution whose webhook was just recorded: every record of the stream is lost.
    #[doc(hidden)]
    pub async fn start_without_stream(
        options: &Options,
        steps: Steps,
    ) -> Result<Self, ServerError> {
        Box::pin(Self::start_told(options, steps, false)).await
    }

    async fn start_told(
        options: &Options,
        steps: Steps,
        is_told: bool,
    ) -> Result<Self, ServerError> {
        files::allow_many();
        let config = Config::load(&options.config)?;
        let generated = options.data_dir.join("secrets");
        let secrets = Secrets::new(config.folder.clone(), Some(generated.clone()));
        let secrets = aws::secrets(&config, secrets).await;
        let steps = aws::steps(&config, steps, &options.endpoints).await?;
        let (engine, client, streams) = connect(options).await?;
        Tables::default().create(&client).await?;
        let payloads = Payloads::new(objects(options)?);
        let kept = payloads.clone();
        let store = Store::new(client.clone());
        let listen = |source| ServerError::Listen { address: options.listen, source };
        let listener = bind(options.listen).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let clock = Clock::System;
        // Tables in memory begin anew each time, and so may their keys.
        if !options.in_memory && !options.new_keys {
            keys::refuse_missing(&config, &generated, &client).await?;
        }
        let executions = Tables::default().executions_in(&store);
        let parts =
            Parts::new(&config, &secrets, steps, store, payloads, clock, &url(address)).await?;
        if !options.in_memory {
            keys::refuse_others(&config, &secrets, &executions, options.new_keys).await?;
        }
        parts.ingest.publish().await?;
        let is_alone = engine.is_some();
        let mut parts = parts;
        if !is_told && let Some(ingest) = Arc::get_mut(&mut parts.ingest) {
            ingest.teller = None;
        }
        if is_alone {
            // The data folder is this process's alone.
            let process = parts.supervisor.driver().is_alone();
            parts.sweep = parts.sweep.in_process(process);
        }

        let suspects = &parts.supervisor.driver().suspects;
        let suspects = match options.in_memory {
            true => Vec::new(),
            false => suspects.keep_in(&options.data_dir),
        };
        let (stop, stopped) = watch::channel(false);
        let doorbell = Doorbell::new();
        let pressure = Pressure::new(config.settings.backlog_max);
        let mut tasks = JoinSet::new();
        for source in event_sources(options, &parts, &client, streams, &doorbell).await? {
            if is_told {
                tasks.spawn(source.run(stopped.clone()));
            }
        }
        let began = Clock::System.now();
        tasks.spawn(timers::run(parts.clone(), is_alone, began, suspects, stopped.clone()));
        if let Some(engine) = &engine {
            tasks.spawn(upkeep(engine.clone(), stopped.clone()));
            let objects = (!options.in_memory).then(|| options.data_dir.join(OBJECTS));
            tasks.spawn(collect(engine.clone(), objects, kept, stopped.clone()));
        }
        let connections = Connections::new(&options.limits);
        tasks.spawn(door::serve(
            listener,
            parts.clone(),
            doorbell,
            pressure.clone(),
            options.limits,
            connections.clone(),
            stopped,
        ));
        Ok(Self { address, parts, connections, pressure, tasks, stop, engine })
    }

    /// Returns once the disk has failed the server, with the reason and what to do.
    /// The process is then to end at once, without stopping it.
    pub fn failed(&self) -> impl Future<Output = String> + use<> {
        let engine = self.engine.clone();
        async move {
            match engine {
                Some(engine) => engine.failed().await,
                None => std::future::pending().await,
            }
        }
    }

    /// Removes the objects that were stored before this time and that no history names; says how many.
    /// It does so by itself once an hour, with those that are an hour old.
    pub async fn collect(&self, before: Timestamp) -> Result<usize, CollectError> {
        match &self.engine {
            Some(engine) => objects::collect(engine, &self.parts.ingest.payloads, before).await,
            None => Ok(0),
        }
    }

    /// Stops accepting, lets what runs end, and closes the engine.
    pub async fn stop(mut self) {
        self.stop.send(true).ok();
        while self.tasks.join_next().await.is_some() {}
        self.parts.supervisor.close().await;
        drop(self.parts);
        if let Some(engine) = self.engine {
            engine.close().await;
        }
    }
}

/// Listens. The unspecified address of IPv6 takes callers of IPv4 as well, whatever the system's usual is.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    /// How many callers may wait to be accepted.
    const BACKLOG: u32 = 1024;
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A server that ended just now must not keep its successor out.
    socket.set_reuseaddr(true)?;
    #[cfg(unix)]
    if address.is_ipv6() && address.ip().is_unspecified() {
        rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
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
    let folder = options.data_dir.join(OBJECTS);
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
    let filters = |pattern| vec![Filter::parse(pattern).expect("our own pattern")];
    let settings = Settings { filters: filters(RECEIVED), ..Settings::default() };
    let gathering = Settings {
        filters: filters(APPENDS),
        batching_window: PROJECTOR_WINDOW,
        ..Settings::default()
    };
    Ok([
        source("processor", settings, processor(parts)),
        source("projector", gathering, projector(parts)),
    ])
}

fn make_folder(folder: &Path) -> Result<(), ServerError> {
    std::fs::create_dir_all(folder).map_err(|error| ServerError::Folder {
        folder: folder.to_owned(),
        reason: error.to_string(),
    })
}

/// Hands executions over and ends: a batch of the stream waits for none of them. Usually their actors were told already.
fn processor(parts: &Parts) -> Function {
    let parts = parts.clone();
    Arc::new(move |event| {
        let parts = parts.clone();
        async move {
            let batch = Batch::from_event(event);
            everhook_processor::tell(&batch);
            let turns = &parts.supervisor.driver().turns;
            for wake in wakeup::from_batch(&batch) {
                while turns.waiting_in_all() >= HANDED_OVER_MAX {
                    tokio::time::sleep(FULL_PAUSE).await;
                }
                parts.supervisor.hand_over(wake, &unknown_lane());
            }
            Ok(BatchOutcome::Complete)
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

/// Removes what no history names.
async fn collect(
    engine: Engine,
    folder: Option<PathBuf>,
    payloads: Payloads,
    mut stopped: watch::Receiver<bool>,
) {
    let mut ticks = tokio::time::interval(COLLECT_EVERY);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.wait_for(|stop| *stop) => return,
        }
        let collecting = async {
            let now = Clock::System.now();
            if let Some(folder) = folder.clone() {
                let removing = move || objects::remove_drafts(&folder, SystemTime::now());
                tokio::task::spawn_blocking(removing).await.ok();
            }
            objects::collect(&engine, &payloads, objects::before(now)).await
        };
        let collected = tokio::select! {
            collected = collecting => collected,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        match collected {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "{count} objects that no history names are removed"),
            Err(error) => tracing::warn!("could not remove objects that no history names: {error}"),
        }
    }
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

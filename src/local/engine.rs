//! The embedded DynamoDB-compatible engine, reached by the ordinary AWS SDK clients without a socket.
//!
//! A request goes caller → `connector` → queue → engine thread (`worker`) → sync thread (`durability`) → caller.

mod connector;
mod durability;
mod fault;
mod operation;
mod upkeep;
mod worker;

#[cfg(test)]
mod tests;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use dynoxide::storage::Storage;
use dynoxide::{AttributeValue, DynoxideError};
use tokio::sync::mpsc;

use super::files;

use self::durability::Durability;
use self::fault::Fault;
use self::worker::{Job, Worker};

const DATABASE: &str = "tables.db";
const LOCK: &str = "lock";

/// How many requests may wait for the engine before callers are held back.
const QUEUE_LENGTH: usize = 1024;

/// How long the tables may be checked before the engine starts.
const CHECK_MAX: Duration = Duration::from_secs(3);

/// Why the engine could not be opened or looked after.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Another process has the data folder open.
    #[error("another everhook already uses {}", folder.display())]
    InUse {
        /// The data folder.
        folder: PathBuf,
    },
    /// The data folder cannot be used.
    #[error("cannot use the data folder {}", folder.display())]
    Folder {
        /// The data folder.
        folder: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The tables in the data folder are damaged.
    #[error(
        "the tables in {} are damaged ({reason}); restore the folder from a backup, or save what can be read: \
         sqlite3 {}/{DATABASE} .recover", folder.display(), folder.display()
    )]
    Damaged {
        /// The data folder.
        folder: PathBuf,
        /// What is wrong with them.
        reason: String,
    },
    /// The tables are gone, and what belongs to them is there.
    #[error(
        "{} holds data, but its {DATABASE} is missing or empty; restore it from a backup, \
         or remove the whole folder to begin anew", folder.display()
    )]
    Missing {
        /// The data folder.
        folder: PathBuf,
    },
    /// The tables in the data folder cannot be opened or changed.
    #[error("the embedded engine failed")]
    Tables(#[from] DynoxideError),
    /// The system has no thread to spare.
    #[error("cannot start the embedded engine's thread")]
    Thread(#[source] io::Error),
    /// The engine was closed, or stopped because it could not write.
    #[error("the embedded engine is closed")]
    Closed,
}

/// A place in a table to go on from.
pub(super) type Place = dynoxide::Item;

/// The embedded engine: a clone is the same engine, and the last one to go closes it.
#[derive(Clone, Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    dynamodb: aws_sdk_dynamodb::Client,
    streams: aws_sdk_dynamodbstreams::Client,
    fault: Fault,
}

impl Engine {
    /// Opens the engine in `folder`, which is made if it is missing and belongs to this engine until it closes.
    pub fn on_disk(folder: &Path) -> Result<Self, EngineError> {
        let unusable = |source| EngineError::Folder { folder: folder.to_owned(), source };
        files::keep_private(folder).map_err(unusable)?;
        let lock = lock(folder)?;
        let missing = || EngineError::Missing { folder: folder.to_owned() };
        let is_used = is_used(folder);
        if is_empty(folder) && (is_used || has_log(folder)) {
            return Err(missing());
        }

        let path = folder.join(DATABASE);
        let name = path.to_str().ok_or_else(|| unusable(io::ErrorKind::InvalidFilename.into()))?;
        let damaged = |error: DynoxideError| match fault::is_damage(&error) {
            true => EngineError::Damaged { folder: folder.to_owned(), reason: error.to_string() },
            false => EngineError::Tables(error),
        };
        let storage = Storage::new(name).map_err(damaged)?;
        if let Some(reason) = check(&storage).map_err(damaged)? {
            return Err(EngineError::Damaged { folder: folder.to_owned(), reason });
        }
        if is_used && storage.list_table_names().map_err(damaged)?.is_empty() {
            return Err(missing());
        }
        upkeep::prepare(&storage).map_err(damaged)?;
        let fault = Fault::none();
        let durability = Durability::of_file(&path, fault.clone()).map_err(unusable)?;
        Self::start(storage, durability, fault, Some(lock))
    }

    /// Opens an empty engine that lives and dies with this process.
    pub fn in_memory() -> Result<Self, EngineError> {
        let storage = Storage::memory()?;
        upkeep::prepare(&storage)?;
        Self::start(storage, Durability::none(), Fault::none(), None)
    }

    fn start(
        storage: Storage,
        durability: Durability,
        fault: Fault,
        lock: Option<File>,
    ) -> Result<Self, EngineError> {
        let (queue, jobs) = mpsc::channel(QUEUE_LENGTH);
        let thread = Worker::start(storage, durability, fault.clone(), jobs, lock);
        let thread = thread.map_err(EngineError::Thread)?;
        let connector = connector::Connector::new(queue.downgrade());
        Ok(Self {
            dynamodb: connector::dynamodb(connector.clone()),
            streams: connector::streams(connector),
            fault,
            shared: Arc::new(Shared { running: Mutex::new(Some(Running { queue, thread })) }),
        })
    }

    /// A client of the engine's tables.
    pub fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        self.dynamodb.clone()
    }

    /// A client of the engine's streams.
    pub fn streams(&self) -> aws_sdk_dynamodbstreams::Client {
        self.streams.clone()
    }

    /// Returns once the disk has failed the engine, with the reason and what to do. It answers nothing from then on,
    /// and the process is to end without closing it: closing would write to that disk.
    pub async fn failed(&self) -> String {
        self.fault.reported().await
    }

    /// Forgets stream records older than `older_than` and says how many; DynamoDB keeps them for 24 hours.
    pub async fn trim_streams(&self, older_than: Duration) -> Result<usize, EngineError> {
        upkeep::trim_streams(&self.queue()?, older_than).await
    }

    /// Deletes the items whose time to live is over and says how many.
    pub async fn sweep_ttl(&self) -> Result<usize, EngineError> {
        upkeep::sweep_ttl(&self.queue()?).await
    }

    /// The values of some of a table's items, and where to go on if there are more.
    pub(super) async fn page(
        &self,
        table: &str,
        from: Option<Place>,
    ) -> Result<(Vec<AttributeValue>, Option<Place>), EngineError> {
        upkeep::page(&self.queue()?, table, from).await
    }

    /// Finishes what was asked so far and closes the engine for every clone and client.
    pub async fn close(self) {
        if let Some(running) = self.shared.take() {
            // Joining waits for the disk, which must not hold up the runtime.
            let joined = tokio::task::spawn_blocking(move || running.stop()).await;
            drop(joined);
        }
    }

    fn queue(&self) -> Result<mpsc::Sender<Job>, EngineError> {
        let running = self.shared.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.as_ref().map(|running| running.queue.clone()).ok_or(EngineError::Closed)
    }
}

#[derive(Debug)]
struct Shared {
    running: Mutex<Option<Running>>,
}

impl Shared {
    fn take(&self) -> Option<Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(running) = self.take() {
            running.stop();
        }
    }
}

#[derive(Debug)]
struct Running {
    // Clients hold weak ends of the queue: with this one gone, it runs empty and the thread ends.
    queue: mpsc::Sender<Job>,
    thread: JoinHandle<()>,
}

impl Running {
    fn stop(self) {
        drop(self.queue);
        if self.thread.join().is_err() {
            tracing::error!("the embedded engine's thread panicked");
        }
    }
}

/// Whether a folder has what only comes with tables.
fn is_used(folder: &Path) -> bool {
    const BESIDE: [&str; 2] = ["processor-position.json", "projector-position.json"];
    let objects = fs::read_dir(folder.join("objects/payloads"));
    objects.is_ok_and(|mut objects| objects.next().is_some())
        || BESIDE.iter().any(|name| folder.join(name).exists())
}

/// Whether a folder has no tables: its entry of them was lost, or what was in the file.
fn is_empty(folder: &Path) -> bool {
    folder.join(DATABASE).metadata().map_or(true, |file| file.len() == 0)
}

/// Whether a folder has a log of tables. SQLite throws it away where there are no tables.
fn has_log(folder: &Path) -> bool {
    folder.join(format!("{DATABASE}-wal")).metadata().is_ok_and(|log| log.len() > 0)
}

/// Looks whether the pages of the database fit together; says what is wrong, if anything is.
/// Of a large database only as much as there is time for: the rest is noticed when it is read.
fn check(storage: &Storage) -> Result<Option<String>, DynoxideError> {
    let interrupt = storage.conn().get_interrupt_handle();
    let (done, waiting) = std::sync::mpsc::channel::<()>();
    let watch = thread::Builder::new().name("engine-check".to_owned()).spawn(move || {
        let timed_out = waiting.recv_timeout(CHECK_MAX) == Err(RecvTimeoutError::Timeout);
        if timed_out {
            interrupt.interrupt();
        }
        timed_out
    });
    // Without a thread to stop it, it could take any time.
    let Ok(watch) = watch else { return Ok(None) };
    let checked = storage.conn().query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
    let checked = checked.map(|said: String| said.lines().collect::<Vec<_>>().join(" "));
    drop(done);
    // Joined before anything else runs that it could interrupt.
    let timed_out = watch.join().unwrap_or(false);
    match checked {
        Ok(said) if said == "ok" => Ok(None),
        Ok(said) => Ok(Some(said)),
        Err(_) if timed_out => {
            tracing::info!("the tables are large: they were checked for {CHECK_MAX:?} only");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn lock(folder: &Path) -> Result<File, EngineError> {
    let unusable = |source| EngineError::Folder { folder: folder.to_owned(), source };
    // A file of its own: closing any handle of a SQLite file would drop SQLite's own locks on it.
    let file = File::create(folder.join(LOCK)).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(EngineError::InUse { folder: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}

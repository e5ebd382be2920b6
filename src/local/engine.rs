//! The embedded DynamoDB-compatible engine, reached by the ordinary AWS SDK clients without a socket.
//!
//! A request goes caller → `connector` → queue → engine thread (`worker`) → sync thread (`durability`) → caller.

mod connector;
mod durability;
mod operation;
mod upkeep;
mod worker;

#[cfg(test)]
mod tests;

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use dynoxide::DynoxideError;
use dynoxide::storage::Storage;
use tokio::sync::mpsc;

use self::durability::Durability;
use self::worker::{Job, Worker};

const DATABASE: &str = "tables.db";
const LOCK: &str = "lock";

/// How many requests may wait for the engine before callers are held back.
const QUEUE_LENGTH: usize = 1024;

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

/// The embedded engine: a clone is the same engine, and the last one to go closes it.
#[derive(Clone, Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    dynamodb: aws_sdk_dynamodb::Client,
    streams: aws_sdk_dynamodbstreams::Client,
}

impl Engine {
    /// Opens the engine in `folder`, which is made if it is missing and belongs to this engine until it closes.
    pub fn on_disk(folder: &Path) -> Result<Self, EngineError> {
        let unusable = |source| EngineError::Folder { folder: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(unusable)?;
        let lock = lock(folder)?;

        let path = folder.join(DATABASE);
        let name = path.to_str().ok_or_else(|| unusable(io::ErrorKind::InvalidFilename.into()))?;
        let storage = Storage::new(name)?;
        upkeep::prepare(&storage)?;
        let durability = Durability::of_file(&path).map_err(unusable)?;
        Self::start(storage, durability, Some(lock))
    }

    /// Opens an empty engine that lives and dies with this process.
    pub fn in_memory() -> Result<Self, EngineError> {
        let storage = Storage::memory()?;
        upkeep::prepare(&storage)?;
        Self::start(storage, Durability::none(), None)
    }

    fn start(
        storage: Storage,
        durability: Durability,
        lock: Option<File>,
    ) -> Result<Self, EngineError> {
        let (queue, jobs) = mpsc::channel(QUEUE_LENGTH);
        let thread = Worker::start(storage, durability, jobs, lock).map_err(EngineError::Thread)?;
        let connector = connector::Connector::new(queue.downgrade());
        Ok(Self {
            dynamodb: connector::dynamodb(connector.clone()),
            streams: connector::streams(connector),
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

    /// Forgets stream records older than `older_than` and says how many; DynamoDB keeps them for 24 hours.
    pub async fn trim_streams(&self, older_than: Duration) -> Result<usize, EngineError> {
        upkeep::trim_streams(&self.queue()?, older_than).await
    }

    /// Deletes the items whose time to live is over and says how many.
    pub async fn sweep_ttl(&self) -> Result<usize, EngineError> {
        upkeep::sweep_ttl(&self.queue()?).await
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

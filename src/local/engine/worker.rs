//! The engine thread: runs requests one after another, in the order in which they came.

use std::fs::File;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::thread::{self, JoinHandle};

use dynoxide::storage::Storage;
use tokio::sync::{mpsc, oneshot};

use super::durability::{Durability, Held};
use super::fault::{self, Fault};
use super::operation::{Answer, Effect, Operation};

/// What the engine thread can be asked to do.
pub(super) enum Job {
    /// A client's request; dropping `reply` unanswered tells the client that the engine stopped.
    Operation { operation: Operation, reply: oneshot::Sender<Answer> },
    /// A short piece of housekeeping, which nobody waits to see on disk. Its error is for the worker to judge.
    Upkeep(Housekeeping),
}

/// A piece of work on the tables.
pub(super) type Housekeeping = Box<dyn FnOnce(&Storage) -> dynoxide::Result<()> + Send>;

/// The one owner of the tables.
///
/// dynoxide has one connection whatever the number of callers, so one thread loses nothing and keeps the runtime's
/// threads free of disk waits.
pub(super) struct Worker {
    storage: Storage,
    durability: Durability,
    fault: Fault,
    /// About how many bytes the log has grown by since the last checkpoint.
    log_bytes: usize,
}

/// After about so many bytes of the log it is copied into the database. A longer log means fewer checkpoints,
/// in which pages that were written many times are copied once.
const LOG_BYTES: usize = 16 * 1024 * 1024;

/// About how much a write adds to the log beside its own bytes: a page in each table and index that it changes.
const WRITE_BYTES: usize = 32 * 1024;

/// The same for a piece of housekeeping.
const UPKEEP_BYTES: usize = 256 * 1024;

impl Worker {
    /// Starts the thread, which ends when every sender of `jobs` is gone, and then lets go of `lock`.
    pub(super) fn start(
        storage: Storage,
        durability: Durability,
        fault: Fault,
        jobs: mpsc::Receiver<Job>,
        lock: Option<File>,
    ) -> io::Result<JoinHandle<()>> {
        let worker = Self { storage, durability, fault, log_bytes: 0 };
        thread::Builder::new().name("engine".to_owned()).spawn(move || {
            worker.run(jobs);
            drop(lock);
        })
    }

    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(job) = self.next(&mut jobs) {
            match job {
                Job::Operation { operation, reply } => self.answer(operation, reply),
                Job::Upkeep(work) => self.keep_up(work),
            }
            self.checkpoint();
        }
        // Those who wait for the disk are answered before the database closes.
        self.durability.finish();
    }

    fn next(&mut self, jobs: &mut mpsc::Receiver<Job>) -> Option<Job> {
        // As long as requests wait, the answers to those before them gather for one sync.
        jobs.try_recv().ok().or_else(|| {
            self.durability.flush();
            jobs.blocking_recv()
        })
    }

    fn keep_up(&mut self, work: Housekeeping) {
        if self.fault.is_reported() {
            return;
        }
        self.log_bytes += UPKEEP_BYTES;
        if let Some(Err(error)) = self.guarded(|storage| work(storage)) {
            self.look_at(fault::of_error(&error));
        }
    }

    /// Copies the log into the database once it is long. SQLite would do so by itself and not tell when it fails,
    /// and after a sync that failed nothing can be said of what is on disk.
    fn checkpoint(&mut self) {
        if self.log_bytes < LOG_BYTES || self.fault.is_reported() {
            return;
        }
        self.log_bytes = 0;
        let copied = self.guarded(|storage| {
            let checkpoint = "PRAGMA wal_checkpoint(PASSIVE)";
            storage
                .conn()
                .query_row(checkpoint, [], |_| Ok(()))
                .map_err(dynoxide::DynoxideError::from)
        });
        if let Some(Err(error)) = copied {
            tracing::warn!(%error, "could not copy the log into the tables");
            self.look_at(fault::of_error(&error));
        }
    }

    fn look_at(&self, fault: Option<String>) {
        if let Some(reason) = fault {
            self.fault.report(reason);
        }
    }

    fn answer(&mut self, operation: Operation, reply: oneshot::Sender<Answer>) {
        // Whoever waits is left without an answer.
        if self.fault.is_reported() {
            return;
        }
        let Operation { run, effect, bytes } = operation;
        let mut answer = self.guarded(run).unwrap_or_else(Answer::panicked);
        if let Some(reason) = answer.fault.take() {
            return self.fault.report(reason);
        }
        if effect == Effect::Writes {
            self.log_bytes += WRITE_BYTES + bytes;
            // Also when it was refused: a batch may have got halfway, and a sync without news costs next to nothing.
            self.durability.wrote();
        }
        match effect {
            // A refused condition has seen a write as surely as a consistent read has: whoever acts on it, such as
            // a redelivery answered as a duplicate, must not be proved wrong by a power cut.
            Effect::Writes | Effect::ReadsConsistently => {
                self.durability.hold(Held { answer, reply });
            }
            // May show what a power cut takes back, which its caller asked not to care about.
            // Nothing later can survive without it: the write-ahead log is recovered in order up to its first gap.
            Effect::ReadsEventually => drop(reply.send(answer)),
        }
    }

    fn guarded<T>(&self, work: impl FnOnce(&Storage) -> T) -> Option<T> {
        let result = panic::catch_unwind(AssertUnwindSafe(|| work(&self.storage)));
        if result.is_err() && !self.storage.conn().is_autocommit() {
            // The panic left its transaction open, in which every later request would land.
            if let Err(error) = self.storage.rollback() {
                tracing::error!(%error, "cannot roll back after a panic in the embedded engine");
            }
        }
        result.ok()
    }
}

//! The engine thread: runs requests one after another, in the order in which they came.

use std::fs::File;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::thread::{self, JoinHandle};

use dynoxide::storage::Storage;
use tokio::sync::{mpsc, oneshot};

use super::durability::{Durability, Held};
use super::operation::{Answer, Effect, Operation};

/// What the engine thread can be asked to do.
pub(super) enum Job {
    /// A client's request; dropping `reply` unanswered tells the client that the engine stopped.
    Operation { operation: Operation, reply: oneshot::Sender<Answer> },
    /// A short piece of housekeeping, which nobody waits to see on disk.
    Upkeep(Box<dyn FnOnce(&Storage) + Send>),
}

/// The one owner of the tables.
///
/// dynoxide has one connection whatever the number of callers, so one thread loses nothing and keeps the runtime's
/// threads free of disk waits.
pub(super) struct Worker {
    storage: Storage,
    durability: Durability,
}

impl Worker {
    /// Starts the thread, which ends when every sender of `jobs` is gone, and then lets go of `lock`.
    pub(super) fn start(
        storage: Storage,
        durability: Durability,
        jobs: mpsc::Receiver<Job>,
        lock: Option<File>,
    ) -> io::Result<JoinHandle<()>> {
        let worker = Self { storage, durability };
        thread::Builder::new().name("engine".to_owned()).spawn(move || {
            worker.run(jobs);
            drop(lock);
        })
    }

    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(job) = self.next(&mut jobs) {
            match job {
                Job::Operation { operation, reply } => self.answer(operation, reply),
                Job::Upkeep(work) => self.guarded(|storage| work(storage)).unwrap_or_default(),
            }
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

    fn answer(&mut self, operation: Operation, reply: oneshot::Sender<Answer>) {
        if self.durability.is_lost() {
            return;
        }
        let Operation { run, effect } = operation;
        let answer = self.guarded(run).unwrap_or_else(Answer::panicked);
        if effect == Effect::Writes {
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

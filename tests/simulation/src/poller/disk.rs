//! What outlives a poller's process: its checkpoints, which may be old, damaged or missing, and what it gave up.

use std::cell::RefCell;
use std::io::{Error, ErrorKind, Result};

use everhook::local::event_source::Kept;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::executor::roll;
use crate::faults::Fault;
use crate::focus::DISK;
use crate::functions::Consumer;
use crate::tables::{die, travel};
use crate::world::world;

/// A disk with the checkpoints of both consumers.
#[derive(Default)]
pub(crate) struct Disk {
    /// All that was written, the oldest first.
    checkpoints: RefCell<[Vec<Vec<u8>>; 2]>,
}

impl Disk {
    /// The process is started again: what was written last may not have reached the disk.
    pub(crate) fn restarted(&self) {
        for written in self.checkpoints.borrow_mut().iter_mut() {
            if world().strikes(Fault::CheckpointOld) {
                let kept = roll(|dice| dice.below(written.len() + 1));
                written.truncate(kept);
            }
        }
    }
}

/// A place on the disk.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Checkpoint(Consumer),
    FailedBatches(Consumer),
}

impl Place {
    fn contents(self) -> Result<Vec<u8>> {
        let world = world();
        let Self::Checkpoint(consumer) = self else { return Err(ErrorKind::NotFound.into()) };
        let checkpoints = world.stream.disk.checkpoints.borrow();
        let Some(last) = checkpoints[consumer as usize].last() else {
            return Err(ErrorKind::NotFound.into());
        };
        let mut contents = last.clone();
        if world.strikes(Fault::CheckpointDamaged) {
            contents.truncate(roll(|dice| dice.below(contents.len())));
        }
        Ok(contents)
    }

    fn write(self, contents: Vec<u8>) {
        let world = world();
        world.tell(|| format!("{self:?}: {}", String::from_utf8_lossy(&contents).trim()));
        match self {
            Self::Checkpoint(consumer) => {
                world.stream.disk.checkpoints.borrow_mut()[consumer as usize].push(contents);
            }
            Self::FailedBatches(consumer) => {
                let note: Value = serde_json::from_slice(&contents).expect("a line of JSON");
                let info = &note["DDBStreamBatchInfo"];
                let number = |name: &str, ahead: usize| {
                    let text = info[name].as_str().and_then(|text| text.get(ahead..));
                    text.and_then(|text| text.parse::<u64>().ok()).expect("a number in it")
                };
                let shard = number("shardId", super::reading::SHARD.len()) as usize;
                let (first, last) =
                    (number("startSequenceNumber", 0), number("endSequenceNumber", 0));
                let mut deliveries = world.stream.deliveries.borrow_mut();
                deliveries.given_up(consumer, shard, first, last);
            }
        }
    }
}

/// Writes, unless the process dies or the disk fails.
async fn write(place: Place, contents: Vec<u8>) -> Result<()> {
    travel(DISK).await;
    if world().strikes(Fault::CrashBefore) {
        return die().await;
    }
    // What was given up is in the log in any case.
    if matches!(place, Place::Checkpoint(_)) && world().strikes(Fault::DiskFails) {
        return Err(Error::other("simulated: the disk is full"));
    }
    place.write(contents);
    if world().strikes(Fault::CrashAfter) {
        return die().await;
    }
    travel(DISK).await;
    Ok(())
}

impl Kept for Place {
    fn read(&self) -> BoxFuture<'_, Result<Vec<u8>>> {
        async move {
            travel(DISK).await;
            match world().strikes(Fault::DiskFails) {
                true => Err(Error::other("simulated: the disk cannot be read")),
                false => self.contents(),
            }
        }
        .boxed()
    }

    fn replace(&self, contents: Vec<u8>) -> BoxFuture<'_, Result<()>> {
        write(*self, contents).boxed()
    }

    fn append(&self, line: String) -> BoxFuture<'_, Result<()>> {
        write(*self, line.into_bytes()).boxed()
    }
}

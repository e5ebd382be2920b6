//! Reads one shard, keeps its batches running and its checkpoint moving.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use std::time::Duration;

use aws_lambda_events::dynamodb::{Event, EventRecord};
use everhook_journal::ambient::{self, Task};
use futures_util::future::{BoxFuture, OptionFuture};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;

use super::Source;
use super::batch::Record;
use super::clock::{Clock, Pace};
use super::failed::FailedBatch;
use super::record;
use super::response::BatchOutcome;
use super::shard::{Next, Shard};
use super::stream::{Page, StreamError};

/// How reading a shard came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The shard is closed and all its records are done.
    Drained,
    /// There may be more: we were told to stop, or the shard is gone.
    Early,
}

type Outcome = (u64, Result<BatchOutcome, String>);
type Read = Result<Page, StreamError>;

/// Reads one shard.
pub(super) struct Reader {
    source: Arc<Source>,
    shard_id: String,
    shard: Shard,
    clock: Clock,
    iterator: Option<String>,
    /// Each runs in a task of its own, as functions may compute.
    batches: FuturesUnordered<Task<Outcome>>,
    pace: Pace,
    /// How many records the read in progress may return.
    limit: usize,
    /// The stream says the shard is gone.
    gone: bool,
}

impl Reader {
    /// A reader that goes on after the shard's checkpoint.
    pub(super) fn new(source: Arc<Source>, shard_id: String) -> Self {
        let checkpoint = source.checkpoints.of(&shard_id);
        let clock = Clock::start();
        Reader {
            shard: Shard::new(Arc::clone(&source.settings), checkpoint),
            source,
            shard_id,
            pace: Pace::start(clock.now()),
            clock,
            iterator: None,
            batches: FuturesUnordered::new(),
            limit: 0,
            gone: false,
        }
    }

    /// Reads until the shard has ended or `shutdown` turns true, then waits for the batches in flight.
    pub(super) async fn run(mut self, mut shutdown: watch::Receiver<bool>) -> Ended {
        let mut listener = self.source.doorbell.listen();
        let mut reading: OptionFuture<BoxFuture<'static, Read>> = None.into();
        let mut is_reading = false;
        let mut stopping = *shutdown.borrow_and_update();
        loop {
            let retry_at = if stopping { None } else { self.start_batches().await };
            if self.batches.is_empty() {
                if stopping || (self.gone && self.shard.is_idle()) {
                    return Ended::Early;
                }
                if self.shard.is_drained() {
                    return Ended::Drained;
                }
            }
            let read_at = self.read_at(stopping, is_reading);
            if read_at.is_some_and(|at| at <= self.clock.now()) {
                self.pace.begin(self.clock.now());
                self.limit = self.shard.room();
                reading = Some(self.read()).into();
                is_reading = true;
                continue;
            }
            // In this order, so that a simulation has no chance in it but its own; none of them is ready for ever.
            tokio::select! {
                biased;
                changed = shutdown.changed(), if !stopping => {
                    stopping = changed.is_err() || *shutdown.borrow_and_update();
                }
                Some(ended) = self.batches.next() => {
                    if let Ok((id, outcome)) = ended {
                        self.ended(id, outcome).await;
                    }
                    // A batch has likely written what the next one is about.
                    self.pace.hurry();
                }
                Some(read) = &mut reading, if is_reading && !stopping => {
                    is_reading = false;
                    reading = None.into();
                    self.take_in(read);
                }
                () = listener.rung() => self.pace.hurry(),
                () = self.clock.shows([retry_at, read_at].into_iter().flatten().min()) => {}
            }
        }
    }

    /// When the next read begins; `None` while there is no use for one.
    fn read_at(&self, stopping: bool, is_reading: bool) -> Option<Duration> {
        let useless = stopping || is_reading || self.gone || self.shard.room() == 0;
        (!useless).then(|| self.pace.due(self.source.settings.idle_poll))
    }

    /// Starts every batch that can run, and returns when to try again.
    async fn start_batches(&mut self) -> Option<Duration> {
        loop {
            match self.shard.next(self.clock.now()) {
                Next::Run { id, records } => {
                    self.batches.push(ambient::spawn(call(Arc::clone(&self.source), id, records)));
                }
                Next::GiveUp(failed) => {
                    self.note(&failed).await;
                    self.save_checkpoint();
                }
                Next::Wait(until) => return until,
            }
        }
    }

    /// Takes in how a batch ended.
    async fn ended(&mut self, id: u64, outcome: Result<BatchOutcome, String>) {
        match &outcome {
            Ok(BatchOutcome::Complete) => {}
            Ok(BatchOutcome::FailedFrom(from)) => {
                tracing::warn!(shard.id = self.shard_id, from, "a batch has failed in part");
            }
            Err(error) => tracing::warn!(shard.id = self.shard_id, error, "a batch has failed"),
        }
        if let Some(failed) = self.shard.ended(id, outcome, self.clock.now()) {
            self.note(&failed).await;
        }
        self.save_checkpoint();
    }

    /// Begins to read the next page, with a new iterator if there is none.
    fn read(&mut self) -> BoxFuture<'static, Read> {
        let source = Arc::clone(&self.source);
        let shard_id = self.shard_id.clone();
        let position = self.shard.position().cloned();
        let iterator = self.iterator.take();
        let limit = self.limit;
        Box::pin(async move {
            let iterator = match iterator {
                Some(iterator) => iterator,
                None => source.stream.iterator(&shard_id, position.as_ref()).await?,
            };
            source.stream.records(&iterator, limit).await
        })
    }

    /// Takes in what was read.
    fn take_in(&mut self, read: Read) {
        let page = match read {
            Ok(page) => page,
            Err(error) => return self.read_failed(&error),
        };
        let count = page.records.len();
        let records =
            page.records.into_iter().filter_map(|record| self.deliverable(record)).collect();
        self.shard.accept(records, self.clock.now());
        match page.next {
            Some(next) => self.iterator = Some(next),
            None => self.shard.close(),
        }
        self.save_checkpoint();
        self.pace.end(count, self.limit, self.clock.now());
    }

    /// Without an iterator the next read gets a new one after the last record read.
    fn read_failed(&mut self, error: &StreamError) {
        self.iterator = None;
        match error {
            StreamError::Expired => return self.pace.end(1, self.limit, self.clock.now()),
            StreamError::Trimmed(_) => {
                tracing::warn!(shard.id = self.shard_id, %error, "reading goes on at the oldest record");
                self.shard.rewind();
            }
            StreamError::Gone(_) => {
                tracing::warn!(shard.id = self.shard_id, %error, "the shard cannot be read any more");
                self.gone = true;
            }
            StreamError::Refused(_) | StreamError::Unavailable(_) => {
                tracing::warn!(shard.id = self.shard_id, %error, "could not read the stream");
            }
        }
        self.pace.failed(self.clock.now());
    }

    fn deliverable(&self, record: aws_sdk_dynamodbstreams::types::Record) -> Option<Record> {
        let settings = &self.source.settings;
        record::from_stream(record, self.source.stream.arn(), &settings.partition_key)
            .inspect_err(|error| tracing::error!(shard.id = self.shard_id, %error, "a stream record was skipped"))
            .ok()
    }

    async fn note(&self, failed: &FailedBatch) {
        self.source
            .failed
            .note(failed, self.source.stream.arn(), &self.shard_id, self.clock.now())
            .await;
    }

    fn save_checkpoint(&self) {
        if let Some(checkpoint) = self.shard.checkpoint() {
            self.source.checkpoints.set(&self.shard_id, checkpoint);
        }
    }
}

/// Calls the function with one batch; a panic and running out of time are errors like any other.
async fn call(source: Arc<Source>, id: u64, records: Vec<EventRecord>) -> Outcome {
    let mut event = Event::default();
    event.records = records;
    // The function may also panic before it returns its future.
    let called = AssertUnwindSafe(async { (source.function)(event).await }).catch_unwind();
    let outcome = match ambient::timeout(source.settings.timeout, called).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => Err(format!("the function panicked: {}", panic_text(&*panic))),
        Err(_) => Err(format!("the function did not end within {:?}", source.settings.timeout)),
    };
    (id, outcome)
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

//! The event source mapping of one machine: what Lambda does between a DynamoDB stream and a function.
//!
//! The rules live in pure modules (`shard`, `batch`, `lineage`); the rest reads the stream and keeps time.
//! The contract is Lambda's: every record is delivered at least once, or named where failed batches go.
//!
//! It runs on any executor: the stream ([`Streams`]), what outlives the process ([`Kept`]), and time and tasks
//! (`everhook_journal::ambient`) are where a simulation takes hold of it.

mod batch;
mod checkpoint;
mod clock;
mod doorbell;
mod failed;
mod filter;
mod kept;
mod lineage;
mod reader;
mod record;
mod response;
mod sequence;
mod settings;
mod shard;
mod stream;

#[cfg(test)]
mod tests;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::dynamodb::Event;
use everhook_journal::ambient::{self, Task};
use futures_util::future::{self, BoxFuture};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{oneshot, watch};

pub use doorbell::Doorbell;
pub use filter::{Filter, FilterError};
pub use kept::{File, Kept};
pub use lineage::Descent;
pub use response::BatchOutcome;
pub use settings::Settings;
pub use stream::{Call, Page, StreamError, Streams};

use checkpoint::Checkpoints;
use clock::Clock;
use failed::FailedBatches;
use lineage::Lineage;
use reader::{Ended, Reader};
use stream::Stream;

/// Readers of shards at work, each in a task of its own.
type Readers = FuturesUnordered<Task<(String, Ended)>>;

/// How soon the shards are listed again after one ended or could not be read; doubles up to [`Settings::idle_list`].
const LIST_SOON: Duration = Duration::from_secs(1);
/// How often the checkpoint is written while it moves.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// What is called with each batch; an `Err`, a panic or running out of time fails the whole batch.
pub type Function =
    Arc<dyn Fn(Event) -> BoxFuture<'static, Result<BatchOutcome, String>> + Send + Sync>;

/// The way from one DynamoDB stream to one function.
pub struct EventSource {
    /// Where the stream is read.
    pub streams: Arc<dyn Streams>,
    /// Which stream; a checkpoint of any other stream is ignored.
    pub stream_arn: String,
    /// What an event source mapping lets one set.
    pub settings: Settings,
    /// What is called with each batch.
    pub function: Function,
    /// Rung when there is something to read.
    pub doorbell: Doorbell,
    /// Where the position is kept over a restart; `None` starts from the oldest record each time.
    pub checkpoint: Option<Arc<dyn Kept>>,
    /// Where batches that were given up are noted, one JSON line each; they are logged in any case.
    pub failed_batches: Option<Arc<dyn Kept>>,
}

impl EventSource {
    /// Delivers the stream's records until `shutdown` turns true or its sender is gone.
    /// Returns when the batches in flight have ended and the checkpoint is saved.
    pub async fn run(self, mut shutdown: watch::Receiver<bool>) {
        let checkpoints = Arc::new(Checkpoints::load(self.checkpoint, &self.stream_arn).await);
        let source = Arc::new(Source {
            stream: Stream::new(self.streams, self.stream_arn),
            settings: Arc::new(self.settings),
            function: self.function,
            doorbell: self.doorbell,
            failed: FailedBatches::new(self.failed_batches),
            checkpoints: Arc::clone(&checkpoints),
        });
        let (stop_saving, stopped) = oneshot::channel();
        let reading = async move {
            let mut readers = Readers::new();
            source.read_shards(&mut readers, &mut shutdown).await;
            while readers.next().await.is_some() {}
            drop(stop_saving);
        };
        future::join(reading, keep_saving(&checkpoints, stopped)).await;
    }
}

impl fmt::Debug for EventSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSource")
            .field("stream_arn", &self.stream_arn)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// What the readers of all shards share.
struct Source {
    stream: Stream,
    settings: Arc<Settings>,
    function: Function,
    doorbell: Doorbell,
    failed: FailedBatches,
    checkpoints: Arc<Checkpoints>,
}

impl Source {
    /// Keeps one reader on each shard whose turn it is, until the end is called.
    async fn read_shards(
        self: &Arc<Self>,
        readers: &mut Readers,
        shutdown: &mut watch::Receiver<bool>,
    ) {
        let clock = Clock::start();
        let mut lineage = Lineage::default();
        let mut pause = self.settings.idle_list;
        let mut list_at = clock.now();
        while !*shutdown.borrow() {
            if list_at <= clock.now() {
                match self.stream.shards().await {
                    Ok(shards) => {
                        lineage.observe(shards);
                        self.checkpoints.retain(|shard| lineage.lists(shard));
                        self.start_ready(&mut lineage, readers, shutdown);
                    }
                    Err(error) => {
                        tracing::warn!(stream.arn = self.stream.arn(), %error, "could not list the shards of the stream");
                        pause = LIST_SOON;
                    }
                }
                list_at = clock.now() + pause;
                pause = (pause * 2).min(self.settings.idle_list);
            }
            tokio::select! {
                biased;
                changed = shutdown.changed() => if changed.is_err() { return },
                Some(ended) = readers.next() => {
                    // Children may appear in the list a little after their parent has ended.
                    pause = LIST_SOON;
                    match ended {
                        Ok((shard, Ended::Drained)) => {
                            lineage.finish(&shard);
                            list_at = clock.now();
                        }
                        Ok((shard, Ended::Early)) => {
                            lineage.put_back(&shard);
                            list_at = clock.now() + pause;
                        }
                        Err(error) => tracing::error!(%error, "the reader of a shard was cancelled"),
                    }
                }
                () = clock.shows(Some(list_at)) => {}
            }
        }
    }

    fn start_ready(
        self: &Arc<Self>,
        lineage: &mut Lineage,
        readers: &Readers,
        shutdown: &watch::Receiver<bool>,
    ) {
        for shard in lineage.take_ready() {
            let reader =
                Box::pin(Reader::new(Arc::clone(self), shard.clone()).run(shutdown.clone()));
            // A reader that panics starts again from the checkpoint instead of leaving its shard unread.
            let reader = AssertUnwindSafe(reader).catch_unwind();
            readers
                .push(ambient::spawn(async move { (shard, reader.await.unwrap_or(Ended::Early)) }));
        }
    }
}

/// Writes the checkpoint whenever it has moved, at most once per [`SAVE_EVERY`], and when told to stop.
async fn keep_saving(checkpoints: &Checkpoints, mut stopped: oneshot::Receiver<()>) {
    let mut stopping = false;
    while !stopping {
        let moved = async {
            checkpoints.moved().await;
            ambient::sleep(SAVE_EVERY).await;
        };
        stopping = matches!(
            future::select(&mut stopped, std::pin::pin!(moved)).await,
            future::Either::Left(_)
        );
        checkpoints.save().await;
    }
}

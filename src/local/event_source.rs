//! The event source mapping of one machine: what Lambda does between a DynamoDB stream and a function.
//!
//! The rules live in pure modules (`shard`, `batch`, `lineage`); the rest reads the stream and keeps time.
//! The contract is Lambda's: every record is delivered at least once, or named where failed batches go.

mod batch;
mod checkpoint;
mod clock;
mod doorbell;
mod failed;
mod filter;
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
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::dynamodb::Event;
use aws_sdk_dynamodbstreams::Client;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

pub use doorbell::Doorbell;
pub use filter::{Filter, FilterError};
pub use response::BatchOutcome;
pub use settings::Settings;

use checkpoint::Checkpoints;
use failed::FailedBatches;
use lineage::Lineage;
use reader::{Ended, Reader};
use stream::Stream;

/// How often the shards are listed while none of them ends; listing costs the embedded engine a full scan.
const DESCRIBE_EVERY: Duration = Duration::from_secs(30);
/// How soon the shards are listed again after one ended or could not be read; doubles up to [`DESCRIBE_EVERY`].
const DESCRIBE_SOON: Duration = Duration::from_secs(1);
/// How often the checkpoint is written while it moves.
const SAVE_EVERY: Duration = Duration::from_secs(1);

/// What is called with each batch; an `Err`, a panic or running out of time fails the whole batch.
pub type Function =
    Arc<dyn Fn(Event) -> BoxFuture<'static, Result<BatchOutcome, String>> + Send + Sync>;

/// The way from one DynamoDB stream to one function.
pub struct EventSource {
    /// Where the stream is read.
    pub streams: Client,
    /// Which stream; a checkpoint of any other stream is ignored.
    pub stream_arn: String,
    /// What an event source mapping lets one set.
    pub settings: Settings,
    /// What is called with each batch.
    pub function: Function,
    /// Rung when there is something to read.
    pub doorbell: Doorbell,
    /// Where the position is kept over a restart; `None` starts from the oldest record each time.
    pub checkpoint: Option<PathBuf>,
    /// Where batches that were given up are noted, one JSON line each; they are logged in any case.
    pub failed_batches: Option<PathBuf>,
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
        let saving = tokio::spawn(keep_saving(Arc::clone(&checkpoints), stopped));

        let mut readers = JoinSet::new();
        source.read_shards(&mut readers, &mut shutdown).await;
        while readers.join_next().await.is_some() {}

        drop(stop_saving);
        if let Err(error) = saving.await {
            tracing::warn!(%error, "could not write the last checkpoint");
        }
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
        readers: &mut JoinSet<(String, Ended)>,
        shutdown: &mut watch::Receiver<bool>,
    ) {
        let mut lineage = Lineage::default();
        let mut pause = DESCRIBE_EVERY;
        let mut describe_at = Instant::now();
        while !*shutdown.borrow() {
            if describe_at <= Instant::now() {
                match self.stream.shards().await {
                    Ok(shards) => {
                        lineage.observe(shards);
                        self.checkpoints.retain(|shard| lineage.lists(shard));
                        self.start_ready(&mut lineage, readers, shutdown);
                    }
                    Err(error) => {
                        tracing::warn!(stream.arn = self.stream.arn(), %error, "could not list the shards of the stream");
                        pause = DESCRIBE_SOON;
                    }
                }
                describe_at = Instant::now() + pause;
                pause = (pause * 2).min(DESCRIBE_EVERY);
            }
            tokio::select! {
                changed = shutdown.changed() => if changed.is_err() { return },
                Some(joined) = readers.join_next() => {
                    // Children may appear in the list a little after their parent has ended.
                    pause = DESCRIBE_SOON;
                    match joined {
                        Ok((shard, Ended::Drained)) => {
                            lineage.finish(&shard);
                            describe_at = Instant::now();
                        }
                        Ok((shard, Ended::Early)) => {
                            lineage.put_back(&shard);
                            describe_at = Instant::now() + pause;
                        }
                        Err(error) => tracing::error!(%error, "the reader of a shard was cancelled"),
                    }
                }
                () = sleep_until(describe_at) => {}
            }
        }
    }

    fn start_ready(
        self: &Arc<Self>,
        lineage: &mut Lineage,
        readers: &mut JoinSet<(String, Ended)>,
        shutdown: &watch::Receiver<bool>,
    ) {
        for shard in lineage.take_ready() {
            let reader =
                Box::pin(Reader::new(Arc::clone(self), shard.clone()).run(shutdown.clone()));
            // A reader that panics starts again from the checkpoint instead of leaving its shard unread.
            let reader = AssertUnwindSafe(reader).catch_unwind();
            readers.spawn(async move { (shard, reader.await.unwrap_or(Ended::Early)) });
        }
    }
}

/// Writes the checkpoint whenever it has moved, at most once per [`SAVE_EVERY`], and when told to stop.
async fn keep_saving(checkpoints: Arc<Checkpoints>, mut stopped: oneshot::Receiver<()>) {
    let mut stopping = false;
    while !stopping {
        stopping = tokio::time::timeout(SAVE_EVERY, &mut stopped).await.is_ok();
        checkpoints.save().await;
    }
}

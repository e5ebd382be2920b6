//! What an event source mapping lets one set.

use std::time::Duration;

use aws_lambda_events::dynamodb::EventRecord;

use super::filter::Filter;

/// How long a stream keeps its records; none is worth a retry beyond that.
pub(super) const RETENTION: Duration = Duration::from_secs(24 * 3_600);

/// How records become batches and what happens to those that fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The most records in one batch.
    pub batch_size: usize,
    /// How long a batch that is not full waits for more records.
    pub batching_window: Duration,
    /// How many batches of one shard run at once; they never share a partition key.
    /// With one, the records of a shard never overtake one another, whatever their keys.
    pub parallel: usize,
    /// Whether a failed batch is halved, so that one bad record is found without holding up the rest.
    pub bisect: bool,
    /// How often a failed batch is tried again before it is given up; splitting it does not count.
    /// `None` tries until its records are too old.
    pub retry_attempts: Option<u32>,
    /// How old a record may become before it is given up; never older than the stream keeps it, which is also `None`.
    pub record_age: Option<Duration>,
    /// How long one call of the function may take.
    pub timeout: Duration,
    /// A record that no filter lets through counts as done; without filters all are delivered.
    pub filters: Vec<Filter>,
    /// The table's partition key; records without it are told apart by all their keys.
    pub partition_key: String,
    /// How often an idle shard is asked for records while nobody rings.
    pub idle_poll: Duration,
    /// How often the shards are listed while none of them ends; listing costs the embedded engine a full scan.
    pub idle_list: Duration,
    /// The most records of one shard held in memory.
    pub pending_max: usize,
}

impl Settings {
    /// How old a record may become before it is given up.
    pub(super) fn age_max(&self) -> Duration {
        self.record_age.map_or(RETENTION, |age| age.min(RETENTION))
    }

    /// Whether a record is delivered.
    pub(super) fn lets_through(&self, record: &EventRecord) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| filter.lets_through(record))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            batch_size: 100,
            batching_window: Duration::ZERO,
            parallel: 10,
            bisect: true,
            retry_attempts: Some(4),
            record_age: Some(Duration::from_secs(3_600)),
            timeout: Duration::from_secs(60),
            filters: Vec::new(),
            partition_key: "execution".to_owned(),
            idle_poll: Duration::from_millis(250),
            idle_list: Duration::from_secs(30),
            pending_max: 10_000,
        }
    }
}

//! What an event source mapping lets one set.

use std::time::Duration;

/// How records become batches and what happens to those that fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The most records in one batch.
    pub batch_size: usize,
    /// How long a batch that is not full waits for more records.
    pub batching_window: Duration,
    /// How many batches of one shard run at once; they never share a partition key.
    pub parallel: usize,
    /// Whether a failed batch is halved, so that one bad record is found without holding up the rest.
    pub bisect: bool,
    /// How often a failed batch is tried again before it is given up; halving it does not count.
    pub retry_attempts: u32,
    /// How old a record may become before it is given up.
    pub record_age: Duration,
    /// How long one call of the function may take.
    pub timeout: Duration,
    /// Whether only new items are delivered; changes and removals then count as done.
    pub inserts_only: bool,
    /// The table's partition key; records without it are told apart by all their keys.
    pub partition_key: String,
    /// How often an idle shard is asked for records while nobody rings.
    pub idle_poll: Duration,
    /// The most records of one shard held in memory.
    pub pending_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            batch_size: 100,
            batching_window: Duration::ZERO,
            parallel: 10,
            bisect: true,
            retry_attempts: 4,
            record_age: Duration::from_secs(3_600),
            timeout: Duration::from_secs(60),
            inserts_only: false,
            partition_key: "execution".to_owned(),
            idle_poll: Duration::from_millis(250),
            pending_max: 10_000,
        }
    }
}

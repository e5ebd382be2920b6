//! Where batches go that are given up: the log, and a file to look into later.

use std::sync::Arc;
use std::time::Duration;

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use serde_json::{Value, json};

use super::batch::Pending;
use super::kept::Kept;

/// Why records were given up, in Lambda's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    RetryAttemptsExhausted,
    RecordAgeExceeded,
}

/// Which records were given up; their contents stay in the stream. Times count from the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FailedBatch {
    pub(super) condition: Condition,
    pub(super) attempts: u32,
    pub(super) first: String,
    pub(super) last: String,
    pub(super) count: usize,
    pub(super) first_created: Duration,
    pub(super) last_created: Duration,
}

impl FailedBatch {
    /// Names the records; `None` if there are none.
    pub(super) fn of(records: &[Pending], condition: Condition, attempts: u32) -> Option<Self> {
        let (first, last) = (&records.first()?.record, &records.last()?.record);
        Some(FailedBatch {
            condition,
            attempts,
            first: first.sequence.to_string(),
            last: last.sequence.to_string(),
            count: records.len(),
            first_created: first.created,
            last_created: last.created,
        })
    }

    /// The form of Lambda's on-failure records, so that one tool reads both.
    pub(super) fn to_json(&self, stream_arn: &str, shard: &str, now: Duration) -> Value {
        json!({
            "version": "1.0",
            "timestamp": to_text(now.as_millis()),
            "requestContext": {
                "condition": format!("{:?}", self.condition),
                "approximateInvokeCount": self.attempts,
            },
            "DDBStreamBatchInfo": {
                "shardId": shard,
                "startSequenceNumber": self.first,
                "endSequenceNumber": self.last,
                "approximateArrivalOfFirstRecord": to_text(self.first_created.as_secs() * 1_000),
                "approximateArrivalOfLastRecord": to_text(self.last_created.as_secs() * 1_000),
                "batchSize": self.count,
                "streamArn": stream_arn,
            },
        })
    }
}

fn to_text(millis: impl TryInto<i64>) -> Option<String> {
    DateTime::from_millis(millis.try_into().ok()?).fmt(Format::DateTime).ok()
}

/// Where batches go that are given up.
#[derive(Debug)]
pub(super) struct FailedBatches {
    notes: Option<Arc<dyn Kept>>,
}

impl FailedBatches {
    /// Logs what is given up, and notes it where there is a place for it.
    pub(super) fn new(notes: Option<Arc<dyn Kept>>) -> Self {
        FailedBatches { notes }
    }

    /// Notes a batch that was given up. Trouble with that is logged: it must not hold up the shard.
    pub(super) async fn note(
        &self,
        batch: &FailedBatch,
        stream_arn: &str,
        shard: &str,
        now: Duration,
    ) {
        tracing::error!(
            shard.id = shard,
            condition = ?batch.condition,
            first = batch.first,
            last = batch.last,
            count = batch.count,
            "stream records were given up; the due times of their executions will wake them"
        );
        let Some(notes) = &self.notes else { return };
        let line = format!("{}\n", batch.to_json(stream_arn, shard, now));
        if let Err(error) = notes.append(line).await {
            tracing::error!(%error, "could not note a failed batch");
        }
    }
}

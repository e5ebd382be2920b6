//! Records that travel together, and what remains of them after a failure.

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::dynamodb::EventRecord;
use everhook_journal::guard::{self, Guard};

use super::response::BatchOutcome;
use super::sequence::SequenceNumber;
use super::settings::Settings;

/// The pause after a first failure; doubles with each attempt that is used up.
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
/// The longest pause before a retry.
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// One stream record on its way to the function. Times count from the Unix epoch.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    pub(super) sequence: SequenceNumber,
    /// The partition key's value: records with the same key never overtake one another.
    pub(super) key: Arc<str>,
    pub(super) created: Duration,
    pub(super) event: Box<EventRecord>,
}

/// A record that is not done, and what it holds up.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) record: Record,
    /// The record read just before this one: the checkpoint while this one is the oldest that is not done.
    pub(super) after: Option<SequenceNumber>,
    pub(super) arrived: Duration,
    /// How much of a batch's payload it takes.
    pub(super) bytes: usize,
}

impl Pending {
    /// A record that has just been read after another one.
    pub(super) fn new(record: Record, after: Option<SequenceNumber>, arrived: Duration) -> Self {
        let mut size = Size(0);
        // Counting cannot fail; a record that could not be written would not reach the function either.
        let written = serde_json::to_writer(&mut size, &record.event);
        let bytes = if written.is_ok() { size.0 + 1 } else { 0 };
        Pending { record, after, arrived, bytes }
    }
}

/// Counts what is written.
struct Size(usize);

impl std::io::Write for Size {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Records that are delivered, retried and split together, in order; never empty.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) records: Vec<Pending>,
    /// Failed attempts that count against the retry limit.
    pub(super) attempts: u32,
    pub(super) not_before: Duration,
}

/// What becomes of a batch that has ended.
#[derive(Debug)]
pub(super) enum Remains {
    /// Every record is done.
    Nothing,
    /// The records in these batches are to be tried again; those in none of them are done.
    Retry(Vec<Batch>),
    /// The attempts are used up.
    Exhausted(Batch),
}

impl Batch {
    /// Decides what is done, what is tried again and what is given up.
    pub(super) fn ended(
        mut self,
        outcome: Result<BatchOutcome, String>,
        settings: &Settings,
        now: Duration,
    ) -> Remains {
        let first_failed = self.first_failed(outcome);
        let first_failed = first_failed.filter(|_| guard::holds(Guard::FailedAgain));
        let Some(first_failed) = first_failed else { return Remains::Nothing };
        let progress = first_failed > 0;
        self.records.drain(..first_failed);

        // What got further has been split where it failed, and splits do not use up attempts.
        if progress && settings.bisect {
            return Remains::Retry(vec![self.again(now)]);
        }
        if settings.bisect && self.records.len() > 1 {
            let second = self.records.split_off(self.records.len() / 2);
            let second =
                Batch { records: second, attempts: self.attempts, not_before: Duration::ZERO };
            return Remains::Retry(vec![self.again(now), second.again(now)]);
        }
        self.attempts = self.attempts.saturating_add(1);
        if settings.retry_attempts.is_some_and(|allowed| self.attempts > allowed) {
            return Remains::Exhausted(self);
        }
        Remains::Retry(vec![self.again(now)])
    }

    /// The oldest record of the batch.
    pub(super) fn first(&self) -> &Pending {
        self.records.first().expect("a batch is never empty")
    }

    /// The keys of the batch, once for each record.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Arc<str>> {
        self.records.iter().map(|pending| &pending.record.key)
    }

    /// Takes away the leading records created before this time.
    pub(super) fn take_created_before(&mut self, time: Duration) -> Vec<Pending> {
        let expired =
            self.records.iter().take_while(|pending| pending.record.created < time).count();
        self.records.drain(..expired).collect()
    }

    /// The place of the first record that is not done; `None` if all are.
    fn first_failed(&self, outcome: Result<BatchOutcome, String>) -> Option<usize> {
        match outcome {
            Ok(BatchOutcome::Complete) => None,
            Ok(BatchOutcome::FailedFrom(identifier)) => {
                let named = self
                    .records
                    .iter()
                    .position(|pending| pending.record.sequence.as_str() == identifier);
                // An identifier that is not ours says nothing about which records are done.
                Some(named.unwrap_or(0))
            }
            Err(_) => Some(0),
        }
    }

    fn again(self, now: Duration) -> Batch {
        let doublings = self.attempts.saturating_sub(1).min(16);
        let pause = BACKOFF_FIRST.saturating_mul(1 << doublings).min(BACKOFF_MAX);
        Batch { not_before: now + pause, ..self }
    }
}

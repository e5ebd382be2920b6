//! One shard's records between being read and being done: which batch runs next, and where to start after a crash.
//!
//! Batches run side by side but never share a partition key, so one that hangs holds up its own keys and no others.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::dynamodb::EventRecord;
use everhook_journal::guard::{self, Guard};

use super::batch::{Batch, Pending, Record, Remains};
use super::failed::{Condition, FailedBatch};
use super::response::BatchOutcome;
use super::sequence::SequenceNumber;
use super::settings::Settings;

#[cfg(test)]
mod tests;

/// The most records one read returns.
pub(super) const READ_MAX: usize = 1_000;
/// The largest payload a function is called with; a record that is larger goes alone.
pub(super) const PAYLOAD_MAX: usize = 6 * 1024 * 1024;
/// What a payload has around its records.
const ENVELOPE: usize = r#"{"Records":[]}"#.len();

/// One shard's records that are not done, and how far it has been read.
#[derive(Debug)]
pub(super) struct Shard {
    settings: Arc<Settings>,
    /// Records that no batch has held yet.
    fresh: BTreeMap<SequenceNumber, Pending>,
    /// Batches to be tried again, under their first record.
    retries: BTreeMap<SequenceNumber, Batch>,
    running: HashMap<u64, Batch>,
    /// How many records of each key are in a batch, running or to be tried again.
    held: HashMap<Arc<str>, usize>,
    /// The last record read.
    read: Option<SequenceNumber>,
    closed: bool,
    next_id: u64,
}

/// What to do now.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// Call the function with these records, then tell [`Shard::ended`].
    Run { id: u64, records: Vec<EventRecord> },
    /// These records are given up; note them where failed batches go.
    GiveUp(FailedBatch),
    /// Nothing until this time, more records or the end of a batch, whichever is first.
    Wait(Option<Duration>),
}

impl Shard {
    /// A shard whose records up to `checkpoint` are done.
    pub(super) fn new(settings: Arc<Settings>, checkpoint: Option<SequenceNumber>) -> Self {
        Shard {
            settings,
            fresh: BTreeMap::new(),
            retries: BTreeMap::new(),
            running: HashMap::new(),
            held: HashMap::new(),
            read: checkpoint,
            closed: false,
            next_id: 0,
        }
    }

    /// Takes in records as they were read; those already read are ignored, those filtered out are done.
    pub(super) fn accept(&mut self, records: Vec<Record>, now: Duration) {
        for record in records {
            if self.read.as_ref().is_some_and(|read| record.sequence <= *read) {
                continue;
            }
            let sequence = record.sequence.clone();
            let after = self.read.replace(sequence.clone());
            if !self.settings.lets_through(&record.event) {
                continue;
            }
            let mut record = record;
            if self.settings.parallel <= 1 {
                // One batch at a time promises the order of the whole shard, as if there were one key.
                record.key = Arc::from("");
            }
            self.fresh.insert(sequence, Pending::new(record, after, now));
        }
    }

    /// The shard has ended: nothing will come after what was read.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// The records after the last one read were trimmed: whatever comes first is next.
    pub(super) fn rewind(&mut self) {
        // With records in hand the position is known to be true, and keeps them from being read twice.
        if self.is_idle() {
            self.read = None;
        }
    }

    /// How many more records are wanted; none while no batch could take them.
    pub(super) fn room(&self) -> usize {
        if self.closed || self.running.len() >= self.settings.parallel.max(1) {
            return 0;
        }
        self.settings.pending_max.saturating_sub(self.pending()).min(READ_MAX)
    }

    /// Decides what to do now; ask again until it says [`Next::Wait`].
    pub(super) fn next(&mut self, now: Duration) -> Next {
        if let Some(expired) = self.take_expired(now) {
            return Next::GiveUp(expired);
        }
        if self.running.len() >= self.settings.parallel.max(1) {
            return Next::Wait(None);
        }
        let retry_at = match self.due_retry(now) {
            Ok(batch) => return self.run(batch),
            Err(retry_at) => retry_at,
        };
        match self.fresh_batch(now) {
            Ok(batch) => self.run(batch),
            Err(full_at) => Next::Wait([retry_at, full_at].into_iter().flatten().min()),
        }
    }

    /// Takes in how a batch ended; what is given up is returned.
    pub(super) fn ended(
        &mut self,
        id: u64,
        outcome: Result<BatchOutcome, String>,
        now: Duration,
    ) -> Option<FailedBatch> {
        let batch = self.running.remove(&id)?;
        batch.keys().for_each(|key| release(&mut self.held, key));
        match batch.ended(outcome, &self.settings, now) {
            Remains::Nothing => None,
            Remains::Retry(batches) => {
                for batch in batches {
                    self.hold(&batch);
                    self.retries.insert(batch.first().record.sequence.clone(), batch);
                }
                None
            }
            Remains::Exhausted(batch) => {
                FailedBatch::of(&batch.records, Condition::RetryAttemptsExhausted, batch.attempts)
            }
        }
    }

    /// The last record before the oldest one that is not done.
    pub(super) fn checkpoint(&self) -> Option<&SequenceNumber> {
        if !guard::holds(Guard::CheckpointBehindDone) {
            return self.read.as_ref();
        }
        let fresh = self.fresh.values().next();
        let batches =
            self.retries.values().next().into_iter().chain(self.running.values()).map(Batch::first);
        match fresh.into_iter().chain(batches).min_by_key(|pending| &pending.record.sequence) {
            Some(oldest) => oldest.after.as_ref(),
            None => self.read.as_ref(),
        }
    }

    /// The last record read: where reading goes on.
    pub(super) fn position(&self) -> Option<&SequenceNumber> {
        self.read.as_ref()
    }

    /// Whether the shard is closed and every record is done.
    pub(super) fn is_drained(&self) -> bool {
        self.closed && self.is_idle()
    }

    /// Whether every record read is done.
    pub(super) fn is_idle(&self) -> bool {
        self.fresh.is_empty() && self.retries.is_empty() && self.running.is_empty()
    }

    /// How many records are in memory.
    fn pending(&self) -> usize {
        self.fresh.len() + self.held.values().sum::<usize>()
    }

    fn run(&mut self, batch: Batch) -> Next {
        let id = self.next_id;
        self.next_id += 1;
        let records = batch.records.iter().map(|pending| (*pending.record.event).clone()).collect();
        self.running.insert(id, batch);
        Next::Run { id, records }
    }

    /// The first batch whose pause is over and whose keys neither run nor wait in an earlier batch, or when to look again.
    fn due_retry(&mut self, now: Duration) -> Result<Batch, Option<Duration>> {
        if self.retries.is_empty() {
            return Err(None);
        }
        let mut blocked: HashSet<&Arc<str>> = self.running.values().flat_map(Batch::keys).collect();
        let mut look_again = None;
        let mut due = None;
        for (first, batch) in &self.retries {
            if !batch.keys().any(|key| blocked.contains(key)) {
                if batch.not_before <= now {
                    due = Some(first.clone());
                    break;
                }
                look_again = Some(
                    look_again.map_or(batch.not_before, |at: Duration| at.min(batch.not_before)),
                );
            }
            blocked.extend(batch.keys());
        }
        due.and_then(|first| self.retries.remove(&first)).ok_or(look_again)
    }

    /// As many records as make a batch, leaving out keys that are in another one, or when it will be large enough.
    fn fresh_batch(&mut self, now: Duration) -> Result<Batch, Option<Duration>> {
        let mut chosen: Vec<SequenceNumber> = Vec::new();
        let mut bytes = ENVELOPE;
        let mut is_full = false;
        for (sequence, pending) in &self.fresh {
            if self.held.contains_key(&pending.record.key) && guard::holds(Guard::KeysApart) {
                continue;
            }
            bytes += pending.bytes;
            is_full = bytes > PAYLOAD_MAX && !chosen.is_empty();
            if is_full {
                break;
            }
            chosen.push(sequence.clone());
            is_full = chosen.len() >= self.settings.batch_size;
            if is_full {
                break;
            }
        }
        let Some(oldest) = chosen.first().and_then(|first| self.fresh.get(first)) else {
            return Err(None);
        };

        let full_at = oldest.arrived + self.settings.batching_window;
        if !is_full && now < full_at && !self.closed {
            return Err(Some(full_at));
        }
        let records = chosen.iter().filter_map(|sequence| self.fresh.remove(sequence)).collect();
        let batch = Batch { records, attempts: 0, not_before: now };
        self.hold(&batch);
        Ok(batch)
    }

    /// Takes away records that are too old, from one place at a time.
    fn take_expired(&mut self, now: Duration) -> Option<FailedBatch> {
        let oldest_allowed = now.saturating_sub(self.settings.age_max());
        let is_expired = |pending: &Pending| pending.record.created < oldest_allowed;

        let mut expired = Vec::new();
        while self.fresh.first_key_value().is_some_and(|(_, pending)| is_expired(pending)) {
            expired.extend(self.fresh.pop_first().map(|(_, pending)| pending));
        }
        if !expired.is_empty() {
            return FailedBatch::of(&expired, Condition::RecordAgeExceeded, 0);
        }

        let first = self.retries.iter().find(|(_, batch)| is_expired(batch.first()))?.0.clone();
        let mut batch = self.retries.remove(&first)?;
        let expired = batch.take_created_before(oldest_allowed);
        expired.iter().for_each(|pending| release(&mut self.held, &pending.record.key));
        let attempts = batch.attempts;
        if let Some(first) = batch.records.first() {
            self.retries.insert(first.record.sequence.clone(), batch);
        }
        FailedBatch::of(&expired, Condition::RecordAgeExceeded, attempts)
    }

    fn hold(&mut self, batch: &Batch) {
        for key in batch.keys() {
            *self.held.entry(Arc::clone(key)).or_default() += 1;
        }
    }
}

fn release(held: &mut HashMap<Arc<str>, usize>, key: &Arc<str>) {
    if let Some(count) = held.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            held.remove(key);
        }
    }
}

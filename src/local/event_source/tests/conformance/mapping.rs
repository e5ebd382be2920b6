//! One shard and one function, with time as a number.

use std::collections::VecDeque;

use aws_lambda_events::dynamodb::EventRecord;
use serde_json::{Value, json};

use super::super::super::batch::Record;
use super::super::super::failed::FailedBatch;
use super::super::super::sequence::SequenceNumber;
use super::super::super::shard::{Next, Shard};
use super::*;

/// When the records of all cases were made.
pub(super) const MADE: Duration = Duration::from_secs(10_000_000);

/// Sequence numbers begin here: the first four have 21 digits, those after them 22.
const NUMBERS_FROM: u128 = 10_u128.pow(21) - 5;

/// More batches than any case has: a day of retries, ten seconds apart, and some.
const BATCHES_MAX: usize = 10_000;

/// The sequence number of a record, whose place is counted from 1.
pub(super) fn id(place: usize) -> String {
    (NUMBERS_FROM + place as u128).to_string()
}

fn place(id: &str) -> usize {
    usize::try_from(id.parse::<u128>().unwrap() - NUMBERS_FROM).unwrap()
}

/// A new item, with this key.
pub(super) fn made(place: usize, key: &str) -> Record {
    let mut event = EventRecord::default();
    event.event_name = "INSERT".to_owned();
    event.change.keys = serde_json::from_value(json!({"execution": {"S": key}})).unwrap();
    event.change.sequence_number = Some(id(place));
    let sequence = SequenceNumber::parse(&id(place)).unwrap();
    Record { sequence, key: key.into(), created: MADE, event: Box::new(event) }
}

/// Batches of four, one at a time, and nothing that saves a failed one.
pub(super) fn plain() -> Settings {
    Settings {
        batch_size: 4,
        parallel: 1,
        bisect: false,
        retry_attempts: Some(0),
        ..Settings::default()
    }
}

/// One shard and one function.
pub(super) struct Mapping {
    pub(super) shard: Shard,
    pub(super) now: Duration,
    running: VecDeque<(u64, Vec<usize>)>,
    pub(super) given_up: Vec<FailedBatch>,
}

impl Mapping {
    /// A mapping that has read this many new items.
    pub(super) fn of(settings: Settings, count: usize) -> Self {
        let keys: Vec<String> = (1..=count).map(|place| format!("key {place}")).collect();
        Mapping::of_keys(settings, &keys.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// A mapping that has read new items with these keys.
    pub(super) fn of_keys(settings: Settings, keys: &[&str]) -> Self {
        let records = (1..).zip(keys).map(|(place, key)| made(place, key)).collect();
        Mapping::of_records(settings, records)
    }

    /// A mapping that has read these records.
    pub(super) fn of_records(settings: Settings, records: Vec<Record>) -> Self {
        let mut shard = Shard::new(Arc::new(settings), None);
        shard.accept(records, MADE);
        Mapping { shard, now: MADE, running: VecDeque::new(), given_up: Vec::new() }
    }

    /// The batch that starts now, if one does.
    pub(super) fn starts(&mut self) -> Option<Vec<usize>> {
        loop {
            match self.shard.next(self.now) {
                Next::Run { id, records } => {
                    let number = |record: &EventRecord| {
                        place(record.change.sequence_number.as_ref().unwrap())
                    };
                    let places: Vec<usize> = records.iter().map(number).collect();
                    self.running.push_back((id, places.clone()));
                    return Some(places);
                }
                Next::GiveUp(failed) => self.given_up.push(failed),
                Next::Wait(_) => return None,
            }
        }
    }

    /// The next batch, however long it takes.
    #[track_caller]
    pub(super) fn invoked(&mut self) -> Vec<usize> {
        self.next_batch().expect("nothing will be invoked")
    }

    /// The next batch, however long it takes; `None` if it takes more than time.
    fn next_batch(&mut self) -> Option<Vec<usize>> {
        loop {
            if let Some(places) = self.starts() {
                return Some(places);
            }
            let Next::Wait(Some(until)) = self.shard.next(self.now) else { return None };
            self.now = until;
        }
    }

    /// The batch that started first has ended like this.
    #[track_caller]
    pub(super) fn ended(&mut self, outcome: Result<BatchOutcome, String>) {
        let (id, _) = self.running.pop_front().expect("nothing runs");
        self.given_up.extend(self.shard.ended(id, outcome, self.now));
    }

    /// The batch that started first has answered this.
    #[track_caller]
    pub(super) fn answers(&mut self, response: &Value) {
        self.ended(Ok(BatchOutcome::from_json(response)));
    }

    /// The batch that started first has named these records.
    #[track_caller]
    pub(super) fn names(&mut self, places: &[usize]) {
        let failures: Vec<Value> =
            places.iter().map(|place| json!({"itemIdentifier": id(*place)})).collect();
        self.answers(&json!({"batchItemFailures": failures}));
    }

    /// The batch that started first is done.
    #[track_caller]
    pub(super) fn succeeds(&mut self) {
        self.answers(&json!({"batchItemFailures": []}));
    }

    /// The batch that started first has failed with an error.
    #[track_caller]
    pub(super) fn fails(&mut self) {
        self.ended(Err("on purpose".to_owned()));
    }

    /// Runs until nothing is left, with a function that fails on some batches, and returns all batches.
    pub(super) fn run(&mut self, fails: impl Fn(&[usize]) -> bool) -> Vec<Vec<usize>> {
        let mut batches = Vec::new();
        while let Some(places) = self.next_batch() {
            if fails(&places) {
                self.fails()
            } else {
                self.succeeds()
            }
            batches.push(places);
            assert!(batches.len() <= BATCHES_MAX, "there is no end to it");
        }
        assert!(self.shard.is_idle(), "something is left that never starts");
        batches
    }

    /// Runs until nothing is left, with a function that fails on some batches, but only so many times.
    pub(super) fn run_failing(
        &mut self,
        times: usize,
        fails: impl Fn(&[usize]) -> bool,
    ) -> Vec<Vec<usize>> {
        let left = std::cell::Cell::new(times);
        self.run(|places| {
            let fails_now = left.get() > 0 && fails(places);
            left.set(left.get() - usize::from(fails_now));
            fails_now
        })
    }

    /// The place of the last record before the first that is not done; 0 at the start.
    pub(super) fn checkpoint(&self) -> usize {
        self.shard.checkpoint().map_or(0, |number| place(number.as_str()))
    }

    /// What was given up: the first, the last, how many, and why.
    pub(super) fn lost(&self) -> Vec<(usize, usize, usize, String)> {
        let told = |failed: &FailedBatch| {
            let (first, last) = (place(&failed.first), place(&failed.last));
            (first, last, failed.count, format!("{:?}", failed.condition))
        };
        self.given_up.iter().map(told).collect()
    }
}

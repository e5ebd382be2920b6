//! What an event source promises: every record at least once, those of one key in order, parents before children.

use std::collections::{BTreeMap, BTreeSet};

use everhook_journal::ExecutionId;

use crate::checks::{Checked, Violation};
use crate::functions::Consumer;

/// What the stream has, and what its consumers were given of it.
#[derive(Default)]
pub(crate) struct Deliveries {
    /// Where each record stands; their numbers count from 1.
    records: Vec<(ExecutionId, usize)>,
    /// Each key's records.
    keys: BTreeMap<ExecutionId, Vec<u64>>,
    shards: Vec<Shard>,
    consumers: [Progress; 2],
}

struct Shard {
    parent: Option<usize>,
    records: Vec<u64>,
}

/// How far a consumer is.
#[derive(Default)]
struct Progress {
    /// Records that were delivered with success, or given up by name.
    past: BTreeSet<u64>,
    /// Keys in batches that are under way.
    under_way: BTreeSet<ExecutionId>,
}

fn violated(rule: &'static str, what: String) -> Checked {
    Err(Violation { rule, what })
}

impl Deliveries {
    /// There is another shard.
    pub(crate) fn shard(&mut self, parent: Option<usize>) {
        self.shards.push(Shard { parent, records: Vec::new() });
    }

    /// There is another record.
    pub(crate) fn recorded(&mut self, execution: &ExecutionId, shard: usize) {
        self.records.push((execution.clone(), shard));
        let number = self.records.len() as u64;
        self.keys.entry(execution.clone()).or_default().push(number);
        self.shards[shard].records.push(number);
    }

    /// P2, P3: a batch is delivered.
    pub(crate) fn begins(&mut self, consumer: Consumer, batch: &[u64]) -> Checked {
        let progress = &self.consumers[consumer as usize];
        for (place, number) in batch.iter().enumerate() {
            let (execution, shard) = &self.records[*number as usize - 1];
            if progress.under_way.contains(execution) {
                return violated(
                    "P2",
                    format!("{consumer:?} was given two batches of {execution} at once"),
                );
            }
            let earlier = self.keys[execution].iter().take_while(|earlier| *earlier < number);
            let mut missing =
                earlier.filter(|it| !progress.past.contains(it) && !batch[..place].contains(it));
            if let Some(missing) = missing.next() {
                return violated(
                    "P2",
                    format!(
                        "{consumer:?} was given record {number} of {execution} before {missing}"
                    ),
                );
            }
            self.parents_first(consumer, *shard)?;
        }
        let keys = batch.iter().map(|number| self.records[*number as usize - 1].0.clone());
        self.consumers[consumer as usize].under_way.extend(keys);
        Ok(())
    }

    fn parents_first(&self, consumer: Consumer, shard: usize) -> Checked {
        let past = &self.consumers[consumer as usize].past;
        let mut next = self.shards[shard].parent;
        while let Some(parent) = next {
            if let Some(missing) = self.shards[parent].records.iter().find(|it| !past.contains(it))
            {
                return violated(
                    "P3",
                    format!(
                        "{consumer:?} was given shard {shard} before record {missing} of its parent {parent}"
                    ),
                );
            }
            next = self.shards[parent].parent;
        }
        Ok(())
    }

    /// A batch has ended, however it did.
    pub(crate) fn ended(&mut self, consumer: Consumer, batch: &[u64]) {
        for number in batch {
            let (execution, _) = &self.records[*number as usize - 1];
            self.consumers[consumer as usize].under_way.remove(execution);
        }
    }

    /// These were delivered with success.
    pub(crate) fn done(&mut self, consumer: Consumer, records: &[u64]) {
        self.consumers[consumer as usize].past.extend(records);
    }

    /// What was noted as given up: the records of a shard from one to another.
    pub(crate) fn given_up(&mut self, consumer: Consumer, shard: usize, first: u64, last: u64) {
        let named = self.shards[shard].records.iter().filter(|it| (first..=last).contains(*it));
        self.consumers[consumer as usize].past.extend(named);
    }

    /// The stream let go of all records up to this one: nobody is given what he was not given yet.
    pub(crate) fn let_go(&mut self, last: u64) {
        self.consumers.iter_mut().for_each(|consumer| consumer.past.extend(1..=last));
    }

    /// Whether all consumers are past this record.
    pub(crate) fn is_past(&self, number: u64) -> bool {
        self.consumers.iter().all(|consumer| consumer.past.contains(&number))
    }

    /// P1: a record that somebody was never given.
    pub(crate) fn missing(&self) -> Option<String> {
        Consumer::ALL.into_iter().find_map(|consumer| {
            let past = &self.consumers[consumer as usize].past;
            let mut all = (1..).zip(&self.records);
            let (number, (execution, shard)) = all.find(|(number, _)| !past.contains(number))?;
            Some(format!(
                "{consumer:?} was never given record {number} of {execution}, in shard {shard}"
            ))
        })
    }
}

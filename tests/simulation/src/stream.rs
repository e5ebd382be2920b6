//! The journal's stream and its event source mappings: records that come late, twice, in another order or never.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use everhook_journal::stream::{Batch, BatchResponse, Record};
use everhook_journal::{ExecutionId, Sequence};
use tokio::sync::Notify;

use crate::executor::{WORLD, executor, roll, sleep};
use crate::faults::Fault;
use crate::functions::Consumer;
use crate::world::world;

/// How often a batch is delivered again before it is discarded.
const ATTEMPTS: u32 = 5;

/// A part of the stream.
pub(crate) struct Shard {
    parent: Option<Rc<Shard>>,
    records: RefCell<Vec<Record>>,
    is_closed: Cell<bool>,
    /// Which consumers have read all of it.
    drained: [Cell<bool>; 2],
    news: Notify,
}

/// The whole stream: which shard takes what.
pub(crate) struct Stream {
    /// Executions go to these by their ids' sums.
    open: RefCell<Vec<Rc<Shard>>>,
    number: Cell<u64>,
}

impl Shard {
    fn new(parent: Option<Rc<Shard>>) -> Rc<Self> {
        Rc::new(Self {
            parent,
            records: RefCell::default(),
            is_closed: Cell::new(false),
            drained: Default::default(),
            news: Notify::new(),
        })
    }
}

impl Stream {
    pub(crate) fn new() -> Self {
        Self { open: RefCell::default(), number: Cell::new(0) }
    }

    /// Opens the first shards, and begins to read them.
    pub(crate) fn open(&self, many: usize) {
        for _ in 0..many {
            self.add(None);
        }
    }

    fn add(&self, parent: Option<Rc<Shard>>) {
        let shard = Shard::new(parent);
        self.open.borrow_mut().push(shard.clone());
        for consumer in [Consumer::Processor, Consumer::Projector] {
            executor().spawn(WORLD, map(consumer, shard.clone()));
        }
    }

    /// An item was written.
    pub(crate) fn record(&self, execution: &ExecutionId, sequence: u64) {
        let sum: usize = execution.as_str().bytes().map(usize::from).sum();
        let place = sum % self.open.borrow().len();
        let shard = self.open.borrow()[place].clone();
        let number = self.number.get() + 1;
        self.number.set(number);
        shard.records.borrow_mut().push(Record {
            execution: execution.clone(),
            sequence: Sequence::new(sequence),
            stream_sequence: number.to_string(),
        });
        shard.news.notify_waiters();
        if world().strikes(Fault::ShardSplit) {
            shard.is_closed.set(true);
            shard.news.notify_waiters();
            self.open.borrow_mut().swap_remove(place);
            self.add(Some(shard.clone()));
            self.add(Some(shard));
        }
    }
}

/// An event source mapping at one shard.
async fn map(consumer: Consumer, shard: Rc<Shard>) {
    // A parent is read before its children.
    if let Some(parent) = &shard.parent {
        while !parent.drained[consumer as usize].get() {
            parent.news.notified().await;
        }
    }
    let mut position = 0;
    loop {
        while shard.records.borrow().len() == position {
            if shard.is_closed.get() {
                shard.drained[consumer as usize].set(true);
                shard.news.notify_waiters();
                return;
            }
            shard.news.notified().await;
        }
        if world().strikes(Fault::MappingOutage) {
            sleep(Duration::from_secs(roll(|dice| dice.between(1, 600)))).await;
        }
        sleep(Duration::from_millis(roll(|dice| dice.between(5, 300)))).await;
        let many = roll(|dice| dice.between(1, 25)) as usize;
        let (batch, end) = {
            let records = shard.records.borrow();
            let end = records.len().min(position + many);
            (disturbed(&records[..position], &records[position..end]), end)
        };
        position = end;
        if world().strikes(Fault::RecordsSideBySide) {
            executor().spawn(WORLD, deliver(consumer, batch));
        } else {
            deliver(consumer, batch).await;
        }
    }
}

/// A batch as it is delivered.
fn disturbed(earlier: &[Record], batch: &[Record]) -> Vec<Record> {
    let world = world();
    let lost = |_: &&Record| !world.strikes(Fault::RecordLost);
    let mut batch: Vec<_> = batch.iter().filter(lost).cloned().collect();
    if !earlier.is_empty() && world.strikes(Fault::RecordRepeated) {
        let from = roll(|dice| dice.below(earlier.len()));
        batch.extend(earlier[from..].iter().take(5).cloned());
    }
    if batch.len() > 1 && world.strikes(Fault::RecordsReordered) {
        for place in (1..batch.len()).rev() {
            batch.swap(place, roll(|dice| dice.below(place + 1)));
        }
    }
    batch
}

async fn deliver(consumer: Consumer, mut records: Vec<Record>) {
    for attempt in 0..ATTEMPTS {
        if records.is_empty() {
            return;
        }
        let batch = Batch { records: records.clone(), unreadable: 0 };
        match consumer.invoke(batch).await {
            Some(BatchResponse::Complete) => return,
            Some(BatchResponse::FailedFrom(number)) => {
                let place = records.iter().position(|record| record.stream_sequence == number);
                records.drain(..place.unwrap_or(0));
            }
            None => {}
        }
        sleep(Duration::from_secs(1 << attempt)).await;
        if records.len() > 1 {
            // The half behind is delivered by itself.
            let behind = records.split_off(records.len() / 2);
            executor().spawn(WORLD, Box::pin(deliver(consumer, behind)));
        }
    }
}

//! The journal's stream: shards that split, and records that are trimmed.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use everhook::local::Doorbell;
use everhook_journal::stream::Record;
use everhook_journal::{ExecutionId, Sequence};
use tokio::sync::Notify;

use crate::deliveries::Deliveries;
use crate::executor::{WORLD, executor, roll};
use crate::faults::Fault;
use crate::functions::Consumer;
use crate::mapping::map;
use crate::poller;
use crate::poller::disk::Disk;
use crate::world::world;

/// A part of the stream.
pub(crate) struct Shard {
    pub(crate) number: usize,
    /// The places of the executions that it takes.
    range: Range<u32>,
    pub(crate) parent: Option<Rc<Shard>>,
    pub(crate) records: RefCell<Vec<Record>>,
    /// When each of them was made, in seconds since 1970.
    pub(crate) made: RefCell<Vec<i64>>,
    pub(crate) is_closed: Cell<bool>,
    /// Which consumers of the model have read all of it.
    pub(crate) drained: [Cell<bool>; 2],
    pub(crate) news: Notify,
    /// When it is in the list of shards.
    pub(crate) listed_at: Duration,
    /// How many of its records the stream has let go of.
    pub(crate) trimmed: Cell<usize>,
    /// Whether the stream has let go of all of it.
    pub(crate) is_gone: Cell<bool>,
}

/// The whole stream: which shard takes what.
pub(crate) struct Stream {
    /// Whether the product's event source reads it, not the model of Lambda's.
    pub(crate) is_polled: bool,
    pub(crate) shards: RefCell<Vec<Rc<Shard>>>,
    /// Those that take records; their ranges are apart, and together are all places.
    open: RefCell<Vec<Rc<Shard>>>,
    number: Cell<u64>,
    pub(crate) doorbell: Doorbell,
    pub(crate) disk: Disk,
    pub(crate) deliveries: RefCell<Deliveries>,
}

impl Stream {
    pub(crate) fn new(is_polled: bool) -> Self {
        Self {
            is_polled,
            shards: RefCell::default(),
            open: RefCell::default(),
            number: Cell::new(0),
            doorbell: Doorbell::new(),
            disk: Disk::default(),
            deliveries: RefCell::default(),
        }
    }

    /// Opens the first shards, and begins to read them.
    pub(crate) fn open(&self, many: u32) {
        let part = u32::MAX / many;
        for number in 0..many {
            let end = if number + 1 == many { u32::MAX } else { part * (number + 1) };
            self.add(None, part * number..end);
        }
        if self.is_polled {
            executor().spawn(WORLD, poller::keep());
        }
    }

    fn add(&self, parent: Option<Rc<Shard>>, range: Range<u32>) {
        // A shard that has just come is in the list a little later.
        let late = parent.is_some() && world().strikes(Fault::ShardListedLate);
        let late = if late { roll(|dice| dice.between(100, 20_000)) } else { 0 };
        let listed_at = executor().now() + Duration::from_millis(late);
        // The list has them in the order in which they came.
        let before = self.shards.borrow().last().map_or(Duration::ZERO, |last| last.listed_at);
        let number = self.shards.borrow().len();
        self.deliveries.borrow_mut().shard(parent.as_ref().map(|parent| parent.number));
        let shard = Rc::new(Shard {
            number,
            range,
            parent,
            records: RefCell::default(),
            made: RefCell::default(),
            is_closed: Cell::new(false),
            drained: Default::default(),
            news: Notify::new(),
            listed_at: listed_at.max(before),
            trimmed: Cell::new(0),
            is_gone: Cell::new(false),
        });
        self.shards.borrow_mut().push(shard.clone());
        self.open.borrow_mut().push(shard.clone());
        if self.is_polled {
            return;
        }
        for consumer in Consumer::ALL {
            executor().spawn(WORLD, map(consumer, shard.clone()));
        }
    }

    /// An item was written.
    pub(crate) fn record(&self, execution: &ExecutionId, sequence: u64) {
        let place = place_of(execution);
        let is_its = |shard: &Rc<Shard>| shard.range.contains(&place);
        let shard = self.open.borrow().iter().find(|it| is_its(it)).cloned();
        let shard = shard.expect("some shard takes it");
        let number = self.number.get() + 1;
        self.number.set(number);
        shard.records.borrow_mut().push(Record {
            execution: execution.clone(),
            sequence: Sequence::new(sequence),
            stream_sequence: number.to_string(),
        });
        shard.made.borrow_mut().push(executor().true_millis() / 1_000);
        self.deliveries.borrow_mut().recorded(execution, shard.number);
        shard.news.notify_waiters();
        if world().strikes(Fault::ShardSplit) {
            shard.is_closed.set(true);
            shard.news.notify_waiters();
            self.open.borrow_mut().retain(|it| !is_its(it));
            let Range { start, end } = shard.range;
            let middle = start + (end - start) / 2;
            self.add(Some(shard.clone()), start..middle);
            self.add(Some(shard), middle..end);
        }
        if !self.is_polled {
            return;
        }
        if world().strikes(Fault::UnreadTrimmed) {
            let last = roll(|dice| dice.between(1, self.number.get()));
            self.deliveries.borrow_mut().let_go(last);
            self.trim();
        }
        if world().strikes(Fault::StreamTrimmed) {
            self.trim();
        }
        if !world().strikes(Fault::DoorbellUnheard) {
            self.doorbell.ring();
        }
    }

    /// Lets go of what all consumers are done with, as if a day had passed.
    fn trim(&self) {
        let deliveries = self.deliveries.borrow();
        for shard in self.shards.borrow().iter() {
            let records = shard.records.borrow();
            let done = records.iter().take_while(|record| deliveries.is_past(number_of(record)));
            let done = done.count();
            shard.trimmed.set(done);
            shard.is_gone.set(shard.is_closed.get() && done == records.len());
        }
    }
}

/// The place by which an execution finds its shard.
fn place_of(execution: &ExecutionId) -> u32 {
    let add = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    // The last place is nobody's.
    execution.as_str().bytes().fold(0x811c_9dc5, add).min(u32::MAX - 1)
}

/// The stream's number of a record.
pub(crate) fn number_of(record: &Record) -> u64 {
    record.stream_sequence.parse().expect("the stream's numbers are numbers")
}

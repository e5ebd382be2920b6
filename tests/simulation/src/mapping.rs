//! A model of Lambda's event source mappings: records that come late, twice, in another order or never.

use std::rc::Rc;
use std::time::Duration;

use everhook_journal::stream::{Batch, BatchResponse, Record};

use crate::executor::{WORLD, executor, roll, sleep};
use crate::faults::Fault;
use crate::focus::Focus;
use crate::functions::Consumer;
use crate::stream::Shard;
use crate::world::world;

/// How often a batch is delivered again before it is discarded.
const ATTEMPTS: u32 = 5;

/// An event source mapping at one shard.
pub(crate) async fn map(consumer: Consumer, shard: Rc<Shard>) {
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
        // Where delays are measured, it does not dawdle itself.
        let (pause, fewest) = if world().is_about(Focus::Hanging) { (60, 15) } else { (300, 1) };
        sleep(Duration::from_millis(roll(|dice| dice.between(5, pause)))).await;
        let many = roll(|dice| dice.between(fewest, 25)) as usize;
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
        roll(|dice| dice.shuffle(&mut batch));
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

//! Why an execution is woken, and what it is told while it is being driven.

use std::sync::{Mutex, MutexGuard, PoisonError};

use everhook_journal::stream::Batch;
use everhook_journal::timers::Fired;
use everhook_journal::{ExecutionId, Sequence};
use tokio::sync::Notify;

/// Something that makes an execution go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wake {
    /// The execution.
    pub execution: ExecutionId,
    /// Why it is woken.
    pub cause: Cause,
    /// The timer that fired, if one did.
    pub timer: Option<Fired>,
}

/// Why an execution is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Its webhook was recorded.
    Received,
    /// Its due time has come.
    Due,
    /// A callback was answered, or an operator moved it.
    Signal,
    /// A driver that must end soon found a step that acts.
    HandedOver,
    /// Its due time has come, and it is driven alone: it may have killed a process.
    Alone,
}

impl Wake {
    /// Without a timer.
    pub fn new(execution: ExecutionId, cause: Cause) -> Self {
        Self { execution, cause, timer: None }
    }

    /// Because of a timer.
    pub fn fired(timer: Fired, cause: Cause) -> Self {
        Self { execution: timer.timer.execution.clone(), cause, timer: Some(timer) }
    }
}

/// One wake-up for each execution whose first append is in the batch. Later appends wake nobody: whoever made them
/// drives the execution, or has set a timer.
pub fn from_batch(batch: &Batch) -> Vec<Wake> {
    let first = Sequence::START.next();
    let mut wakes: Vec<Wake> = Vec::new();
    for record in batch.records.iter().filter(|record| record.sequence == first) {
        let wake = Wake::new(record.execution.clone(), Cause::Received);
        if !wakes.contains(&wake) {
            wakes.push(wake);
        }
    }
    wakes
}

/// What the driver of an execution has not seen yet.
#[derive(Debug, Default)]
pub struct News {
    told: Mutex<Option<Told>>,
    bell: Notify,
}

/// What an execution was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Why it was woken. That it may have killed a process counts most, then that its time has come.
    pub cause: Cause,
    /// The timers that fired.
    pub timers: Vec<Fired>,
}

impl From<Wake> for Told {
    fn from(wake: Wake) -> Self {
        Self { cause: wake.cause, timers: wake.timer.into_iter().collect() }
    }
}

impl Told {
    /// Adds what it is told now.
    pub fn add(&mut self, other: Self) {
        let rank = |cause| match cause {
            Cause::Received => 0,
            Cause::HandedOver => 1,
            Cause::Signal => 2,
            Cause::Due => 3,
            Cause::Alone => 4,
        };
        if rank(other.cause) > rank(self.cause) {
            self.cause = other.cause;
        }
        self.timers.extend(other.timers);
    }
}

impl News {
    /// Something moved the execution, or its time has come.
    pub fn tell(&self, news: Told) {
        let mut told = self.told();
        match &mut *told {
            Some(told) => told.add(news),
            None => *told = Some(news),
        }
        self.bell.notify_one();
    }

    /// What was told since this was asked.
    pub fn take(&self) -> Option<Told> {
        self.told().take()
    }

    /// Waits until something is told.
    pub async fn heard(&self) {
        self.bell.notified().await;
    }

    /// Makes the driver look up.
    pub fn ring(&self) {
        self.bell.notify_one();
    }

    fn told(&self) -> MutexGuard<'_, Option<Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use everhook_journal::stream::Record;

    use super::*;

    fn id(letter: char) -> ExecutionId {
        ExecutionId::parse(&letter.to_string().repeat(26)).unwrap()
    }

    fn record(letter: char, sequence: u64) -> Record {
        Record {
            execution: id(letter),
            sequence: Sequence::new(sequence),
            stream_sequence: "1".into(),
        }
    }

    #[test]
    fn only_the_record_of_a_first_append_wakes_an_execution_and_once() {
        let records = vec![record('A', 2), record('B', 1), record('C', 3), record('B', 1)];

        let wakes = from_batch(&Batch { records, unreadable: 0 });

        assert_eq!(wakes, [Wake::new(id('B'), Cause::Received)]);
    }

    #[test]
    fn what_is_told_together_keeps_every_timer_and_the_weightiest_cause() {
        let news = News::default();
        let fired = |number| Fired {
            timer: everhook_journal::Timer {
                due: everhook_journal::Timestamp::from_millis(number),
                execution: id('A'),
            },
            shard: 0,
            name: number.to_string(),
            fired: 1,
            is_suspect: false,
            is_stalled: false,
        };
        news.tell(Wake::fired(fired(1), Cause::Due).into());
        news.tell(Wake::new(id('A'), Cause::Signal).into());
        news.tell(Wake::fired(fired(2), Cause::Due).into());

        let told = Told { cause: Cause::Due, timers: vec![fired(1), fired(2)] };
        assert_eq!(news.take(), Some(told));
        assert_eq!(news.take(), None);
    }
}

//! Calls in flight: which attempt may call its destination now, which waits, and which comes back later.
//!
//! Each destination (a host and port, or a resource of AWS) has places of its own, and each source a part of them:
//! one that hangs fills its own places only. `limit` is kept here too. Waiting is never a failure.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use everhook_journal::ambient::Stopwatch;
use everhook_journal::{ExecutionId, StepName};

use crate::bulkhead::{Bulkhead, Lane, Measure};

/// How many calls to one destination are in flight at most.
const CALLS_MAX: usize = 200;

/// How many of them for one source: as many as one execution makes at once.
const CALLS_OF_SOURCE_MAX: usize = 100;

/// How many attempts of one source wait for one destination in memory; more come back later.
const WAITING_MAX: usize = 256;

/// One whose turn is no later than this waits for it in memory.
const SOON: Duration = Duration::from_secs(2);

/// How long before its turn an execution is woken: looking for what is due takes up to a second.
const EARLY: Duration = Duration::from_secs(1);

/// When one that finds no room to wait comes back at the earliest.
const PARKED: Duration = Duration::from_secs(10);

/// The time between two that come back to one destination: at most 200 a second.
const PARKED_APART: Duration = Duration::from_millis(5);

/// How many turns of one destination are kept for those that come back.
const RESERVED_MAX: usize = 20_000;

/// How long a turn is kept for one that does not come.
const RESERVED: Duration = Duration::from_secs(60);

/// The calls of one process.
#[derive(Debug)]
pub struct Calls {
    began: Stopwatch,
    most: usize,
    source_most: usize,
    destinations: Mutex<HashMap<Arc<str>, Destination>>,
}

#[derive(Debug)]
struct Destination {
    places: Bulkhead,
    /// When the next turn begins that nobody has.
    next: Duration,
    /// The turns of those that come back.
    reserved: HashMap<(ExecutionId, StepName), Duration>,
}

/// One attempt that wants to call.
#[derive(Debug)]
pub struct Caller<'c> {
    /// Whom it calls.
    pub destination: &'c Arc<str>,
    /// What the step's `limit` allows.
    pub measure: Measure,
    /// For whom.
    pub source: &'c Lane,
    /// The execution.
    pub execution: &'c ExecutionId,
    /// The step.
    pub step: &'c StepName,
}

/// What an attempt that wants to call does.
#[derive(Debug)]
pub enum Turn {
    /// It waits for one of these places.
    Wait(Bulkhead),
    /// It comes back after so long.
    Later(Duration),
}

impl Default for Calls {
    fn default() -> Self {
        Self::new(CALLS_MAX, CALLS_OF_SOURCE_MAX)
    }
}

impl Calls {
    /// At most `most` calls in flight to one destination, `source_most` of them for one source.
    pub fn new(most: usize, source_most: usize) -> Self {
        let destinations = Mutex::default();
        Self { began: Stopwatch::start(), most, source_most, destinations }
    }

    /// Says whether an attempt waits for its turn, or comes back for it.
    pub fn turn(&self, caller: &Caller<'_>) -> Turn {
        let now = self.began.elapsed();
        let mut destinations = self.destinations();
        let destination = self.destination(&mut destinations, caller.destination);
        if let Some(turn) = destination.reserved_of(caller) {
            if turn > now + SOON {
                return Turn::Later(turn - now - EARLY);
            }
            destination.reserved.remove(&caller.key());
        } else if let Some(interval) = caller.measure.interval {
            let turn = destination.next.max(now);
            destination.next = turn + interval;
            if turn > now + SOON {
                destination.reserve(caller, turn, now);
                return Turn::Later(turn - now - EARLY);
            }
        }
        match destination.places.waiting(caller.source) < WAITING_MAX {
            true => Turn::Wait(destination.places.clone()),
            false => Turn::Later(destination.park(caller, now)),
        }
    }

    /// Says when an attempt comes back that has waited for long.
    pub fn park(&self, caller: &Caller<'_>) -> Duration {
        let now = self.began.elapsed();
        let mut destinations = self.destinations();
        self.destination(&mut destinations, caller.destination).park(caller, now)
    }

    fn destination<'d>(
        &self,
        destinations: &'d mut HashMap<Arc<str>, Destination>,
        name: &Arc<str>,
    ) -> &'d mut Destination {
        destinations.entry(name.clone()).or_insert_with(|| Destination {
            places: Bulkhead::new(self.most, self.source_most),
            next: Duration::ZERO,
            reserved: HashMap::new(),
        })
    }

    fn destinations(&self) -> MutexGuard<'_, HashMap<Arc<str>, Destination>> {
        self.destinations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Destination {
    fn reserved_of(&self, caller: &Caller<'_>) -> Option<Duration> {
        if self.reserved.is_empty() { None } else { self.reserved.get(&caller.key()).copied() }
    }

    fn park(&mut self, caller: &Caller<'_>, now: Duration) -> Duration {
        let apart = caller.measure.interval.unwrap_or(PARKED_APART);
        let turn = self.next.max(now + PARKED);
        self.next = turn + apart;
        self.reserve(caller, turn, now);
        turn - now - EARLY
    }

    fn reserve(&mut self, caller: &Caller<'_>, turn: Duration, now: Duration) {
        if self.reserved.len() >= RESERVED_MAX {
            self.reserved.retain(|_, turn| *turn + RESERVED > now);
        }
        // One whose turn is not kept asks for another one when it comes back.
        if self.reserved.len() < RESERVED_MAX {
            self.reserved.insert(caller.key(), turn);
        }
    }
}

impl Caller<'_> {
    fn key(&self) -> (ExecutionId, StepName) {
        (self.execution.clone(), self.step.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> ExecutionId {
        let letter = char::from(b'A' + u8::try_from(number % 26).unwrap());
        ExecutionId::parse(&letter.to_string().repeat(26)).unwrap()
    }

    /// In how many seconds each of so many executions calls, or comes back.
    fn turns(calls: &Calls, measure: Measure, many: usize) -> Vec<Option<u64>> {
        let (destination, source): (Arc<str>, Lane) = ("shop.example:443".into(), "shop".into());
        let step = StepName::new("tell");
        let turn = |execution: &ExecutionId| {
            let caller = Caller {
                destination: &destination,
                measure,
                source: &source,
                execution,
                step: &step,
            };
            match calls.turn(&caller) {
                Turn::Wait(_) => None,
                Turn::Later(after) => Some(after.as_secs()),
            }
        };
        (0..many).map(|number| turn(&id(number))).collect()
    }

    #[test]
    fn turns_by_rate_are_one_interval_apart_and_stay_the_same() {
        let calls = Calls::default();
        let measure = Measure { most: None, interval: Some(Duration::from_secs(1)) };

        let first = turns(&calls, measure, 6);

        // Whoever wakes early enough waits for the exact time.
        assert_eq!(first, [None, None, None, Some(1), Some(2), Some(3)]);
        assert_eq!(turns(&calls, measure, 6)[3..], first[3..]);
    }

    #[test]
    fn those_that_find_no_room_to_wait_come_back() {
        let calls = Calls::new(1, 1);
        let destination: Arc<str> = "slow".into();
        let source: Lane = "shop".into();
        let step = StepName::new("tell");
        let execution = id(1);
        let caller = Caller {
            destination: &destination,
            measure: Measure::default(),
            source: &source,
            execution: &execution,
            step: &step,
        };
        let Turn::Wait(places) = calls.turn(&caller) else { panic!("nobody waits") };
        for _ in 0..=WAITING_MAX {
            places.queue(&source, Measure::default(), std::mem::forget);
        }

        assert!(matches!(calls.turn(&caller), Turn::Later(after) if after >= PARKED - EARLY));
        let other: Lane = "other".into();
        let its = id(2);
        let caller = Caller { source: &other, execution: &its, ..caller };
        assert!(matches!(calls.turn(&caller), Turn::Wait(_)));
    }
}

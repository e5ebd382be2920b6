//! Which executions are awake in this process: each has one entry, and is driven by one actor at a time.
//!
//! An entry goes through these states, and out of the registry when nothing has happened to it for a while or memory is
//! short:
//!
//! | state | is | left by |
//! |---|---|---|
//! | queued | woken, and waits for a place to be driven from | a place is there |
//! | driving | its actor makes it go on; what wakes it meanwhile is told to the drive | the drive has ended |
//! | resting | its actor keeps the state, for whatever wakes it next | a wake-up; being idle |
//! | ended | it has ended, and a late record of its first append has nothing to do | a signal; being idle |
//!
//! This is a plain value without tasks and time of its own, so that a simulation runs the same one. Correctness never
//! rests on it: another process may drive the same execution, and the conditional append decides between them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use everhook_journal::ExecutionId;

use crate::wakeup::{Cause, News, Told, Wake};

/// How long an actor that nothing wakes is kept.
pub const IDLE: Duration = Duration::from_secs(5);

/// How many bytes of state resting actors keep at most, about.
const RESTING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How many executions that have ended are remembered at most.
const ENTRIES_MAX: usize = 50_000;

/// The executions that are awake, with their actors (`A`) and with what waits for the end of a drive (`W`).
#[derive(Debug)]
pub struct Registry<A, W> {
    entries: HashMap<ExecutionId, Entry<A, W>>,
    /// Those that rest or have ended, the first of them first.
    idle: VecDeque<(Duration, ExecutionId)>,
    resting_bytes: usize,
}

#[derive(Debug)]
enum Entry<A, W> {
    Queued { told: Told, actor: Option<A>, waiters: Vec<W> },
    Driving { news: Arc<News>, waiters: Vec<W> },
    Resting { actor: A, since: Duration, bytes: usize },
    Ended { since: Duration },
}

/// What is to be done about a wake-up.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked<W> {
    /// Get it a place to be driven from, then call [`Registry::turn`].
    Queue,
    /// Nothing: it waits for a place already, or its driver was told.
    Told,
    /// Nothing: it has ended.
    Ended(Option<W>),
}

/// A drive that is to begin.
#[derive(Debug)]
pub struct Turn<A> {
    /// Why.
    pub told: Told,
    /// What it is told meanwhile.
    pub news: Arc<News>,
    /// Its actor, if it has one.
    pub actor: Option<A>,
}

/// How a drive left an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest {
    /// Whether it has ended.
    pub has_ended: bool,
    /// How many bytes of state its actor keeps, about.
    pub bytes: usize,
}

/// What is to be done after a drive.
#[derive(Debug)]
pub struct Rested<A, W> {
    /// Whether it was told something that its driver has not seen: get it a place again.
    pub again: bool,
    /// What waited for this.
    pub waiters: Vec<W>,
    /// Actors to stop.
    pub stop: Vec<A>,
}

impl<A, W> Default for Registry<A, W> {
    fn default() -> Self {
        Self { entries: HashMap::new(), idle: VecDeque::new(), resting_bytes: 0 }
    }
}

impl<A, W> Registry<A, W> {
    /// Something makes an execution go on.
    pub fn wake(&mut self, wake: Wake, waiter: Option<W>) -> Asked<W> {
        let id = wake.execution.clone();
        match self.entries.get_mut(&id) {
            Some(Entry::Queued { told, waiters, .. }) => {
                told.add(wake.into());
                waiters.extend(waiter);
                return Asked::Told;
            }
            Some(Entry::Driving { news, waiters }) => {
                // What is being driven was received.
                if wake.cause != Cause::Received {
                    news.tell(wake.into());
                }
                waiters.extend(waiter);
                return Asked::Told;
            }
            Some(Entry::Ended { .. }) if wake.cause == Cause::Received => {
                return Asked::Ended(waiter);
            }
            Some(Entry::Resting { .. } | Entry::Ended { .. }) | None => {}
        }
        let actor = match self.entries.remove(&id) {
            Some(Entry::Resting { actor, bytes, .. }) => {
                self.resting_bytes -= bytes;
                Some(actor)
            }
            _ => None,
        };
        let waiters = waiter.into_iter().collect();
        self.entries.insert(id, Entry::Queued { told: wake.into(), actor, waiters });
        Asked::Queue
    }

    /// There is a place for an execution that was queued.
    pub fn turn(&mut self, id: &ExecutionId) -> Option<Turn<A>> {
        let entry = self.entries.get_mut(id)?;
        if !matches!(entry, Entry::Queued { .. }) {
            return None;
        }
        let news = Arc::<News>::default();
        let driving = Entry::Driving { news: news.clone(), waiters: Vec::new() };
        let Entry::Queued { told, actor, waiters } = std::mem::replace(entry, driving) else {
            unreachable!("looked at above");
        };
        if let Entry::Driving { waiters: kept, .. } = entry {
            *kept = waiters;
        }
        Some(Turn { told, news, actor })
    }

    /// A drive has ended, and its actor has nothing to do.
    pub fn rested(
        &mut self,
        id: &ExecutionId,
        actor: A,
        rest: Rest,
        now: Duration,
    ) -> Rested<A, W> {
        let Some(Entry::Driving { news, waiters }) = self.entries.remove(id) else {
            return Rested { again: false, waiters: Vec::new(), stop: vec![actor] };
        };
        if let Some(told) = news.take() {
            let queued = Entry::Queued { told, actor: Some(actor), waiters };
            self.entries.insert(id.clone(), queued);
            return Rested { again: true, waiters: Vec::new(), stop: Vec::new() };
        }
        let mut stop = Vec::new();
        let entry = match rest.has_ended {
            true => {
                stop.push(actor);
                Entry::Ended { since: now }
            }
            false => {
                self.resting_bytes += rest.bytes;
                Entry::Resting { actor, since: now, bytes: rest.bytes }
            }
        };
        self.entries.insert(id.clone(), entry);
        self.idle.push_back((now, id.clone()));
        stop.extend(self.tidy(now));
        Rested { again: false, waiters, stop }
    }

    /// The actor of an execution is gone with its drive. What it was told is told again: by a timer, or the audit.
    pub fn failed(&mut self, id: &ExecutionId) -> Vec<W> {
        match self.entries.remove(id) {
            Some(Entry::Driving { waiters, .. } | Entry::Queued { waiters, .. }) => waiters,
            _ => Vec::new(),
        }
    }

    /// Forgets what has been idle for a while, and more where memory is short; returns actors to stop.
    pub fn tidy(&mut self, now: Duration) -> Vec<A> {
        let mut stop = Vec::new();
        while let Some((since, _)) = self.idle.front() {
            let is_short = self.resting_bytes > RESTING_BYTES_MAX || self.idle.len() > ENTRIES_MAX;
            if *since + IDLE > now && !is_short {
                break;
            }
            let Some((since, id)) = self.idle.pop_front() else { break };
            // It may have been woken since, and rest again.
            let is_same = match self.entries.get(&id) {
                Some(Entry::Resting { since: own, .. } | Entry::Ended { since: own }) => {
                    *own == since
                }
                _ => false,
            };
            if !is_same {
                continue;
            }
            if let Some(Entry::Resting { actor, bytes, .. }) = self.entries.remove(&id) {
                self.resting_bytes -= bytes;
                stop.push(actor);
            }
        }
        stop
    }

    /// Whether some rest or have ended, and are to be forgotten after a while.
    pub fn has_idle(&self) -> bool {
        !self.idle.is_empty()
    }

    /// How many executions wait for a place, or are being driven.
    pub fn busy(&self) -> usize {
        let is_busy =
            |entry: &&Entry<A, W>| matches!(entry, Entry::Queued { .. } | Entry::Driving { .. });
        self.entries.values().filter(is_busy).count()
    }

    /// How many executions are being driven.
    pub fn driving(&self) -> usize {
        let is_driven = |entry: &&Entry<A, W>| matches!(entry, Entry::Driving { .. });
        self.entries.values().filter(is_driven).count()
    }

    /// How many executions it has an entry of.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Makes all drivers look up.
    pub fn ring(&self) {
        for entry in self.entries.values() {
            if let Entry::Driving { news, .. } = entry {
                news.ring();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Names = Registry<&'static str, u32>;

    const SECOND: Duration = Duration::from_secs(1);

    fn id(letter: char) -> ExecutionId {
        ExecutionId::parse(&letter.to_string().repeat(26)).unwrap()
    }

    fn wake(letter: char, cause: Cause) -> Wake {
        Wake::new(id(letter), cause)
    }

    fn resting(bytes: usize) -> Rest {
        Rest { has_ended: false, bytes }
    }

    #[test]
    fn two_wake_ups_of_one_execution_are_one_drive() {
        let mut registry = Names::default();
        assert_eq!(registry.wake(wake('A', Cause::Received), None), Asked::Queue);
        assert_eq!(registry.wake(wake('A', Cause::Due), None), Asked::Told);

        let turn = registry.turn(&id('A')).unwrap();
        assert_eq!(turn.told.cause, Cause::Due);
        assert!(registry.turn(&id('A')).is_none(), "a second place is given back");
        assert_eq!(registry.wake(wake('A', Cause::Signal), Some(1)), Asked::Told);
        assert_eq!(turn.news.take().map(|told| told.cause), Some(Cause::Signal));

        let rested = registry.rested(&id('A'), "a", resting(1), SECOND);
        assert_eq!((rested.again, rested.waiters), (false, vec![1]));
    }

    #[test]
    fn what_a_drive_has_not_seen_is_driven_by_the_same_actor_again() {
        let mut registry = Names::default();
        registry.wake(wake('A', Cause::Received), Some(1));
        registry.turn(&id('A')).unwrap();
        registry.wake(wake('A', Cause::Signal), Some(2));

        let rested = registry.rested(&id('A'), "a", resting(1), SECOND);
        assert!(rested.again && rested.waiters.is_empty());

        let turn = registry.turn(&id('A')).unwrap();
        assert_eq!((turn.told.cause, turn.actor), (Cause::Signal, Some("a")));
        let rested = registry.rested(&id('A'), "a", resting(1), SECOND);
        assert_eq!(rested.waiters, [1, 2]);
    }

    #[test]
    fn an_idle_actor_is_found_again_and_then_stopped() {
        let mut registry = Names::default();
        for letter in ['A', 'B'] {
            registry.wake(wake(letter, Cause::Received), None);
            registry.turn(&id(letter)).unwrap();
            registry.rested(&id(letter), "actor", resting(10), SECOND);
        }
        assert_eq!(registry.wake(wake('A', Cause::Due), None), Asked::Queue);
        assert_eq!(registry.turn(&id('A')).unwrap().actor, Some("actor"));

        assert_eq!(registry.tidy(SECOND + IDLE), ["actor"]);

        assert_eq!((registry.len(), registry.busy(), registry.resting_bytes), (1, 1, 0));
    }

    #[test]
    fn a_late_record_of_what_has_ended_wakes_nothing_and_a_signal_does() {
        let mut registry = Names::default();
        registry.wake(wake('A', Cause::Received), None);
        registry.turn(&id('A')).unwrap();
        let ended = Rest { has_ended: true, bytes: 10 };
        assert_eq!(registry.rested(&id('A'), "a", ended, SECOND).stop, ["a"]);

        assert_eq!(registry.wake(wake('A', Cause::Received), Some(7)), Asked::Ended(Some(7)));
        assert_eq!(registry.wake(wake('A', Cause::Signal), None), Asked::Queue);
    }

    #[test]
    fn resting_actors_are_stopped_where_memory_is_short() {
        let mut registry = Names::default();
        let mut stopped = Vec::new();
        for letter in ['A', 'B', 'C'] {
            registry.wake(wake(letter, Cause::Received), None);
            registry.turn(&id(letter)).unwrap();
            let rest = resting(RESTING_BYTES_MAX / 2);
            stopped.extend(registry.rested(&id(letter), "actor", rest, SECOND).stop);
        }
        assert_eq!((stopped.len(), registry.len()), (1, 2));
    }

    #[test]
    fn what_fails_is_forgotten_and_can_be_woken_again() {
        let mut registry = Names::default();
        registry.wake(wake('A', Cause::Received), Some(1));
        registry.turn(&id('A')).unwrap();

        assert_eq!(registry.failed(&id('A')), [1]);

        assert_eq!(registry.wake(wake('A', Cause::Due), None), Asked::Queue);
        assert!(registry.turn(&id('A')).unwrap().actor.is_none());
    }
}

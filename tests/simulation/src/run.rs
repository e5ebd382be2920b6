//! Many worlds, on all cores, and what they came to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use everhook_journal::guard::Guard;

use crate::world::{self, Outcome};
use crate::{Fault, Focus, Violation};

/// What many worlds came to.
#[derive(Debug, Default, Clone)]
pub struct Summary {
    /// How many worlds were run.
    pub worlds: u64,
    /// The seeds of those in which a rule was broken, and how; the lowest seeds first.
    pub broken: Vec<(u64, Violation)>,
    /// How many executions completed, failed, and were cancelled.
    pub ends: [u64; 3],
    /// How many appends there were.
    pub appends: u64,
    /// How many writes were applied.
    pub calls: u64,
    /// How much time passed in all worlds.
    pub simulated: Duration,
    /// How often each fault struck, in the order of [`Fault::ALL`].
    pub faults: Vec<u64>,
    /// How long it took.
    pub took: Duration,
    /// A digest of all worlds, whatever order they were run in.
    pub digest: u64,
}

/// Which worlds to run.
#[derive(Debug, Clone, Copy)]
pub struct Worlds {
    /// The seed of the first.
    pub first: u64,
    /// How many.
    pub many: u64,
    /// A guard to switch off in all of them.
    pub without: Option<Guard>,
    /// What all of them are about, if not each about something of its own.
    pub about: Option<Focus>,
    /// Stop after so many broken ones.
    pub broken_max: usize,
    /// Stop after so long.
    pub limit: Option<Duration>,
    /// On how many threads.
    pub threads: usize,
}

impl Summary {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        self.worlds += 1;
        for (sum, one) in self.ends.iter_mut().zip(outcome.ends) {
            *sum += one;
        }
        self.appends += outcome.appends;
        self.calls += outcome.calls;
        self.simulated += outcome.took;
        self.faults.resize(Fault::ALL.len(), 0);
        for (sum, one) in self.faults.iter_mut().zip(outcome.faults) {
            *sum += one;
        }
        // A sum, so that the order does not matter.
        self.digest = self.digest.wrapping_add(outcome.digest.wrapping_mul(seed | 1));
        if let Some(violation) = outcome.violation {
            self.broken.push((seed, violation));
        }
    }
}

/// As many threads as there are cores.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Runs worlds; `progress` is told now and then how many there were, and how many were broken.
pub fn run(worlds: Worlds, progress: &(dyn Fn(u64, usize) + Sync)) -> Summary {
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let summary = Mutex::new(Summary::default());
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let is_late = worlds.limit.is_some_and(|limit| began.elapsed() > limit);
            if number >= worlds.many || is_late {
                return;
            }
            let seed = worlds.first.wrapping_add(number);
            let outcome = world::run(seed, worlds.without, worlds.about, false);
            let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
            summary.add(seed, outcome);
            if summary.broken.len() >= worlds.broken_max {
                next.store(worlds.many, Ordering::Relaxed);
                return;
            }
            if summary.worlds.is_multiple_of(500) {
                progress(summary.worlds, summary.broken.len());
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..worlds.threads.max(1) {
            scope.spawn(work);
        }
    });
    let mut summary = summary.into_inner().unwrap_or_else(PoisonError::into_inner);
    summary.broken.sort_by_key(|(seed, _)| *seed);
    summary.took = began.elapsed();
    summary
}

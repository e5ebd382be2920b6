//! How often one process tries to keep a refused request of one source, and in which slot.

use std::time::Duration;

use everhook_journal::quarantine::SLOTS;
use everhook_journal::{Timestamp, ambient};

/// How many tries can be saved up. One is earned each second.
const TRIES_MAX: u64 = 10;

/// How long a slot that was found taken is not tried again: a failed put costs as much as one that succeeds.
const TAKEN_FOR: Duration = Duration::from_secs(600);

/// What a process knows of a source's slots.
#[derive(Debug)]
pub(super) struct Places {
    tries: u64,
    earned_at: Timestamp,
    /// Until when each is taken for taken.
    taken_until: [Timestamp; SLOTS],
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoPlace {
    #[error("requests are refused faster than they are kept")]
    TooFast,
    #[error("all slots are taken")]
    Full,
}

impl Default for Places {
    fn default() -> Self {
        let past = Timestamp::from_millis(0);
        Self { tries: TRIES_MAX, earned_at: past, taken_until: [past; SLOTS] }
    }
}

impl Places {
    /// A slot to try, which counts as taken from now on.
    pub(super) fn take(&mut self, now: Timestamp) -> Result<usize, NoPlace> {
        let earned = now.since(self.earned_at).as_secs();
        if earned > 0 {
            self.tries = self.tries.saturating_add(earned).min(TRIES_MAX);
            self.earned_at = now;
        }
        let free: Vec<_> = (0..SLOTS).filter(|slot| self.taken_until[*slot] <= now).collect();
        let slot = *free.get(random_below(free.len())).ok_or(NoPlace::Full)?;
        self.tries = self.tries.checked_sub(1).ok_or(NoPlace::TooFast)?;
        self.taken_until[slot] = now + TAKEN_FOR;
        Ok(slot)
    }

    /// Says that a slot has been emptied.
    pub(super) fn free(&mut self, slot: usize) {
        self.taken_until[slot] = Timestamp::from_millis(0);
    }
}

/// Several processes that look for a place should not all try the same one.
fn random_below(count: usize) -> usize {
    let mut bytes = [0; 4];
    ambient::fill(&mut bytes);
    u32::from_le_bytes(bytes) as usize % count.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_795_486_845_000 + seconds * 1000)
    }

    #[test]
    fn tries_are_bounded_at_once_and_in_the_long_run() {
        let mut places = Places::default();
        let taken = |places: &mut Places, now| (0..50).filter(|_| places.take(now).is_ok()).count();
        assert_eq!(taken(&mut places, at(0)), 10);
        assert_eq!(places.take(at(0)), Err(NoPlace::TooFast));
        assert_eq!(taken(&mut places, at(3)), 3);
        assert_eq!(taken(&mut places, at(60)), 10);
    }

    #[test]
    fn each_slot_is_tried_once_in_ten_minutes_and_when_it_is_freed() {
        let mut places = Places::default();
        let mut tried: Vec<_> = (0..100).map(|second| places.take(at(second)).unwrap()).collect();
        assert_eq!(places.take(at(500)), Err(NoPlace::Full));
        tried.sort_unstable();
        assert_eq!(tried, (0..SLOTS).collect::<Vec<_>>());

        places.free(7);
        assert_eq!(places.take(at(501)), Ok(7));
        assert!(places.take(at(650)).is_ok());
    }
}

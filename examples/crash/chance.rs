//! Chance that can be had again: the same seed draws the same numbers.

use std::time::Duration;

use everhook_simulation::dice::Dice;

/// A source of numbers.
#[derive(Debug, Clone)]
pub(crate) struct Chance(Dice);

impl Chance {
    /// Chance of this seed, and of this part of the run.
    pub(crate) fn new(seed: u64, part: &str) -> Self {
        let mixed = part.bytes().fold(seed, |mixed, byte| {
            mixed.wrapping_mul(0x0100_0000_01b3).wrapping_add(u64::from(byte))
        });
        Self(Dice::new(mixed))
    }

    /// Any number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0.number()
    }

    /// A number below this one.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// Whether something happens that does so in so many of a hundred cases.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// A time between these, in milliseconds.
    pub(crate) fn between_ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from + 1))
    }

    /// Puts things in another order.
    pub(crate) fn shuffle<T>(&mut self, things: &mut [T]) {
        self.0.shuffle(things);
    }
}

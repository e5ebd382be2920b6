//! Where a server dies on purpose, and how often each place did it.

use std::collections::BTreeMap;
use std::fmt;

use crate::chance::Chance;

/// The named places in the product, and about how often each is passed in half a second.
const PLACES: [(&str, u64); 13] = [
    ("append.before", 80),
    ("append.after", 80),
    ("answer.before", 16),
    ("payload.stored", 2),
    ("fact.appended", 3),
    ("act.before", 30),
    ("act.after", 30),
    ("end.before", 14),
    ("end.after", 14),
    ("timer.set", 12),
    ("timer.claimed", 8),
    ("timer.clear", 8),
    ("audit.set", 1),
];

/// The places that a server passes only while it makes what it needs, and how often.
pub(crate) const FIRST_START: [(&str, u64); 2] = [("secret.written", 7), ("table.made", 2)];

/// How often a place may be missed before that is an error: chance does not miss it so often.
const ARMED_IN_VAIN_MAX: u64 = 4;

/// The places, in turn and in an order by chance.
#[derive(Debug)]
pub(crate) struct Failpoints {
    turn: Vec<&'static str>,
    /// The most passes before the death: fewer after a place was not reached in time.
    passes_max: BTreeMap<&'static str, u64>,
    armed: BTreeMap<&'static str, u64>,
    died: BTreeMap<&'static str, u64>,
}

impl Failpoints {
    pub(crate) fn new() -> Self {
        let none = || PLACES.iter().map(|(name, _)| (*name, 0)).collect();
        let passes_max = PLACES.into_iter().collect();
        Self { turn: Vec::new(), passes_max, armed: none(), died: none() }
    }

    /// The next place to die at.
    pub(crate) fn arm(&mut self, chance: &mut Chance) -> (&'static str, u64) {
        if self.turn.is_empty() {
            self.turn = PLACES.iter().map(|(name, _)| *name).collect();
            chance.shuffle(&mut self.turn);
        }
        let name = self.turn.pop().unwrap_or(PLACES[0].0);
        *self.armed.entry(name).or_default() += 1;
        (name, chance.below(self.passes_max[name]))
    }

    /// A server died there.
    pub(crate) fn died(&mut self, name: &'static str) {
        *self.died.entry(name).or_default() += 1;
    }

    /// A server did not die there in time.
    pub(crate) fn missed(&mut self, name: &'static str) {
        self.passes_max.entry(name).and_modify(|most| *most = (*most / 4).max(1));
    }

    /// How often a server died at one of them.
    pub(crate) fn deaths(&self) -> u64 {
        self.died.values().sum()
    }

    /// The places that were armed often, and where no server ever died.
    pub(crate) fn never(&self) -> Vec<&'static str> {
        let never = |name: &&&str| self.died[*name] == 0 && self.armed[*name] >= ARMED_IN_VAIN_MAX;
        self.armed.keys().filter(never).copied().collect()
    }
}

impl fmt::Display for Failpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each =
            self.died.iter().map(|(name, died)| format!("{name} {died}/{}", self.armed[name]));
        f.write_str(&each.collect::<Vec<_>>().join(", "))
    }
}

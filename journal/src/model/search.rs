//! Breadth first through every state that can be reached, and back from every good end.

use std::fmt::Write;
use std::hash::{Hash, Hasher};

use super::mutant::Property;
use super::world::{Change, State, World};

/// Every state that can be reached, or the shortest way to a violation.
#[derive(Debug)]
pub(super) struct Explored {
    pub(super) states: usize,
    pub(super) transitions: usize,
    pub(super) depth: usize,
    pub(super) violation: Option<Violation>,
}

/// A violation, and the shortest way to it.
#[derive(Debug)]
pub(super) struct Violation {
    pub(super) what: Property,
    pub(super) steps: usize,
    pub(super) story: String,
}

/// How a state was first reached.
struct Reached {
    from: u32,
    by: &'static str,
    depth: u32,
}

/// The states that were reached, each once, with how.
struct Found {
    states: Vec<State>,
    reached: Vec<Reached>,
    /// A hash table of places in `states`; 0 is free, so that places count from 1.
    table: Vec<u32>,
}

/// Looks at every state that can be reached, once.
pub(super) fn explore(world: &mut World) -> Explored {
    let mut found = Found { states: Vec::new(), reached: Vec::new(), table: vec![0; 1 << 16] };
    found.add(world.first(), Reached { from: 0, by: "", depth: 0 });
    // From, to: steps that happen without luck.
    let mut owed: Vec<(u32, u32)> = Vec::new();
    let mut changes: Vec<Change> = Vec::new();
    let (mut transitions, mut from) = (0, 0);
    while from < found.states.len() {
        let state = found.states[from];
        world.changes(&state, &mut changes);
        transitions += changes.len();
        let depth = found.reached[from].depth + 1;
        for change in changes.drain(..) {
            let to = world.canonical(change.to);
            let place = to_place(from);
            let (number, is_new) = found.add(to, Reached { from: place, by: change.by, depth });
            let violated = change.broken.or_else(|| is_new.then(|| world.violated(&to)).flatten());
            if let Some(what) = violated {
                let mut story = found.tell(world, place);
                line(&mut story, change.by, world, &to);
                let violation = Violation { what, steps: depth as usize, story };
                return found.explored(transitions, Some(violation));
            }
            if change.owed && number != place {
                owed.push((place, number));
            }
        }
        from += 1;
    }
    let lost = lost(world, &found.states, &owed).map(|place| Violation {
        what: Property::Ends,
        steps: found.reached[place as usize].depth as usize,
        story: found.tell(world, place),
    });
    found.explored(transitions, lost)
}

/// The first state with an execution from which no owed steps lead to a good end. Whatever can happen by luck, a fair
/// schedule then never ends well; and a state in which nothing happens any more is such a state, unless it is one.
fn lost(world: &World, states: &[State], owed: &[(u32, u32)]) -> Option<u32> {
    // The steps to each state, one after the other.
    let mut ends = vec![0usize; states.len() + 1];
    for (_, to) in owed {
        ends[*to as usize + 1] += 1;
    }
    for place in 0..states.len() {
        ends[place + 1] += ends[place];
    }
    let (starts, mut free) = (ends.clone(), ends);
    let mut before = vec![0u32; owed.len()];
    for (from, to) in owed {
        before[free[*to as usize]] = *from;
        free[*to as usize] += 1;
    }
    let mut is_fine: Vec<bool> = states.iter().map(|state| world.is_well_ended(state)).collect();
    let mut open: Vec<usize> = (0..states.len()).filter(|place| is_fine[*place]).collect();
    while let Some(place) = open.pop() {
        for from in &before[starts[place]..starts[place + 1]] {
            let from = *from as usize;
            if !is_fine[from] {
                is_fine[from] = true;
                open.push(from);
            }
        }
    }
    is_fine.iter().position(|is_fine| !is_fine).map(to_place)
}

impl Found {
    /// Adds a state; says its place, and whether it is new.
    fn add(&mut self, state: State, reached: Reached) -> (u32, bool) {
        if self.states.len() * 2 >= self.table.len() {
            let table = vec![0; self.table.len() * 4];
            self.table = table;
            for place in 0..self.states.len() {
                let slot = self.slot(&self.states[place]);
                self.table[slot] = to_place(place + 1);
            }
        }
        let slot = self.slot(&state);
        if self.table[slot] != 0 {
            return (self.table[slot] - 1, false);
        }
        self.states.push(state);
        self.reached.push(reached);
        self.table[slot] = to_place(self.states.len());
        (self.table[slot] - 1, true)
    }

    /// The slot of the table that has this state, or is free for it.
    fn slot(&self, state: &State) -> usize {
        let mut hash = Folding::default();
        state.hash(&mut hash);
        let mask = self.table.len() - 1;
        let mut slot = hash.finish() as usize & mask;
        while self.table[slot] != 0 && self.states[self.table[slot] as usize - 1] != *state {
            slot = (slot + 1) & mask;
        }
        slot
    }

    /// The shortest way to a state, a line a step.
    fn tell(&self, world: &World, place: u32) -> String {
        let mut way = Vec::new();
        let mut place = place as usize;
        while place != 0 {
            way.push(place);
            place = self.reached[place].from as usize;
        }
        let mut story = String::new();
        for place in way.into_iter().rev() {
            line(&mut story, self.reached[place].by, world, &self.states[place]);
        }
        story
    }

    fn explored(&self, transitions: usize, violation: Option<Violation>) -> Explored {
        let depth = self.reached.last().map_or(0, |reached| reached.depth as usize);
        Explored { states: self.states.len(), transitions, depth, violation }
    }
}

fn to_place(place: usize) -> u32 {
    u32::try_from(place).expect("there are fewer states")
}

fn line(story: &mut String, by: &str, world: &World, state: &State) {
    writeln!(story, "{by:<56} {}", world.words(state)).expect("a text takes more text");
}

/// A fast hash for small values: each word is folded into what is there.
#[derive(Default)]
struct Folding(u64);

impl Folding {
    fn fold(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for Folding {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.fold(u64::from(*byte)));
    }

    fn write_u8(&mut self, word: u8) {
        self.fold(word.into());
    }

    fn write_u16(&mut self, word: u16) {
        self.fold(word.into());
    }

    fn write_usize(&mut self, word: usize) {
        self.fold(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.fold(word.cast_unsigned() as u64);
    }
}

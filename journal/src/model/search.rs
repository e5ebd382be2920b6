//! Breadth first through everything that can happen, and back from every good end.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Write;
use std::hash::{BuildHasherDefault, Hasher};

use super::world::{Change, State, World};

/// Everything that can happen, or the shortest way to something that must not.
#[derive(Debug)]
pub(super) struct Explored {
    pub(super) states: usize,
    pub(super) transitions: usize,
    pub(super) depth: usize,
    pub(super) wrong: Option<Wrong>,
}

/// Something that must not happen, and the shortest way there.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) what: &'static str,
    pub(super) steps: usize,
    pub(super) story: String,
}

/// How a state was first met.
struct Met {
    from: u32,
    by: &'static str,
    depth: u32,
}

/// Looks at every state that can be reached, once.
pub(super) fn explore(world: &mut World) -> Explored {
    let mut numbers: HashMap<State, u32, BuildHasherDefault<Folding>> = HashMap::default();
    let mut states = vec![world.first()];
    let mut met = vec![Met { from: 0, by: "nothing has happened", depth: 0 }];
    // Those that can happen with nobody's help but the due time's: from, to.
    let mut owed: Vec<(u32, u32)> = Vec::new();
    let mut changes: Vec<Change> = Vec::new();
    let (mut transitions, mut place) = (0, 0);
    numbers.insert(states[0], 0);
    while place < states.len() {
        let from = u32::try_from(place).expect("there are fewer");
        let state = states[place];
        world.changes(&state, &mut changes);
        transitions += changes.len();
        for change in changes.drain(..) {
            let to = change.to.sorted();
            let number = match numbers.entry(to) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(free) => {
                    let number = u32::try_from(states.len()).expect("there are fewer");
                    free.insert(number);
                    states.push(to);
                    met.push(Met { from, by: change.by, depth: met[place].depth + 1 });
                    number
                }
            };
            if let Some(what) = change.broken.or_else(|| world.wrong(&to)) {
                let mut story = tell(world, &states, &met, from);
                line(&mut story, change.by, world, &to);
                let wrong = Wrong { what, steps: met[place].depth as usize + 1, story };
                return told(&states, transitions, &met, Some(wrong));
            }
            if change.owed && number != from {
                owed.push((from, number));
            }
        }
        place += 1;
    }
    let wrong = stuck(world, &states, owed).map(|number| Wrong {
        what: "an acknowledged execution cannot end by its due time alone",
        steps: met[number as usize].depth as usize,
        story: tell(world, &states, &met, number),
    });
    told(&states, transitions, &met, wrong)
}

fn told(states: &[State], transitions: usize, met: &[Met], wrong: Option<Wrong>) -> Explored {
    let depth = met.last().map_or(0, |met| met.depth as usize);
    Explored { states: states.len(), transitions, depth, wrong }
}

/// The first state that is owed an end and from which there is no way to it.
fn stuck(world: &World, states: &[State], mut owed: Vec<(u32, u32)>) -> Option<u32> {
    owed.sort_unstable_by_key(|(_, to)| *to);
    let mut is_fine: Vec<bool> = states.iter().map(|state| world.is_well_ended(state)).collect();
    let mut open: Vec<usize> = (0..states.len()).filter(|number| is_fine[*number]).collect();
    while let Some(number) = open.pop() {
        let number = u32::try_from(number).expect("there are fewer");
        let first = owed.partition_point(|(_, to)| *to < number);
        for (from, _) in owed[first..].iter().take_while(|(_, to)| *to == number) {
            let from = *from as usize;
            if !is_fine[from] {
                is_fine[from] = true;
                open.push(from);
            }
        }
    }
    let found = (0..states.len()).find(|number| states[*number].acknowledged && !is_fine[*number]);
    found.map(|number| u32::try_from(number).expect("there are fewer"))
}

/// The shortest way to a state, a line a step.
fn tell(world: &World, states: &[State], met: &[Met], mut number: u32) -> String {
    let mut way = Vec::new();
    while number != 0 {
        way.push(number);
        number = met[number as usize].from;
    }
    let mut story = String::new();
    for number in way.into_iter().rev() {
        let number = number as usize;
        line(&mut story, met[number].by, world, &states[number]);
    }
    story
}

fn line(story: &mut String, by: &str, world: &World, state: &State) {
    writeln!(story, "{by:<56} {}", world.words(state)).expect("a text takes more text");
}

/// A quick hash for small values: each word is folded into what is there.
#[derive(Default)]
struct Folding(u64);

impl Hasher for Folding {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(word.into());
    }

    fn write_u16(&mut self, word: u16) {
        self.write_u64(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word.cast_unsigned() as u64);
    }
}

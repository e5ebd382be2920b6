//! Which appends this process has itself gone beyond, so that their late records cost nothing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use everhook_journal::{ExecutionId, Sequence};

/// How many executions one generation of the memory holds.
const GENERATION: usize = 20_000;

/// A bounded memory. Forgetting costs one read of a history, never more.
#[derive(Debug, Default)]
pub struct Recall(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<ExecutionId, Sequence>,
    old: HashMap<ExecutionId, Sequence>,
}

impl Recall {
    /// Remembers that wake-ups for appends up to this one have nothing left to do.
    pub fn passed(&self, id: &ExecutionId, append: Sequence) {
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if generations.young.len() >= GENERATION {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(id.clone(), append);
    }

    /// Whether a wake-up for this append is known to have nothing left to do.
    pub fn is_passed(&self, id: &ExecutionId, append: Sequence) -> bool {
        let generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = generations.young.get(id).or_else(|| generations.old.get(id));
        known.is_some_and(|passed| append <= *passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> ExecutionId {
        let letter = |n: usize| char::from(b'A' + (n % 26) as u8);
        let text = (0..26u32).map(|place| letter(number / 26usize.pow(place.min(4))));
        ExecutionId::parse(&text.collect::<String>()).unwrap()
    }

    #[test]
    fn it_remembers_how_far_and_no_further() {
        let recall = Recall::default();
        recall.passed(&id(1), Sequence::new(3));
        assert!(recall.is_passed(&id(1), Sequence::new(3)));
        assert!(!recall.is_passed(&id(1), Sequence::new(4)));
        assert!(!recall.is_passed(&id(2), Sequence::new(1)));
    }

    #[test]
    fn it_stays_bounded() {
        let recall = Recall::default();
        (0..3 * GENERATION).for_each(|n| recall.passed(&id(n), Sequence::new(1)));
        let generations = recall.0.lock().unwrap();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION);
    }
}

//! The states that this process has seen lately, so that only what is new is read.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use everhook_journal::{Execution, ExecutionId, Timestamp};

/// Shorter histories are read whole: that is one call in any case.
const EVENTS_MIN: u64 = 8;

/// How much one generation of the memory holds, in bytes, about.
const GENERATION: usize = 32 * 1024 * 1024;

/// A bounded memory. Forgetting costs the read of a whole history, never more:
/// events are never changed, so a state that was right is the state after its events for good.
#[derive(Debug, Default)]
pub struct Memory(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<ExecutionId, Execution>,
    old: HashMap<ExecutionId, Execution>,
    young_bytes: usize,
}

impl Memory {
    /// Takes what is known of an execution, to go on from there. A history that has expired is none.
    pub fn take(&self, id: &ExecutionId, now: Timestamp) -> Option<Execution> {
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = generations.young.remove(id).or_else(|| generations.old.remove(id));
        known.filter(|execution| now < execution.webhook.expires_at)
    }

    /// Remembers the state after an append.
    pub fn put(&self, id: &ExecutionId, execution: Execution) {
        if execution.status.is_terminal() || execution.sequence.get() < EVENTS_MIN {
            return;
        }
        let bytes = execution.bytes();
        if bytes > GENERATION {
            return;
        }
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if generations.young_bytes + bytes > GENERATION {
            generations.old = std::mem::take(&mut generations.young);
            generations.young_bytes = 0;
        }
        generations.young_bytes += bytes;
        generations.young.insert(id.clone(), execution);
    }
}

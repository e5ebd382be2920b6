//! Whose webhooks were recorded lately: where the same process drives executions, it takes sources by turns.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use everhook_journal::{ExecutionId, SourceName};

/// How many executions one generation of the memory holds.
const GENERATION: usize = 20_000;

/// The sources of executions that were recorded lately. A bounded memory; nothing is wrong with one that it forgets.
#[derive(Debug, Default)]
pub struct Arrivals(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    is_kept: bool,
    young: HashMap<ExecutionId, SourceName>,
    old: HashMap<ExecutionId, SourceName>,
}

impl Arrivals {
    /// Begins to remember: in AWS nobody asks.
    pub fn keep(&self) {
        self.generations().is_kept = true;
    }

    /// A webhook is about to be recorded.
    pub(crate) fn note(&self, id: &ExecutionId, source: &SourceName) {
        let mut generations = self.generations();
        if !generations.is_kept {
            return;
        }
        if generations.young.len() >= GENERATION {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(id.clone(), source.clone());
    }

    /// The source of an execution, once.
    pub fn take(&self, id: &ExecutionId) -> Option<SourceName> {
        let mut generations = self.generations();
        generations.young.remove(id).or_else(|| generations.old.remove(id))
    }

    fn generations(&self) -> std::sync::MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

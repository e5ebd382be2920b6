//! Large requests that were not recorded whole in time.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use everhook_journal::ExecutionId;

use crate::answer::Accepted;

/// How many executions are remembered.
const EXECUTIONS_MAX: usize = 50_000;

/// Executions of large requests that are durable already. A request that takes longer than its sender waits
/// is sent again, and goes on behind them: otherwise it would be as slow again, and never end.
#[derive(Debug, Default)]
pub(super) struct Unfinished(Mutex<HashSet<ExecutionId>>);

impl Unfinished {
    /// Whether this execution is durable.
    pub(super) fn has(&self, id: &ExecutionId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    /// Remembers an execution that is durable. Forgetting costs time, and loses nothing.
    pub(super) fn add(&self, id: ExecutionId) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= EXECUTIONS_MAX {
            known.clear();
        }
        known.insert(id);
    }

    /// Forgets the executions of a request that was recorded whole.
    pub(super) fn forget(&self, recorded: &[Accepted]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recorded.iter().for_each(|it| {
            known.remove(&it.execution);
        });
    }
}

#[cfg(test)]
mod tests {
    use everhook_journal::{DeliveryId, ExecutionKey, SourceName};

    use super::*;

    #[test]
    fn what_is_durable_is_known_until_its_request_is_whole() {
        let key = ExecutionKey::new(b"a key of sixteen bytes or more").unwrap();
        let id = |at: usize| {
            ExecutionId::derive(&key, &SourceName::new("s"), &DeliveryId::new(at.to_string()), &[])
        };
        let unfinished = Unfinished::default();
        unfinished.add(id(1));
        assert!(unfinished.has(&id(1)) && !unfinished.has(&id(2)));
        let recorded = |at| Accepted { execution: id(at), duplicate: false, repeat_of: None };
        unfinished.forget(&[recorded(1), recorded(2)]);
        assert!(!unfinished.has(&id(1)));
        (0..=EXECUTIONS_MAX).for_each(|at| unfinished.add(id(at)));
        assert!(unfinished.0.lock().unwrap().len() <= EXECUTIONS_MAX);
    }
}

//! A batch of records becomes one wake-up an execution.

use std::collections::HashMap;

use everhook_journal::stream::Batch;
use everhook_journal::{ExecutionId, Sequence};

/// The news that an execution moved, or that its time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wake {
    /// The execution.
    pub execution: ExecutionId,
    /// Why it is woken.
    pub cause: Cause,
}

/// Why an execution is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The append that begins here was made.
    Appended(Sequence),
    /// Its due time has come.
    Due,
    /// A driver that must end soon found a step that acts.
    HandedOver,
    /// Its due time has come, and it is driven alone: it may have killed a process.
    Alone,
}

/// One wake-up for each execution in the batch, for its latest append, in order of first mention.
pub fn from_batch(batch: &Batch) -> Vec<Wake> {
    let mut places: HashMap<&ExecutionId, usize> = HashMap::new();
    let mut latest: Vec<(&ExecutionId, Sequence)> = Vec::new();
    for record in &batch.records {
        let place = *places.entry(&record.execution).or_insert_with(|| {
            latest.push((&record.execution, record.sequence));
            latest.len() - 1
        });
        latest[place].1 = latest[place].1.max(record.sequence);
    }
    let wake = |(execution, sequence): (&ExecutionId, Sequence)| Wake {
        execution: execution.clone(),
        cause: Cause::Appended(sequence),
    };
    latest.into_iter().map(wake).collect()
}

#[cfg(test)]
mod tests {
    use everhook_journal::stream::Record;

    use super::*;

    fn id(letter: char) -> ExecutionId {
        ExecutionId::parse(&letter.to_string().repeat(26)).unwrap()
    }

    fn record(letter: char, sequence: u64) -> Record {
        Record {
            execution: id(letter),
            sequence: Sequence::new(sequence),
            stream_sequence: "1".into(),
        }
    }

    #[test]
    fn an_execution_is_woken_once_for_its_latest_append() {
        let records = vec![record('A', 2), record('B', 1), record('A', 3), record('A', 1)];

        let wakes = from_batch(&Batch { records, unreadable: 0 });

        let wake =
            |letter, n| Wake { execution: id(letter), cause: Cause::Appended(Sequence::new(n)) };
        assert_eq!(wakes, [wake('A', 3), wake('B', 1)]);
    }
}

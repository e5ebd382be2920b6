//! What the world outside knows of a server: what it acknowledged, and what is wrong with it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use everhook_journal::ExecutionId;

/// A kind of webhook: the name of its source and of its workflow.
pub(crate) type Flow = &'static str;

/// How often each kind is sent, of a hundred.
pub(crate) const FLOWS: [(Flow, u64); 5] =
    [("plain", 40), ("once", 15), ("attempt", 10), ("approve", 20), ("nap", 15)];

/// How many violations are kept.
const VIOLATIONS_MAX: usize = 20;

/// A webhook that was acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Acknowledged {
    pub(crate) flow: Flow,
    /// The id that the sender gave it.
    pub(crate) delivery: String,
    pub(crate) body_sha256: String,
    pub(crate) execution: ExecutionId,
}

/// What is known of a server. A clone is the same ledger.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Entries>>);

#[derive(Debug, Default)]
struct Entries {
    acknowledged: BTreeMap<u64, Acknowledged>,
    answers: BTreeMap<u16, u64>,
    unanswered: u64,
    redelivered: u64,
    started: Option<Instant>,
    first_202: Vec<Duration>,
    violations: Vec<String>,
}

/// How posts were answered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers {
    pub(crate) by_status: BTreeMap<u16, u64>,
    pub(crate) unanswered: u64,
    pub(crate) redelivered: u64,
}

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A server was started then.
    pub(crate) fn started(&self, at: Instant) {
        self.entries().started = Some(at);
    }

    /// A post that began then was answered.
    pub(crate) fn answered(&self, status: u16, posted: Instant) {
        let mut entries = self.entries();
        *entries.answers.entry(status).or_default() += 1;
        if status == 202
            && let Some(started) = entries.started.take_if(|started| *started < posted)
        {
            entries.first_202.push(started.elapsed());
        }
    }

    /// A post was not answered.
    pub(crate) fn unanswered(&self) {
        self.entries().unanswered += 1;
    }

    /// A webhook got its 202: the first one, or one more, which must tell of the same execution.
    pub(crate) fn acknowledge(&self, number: u64, acknowledged: Acknowledged, duplicate: bool) {
        let mut entries = self.entries();
        let execution = acknowledged.execution.clone();
        match entries.acknowledged.get(&number) {
            None => drop(entries.acknowledged.insert(number, acknowledged)),
            Some(first) if first.execution == execution && duplicate => entries.redelivered += 1,
            Some(first) => {
                let text = format!(
                    "webhook {number} was acknowledged as execution {}, and then as {execution} \
                     (duplicate: {duplicate})",
                    first.execution
                );
                drop(entries);
                self.violation(text);
            }
        }
    }

    /// All that was acknowledged so far.
    pub(crate) fn acknowledged(&self) -> BTreeMap<u64, Acknowledged> {
        self.entries().acknowledged.clone()
    }

    /// One that was acknowledged: the one with this number, or the next.
    pub(crate) fn any(&self, number: u64) -> Option<u64> {
        self.entries().acknowledged.range(number..).next().map(|(number, _)| *number)
    }

    /// How many were acknowledged.
    pub(crate) fn count(&self) -> usize {
        self.entries().acknowledged.len()
    }

    /// How posts were answered.
    pub(crate) fn answers(&self) -> Answers {
        let entries = self.entries();
        Answers {
            by_status: entries.answers.clone(),
            unanswered: entries.unanswered,
            redelivered: entries.redelivered,
        }
    }

    /// From each start to the first 202 after it.
    pub(crate) fn first_202(&self) -> Vec<Duration> {
        self.entries().first_202.clone()
    }

    /// Something that must never be.
    pub(crate) fn violation(&self, text: String) {
        let mut entries = self.entries();
        if entries.violations.len() < VIOLATIONS_MAX {
            eprintln!("crash: VIOLATION: {text}");
            entries.violations.push(text);
        }
    }

    /// What must never be, and was.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.entries().violations.clone()
    }
}

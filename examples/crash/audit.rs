//! Whether a server kept its word: its files, its histories and what the world outside saw, compared.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dynoxide::storage::Storage;
use everhook::local::Engine;
use everhook_journal::executions::Row;
use everhook_journal::schema::Tables;
use everhook_journal::store::Store;
use everhook_journal::{
    Clock, Event, Execution, ExecutionId, Journal, Payloads, Recorded, Sequence, Status, View,
};
use everhook_projector::shown::ShownExecution;
use object_store::local::LocalFileSystem;

use crate::ledger::{Acknowledged, Flow, Ledger};
use crate::server::data;
use crate::target::{Calls, Place};

/// The steps that call the target, by workflow, and how often one attempt may.
const STEPS: [(Flow, &str, Mode); 8] = [
    ("plain", "deliver", Mode::Again),
    ("plain", "thank", Mode::Again),
    ("once", "charge", Mode::Once),
    ("once", "receipt", Mode::Again),
    ("attempt", "call", Mode::OncePerAttempt),
    ("approve", "ask", Mode::Again),
    ("approve", "archive", Mode::Again),
    ("nap", "wake", Mode::Again),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Again,
    Once,
    OncePerAttempt,
}

/// What was found in the histories.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    pub(crate) completed: usize,
    pub(crate) failed: usize,
    pub(crate) interrupted: usize,
    pub(crate) events: usize,
    pub(crate) calls: u64,
    pub(crate) repeated_calls: u64,
}

/// Copies what a server that is down has left, without disturbing what the next one has to recover.
pub(crate) fn copy(folder: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (data(folder), data(to));
    std::fs::create_dir_all(to.join("objects"))?;
    for name in ["tables.db", "tables.db-wal"] {
        match std::fs::copy(from.join(name), to.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            copied => drop(copied?),
        }
    }
    copy_files(&from.join("objects/payloads"), &to.join("objects/payloads"))
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    let Ok(entries) = std::fs::read_dir(from) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        // What never changes may be shared.
        std::fs::hard_link(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// What SQLite says of the files of a server that is down.
pub(crate) fn integrity(folder: &Path) -> io::Result<()> {
    let path: PathBuf = data(folder).join("tables.db");
    let name = path.to_str().ok_or(io::ErrorKind::InvalidFilename)?;
    let storage = Storage::new(name).map_err(io::Error::other)?;
    let said = storage
        .conn()
        .query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0))
        .map_err(io::Error::other)?;
    match said.as_str() {
        "ok" => Ok(()),
        _ => Err(io::Error::other(format!("the tables are damaged: {said}"))),
    }
}

/// The histories of a server that is down.
pub(crate) struct Histories {
    engine: Engine,
    journal: Journal,
    payloads: Payloads,
}

impl Histories {
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let engine = Engine::on_disk(&data(folder)).map_err(io::Error::other)?;
        let store = Store::new(engine.dynamodb());
        let journal = Tables::default().journal_in(&store, Clock::System);
        let objects = data(folder).join("objects");
        std::fs::create_dir_all(&objects)?;
        let objects = LocalFileSystem::new_with_prefix(objects).map_err(io::Error::other)?;
        Ok(Self { engine, journal, payloads: Payloads::new(Arc::new(objects)) })
    }

    pub(crate) async fn close(self) {
        drop(self.journal);
        self.engine.close().await;
    }

    /// The history of what was acknowledged: whole, in order, foldable, and of that webhook.
    pub(crate) async fn check(
        &self,
        entry: &Acknowledged,
    ) -> Result<(Vec<Recorded>, Execution), String> {
        let Acknowledged { execution: id, delivery, .. } = entry;
        let wrong = |what: String| format!("execution {id} of webhook {delivery}: {what}");
        let history = self.journal.read(id, Sequence::START).await;
        let history = history.map_err(|error| wrong(format!("{error:?}")))?;
        if history.is_empty() {
            return Err(wrong("acknowledged, and LOST".into()));
        }
        for (place, recorded) in history.iter().enumerate() {
            if recorded.sequence.get() != place as u64 + 1 {
                return Err(wrong(format!("event {} stands at {}", recorded.sequence, place + 1)));
            }
        }
        let ends: Vec<_> = history
            .iter()
            .filter(|recorded| is_end(&recorded.event))
            .map(|it| it.sequence)
            .collect();
        if ends.len() > 1 || ends.first().is_some_and(|end| end.get() != history.len() as u64) {
            return Err(wrong(format!("it ends at {ends:?} of {} events", history.len())));
        }
        let mut completed = BTreeSet::new();
        for recorded in &history {
            if let Event::StepCompleted { step, .. } = &recorded.event
                && !completed.insert(step.to_string())
            {
                return Err(wrong(format!("step {step} completed twice")));
            }
        }
        let execution = Execution::fold(&history).map_err(|error| wrong(format!("{error:?}")))?;
        let execution = execution.ok_or_else(|| wrong("no execution".into()))?;
        let webhook = &execution.webhook;
        if webhook.delivery_id.as_str() != delivery || webhook.body_sha256 != entry.body_sha256 {
            return Err(wrong("it is another webhook's".into()));
        }
        let body = self.payloads.open(&webhook.body).await;
        let body = body.map_err(|error| wrong(format!("its body: {error}")))?;
        if everhook_journal::payload::sha256_hex(&body) != entry.body_sha256 {
            return Err(wrong("its body is another one".into()));
        }
        Ok((history, execution))
    }

    /// Everything, once every execution has ended.
    pub(crate) async fn check_all(
        &self,
        ledger: &Ledger,
        shown: &BTreeMap<ExecutionId, ShownExecution>,
        calls: &BTreeMap<Place, Calls>,
    ) -> Found {
        let mut found = Found::default();
        let mut known = BTreeSet::new();
        for entry in ledger.acknowledged().values() {
            known.insert(entry.execution.to_string());
            match self.check(entry).await {
                Ok((history, execution)) => {
                    let checked = ended(entry, &history, &execution, shown, calls, &mut found);
                    if let Err(what) = checked {
                        let id = &entry.execution;
                        ledger.violation(format!("execution {id} of {}: {what}", entry.delivery));
                    }
                }
                Err(problem) => ledger.violation(problem),
            }
        }
        for ((execution, step), calls) in calls {
            let total: u64 = calls.attempts.values().sum();
            found.calls += total;
            found.repeated_calls += total.saturating_sub(1);
            if !known.contains(execution) {
                ledger.violation(format!("{step} was called for {execution}, which nobody sent"));
            }
            if calls.idempotency_keys.len() != 1 {
                let keys = &calls.idempotency_keys;
                ledger.violation(format!("{step} of {execution} has several keys: {keys:?}"));
            }
        }
        found
    }
}

fn is_end(event: &Event) -> bool {
    matches!(
        event,
        Event::ExecutionCompleted { .. }
            | Event::ExecutionFailed { .. }
            | Event::ExecutionCancelled { .. }
    )
}

/// What must hold of an execution at the end.
fn ended(
    entry: &Acknowledged,
    history: &[Recorded],
    execution: &Execution,
    shown: &BTreeMap<ExecutionId, ShownExecution>,
    calls: &BTreeMap<Place, Calls>,
    found: &mut Found,
) -> Result<(), String> {
    found.events += history.len();
    let interrupted = history.iter().any(
        |it| matches!(&it.event, Event::StepFailed { error, .. } if error.kind == "interrupted"),
    );
    found.interrupted += usize::from(interrupted);
    match &execution.status {
        Status::Completed { .. } => found.completed += 1,
        // What happens at most once may not happen; nothing else may fail.
        Status::Failed { .. } if entry.flow == "once" => found.failed += 1,
        other => return Err(format!("it ended as {other:?}")),
    }
    let view = View::of(&entry.execution, execution);
    let row = Row { view: Some(view), ..Row::unwritten(entry.execution.clone()) };
    match shown.get(&entry.execution) {
        Some(shown) if Some(shown) == ShownExecution::of(row).as_ref() => {}
        shown => return Err(format!("its status is not what its history says: {shown:?}")),
    }
    for (_, step, mode) in STEPS.iter().filter(|(flow, ..)| *flow == entry.flow) {
        let place = (entry.execution.to_string(), format!("{}/{step}", entry.flow));
        let attempts = calls.get(&place).map(|calls| calls.attempts.clone()).unwrap_or_default();
        let total: u64 = attempts.values().sum();
        let is_completed = history.iter().any(|recorded| {
            let name = recorded.event.step().map(|name| name.to_string()).unwrap_or_default();
            let own = name == *step || name.ends_with(&format!("/{step}"));
            own && matches!(recorded.event, Event::StepCompleted { .. })
        });
        let (most, most_an_attempt) = match mode {
            Mode::Again => (u64::MAX, u64::MAX),
            Mode::Once => (1, 1),
            Mode::OncePerAttempt => (u64::MAX, 1),
        };
        if is_completed && total == 0 {
            return Err(format!("{step} completed, and nobody was called"));
        }
        if total > most || attempts.values().any(|count| *count > most_an_attempt) {
            return Err(format!("{step} happens at most once, and was called: {attempts:?}"));
        }
    }
    Ok(())
}

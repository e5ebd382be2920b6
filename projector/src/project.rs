//! The journal's records become newer views.

use std::collections::BTreeMap;

use everhook_journal::store::Unavailable;
use everhook_journal::stream::{Batch, BatchResponse, Record};
use everhook_journal::table::ReadError;
use everhook_journal::{Event, Execution, ExecutionId, Executions, Journal, Sequence, View};

/// What it takes to keep the views.
#[derive(Debug)]
pub struct Projector {
    /// The histories.
    pub journal: Journal,
    /// The views.
    pub executions: Executions,
}

/// Brings the views of the executions in the batch up to date.
///
/// A view is a pure fold of a history and is written only over an older one, so late, repeated and reordered records
/// change nothing.
pub async fn handle(projector: &Projector, batch: Batch) -> BatchResponse {
    if batch.unreadable > 0 {
        tracing::error!(records = batch.unreadable, "skipped records that cannot be read");
    }
    let mut latest: BTreeMap<&ExecutionId, Sequence> = BTreeMap::new();
    // After its first append an execution is about to be driven: it neither rests nor has ended.
    let first = Sequence::START.next();
    for record in batch.records.iter().filter(|record| record.sequence > first) {
        let sequence = latest.entry(&record.execution).or_insert(record.sequence);
        *sequence = record.sequence.max(*sequence);
    }
    let ids: Vec<_> = latest.keys().map(|id| (*id).clone()).collect();
    if ids.is_empty() {
        return BatchResponse::Complete;
    }
    // One read tells which views are behind; usually none is, because the processor shows the end of an execution itself.
    let shown = match projector.executions.sequences(&ids, projector.journal.now()).await {
        Ok(shown) => shown,
        Err(error) => {
            tracing::warn!("no view could be read: {error}");
            return BatchResponse::failed(&batch.records);
        }
    };
    let mut failed: Vec<&Record> = Vec::new();
    for id in &ids {
        if shown.get(id).is_some_and(|shown| *shown >= latest[id]) {
            continue;
        }
        if let Err(error) = projector.project(id).await {
            tracing::warn!(execution.id = %id, "execution {id}: its view could not be written: {error}");
            failed.extend(batch.records.iter().filter(|record| record.execution == *id));
        }
    }
    BatchResponse::failed(failed)
}

impl Projector {
    /// Writes the view of one execution, if it is newer than the one that is shown and the execution rests or has ended:
    /// what is in between is gone in a moment.
    pub async fn project(&self, id: &ExecutionId) -> Result<(), Unavailable> {
        let history = match self.journal.read(id, Sequence::START).await {
            Ok(history) => history,
            Err(ReadError::Unavailable(error)) => return Err(error),
            // The processor marks such an execution, and that shows.
            Err(error) => {
                tracing::error!(execution.id = %id, "{error}");
                return Ok(());
            }
        };
        let execution = match Execution::fold(&history) {
            Ok(Some(execution)) => execution,
            Ok(None) => return Ok(()),
            Err(error) => {
                tracing::error!(execution.id = %id, "execution {id}: {error}");
                return Ok(());
            }
        };
        // One that was redriven does not stay shown as failed: its operator may have been told nothing.
        let is_redriven = history
            .last()
            .is_some_and(|last| matches!(last.event, Event::ExecutionRedriven { .. }));
        if execution.status.is_terminal() || execution.waits_until().is_some() || is_redriven {
            self.executions.show(&View::of(id, &execution)).await?;
        }
        Ok(())
    }
}

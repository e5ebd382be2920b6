//! What is to be shown of executions: the view where one was written, else what the history folds to.

use everhook_journal::executions::Row;
use everhook_journal::store::Unavailable;
use everhook_journal::table::ReadError;
use everhook_journal::{Execution, ExecutionId, Executions, Journal, Sequence, View};
use futures_util::{StreamExt, TryStreamExt, stream};

/// How many histories are read at once.
const READ_AT_ONCE: usize = 8;

/// An execution as of the last acknowledged append; `None` if there is none, or it has expired.
/// One whose history is damaged is shown as far as it can be, if it is marked.
pub(crate) async fn current(
    journal: &Journal,
    executions: &Executions,
    id: &ExecutionId,
) -> Result<Option<Row>, ReadError> {
    let row = executions.get(id).await?.unwrap_or_else(|| Row::unwritten(id.clone()));
    match row.has_ended() && !has_expired(&row, journal) {
        true => Ok(Some(row)),
        false => folded(journal, row).await,
    }
}

/// These executions, in this order. What rests is shown as of its view; those without one are folded, and those that
/// have expired left out.
pub(crate) async fn listed(
    journal: &Journal,
    executions: &Executions,
    ids: &[ExecutionId],
) -> Result<Vec<Row>, Unavailable> {
    let rows = executions.rows(ids).await?;
    let shown = stream::iter(rows).map(|row| async move {
        if row.view.is_some() && !has_expired(&row, journal) {
            return Ok(Some(row));
        }
        match folded(journal, row).await {
            Ok(row) => Ok(row),
            Err(ReadError::Unavailable(error)) => Err(error),
            // Asked for by itself, it says what is wrong.
            Err(_) => Ok(None),
        }
    });
    let shown = shown.buffered(READ_AT_ONCE).try_filter_map(|row| std::future::ready(Ok(row)));
    shown.try_collect().await
}

async fn folded(journal: &Journal, row: Row) -> Result<Option<Row>, ReadError> {
    let id = row.execution.clone();
    let history = match journal.read(&id, Sequence::START).await {
        Ok(history) => history,
        Err(error @ ReadError::Unavailable(_)) => return Err(error),
        Err(error) => return damaged(journal, row, error).await,
    };
    match Execution::fold(&history) {
        Ok(execution) => Ok(execution.map(|execution| {
            let view = Some(View::of(&id, &execution));
            Row { view, ..row }
        })),
        Err(illegal) => {
            let sequence = illegal.sequence;
            damaged(journal, row, ReadError::Broken { id, sequence }).await
        }
    }
}

/// What is known of an execution whose history cannot be folded: its last view, or its webhook.
async fn damaged(journal: &Journal, row: Row, error: ReadError) -> Result<Option<Row>, ReadError> {
    if row.stalled.is_none() {
        return Err(error);
    }
    if row.view.is_some() {
        return Ok(Some(row));
    }
    let first = journal.first(&row.execution).await.map_err(|_| error)?;
    let begun = first.and_then(|first| Execution::begin(&first).ok());
    Ok(begun.map(|begun| Row { view: Some(View::of(&row.execution, &begun)), ..row }))
}

/// Whether a view is of an execution that has expired: another one may have begun in its place.
fn has_expired(row: &Row, journal: &Journal) -> bool {
    row.view.as_ref().is_some_and(|view| view.expires_at <= journal.now())
}

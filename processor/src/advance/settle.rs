//! What a drive leaves behind in the executions table when it stops before the end.

use std::time::Duration;

use everhook_journal::event::Cause as Reason;
use everhook_journal::execution::WATCHDOG;
use everhook_journal::executions::{DEATHS_MAX, Row};
use everhook_journal::guard::{self, Guard};
use everhook_journal::id::fresh;
use everhook_journal::table::{AppendError, ReadError};
use everhook_journal::{Command, Execution, ExecutionId, Timestamp, View, failpoint, telemetry};

use crate::wakeup::Cause;

use super::{Advanced, Driver, Outage, Trouble, tell, words};

/// How long a row without an execution is left, in case its webhook is still being recorded.
const ABSENT_GRACE: Duration = Duration::from_secs(600);

/// When an execution that cannot move is tried again.
const PARKED: Duration = Duration::from_secs(3600);

/// How often moving a row is tried while somebody else moves it too.
const TRIES_MAX: usize = 4;

/// Leaves an execution until this time. Its row may say sooner, never later.
pub(super) async fn wait(
    driver: &Driver,
    id: &ExecutionId,
    execution: &Execution,
    until: Timestamp,
) -> Result<Advanced, Trouble> {
    // Whatever it waits for, it must be driven again before its history expires.
    let latest = execution.last_chance().max(driver.clock.now() + Duration::from_secs(1));
    let until = until.min(latest);
    for _ in 0..TRIES_MAX {
        // The generation is read before the history: what is appended after this read
        // either shows in the history below, or changes the generation.
        let row = driver.executions.get(id).await?;
        let news = match driver.journal.read(id, execution.head()).await {
            Ok(news) => news,
            Err(ReadError::Unavailable(error)) => return Err(error.into()),
            Err(error) => return Err(Trouble::Own(words(&error))),
        };
        let row = match guard::holds(Guard::RowBeforeHistory) {
            true => row,
            false => driver.executions.get(id).await?,
        };
        if !news.is_empty() && guard::holds(Guard::NewsBeforePostpone) {
            return Ok(Advanced::Superseded);
        }
        // One that is stalled because it killed processes is tried again when its row says so,
        // and not when the claim that a dead process left ends.
        let is_deadly = |row: &Row| row.parked.is_some() && row.deaths >= DEATHS_MAX;
        if row.as_ref().is_some_and(is_deadly) {
            return Ok(Advanced::Parked);
        }
        failpoint::reached("wait.before");
        let due = row.and_then(|row| row.due);
        let moved = match due {
            Some(due) if due.at == until => true,
            Some(due) => driver.executions.postpone(id, &due, until).await?,
            None => driver.executions.project(&View::of(id, execution), until).await?,
        };
        if moved {
            // Until then a late record of the last append has nothing to do.
            driver.recall.passed(id, execution.last_append);
            return Ok(Advanced::Waiting(until));
        }
    }
    // Somebody else is at it; whatever they leave is due within the watchdog's time.
    Ok(Advanced::Superseded)
}

/// Keeps the sweep away from a step that may run until `needed`; returns until when it is kept away.
pub(super) async fn extend(
    driver: &Driver,
    id: &ExecutionId,
    needed: Timestamp,
) -> Result<Timestamp, Outage> {
    let until = needed.max(driver.clock.now() + WATCHDOG);
    let Some(due) = driver.executions.get(id).await?.and_then(|row| row.due) else {
        return Ok(until);
    };
    if due.at >= needed || !guard::holds(Guard::LeaseExtended) {
        return Ok(due.at);
    }
    // If it fails, the sweep has just claimed the row and may wake a second driver; both are safe.
    driver.executions.postpone(id, &due, until).await?;
    Ok(until)
}

/// Marks an execution as not moving, for somebody to look, and tries it again later.
pub(super) async fn park(
    driver: &Driver,
    id: &ExecutionId,
    reason: &str,
) -> Result<Advanced, Outage> {
    tracing::error!(execution.id = %id, "execution {id} is parked: {reason}");
    let row = driver.executions.get(id).await?;
    // It is news once, however often it is tried.
    if row.as_ref().is_none_or(|row| row.parked.is_none()) {
        telemetry::stalled();
    }
    if let Some(due) = row.and_then(|row| row.due) {
        driver.executions.park(id, &due, reason, driver.clock.now() + PARKED).await?;
    }
    Ok(Advanced::Parked)
}

/// Leaves an execution to the sweep, which drives it alone: it may have killed a process.
pub(super) async fn put_off(
    driver: &Driver,
    id: &ExecutionId,
    cause: Cause,
) -> Result<Advanced, Outage> {
    // A row that was made after the death does not tell the sweep yet.
    if cause == Cause::Due {
        driver.executions.count_deaths(id, 1).await?;
    }
    Ok(Advanced::Superseded)
}

/// Leaves an execution whose attempt was claimed and came to nothing to the sweep, which drives it alone:
/// it may have killed the process that made the attempt. Nothing if it is for this driver to go on.
///
/// This is for processes that keep no list of what they drive, as in AWS. A claim is an append, and a row that was
/// moved because of it says nothing of a death.
pub(super) async fn suspect(
    driver: &Driver,
    id: &ExecutionId,
    cause: Cause,
) -> Result<Option<Advanced>, Outage> {
    // One that is alone takes the claims of all others for lost, and waits for nobody.
    let is_alone = driver.process.get().is_some();
    if is_alone || driver.suspects.are_kept() || cause == Cause::Alone {
        return Ok(None);
    }
    if cause != Cause::Due {
        return Ok(Some(Advanced::Superseded));
    }
    let row = driver.executions.get(id).await?.filter(|row| row.parked.is_none());
    let Some(due) = row.and_then(|row| row.due) else { return Ok(None) };
    match due.redrives {
        // Somebody has moved it meanwhile.
        0 => {}
        1 => {
            driver.executions.release(id, &due, driver.clock.now(), 1).await?;
        }
        // It was claimed after a claim that came to nothing: this sweep drives nothing alone.
        _ => return Ok(None),
    }
    Ok(Some(Advanced::Superseded))
}

/// Ends an execution that has not ended by itself and whose history expires soon.
pub(super) async fn expire(
    driver: &Driver,
    id: &ExecutionId,
    mut execution: Execution,
) -> Result<Advanced, Trouble> {
    let expires_at = execution.webhook.expires_at;
    let message = format!("no end before its history expires at {expires_at}");
    let cause = Reason { step: None, kind: "expired".into(), message };
    let event = execution.decide(Command::Fail(cause)).map_err(|e| Trouble::Own(words(&e)))?;
    let (after, now, name) = (execution.head(), driver.clock.now(), fresh());
    let appended = driver.journal.append(id, after, event.into(), expires_at, now, &name).await;
    let recorded = match appended {
        Ok(recorded) => recorded,
        // It moved: whatever it left is due.
        Err(AppendError::Conflict { .. }) => return Ok(Advanced::Superseded),
        Err(AppendError::Unavailable(error)) => return Err(error.into()),
        Err(error @ AppendError::Refused { .. }) => return Err(Trouble::Own(words(&error))),
    };
    for recorded in &recorded {
        tell::recorded(&execution, id, recorded);
        execution.apply(recorded).map_err(|error| Trouble::Own(words(&error)))?;
    }
    driver.executions.finish(&View::of(id, &execution)).await?;
    Ok(Advanced::Ended)
}

/// Removes a row that no webhook was recorded for. Nobody was answered 202 for it.
pub(super) async fn absent(driver: &Driver, id: &ExecutionId) -> Result<Advanced, Outage> {
    if let Some(row) = driver.executions.get(id).await?
        && let Some(due) = row.due
        && (row.view.created_at + ABSENT_GRACE < driver.clock.now()
            || !guard::holds(Guard::GraceForRows))
    {
        tracing::warn!(execution.id = %id, "execution {id} was never recorded; its row is removed");
        driver.executions.discard(id, &due, row.view.created_at).await?;
    }
    Ok(Advanced::Absent)
}

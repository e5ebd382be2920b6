//! An execution that may have killed a process: it is driven alone, and a death is on record before it can happen.

use std::time::Duration;

use everhook_journal::store::Unavailable;
use everhook_journal::{Event, ExecutionId, Recorded, Sequence, Timestamp, ambient};

use crate::advance::Driver;

/// How long to wait before what a drive came to is recorded again.
const AGAIN: Duration = Duration::from_secs(1);

/// Runs the `drive` of an execution that is driven alone, which is known to have killed so many processes.
///
/// Where the server keeps its [suspects](crate::suspects) in a file, the next process counts a death. Elsewhere the
/// death is counted before the drive, and taken back after it: a process that dies in between leaves it.
/// Only a step that gets somewhere clears the deaths; a failure that is tried again does not.
pub async fn drive(
    driver: &Driver,
    id: &ExecutionId,
    deaths: u64,
    deadline: Timestamp,
    drive: impl Future<Output = bool>,
) {
    let is_counted_here = !driver.suspects.are_kept();
    if is_counted_here && let Err(error) = driver.executions.count_deaths(id, deaths + 1).await {
        // A death that is not counted must not happen. The row was only claimed for a time.
        tracing::warn!(execution.id = %id, "execution {id} is not driven: {error}");
        // It may be counted all the same, where only the reply was lost.
        return take_back(driver, id, deaths, false, deadline).await;
    }
    let before = steps_done(driver, id).await;
    drive.await;
    let after = steps_done(driver, id).await;
    let got_further = matches!((before, after), (Some(before), Some(after)) if after > before);
    if got_further {
        driver.suspects.clear(id);
    }
    if !got_further && !is_counted_here {
        return;
    }
    take_back(driver, id, deaths, got_further, deadline).await;
}

/// Takes back what was counted, as soon as that can be recorded: an outage is no death.
async fn take_back(
    driver: &Driver,
    id: &ExecutionId,
    deaths: u64,
    got_further: bool,
    deadline: Timestamp,
) {
    while let Err(error) = settle(driver, id, deaths, got_further).await {
        tracing::warn!(execution.id = %id, "could not record that execution {id} killed nothing: {error}");
        if driver.clock.now() + AGAIN >= deadline {
            return;
        }
        ambient::sleep(AGAIN).await;
    }
}

async fn settle(
    driver: &Driver,
    id: &ExecutionId,
    deaths: u64,
    got_further: bool,
) -> Result<bool, Unavailable> {
    match got_further {
        true => driver.executions.forgive(id).await,
        false => driver.executions.count_deaths(id, deaths).await,
    }
}

/// How often a step of the execution got somewhere; unknown if its history cannot be read.
async fn steps_done(driver: &Driver, id: &ExecutionId) -> Option<usize> {
    let history = driver.journal.read(id, Sequence::START).await.ok()?;
    Some(history.iter().filter(|recorded| gets_somewhere(recorded)).count())
}

/// Whether an event is one that each step has a bounded number of, and an outsider cannot add.
fn gets_somewhere(recorded: &Recorded) -> bool {
    matches!(
        recorded.event,
        Event::StepCompleted { .. }
            | Event::StepSkipped { .. }
            | Event::StepFiltered { .. }
            | Event::WaitStarted { .. }
            | Event::CallbackCreated { .. }
            | Event::BranchesStarted { .. }
            | Event::ExecutionFailing { .. }
            | Event::ExecutionCompleted { .. }
            | Event::ExecutionFailed { .. }
            | Event::ExecutionCancelled { .. }
    )
}

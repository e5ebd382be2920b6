//! An execution that may have killed a process is driven alone, so that only it is suspect if the process dies again.

use std::time::Duration;

use everhook_journal::id::fresh;
use everhook_journal::store::Unavailable;
use everhook_journal::{Event, ExecutionId, Recorded, Sequence, ambient};

use crate::advance::Driver;

/// How often, and how long apart, it is tried to take back a death.
const TAKEN_BACK_MAX: usize = 8;
const AGAIN: Duration = Duration::from_secs(1);

/// How far an execution is.
#[derive(PartialEq)]
enum Progress {
    /// It has ended, or there is none.
    Over,
    /// So often a step of it got somewhere.
    Steps(usize),
}

/// Runs the `drive` of an execution that is driven alone. Where a file keeps the suspects of this machine, only a step
/// that gets somewhere clears it; a failure that is tried again does not.
pub async fn drive(driver: &Driver, id: &ExecutionId, drive: impl Future<Output = ()>) {
    if !driver.suspects.are_kept() {
        return drive.await;
    }
    let before = progress(driver, id).await;
    drive.await;
    let after = progress(driver, id).await;
    if after == Some(Progress::Over) || (before.is_some() && after.is_some() && before != after) {
        driver.suspects.clear(id);
    }
}

/// Runs the `drive` of an execution that is driven alone where no file keeps the suspects: the drive is recorded by a
/// name of its own before it begins and taken back after it, so a process that dies in it leaves the name. A step that
/// gets somewhere makes all deaths forgotten.
pub async fn recorded(driver: &Driver, id: &ExecutionId, drive: impl Future<Output = ()>) {
    let name = fresh();
    match begin(driver, id, &name).await {
        Ok(()) => drive.await,
        // A death that is not recorded must not happen: its timer is handed over again. But it may be recorded all the
        // same, where only the reply was lost.
        Err(error) => {
            tracing::warn!(execution.id = %id, "execution {id} is not driven: {error}");
        }
    }
    for _ in 0..TAKEN_BACK_MAX {
        let Err(error) = driver.executions.end_alone(id, &name).await else { return };
        tracing::warn!(execution.id = %id, "could not record that execution {id} killed nothing: {error}");
        ambient::sleep(AGAIN).await;
    }
}

async fn begin(driver: &Driver, id: &ExecutionId, name: &str) -> Result<(), Unavailable> {
    let expires_at = driver.journal.lifetime(id).await?.expires_at;
    driver.executions.begin_alone(id, name, driver.clock.now(), expires_at).await
}

/// How far it is; unknown if its history cannot be read.
async fn progress(driver: &Driver, id: &ExecutionId) -> Option<Progress> {
    let history = driver.journal.read(id, Sequence::START).await.ok()?;
    if history.last().is_none_or(|last| last.event.ends_execution()) {
        return Some(Progress::Over);
    }
    Some(Progress::Steps(history.iter().filter(|recorded| gets_somewhere(recorded)).count()))
}

/// Whether an event is one that each step has a bounded number of, and that only a driver adds.
pub(crate) fn gets_somewhere(recorded: &Recorded) -> bool {
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

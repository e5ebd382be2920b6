//! How a drive lets go of an execution: what is written, and in which order.
//!
//! One that has not ended has its next timer first; only then the timers that woke it are deleted. One that has ended
//! has its view first. A process that dies in between leaves a timer too many, never one too few.

use std::time::Duration;

use everhook_journal::event::Cause as Reason;
use everhook_journal::guard::{self, Guard};
use everhook_journal::id::fresh;
use everhook_journal::table::{AppendError, Draft, Lifetime};
use everhook_journal::timers::{Fired, Terms};
use everhook_journal::{
    Command, Execution, ExecutionId, Timer, Timestamp, View, failpoint, telemetry,
};

use crate::wakeup::{Cause, Told, Wake};

use super::{Advanced, Driver, Outage, Trouble, tell, words};

/// When an execution that cannot move is tried again.
const STALLED: Duration = Duration::from_secs(3600);

/// What a drive was told, and what it owes for that.
#[derive(Debug)]
pub(super) struct Held {
    /// Why the execution was woken.
    pub(super) cause: Cause,
    /// The timers that woke it, and are still there.
    timers: Vec<Fired>,
    /// Whether this drive recorded that a step got somewhere.
    pub(super) got_further: bool,
}

impl Held {
    pub(super) fn new(told: Told) -> Self {
        Self { cause: told.cause, timers: told.timers, got_further: false }
    }

    /// It is told this meanwhile.
    pub(super) fn add(&mut self, told: Told) {
        let mut own = Told { cause: self.cause, timers: std::mem::take(&mut self.timers) };
        own.add(told);
        (self.cause, self.timers) = (own.cause, own.timers);
    }

    /// Whether a process may have died of the execution, and nothing has cleared it since.
    fn is_suspect(&self) -> bool {
        !self.got_further && self.timers.iter().any(|fired| fired.is_suspect)
    }

    /// Deletes the timers that woke it, all but the next one. One that stays wakes it in vain.
    pub(super) async fn clear(&self, driver: &Driver, next: Option<&Timer>) {
        for fired in self.timers.iter().filter(|fired| Some(&fired.timer) != next) {
            failpoint::reached("timer.clear");
            if let Err(error) = driver.timers.clear(fired).await {
                let id = &fired.timer.execution;
                tracing::warn!(execution.id = %id, "a timer of execution {id} stays: {error}");
            }
        }
    }
}

/// Lets go of an execution until this time.
pub(super) async fn rest(
    driver: &Driver,
    id: &ExecutionId,
    execution: &Execution,
    held: &Held,
    until: Timestamp,
) -> Result<(), Outage> {
    let next = Timer {
        due: until.min(execution.last_chance().max(driver.clock.now())),
        execution: id.clone(),
    };
    let is_stalled = !held.got_further && held.timers.iter().any(|fired| fired.is_stalled);
    let terms = Terms {
        is_suspect: held.is_suspect(),
        is_claim: execution.is_end_of_claim(until),
        is_stalled,
        expires_at: execution.webhook.expires_at,
    };
    if !guard::holds(Guard::NextTimerFirst) {
        held.clear(driver, Some(&next)).await;
    }
    failpoint::reached("timer.set");
    driver.timers.set(&next, terms).await?;
    let was_stalled = held.timers.iter().any(|fired| fired.is_stalled);
    if held.got_further && (was_stalled || held.cause == Cause::Alone) {
        driver.executions.unstall(id).await?;
    }
    held.clear(driver, Some(&next)).await;
    Ok(())
}

/// Shows the end of an execution, then lets go of it.
pub(super) async fn end(
    driver: &Driver,
    id: &ExecutionId,
    execution: &Execution,
    held: &Held,
) -> Result<(), Outage> {
    failpoint::reached("end.before");
    if guard::holds(Guard::EndShown) {
        driver.executions.show(&View::of(id, execution)).await?;
    }
    failpoint::reached("end.after");
    held.clear(driver, None).await;
    Ok(())
}

/// Whether the view of an execution is as new as its history.
pub(super) async fn is_shown(
    driver: &Driver,
    id: &ExecutionId,
    execution: &Execution,
) -> Result<bool, Outage> {
    let view = driver.executions.get(id).await?.and_then(|row| row.view);
    // Another execution may have had this id before, and expired.
    Ok(view.is_some_and(|view| {
        view.created_at == execution.created_at && view.sequence >= execution.sequence
    }))
}

/// Marks an execution as not moving, for an operator to look, and tries it again later.
pub(super) async fn stall(
    driver: &Driver,
    id: &ExecutionId,
    held: &Held,
    reason: &str,
    expires_at: Option<Timestamp>,
) -> Result<Advanced, Outage> {
    tracing::error!(execution.id = %id, "execution {id} is stalled: {reason}");
    let now = driver.clock.now();
    let expires_at = expires_at.unwrap_or(Lifetime::unknown(now).expires_at);
    // It is news once, however often it is tried.
    if driver.executions.stall(id, reason, now, expires_at).await? {
        telemetry::stalled();
    }
    let next = Timer { due: now + STALLED, execution: id.clone() };
    let terms = Terms { is_suspect: false, is_claim: false, is_stalled: true, expires_at };
    driver.timers.set(&next, terms).await?;
    held.clear(driver, Some(&next)).await;
    Ok(Advanced::Stalled)
}

/// Leaves an execution that may have killed a process to a drive of it alone, in this process.
pub(super) fn leave_alone(driver: &Driver, id: &ExecutionId, held: &mut Held) -> Advanced {
    let mut timers = std::mem::take(&mut held.timers);
    let wake = Wake { execution: id.clone(), cause: Cause::Alone, timer: timers.pop() };
    if let Some(alone) = driver.alone.get() {
        alone.send(wake).ok();
    }
    Advanced::LeftAlone
}

/// Leaves an execution whose attempt was claimed and came to nothing to a drive of it alone: it may have killed the
/// process that made the attempt. `None` if it is for this drive to go on.
///
/// This is for processes that keep no list of what they drive, as in AWS. The timer for it says so, and such a
/// timer is fired for a drive alone.
pub(super) async fn suspect(
    driver: &Driver,
    id: &ExecutionId,
    execution: &Execution,
    held: &Held,
) -> Result<Option<Advanced>, Outage> {
    // One that is alone takes the claims of all others for lost, and waits for no other process.
    let is_alone = driver.process.get().is_some() || held.cause == Cause::Alone;
    if is_alone || driver.suspects.are_kept() {
        return Ok(None);
    }
    let next = Timer { due: driver.clock.now(), execution: id.clone() };
    let terms = Terms {
        is_suspect: true,
        is_claim: false,
        is_stalled: false,
        expires_at: execution.webhook.expires_at,
    };
    driver.timers.set(&next, terms).await?;
    held.clear(driver, Some(&next)).await;
    Ok(Some(Advanced::LeftAlone))
}

/// Ends an execution that has not ended by itself and whose history expires soon.
pub(super) async fn expire(
    driver: &Driver,
    id: &ExecutionId,
    mut execution: Execution,
    held: &Held,
) -> Result<Advanced, Trouble> {
    let expires_at = execution.webhook.expires_at;
    let message = format!("no end before its history expires at {expires_at}");
    let cause = Reason { step: None, kind: "expired".into(), message };
    let event = execution.decide(Command::Fail(cause)).map_err(|e| Trouble::Own(words(&e)))?;
    let now = driver.clock.now();
    let draft = Draft {
        after: execution.head(),
        events: event.into(),
        at: now,
        expires_at,
        until: None,
        name: fresh(),
    };
    let recorded = match driver.journal.append(id, draft).await {
        Ok(recorded) => recorded,
        // Another driver was faster, or it was moved: it is looked at again.
        Err(AppendError::Conflict { .. }) => {
            rest(driver, id, &execution, held, now).await.map_err(Trouble::Outage)?;
            return Ok(Advanced::Moved);
        }
        Err(AppendError::Unavailable(error)) => return Err(error.into()),
        Err(error @ AppendError::Refused { .. }) => return Err(Trouble::Own(words(&error))),
    };
    for recorded in &recorded {
        tell::recorded(&execution, id, recorded);
        execution.apply(recorded).map_err(|error| Trouble::Own(words(&error)))?;
    }
    end(driver, id, &execution, held).await.map_err(Trouble::Outage)?;
    Ok(Advanced::Ended)
}

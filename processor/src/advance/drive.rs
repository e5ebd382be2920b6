//! One wake-up under way: what is decided, what is appended, and what is left behind.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use everhook_journal::event::Events;
use everhook_journal::execution::WATCHDOG;
use everhook_journal::table::AppendError;
use everhook_journal::{
    Command, Event, Execution, ExecutionId, Next, Recorded, Timestamp, View, id,
};

use crate::plan::Plan;
use crate::wakeup::{Cause, Wake};

use super::attempt::{self, Inputs};
use super::{Advanced, Driver, Trouble, read, settle, tell, words};

/// How often an outcome is decided again because somebody else appended first.
const CONFLICTS_MAX: usize = 8;

/// What must be left of an invocation's time beyond a step's own.
const MARGIN: Duration = Duration::from_secs(2);

/// How many moves one wake-up makes at most: more than a history can have events.
const MOVES_MAX: usize = 2_000;

/// Up to here, events wait to be appended together; DynamoDB's items end at 400 KB.
const TOGETHER_BYTES_MAX: u64 = 128 * 1024;

/// One wake-up under way.
pub(super) struct Drive<'d> {
    driver: &'d Driver,
    wake: &'d Wake,
    deadline: Timestamp,
    /// The state that the journal gives, as far as we know.
    appended: Execution,
    /// The state with what is decided.
    execution: Execution,
    /// What is decided and not yet appended.
    decided: Vec<(Command, Event)>,
    decided_bytes: u64,
    /// Until when the sweep leaves the execution to us.
    lease: Timestamp,
}

/// Whether the drive goes on.
enum Flushed {
    /// It does.
    GoOn,
    /// It does not.
    Stop(Advanced),
}

impl<'d> Drive<'d> {
    pub(super) fn new(
        driver: &'d Driver,
        wake: &'d Wake,
        deadline: Timestamp,
        execution: Execution,
    ) -> Self {
        let lease = match wake.cause {
            Cause::Appended(_) => execution.created_at + WATCHDOG,
            Cause::Due => driver.clock.now() + WATCHDOG,
        };
        let appended = execution.clone();
        let (decided, decided_bytes) = (Vec::new(), 0);
        Self { driver, wake, deadline, execution, appended, decided, decided_bytes, lease }
    }

    pub(super) async fn run(mut self, plan: &Arc<Plan>) -> Result<Advanced, Trouble> {
        let mut inputs = Inputs::default();
        for _ in 0..MOVES_MAX {
            match self.execution.next(&plan.workflow) {
                Next::Nothing => {
                    if let Flushed::Stop(advanced) = self.flush().await? {
                        return Ok(advanced);
                    }
                    return self.end().await;
                }
                Next::Complete => self.decide(Command::Complete, 0)?,
                Next::Fail { cause } => self.decide(Command::Fail(cause), 0)?,
                Next::Wait { until } => {
                    if let Flushed::Stop(advanced) = self.flush().await? {
                        return Ok(advanced);
                    }
                    let now = self.driver.clock.now();
                    if until > now {
                        return settle::wait(self.driver, self.id(), &self.execution, until).await;
                    }
                    self.decide(Command::FireTimer(now), 0)?;
                    // What follows may act outside, and only one of several drivers may go there.
                    if let Flushed::Stop(advanced) = self.flush().await? {
                        return Ok(advanced);
                    }
                }
                Next::Run { step, attempt } => {
                    let ready = plan.ready(step);
                    let enough = !ready.pure || self.decided_bytes > TOGETHER_BYTES_MAX;
                    if enough && let Flushed::Stop(advanced) = self.flush().await? {
                        return Ok(advanced);
                    }
                    let needed = self.driver.clock.now() + step.timeout() + MARGIN;
                    if needed > self.deadline {
                        self.flush().await?;
                        return Ok(Advanced::Moved);
                    }
                    if !ready.pure && needed > self.lease {
                        self.lease = settle::extend(self.driver, self.id(), needed).await?;
                    }
                    inputs.open(&self.driver.payloads, &self.execution).await?;
                    let (command, bytes) = attempt::run(
                        self.driver,
                        self.id(),
                        &self.execution,
                        step,
                        ready,
                        attempt,
                        &inputs,
                    )
                    .await?;
                    self.decide(command, bytes)?;
                    let ends = matches!(
                        self.execution.next(&plan.workflow),
                        Next::Complete | Next::Fail { .. }
                    );
                    if ends {
                        continue;
                    }
                    if (!ready.pure || !self.driver.run_ahead)
                        && let Flushed::Stop(advanced) = self.flush().await?
                    {
                        return Ok(advanced);
                    }
                    if !self.driver.run_ahead {
                        return self.rest(&plan.workflow).await;
                    }
                }
            }
        }
        Err(Trouble::Own(format!("no end in {MOVES_MAX} moves")))
    }

    fn id(&self) -> &'d ExecutionId {
        &self.wake.execution
    }

    /// Decides a command on the state we know; it is appended with the next flush.
    fn decide(&mut self, command: Command, bytes: u64) -> Result<(), Trouble> {
        let event = self.execution.decide(command.clone()).map_err(|r| Trouble::Own(words(&r)))?;
        let first = self.appended.sequence.next();
        let sequence = self.execution.sequence.next();
        let recorded = Recorded { sequence, first, at: self.driver.clock.now(), event };
        self.execution =
            self.execution.clone().evolve(&recorded).map_err(|e| Trouble::Own(words(&e)))?;
        self.decided.push((command, recorded.event));
        self.decided_bytes += bytes;
        Ok(())
    }

    /// Appends what is decided. If somebody appended first, decides it again on what they left:
    /// an outcome survives a conflict, unless another attempt recorded it.
    async fn flush(&mut self) -> Result<Flushed, Trouble> {
        for _ in 0..CONFLICTS_MAX {
            let decided = std::mem::take(&mut self.decided);
            self.decided_bytes = 0;
            let (commands, events): (Vec<_>, Vec<_>) = decided.into_iter().unzip();
            let Some(events) = Events::new(events) else { return Ok(Flushed::GoOn) };
            match self.append(events).await {
                Ok(()) => return self.after_append().await,
                Err(AppendError::Conflict { .. }) => {
                    let Some(theirs) = read(self.driver, self.id()).await? else {
                        return Ok(Flushed::Stop(Advanced::Absent));
                    };
                    self.appended = theirs.clone();
                    self.execution = theirs;
                    for command in commands {
                        if self.decide(command, 0).is_err() {
                            break;
                        }
                    }
                    if self.decided.is_empty() {
                        return Ok(Flushed::Stop(Advanced::Superseded));
                    }
                }
                Err(error @ AppendError::Refused { .. }) => {
                    return Err(Trouble::Own(words(&error)));
                }
                Err(AppendError::Unavailable(error)) => return Err(error.into()),
            }
        }
        Ok(Flushed::Stop(Advanced::Superseded))
    }

    /// Appends, and takes the state from what was recorded: its times are the journal's.
    async fn append(&mut self, events: Events) -> Result<(), AppendError> {
        let at = self.driver.clock.now();
        let after = self.appended.sequence;
        let expires_at = self.execution.webhook.expires_at;
        let name = id::fresh();
        let journal = &self.driver.journal;
        let recorded = journal.append(self.id(), after, events, expires_at, at, &name).await?;
        for recorded in &recorded {
            tell::recorded(&self.appended, self.id(), recorded);
        }
        let evolved = recorded.iter().try_fold(self.appended.clone(), Execution::evolve);
        self.appended = evolved.expect("these events were decided on this state");
        self.execution = self.appended.clone();
        Ok(())
    }

    /// The append's own record wakes somebody too, and not in this process's order:
    /// whoever was woken by the clock leaves the next step to them, so that it runs once.
    async fn after_append(&self) -> Result<Flushed, Trouble> {
        match self.wake.cause {
            Cause::Due if !self.execution.status.is_terminal() => {
                // Should that record be lost as well, this was progress all the same.
                let view = View::of(self.id(), &self.execution);
                self.driver.executions.project(&view, self.lease).await?;
                Ok(Flushed::Stop(Advanced::Moved))
            }
            Cause::Due | Cause::Appended(_) => Ok(Flushed::GoOn),
        }
    }

    /// Leaves the next step to the record of the last append.
    async fn rest(&self, workflow: &everhook_journal::Workflow) -> Result<Advanced, Trouble> {
        self.driver.recall.passed(self.id(), self.execution.last_append.before());
        match self.execution.next(workflow) {
            Next::Wait { until } => {
                settle::wait(self.driver, self.id(), &self.execution, until).await
            }
            _ => Ok(Advanced::Moved),
        }
    }

    /// Shows the end and lets go of the obligation.
    async fn end(self) -> Result<Advanced, Trouble> {
        let view = View::of(self.id(), &self.execution);
        self.driver.executions.finish(&view).await?;
        self.driver.recall.passed(self.id(), self.execution.last_append);
        Ok(Advanced::Ended)
    }
}

impl fmt::Debug for Drive<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drive").field("wake", self.wake).finish_non_exhaustive()
    }
}

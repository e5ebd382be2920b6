//! One wake-up under way: what is decided, what is appended, and what is left behind.

mod begin;

use std::collections::HashSet;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use everhook_journal::event::Events;
use everhook_journal::execution::{Move, Task, WATCHDOG};
use everhook_journal::guard::{self, Guard};
use everhook_journal::table::AppendError;
use everhook_journal::{
    Command, Event, Execution, ExecutionId, Next, Recorded, StepName, Timestamp, View, ambient,
    failpoint, id,
};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};

use crate::plan::Plan;
use crate::suspects::Mark;
use crate::wakeup::{Cause, Wake};

use super::inputs::Inputs;
use super::perform::{Performed, Turn, perform};
use super::{Advanced, Driver, Trouble, moves, read, settle, tell, words};

/// How often an outcome is decided again because somebody else appended first.
const CONFLICTS_MAX: usize = 8;

/// What must be left of an invocation's time beyond a step's own.
pub(super) const MARGIN: Duration = Duration::from_secs(2);

/// How many moves one wake-up makes at most: more than a history can have events.
const MOVES_MAX: usize = 50_000;

/// Up to here, events wait to be appended together; DynamoDB's items end at 400 KB.
const TOGETHER_BYTES_MAX: usize = 128 * 1024;

/// How many events wait to be appended together.
const TOGETHER_EVENTS_MAX: usize = 100;

/// An attempt that is being made: its step, and what it comes to.
type Attempting<'d> =
    Pin<Box<dyn Future<Output = (StepName, Result<Performed, Trouble>)> + Send + 'd>>;

/// One wake-up under way.
pub(super) struct Drive<'d> {
    driver: &'d Driver,
    wake: &'d Wake,
    plan: &'d Plan,
    deadline: Timestamp,
    inputs: Inputs,
    /// The state that the journal gives, as far as we know.
    appended: Execution,
    /// The state with what is decided.
    execution: Execution,
    /// What is decided and not yet appended.
    decided: Vec<(Command, Event)>,
    decided_bytes: usize,
    /// Until when the sweep leaves the execution to us.
    lease: Timestamp,
    /// The attempts that are being made.
    attempts: FuturesUnordered<Attempting<'d>>,
    attempted: HashSet<StepName>,
    /// The steps that this drive has claimed, with the attempts.
    claimed: HashSet<(StepName, u32)>,
    /// Whether an attempt has ended.
    moved: bool,
    /// How this ends once no attempt is being made any more.
    stopping: Option<Advanced>,
    /// Says that this process computes for the execution.
    mark: Mark,
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
        plan: &'d Plan,
        deadline: Timestamp,
        execution: Execution,
        mark: Mark,
    ) -> Self {
        let lease = match wake.cause {
            Cause::Appended(_) => execution.created_at + WATCHDOG,
            Cause::Due | Cause::Alone => driver.clock.now() + WATCHDOG,
        };
        Self {
            driver,
            wake,
            plan,
            deadline,
            inputs: Inputs::default(),
            appended: execution.clone(),
            execution,
            decided: Vec::new(),
            decided_bytes: 0,
            lease,
            attempts: FuturesUnordered::new(),
            attempted: HashSet::new(),
            claimed: HashSet::new(),
            moved: false,
            stopping: None,
            mark,
        }
    }

    pub(super) async fn run(&mut self) -> Result<Advanced, Trouble> {
        let plan = self.plan;
        for _ in 0..MOVES_MAX {
            if self.attempts.is_empty()
                && let Some(advanced) = self.stopping
            {
                return match self.flush().await? {
                    Flushed::Stop(advanced) => Ok(advanced),
                    Flushed::GoOn => Ok(advanced),
                };
            }
            if !self.has_room_for(0)
                && let Flushed::Stop(advanced) = self.flush().await?
            {
                return Ok(advanced);
            }
            let next = self.execution.next(&plan.workflow, self.now());
            let ends = !matches!(next, Next::Do { .. } | Next::Wait { .. } | Next::Fire { .. });
            if self.rests() && !ends && self.attempts.is_empty() {
                return match self.flush().await? {
                    Flushed::Stop(advanced) => Ok(advanced),
                    Flushed::GoOn => self.rest().await,
                };
            }
            match next {
                Next::Nothing => {
                    // Whatever is still being done for it comes too late.
                    self.attempts.clear();
                    self.stopping = None;
                    if self.has_decided() {
                        if let Flushed::Stop(advanced) = self.flush().await? {
                            return Ok(advanced);
                        }
                        // Somebody else may have appended first: what was decided again may be less than the end.
                        continue;
                    }
                    return self.end().await;
                }
                Next::Complete { filtered } => {
                    self.decide(Command::Complete(filtered), 0)?;
                    if !guard::holds(Guard::AppendBeforeEnd) {
                        self.end().await?;
                    }
                }
                Next::GiveUp { cause } => {
                    self.attempts.clear();
                    self.attempted.clear();
                    self.decide(Command::GiveUp(cause), 0)?;
                }
                Next::Fail { cause } => self.decide(Command::Fail(cause), 0)?,
                Next::Fire { .. } => {
                    if let Flushed::Stop(advanced) = self.flush().await? {
                        return Ok(advanced);
                    }
                    // Somebody else may have fired it while we appended.
                    if !self.decide_if_it_fits(Command::FireTimer(self.now()), 0)? {
                        continue;
                    }
                    // What follows may act outside, and only one of several drivers may go there.
                    if guard::holds(Guard::FireAppended)
                        && let Flushed::Stop(advanced) = self.flush().await?
                    {
                        return Ok(advanced);
                    }
                }
                Next::Wait { until } => {
                    if !self.attempts.is_empty() {
                        self.gather(Some(until)).await?;
                        continue;
                    }
                    if !guard::holds(Guard::AppendBeforePostpone) {
                        settle::wait(self.driver, self.id(), &self.appended, until).await?;
                    }
                    if self.has_decided() {
                        if let Flushed::Stop(advanced) = self.flush().await? {
                            return Ok(advanced);
                        }
                        // Somebody else may have appended first, such as the answer that is waited for.
                        if guard::holds(Guard::WaitAfterAppend) {
                            continue;
                        }
                    }
                    if until > self.driver.clock.now() {
                        return settle::wait(self.driver, self.id(), &self.execution, until).await;
                    }
                }
                Next::Do { tasks, wake } => {
                    let tasks: Vec<_> =
                        tasks.into_iter().filter(|it| !self.attempted.contains(&it.path)).collect();
                    let quick = tasks.iter().find(|task| self.is_quick(task)).cloned();
                    match quick {
                        Some(task) => {
                            if let Some(advanced) = self.quickly(task).await? {
                                return Ok(advanced);
                            }
                        }
                        None if tasks.is_empty() || self.stopping.is_some() || self.rests() => {
                            self.gather(wake).await?;
                        }
                        None => {
                            if let Some(advanced) = self.start(tasks).await? {
                                return Ok(advanced);
                            }
                            self.gather(wake).await?;
                        }
                    }
                }
            }
        }
        Err(Trouble::Own(format!("no end in {MOVES_MAX} moves")))
    }

    /// Leaves the state to whoever drives the execution next in this process.
    pub(super) fn remember(self) {
        let id = self.id();
        self.driver.memory.put(id, self.appended);
    }

    /// Whether something is decided and not yet appended.
    fn has_decided(&self) -> bool {
        !self.decided.is_empty()
    }

    /// Whether one more event of about so many bytes fits into an append with what is decided.
    fn has_room_for(&self, bytes: usize) -> bool {
        let fits = self.decided_bytes + bytes <= TOGETHER_BYTES_MAX
            && self.decided.len() < TOGETHER_EVENTS_MAX;
        !self.has_decided() || fits || !guard::holds(Guard::TogetherFits)
    }

    fn id(&self) -> &'d ExecutionId {
        &self.wake.execution
    }

    /// Whether the next step is left to the record of the append.
    fn rests(&self) -> bool {
        self.moved && !self.driver.run_ahead
    }

    fn is_quick(&self, task: &Task<'_>) -> bool {
        match task.what {
            Move::Attempt(_) => {
                self.plan.ready(task.step).quick && task.step.at_most_once.is_none()
            }
            _ => true,
        }
    }

    /// Does what acts nowhere outside; it is appended with what follows it.
    async fn quickly(&mut self, task: Task<'d>) -> Result<Option<Advanced>, Trouble> {
        let (command, bytes) = match task.what {
            Move::Attempt(number) => {
                if !self.has_time_for(&task) {
                    self.stopping = Some(Advanced::Moved);
                    self.drain().await?;
                    return Ok(None);
                }
                let turn = self.turn(&task, number).await?;
                perform(self.driver, turn).await?
            }
            _ => {
                let moved =
                    moves::settled(self.driver, self.id(), &self.execution, self.plan, &task);
                moved.await?
            }
        };
        self.moved |= matches!(
            command,
            Command::CompleteStep(..) | Command::FailStep(..) | Command::FilterStep(..)
        );
        if self.has_room_for(bytes) {
            return self.decide(command, bytes).map(|()| None);
        }
        // A long list with what all its items are called needs an append of its own.
        if let Flushed::Stop(advanced) = self.flush().await? {
            return Ok(Some(advanced));
        }
        self.decide_if_it_fits(command, bytes)?;
        Ok(None)
    }

    /// Waits until an attempt has ended, or until a time, and decides what has ended by then.
    async fn gather(&mut self, wake: Option<Timestamp>) -> Result<(), Trouble> {
        if self.attempts.is_empty() {
            return Ok(());
        }
        let now = self.driver.clock.now();
        let patience = wake.map_or(Duration::from_secs(3600), |wake| wake.since(now));
        let first = self.mark.rest(ambient::timeout(patience, self.attempts.next()));
        let Ok(first) = first.await else {
            return Ok(());
        };
        let mut ended = first;
        while let Some((path, performed)) = ended {
            self.ended(&path, performed?)?;
            if !self.has_room_for(0) {
                // What has ended as well is gathered after this is appended.
                return Ok(());
            }
            ended = self.attempts.next().now_or_never().flatten();
        }
        // A driver that the clock woke stops after its first append: it gathers everything before.
        let stops = self.wake.cause == Cause::Due || self.stopping.is_some();
        if stops {
            self.drain().await?;
        }
        Ok(())
    }

    /// Waits for all attempts, or for as many as fit into one append.
    async fn drain(&mut self) -> Result<(), Trouble> {
        while self.has_room_for(0)
            && let Some((path, performed)) = self.mark.rest(self.attempts.next()).await
        {
            self.ended(&path, performed?)?;
        }
        Ok(())
    }

    fn ended(&mut self, path: &StepName, (command, bytes): Performed) -> Result<(), Trouble> {
        self.attempted.remove(path);
        self.moved = true;
        // Somebody else may have recorded its outcome, or ended what it belongs to.
        self.decide_if_it_fits(command, bytes).map(drop)
    }

    /// The time, as what is due is told by it.
    fn now(&self) -> Timestamp {
        let now = self.driver.clock.now();
        if guard::holds(Guard::TimersOnTime) { now } else { now + Duration::from_secs(10) }
    }

    /// Decides a command on the state we know; it is appended with the next flush.
    fn decide(&mut self, command: Command, bytes: usize) -> Result<(), Trouble> {
        let event = self.execution.decide(command.clone()).map_err(|r| Trouble::Own(words(&r)))?;
        self.add(command, event, bytes)
    }

    /// The same, unless the command does not fit the state any more; says whether it did.
    fn decide_if_it_fits(&mut self, command: Command, bytes: usize) -> Result<bool, Trouble> {
        match self.execution.decide(command.clone()) {
            Ok(event) => self.add(command, event, bytes).map(|()| true),
            Err(_) => Ok(false),
        }
    }

    fn add(&mut self, command: Command, event: Event, bytes: usize) -> Result<(), Trouble> {
        let first = self.appended.sequence.next();
        let sequence = self.execution.sequence.next();
        let at = self.driver.clock.now();
        let recorded = Recorded { sequence, first, at, event, digest: None };
        self.execution.apply(&recorded).map_err(|e| Trouble::Own(words(&e)))?;
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
                    self.driver.memory.put(self.id(), self.appended.clone());
                    let Some(theirs) = read(self.driver, self.id()).await? else {
                        return Ok(Flushed::Stop(Advanced::Absent));
                    };
                    self.appended = theirs.clone();
                    self.execution = theirs;
                    for command in commands {
                        if !guard::holds(Guard::OutcomeSurvivesConflict) {
                            break;
                        }
                        // What does not fit any more was recorded by somebody else.
                        self.decide_if_it_fits(command, 0)?;
                    }
                    if self.decided.is_empty() {
                        return Ok(self.superseded());
                    }
                }
                Err(error @ AppendError::Refused { .. }) => {
                    return Err(Trouble::Own(words(&error)));
                }
                Err(AppendError::Unavailable(error)) => return Err(error.into()),
            }
        }
        Ok(self.superseded())
    }

    /// Leaves the execution to whoever appended first, once nothing is being done for it here.
    fn superseded(&mut self) -> Flushed {
        if self.attempts.is_empty() {
            return Flushed::Stop(Advanced::Superseded);
        }
        self.stopping = Some(Advanced::Superseded);
        Flushed::GoOn
    }

    /// Appends, and takes the state from what was recorded: its times are the journal's.
    async fn append(&mut self, events: Events) -> Result<(), AppendError> {
        let at = self.driver.clock.now();
        let after = self.appended.head();
        let expires_at = self.execution.webhook.expires_at;
        let name = id::fresh();
        let journal = &self.driver.journal;
        let recorded = journal.append(self.id(), after, events, expires_at, at, &name).await?;
        for recorded in &recorded {
            tell::recorded(&self.appended, self.id(), recorded);
            if let Event::StepClaimed { step, attempt, .. } = &recorded.event {
                self.claimed.insert((step.clone(), *attempt));
            }
            self.appended.apply(recorded).expect("these events were decided on this state");
        }
        self.execution = self.appended.clone();
        Ok(())
    }

    /// The append's own record wakes somebody too, and not in this process's order:
    /// whoever was woken by the clock leaves the next step to them, so that it runs once.
    async fn after_append(&mut self) -> Result<Flushed, Trouble> {
        match self.wake.cause {
            Cause::Due if !self.execution.status.is_terminal() => {
                // Should that record be lost as well, this was progress all the same.
                let view = View::of(self.id(), &self.execution);
                self.driver.executions.project(&view, self.lease).await?;
                if self.attempts.is_empty() {
                    return Ok(Flushed::Stop(Advanced::Moved));
                }
                self.stopping = Some(Advanced::Moved);
                Ok(Flushed::GoOn)
            }
            // One that is driven alone goes on here, where its death is counted.
            Cause::Due | Cause::Alone | Cause::Appended(_) => Ok(Flushed::GoOn),
        }
    }

    /// Leaves the next step to the record of the last append.
    async fn rest(&mut self) -> Result<Advanced, Trouble> {
        self.driver.recall.passed(self.id(), self.execution.last_append.before());
        match self.execution.next(&self.plan.workflow, self.driver.clock.now()) {
            Next::Wait { until } => {
                settle::wait(self.driver, self.id(), &self.execution, until).await
            }
            _ => Ok(Advanced::Moved),
        }
    }

    /// Shows the end and lets go of the obligation.
    async fn end(&mut self) -> Result<Advanced, Trouble> {
        let view = View::of(self.id(), &self.execution);
        failpoint::reached("finish.before");
        if guard::holds(Guard::EndShown) {
            self.driver.executions.finish(&view).await?;
        }
        failpoint::reached("finish.after");
        self.driver.recall.passed(self.id(), self.execution.last_append);
        Ok(Advanced::Ended)
    }
}

impl fmt::Debug for Drive<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drive").field("wake", self.wake).finish_non_exhaustive()
    }
}

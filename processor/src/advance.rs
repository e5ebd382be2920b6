//! One wake-up of one execution: read, evolve, next, run the step, decide, append.

mod branches;
mod drive;
mod inputs;
mod moves;
mod perform;
mod settle;
mod tell;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use everhook_journal::callback::Callbacks;
use everhook_journal::config::{Config, Problem};
use everhook_journal::guard::{self, Guard};
use everhook_journal::payload::{PayloadError, Payloads};
use everhook_journal::store::Unavailable;
use everhook_journal::table::ReadError;
use everhook_journal::{
    Clock, Execution, ExecutionId, Executions, Head, Journal, SourceName, Timestamp,
};

use crate::awake::News;
use crate::bulkhead::{Bulkhead, Lane, Measure, Place};
use crate::calls::Calls;
use crate::memory::Memory;
use crate::plan::{FindError, Plans};
use crate::recall::Recall;
use crate::steps::Steps;
use crate::suspects::Suspects;
use crate::wakeup::{Cause, Wake};

use drive::Drive;

/// What it takes to drive executions.
#[derive(Debug)]
pub struct Driver {
    /// The histories.
    pub journal: Journal,
    /// The rows.
    pub executions: Executions,
    /// The large payloads.
    pub payloads: Payloads,
    /// The workflows.
    pub plans: Plans,
    /// The time.
    pub clock: Clock,
    /// Makes the addresses that somebody may call back at; without it, nobody can.
    pub callbacks: Option<Callbacks>,
    /// Whether a step may follow the one before in the same invocation.
    pub run_ahead: bool,
    /// What this process has gone beyond.
    pub recall: Recall,
    /// The states that this process has seen lately.
    pub memory: Memory,
    /// The places to drive from: reading, deciding and computing take one, calls in flight do not.
    pub turns: Bulkhead,
    /// The calls in flight.
    pub calls: Calls,
    /// This process's start, if it alone drives executions: claims of any other are lost.
    pub process: OnceLock<Arc<str>>,
    /// Whether no further step begins.
    pub closing: AtomicBool,
    /// The executions that this process is driving, and those that may have killed an earlier one.
    pub suspects: Suspects,
}

impl Driver {
    /// A driver as configured, with these kinds of step.
    pub fn from_config(
        config: &Config,
        steps: Steps,
        journal: Journal,
        executions: Executions,
        payloads: Payloads,
        clock: Clock,
    ) -> Result<Self, Problem> {
        let settings = &config.settings;
        let steps = steps.allowing(&settings.private_hosts);
        let plans = Plans::from_config(config, journal.clone(), steps)?;
        let run_ahead = settings.run_ahead;
        Ok(Self {
            journal,
            executions,
            payloads,
            plans,
            clock,
            callbacks: None,
            run_ahead,
            recall: Recall::default(),
            memory: Memory::default(),
            turns: places(settings.concurrency),
            calls: Calls::default(),
            process: OnceLock::new(),
            closing: AtomicBool::new(false),
            suspects: Suspects::default(),
        })
    }

    /// Takes claims that this process did not make for lost: it alone drives executions.
    pub fn is_alone(&self) {
        self.process.get_or_init(|| everhook_journal::id::fresh().into());
    }

    /// Lets no further step begin.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Whether no further step begins.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Lets steps wait for somebody to call back.
    #[must_use]
    pub fn with_callbacks(self, callbacks: Callbacks) -> Self {
        Self { callbacks: Some(callbacks), ..self }
    }
}

/// Places to drive from for so many executions at once. A quarter of them is never one source's.
pub fn places(concurrency: usize) -> Bulkhead {
    Bulkhead::new(concurrency, concurrency - concurrency / 4)
}

/// The lane of executions of which the source is not known yet.
pub fn unknown_lane() -> Lane {
    "".into()
}

/// How far an execution got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advanced {
    /// It has ended.
    Ended,
    /// It waits for this time.
    Waiting(Timestamp),
    /// It moved, and the record of its last append carries on.
    Moved,
    /// Somebody else moved it: their append's record carries on.
    Superseded,
    /// It cannot move, and somebody should look.
    Parked,
    /// There is no such execution.
    Absent,
    /// Its next step acts, and this process must end soon; with its source.
    Acts(SourceName),
}

/// Under what bounds an execution is driven.
#[derive(Debug)]
pub struct Stint<'s> {
    /// When it must have stopped.
    pub deadline: Timestamp,
    /// What happens to the execution meanwhile.
    pub news: &'s News,
    /// The place that it is driven from.
    pub place: Option<Place>,
    /// Whether steps that act are left to another process.
    pub hands_over: bool,
}

/// Something that executions depend on did not answer.
#[derive(Debug, thiserror::Error)]
pub enum Outage {
    /// DynamoDB.
    #[error(transparent)]
    Store(#[from] Unavailable),
    /// The payload store.
    #[error(transparent)]
    Payloads(PayloadError),
}

/// Makes one execution go on as far as it can before the deadline.
pub async fn advance(
    driver: &Driver,
    wake: &Wake,
    deadline: Timestamp,
) -> Result<Advanced, Outage> {
    let place = Some(driver.turns.enter(&unknown_lane(), Measure::default()).await);
    let news = &News::default();
    advance_within(driver, wake, Stint { deadline, news, place, hands_over: false }).await
}

/// Makes one execution go on as far as these bounds allow.
pub async fn advance_within(
    driver: &Driver,
    wake: &Wake,
    stint: Stint<'_>,
) -> Result<Advanced, Outage> {
    let id = &wake.execution;
    if let Cause::Appended(append) = wake.cause
        && driver.recall.is_passed(id, append)
    {
        return Ok(Advanced::Superseded);
    }
    if wake.cause != Cause::Alone && driver.suspects.contains(id) {
        return settle::put_off(driver, id, wake.cause).await;
    }
    let mark = driver.suspects.mark(id);
    let execution = match read(driver, id).await {
        Ok(Some(execution)) => execution,
        Ok(None) => return settle::absent(driver, id).await,
        Err(Trouble::Outage(outage)) => return Err(outage),
        Err(Trouble::Own(reason)) => return settle::park(driver, id, &reason).await,
    };
    // A wake-up acts only if its event is still the last: otherwise the later one's record will.
    if let Cause::Appended(append) = wake.cause
        && append < execution.last_append
        && guard::holds(Guard::LastAppendActs)
    {
        return Ok(Advanced::Superseded);
    }
    // This comes first: nothing else may keep it from an end.
    if !execution.status.is_terminal()
        && execution.last_chance() <= driver.clock.now()
        && guard::holds(Guard::EndsBeforeExpiry)
    {
        return match settle::expire(driver, id, execution).await {
            Ok(advanced) => Ok(advanced),
            Err(Trouble::Outage(outage)) => Err(outage),
            Err(Trouble::Own(reason)) => settle::park(driver, id, &reason).await,
        };
    }
    let plan = match driver.plans.find(&execution.webhook.workflow).await {
        Ok(plan) => plan,
        Err(FindError::Unavailable(error)) => return Err(error.into()),
        Err(error) => return settle::park(driver, id, &error.to_string()).await,
    };
    let mut drive = Drive::new(driver, wake, &plan, stint, execution, mark);
    let driven = Box::pin(drive.run()).await;
    if driven.is_err() {
        Box::pin(drive.save()).await;
    }
    drive.remember();
    match driven {
        Ok(advanced) => Ok(advanced),
        Err(Trouble::Outage(outage)) => Err(outage),
        Err(Trouble::Own(reason)) => settle::park(driver, id, &reason).await,
    }
}

/// Why an execution cannot go on now.
enum Trouble {
    /// Something it depends on did not answer: others meet the same.
    Outage(Outage),
    /// Something is wrong with it, and with it alone.
    Own(String),
}

impl<E: Into<Outage>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Outage(error.into())
    }
}

impl From<PayloadError> for Trouble {
    fn from(error: PayloadError) -> Self {
        match error {
            PayloadError::Unavailable(_) => Self::Outage(Outage::Payloads(error)),
            PayloadError::Missing | PayloadError::Damaged => Self::Own(error.to_string()),
        }
    }
}

/// The state as of the last acknowledged append. Only what this process has not seen is read.
async fn read(driver: &Driver, id: &ExecutionId) -> Result<Option<Execution>, Trouble> {
    let known = driver.memory.take(id, driver.clock.now());
    if !guard::holds(Guard::JournalDecides)
        && let Some(known) = known
    {
        return Ok(Some(known));
    }
    let after = known.as_ref().map_or(Head::START, Execution::head);
    let history = match driver.journal.read(id, after).await {
        Ok(history) => history,
        Err(ReadError::Unavailable(error)) => return Err(error.into()),
        Err(error) => return Err(Trouble::Own(words(&error))),
    };
    let folded = match known {
        Some(known) => history.iter().try_fold(known, Execution::evolve).map(Some),
        None => Execution::fold(&history),
    };
    let mut execution = folded.map_err(|error| Trouble::Own(words(&error)))?;
    if let (Some(process), Some(execution)) = (driver.process.get(), &mut execution) {
        execution.outlive(process);
    }
    Ok(execution)
}

/// An error with its causes.
fn words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

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
    Clock, Execution, ExecutionId, Executions, Head, Journal, SourceName, Storage, Timers,
    Timestamp,
};
use tokio::sync::mpsc::UnboundedSender;

use crate::bulkhead::{Bulkhead, Lane, Measure, Place};
use crate::calls::Calls;
use crate::plan::{FindError, Plans};
use crate::steps::Steps;
use crate::suspects::Suspects;
use crate::wakeup::{Cause, News, Told, Wake};

use drive::Drive;
use settle::Held;

/// What it takes to drive executions.
#[derive(Debug)]
pub struct Driver {
    /// The histories.
    pub journal: Journal,
    /// The views.
    pub executions: Executions,
    /// The timers.
    pub timers: Timers,
    /// The large payloads.
    pub payloads: Payloads,
    /// The workflows.
    pub plans: Plans,
    /// The time.
    pub clock: Clock,
    /// Makes the addresses that somebody may call back at; without it, nobody can.
    pub callbacks: Option<Callbacks>,
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
    /// Where those go that have to be driven alone, if this process does that.
    pub alone: OnceLock<UnboundedSender<Wake>>,
}

impl Driver {
    /// A driver as configured, with these kinds of step.
    pub fn from_config(
        config: &Config,
        steps: Steps,
        storage: Storage,
        clock: Clock,
    ) -> Result<Self, Problem> {
        let settings = &config.settings;
        let steps = steps.allowing(&settings.private_hosts);
        let Storage { journal, executions, timers, payloads } = storage;
        let plans = Plans::from_config(config, journal.clone(), steps)?;
        Ok(Self {
            journal,
            executions,
            timers,
            payloads,
            plans,
            clock,
            callbacks: None,
            turns: places(settings.concurrency),
            calls: Calls::default(),
            process: OnceLock::new(),
            closing: AtomicBool::new(false),
            suspects: Suspects::default(),
            alone: OnceLock::new(),
        })
    }

    /// Takes claims that this process did not make for lost: it alone drives executions. Returns what it is called.
    pub fn is_alone(&self) -> Arc<str> {
        self.process.get_or_init(|| everhook_journal::id::fresh().into()).clone()
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
    /// It wants to go on, and this process lets go of it.
    Moved,
    /// It is left to a drive of it alone.
    LeftAlone,
    /// It cannot move, and an operator should look.
    Stalled,
    /// There is no such execution.
    Absent,
    /// Its next step acts, and this process must end soon; with its source.
    Acts(SourceName),
}

/// Under what bounds a drive is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// When it must have stopped.
    pub deadline: Timestamp,
    /// Whether steps that act are left to another process.
    pub hands_over: bool,
}

/// What a drive is made with.
#[derive(Debug)]
pub struct Stint<'s> {
    /// Its bounds.
    pub limits: Limits,
    /// What happens to the execution meanwhile.
    pub news: &'s News,
    /// The place that it is driven from.
    pub place: Option<Place>,
}

/// What a drive came to.
#[derive(Debug)]
pub struct Driven {
    /// How far the execution got.
    pub result: Result<Advanced, Outage>,
    /// Its state as of the last append that is known, unless it has ended.
    pub known: Option<Execution>,
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
    let limits = Limits { deadline, hands_over: false };
    let stint = Stint { limits, news: &News::default(), place };
    advance_within(driver, &wake.execution, wake.clone().into(), stint, None).await.result
}

/// Makes one execution go on as far as these bounds allow, from a state that is known if one is.
pub async fn advance_within(
    driver: &Driver,
    id: &ExecutionId,
    told: Told,
    stint: Stint<'_>,
    known: Option<Execution>,
) -> Driven {
    let mut held = Held::new(told);
    let mut known = known;
    let result = match drive(driver, id, stint, &mut held, &mut known).await {
        Ok(advanced) => Ok(advanced),
        Err(Trouble::Outage(outage)) => Err(outage),
        Err(Trouble::Own(reason)) => {
            let expires_at = known.as_ref().map(|known| known.webhook.expires_at);
            settle::stall(driver, id, &held, &reason, expires_at).await
        }
    };
    Driven { result, known: known.filter(|known| !known.status.is_terminal()) }
}

async fn drive(
    driver: &Driver,
    id: &ExecutionId,
    stint: Stint<'_>,
    held: &mut Held,
    known: &mut Option<Execution>,
) -> Result<Advanced, Trouble> {
    if held.cause != Cause::Alone && driver.suspects.contains(id) {
        return Ok(settle::leave_alone(driver, id, held));
    }
    let mark = driver.suspects.mark(id);
    let Some(execution) = read(driver, id, known.take()).await? else {
        held.clear(driver, None).await;
        return Ok(Advanced::Absent);
    };
    *known = Some(execution.clone());
    // A timer may outlive the end, as that of an expiry does: a view that is there is not written again, since a put
    // that is refused is billed as well.
    if execution.status.is_terminal() && settle::is_shown(driver, id, &execution).await? {
        held.clear(driver, None).await;
        return Ok(Advanced::Ended);
    }
    // This comes first: nothing else may keep it from an end.
    if !execution.status.is_terminal()
        && execution.last_chance() <= driver.clock.now()
        && guard::holds(Guard::EndsBeforeExpiry)
    {
        return settle::expire(driver, id, execution, held).await;
    }
    let plan = match driver.plans.find(&execution.webhook.workflow).await {
        Ok(plan) => plan,
        Err(FindError::Unavailable(error)) => return Err(error.into()),
        Err(error) => return Err(Trouble::Own(error.to_string())),
    };
    let mut drive = Drive::new(driver, id, &plan, stint, execution, held, mark);
    let driven = Box::pin(drive.run()).await;
    if driven.is_err() {
        Box::pin(drive.save()).await;
    }
    *known = Some(drive.into_known());
    driven
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

/// The state as of the last acknowledged append. Only what comes after the known state is read.
async fn read(
    driver: &Driver,
    id: &ExecutionId,
    known: Option<Execution>,
) -> Result<Option<Execution>, Trouble> {
    // Another execution may begin in the place of one that has expired.
    let known = known.filter(|known| driver.clock.now() < known.webhook.expires_at);
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

//! One wake-up under way: what is decided, what is appended, and what is left behind.

mod begin;
mod record;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use everhook_journal::execution::{Move, Stage, Task};
use everhook_journal::guard::{self, Guard};
use everhook_journal::{
    Command, Event, Execution, ExecutionId, Next, Status, StepName, Timestamp, ambient,
};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};

use crate::bulkhead::{Lane, Measure, Place};
use crate::plan::Plan;
use crate::suspects::Mark;

use super::inputs::Inputs;
use super::perform::{Performed, Turn, condition, perform};
use super::settle::Held;
use super::{Advanced, Driver, Stint, Trouble, moves, settle};

/// What must be left of an invocation's time beyond a step's own.
pub(super) const MARGIN: Duration = Duration::from_secs(2);

/// How many moves one wake-up makes at most: more than a history can have events.
const MOVES_MAX: usize = 50_000;

/// How long a step that only computes may take before what is decided no longer waits for it.
const AT_ONCE: Duration = Duration::from_millis(10);

/// How long an execution with no call in flight waits in memory for its turn to call.
const PATIENCE: Duration = Duration::from_secs(20);

/// Something under way for a step, and what it comes to.
type UnderWay<'d> = Pin<Box<dyn Future<Output = Ended> + Send + 'd>>;

/// What something under way came to.
struct Ended {
    path: StepName,
    /// On which decisions it was computed; none if it acted, on what was appended.
    basis: Option<u64>,
    came: Result<Came, Trouble>,
}

/// A step that waits for a place to call from.
type Waiting<'d> = Pin<Box<dyn Future<Output = (StepName, Place)> + Send + 'd>>;

/// What came of something that was under way.
enum Came {
    /// This is to be recorded.
    To(Performed),
    /// The condition of this attempt holds.
    Wanted(u32),
}

/// One wake-up under way.
pub(super) struct Drive<'d> {
    driver: &'d Driver,
    id: &'d ExecutionId,
    plan: &'d Plan,
    stint: Stint<'d>,
    held: &'d mut Held,
    lane: Lane,
    inputs: Inputs,
    /// The state that the journal gives, as far as we know.
    appended: Execution,
    /// The state with what is decided.
    execution: Execution,
    /// What is decided and not yet appended.
    decided: Vec<Decided>,
    /// How often decisions were dropped because another driver appended first.
    dropped: u64,
    /// What is under way.
    attempts: FuturesUnordered<UnderWay<'d>>,
    attempted: HashSet<StepName>,
    /// The claims that this drive has appended, with their ends.
    claimed: HashMap<StepName, Timestamp>,
    /// The attempts whose conditions hold.
    wanted: HashSet<(StepName, u32)>,
    /// The steps that wait for a place to call from.
    waiting: FuturesUnordered<Waiting<'d>>,
    queued: HashSet<StepName>,
    /// The places that they got.
    places: HashMap<StepName, Place>,
    /// The steps whose turn to call comes later.
    later: HashMap<StepName, Timestamp>,
    /// Whether the end was shown while a call was in flight.
    lingers: bool,
    /// How this ends once nothing is under way any more.
    stopping: Option<Advanced>,
    /// Says that this process computes for the execution.
    mark: Mark,
}

/// A decision that is not yet appended.
struct Decided {
    command: Command,
    event: Event,
    /// About how many bytes of it are inline.
    bytes: usize,
    /// Whether it is the outcome of an attempt: it survives another driver's append. All else is decided anew.
    is_outcome: bool,
}

/// What a drive waited for.
enum Waited {
    /// Something that was under way has ended.
    Ended(Ended),
    /// A step may call.
    Place(StepName, Place),
    /// The execution was moved.
    News,
    /// It waited as long as it may.
    Enough,
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
        id: &'d ExecutionId,
        plan: &'d Plan,
        stint: Stint<'d>,
        execution: Execution,
        held: &'d mut Held,
        mark: Mark,
    ) -> Self {
        Self {
            driver,
            id,
            plan,
            stint,
            held,
            lane: execution.webhook.source.as_str().into(),
            inputs: Inputs::default(),
            appended: execution.clone(),
            execution,
            decided: Vec::new(),
            dropped: 0,
            attempts: FuturesUnordered::new(),
            attempted: HashSet::new(),
            claimed: HashMap::new(),
            wanted: HashSet::new(),
            waiting: FuturesUnordered::new(),
            queued: HashSet::new(),
            places: HashMap::new(),
            later: HashMap::new(),
            lingers: false,
            stopping: None,
            mark,
        }
    }

    pub(super) async fn run(&mut self) -> Result<Advanced, Trouble> {
        let plan = self.plan;
        for _ in 0..MOVES_MAX {
            self.look_up().await?;
            if self.attempts.is_empty()
                && let Some(advanced) = self.stopping.clone()
                && !self.execution.status.is_terminal()
            {
                if let Flushed::Stop(advanced) = self.flush().await? {
                    return Ok(advanced);
                }
                if self.execution.status.is_terminal() {
                    continue;
                }
                self.rest(self.driver.clock.now()).await?;
                return Ok(advanced);
            }
            if !self.has_room_for(0)
                && let Flushed::Stop(advanced) = self.flush().await?
            {
                return Ok(advanced);
            }
            let next = self.execution.next(&plan.workflow, self.now());
            match next {
                // An operator may redrive it while a call is in flight: what comes of it counts then.
                Next::Nothing if self.is_cancelled() && !self.attempts.is_empty() => {
                    self.linger().await?;
                }
                Next::Nothing => {
                    self.stopping = None;
                    if !guard::holds(Guard::EndBeforeLettingGo) {
                        self.let_go();
                    }
                    if self.has_decided() {
                        if let Flushed::Stop(advanced) = self.flush().await? {
                            return Ok(advanced);
                        }
                        // Another driver may have appended first: then this is not the end.
                        continue;
                    }
                    // Whatever is still being done for it comes too late.
                    self.let_go();
                    return self.end().await;
                }
                Next::Complete { filtered } => {
                    self.decide(Command::Complete(filtered), 0)?;
                    if !guard::holds(Guard::AppendBeforeEnd) {
                        self.end().await?;
                    }
                }
                Next::GiveUp { cause } => {
                    if !guard::holds(Guard::EndBeforeLettingGo) {
                        self.let_go();
                    }
                    self.decide(Command::GiveUp(cause), 0)?;
                    if let Flushed::Stop(advanced) = self.flush().await? {
                        return Ok(advanced);
                    }
                    // Only now nothing that is under way is wanted, unless another driver appended first.
                    if matches!(self.appended.status, Status::Failing { .. }) {
                        self.let_go();
                    }
                }
                Next::Fail { cause } => self.decide(Command::Fail(cause), 0)?,
                // What follows may act outside: the claim that is appended with this lets one driver go there.
                Next::Fire { .. } => self.decide(Command::FireTimer(self.now()), 0)?,
                Next::Wait { until } => {
                    self.withdraw();
                    if !self.attempts.is_empty() {
                        if let Some(advanced) = self.idle(Some(until)).await? {
                            return Ok(advanced);
                        }
                        continue;
                    }
                    if !guard::holds(Guard::AppendBeforeTimer) {
                        self.rest(until).await?;
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
                        self.rest(until).await?;
                        return Ok(Advanced::Waiting(until));
                    }
                }
                Next::Do { tasks, wake } => {
                    if let Some(advanced) = self.act(tasks, wake).await? {
                        return Ok(advanced);
                    }
                }
            }
        }
        Err(Trouble::Own(format!("no end in {MOVES_MAX} moves")))
    }

    /// Does one of these things, begins those that act, or waits for what is under way.
    async fn act(
        &mut self,
        tasks: Vec<Task<'d>>,
        wake: Option<Timestamp>,
    ) -> Result<Option<Advanced>, Trouble> {
        let now = self.driver.clock.now();
        self.later.retain(|path, at| *at > now && tasks.iter().any(|task| task.path == *path));
        self.places.retain(|path, _| tasks.iter().any(|task| task.path == *path));
        let wake = wake.into_iter().chain(self.later.values().copied()).min();
        let is_open = |task: &Task<'_>| {
            !self.attempted.contains(&task.path)
                && !self.queued.contains(&task.path)
                && !self.later.contains_key(&task.path)
        };
        let open: Vec<_> = tasks.into_iter().filter(is_open).collect();
        if open.is_empty() || self.stopping.is_some() {
            if !self.attempts.is_empty() || !self.waiting.is_empty() {
                return self.idle(wake).await;
            }
            if let Flushed::Stop(advanced) = self.flush().await? {
                return Ok(Some(advanced));
            }
            // Only turns that come later are left, unless something was appended meanwhile.
            return match wake.filter(|wake| *wake > now && self.stopping.is_none()) {
                Some(wake) => {
                    self.rest(wake).await?;
                    Ok(Some(Advanced::Waiting(wake)))
                }
                None => Ok(None),
            };
        }
        match open.iter().find(|task| self.is_quick(task)).cloned() {
            Some(task) => self.quickly(task).await,
            None if self.stint.limits.hands_over && guard::holds(Guard::BatchesHandOver) => {
                // What was only computed is computed again: an append of its own would cost more.
                Ok(Some(Advanced::Acts(self.execution.webhook.source.clone())))
            }
            None if self.is_full() => self.idle(wake).await,
            None => self.start(open).await,
        }
    }

    /// The state as of the last append that this drive knows.
    pub(super) fn into_known(self) -> Execution {
        self.appended
    }

    fn id(&self) -> &'d ExecutionId {
        self.id
    }

    /// Lets go of the execution until this time.
    async fn rest(&mut self, until: Timestamp) -> Result<(), Trouble> {
        let rest = settle::rest(self.driver, self.id, &self.execution, self.held, until);
        rest.await.map_err(Trouble::Outage)
    }

    fn is_quick(&self, task: &Task<'_>) -> bool {
        match task.what {
            Move::Attempt(number) => {
                (self.plan.ready(task.step).quick && task.step.at_most_once.is_none())
                    || self.is_conditional(task, number)
            }
            _ => true,
        }
    }

    /// Whether a condition has to be looked at before this attempt is claimed.
    fn is_conditional(&self, task: &Task<'_>, number: u32) -> bool {
        let state = self.execution.step(&task.path);
        self.plan.ready(task.step).when.is_some()
            && number == state.map_or(0, |state| state.forgiven) + 1
            // What is claimed was wanted.
            && !state.is_some_and(|state| matches!(state.stage, Stage::Claimed(_)))
            && !self.wanted.contains(&(task.path.clone(), number))
    }

    /// Does what acts nowhere outside; it is appended with what follows it.
    async fn quickly(&mut self, task: Task<'d>) -> Result<Option<Advanced>, Trouble> {
        let Move::Attempt(number) = task.what else {
            let moved = moves::settled(self.driver, self.id(), &self.execution, self.plan, &task);
            let performed = moved.await?;
            return self.record(performed).await;
        };
        if !self.has_time_for(&task) {
            self.stopping = Some(Advanced::Moved);
            return Ok(None);
        }
        let driver = self.driver;
        let turn = self.turn(&task, number).await?;
        let looks = self.is_conditional(&task, number)
            && !(turn.ready.quick && task.step.at_most_once.is_none());
        let (path, basis) = (task.path.clone(), Some(self.dropped));
        let mut made: UnderWay<'d> = Box::pin(async move {
            let came = match looks {
                true => Ok(condition(driver, &turn).await.map_or(Came::Wanted(number), Came::To)),
                false => perform(driver, turn).await.map(Came::To),
            };
            Ended { path: task.path, basis, came }
        });
        match ambient::timeout(AT_ONCE, &mut made).await {
            Ok(ended) => match ended.came? {
                Came::To(performed) => self.record(performed).await,
                Came::Wanted(number) => {
                    self.wanted.insert((path, number));
                    Ok(None)
                }
            },
            // Neither what is decided nor a place to drive from waits for it.
            Err(_) => {
                self.attempted.insert(path);
                self.attempts.push(made);
                Ok(None)
            }
        }
    }

    /// Decides what came of something that acted nowhere outside.
    async fn record(&mut self, (command, bytes): Performed) -> Result<Option<Advanced>, Trouble> {
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

    /// Waits for what is under way. What is decided is appended first: only what is known may be lost with us.
    async fn idle(&mut self, wake: Option<Timestamp>) -> Result<Option<Advanced>, Trouble> {
        if self.has_decided() && guard::holds(Guard::OutcomeAtOnce) {
            return match self.flush().await? {
                Flushed::Stop(advanced) => Ok(Some(advanced)),
                Flushed::GoOn => Ok(None),
            };
        }
        self.gather(wake).await.map(|()| None)
    }

    /// Waits until something ends, a place is there, or there is news, and decides what has ended by then.
    async fn gather(&mut self, wake: Option<Timestamp>) -> Result<(), Trouble> {
        let now = self.driver.clock.now();
        let mut most = wake.map_or(Duration::from_secs(3600), |wake| wake.since(now));
        if self.attempts.is_empty() {
            let left = self.stint.limits.deadline.since(now).saturating_sub(MARGIN);
            most = most.min(PATIENCE).min(left);
        }
        // Others drive meanwhile.
        self.stint.place = None;
        let Self { attempts, waiting, stint, mark, .. } = self;
        let waited = mark.rest(async {
            tokio::select! {
                biased;
                Some(ended) = attempts.next() => Waited::Ended(ended),
                Some((path, place)) = waiting.next() => Waited::Place(path, place),
                () = stint.news.heard() => Waited::News,
                () = ambient::sleep(most) => Waited::Enough,
            }
        });
        let mut ended = None;
        match waited.await {
            Waited::Ended(first) => ended = Some(first),
            Waited::Place(path, place) => {
                self.queued.remove(&path);
                self.places.insert(path, place);
            }
            Waited::News => {}
            Waited::Enough => {
                let is_due = wake.is_some_and(|wake| wake <= self.driver.clock.now());
                if self.attempts.is_empty() && !is_due {
                    self.come_back_later();
                }
            }
        }
        let entering = self.driver.turns.enter(&self.lane, Measure::default());
        self.stint.place = Some(self.mark.rest(entering).await);
        while let Some(next) = ended {
            self.ended(next)?;
            if !self.has_room_for(0) {
                // What has ended as well is gathered after this is appended.
                return Ok(());
            }
            ended = self.attempts.next().now_or_never().flatten();
        }
        self.take_places();
        Ok(())
    }

    fn ended(&mut self, Ended { path, basis, came }: Ended) -> Result<(), Trouble> {
        self.attempted.remove(&path);
        // It was computed from what another driver has recorded otherwise.
        if basis.is_some_and(|basis| basis != self.dropped) {
            return Ok(());
        }
        match came? {
            // Another driver may have recorded its outcome, or ended what it belongs to.
            Came::To((command, bytes)) => self.decide_outcome(command, bytes),
            Came::Wanted(number) => {
                self.wanted.insert((path, number));
                Ok(())
            }
        }
    }

    /// Ends whatever is under way: nothing that could come of it is wanted any more.
    fn let_go(&mut self) {
        self.attempts.clear();
        self.attempted.clear();
        self.withdraw();
    }

    /// Waits for no place any more.
    fn withdraw(&mut self) {
        self.waiting.clear();
        self.queued.clear();
        self.places.clear();
    }

    /// The time, as what is due is told by it.
    fn now(&self) -> Timestamp {
        let now = self.driver.clock.now();
        if guard::holds(Guard::TimersOnTime) { now } else { now + Duration::from_secs(10) }
    }

    /// Whether an operator has ended it, as far as the journal says.
    fn is_cancelled(&self) -> bool {
        !self.has_decided() && matches!(self.appended.status, Status::Cancelled { .. })
    }

    /// Waits for a call that is in flight although the execution was cancelled; what was appended meanwhile is read
    /// before what came of it is looked at.
    async fn linger(&mut self) -> Result<(), Trouble> {
        self.withdraw();
        if !std::mem::replace(&mut self.lingers, true) {
            self.end().await?;
        }
        self.stint.place = None;
        let Self { attempts, stint, mark, .. } = self;
        let waited = mark.rest(async {
            tokio::select! {
                biased;
                ended = attempts.next() => ended,
                () = stint.news.heard() => None,
            }
        });
        let ended = waited.await;
        let entering = self.driver.turns.enter(&self.lane, Measure::default());
        self.stint.place = Some(self.mark.rest(entering).await);
        if let Some(ended) = ended {
            self.read_again(Vec::new()).await?;
            self.ended(ended)?;
        }
        Ok(())
    }

    /// Shows the end, and lets go of the execution.
    async fn end(&mut self) -> Result<Advanced, Trouble> {
        let end = settle::end(self.driver, self.id, &self.execution, self.held);
        end.await.map_err(Trouble::Outage)?;
        Ok(Advanced::Ended)
    }
}

impl fmt::Debug for Drive<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drive").field("execution", self.id).finish_non_exhaustive()
    }
}

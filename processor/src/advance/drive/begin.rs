//! Attempts at steps that act outside begin: when it is their turn, and with a claim that is appended with everything
//! before them.

use std::time::Duration;

use everhook_journal::execution::{Move, PATH_SEPARATOR, Stage, Task};
use everhook_journal::guard::{self, Guard};
use everhook_journal::{Command, StepName, Timestamp};
use futures_util::{FutureExt, StreamExt};

use crate::calls::{self, Caller};

use super::super::perform::attempt;
use super::{Advanced, Came, Drive, Ended, Flushed, MARGIN, Trouble, Turn, settle};

/// How far the clocks of two processes may be apart: each is at most two seconds off.
const CLOCKS_APART: Duration = Duration::from_secs(4);

/// How much longer a claim lasts than the attempt: the clocks may differ, and appending claim and outcome takes a moment.
const CLAIM_MARGIN: Duration = Duration::from_secs(10);

/// How many attempts one wake-up makes at once.
const ATTEMPTS_AT_ONCE: usize = 100;

/// How often an attempt is claimed again because appending its claim took too long.
const CLAIMS_AGAIN_MAX: usize = 3;

impl<'d> Drive<'d> {
    /// Whether no further attempt may begin or wait for its turn.
    pub(super) fn is_full(&self) -> bool {
        self.places.is_empty() && self.attempts.len() + self.waiting.len() >= ATTEMPTS_AT_ONCE
    }

    /// Begins those attempts at steps that act outside whose turn it is.
    pub(super) async fn start(
        &mut self,
        tasks: Vec<Task<'d>>,
    ) -> Result<Option<Advanced>, Trouble> {
        let now = self.driver.clock.now();
        let mut begun = Vec::new();
        for task in tasks {
            let Move::Attempt(number) = task.what else { continue };
            if !self.has_time_for(&task) {
                self.stopping = Some(Advanced::Moved);
                continue;
            }
            if !self.places.contains_key(&task.path) && !self.is_full() {
                self.queue(&task, now);
            }
            begun.push((task, number));
        }
        self.take_places();
        begun.retain(|(task, _)| self.places.contains_key(&task.path));
        if begun.is_empty() {
            return Ok(None);
        }
        let is_suspect = |(task, _): &(Task<'d>, u32)| {
            self.claim_of(&task.path).is_some() && !self.claimed.contains_key(&task.path)
        };
        if self.attempts.is_empty()
            && begun.iter().any(is_suspect)
            && guard::holds(Guard::SuspectsAlone)
        {
            if let Flushed::Stop(advanced) = self.flush().await? {
                return Ok(Some(advanced));
            }
            let suspected =
                settle::suspect(self.driver, self.id(), &self.execution, self.held).await;
            if let Some(left) = suspected.map_err(Trouble::Outage)? {
                return Ok(Some(left));
            }
        }
        if let Flushed::Stop(advanced) = self.claim(&begun).await? {
            return Ok(Some(advanced));
        }
        for (task, number) in begun {
            let place = self.places.remove(&task.path);
            let turn = self.turn(&task, number).await?;
            // Opening what the step sees may have taken long: then it is claimed again with the next look.
            if !self.owns(&task) || !self.is_long_enough(&task) {
                continue;
            }
            let driver = self.driver;
            self.attempted.insert(task.path.clone());
            let path = task.path;
            self.attempts.push(Box::pin(async move {
                let came = attempt(driver, turn).await.map(Came::To);
                // The next call may begin while this one's outcome is appended.
                drop(place);
                Ended { path, basis: None, came }
            }));
        }
        Ok(None)
    }

    /// Takes the places that are there.
    pub(super) fn take_places(&mut self) {
        while let Some((path, place)) = self.waiting.next().now_or_never().flatten() {
            self.queued.remove(&path);
            self.places.insert(path, place);
        }
    }

    /// Those that wait for a place come back later: waiting in memory is for short.
    pub(super) fn come_back_later(&mut self) {
        self.waiting.clear();
        let now = self.driver.clock.now();
        for path in std::mem::take(&mut self.queued) {
            let Some(step) = self.plan.workflow.step(path.as_str()) else { continue };
            let task = Task { path, step, what: Move::Attempt(0) };
            let after = self.driver.calls.park(&self.caller(&task));
            self.later.insert(task.path, now + after);
        }
    }

    /// Waits for a place to call from, or for a turn that comes later.
    fn queue(&mut self, task: &Task<'d>, now: Timestamp) {
        let (path, lane) = (task.path.clone(), self.lane.clone());
        let measure = self.plan.ready(task.step).measure;
        match self.driver.calls.turn(&self.caller(task)) {
            calls::Turn::Later(after) => {
                self.later.insert(path, now + after);
            }
            calls::Turn::Wait(places) => {
                self.queued.insert(path.clone());
                self.waiting.push(Box::pin(async move {
                    let place = places.enter(&lane, measure).await;
                    (path, place)
                }));
            }
        }
    }

    fn caller<'c>(&'c self, task: &'c Task<'d>) -> Caller<'c> {
        let ready = self.plan.ready(task.step);
        Caller {
            destination: &ready.destination,
            measure: ready.measure,
            source: &self.lane,
            execution: self.id(),
            step: &task.path,
        }
    }

    /// Claims these attempts, in one append with everything that was decided before.
    async fn claim(&mut self, begun: &[(Task<'d>, u32)]) -> Result<Flushed, Trouble> {
        begun.iter().try_for_each(|(task, number)| self.decide_claim(task, *number))?;
        if !guard::holds(Guard::AppendBeforeNext) {
            return Ok(Flushed::GoOn);
        }
        if let stop @ Flushed::Stop(_) = self.flush().await? {
            return Ok(stop);
        }
        // Appending may have taken long: another driver must not find the claim expired while the call is in flight.
        for _ in 0..CLAIMS_AGAIN_MAX {
            let is_short = |(task, _): &&(Task<'d>, u32)| {
                self.is_claimed(task) && self.owns(task) && !self.is_long_enough(task)
            };
            let short: Vec<_> = begun.iter().filter(is_short).cloned().collect();
            if short.is_empty() {
                break;
            }
            short.iter().try_for_each(|(task, number)| self.decide_claim(task, *number))?;
            if let stop @ Flushed::Stop(_) = self.flush().await? {
                return Ok(stop);
            }
        }
        Ok(Flushed::GoOn)
    }

    fn decide_claim(&mut self, task: &Task<'d>, attempt: u32) -> Result<(), Trouble> {
        if !self.is_claimed(task) {
            return Ok(());
        }
        // Another driver may have claimed it since it was found to be open.
        if self.is_held_elsewhere(&task.path) && guard::holds(Guard::ClaimIsOwn) {
            return Ok(());
        }
        let replaces = self.claim_of(&task.path);
        let until = claim_end(task, self.driver.clock.now());
        let later = replaces.map(|replaced| replaced + Duration::from_millis(1));
        let until = until.max(later.unwrap_or(until));
        let (step, process) = (task.path.clone(), self.driver.process.get().cloned());
        self.claimed.remove(&step);
        let claim = Command::ClaimStep { step, attempt, until, replaces, process };
        self.decide_if_it_fits(claim, 0).map(drop)
    }

    /// Whether another driver has a claim of this step that has not run out.
    fn is_held_elsewhere(&self, path: &StepName) -> bool {
        let stage = self.execution.step(path).map(|state| &state.stage);
        let now = self.driver.clock.now();
        matches!(stage, Some(Stage::Claimed(claim)) if claim.holds(now))
            && !self.claimed.contains_key(path)
    }

    fn claim_of(&self, path: &StepName) -> Option<Timestamp> {
        match &self.execution.step(path)?.stage {
            Stage::Claimed(claim) => Some(claim.until),
            _ => None,
        }
    }

    /// Whether an attempt at this step is claimed before it acts: always, but in a simulation of what that is for.
    fn is_claimed(&self, task: &Task<'_>) -> bool {
        let everywhere = guard::holds(Guard::ClaimEverywhere)
            || task.step.at_most_once.is_some()
            || task.path.as_str().contains(PATH_SEPARATOR);
        guard::holds(Guard::ClaimBeforeActing) && everywhere
    }

    /// Whether this drive has the claim: of several drivers one has it.
    fn owns(&self, task: &Task<'_>) -> bool {
        let claim = self.claim_of(&task.path);
        (claim.is_some() && claim.as_ref() == self.claimed.get(&task.path))
            || !self.is_claimed(task)
            || !guard::holds(Guard::ClaimIsOwn)
            || !guard::holds(Guard::AppendBeforeNext)
    }

    /// Whether the claim still outlasts the attempt.
    fn is_long_enough(&self, task: &Task<'_>) -> bool {
        let ends = self.driver.clock.now() + task.step.timeout() + CLOCKS_APART;
        !self.is_claimed(task)
            || self.claim_of(&task.path).is_some_and(|until| ends <= until)
            || !guard::holds(Guard::ClaimStillLong)
            || !guard::holds(Guard::ClaimOutlastsAttempt)
            || !guard::holds(Guard::ClaimIsOwn)
            || !guard::holds(Guard::AppendBeforeNext)
    }

    pub(super) fn has_time_for(&self, task: &Task<'_>) -> bool {
        self.driver.clock.now() + task.step.timeout() + MARGIN <= self.stint.limits.deadline
    }

    pub(super) async fn turn(&mut self, task: &Task<'d>, number: u32) -> Result<Turn<'d>, Trouble> {
        let (driver, id) = (self.driver, self.id());
        let ready = self.plan.ready(task.step);
        let input = self.inputs.of(driver, id, &self.execution, task, ready, number).await?;
        let state = self.execution.step(&task.path);
        Ok(Turn {
            step: task.step,
            ready,
            forgiven: state.map_or(0, |state| state.forgiven),
            first_at: state
                .filter(|state| state.attempts > state.forgiven)
                .map(|state| state.first_at),
            input,
        })
    }
}

/// When a claim ends that is made now.
fn claim_end(task: &Task<'_>, now: Timestamp) -> Timestamp {
    match guard::holds(Guard::ClaimOutlastsAttempt) {
        true => now + task.step.timeout() + CLAIM_MARGIN,
        false => now + Duration::from_secs(1),
    }
}

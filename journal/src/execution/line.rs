//! Steps one after the other, and what is known of each: a workflow, a branch of it, what precedes a callback.

use std::sync::Arc;
use std::time::Duration;

use crate::event::{CallbackAnswer, Event, Filtered, Recorded, StepFailure};
use crate::id::StepName;
use crate::payload::Payload;
use crate::time::Timestamp;

use super::Scope;
use super::branches::BranchesState;
use super::step::{
    CallbackState, Claim, Stage, StepState, is_end_of_attempt, permitted, started_at,
};
use super::survey::{Move, Survey};

/// Between the names of a step inside another one: `lines/3/reserve`.
pub const PATH_SEPARATOR: char = '/';

/// Steps one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    names: Arc<[StepName]>,
    /// How many of them are done with.
    done: usize,
    /// Those that were reached, in order.
    pub steps: Vec<StepState>,
    /// How it ended, if it ended before all of them were done.
    pub end: Option<LineEnd>,
}

/// How steps ended before all of them were done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineEnd {
    /// One of them said that the webhook goes no further.
    Filtered(Filtered),
    /// One of them failed for good.
    Failed {
        /// Which, with the steps it is inside of.
        step: StepName,
        /// What went wrong.
        error: StepFailure,
    },
}

impl Line {
    /// Steps of which none has begun.
    pub fn new(names: impl Into<Arc<[StepName]>>) -> Self {
        Self { names: names.into(), done: 0, steps: Vec::new(), end: None }
    }

    /// The names of its steps, in order.
    pub fn names(&self) -> &[StepName] {
        &self.names
    }

    /// The step in hand; none once it is over.
    pub fn in_hand(&self) -> Option<&StepName> {
        if self.end.is_some() { None } else { self.names.get(self.done) }
    }

    /// Whether nothing of it is left to do.
    pub fn is_over(&self) -> bool {
        self.in_hand().is_none()
    }

    /// Whether it is over, and not because of a failure.
    pub fn is_well(&self) -> bool {
        self.is_over() && !matches!(self.end, Some(LineEnd::Failed { .. }))
    }

    /// About how many bytes it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        let of_step = |state: &StepState| {
            let seen = state.seen.as_ref().map_or(0, Payload::inline_bytes);
            let stage = match &state.stage {
                Stage::Completed(output) => output.inline_bytes(),
                Stage::Callback(callback) => 256 + callback.line.bytes(),
                Stage::Branching(branches) | Stage::Failed(Some(branches)) => branches.bytes(),
                _ => 0,
            };
            size_of::<StepState>() + seen + stage
        };
        size_of::<Self>() + self.steps.iter().map(of_step).sum::<usize>()
    }

    /// What is known of the step in hand.
    fn state(&self) -> Option<&StepState> {
        self.steps.get(self.done)
    }

    /// The results so far, in order.
    pub fn outputs(&self) -> impl Iterator<Item = (&StepName, &Payload)> {
        self.steps.iter().take(self.done).filter_map(|state| match &state.stage {
            Stage::Completed(output) => Some((&state.name, output)),
            _ => None,
        })
    }

    /// The last result.
    pub fn output(&self) -> Option<&Payload> {
        self.outputs().last().map(|(_, output)| output)
    }

    /// The step of this path and the line it stands in, if it is one in hand.
    pub fn find(&self, path: &str) -> Option<(&Line, Option<&StepState>)> {
        let (name, rest) = split(path);
        if self.in_hand()?.as_str() != name {
            return None;
        }
        match (rest, self.state().map(|state| &state.stage)) {
            (None, _) => Some((self, self.state())),
            (Some(rest), Some(Stage::Callback(callback))) => callback.line.find(rest),
            (Some(rest), Some(Stage::Branching(branches))) => {
                let (name, rest) = split(rest);
                branches.active(name)?.find(rest?)
            }
            (Some(_), _) => None,
        }
    }

    /// What the step of this path is inside of.
    pub fn scope<'l>(&'l self, prefix: &str, path: &str, found: &mut Scope<'l>) {
        found.lines.push(self);
        let (name, Some(rest)) = split(path) else { return };
        let here = format!("{prefix}{name}");
        match self.state() {
            Some(StepState { stage: Stage::Callback(callback), attempts, .. }) => {
                let inside = format!("{here}{PATH_SEPARATOR}");
                found.callback = Some((StepName::new(here), attempts + 1));
                callback.line.scope(&inside, rest, found);
            }
            Some(StepState { stage: Stage::Branching(branches), .. }) => {
                let (branch, Some(rest)) = split(rest) else { return };
                let Some((place, line)) = branches.line(branch) else { return };
                if let Some(items) = &branches.items {
                    found.item = Some((here.clone(), items, place));
                }
                let inside = format!("{here}{PATH_SEPARATOR}{branch}{PATH_SEPARATOR}");
                line.scope(&inside, rest, found);
            }
            _ => {}
        }
    }

    /// Whether this event may happen to the step of this path.
    pub fn permits(&self, path: &str, event: &Event) -> bool {
        self.find(path).is_some_and(|(_, state)| permitted(state, event))
    }

    /// What is left after an event of the step of this path; nothing changes if it cannot happen.
    pub fn evolve(&mut self, path: &str, recorded: &Recorded) -> Option<()> {
        let (name, rest) = split(path);
        if self.in_hand()?.as_str() != name {
            return None;
        }
        match rest {
            None => {
                permitted(self.state(), &recorded.event).then_some(())?;
                self.record(recorded);
            }
            Some(rest) => match &mut self.steps.get_mut(self.done)?.stage {
                Stage::Callback(callback) => callback.line.evolve(rest, recorded)?,
                Stage::Branching(branches) => {
                    let (name, rest) = split(rest);
                    branches.evolve(name, rest?, recorded)?;
                }
                _ => return None,
            },
        }
        self.settle(recorded.at);
        Some(())
    }

    /// Releases every attempt whose time has come by then.
    pub fn release(&mut self, due: Timestamp) {
        if self.is_over() {
            return;
        }
        let Some(state) = self.steps.get_mut(self.done) else { return };
        match &mut state.stage {
            Stage::Retrying { until } | Stage::Polling { until } if *until <= due => {
                state.stage = Stage::Ready;
            }
            Stage::Callback(callback) => callback.line.release(due),
            Stage::Branching(branches) => branches.release(due),
            _ => {}
        }
    }

    /// Claims of other processes count as lost.
    pub(super) fn outlive(&mut self, process: &str) {
        if let Some(state) = self.steps.get_mut(self.done) {
            state.outlive(process);
        }
    }

    /// What can be done now, and when there will be more.
    pub fn survey(&self, prefix: &str, now: Timestamp, found: &mut Survey) {
        let Some(name) = self.in_hand() else { return };
        let path = || StepName::new(format!("{prefix}{name}"));
        let inside = || format!("{prefix}{name}{PATH_SEPARATOR}");
        let Some(state) = self.state() else {
            return found.add(path(), Move::Attempt(1));
        };
        let number = state.attempts + 1;
        match &state.stage {
            Stage::Ready => match &state.left {
                Some(claim) if claim.holds(now) => found.claimed(claim.until),
                _ => found.add(path(), Move::Attempt(number)),
            },
            Stage::Claimed(claim) if claim.holds(now) => found.claimed(claim.until),
            Stage::Claimed(_) => found.add(path(), Move::Interrupt(number)),
            Stage::Waiting { until } => found.at(*until, now, path, Move::EndWait(number)),
            Stage::Retrying { until } | Stage::Polling { until } => found.timer(*until, now),
            Stage::Callback(callback) => {
                // Neither an answer nor the lack of one ends what still runs inside.
                if callback.is_ready_to_end() && callback.answer.is_none() {
                    found.at(callback.due(), now, path, Move::Expire(number));
                }
                callback.line.survey(&inside(), now, found);
            }
            Stage::Branching(branches) if branches.verdict().is_some() => {
                found.add(path(), Move::EndBranches(number));
            }
            Stage::Branching(branches) => branches.survey(&inside(), now, found),
            Stage::Completed(_) | Stage::Skipped | Stage::Filtered | Stage::Failed(_) => {}
        }
    }

    /// The steps that somebody may call back.
    pub(super) fn callbacks<'l>(
        &'l self,
        prefix: &str,
        found: &mut Vec<(StepName, &'l CallbackState)>,
    ) {
        let (Some(name), Some(state)) = (self.in_hand(), self.state()) else { return };
        let inside = || format!("{prefix}{name}{PATH_SEPARATOR}");
        match &state.stage {
            Stage::Callback(callback) => {
                found.push((StepName::new(format!("{prefix}{name}")), callback));
                callback.line.callbacks(&inside(), found);
            }
            Stage::Branching(branches) => branches.callbacks(&inside(), found),
            _ => {}
        }
    }

    /// Goes on from this step, or from where it stands.
    pub fn redrive(&mut self, from: Option<&StepName>) -> Option<()> {
        let Some(from) = from else {
            self.end = None;
            if let Some(state) = self.steps.get_mut(self.done) {
                state.revive();
            }
            return Some(());
        };
        let place = self.names.iter().position(|name| name == from)?;
        if place > self.done {
            return None;
        }
        self.end = None;
        self.done = place;
        self.steps.iter_mut().skip(place).for_each(StepState::restart);
        Some(())
    }

    fn record(&mut self, recorded: &Recorded) {
        if self.steps.len() == self.done {
            let started_at = started_at(&recorded.event).unwrap_or(recorded.at);
            self.steps.push(StepState::new(self.names[self.done].clone(), started_at));
        }
        let at = recorded.at;
        let state = &mut self.steps[self.done];
        let is_end = is_end_of_attempt(&recorded.event);
        let begins = is_end || matches!(recorded.event, Event::StepClaimed { .. });
        if begins && state.attempts == state.forgiven {
            state.first_at = started_at(&recorded.event).unwrap_or(at);
        }
        if is_end {
            state.attempts += 1;
            state.ended_at = at;
            state.error = None;
            state.left = None;
        }
        match &recorded.event {
            Event::StepCompleted { output, .. } => state.stage = Stage::Completed(output.clone()),
            Event::StepFailed { error, retry_at, .. } => {
                state.error = Some(error.clone());
                let before = std::mem::replace(&mut state.stage, Stage::Ready);
                state.stage = match (retry_at, before) {
                    (Some(until), _) => Stage::Retrying { until: *until },
                    (None, Stage::Branching(branches)) => Stage::Failed(Some(branches)),
                    (None, _) => Stage::Failed(None),
                };
            }
            Event::StepFiltered { step, reason, .. } => {
                state.stage = Stage::Filtered;
                let filtered = Filtered { step: step.clone(), reason: reason.clone() };
                self.end = Some(LineEnd::Filtered(filtered));
            }
            Event::StepSkipped { .. } => state.stage = Stage::Skipped,
            Event::StepClaimed { until, process, .. } => {
                let process = process.as_deref().map(Into::into);
                state.stage = Stage::Claimed(Claim { until: *until, process, is_lost: false });
                state.left = None;
            }
            Event::StepPolled { state: seen, next_at, .. } => {
                state.seen = Some(seen.clone());
                state.stage = Stage::Polling { until: *next_at };
            }
            Event::WaitStarted { until, .. } => state.stage = Stage::Waiting { until: *until },
            Event::CallbackCreated { token_sha256, steps, expires_at, heartbeat_ms, .. } => {
                state.stage = Stage::Callback(Box::new(CallbackState {
                    token_sha256: token_sha256.clone(),
                    expires_at: *expires_at,
                    heartbeat: heartbeat_ms.map(Duration::from_millis),
                    alive_at: at,
                    answer: None,
                    line: Line::new(steps.clone()),
                }));
            }
            Event::BranchesStarted { branches, concurrency, rule, .. } => {
                let branches = BranchesState::new(branches, *concurrency, *rule, at);
                state.stage = Stage::Branching(Box::new(branches));
            }
            Event::CallbackReceived { answer, .. } => {
                if let Stage::Callback(callback) = &mut state.stage {
                    callback.answer = Some(answer.clone());
                }
            }
            Event::CallbackBeat { .. } => {
                if let Stage::Callback(callback) = &mut state.stage {
                    callback.alive_at = at;
                }
            }
            _ => {}
        }
    }

    /// Draws the conclusion from what became of the step in hand.
    fn settle(&mut self, at: Timestamp) {
        let Some(state) = self.steps.get_mut(self.done) else { return };
        if let Stage::Callback(callback) = &mut state.stage {
            let failed = match &callback.line.end {
                Some(LineEnd::Failed { step, error }) => Some((Some(step.clone()), error.clone())),
                _ => None,
            };
            let answered = callback.line.is_over().then(|| callback.answer.take()).flatten();
            let outcome = match (failed, answered) {
                (Some((step, error)), _) => Err((step, error)),
                (None, Some(CallbackAnswer::Succeeded(output))) => Ok(output),
                (None, Some(CallbackAnswer::Failed(error))) => Err((None, error)),
                (None, None) => return,
            };
            state.attempts += 1;
            state.ended_at = at;
            match outcome {
                Ok(output) => state.stage = Stage::Completed(output),
                Err((inside, error)) => {
                    let name = &state.name;
                    let step = match inside {
                        Some(step) => StepName::new(format!("{name}{PATH_SEPARATOR}{step}")),
                        None => name.clone(),
                    };
                    state.error = Some(error.clone());
                    state.stage = Stage::Failed(None);
                    self.end = Some(LineEnd::Failed { step, error });
                    return;
                }
            }
        }
        match &state.stage {
            Stage::Completed(_) | Stage::Skipped => self.done += 1,
            Stage::Failed(_) => {
                let error = state.error.clone().expect("what failed has an error");
                self.end = Some(LineEnd::Failed { step: state.name.clone(), error });
            }
            _ => {}
        }
    }
}

/// The first name of a path, and what follows it.
fn split(path: &str) -> (&str, Option<&str>) {
    path.split_once(PATH_SEPARATOR).map_or((path, None), |(name, rest)| (name, Some(rest)))
}

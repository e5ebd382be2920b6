//! One run of a workflow: its state after its events, and what it wants next.

mod branches;
mod command;
mod line;
mod step;
mod survey;

use std::sync::Arc;
use std::time::Duration;

use crate::chain::{Digest, Head};
use crate::event::{Cause, Event, Filtered, Recorded, StepFailure, Webhook};
use crate::id::{Sequence, StepName};
use crate::payload::Payload;
use crate::time::Timestamp;
use crate::workflow::{StepDefinition, Workflow};

pub use branches::{BranchesState, Verdict};
pub use command::{Attempt, Command, Refusal};
pub use line::{Line, LineEnd, PATH_SEPARATOR};
pub use step::{CallbackState, Claim, Stage, StepState};
pub use survey::Move;

use survey::Survey;

/// The most events an execution may have; DynamoDB would let a loop run for ever.
pub const EVENTS_MAX: u64 = 20_000;

/// How long before its history expires an execution ends that has not ended by itself.
const BEFORE_EXPIRY: Duration = Duration::from_secs(2 * 3600);

/// From when on an execution ends whatever it has not done.
pub fn last_chance(created_at: Timestamp, expires_at: Timestamp) -> Timestamp {
    // A history that is kept for minutes only still has most of them.
    expires_at - BEFORE_EXPIRY.min(expires_at.since(created_at) / 10)
}

/// The state of an execution after its events.
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    /// What started it.
    pub webhook: Arc<Webhook>,
    /// Where it stands.
    pub status: Status,
    /// Its steps.
    pub line: Line,
    /// What follows a failure.
    pub rescue: Line,
    /// When it started.
    pub created_at: Timestamp,
    /// When it last moved.
    pub updated_at: Timestamp,
    /// When it started, or was last made to go on by an operator: its time counts from here.
    pub counts_from: Timestamp,
    /// The position of its last event.
    pub sequence: Sequence,
    /// The position of the first event of its last append.
    pub last_append: Sequence,
    /// The digest of its last append; none as long as that is not appended.
    pub digest: Option<Digest>,
}

/// Where an execution stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It is going on, or waits for something.
    Running,
    /// It cannot complete; what follows a failure, or the end, is still to come.
    Failing {
        /// Why.
        cause: Cause,
    },
    /// Ended well.
    Completed {
        /// The step that stopped the rest, if one did.
        filtered: Option<Filtered>,
    },
    /// Ended otherwise.
    Failed {
        /// Why.
        cause: Cause,
    },
    /// Ended by an operator.
    Cancelled {
        /// Why, in the operator's words.
        reason: String,
    },
}

impl Status {
    /// Whether nothing more happens by itself.
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Completed { .. } | Self::Failed { .. } | Self::Cancelled { .. } => true,
            Self::Running | Self::Failing { .. } => false,
        }
    }
}

/// What an execution wants.
#[derive(Debug, Clone, PartialEq)]
pub enum Next<'w> {
    /// These things, in any order or at once.
    Do {
        /// The things.
        tasks: Vec<Task<'w>>,
        /// When there will be more, if nothing moves before.
        wake: Option<Timestamp>,
    },
    /// A timer to fire whose time has come.
    Fire {
        /// The time.
        due: Timestamp,
    },
    /// To be left alone until then.
    Wait {
        /// The time.
        until: Timestamp,
    },
    /// To be completed.
    Complete {
        /// The step that stopped the rest, if one did.
        filtered: Option<Filtered>,
    },
    /// To go on with what follows a failure.
    GiveUp {
        /// Why.
        cause: Cause,
    },
    /// To be failed.
    Fail {
        /// Why.
        cause: Cause,
    },
    /// Nothing: it has ended.
    Nothing,
}

/// Something that an execution wants.
#[derive(Debug, Clone, PartialEq)]
pub struct Task<'w> {
    /// The step, with the steps it is inside of: `lines/3/reserve`.
    pub path: StepName,
    /// Its definition.
    pub step: &'w StepDefinition,
    /// What is wanted of it.
    pub what: Move,
}

/// What a step is inside of.
#[derive(Debug, Default)]
pub struct Scope<'e> {
    /// The steps one after the other that it stands in, the outermost first.
    pub lines: Vec<&'e Line>,
    /// The list whose item it is about: the step that has it, the list, and the item's place.
    pub item: Option<(String, &'e Payload, usize)>,
    /// The callback that it precedes: the step, and its attempt.
    pub callback: Option<(StepName, u32)>,
}

impl<'e> Scope<'e> {
    /// The results before it, in order.
    pub fn outputs(&self) -> impl Iterator<Item = (&'e StepName, &'e Payload)> {
        self.lines.iter().flat_map(|line| line.outputs())
    }
}

/// An event that cannot follow the ones before it: the history is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {sequence} ({name}) cannot stand where it stands")]
pub struct IllegalEvent {
    /// The event's position.
    pub sequence: Sequence,
    /// The event's name.
    pub name: &'static str,
}

impl Execution {
    /// The state after a whole history; `None` if there are no events.
    pub fn fold<'e>(
        history: impl IntoIterator<Item = &'e Recorded>,
    ) -> Result<Option<Self>, IllegalEvent> {
        let mut history = history.into_iter();
        let Some(first) = history.next() else { return Ok(None) };
        history.try_fold(Self::begin(first)?, Self::evolve).map(Some)
    }

    /// The state after the first event.
    pub fn begin(recorded: &Recorded) -> Result<Self, IllegalEvent> {
        let Event::WebhookReceived(webhook) = &recorded.event else {
            return Err(illegal(recorded));
        };
        if recorded.sequence != Sequence::START.next() {
            return Err(illegal(recorded));
        }
        Ok(Self {
            webhook: webhook.clone(),
            status: Status::Running,
            line: Line::new(webhook.workflow.steps.clone()),
            rescue: Line::new(webhook.workflow.on_failure.clone()),
            created_at: recorded.at,
            updated_at: recorded.at,
            counts_from: recorded.at,
            sequence: recorded.sequence,
            last_append: recorded.first,
            digest: recorded.digest,
        })
    }

    /// What the next append follows.
    pub fn head(&self) -> Head {
        Head { sequence: self.sequence, digest: self.digest }
    }

    /// The state after one more event.
    pub fn evolve(mut self, recorded: &Recorded) -> Result<Self, IllegalEvent> {
        self.apply(recorded)?;
        Ok(self)
    }

    /// Goes on to the state after one more event; an event that cannot follow changes nothing.
    pub fn apply(&mut self, recorded: &Recorded) -> Result<(), IllegalEvent> {
        if recorded.sequence != self.sequence.next() || !self.permits(&recorded.event) {
            return Err(illegal(recorded));
        }
        match &recorded.event {
            Event::ExecutionCompleted { filtered } => {
                self.status = Status::Completed { filtered: filtered.clone() };
            }
            Event::ExecutionFailing { cause } => {
                self.status = Status::Failing { cause: cause.clone() };
            }
            Event::ExecutionFailed { cause } => {
                self.status = Status::Failed { cause: cause.clone() };
            }
            Event::ExecutionCancelled { reason } => {
                self.status = Status::Cancelled { reason: reason.clone() };
            }
            Event::ExecutionRedriven { from } => {
                self.line.redrive(from.as_ref()).ok_or_else(|| illegal(recorded))?;
                if let Some(first) = self.rescue.names().first().cloned() {
                    self.rescue.redrive(Some(&first)).ok_or_else(|| illegal(recorded))?;
                }
                self.status = Status::Running;
                self.counts_from = recorded.at;
            }
            Event::TimerFired { due } => {
                self.current_mut().release(*due);
            }
            event => {
                let path = event.step().ok_or_else(|| illegal(recorded))?;
                let line = self.current_mut();
                line.evolve(path.as_str(), recorded).ok_or_else(|| illegal(recorded))?;
                if let (Status::Running, Some(LineEnd::Failed { step, error })) =
                    (&self.status, &self.line.end)
                {
                    self.status = Status::Failing { cause: Cause::of_step(step, error) };
                }
            }
        }
        self.sequence = recorded.sequence;
        self.last_append = recorded.first;
        self.digest = recorded.digest;
        self.updated_at = recorded.at;
        Ok(())
    }

    /// What it wants next, at this time.
    pub fn next<'w>(&self, workflow: &'w Workflow, now: Timestamp) -> Next<'w> {
        let line = match &self.status {
            Status::Completed { .. } | Status::Failed { .. } | Status::Cancelled { .. } => {
                return Next::Nothing;
            }
            Status::Running if self.line.is_over() => {
                return Next::Complete { filtered: self.filtered() };
            }
            Status::Failing { cause } if self.rescue.is_over() => {
                return Next::Fail { cause: cause.clone() };
            }
            // The last place in the history is kept for its end.
            _ if self.sequence.get() + 1 >= EVENTS_MAX => {
                return Next::Fail { cause: over_budget() };
            }
            Status::Running => &self.line,
            Status::Failing { .. } => &self.rescue,
        };
        let deadline = workflow.timeout().map(|timeout| self.counts_from + timeout);
        let mut found = Survey::default();
        if self.status == Status::Running
            && let Some(deadline) = deadline
        {
            if deadline <= now {
                return self.give_up(out_of_time(workflow));
            }
            found.wake_at(deadline);
        }
        line.survey("", now, &mut found);
        if let Some(due) = found.timer {
            return Next::Fire { due };
        }
        if found.moves.is_empty() {
            return match found.wake {
                Some(until) => Next::Wait { until },
                None => Next::Fail { cause: stuck() },
            };
        }
        let mut tasks = Vec::with_capacity(found.moves.len());
        for (path, what) in found.moves {
            let Some(step) = workflow.step(path.as_str()) else {
                return Next::Fail { cause: unknown(&path) };
            };
            let what = match what {
                // What may act again is attempted again, under the same number.
                Move::Interrupt(number) if step.at_most_once.is_none() => Move::Attempt(number),
                what => what,
            };
            tasks.push(Task { path, step, what });
        }
        Next::Do { tasks, wake: found.wake }
    }

    /// Claims of all processes but this one count as lost: it alone drives executions, so those have died.
    pub fn outlive(&mut self, process: &str) {
        self.line.outlive(process);
        self.rescue.outlive(process);
    }

    /// From when on it ends whatever it has not done: shortly before its history expires.
    /// What has not ended would be forgotten; its end can still be seen, and its webhook sent again.
    pub fn last_chance(&self) -> Timestamp {
        last_chance(self.created_at, self.webhook.expires_at)
    }

    /// Until when it waits for a time or to be called back; none if something is to be done, or is being done.
    pub fn waits_until(&self) -> Option<Timestamp> {
        if self.status.is_terminal() {
            return None;
        }
        let mut found = Survey::default();
        self.current().survey("", self.updated_at, &mut found);
        let is_idle = found.moves.is_empty() && found.timer.is_none() && found.claim.is_none();
        found.wake.filter(|_| is_idle)
    }

    /// When it has something to do again: a wait, a callback or a claim ends then. None if it has now, or has ended.
    pub fn due_at(&self) -> Option<Timestamp> {
        if self.status.is_terminal() {
            return None;
        }
        let mut found = Survey::default();
        self.current().survey("", self.updated_at, &mut found);
        found.wake.filter(|_| found.moves.is_empty() && found.timer.is_none())
    }

    /// Until when it rests if nothing moves it; none if something is to be done now, or it has ended.
    /// Never beyond the time at which it ends because its history expires.
    pub fn rests_until(&self, workflow: &Workflow, now: Timestamp) -> Option<Timestamp> {
        match self.next(workflow, now) {
            Next::Wait { until } => {
                Some(until.min(self.last_chance())).filter(|until| *until > now)
            }
            _ => None,
        }
    }

    /// Whether that time is the end of a claim.
    pub fn is_end_of_claim(&self, time: Timestamp) -> bool {
        let mut found = Survey::default();
        self.current().survey("", self.updated_at, &mut found);
        found.claim == Some(time)
    }

    /// The step in hand; none if nothing is left to do.
    pub fn step_in_hand(&self) -> Option<&StepName> {
        match &self.status {
            Status::Failing { cause } | Status::Failed { cause } => {
                let step = cause.step.as_ref()?.as_str();
                let name = step.split(PATH_SEPARATOR).next().unwrap_or(step);
                self.webhook.workflow.steps.iter().find(|step| step.as_str() == name)
            }
            _ => self.line.in_hand(),
        }
    }

    /// What a step in hand is inside of.
    pub fn scope(&self, path: &StepName) -> Scope<'_> {
        let mut scope = Scope::default();
        if let Status::Failing { .. } = self.status {
            scope.lines.push(&self.line);
        }
        self.current().scope("", path.as_str(), &mut scope);
        scope
    }

    /// What is known of a step in hand.
    pub fn step(&self, path: &StepName) -> Option<&StepState> {
        self.current().find(path.as_str())?.1
    }

    /// The steps that somebody may call back, with what is known of them.
    pub fn callbacks(&self) -> Vec<(StepName, &CallbackState)> {
        let mut found = Vec::new();
        self.current().callbacks("", &mut found);
        found
    }

    /// About how many bytes it takes in memory.
    pub fn bytes(&self) -> usize {
        let body = self.webhook.body.inline_bytes();
        2048 + body + self.line.bytes() + self.rescue.bytes()
    }

    /// Whether this event may happen now.
    fn permits(&self, event: &Event) -> bool {
        let failing = matches!(self.status, Status::Failing { .. });
        match event {
            Event::WebhookReceived(_) => false,
            Event::ExecutionRedriven { from } => match &self.status {
                Status::Failed { .. } | Status::Cancelled { .. } => {
                    self.sequence.get() + 2 < EVENTS_MAX
                        && self.line.clone().redrive(from.as_ref()).is_some()
                }
                _ => false,
            },
            _ if self.status.is_terminal() => false,
            Event::ExecutionCancelled { .. } | Event::ExecutionFailed { .. } => true,
            Event::ExecutionCompleted { filtered } => {
                !failing && self.line.is_well() && *filtered == self.filtered()
            }
            Event::ExecutionFailing { .. } => !failing && !self.rescue.is_over(),
            Event::TimerFired { due } => {
                let mut found = Survey::default();
                self.current().survey("", *due, &mut found);
                found.timer == Some(*due)
            }
            event => event.step().is_some_and(|path| self.current().permits(path.as_str(), event)),
        }
    }

    fn current(&self) -> &Line {
        if let Status::Failing { .. } = self.status { &self.rescue } else { &self.line }
    }

    fn current_mut(&mut self) -> &mut Line {
        if let Status::Failing { .. } = self.status { &mut self.rescue } else { &mut self.line }
    }

    fn filtered(&self) -> Option<Filtered> {
        match &self.line.end {
            Some(LineEnd::Filtered(filtered)) => Some(filtered.clone()),
            _ => None,
        }
    }

    fn give_up(&self, cause: Cause) -> Next<'static> {
        if self.rescue.is_over() { Next::Fail { cause } } else { Next::GiveUp { cause } }
    }
}

impl Cause {
    /// A step's failure as the reason that its execution failed.
    pub fn of_step(step: &StepName, error: &StepFailure) -> Self {
        Self { step: Some(step.clone()), kind: error.kind.clone(), message: error.message.clone() }
    }
}

fn over_budget() -> Cause {
    Cause {
        step: None,
        kind: "budget".into(),
        message: format!("an execution may have {EVENTS_MAX} events"),
    }
}

fn out_of_time(workflow: &Workflow) -> Cause {
    let limit = workflow.timeout().unwrap_or_default();
    Cause { step: None, kind: "timeout".into(), message: format!("no end within {limit:?}") }
}

fn unknown(path: &StepName) -> Cause {
    let message = "the workflow's definition has no such step".into();
    Cause { step: Some(path.clone()), kind: "definition".into(), message }
}

fn stuck() -> Cause {
    Cause { step: None, kind: "stuck".into(), message: "nothing is left that could happen".into() }
}

fn illegal(recorded: &Recorded) -> IllegalEvent {
    IllegalEvent { sequence: recorded.sequence, name: recorded.event.name() }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

//! One run of a workflow: its state after its events, and what it wants next.

use std::sync::Arc;
use std::time::Duration;

use crate::event::{Cause, Event, Recorded, StepFailure, Webhook};
use crate::id::{Sequence, StepName};
use crate::payload::Payload;
use crate::time::Timestamp;
use crate::workflow::{StepDefinition, Workflow};

/// The most events an execution may have; DynamoDB would let a loop run for ever.
pub const EVENTS_MAX: u64 = 1_000;

/// By when an execution must have moved, if it waits for nothing.
pub const WATCHDOG: Duration = Duration::from_secs(60);

/// The state of an execution after its events.
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    /// What started it.
    pub webhook: Arc<Webhook>,
    /// Where it stands.
    pub status: Status,
    /// The steps that were tried, in the order of their first outcome.
    pub steps: Vec<StepState>,
    /// When it started.
    pub created_at: Timestamp,
    /// When it last moved.
    pub updated_at: Timestamp,
    /// The position of its last event.
    pub sequence: Sequence,
    /// The position of the first event of its last append.
    pub last_append: Sequence,
}

/// Where an execution stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// A step may run.
    Running,
    /// Nothing may happen before this time.
    Waiting {
        /// The time.
        until: Timestamp,
    },
    /// A step failed for good; the end is still to be recorded.
    Failing {
        /// Why.
        cause: Cause,
    },
    /// Ended well.
    Completed,
    /// Ended otherwise.
    Failed {
        /// Why.
        cause: Cause,
    },
}

impl Status {
    /// Whether nothing more can happen.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Completed | Self::Failed { .. })
    }
}

/// What is known of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepState {
    /// Which step.
    pub name: StepName,
    /// How many attempts have ended.
    pub attempts: u32,
    /// When its first attempt began.
    pub started_at: Timestamp,
    /// When its last attempt ended.
    pub ended_at: Timestamp,
    /// How its last attempt ended.
    pub outcome: Outcome,
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// With a result.
    Completed(Payload),
    /// Without one, and there will be another attempt.
    Retrying(StepFailure),
    /// Without one, for good.
    Failed(StepFailure),
}

/// What an execution wants.
#[derive(Debug, Clone, PartialEq)]
pub enum Next<'w> {
    /// To run this attempt of this step.
    Run {
        /// The step.
        step: &'w StepDefinition,
        /// The attempt.
        attempt: u32,
    },
    /// To be left alone until then.
    Wait {
        /// The time.
        until: Timestamp,
    },
    /// To be completed.
    Complete,
    /// To be failed.
    Fail {
        /// Why.
        cause: Cause,
    },
    /// Nothing: it has ended.
    Nothing,
}

/// What somebody wants to record.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// An attempt gave a result.
    CompleteStep(Attempt, Payload),
    /// An attempt gave none; with the time of the next, if there is a next.
    FailStep(Attempt, StepFailure, Option<Timestamp>),
    /// It is this time.
    FireTimer(Timestamp),
    /// All steps completed.
    Complete,
    /// It cannot complete.
    Fail(Cause),
}

/// One try at a step that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// The step.
    pub step: StepName,
    /// The number of the try, from 1.
    pub number: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub took: Duration,
}

/// Why a command does not fit the state. Nothing is wrong: somebody else was first, or it is too early.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The execution has ended.
    #[error("the execution has ended")]
    Ended,
    /// That attempt is not the one that is wanted now.
    #[error("attempt {attempt} of step `{step}` is not what the execution waits for")]
    NotThisAttempt {
        /// The step.
        step: StepName,
        /// The attempt.
        attempt: u32,
    },
    /// The time has not come, or is not waited for.
    #[error("no timer is due")]
    NoTimerDue,
    /// Not all steps have completed.
    #[error("not all steps have completed")]
    Unfinished,
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
            steps: Vec::new(),
            created_at: recorded.at,
            updated_at: recorded.at,
            sequence: recorded.sequence,
            last_append: recorded.first,
        })
    }

    /// The state after one more event.
    pub fn evolve(mut self, recorded: &Recorded) -> Result<Self, IllegalEvent> {
        if recorded.sequence != self.sequence.next() {
            return Err(illegal(recorded));
        }
        self.status = match (&self.status, &recorded.event) {
            (Status::Running, Event::StepCompleted { step, attempt, started_at, output, .. })
                if self.wants(step, *attempt) =>
            {
                let outcome = Outcome::Completed(output.clone());
                self.ended(step, *started_at, recorded.at, outcome);
                Status::Running
            }
            (
                Status::Running,
                Event::StepFailed { step, attempt, started_at, error, retry_at, .. },
            ) if self.wants(step, *attempt) => match retry_at {
                Some(until) => {
                    let outcome = Outcome::Retrying(error.clone());
                    self.ended(step, *started_at, recorded.at, outcome);
                    Status::Waiting { until: *until }
                }
                None => {
                    let outcome = Outcome::Failed(error.clone());
                    self.ended(step, *started_at, recorded.at, outcome);
                    Status::Failing { cause: Cause::of_step(step, error) }
                }
            },
            (Status::Waiting { until }, Event::TimerFired { due }) if until == due => {
                Status::Running
            }
            (Status::Running, Event::ExecutionCompleted {}) if self.step_wanted().is_none() => {
                Status::Completed
            }
            (
                Status::Running | Status::Waiting { .. } | Status::Failing { .. },
                Event::ExecutionFailed { cause },
            ) => Status::Failed { cause: cause.clone() },
            _ => return Err(illegal(recorded)),
        };
        self.sequence = recorded.sequence;
        self.last_append = recorded.first;
        self.updated_at = recorded.at;
        Ok(self)
    }

    /// What it wants next.
    pub fn next<'w>(&self, workflow: &'w Workflow) -> Next<'w> {
        match &self.status {
            Status::Completed | Status::Failed { .. } => Next::Nothing,
            Status::Failing { cause } => Next::Fail { cause: cause.clone() },
            Status::Running if self.step_wanted().is_none() => Next::Complete,
            // The last place in the history is kept for its end.
            _ if self.sequence.get() + 1 >= EVENTS_MAX => Next::Fail { cause: over_budget() },
            Status::Waiting { until } => Next::Wait { until: *until },
            Status::Running => {
                let wanted = self.step_wanted();
                match workflow.steps.iter().find(|step| wanted == Some(&step.name)) {
                    Some(step) => Next::Run { step, attempt: self.attempts(&step.name) + 1 },
                    None => Next::Complete,
                }
            }
        }
    }

    /// The event that a command leads to.
    pub fn decide(&self, command: Command) -> Result<Event, Refusal> {
        if self.status.is_terminal() {
            return Err(Refusal::Ended);
        }
        match command {
            Command::CompleteStep(attempt, output) => {
                self.check(&attempt)?;
                Ok(Event::StepCompleted {
                    step: attempt.step,
                    attempt: attempt.number,
                    started_at: attempt.started_at,
                    duration_ms: millis(attempt.took),
                    output,
                })
            }
            Command::FailStep(attempt, error, retry_at) => {
                self.check(&attempt)?;
                Ok(Event::StepFailed {
                    step: attempt.step,
                    attempt: attempt.number,
                    started_at: attempt.started_at,
                    duration_ms: millis(attempt.took),
                    error,
                    retry_at,
                })
            }
            Command::FireTimer(now) => match self.status {
                Status::Waiting { until } if until <= now => Ok(Event::TimerFired { due: until }),
                _ => Err(Refusal::NoTimerDue),
            },
            Command::Complete => match (&self.status, self.step_wanted()) {
                (Status::Running, None) => Ok(Event::ExecutionCompleted {}),
                _ => Err(Refusal::Unfinished),
            },
            Command::Fail(cause) => Ok(Event::ExecutionFailed { cause }),
        }
    }

    /// By when it must have moved; none once it has ended.
    pub fn due_at(&self) -> Option<Timestamp> {
        match &self.status {
            Status::Running | Status::Failing { .. } => Some(self.updated_at + WATCHDOG),
            Status::Waiting { until } => Some(*until),
            Status::Completed | Status::Failed { .. } => None,
        }
    }

    /// The first step that has no result yet.
    pub fn step_wanted(&self) -> Option<&StepName> {
        self.webhook.workflow.steps.iter().find(|name| {
            let state = self.steps.iter().find(|state| state.name == **name);
            !state.is_some_and(|state| matches!(state.outcome, Outcome::Completed(_)))
        })
    }

    /// The results so far, in order.
    pub fn outputs(&self) -> impl Iterator<Item = (&StepName, &Payload)> {
        self.steps.iter().filter_map(|state| match &state.outcome {
            Outcome::Completed(output) => Some((&state.name, output)),
            Outcome::Retrying(_) | Outcome::Failed(_) => None,
        })
    }

    fn attempts(&self, step: &StepName) -> u32 {
        self.steps.iter().find(|state| state.name == *step).map_or(0, |state| state.attempts)
    }

    fn wants(&self, step: &StepName, attempt: u32) -> bool {
        self.step_wanted() == Some(step) && self.attempts(step) + 1 == attempt
    }

    fn check(&self, attempt: &Attempt) -> Result<(), Refusal> {
        let wanted = self.status == Status::Running && self.wants(&attempt.step, attempt.number);
        wanted.then_some(()).ok_or_else(|| Refusal::NotThisAttempt {
            step: attempt.step.clone(),
            attempt: attempt.number,
        })
    }

    fn ended(&mut self, step: &StepName, started: Timestamp, at: Timestamp, outcome: Outcome) {
        match self.steps.iter_mut().find(|state| state.name == *step) {
            Some(state) => {
                state.attempts += 1;
                state.ended_at = at;
                state.outcome = outcome;
            }
            None => self.steps.push(StepState {
                name: step.clone(),
                attempts: 1,
                started_at: started,
                ended_at: at,
                outcome,
            }),
        }
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

fn illegal(recorded: &Recorded) -> IllegalEvent {
    IllegalEvent { sequence: recorded.sequence, name: recorded.event.name() }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

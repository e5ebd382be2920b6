//! What somebody wants to record, and whether it can be.

use std::sync::Arc;
use std::time::Duration;

use crate::event::{
    Branches, CallbackAnswer, Cause, CompletionRule, Event, Filtered, OutgoingRequest, StepFailure,
};
use crate::guard::{self, Guard};
use crate::id::StepName;
use crate::payload::Payload;
use crate::time::Timestamp;

use super::step::CallbackState;
use super::survey::Survey;
use super::{Execution, Status};

/// What somebody wants to record.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// An attempt gave a result.
    CompleteStep(Attempt, Payload),
    /// An attempt gave none; with the time of the next, if there is a next.
    FailStep(Attempt, StepFailure, Option<Timestamp>),
    /// An attempt said that the webhook goes no further, and why.
    FilterStep(Attempt, String),
    /// An attempt looked, and what it waits for is not there; with what it saw, and when it looks again.
    PollStep(Attempt, Payload, Timestamp),
    /// A step is to be passed over.
    SkipStep(StepName),
    /// An attempt is about to act, and no other driver may make it until then.
    ClaimStep {
        /// Which step.
        step: StepName,
        /// Which try.
        attempt: u32,
        /// When the claim ends.
        until: Timestamp,
        /// The end of the earlier claim that this one replaces.
        replaces: Option<Timestamp>,
        /// The start of the process that claims, if it alone drives executions.
        process: Option<Arc<str>>,
    },
    /// A step is to wait for a time.
    StartWait(StepName, Timestamp),
    /// A step is to be called back.
    CreateCallback {
        /// Which step.
        step: StepName,
        /// Which try.
        attempt: u32,
        /// SHA-256 of its token, in hexadecimal.
        token_sha256: String,
        /// What comes before it waits.
        steps: Vec<StepName>,
        /// When nobody called, it has failed.
        expires_at: Timestamp,
        /// How long it may be from one sign of life to the next.
        heartbeat: Option<Duration>,
    },
    /// Somebody who knows this token called back.
    ReceiveCallback {
        /// Which step.
        step: StepName,
        /// SHA-256 of the token, in hexadecimal.
        token_sha256: String,
        /// With what.
        answer: CallbackAnswer,
        /// When.
        now: Timestamp,
    },
    /// Somebody who knows this token will call back.
    BeatCallback {
        /// Which step.
        step: StepName,
        /// SHA-256 of the token, in hexadecimal.
        token_sha256: String,
        /// When.
        now: Timestamp,
    },
    /// A step's branches are to begin.
    StartBranches {
        /// Which step.
        step: StepName,
        /// Which try.
        attempt: u32,
        /// What they are.
        branches: Branches,
        /// How many go on at once.
        concurrency: u32,
        /// When they have done enough.
        rule: CompletionRule,
    },
    /// It is this time, and nobody has called back.
    ExpireCallback(Attempt, StepFailure, Timestamp),
    /// It is this time.
    FireTimer(Timestamp),
    /// All steps completed, or one of them stopped the rest.
    Complete(Option<Filtered>),
    /// It cannot complete, and what follows a failure is to follow.
    GiveUp(Cause),
    /// It cannot complete.
    Fail(Cause),
    /// An operator ends it, for this reason.
    Cancel(String),
    /// An operator makes it go on, from this step or the one that failed.
    Redrive(Option<StepName>),
}

/// One try at a step that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    /// The step, with the steps it is inside of.
    pub step: StepName,
    /// The number of the try, from 1.
    pub number: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// How long it took.
    pub took: Duration,
    /// What it sent, if it sent anything outside and that is recorded.
    pub request: Option<Box<OutgoingRequest>>,
}

/// Why a command does not fit the state. Nothing is wrong: somebody else was first, or it is too early.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The execution has ended.
    #[error("the execution has ended")]
    Ended,
    /// The execution has not ended, or has ended well.
    #[error("the execution has not failed")]
    NotFailed,
    /// That attempt is not the one that is wanted now.
    #[error("attempt {attempt} of step `{step}` is not what the execution waits for")]
    NotThisAttempt {
        /// The step.
        step: StepName,
        /// The attempt.
        attempt: u32,
    },
    /// That step cannot do this now.
    #[error("step `{step}` is not where this could happen")]
    NotThisStep {
        /// The step.
        step: StepName,
    },
    /// The step is not waiting for whoever knows this token, or not any more.
    #[error("step `{step}` does not wait for this callback")]
    NotThisCallback {
        /// The step.
        step: StepName,
    },
    /// The time has not come, or is not waited for.
    #[error("no timer is due")]
    NoTimerDue,
    /// Not all steps have completed.
    #[error("not all steps have completed")]
    Unfinished,
}

impl Execution {
    /// The event that a command leads to.
    pub fn decide(&self, command: Command) -> Result<Event, Refusal> {
        let event = self.event(command)?;
        let fits = self.permits(&event) || !guard::holds(Guard::DecideRefuses);
        if fits { Ok(event) } else { Err(self.refusal(&event)) }
    }

    fn event(&self, command: Command) -> Result<Event, Refusal> {
        if self.status.is_terminal() && !matches!(command, Command::Redrive(_)) {
            return Err(Refusal::Ended);
        }
        Ok(match command {
            Command::CompleteStep(attempt, output) => Event::StepCompleted {
                step: attempt.step,
                attempt: attempt.number,
                started_at: attempt.started_at,
                duration_ms: millis(attempt.took),
                output,
                request: attempt.request,
            },
            Command::FailStep(attempt, error, retry_at) => Event::StepFailed {
                step: attempt.step,
                attempt: attempt.number,
                started_at: attempt.started_at,
                duration_ms: millis(attempt.took),
                error,
                retry_at,
                request: attempt.request,
            },
            Command::FilterStep(attempt, reason) => Event::StepFiltered {
                step: attempt.step,
                attempt: attempt.number,
                started_at: attempt.started_at,
                duration_ms: millis(attempt.took),
                reason,
                request: attempt.request,
            },
            Command::PollStep(attempt, state, next_at) => Event::StepPolled {
                step: attempt.step,
                attempt: attempt.number,
                started_at: attempt.started_at,
                duration_ms: millis(attempt.took),
                state,
                next_at,
                request: attempt.request,
            },
            Command::SkipStep(step) => Event::StepSkipped { step },
            Command::ClaimStep { step, attempt, until, replaces, process } => Event::StepClaimed {
                step,
                attempt,
                until,
                replaces,
                process: process.map(|process| process.as_ref().to_owned()),
            },
            Command::StartWait(step, until) => Event::WaitStarted { step, until },
            Command::CreateCallback {
                step,
                attempt,
                token_sha256,
                steps,
                expires_at,
                heartbeat,
            } => Event::CallbackCreated {
                step,
                attempt,
                token_sha256,
                steps,
                expires_at,
                heartbeat_ms: heartbeat.map(millis),
            },
            Command::ReceiveCallback { step, token_sha256, answer, now } => {
                self.check_callback(&step, &token_sha256, now)?;
                Event::CallbackReceived { step, answer }
            }
            Command::BeatCallback { step, token_sha256, now } => {
                self.check_callback(&step, &token_sha256, now)?;
                Event::CallbackBeat { step }
            }
            Command::ExpireCallback(attempt, error, now) => {
                let callbacks = self.callbacks();
                let found = callbacks.iter().find(|(path, _)| *path == attempt.step);
                let is_over =
                    |callback: &CallbackState| callback.is_ready_to_end() && now >= callback.due();
                if !found.is_some_and(|(_, callback)| is_over(callback)) {
                    return Err(Refusal::NoTimerDue);
                }
                return self.event(Command::FailStep(attempt, error, None));
            }
            Command::StartBranches { step, attempt, branches, concurrency, rule } => {
                Event::BranchesStarted { step, attempt, branches, concurrency, rule }
            }
            Command::FireTimer(now) => {
                let mut found = Survey::default();
                self.current().survey("", now, &mut found);
                Event::TimerFired { due: found.timer.ok_or(Refusal::NoTimerDue)? }
            }
            Command::Complete(filtered) => Event::ExecutionCompleted { filtered },
            Command::GiveUp(cause) => Event::ExecutionFailing { cause },
            Command::Fail(cause) => Event::ExecutionFailed { cause },
            Command::Cancel(reason) => Event::ExecutionCancelled { reason },
            Command::Redrive(from) => Event::ExecutionRedriven { from },
        })
    }

    /// What to say of an event that the state does not allow.
    fn refusal(&self, event: &Event) -> Refusal {
        match event {
            Event::StepCompleted { step, attempt, .. }
            | Event::StepFailed { step, attempt, .. }
            | Event::StepFiltered { step, attempt, .. }
            | Event::StepPolled { step, attempt, .. }
            | Event::StepClaimed { step, attempt, .. }
            | Event::CallbackCreated { step, attempt, .. }
            | Event::BranchesStarted { step, attempt, .. } => {
                Refusal::NotThisAttempt { step: step.clone(), attempt: *attempt }
            }
            Event::StepSkipped { step } | Event::WaitStarted { step, .. } => {
                Refusal::NotThisStep { step: step.clone() }
            }
            Event::CallbackReceived { step, .. } | Event::CallbackBeat { step } => {
                Refusal::NotThisCallback { step: step.clone() }
            }
            Event::TimerFired { .. } => Refusal::NoTimerDue,
            Event::ExecutionCompleted { .. }
            | Event::ExecutionFailing { .. }
            | Event::ExecutionFailed { .. } => Refusal::Unfinished,
            Event::WebhookReceived(_) | Event::ExecutionCancelled { .. } => Refusal::Ended,
            Event::ExecutionRedriven { from } => match (&self.status, from) {
                (Status::Failed { .. } | Status::Cancelled { .. }, Some(step)) => {
                    Refusal::NotThisStep { step: step.clone() }
                }
                _ => Refusal::NotFailed,
            },
        }
    }

    fn check_callback(
        &self,
        step: &StepName,
        token_sha256: &str,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let callbacks = self.callbacks();
        let found = callbacks.iter().find(|(path, _)| path == step).map(|(_, callback)| callback);
        let fits = found.is_some_and(|callback| {
            callback.answer.is_none()
                && callback.token_sha256 == token_sha256
                && now < callback.due()
        });
        fits.then_some(()).ok_or_else(|| Refusal::NotThisCallback { step: step.clone() })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

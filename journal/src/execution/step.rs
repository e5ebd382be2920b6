//! What is known of one step, and what may happen to it.

use std::sync::Arc;
use std::time::Duration;

use crate::event::{CallbackAnswer, Event, StepFailure};
use crate::id::StepName;
use crate::payload::Payload;
use crate::time::Timestamp;

use super::branches::BranchesState;
use super::line::Line;

/// What is known of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepState {
    /// Which step.
    pub name: StepName,
    /// How many attempts have ended.
    pub attempts: u32,
    /// How many of them count no more, because an operator made the step go on.
    pub forgiven: u32,
    /// When its first attempt began.
    pub started_at: Timestamp,
    /// When the first attempt began that counts.
    pub first_at: Timestamp,
    /// When its last attempt ended.
    pub ended_at: Timestamp,
    /// Where it stands.
    pub stage: Stage,
    /// What went wrong in its last attempt, if that failed.
    pub error: Option<StepFailure>,
    /// What it saw when it last looked.
    pub seen: Option<Payload>,
    /// The claim of the attempt that was under way when an operator made the step go on.
    pub(super) left: Option<Claim>,
}

/// Where a step stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Stage {
    /// It may be attempted.
    Ready,
    /// A driver is making an attempt that no other may make.
    Claimed(Claim),
    /// It failed, and there will be another attempt.
    Retrying {
        /// Not before this time.
        until: Timestamp,
    },
    /// What it waits for is not there yet.
    Polling {
        /// It looks again at this time.
        until: Timestamp,
    },
    /// It waits for a time.
    Waiting {
        /// The time.
        until: Timestamp,
    },
    /// It waits to be called back.
    Callback(Box<CallbackState>),
    /// Its branches are going on.
    Branching(Box<BranchesState>),
    /// It gave a result.
    Completed(Payload),
    /// It was passed over.
    Skipped,
    /// It said that the webhook goes no further.
    Filtered,
    /// It failed for good.
    Failed(Option<Box<BranchesState>>),
}

/// The right to make an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// When it ends.
    pub until: Timestamp,
    /// The start of the process that has it, if it names one.
    pub process: Option<Arc<str>>,
    /// Whether that process is known to have died.
    pub is_lost: bool,
}

impl Claim {
    /// Whether the attempt may still be under way.
    pub fn holds(&self, now: Timestamp) -> bool {
        !self.is_lost && now < self.until
    }

    /// Counts as lost, unless this process has it.
    fn outlive(&mut self, process: &str) {
        self.is_lost |= self.process.as_deref() != Some(process);
    }
}

/// A step that can be called back.
#[derive(Debug, Clone, PartialEq)]
pub struct CallbackState {
    /// SHA-256 of the token, in hexadecimal.
    pub token_sha256: String,
    /// When nobody called, it has failed.
    pub expires_at: Timestamp,
    /// How long it may be from one sign of life to the next.
    pub heartbeat: Option<Duration>,
    /// The last sign of life.
    pub alive_at: Timestamp,
    /// What somebody called back with.
    pub answer: Option<CallbackAnswer>,
    /// What comes before it waits.
    pub line: Line,
}

impl CallbackState {
    /// When it fails if nobody calls.
    pub fn due(&self) -> Timestamp {
        let beat = self.heartbeat.map(|every| self.alive_at + every);
        beat.map_or(self.expires_at, |beat| beat.min(self.expires_at))
    }

    /// Whether nothing runs inside of it any more, so that it can end: by its answer, or without one.
    pub fn is_ready_to_end(&self) -> bool {
        self.line.is_over()
    }
}

impl StepState {
    pub(super) fn new(name: StepName, at: Timestamp) -> Self {
        Self {
            name,
            attempts: 0,
            forgiven: 0,
            started_at: at,
            first_at: at,
            ended_at: at,
            stage: Stage::Ready,
            error: None,
            seen: None,
            left: None,
        }
    }

    /// Claims of other processes count as lost.
    pub(super) fn outlive(&mut self, process: &str) {
        match &mut self.stage {
            Stage::Claimed(claim) => claim.outlive(process),
            Stage::Callback(callback) => callback.line.outlive(process),
            Stage::Branching(branches) => branches.outlive(process),
            _ => {}
        }
        if let Some(left) = &mut self.left {
            left.outlive(process);
        }
    }

    /// The step goes on with its next attempt, once the one that may be under way must have ended.
    pub(super) fn restart(&mut self) {
        if let Stage::Claimed(claim) = &self.stage {
            self.left = Some(claim.clone());
        }
        self.forgiven = self.attempts;
        self.stage = Stage::Ready;
    }
    /// What failed may be attempted again; what waits, or what other branches did, stays.
    pub(super) fn revive(&mut self) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Ready) {
            Stage::Failed(Some(mut branches)) | Stage::Branching(mut branches) => {
                branches.redrive();
                Stage::Branching(branches)
            }
            Stage::Failed(None) | Stage::Filtered => {
                self.forgiven = self.attempts;
                Stage::Ready
            }
            Stage::Callback(mut callback) => {
                callback.line.redrive(None);
                Stage::Callback(callback)
            }
            stage => stage,
        };
    }
}

/// Whether this event may happen to a step; to one that nothing is known of, if there is no state.
pub(super) fn permitted(state: Option<&StepState>, event: &Event) -> bool {
    let (attempts, forgiven) = state.map_or((0, 0), |state| (state.attempts, state.forgiven));
    let is_next = |attempt: &u32| attempts.checked_add(1) == Some(*attempt);
    match (state.map_or(&Stage::Ready, |state| &state.stage), event) {
        (
            Stage::Ready,
            Event::StepCompleted { attempt, .. }
            | Event::StepFailed { attempt, .. }
            | Event::StepFiltered { attempt, .. }
            | Event::StepPolled { attempt, .. }
            | Event::StepClaimed { attempt, replaces: None, .. }
            | Event::CallbackCreated { attempt, .. }
            | Event::BranchesStarted { attempt, .. },
        )
        | (
            Stage::Claimed(_),
            Event::StepCompleted { attempt, .. }
            | Event::StepFailed { attempt, .. }
            | Event::StepFiltered { attempt, .. }
            | Event::StepPolled { attempt, .. },
        )
        | (Stage::Waiting { .. }, Event::StepCompleted { attempt, .. }) => is_next(attempt),
        // Of several drivers that claim it again, the first replaces what the others know.
        (
            Stage::Claimed(claim),
            Event::StepClaimed { attempt, until, replaces: Some(replaced), .. },
        ) => is_next(attempt) && *replaced == claim.until && *until > claim.until,
        (Stage::Ready, Event::WaitStarted { .. }) => true,
        (Stage::Ready, Event::StepSkipped { .. }) => attempts == forgiven,
        (Stage::Callback(callback), event) => match event {
            Event::StepFailed { attempt, retry_at: None, .. } => {
                is_next(attempt) && callback.answer.is_none()
            }
            Event::CallbackReceived { .. } => callback.answer.is_none(),
            Event::CallbackBeat { .. } => callback.answer.is_none() && callback.heartbeat.is_some(),
            _ => false,
        },
        (
            Stage::Branching(branches),
            Event::StepCompleted { attempt, .. }
            | Event::StepFailed { attempt, retry_at: None, .. },
        ) => is_next(attempt) && branches.verdict().is_some(),
        _ => false,
    }
}

/// When the attempt began that an event tells of.
pub(super) fn started_at(event: &Event) -> Option<Timestamp> {
    match event {
        Event::StepCompleted { started_at, .. }
        | Event::StepFailed { started_at, .. }
        | Event::StepFiltered { started_at, .. }
        | Event::StepPolled { started_at, .. } => Some(*started_at),
        _ => None,
    }
}

/// Whether an event is how an attempt ended.
pub(super) fn is_end_of_attempt(event: &Event) -> bool {
    matches!(
        event,
        Event::StepCompleted { .. }
            | Event::StepFailed { .. }
            | Event::StepFiltered { .. }
            | Event::StepPolled { .. }
    )
}

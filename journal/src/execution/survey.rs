//! What can be done now in an execution, and when there will be more.

use crate::id::StepName;
use crate::time::Timestamp;

/// What can be done now, and when there will be more.
#[derive(Debug, Default)]
pub struct Survey {
    /// What can be done now: the step, and what.
    pub moves: Vec<(StepName, Move)>,
    /// When there will be more to do, if nothing moves before.
    pub wake: Option<Timestamp>,
    /// The latest time that has come of those that attempts wait for.
    pub timer: Option<Timestamp>,
    /// When the first claim ends that holds.
    pub claim: Option<Timestamp>,
}

/// What can be done with a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// This attempt can be made.
    Attempt(u32),
    /// This attempt was claimed, and whoever claimed it never said how it ended.
    Interrupt(u32),
    /// The time it waited for has come.
    EndWait(u32),
    /// Nobody called back in time.
    Expire(u32),
    /// Its branches have done enough, or too little.
    EndBranches(u32),
}

impl Survey {
    pub(super) fn add(&mut self, step: StepName, what: Move) {
        self.moves.push((step, what));
    }

    /// Something that can be done from a time on.
    pub(super) fn at(
        &mut self,
        time: Timestamp,
        now: Timestamp,
        step: impl FnOnce() -> StepName,
        what: Move,
    ) {
        if time <= now {
            self.add(step(), what);
        } else {
            self.wake_at(time);
        }
    }

    /// An attempt that may be made from a time on.
    pub(super) fn timer(&mut self, time: Timestamp, now: Timestamp) {
        if time <= now {
            self.timer = self.timer.max(Some(time));
        } else {
            self.wake_at(time);
        }
    }

    /// An attempt is claimed until a time.
    pub(super) fn claimed(&mut self, until: Timestamp) {
        self.claim = Some(self.claim.map_or(until, |claim| claim.min(until)));
        self.wake_at(until);
    }

    pub(super) fn wake_at(&mut self, time: Timestamp) {
        self.wake = Some(self.wake.map_or(time, |wake| wake.min(time)));
    }
}

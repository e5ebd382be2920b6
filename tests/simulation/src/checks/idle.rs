//! L5 where no record of the stream arrives: an execution is idle for two minutes at most, from its receipt
//! to its end or its first redrive.
//!
//! It is idle while it neither acts outside nor waits for a time or an answer.

use std::time::Duration;

use everhook_journal::Timestamp;

use super::{Checked, Checks, violated};
use crate::focus::Focus;
use crate::world::world;

/// For how long it may be idle.
const IDLE_MAX: Duration = Duration::from_secs(120);

/// For how long an execution has been idle.
#[derive(Debug, Default)]
pub(super) struct Idle {
    /// Since when it is, or will be.
    since: Option<Timestamp>,
    /// For how long it was before.
    before: Duration,
}

impl Checks {
    /// Something was appended, or begins or ends to act.
    pub(super) fn moved(&mut self, execution: &str, acted: bool, now: Timestamp) -> Checked {
        if !world().is_about(Focus::Unheard) {
            return Ok(());
        }
        let is_acting = self.under_way.keys().any(|(own, _, _)| own == execution);
        let history = self.of(execution);
        let due = history.state.as_ref().and_then(everhook_journal::Execution::due_at);
        let has_ended = history.state.as_ref().is_none_or(|state| state.status.is_terminal());
        history.idle.before += history.idle.since.map_or(Duration::ZERO, |since| now.since(since));
        // The claim of what has acted is no time that it waits for.
        let since = if acted { now } else { due.map_or(now, |due| due.max(now)) };
        history.idle.since = (!is_acting && !has_ended).then_some(since);
        self.awake(execution, now)
    }

    /// Whether an execution has not been idle for too long.
    fn awake(&self, execution: &str, now: Timestamp) -> Checked {
        let Some(history) = self.histories.get(execution) else { return Ok(()) };
        // What is redriven may have a claim left, and is then driven alone: that takes until the next sweep, each time.
        if history.redriven > 0 {
            return Ok(());
        }
        let Idle { since, before } = &history.idle;
        let idle = *before + since.map_or(Duration::ZERO, |since| now.since(since));
        match idle > IDLE_MAX {
            true => violated("L5", format!("{execution} has been idle for {idle:?} at {now}")),
            false => Ok(()),
        }
    }

    /// The same of all.
    pub(super) fn all_awake(&self, now: Timestamp) -> Checked {
        match world().is_about(Focus::Unheard) {
            true => self.histories.keys().try_for_each(|execution| self.awake(execution, now)),
            false => Ok(()),
        }
    }
}

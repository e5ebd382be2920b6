//! L4: nothing is forgotten. At each write of a timer, a row or a cursor, and after each sweep, an execution that was
//! promised an end has a timer, or a pass of the audit that will come to it. A driver that has it is no excuse.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use everhook_journal::store::Item;
use everhook_journal::timers::AGAIN_MAX;
use everhook_journal::{Timestamp, item};

use super::{Checked, Checks, SKEW, STALLED, violated};
use crate::executor::{Process, WORLD, executor};
use crate::tables::due_of;

/// How long after the time at which it wants to go on an execution has a timer at the latest: a claim may end meanwhile.
const COVERED_WITHIN: Duration = Duration::from_secs(120);

/// How far behind the index of received webhooks may be read.
const STALE: Duration = Duration::from_secs(5);

/// How long a redrive may take after the timer that it sets first: what takes longer may find that timer fired.
const REDRIVEN_WITHIN: Duration = Duration::from_secs(10);

/// The items of the audit's cursors.
const CURSORS: [&str; 3] = ["audit#soon", "audit#hour", "audit#day"];

/// A timer, as it was last written.
#[derive(Debug, Clone, Copy)]
struct Pending {
    /// The time in its key.
    due: Timestamp,
    /// When it is to be handed over.
    at: Timestamp,
}

/// The timers of all executions, and how far the audit has come.
#[derive(Default)]
pub(super) struct Wakes {
    /// The timers of each execution, by their keys.
    timers: BTreeMap<String, BTreeMap<String, Pending>>,
    /// Up to when each pass of the audit has come.
    cursors: [Option<Timestamp>; 3],
    /// When each execution is in the index of received webhooks.
    listed_at: BTreeMap<String, Timestamp>,
    /// When the sweep of each process began, and which executions it was shown by the index.
    sweeps: BTreeMap<Process, (Timestamp, BTreeSet<String>)>,
}

impl Checks {
    /// A timer was set, handed over or deleted.
    pub(crate) fn timer(&mut self, key: &str, after: Option<&Item>, now: Timestamp) -> Checked {
        let (_, due) = key.split_once(' ').unwrap_or_default();
        let (due, execution) = due.split_once('#').unwrap_or_default();
        let timers = self.wakes.timers.entry(execution.to_owned()).or_default();
        let is_known = timers.contains_key(key);
        match after.and_then(due_of).zip(Timestamp::parse(due)) {
            Some((at, due)) => drop(timers.insert(key.to_owned(), Pending { due, at })),
            None => drop(timers.remove(key)),
        }
        let history = self.of(execution);
        let has_ended = history.state.as_ref().is_some_and(|state| state.status.is_terminal());
        if has_ended && after.is_some() && !is_known {
            history.timer_after_end = Some(now);
        }
        self.covered(execution, now)
    }

    /// An execution was redriven. A timer that was set right before is still there.
    pub(super) fn redriven(&mut self, execution: &str, now: Timestamp) {
        let is_late = executor().current() == WORLD;
        let history = self.of(execution);
        let set = history.timer_after_end.take();
        history.is_redriven_late = is_late || set.is_some_and(|set| set + REDRIVEN_WITHIN < now);
    }

    /// An execution is in the index of received webhooks from this time on.
    pub(crate) fn indexed(&mut self, execution: &str, from: Timestamp) {
        self.wakes.listed_at.insert(execution.to_owned(), from);
    }

    /// The sweep begins in this process.
    pub(crate) fn sweep_begins(&mut self, process: Process, now: Timestamp) {
        self.wakes.sweeps.insert(process, (now, Default::default()));
    }

    /// The index shows an execution to a process.
    pub(crate) fn listed(&mut self, process: Process, execution: &str) {
        if let Some((_, listed)) = self.wakes.sweeps.get_mut(&process) {
            listed.insert(execution.to_owned());
        }
    }

    /// A cursor of the audit may have moved: it has seen to what the index had shown, or could have.
    pub(crate) fn audited(&mut self, key: &str, after: Option<&Item>, now: Timestamp) -> Checked {
        let pass = CURSORS.iter().position(|pass| *pass == key);
        let Some((pass, item)) = pass.zip(after) else { return Ok(()) };
        let Ok(until) = item::read_time(item, "until") else { return Ok(()) };
        let from = self.wakes.cursors[pass].replace(until);
        let Some((began, listed)) = self.wakes.sweeps.get(&executor().current()) else {
            return Ok(());
        };
        let mut seen = Vec::new();
        for (execution, history) in &self.histories {
            let Some(first) = history.recorded.first() else { continue };
            let is_passed = first.at <= until && from.is_none_or(|from| from < first.at);
            let could_be_seen = || {
                let listed_at = self.wakes.listed_at.get(execution);
                listed_at.is_some_and(|at| *at + STALE <= *began)
            };
            if is_passed && (listed.contains(execution) || could_be_seen()) {
                seen.push(execution.clone());
            }
        }
        for execution in seen {
            self.of(&execution).is_audited = true;
            self.covered(&execution, now)?;
        }
        Ok(())
    }

    /// A sweep has ended.
    pub(crate) fn all_covered(&mut self, now: Timestamp) -> Checked {
        let executions: Vec<_> = self.histories.keys().cloned().collect();
        executions.iter().try_for_each(|execution| self.covered(execution, now))
    }

    /// When the timers of an execution are to be handed over.
    pub(super) fn timers_of(&self, execution: &str) -> Vec<Timestamp> {
        let timers =
            self.wakes.timers.get(execution).into_iter().flat_map(|timers| timers.values());
        timers.map(|timer| timer.at).collect()
    }

    /// What was promised an end has a timer in time, or the audit ahead of it.
    pub(super) fn covered(&mut self, execution: &str, now: Timestamp) -> Checked {
        let Self { wakes, histories, .. } = self;
        let Some(history) = histories.get(execution) else { return Ok(()) };
        let (Some(state), Some(first)) = (&history.state, history.recorded.first()) else {
            return Ok(());
        };
        let is_ahead = |cursor: &Option<Timestamp>| cursor.is_none_or(|until| until < first.at);
        let is_safe = !history.is_audited && wakes.cursors.iter().any(is_ahead);
        if is_safe || !history.is_acknowledged || history.has_expired(now + SKEW) {
            return Ok(());
        }
        let timers: Vec<_> =
            wakes.timers.get(execution).into_iter().flat_map(|timers| timers.values()).collect();
        let view = history.row.as_ref().and_then(|row| row.view.as_ref());
        if state.status.is_terminal() {
            let is_shown = view.is_some_and(|view| view.sequence == state.sequence);
            return match is_shown || !timers.is_empty() {
                true => Ok(()),
                false => violated("L4", format!("{execution} has ended, and nothing shows it")),
            };
        }
        let first_at = timers.iter().map(|timer| timer.at).min();
        let first_due = timers.iter().map(|timer| timer.due).min();
        let Some((at, due)) = first_at.zip(first_due) else {
            // Its caller was told nothing yet, and asks again.
            return match history.is_redriven_late && history.has_untold_redrive {
                true => Ok(()),
                false => violated("L4", format!("{execution} goes on, and nothing wakes it")),
            };
        };
        // The caller that added a fact was told nothing yet, and asks again.
        if history.is_untold() {
            return Ok(());
        }
        let wants = state.due_at().map_or(now, |until| until.max(now));
        let is_stalled = history.row.as_ref().is_some_and(|row| row.stalled.is_some());
        let (latest_at, latest_due) = match is_stalled {
            true => (wants + STALLED + AGAIN_MAX, wants + STALLED + AGAIN_MAX),
            false => (wants + AGAIN_MAX + COVERED_WITHIN, wants + COVERED_WITHIN),
        };
        match at <= latest_at && due <= latest_due {
            true => Ok(()),
            false => violated(
                "L4",
                format!("{execution} wants to go on at {wants}; its timer is for {due}, at {at}"),
            ),
        }
    }
}

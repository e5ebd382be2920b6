//! Everything but the driver: ingest, the sweep, the audit, who signals, and the projector.

use super::histories::{EMPTY, HistoryId, LAST, Order, Tick, Wish, later};
use super::mutant::Mutant;
use super::world::{Change, Handed, PASSES, State, World};

/// A request of the sender.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Ingest {
    #[default]
    Absent,
    Append,
    Acknowledge,
    /// Only a mutant appends after its answer.
    AppendAfterAnswer,
}

/// A run of the audit, in one of its passes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) enum Audit {
    #[default]
    Idle,
    SetTimer(Tick),
    Show(HistoryId),
    MoveCursor,
}

/// The handler of a signal, and the caller that waits for its answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) enum Caller {
    /// No call is under way, and the caller has no answer.
    #[default]
    Idle,
    /// A redrive: set a timer for later.
    SetTimerAhead(HistoryId),
    Append(HistoryId),
    SetTimer(HistoryId),
    /// A redrive: write the view of the execution that continues.
    Reopen(HistoryId),
    /// Only a mutant sets the timer after its answer.
    SetTimerAfterAnswer,
    /// The caller has its answer.
    Answered,
}

/// What may be signalled to the execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// An answer to the callback of this step.
    Answer(u8),
    /// An operator's redrive.
    Redrive,
}

/// At which tick each pass of the audit looks at what was received at tick 0.
const PASS_AT: [Tick; PASSES as usize] = [1, 2];

/// From this tick on the index shows what was received at tick 0: before the last pass.
const INDEXED_AT: Tick = 2;

/// When an execution that is about to be redriven is looked at.
const REDRIVEN_SOON: Tick = 1;

impl World {
    /// Ingest: append, then answer. A request that meets a conflict is a redelivery.
    pub(super) fn ingest(&mut self, state: &State, changes: &mut Vec<Change>) {
        if state.now > 0 || self.ingests == 0 {
            return;
        }
        for place in 0..self.ingests {
            let mut to = *state;
            let mut next = |by, mut to: State, ingest| {
                to.ingests[place] = ingest;
                changes.push(Change::perhaps(by, to));
            };
            if state.ingests[place] != Ingest::Absent && Self::may_crash(state) {
                next("ingest crashes", to.after_crash(), Ingest::Absent);
            }
            match state.ingests[place] {
                Ingest::Absent => {
                    let first = match self.is(Mutant::AcknowledgedBeforeEvent) {
                        true => Ingest::Acknowledge,
                        false => Ingest::Append,
                    };
                    next("the sender sends", to, first);
                }
                Ingest::Append | Ingest::AppendAfterAnswer => {
                    let (_, begun) = self.histories.follow(EMPTY, &[Order::Receive], 0);
                    if to.history == EMPTY {
                        to.begin(begun, self.records);
                    }
                    let then = match state.ingests[place] {
                        Ingest::Append => Ingest::Acknowledge,
                        _ => Ingest::Absent,
                    };
                    next("ingest appends event 1", to, then);
                }
                Ingest::Acknowledge => {
                    to.acknowledged = true;
                    let then = match self.is(Mutant::AcknowledgedBeforeEvent) {
                        true => Ingest::AppendAfterAnswer,
                        false => Ingest::Absent,
                    };
                    next("ingest answers 202", to, then);
                }
            }
        }
    }

    /// The stream delivers the record of the first append: on time, late, twice, or never, which is a lost one.
    pub(super) fn deliver(&mut self, state: &State, changes: &mut Vec<Change>) {
        if state.records == 0 {
            return;
        }
        if let Some(mut to) = self.wake(state, None) {
            to.records -= 1;
            changes.push(Change::perhaps("the stream delivers the record", to));
        }
    }

    /// The sweep claims a due timer and hands it over. The claim is conditional, so that to read the timer and to
    /// claim it are one step. A hand-over that arrives late, after the timer was claimed again, is like a late record. A
    /// message with the exact delay does the same as the sweep.
    pub(super) fn sweep(&mut self, state: &State, changes: &mut Vec<Change>) {
        if self.is(Mutant::NoSweep) {
            return;
        }
        for due in 0..=LAST {
            if state.timer_at(due).is_none_or(|at| at > state.now) {
                continue;
            }
            let mut claimed = *state;
            claimed.claim_timer(due);
            if Self::may_crash(state) {
                let lost = claimed.after_crash();
                changes.push(Change::perhaps("the sweep claims a timer and crashes", lost));
            }
            let Some(once) = self.wake(&claimed, Some(Handed::Same(due))) else { continue };
            changes.push(Change::owed("a driver receives a timer", once));
            if let Some(twice) = self.wake(&once, Some(Handed::Same(due))) {
                changes.push(Change::perhaps("two drivers receive the same timer", twice));
            }
        }
    }

    /// The audit: index, view, last append, then a timer or the view, then the cursor.
    pub(super) fn audit(&mut self, state: &State, changes: &mut Vec<Change>) {
        let mut to = *state;
        if state.audit != Audit::Idle && Self::may_crash(state) {
            let to = State { audit: Audit::Idle, ..to.after_crash() };
            changes.push(Change::perhaps("the audit crashes", to));
        }
        let by = match state.audit {
            Audit::Idle => {
                let is_early = |pass: &Tick| state.now < *pass;
                let pass = PASS_AT.get(usize::from(state.passed));
                if state.passed >= self.passes() || pass.is_none_or(is_early) {
                    return;
                }
                if self.is(Mutant::CursorBeforeTimers) {
                    to.passed += 1;
                }
                let has_ended = match state.view {
                    EMPTY => self.is(Mutant::MissingViewMeansEnded),
                    view => self.histories.get(view).ended,
                };
                let shows = !self.is(Mutant::AuditShowsNoEnds) && !self.is(Mutant::EndNeverShown);
                let history = self.histories.get(state.history);
                to.audit = match history.ended {
                    _ if has_ended || state.history == EMPTY => Audit::MoveCursor,
                    true if shows => Audit::Show(state.history),
                    true => Audit::MoveCursor,
                    false => Audit::SetTimer(history.until.unwrap_or(0)),
                };
                if state.now < INDEXED_AT {
                    let missed = State { audit: Audit::MoveCursor, ..to };
                    changes.push(Change::perhaps("the audit reads an index that lags", missed));
                }
                "the audit reads the index, the view and the last append"
            }
            Audit::SetTimer(due) => {
                let due = due.clamp(state.now, LAST);
                if state.timer_at(due).is_none() {
                    to.set_timer(due);
                }
                to.audit = Audit::MoveCursor;
                "the audit sets the timer if it is missing"
            }
            Audit::Show(history) => {
                to.audit = Audit::MoveCursor;
                let broken = self.show(&mut to, history);
                changes.push(Change { broken, ..Change::owed("the audit writes the view", to) });
                return;
            }
            Audit::MoveCursor => {
                if !self.is(Mutant::CursorBeforeTimers) {
                    to.passed += 1;
                }
                to.audit = Audit::Idle;
                "the audit moves its cursor"
            }
        };
        changes.push(Change::owed(by, to));
    }

    /// How often the audit passes.
    pub(super) fn passes(&self) -> u8 {
        if self.is(Mutant::NoSecondPass) { 1 } else { PASSES }
    }

    /// A signal: append, timer, answer. The caller may call again as long as it has no answer.
    pub(super) fn call(&mut self, state: &State, changes: &mut Vec<Change>) {
        let Some(signal) = self.signal else { return };
        let mut to = *state;
        let is_under_way = !matches!(state.caller, Caller::Idle | Caller::Answered);
        if is_under_way && Self::may_crash(state) {
            let caller = match state.caller {
                Caller::SetTimerAfterAnswer => Caller::Answered,
                _ => Caller::Idle,
            };
            changes.push(Change::perhaps(
                "the handler of a signal crashes",
                State { caller, ..to.after_crash() },
            ));
        }
        let by = match state.caller {
            Caller::Answered => return,
            Caller::Idle => {
                let Some(caller) = self.signalled(signal, &mut to) else { return };
                to.caller = caller;
                "a signal arrives"
            }
            Caller::SetTimerAhead(known) => {
                to.set_timer(later(state.now, REDRIVEN_SOON));
                to.caller = Caller::Append(known);
                "the handler sets a timer ahead of its append"
            }
            Caller::Append(known) if known == state.history => {
                let order = self.order(signal, state.now);
                to.history = self.histories.follow(known, &[order], state.now).1;
                to.caller = match self.is(Mutant::AnsweredBeforeTimer) {
                    true => Caller::SetTimerAfterAnswer,
                    false => Caller::SetTimer(to.history),
                };
                "the handler appends the signal"
            }
            Caller::Append(_) => {
                to.caller = self.signalled(signal, &mut to).unwrap_or(Caller::Answered);
                "the handler's append meets a conflict, and it reads again"
            }
            Caller::SetTimer(known) => {
                to.set_timer(state.now);
                to.caller = match signal {
                    Signal::Redrive => Caller::Reopen(known),
                    Signal::Answer(_) => Caller::Answered,
                };
                "the handler sets a timer for now"
            }
            Caller::SetTimerAfterAnswer => {
                to.set_timer(state.now);
                to.caller = Caller::Answered;
                "the handler sets a timer after its answer"
            }
            Caller::Reopen(known) => {
                to.caller = Caller::Answered;
                let broken = self.show(&mut to, known);
                let by = "the handler writes the view of what continues";
                changes.push(Change { broken, ..Change::perhaps(by, to) });
                return;
            }
        };
        changes.push(Change::perhaps(by, to));
    }

    /// What the handler of a signal does after it has read the history; `None` if no call comes.
    fn signalled(&mut self, signal: Signal, to: &mut State) -> Option<Caller> {
        let order = self.order(signal, to.now);
        let history = to.history;
        // The timer ahead of a redrive must be later than the redrive.
        if history == EMPTY || (signal == Signal::Redrive && to.now == LAST) {
            return None;
        }
        if self.histories.follow(history, &[order], to.now).1 != history {
            return Some(match signal {
                Signal::Redrive if !self.is(Mutant::NoTimerBeforeRedrive) => {
                    Caller::SetTimerAhead(history)
                }
                _ => Caller::Append(history),
            });
        }
        // It is refused. If it was recorded before, the call that recorded it may have crashed before its timer.
        let known = self.histories.get(history);
        if !known.has_signal {
            return None;
        }
        if known.ended {
            self.show(to, history);
            return Some(Caller::Answered);
        }
        match self.is(Mutant::RepeatedSignalSetsNoTimer) {
            true => Some(Caller::Answered),
            false => Some(Caller::SetTimer(history)),
        }
    }

    fn order(&self, signal: Signal, now: Tick) -> Order {
        match signal {
            Signal::Answer(step) => Order::Answer { step, now },
            Signal::Redrive => Order::Redrive,
        }
    }

    /// The projector reads a history whose view is behind, and writes the view later.
    pub(super) fn project(&mut self, state: &State, changes: &mut Vec<Change>) {
        if !self.projects {
            return;
        }
        let mut to = State { projected: EMPTY, ..*state };
        if state.projected == EMPTY {
            let (history, view) =
                (self.histories.get(state.history), self.histories.get(state.view));
            if history.is_shown && view.sequence < history.sequence {
                to.projected = state.history;
                changes.push(Change::perhaps("the projector reads the history", to));
            }
            return;
        }
        let broken = self.show(&mut to, state.projected);
        changes.push(Change { broken, ..Change::perhaps("the projector writes the view", to) });
    }

    /// From when on the execution wants something; `None` if it has ended.
    pub(super) fn wants_at(&self, state: &State) -> Option<Tick> {
        match self.histories.wish(state.history, state.now) {
            Wish::Nothing => None,
            Wish::Wait(until) => Some(until),
            Wish::Decide(_) | Wish::Act { .. } => Some(state.now),
        }
    }
}

//! The tables, every process that is at work on them, and what must always hold.

use super::driver::Driver;
use super::histories::{Claim, EMPTY, Histories, HistoryId, LAST, Order, Tick, later};
use super::mutant::{Mutant, Property};
use super::others::{Audit, Caller, Ingest, Signal};

/// How often the audit passes. The product's third pass is like its second.
pub(super) const PASSES: u8 = 2;

/// A timer in the table, at the tick that it is due.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Timer {
    #[default]
    Absent,
    /// It is handed over as soon as it is due.
    Set,
    /// It was handed over at this tick, and is handed over again at the next one.
    Claimed,
}

/// A timer that was handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Handed {
    /// The timer that is due at this tick, and is still the same.
    Same(Tick),
    /// It was set again or handed over again since, so its holder can neither claim nor delete it. Only a mutant, which
    /// deletes any timer, uses the tick.
    Other(Tick),
}

impl Handed {
    pub(super) fn due(self) -> Tick {
        match self {
            Self::Same(due) | Self::Other(due) => due,
        }
    }
}

/// Everything at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) now: Tick,
    pub(super) history: HistoryId,
    /// The history that the view is a fold of; [`EMPTY`] if there is no view.
    pub(super) view: HistoryId,
    pub(super) timers: [Timer; LAST as usize + 1],
    /// How often the record of the first append may still be delivered.
    pub(super) records: u8,
    /// How many passes of the audit have their cursor after the execution.
    pub(super) passed: u8,
    pub(super) acknowledged: bool,
    pub(super) ingests: [Ingest; 2],
    pub(super) drivers: [Option<Driver>; 2],
    pub(super) audit: Audit,
    /// How many more crashes and lost hand-overs there may be.
    pub(super) crashes: u8,
    pub(super) caller: Caller,
    /// What the projector has read; [`EMPTY`] if nothing.
    pub(super) projected: HistoryId,
    /// Which attempts were called, see [`bit`]. A crash of its driver takes an attempt out, unless it acts at most once.
    pub(super) called: u8,
}

/// A step from one state to another.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) by: &'static str,
    /// Whether it happens without luck: no record is delivered, no caller calls again, nothing fails.
    pub(super) owed: bool,
    pub(super) to: State,
    /// The property that it violates.
    pub(super) broken: Option<Property>,
}

/// A workflow, and which processes are at work.
#[derive(Debug)]
pub(super) struct World {
    pub(super) histories: Histories,
    pub(super) mutant: Option<Mutant>,
    /// How many requests of the sender are under way at once. If none, event 1 was acknowledged before all else.
    pub(super) ingests: usize,
    /// Whether the first attempt at the first step may fail.
    pub(super) may_fail: bool,
    pub(super) signal: Option<Signal>,
    /// How often the record of the first append may be delivered.
    pub(super) records: u8,
    pub(super) crashes: u8,
    pub(super) projects: bool,
}

/// The place of an attempt in [`State::called`].
pub(super) fn bit(claim: Claim) -> u8 {
    1 << (claim.step * 2 + claim.attempt - 1)
}

impl World {
    pub(super) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Where everything begins.
    pub(super) fn first(&mut self) -> State {
        let mut state = State { crashes: self.crashes, ..State::default() };
        if self.ingests == 0 {
            state.begin(self.histories.follow(EMPTY, &[Order::Receive], 0).1, self.records);
            if self.signal == Some(Signal::Redrive) {
                // It has failed and is shown, and its record and the audit's passes are over.
                let claim = self.histories.claim(state.history, 0, 1, 0);
                let claimed = self.histories.follow(state.history, &[claim], 0).1;
                let fail = self.histories.failed(0, 1, 0);
                state.history = self.histories.follow(claimed, &[fail, Order::End], 0).1;
                state.view = state.history;
                state.passed = PASSES;
            }
            state.acknowledged = true;
        }
        state
    }

    /// Everything that can happen next.
    pub(super) fn changes(&mut self, state: &State, changes: &mut Vec<Change>) {
        self.tick(state, changes);
        self.ingest(state, changes);
        self.deliver(state, changes);
        for slot in 0..state.drivers.len() {
            if slot == 0 || state.drivers[slot] != state.drivers[slot - 1] {
                self.drive(state, slot, changes);
            }
        }
        self.sweep(state, changes);
        self.audit(state, changes);
        self.call(state, changes);
        self.project(state, changes);
    }

    /// The property that a state violates.
    pub(super) fn violated(&self, state: &State) -> Option<Property> {
        if state.history == EMPTY {
            return state.acknowledged.then_some(Property::EventBefore202);
        }
        let (history, view) = (self.histories.get(state.history), self.histories.get(state.view));
        if view.sequence > history.sequence {
            return Some(Property::ViewForward);
        }
        let is_shown = history.ended && view.sequence == history.sequence;
        let is_audited = state.passed == self.passes();
        let timer = (0..=LAST).filter_map(|due| state.timer_at(due)).min();
        let Some(timer) = timer else {
            return (is_audited && !is_shown).then_some(Property::NeverForgotten);
        };
        // What has ended wants nothing.
        let wanted = self.wants_at(state)?;
        let is_answered = history.has_signal && state.caller == Caller::Answered;
        let is_promised = match history.has_signal {
            // The caller of a signal is promised nothing before its answer, and then at once.
            true => is_answered && (is_audited || history.ends_with_signal),
            false => is_audited,
        };
        let is_late = is_promised && timer > wanted.max(state.now) + 1;
        is_late.then_some(Property::TimerInTime)
    }

    /// Whether a process may crash now.
    pub(super) fn may_crash(state: &State) -> bool {
        state.now < LAST && state.crashes > 0
    }

    /// Whether the execution has ended, its view says so, and no timer is left; or nothing has begun.
    pub(super) fn is_well_ended(&self, state: &State) -> bool {
        let (history, view) = (self.histories.get(state.history), self.histories.get(state.view));
        let is_shown = history.ended && view.ended && view.sequence == history.sequence;
        let has_timer = (0..=LAST).any(|due| state.timer_at(due).is_some());
        state.history == EMPTY || (is_shown && !has_timer)
    }

    /// Writes a view, if it is newer; says what that violates.
    pub(super) fn show(&self, to: &mut State, history: HistoryId) -> Option<Property> {
        let sequence = |history| self.histories.get(history).sequence;
        let (old, new) = (sequence(to.view), sequence(history));
        if new > old || self.is(Mutant::ViewWithoutNewer) {
            to.view = history;
        }
        (sequence(to.view) < old).then_some(Property::ViewForward)
    }

    /// A state in one form, see [`State::canonical`].
    pub(super) fn canonical(&self, mut state: State) -> State {
        if !self.is(Mutant::DeletesAnyTimer) {
            for slot in &mut state.drivers {
                *slot = slot.and_then(Driver::without_stale_timer);
            }
        }
        state.canonical()
    }

    /// A driver crashes: an attempt whose outcome it has not recorded may be made again, unless it acts at most once.
    pub(super) fn crashed(&self, state: &State, slot: usize) -> State {
        let mut to = *state;
        to.crashes -= 1;
        let driver = to.drivers[slot].take();
        if let Some(claim) = driver.and_then(|driver| driver.unrecorded())
            && !self.histories.is_at_most_once(claim.step)
        {
            to.called &= !bit(claim);
        }
        to
    }

    /// A state in words.
    pub(super) fn words(&self, state: &State) -> String {
        let timers = (0..=LAST).filter_map(|due| match state.timers[usize::from(due)] {
            Timer::Absent => None,
            Timer::Set => Some(format!("{due}")),
            Timer::Claimed => Some(format!("{due} claimed")),
        });
        format!(
            "time {}, view of {} events, timers [{}], audit {}, [{}]",
            state.now,
            self.histories.get(state.view).sequence,
            timers.collect::<Vec<_>>().join(", "),
            state.passed,
            self.histories.words(state.history)
        )
    }

    /// Time passes, but no attempt and no append of its outcome outlast the claim.
    fn tick(&self, state: &State, changes: &mut Vec<Change>) {
        let outlasts =
            |driver: &Driver| driver.unrecorded().is_some_and(|claim| claim.until <= state.now + 1);
        if state.now == LAST
            || state.history == EMPTY
            || state.drivers.iter().flatten().any(outlasts)
        {
            return;
        }
        let mut to = State { now: state.now + 1, ..*state };
        let claimed = to.timers.iter_mut().filter(|timer| **timer == Timer::Claimed);
        claimed.for_each(|timer| *timer = Timer::Set);
        // A request is recorded within its time, or not at all.
        to.ingests = [Ingest::Absent; 2];
        // The timer ahead of a redrive leaves its handler so much time for the append, and no more.
        let is_ahead = matches!(to.caller, Caller::SetTimerAhead(_) | Caller::Append(_));
        if is_ahead && self.signal == Some(Signal::Redrive) {
            to.caller = Caller::Idle;
        }
        changes.push(Change::owed("time passes", to));
    }
}

impl Change {
    pub(super) fn owed(by: &'static str, to: State) -> Self {
        Self { by, owed: true, to, broken: None }
    }

    pub(super) fn perhaps(by: &'static str, to: State) -> Self {
        Self { by, owed: false, to, broken: None }
    }
}

impl State {
    /// The same state in one form: equal processes are in one order, and so are timers that were due before now, which
    /// differ in nothing but their time.
    pub(super) fn canonical(mut self) -> Self {
        let now = usize::from(self.now);
        for end in (1..now).rev() {
            for due in 0..end {
                if self.rank(due) > self.rank(due + 1) {
                    self.swap_timers(due, due + 1);
                }
            }
        }
        self.ingests.sort_unstable();
        self.drivers.sort_unstable();
        self
    }

    fn rank(&self, due: usize) -> (Timer, usize) {
        let holds = |handed: Option<Handed>| handed.is_some_and(|it| usize::from(it.due()) == due);
        let drivers = self.drivers.iter().flatten().filter(|driver| holds(driver.timer));
        (self.timers[due], drivers.count())
    }

    fn swap_timers(&mut self, one: usize, two: usize) {
        self.timers.swap(one, two);
        let drivers = self.drivers.iter_mut().flatten().filter_map(|driver| driver.timer.as_mut());
        for handed in drivers {
            let (Handed::Same(due) | Handed::Other(due)) = handed;
            *due = match usize::from(*due) {
                due if due == one => two as Tick,
                due if due == two => one as Tick,
                _ => *due,
            };
        }
    }

    /// Event 1 is appended: its record is in the stream, and may be delivered so often.
    pub(super) fn begin(&mut self, begun: HistoryId, records: u8) {
        self.history = begun;
        self.records = records;
    }

    /// The same with one crash less to come.
    pub(super) fn after_crash(self) -> Self {
        Self { crashes: self.crashes - 1, ..self }
    }

    /// When a timer is to be handed over; `None` if there is none.
    pub(super) fn timer_at(&self, due: Tick) -> Option<Tick> {
        match self.timers[usize::from(due)] {
            Timer::Absent => None,
            Timer::Set => Some(due),
            Timer::Claimed => Some(later(self.now, 1)),
        }
    }

    /// Sets a timer. One that was due before is due now.
    pub(super) fn set_timer(&mut self, due: Tick) {
        self.change_timer(due.max(self.now), Timer::Set);
    }

    /// Claims a timer, to hand it over.
    pub(super) fn claim_timer(&mut self, due: Tick) {
        let claimed = if self.now < LAST { Timer::Claimed } else { Timer::Set };
        self.change_timer(due, claimed);
    }

    pub(super) fn delete_timer(&mut self, due: Tick) {
        self.change_timer(due, Timer::Absent);
    }

    /// Every process that holds this timer now holds another one than the one in the table.
    fn change_timer(&mut self, due: Tick, timer: Timer) {
        self.timers[usize::from(due)] = timer;
        let drivers = self.drivers.iter_mut().flatten().filter_map(|driver| driver.timer.as_mut());
        for handed in drivers {
            if *handed == Handed::Same(due) {
                *handed = Handed::Other(due);
            }
        }
    }
}

//! The two tables, everyone who is at work on them, and what is always so.

use super::driver::Driver;
use super::mutant::Mutant;
use super::others::{Caller, Ingest, Projector, Sweep};
use super::pasts::{LAST, NONE, NOTHING, Order, Past, Pasts, Tick, after, with};

/// A row of the executions table. Its generation is not a number here:
/// whoever read it knows whether it is still the one that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Row {
    /// The event that its view is as of.
    pub(super) sequence: u8,
    /// Whether its view shows an end.
    pub(super) ended: bool,
    pub(super) created: Tick,
    pub(super) due: Option<Tick>,
}

/// Everything there is at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) now: Tick,
    pub(super) history: Past,
    pub(super) row: Option<Row>,
    /// Whether the sender has a 202.
    pub(super) acknowledged: bool,
    pub(super) ingests: [Option<Ingest>; 2],
    pub(super) drivers: [Option<Driver>; 2],
    pub(super) sweep: Sweep,
    pub(super) caller: Caller,
    pub(super) projector: Projector,
    /// Of each step: which attempts acted, if it is one that acts at most once.
    pub(super) acted: [u8; 2],
    /// Of each step: under which idempotency key it acted; 0 is the one that all its attempts share.
    pub(super) keys: [u8; 2],
}

/// What may come of a state.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) by: &'static str,
    /// Whether it happens even if every record is lost and nobody sends, calls or fails any more.
    pub(super) owed: bool,
    pub(super) to: State,
    /// What it breaks.
    pub(super) broken: Option<&'static str>,
}

/// A workflow and who is at work.
#[derive(Debug)]
pub(super) struct World {
    pub(super) pasts: Pasts,
    pub(super) mutant: Option<Mutant>,
    /// How many requests of the sender are under way at once; if none, a 202 was said before all else.
    pub(super) ingests: usize,
    /// Which steps' attempts may fail.
    pub(super) may_fail: [bool; 2],
    /// Whether the projector is at work as well.
    pub(super) projects: bool,
}

impl World {
    pub(super) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Where everything begins.
    pub(super) fn first(&mut self) -> State {
        let mut state = State::default();
        if self.ingests == 0 {
            state.history = self.pasts.follow(NOTHING, with(NONE, Order::Receive(0))).1;
            state.open(0);
            state.acknowledged = true;
        }
        state
    }

    /// Everything that can happen next.
    pub(super) fn changes(&mut self, state: &State, changes: &mut Vec<Change>) {
        self.tick(state, changes);
        self.ingest(state, changes);
        self.deliver(state, changes);
        for place in 0..state.drivers.len() {
            if place == 0 || state.drivers[place] != state.drivers[place - 1] {
                self.drive(state, place, changes);
            }
        }
        self.sweep(state, changes);
        self.call(state, changes);
        self.project(state, changes);
    }

    /// What is wrong in a state, if anything is.
    pub(super) fn wrong(&self, state: &State) -> Option<&'static str> {
        let past = self.pasts.get(state.history);
        if past.wrong.is_some() {
            return past.wrong;
        }
        if state.acknowledged && state.history == NOTHING {
            return Some("acknowledged, and event 1 is not there");
        }
        let Some(row) = state.row else {
            return state.acknowledged.then_some("acknowledged, and there is no row");
        };
        if row.ended && !past.ended {
            return Some("the row shows an end that the history does not have");
        }
        if row.due.is_none() && !past.ended {
            return Some("an unfinished execution owes nothing");
        }
        if row.ended != row.due.is_none() {
            return Some("a row shows an end and is due, or neither");
        }
        if row.sequence > past.sequence.max(1) {
            return Some("the row is ahead of the history");
        }
        let due = row.due.filter(|_| state.acknowledged)?;
        // Whoever called back and has no reply yet is not promised anything.
        let waits = if past.answered && state.caller != Caller::Answered {
            Some(LAST)
        } else {
            past.waits_until
        };
        let latest = after(state.now, 1).max(waits.unwrap_or(0));
        (due > latest).then_some("the row is due later than the execution has something to do")
    }

    /// Whether an execution has come to its end, and shows it.
    pub(super) fn is_well_ended(&self, state: &State) -> bool {
        let row = state.row.is_some_and(|row| row.ended && row.due.is_none());
        row && self.pasts.get(state.history).ended
    }

    /// A state in words.
    pub(super) fn words(&self, state: &State) -> String {
        let events = self.pasts.get(state.history).events.iter();
        let events: Vec<_> = events
            .map(|it| match it.event.step() {
                Some(step) => format!("{} {step}", it.event.name()),
                None => it.event.name().to_owned(),
            })
            .collect();
        let row = match state.row {
            None => "none".to_owned(),
            Some(row) => {
                let due = row.due.map_or("nothing".into(), |due| format!("at {due}"));
                let (n, end) = (row.sequence, if row.ended { ", ended" } else { "" });
                format!("as of {n}{end}, due {due}")
            }
        };
        let said = if state.acknowledged { ", 202" } else { "" };
        format!("time {}, row {row}{said}, [{}]", state.now, events.join(", "))
    }

    fn tick(&self, state: &State, changes: &mut Vec<Change>) {
        if state.now == LAST {
            return;
        }
        let mut to = State { now: state.now + 1, ..*state };
        // Nobody outlives the time that an invocation has.
        for ingest in &mut to.ingests {
            *ingest = ingest.filter(|ingest| to.now <= ingest.started + 1);
        }
        for driver in &mut to.drivers {
            *driver = driver.filter(Driver::outlives_a_tick);
        }
        changes.push(Change::owed("time passes", to));
    }
}

impl Change {
    /// Something that happens by the due time alone.
    pub(super) fn owed(by: &'static str, to: State) -> Self {
        Self { by, owed: true, to, broken: None }
    }

    /// Something that happens, or does not.
    pub(super) fn perhaps(by: &'static str, to: State) -> Self {
        Self { by, owed: false, to, broken: None }
    }
}

impl State {
    /// The same, with those alike in one order.
    pub(super) fn sorted(mut self) -> Self {
        if self.ingests[0] > self.ingests[1] {
            self.ingests.swap(0, 1);
        }
        if self.drivers[0] > self.drivers[1] {
            self.drivers.swap(0, 1);
        }
        self
    }

    /// The obligation is another one: whoever read it before knows an old generation.
    pub(super) fn regenerate(&mut self) {
        for driver in self.drivers.iter_mut().flatten() {
            driver.outdate();
        }
        for ingest in self.ingests.iter_mut().flatten() {
            ingest.outdate();
        }
        self.sweep.outdate();
    }

    /// `Executions::open`: says when the row was made that stands there already.
    pub(super) fn open(&mut self, created: Tick) -> Option<Tick> {
        if let Some(row) = self.row {
            return Some(row.created);
        }
        let due = Some(after(created, 1));
        self.row = Some(Row { sequence: 1, ended: false, created, due });
        self.regenerate();
        None
    }

    /// `Executions::project`.
    pub(super) fn show(&mut self, pasts: &Pasts, past: Past, due: Tick) -> bool {
        let known = pasts.get(past);
        let older = |row: Row| row.sequence < known.sequence || row.created < known.created;
        if self.row.is_some_and(|row| !older(row)) {
            return false;
        }
        let due = self.row.and_then(|row| row.due).unwrap_or(due);
        if self.row.is_none_or(|row| row.due.is_none()) {
            self.regenerate();
        }
        let (sequence, ended, created) = (known.sequence, known.ended, known.created);
        self.row = Some(Row { sequence, ended, created, due: Some(due) });
        true
    }

    /// `Executions::finish`.
    pub(super) fn finish(&mut self, pasts: &Pasts, past: Past) {
        let known = pasts.get(past);
        let past = |row: Row| row.sequence > known.sequence && row.created >= known.created;
        if !self.row.is_some_and(past) {
            let (sequence, ended, created) = (known.sequence, known.ended, known.created);
            self.row = Some(Row { sequence, ended, created, due: None });
            self.regenerate();
        }
    }

    /// `Executions::postpone` and `Executions::claim`, by somebody to whom the generation is still the same.
    pub(super) fn move_due(&mut self, is_same: bool, until: Tick) -> bool {
        match &mut self.row {
            Some(row) if is_same => row.due = Some(until),
            _ => return false,
        }
        self.regenerate();
        true
    }
}

//! Those beside the drivers: ingest, the sweep, whoever calls back, and the projector.

use super::driver::Driver;
use super::mutant::Mutant;
use super::pasts::{NONE, NOTHING, Order, Past, SECOND, Tick, after, with};
use super::world::{Change, Row, State, World};

/// A request of the sender under way: `Ingest::begin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ingest {
    pub(super) started: Tick,
    append: Put,
    open: Open,
    /// Whether the row is made anew, and how often its obligation changed since it was read.
    reopens: Option<u8>,
}

/// The put of event 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Put {
    Ahead,
    New,
    Taken,
}

/// The put of the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Open {
    Ahead,
    Made,
    /// One stands there, made at this time.
    Stands(Tick),
}

impl Ingest {
    pub(super) fn outdate(&mut self) {
        self.reopens = self.reopens.map(|changes| (changes + 1).min(2));
    }
}

/// The sweep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) enum Sweep {
    #[default]
    Looks,
    Claims {
        is_same: bool,
    },
}

impl Sweep {
    pub(super) fn outdate(&mut self) {
        if let Self::Claims { is_same } = self {
            *is_same = false;
        }
    }
}

/// Whoever calls back: `Ingest::add`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) enum Caller {
    #[default]
    Reads,
    Appends {
        known: Past,
        now: Tick,
    },
    Shows(Past),
    Hastens,
    Replies,
    Answered,
    Refused,
}

/// The projector.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) enum Projector {
    #[default]
    Reads,
    Shows(Past),
}

impl World {
    pub(super) fn ingest(&mut self, state: &State, changes: &mut Vec<Change>) {
        // Once it has its 202, the sender is content.
        let busy = state.ingests.iter().flatten().count();
        let free = state.ingests.iter().position(Option::is_none);
        if let Some(free) = free.filter(|_| busy < self.ingests && !state.acknowledged) {
            let mut to = *state;
            let (append, open) = (Put::Ahead, Open::Ahead);
            to.ingests[free] = Some(Ingest { started: state.now, append, open, reopens: None });
            changes.push(Change::perhaps("the sender sends", to));
        }
        for place in 0..state.ingests.len() {
            let Some(ingest) = state.ingests[place] else { continue };
            let mut crashed = *state;
            crashed.ingests[place] = None;
            changes.push(Change::perhaps("ingest crashes", crashed));
            self.begin_append(state, place, ingest, changes);
            self.begin_row(state, place, ingest, changes);
        }
    }

    fn begin_append(
        &mut self,
        state: &State,
        place: usize,
        ingest: Ingest,
        changes: &mut Vec<Change>,
    ) {
        let mut put = |by, mut to: State, append| {
            to.ingests[place] = Some(Ingest { append, ..ingest });
            changes.push(Change::perhaps(by, to));
        };
        let mut to = *state;
        match ingest.append {
            Put::Ahead if state.history == NOTHING => {
                let first = with(NONE, Order::Receive(ingest.started));
                to.history = self.pasts.follow(NOTHING, first).1;
                put("ingest appends event 1", to, Put::New);
                let known = if self.is(Mutant::OwnAppendNotKnown) { Put::Taken } else { Put::New };
                put("ingest appends event 1, and loses the reply", to, known);
            }
            Put::Ahead if self.is(Mutant::AppendWithoutCondition) => changes.push(Change {
                by: "ingest appends event 1",
                owed: false,
                to,
                broken: Some("what the history has was changed"),
            }),
            Put::Ahead => put("ingest appends event 1, and it is there", to, Put::Taken),
            Put::New | Put::Taken => {}
        }
    }

    fn begin_row(&self, state: &State, place: usize, ingest: Ingest, changes: &mut Vec<Change>) {
        let mut to = *state;
        let mut put = |by, mut to: State, ingest| {
            to.ingests[place] = ingest;
            changes.push(Change::perhaps(by, to));
        };
        if ingest.open == Open::Ahead {
            let stands = to.open(ingest.started);
            let open = stands.map_or(Open::Made, Open::Stands);
            put("ingest opens the row", to, Some(Ingest { open, ..ingest }));
        }
        let appended = matches!(ingest.append, Put::New | Put::Taken);
        let opened = ingest.open != Open::Ahead;
        let is_done = match self.mutant {
            Some(Mutant::AcknowledgedBeforeRow) => appended,
            Some(Mutant::AcknowledgedBeforeEvent) => opened,
            _ => appended && opened,
        };
        if !is_done {
            return;
        }
        let created = self.pasts.get(state.history).created;
        let is_foreign = match (ingest.append, ingest.open) {
            _ if self.is(Mutant::RowNotMadeAnew) => false,
            (Put::New, Open::Stands(_)) => true,
            (Put::Taken, Open::Stands(made)) => {
                made != created && !self.is(Mutant::RowOfAnotherTryTrusted)
            }
            _ => false,
        };
        match ingest.reopens {
            None if is_foreign => {
                let ingest = Some(Ingest { reopens: Some(0), ..ingest });
                put("ingest looks at the row that stands there", to, ingest);
            }
            Some(since) if is_foreign => {
                let newer = |row: Row| row.sequence > 1 && row.created >= created;
                if !to.row.is_some_and(newer) {
                    let due = Some(after(state.now, 1));
                    to.row = Some(Row { sequence: 1, ended: false, created, due });
                    // Its generation is one more than what was read: what another made it just now, if one did.
                    if since != 1 {
                        to.regenerate();
                    }
                }
                // It goes on as if the row were its own.
                let ingest = Ingest { open: Open::Stands(created), append: Put::Taken, ..ingest };
                put("ingest makes the row anew", to, Some(ingest));
            }
            _ => {
                to.acknowledged = true;
                put("ingest says 202", to, None);
            }
        }
    }

    pub(super) fn sweep(&self, state: &State, changes: &mut Vec<Change>) {
        let mut to = *state;
        match state.sweep {
            Sweep::Looks => {
                let is_due = state.row.and_then(|row| row.due).is_some_and(|due| due <= state.now);
                if is_due && !self.is(Mutant::NoSweep) {
                    to.sweep = Sweep::Claims { is_same: true };
                    changes.push(Change::owed("the sweep finds a due row", to));
                }
            }
            Sweep::Claims { is_same } => {
                to.sweep = Sweep::Looks;
                changes.push(Change::perhaps("the sweep crashes", to));
                let is_same = is_same || self.is(Mutant::ClaimWithoutGeneration);
                let claimed = to.move_due(is_same, after(state.now, 1));
                if claimed
                    && self.is(Mutant::ClaimTakesDueAway)
                    && let Some(row) = &mut to.row
                {
                    row.due = None;
                }
                changes.push(Change::perhaps("the sweep claims the row, and wakes nobody", to));
                let free = to.drivers.iter().position(Option::is_none);
                if !claimed {
                    changes.push(Change::owed("the sweep leaves the row alone", to));
                } else if let Some(free) = free {
                    to.drivers[free] = Some(Driver::DUE);
                    changes.push(Change::owed("the sweep claims the row, and wakes a driver", to));
                }
            }
        }
    }

    pub(super) fn call(&mut self, state: &State, changes: &mut Vec<Change>) {
        let (past, now) = (self.pasts.get(state.history), state.now);
        if !past.asked {
            return;
        }
        let answered = past.answered;
        let mut put = |by, mut to: State, caller| {
            to.caller = caller;
            changes.push(Change::perhaps(by, to));
        };
        let mut to = *state;
        let answer = |now| with(NONE, Order::Answer { step: SECOND, now });
        match state.caller {
            Caller::Reads => {
                let (fitting, _) = self.pasts.follow(state.history, answer(now));
                let caller = match (fitting == NONE, answered) {
                    (false, _) => Caller::Appends { known: state.history, now },
                    // The reply to an earlier call was lost.
                    (true, true) => Caller::Shows(state.history),
                    (true, false) => Caller::Refused,
                };
                put("somebody calls back", to, caller);
            }
            Caller::Appends { known, now } => {
                let next = self.pasts.follow(known, answer(now)).1;
                if state.history == known {
                    to.history = next;
                    put("the caller's answer is appended", to, Caller::Shows(next));
                    let known = !self.is(Mutant::OwnAppendNotKnown);
                    let then = if known { Caller::Shows(next) } else { Caller::Reads };
                    put("the caller's answer is appended, and the reply lost", to, then);
                } else {
                    put("the caller's answer met a conflict", to, Caller::Reads);
                }
            }
            Caller::Shows(known) => {
                if self.pasts.get(known).ended {
                    to.finish(&self.pasts, known);
                    put("the caller's answer is shown", to, Caller::Replies);
                } else {
                    to.show(&self.pasts, known, now);
                    let hastens = !self.is(Mutant::AnsweredBeforeDue);
                    let then = if hastens { Caller::Hastens } else { Caller::Replies };
                    put("the caller's answer is shown", to, then);
                }
            }
            Caller::Hastens => {
                if let Some(row) = &mut to.row
                    && row.due.is_some_and(|due| due > now)
                {
                    row.due = Some(now);
                    to.regenerate();
                }
                put("the caller's answer makes the execution due", to, Caller::Replies);
            }
            Caller::Replies => put("the caller is told so", to, Caller::Answered),
            Caller::Answered | Caller::Refused => return,
        }
        if state.caller != Caller::Reads {
            put("what the caller called crashes", *state, Caller::Reads);
        }
    }

    pub(super) fn project(&self, state: &State, changes: &mut Vec<Change>) {
        if !self.projects || state.history == NOTHING {
            return;
        }
        let mut to = *state;
        to.projector = match state.projector {
            Projector::Reads => Projector::Shows(state.history),
            Projector::Shows(known) => {
                let past = self.pasts.get(known);
                if past.ended {
                    to.finish(&self.pasts, known);
                } else {
                    let soon = after(state.now, 1);
                    let due = past.waits_until.map_or(soon, |until| until.min(soon));
                    to.show(&self.pasts, known, due);
                }
                Projector::Reads
            }
        };
        let by = match to.projector {
            Projector::Shows(_) => "the projector reads the history",
            Projector::Reads => "the projector shows it",
        };
        changes.push(Change::perhaps(by, to));
    }
}

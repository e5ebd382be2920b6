//! `advance`: one wake-up of one execution, a call at a time.

use super::mutant::Mutant;
use super::pasts::{NONE, NOTHING, Order, Orders, Past, Tick, Wish, after, with};
use super::world::{Change, Row, State, World};

/// How old a row without an execution must be to be removed: more than this.
const GRACE: Tick = 1;

/// One wake-up under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Driver {
    pub(super) cause: Cause,
    /// Until when the sweep leaves the execution to it.
    pub(super) lease: Tick,
    pub(super) call: Call,
}

/// Why it was woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Cause {
    Appended,
    Due,
}

/// An attempt that acts outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Begun {
    step: u8,
    attempt: u8,
    /// By when it ends, if it must be claimed.
    until: Option<Tick>,
}

/// What it does next, with what it knows: one call to a table, or one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Call {
    Read,
    /// No history: it looks at the row.
    LookAbsent,
    Discard {
        is_same: bool,
        created: Tick,
    },
    /// `settle::extend`.
    LookExtend {
        known: Past,
        begun: Begun,
    },
    Extend {
        known: Past,
        begun: Begun,
        is_same: bool,
    },
    /// `Drive::flush`; with the attempt if these are its claim, and whether it stops thereafter.
    Append {
        known: Past,
        orders: Orders,
        claimed: Option<Begun>,
        stops: bool,
    },
    /// After an append, if the clock woke it.
    Show {
        known: Past,
        claimed: Option<Begun>,
    },
    Act {
        known: Past,
        begun: Begun,
        stops: bool,
    },
    /// `settle::wait`.
    LookWait {
        known: Past,
        until: Tick,
    },
    ReadWait {
        known: Past,
        until: Tick,
        due: Option<Tick>,
        is_same: bool,
    },
    Wait {
        known: Past,
        until: Tick,
        is_same: bool,
    },
    MakeRow {
        known: Past,
        until: Tick,
    },
    Finish {
        known: Past,
    },
}

impl Driver {
    /// One that the sweep has woken.
    pub(super) const DUE: Self = Self { cause: Cause::Due, lease: 0, call: Call::Read };

    /// Whoever is about to remove a row has only an invocation's time for it.
    pub(super) fn outlives_a_tick(&self) -> bool {
        !matches!(self.call, Call::LookAbsent | Call::Discard { .. })
    }

    pub(super) fn outdate(&mut self) {
        if let Call::Discard { is_same, .. }
        | Call::Extend { is_same, .. }
        | Call::ReadWait { is_same, .. }
        | Call::Wait { is_same, .. } = &mut self.call
        {
            *is_same = false;
        }
    }
}

/// What becomes of a driver.
type Then = Result<Option<Driver>, &'static str>;

impl World {
    /// A record may wake a driver at any time after its append: late, again, or never.
    /// It reads at once: one that reads later finds an append that its record is behind, and ends.
    pub(super) fn deliver(&mut self, state: &State, changes: &mut Vec<Change>) {
        let free = state.drivers.iter().position(Option::is_none);
        if let Some(free) = free.filter(|_| state.history != NOTHING) {
            let driver = Driver { cause: Cause::Appended, lease: 0, call: Call::Read };
            let then = self.begin(state, driver);
            let (mut to, broken) = (*state, then.err());
            to.drivers[free] = then.unwrap_or(None);
            changes.push(Change { by: "a record wakes a driver", owed: false, to, broken });
        }
    }

    /// What one driver can do next.
    pub(super) fn drive(&mut self, state: &State, place: usize, changes: &mut Vec<Change>) {
        let Some(driver) = state.drivers[place] else { return };
        let mut crashed = *state;
        crashed.drivers[place] = None;
        changes.push(Change::perhaps("a driver crashes", crashed));

        // The one that calls is no holder of a generation any more.
        let mut to = crashed;
        let now = state.now;
        let mut put = |by, mut to: State, then: Then| {
            let broken = then.err();
            to.drivers[place] = then.unwrap_or(None);
            changes.push(Change { by, owed: true, to, broken });
        };
        let goes_on = |call| Ok(Some(Driver { call, ..driver }));
        match driver.call {
            Call::Read => {
                let then = self.begin(state, driver);
                put("a driver reads the history", to, then);
            }
            Call::LookAbsent => {
                let old = state.row.filter(|row| row.due.is_some() && row.created + GRACE < now);
                let call = |created| Call::Discard { is_same: true, created };
                let then = old.map(|row| Driver { call: call(row.created), ..driver });
                put("a driver looks at a row without a history", to, Ok(then));
            }
            Call::Discard { is_same, created } => {
                let own =
                    |row: Row| row.created == created || self.is(Mutant::DiscardByGenerationAlone);
                let is_same = is_same && state.row.is_some_and(own);
                if is_same || self.is(Mutant::DiscardWithoutCondition) {
                    to.row = None;
                    to.regenerate();
                }
                put("a driver removes a row", to, Ok(None));
            }
            Call::LookExtend { known, begun } => {
                let until = after(now, 1);
                let then = match state.row.and_then(|row| row.due) {
                    None => Ok(self.claim(Driver { lease: until, ..driver }, known, begun)),
                    Some(due) if due >= until => {
                        Ok(self.claim(Driver { lease: due, ..driver }, known, begun))
                    }
                    Some(_) => goes_on(Call::Extend { known, begun, is_same: true }),
                };
                put("a driver looks whether it has time for a step", to, then);
            }
            Call::Extend { known, begun, is_same } => {
                let until = after(now, 1);
                to.move_due(is_same || self.is(Mutant::PostponeWithoutGeneration), until);
                let then = self.claim(Driver { lease: until, ..driver }, known, begun);
                put("a driver keeps the sweep away", to, Ok(then));
            }
            Call::Append { known, orders, claimed, stops } if state.history == known => {
                let (fitting, next) = self.pasts.follow(known, orders);
                assert_eq!(fitting, orders, "only what fits is appended");
                to.history = next;
                let then = self.appended(driver, next, claimed, stops, now);
                put("a driver appends", to, then);
                // Its reply is lost: the client tries again, and finds an item of its own name.
                let then = if self.is(Mutant::OwnAppendNotKnown) {
                    self.decide_again(driver, next, (orders, claimed, stops))
                } else {
                    self.appended(driver, next, claimed, stops, now)
                };
                put("a driver appends, and loses the reply", to, then);
            }
            Call::Append { .. } if self.is(Mutant::AppendWithoutCondition) => {
                put("a driver appends", to, Err("what the history has was changed"));
            }
            Call::Append { known, claimed: Some(begun), .. }
                if self.is(Mutant::ActAfterLostClaim) =>
            {
                let then = goes_on(Call::Act { known, begun, stops: true });
                put("a driver loses a claim", to, then);
            }
            Call::Append { orders, claimed, stops, .. } => {
                let then = self.decide_again(driver, state.history, (orders, claimed, stops));
                put("a driver meets a conflict, and reads again", to, then);
            }
            Call::Show { known, claimed } => {
                to.show(&self.pasts, known, driver.lease);
                let act =
                    |begun| Driver { call: Call::Act { known, begun, stops: true }, ..driver };
                put("a driver shows how far it got", to, Ok(claimed.map(act)));
            }
            Call::Act { known, begun, stops } => {
                self.act(state, place, driver, (known, begun, stops), changes);
            }
            Call::LookWait { known, until } => {
                let due = state.row.and_then(|row| row.due);
                let then = match due {
                    Some(_) if self.is(Mutant::WaitWithoutLookingAgain) => {
                        goes_on(Call::Wait { known, until, is_same: true })
                    }
                    _ => goes_on(Call::ReadWait { known, until, due, is_same: due.is_some() }),
                };
                put("a driver looks at the row", to, then);
            }
            Call::ReadWait { known, until, due, is_same } => {
                let then = match due {
                    _ if state.history != known => Ok(None),
                    Some(due) if due == until => Ok(None),
                    Some(_) => goes_on(Call::Wait { known, until, is_same }),
                    None => goes_on(Call::MakeRow { known, until }),
                };
                put("a driver looks whether anything is new", to, then);
            }
            Call::Wait { known, until, is_same } => {
                let is_same = is_same || self.is(Mutant::PostponeWithoutGeneration);
                let moved = to.move_due(is_same, until);
                put("a driver leaves the execution until later", to, Ok(None));
                if !moved {
                    put("a driver looks again", to, goes_on(Call::LookWait { known, until }));
                }
            }
            Call::MakeRow { known, until } => {
                let made = to.show(&self.pasts, known, until);
                put("a driver makes the row that is missing", to, Ok(None));
                if !made {
                    put("a driver looks again", to, goes_on(Call::LookWait { known, until }));
                }
            }
            Call::Finish { known } => {
                to.finish(&self.pasts, known);
                if self.is(Mutant::EndShownStillDue)
                    && let Some(row) = &mut to.row
                {
                    row.due = Some(now);
                }
                put("a driver shows the end", to, Ok(None));
            }
        }
    }

    /// From the history as it is.
    fn begin(&mut self, state: &State, driver: Driver) -> Then {
        let now = state.now;
        if state.history == NOTHING {
            return Ok(Some(Driver { call: Call::LookAbsent, ..driver }));
        }
        let known = self.pasts.get(state.history);
        let lease = match driver.cause {
            Cause::Appended => after(known.created, 1),
            Cause::Due => after(now, 1),
        };
        self.go_on(Driver { lease, ..driver }, state.history, NONE, now)
    }

    /// `Drive::run`: everything that it decides until its next call.
    fn go_on(&mut self, driver: Driver, known: Past, mut decided: Orders, now: Tick) -> Then {
        let calls = |call| Ok(Some(Driver { call, ..driver }));
        loop {
            let (fitting, past) = self.pasts.follow(known, decided);
            if fitting != decided {
                return Err("what is wanted was refused");
            }
            let append = Call::Append { known, orders: decided, claimed: None, stops: false };
            let is_clean = decided == NONE;
            match self.pasts.wish(past, now) {
                Wish::Nothing if is_clean || self.is(Mutant::EndShownBeforeAppend) => {
                    return calls(Call::Finish { known: past });
                }
                Wish::Decide(order) => decided = with(decided, order),
                Wish::Fire if is_clean => {
                    let orders = with(NONE, Order::Fire(now));
                    return calls(Call::Append { known, orders, claimed: None, stops: false });
                }
                Wish::Wait(until) if is_clean => return calls(Call::LookWait { known, until }),
                Wish::Act { step, attempt, claims }
                    if is_clean || self.is(Mutant::RunAheadOfAppend) =>
                {
                    let needed = after(now, 1);
                    let begun = Begun { step, attempt, until: claims.then_some(needed) };
                    if needed > driver.lease && !self.is(Mutant::NoExtension) {
                        return calls(Call::LookExtend { known: past, begun });
                    }
                    return Ok(self.claim(driver, past, begun));
                }
                _ => return calls(append),
            }
        }
    }

    /// `Drive::start`: the claim if there has to be one, or the attempt.
    fn claim(&mut self, driver: Driver, known: Past, begun: Begun) -> Option<Driver> {
        let Begun { step, attempt, until } = begun;
        let call = match until {
            Some(until) if !self.is(Mutant::ActWithoutClaim) => {
                let orders = with(NONE, Order::Claim { step, attempt, until });
                Call::Append { known, orders, claimed: Some(begun), stops: false }
            }
            _ => Call::Act { known, begun, stops: false },
        };
        Some(Driver { call, ..driver })
    }

    /// `Drive::flush`, if somebody was first: what still fits is appended to what they left.
    fn decide_again(
        &mut self,
        driver: Driver,
        theirs: Past,
        (orders, claimed, stops): (Orders, Option<Begun>, bool),
    ) -> Then {
        let (fitting, _) = self.pasts.follow(theirs, orders);
        if self.is(Mutant::ConflictNotDecidedAgain) && fitting != orders {
            return Err("something was appended that does not fit");
        }
        let call = Call::Append { known: theirs, orders: fitting, claimed, stops };
        Ok((fitting != NONE).then_some(Driver { call, ..driver }))
    }

    /// `Drive::after_append`, and what follows it.
    fn appended(
        &mut self,
        driver: Driver,
        known: Past,
        claimed: Option<Begun>,
        stops: bool,
        now: Tick,
    ) -> Then {
        let ended = self.pasts.get(known).ended;
        let call = match (driver.cause, claimed) {
            _ if ended && self.is(Mutant::EndNotShown) => return Ok(None),
            (Cause::Due, _) if !ended => Call::Show { known, claimed },
            (_, Some(begun)) => Call::Act { known, begun, stops },
            (_, None) if stops => return Ok(None),
            (_, None) => return self.go_on(driver, known, NONE, now),
        };
        Ok(Some(Driver { call, ..driver }))
    }

    /// One attempt: it acts and succeeds, acts and fails, or is out of time.
    fn act(
        &mut self,
        state: &State,
        place: usize,
        driver: Driver,
        (known, begun, stops): (Past, Begun, bool),
        changes: &mut Vec<Change>,
    ) {
        let (Begun { step, attempt, until }, now) = (begun, state.now);
        let at = usize::from(step);
        let mut acted = *state;
        let past = self.pasts.get(state.history);
        let mut broken = None;
        let is_limited = until.is_some() && !self.is(Mutant::ActAfterLimit);
        let in_time = !is_limited || until.is_none_or(|until| now < until);
        if in_time {
            if step > 0 && !past.completed[at - 1] {
                broken = Some("a step acted before the one before it had completed");
            }
            if until.is_some() {
                if acted.acted[at] & (1 << attempt) != 0 {
                    broken = Some("an attempt acted twice that must not");
                }
                if past.attempts[at] >= attempt {
                    broken = Some("an attempt acted that was recorded as ended");
                }
                acted.acted[at] |= 1 << attempt;
            }
            let key = if self.is(Mutant::KeyOfAttempt) { attempt } else { 0 };
            if acted.keys[at] != 0 && acted.keys[at] != key {
                broken = Some("a step acted under two idempotency keys");
            }
            acted.keys[at] = key;
        }
        let failed = self.pasts.failed(step, attempt, true, now);
        let outcomes = [
            (in_time, "a step acts, and gives a result", Order::Complete { step, attempt }),
            (in_time && self.may_fail[at], "a step acts, and fails", failed),
            (is_limited, "a step is out of time", failed),
        ];
        for (_, by, order) in outcomes.into_iter().filter(|(happens, ..)| *happens) {
            let decided = with(NONE, order);
            // Somebody else may have recorded its outcome: then the append tells.
            let then = if stops {
                let call = Call::Append { known, orders: decided, claimed: None, stops };
                Ok(Some(Driver { call, ..driver }))
            } else {
                self.go_on(driver, known, decided, now)
            };
            let mut to = if by == "a step is out of time" { *state } else { acted };
            let broken = broken.or(then.err());
            to.drivers[place] = then.unwrap_or(None);
            changes.push(Change { by, owed: true, to, broken });
        }
    }
}

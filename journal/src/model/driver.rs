//! A driver: reads, decides, appends, calls, and lets go. Each step is one call of a table, or a call of a target.

use super::histories::{BatchId, Claim, EMPTY, HistoryId, Order, Tick, Wish, later};
use super::mutant::{Mutant, Property};
use super::world::{Change, Handed, State, World, bit};

/// A driver of the execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Driver {
    /// The history as far as it has read it.
    known: HistoryId,
    /// The timer that woke it; none if a record did.
    pub(super) timer: Option<Handed>,
    phase: Phase,
}

/// What a driver does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Phase {
    /// Append what is decided; with the attempt whose outcome is in it.
    Append { batch: BatchId, outcome: Option<Claim> },
    /// Begin an attempt that it has claimed.
    Begin(Claim),
    /// Wait for the call of an attempt.
    Call(Claim),
    /// Write the view of the end.
    Show,
    /// Set the next timer.
    Set(Tick),
    /// Delete the timer that woke it.
    Clear(Last),
}

/// What is left to do after the timer is deleted: nothing, in the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Last {
    Nothing,
    Show,
    Set(Tick),
}

impl Driver {
    /// The attempt that it makes, or whose outcome is not appended yet.
    pub(super) fn unrecorded(&self) -> Option<Claim> {
        match self.phase {
            Phase::Call(claim) => Some(claim),
            Phase::Append { outcome, .. } => outcome,
            _ => None,
        }
    }

    fn then(self, phase: Phase) -> Self {
        // What it has read matters no more when it lets go.
        let known = match phase {
            Phase::Set(_) | Phase::Clear(Last::Nothing | Last::Set(_)) => EMPTY,
            _ => self.known,
        };
        Self { known, phase, ..self }
    }

    /// The same driver without a timer that it cannot delete any more; none if that was all it had to do.
    pub(super) fn without_stale_timer(self) -> Option<Self> {
        match self.timer {
            Some(Handed::Other(_)) if self.phase == Phase::Clear(Last::Nothing) => None,
            Some(Handed::Other(_)) => Some(Self { timer: None, ..self }),
            _ => Some(self),
        }
    }
}

impl World {
    /// A driver is woken and reads the history.
    pub(super) fn wake(&mut self, state: &State, timer: Option<Handed>) -> Option<State> {
        let slot = state.drivers.iter().position(Option::is_none)?;
        let mut to = *state;
        let mut driver = Driver { known: state.history, timer, phase: Phase::Show };
        if let Some(timer) = timer.filter(|_| self.is(Mutant::TimerDeletedOnReceipt)) {
            to.delete_timer(timer.due());
            driver.timer = None;
        }
        let phase = self.think(state.now, driver.known, Vec::new(), None);
        to.drivers[slot] = Some(driver.then(phase));
        Some(to)
    }

    /// Everything that a driver may do next.
    pub(super) fn drive(&mut self, state: &State, slot: usize, changes: &mut Vec<Change>) {
        let Some(driver) = state.drivers[slot] else { return };
        let now = state.now;
        if Self::may_crash(state) {
            changes.push(Change::perhaps("a driver crashes", self.crashed(state, slot)));
        }
        let mut to = *state;
        match driver.phase {
            Phase::Append { batch, outcome } => {
                let (phase, broken) = self.append(&mut to, driver, batch, outcome);
                let driver = Driver { known: to.history, ..driver };
                to.drivers[slot] = Some(driver.then(phase));
                let by = match to.history == state.history {
                    true => "a driver's append meets a conflict, and it reads again",
                    false => "a driver appends",
                };
                changes.push(Change { broken, ..Change::owed(by, to) });
            }
            Phase::Begin(claim) => {
                if now >= claim.until && !self.is(Mutant::ClaimNotLookedAtAgain) {
                    let phase = self.think(now, driver.known, Vec::new(), None);
                    to.drivers[slot] = Some(driver.then(phase));
                    changes.push(Change::owed("a driver finds its claim expired", to));
                    return;
                }
                let broken = (to.called & bit(claim) != 0).then(|| {
                    match self.histories.is_at_most_once(claim.step) {
                        true => Property::AtMostOnce,
                        false => Property::CalledOnce,
                    }
                });
                to.called |= bit(claim);
                to.drivers[slot] = Some(driver.then(Phase::Call(claim)));
                changes.push(Change { broken, ..Change::owed("a driver calls a target", to) });
            }
            Phase::Call(claim) => {
                let Claim { step, attempt, .. } = claim;
                let succeeds = vec![Order::Complete { step, attempt }];
                let phase = self.think(now, driver.known, succeeds, Some(claim));
                to.drivers[slot] = Some(driver.then(phase));
                changes.push(Change::owed("a call succeeds", to));
                if self.may_fail && step == 0 && attempt == 1 {
                    let fails = vec![self.histories.failed(step, attempt, now)];
                    let phase = self.think(now, driver.known, fails, Some(claim));
                    to.drivers[slot] = Some(driver.then(phase));
                    changes.push(Change::perhaps("a call fails", to));
                }
            }
            Phase::Show => {
                let broken = match self.is(Mutant::EndNeverShown) {
                    true => None,
                    false => self.show(&mut to, driver.known),
                };
                to.drivers[slot] = driver.timer.map(|_| driver.then(Phase::Clear(Last::Nothing)));
                changes.push(Change { broken, ..Change::owed("a driver writes the view", to) });
            }
            Phase::Set(due) => {
                to.set_timer(due);
                // The next timer may be the one that woke it: that was set again.
                let clears = driver.timer.filter(|timer| timer.due() != due.max(state.now));
                to.drivers[slot] = clears.map(|_| driver.then(Phase::Clear(Last::Nothing)));
                changes.push(Change::owed("a driver sets the next timer", to));
            }
            Phase::Clear(last) => {
                let deletes = |timer: &Handed| {
                    matches!(timer, Handed::Same(_)) || self.is(Mutant::DeletesAnyTimer)
                };
                if let Some(timer) = driver.timer.filter(deletes) {
                    to.delete_timer(timer.due());
                }
                let driver = Driver { timer: None, ..driver };
                to.drivers[slot] = match last {
                    Last::Nothing => None,
                    Last::Show => Some(driver.then(Phase::Show)),
                    Last::Set(due) => Some(driver.then(Phase::Set(due))),
                };
                changes.push(Change::owed("a driver deletes the timer that woke it", to));
            }
        }
    }

    /// Makes an append, or reads what came first and decides again; says what the driver does next.
    fn append(
        &mut self,
        to: &mut State,
        driver: Driver,
        batch: BatchId,
        outcome: Option<Claim>,
    ) -> (Phase, Option<Property>) {
        let orders = self.histories.batch(batch).to_vec();
        let claimed = orders.iter().find_map(|order| match *order {
            Order::Claim { step, attempt, until, .. } => Some(Claim { step, attempt, until }),
            _ => None,
        });
        let is_first = to.history == driver.known;
        if is_first || self.is(Mutant::AppendWithoutCondition) {
            to.history = self.histories.follow(driver.known, &orders, to.now).1;
            let phase = claimed
                .map_or_else(|| self.think(to.now, to.history, Vec::new(), None), Phase::Begin);
            return (phase, (!is_first).then_some(Property::HistoryUnchanged));
        }
        if let Some(claimed) = claimed.filter(|_| self.is(Mutant::ActsOnRefusedClaim)) {
            return (Phase::Begin(claimed), None);
        }
        // Of what was decided only an outcome survives, which comes first.
        let kept = outcome.filter(|_| !self.is(Mutant::OutcomeDroppedOnConflict));
        let orders = kept.map(|_| orders[0]).into_iter().collect();
        (self.think(to.now, to.history, orders, kept), None)
    }

    /// Decides as far as it can without a call.
    fn think(
        &mut self,
        now: Tick,
        known: HistoryId,
        mut orders: Vec<Order>,
        mut outcome: Option<Claim>,
    ) -> Phase {
        assert_ne!(known, EMPTY, "only what has begun is driven");
        loop {
            // An outcome that does not fit any more is dropped.
            let first = orders.first().copied();
            let (batch, ahead) = self.histories.follow(known, &orders, now);
            orders = self.histories.batch(batch).to_vec();
            outcome = outcome.filter(|_| orders.first() == first.as_ref());
            let lets_go = match self.histories.wish(ahead, now) {
                Wish::Decide(order) => {
                    orders.push(order);
                    continue;
                }
                Wish::Act { step, attempt } if !self.is(Mutant::NoClaim) => {
                    orders.push(self.histories.claim(ahead, step, attempt, now));
                    let (batch, _) = self.histories.follow(known, &orders, now);
                    return Phase::Append { batch, outcome };
                }
                // Without a claim nothing says how long the call takes.
                Wish::Act { step, attempt } => {
                    Phase::Begin(Claim { step, attempt, until: now + 2 })
                }
                Wish::Wait(until) => match self.histories.get(ahead).claim {
                    Some(Claim { step, attempt, .. }) if self.is(Mutant::ClaimOfAnotherIgnored) => {
                        orders.push(self.histories.claim(ahead, step, attempt, now));
                        let (batch, _) = self.histories.follow(known, &orders, now);
                        return Phase::Append { batch, outcome };
                    }
                    _ if self.is(Mutant::NextTimerAfterReturn) => {
                        Phase::Clear(Last::Set(later(until, 0)))
                    }
                    _ => Phase::Set(later(until, 0)),
                },
                Wish::Nothing if self.is(Mutant::TimerDeletedBeforeEndShown) => {
                    Phase::Clear(Last::Show)
                }
                Wish::Nothing => Phase::Show,
            };
            return match orders.is_empty() {
                true => lets_go,
                false => Phase::Append { batch, outcome },
            };
        }
    }
}

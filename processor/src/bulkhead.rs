//! Places that are taken by turns: a source that wants many keeps no other from getting one.
//!
//! There is one [`Bulkhead`] for driving and one for the calls to each destination.
//! Whoever waits for a place holds only itself: no place, and nothing of another source.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use everhook_journal::ambient::{self, Stopwatch};
use everhook_journal::guard::{self, Guard};
use futures_util::future::{Either, select};
use tokio::sync::oneshot;

/// Whose turn it is: a source.
pub type Lane = Arc<str>;

/// How long a waiter with a rate sleeps at most before it looks at its place again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Places for so many at once. A clone has the same places.
#[derive(Clone)]
pub struct Bulkhead(Arc<Mutex<State>>);

/// What one that wants a place measures by, beside the bulkhead's own bounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measure {
    /// How many with a measure may have a place before it gets one.
    pub most: Option<usize>,
    /// The time since the last one with a measure got its place.
    pub interval: Option<Duration>,
}

/// A place that is taken until this is dropped.
pub struct Place {
    bulkhead: Bulkhead,
    lane: Lane,
    is_measured: bool,
}

type Give = Box<dyn FnOnce(Place) + Send>;

struct Waiter {
    number: u64,
    measure: Measure,
    give: Give,
}

#[derive(Default)]
struct InLane {
    taken: usize,
    waiting: VecDeque<Waiter>,
}

struct State {
    most: usize,
    lane_most: usize,
    taken: usize,
    measured: usize,
    began: Stopwatch,
    /// When the last one with a measure got its place.
    last: Option<Duration>,
    lanes: HashMap<Lane, InLane>,
    /// The lanes in which something waits, the next one first.
    turns: VecDeque<Lane>,
    numbers: u64,
}

impl Bulkhead {
    /// Places for `most` at once, `lane_most` of them of one lane.
    pub fn new(most: usize, lane_most: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            most: most.max(1),
            lane_most: lane_most.clamp(1, most.max(1)),
            taken: 0,
            measured: 0,
            began: Stopwatch::start(),
            last: None,
            lanes: HashMap::new(),
            turns: VecDeque::new(),
            numbers: 0,
        })))
    }

    /// Waits for a place.
    pub async fn enter(&self, lane: &Lane, measure: Measure) -> Place {
        let (send, mut place) = oneshot::channel();
        // What nobody receives is dropped, and with it the place is free again.
        let number = self.queue(lane, measure, move |place| drop(send.send(place)));
        let _waiting = Waiting { bulkhead: self, lane, number };
        let Some(interval) = measure.interval else {
            return place.await.expect("a waiter is only removed by itself");
        };
        loop {
            let pause = Box::pin(ambient::sleep(self.pause(interval)));
            match select(&mut place, pause).await {
                Either::Left((place, _)) => {
                    return place.expect("a waiter is only removed by itself");
                }
                Either::Right(_) => self.grant(),
            }
        }
    }

    /// Gives a place to this when it is its turn, perhaps at once; returns its number among those that wait.
    pub fn queue(
        &self,
        lane: &Lane,
        measure: Measure,
        give: impl FnOnce(Place) + Send + 'static,
    ) -> u64 {
        let number = {
            let mut state = self.state();
            state.numbers += 1;
            let number = state.numbers;
            let in_lane = state.lanes.entry(lane.clone()).or_default();
            in_lane.waiting.push_back(Waiter { number, measure, give: Box::new(give) });
            if in_lane.waiting.len() == 1 {
                state.turns.push_back(lane.clone());
            }
            number
        };
        self.grant();
        number
    }

    /// How many wait in this lane.
    pub fn waiting(&self, lane: &str) -> usize {
        self.state().lanes.get(lane).map_or(0, |lane| lane.waiting.len())
    }

    /// How many wait in all lanes.
    pub fn waiting_in_all(&self) -> usize {
        self.state().lanes.values().map(|lane| lane.waiting.len()).sum()
    }

    /// Lets go of all that wait.
    pub fn clear(&self) {
        let mut state = self.state();
        state.turns.clear();
        let waiting: Vec<_> =
            state.lanes.values_mut().flat_map(|lane| lane.waiting.drain(..)).collect();
        drop(state);
        drop(waiting);
    }

    /// Gives places to those whose turn it is.
    fn grant(&self) {
        loop {
            let next = self.state().next();
            let Some((give, lane, is_measured)) = next else { return };
            give(Place { bulkhead: self.clone(), lane, is_measured });
        }
    }

    /// How long a waiter with this interval sleeps before it looks at its place again.
    fn pause(&self, interval: Duration) -> Duration {
        let state = self.state();
        let now = state.began.elapsed();
        let ahead = state.last.map_or(Duration::ZERO, |last| (last + interval).saturating_sub(now));
        let pause = if ahead.is_zero() { interval } else { ahead };
        pause.clamp(Duration::from_millis(1), LOOK_AGAIN)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The next waiter that may have a place; the lane it is in has its next turn after all others.
    fn next(&mut self) -> Option<(Give, Lane, bool)> {
        if self.taken >= self.most {
            return None;
        }
        let now = self.began.elapsed();
        for _ in 0..self.turns.len() {
            let lane = self.turns.pop_front()?;
            let (measured, last, lane_most) = (self.measured, self.last, self.lane_most);
            let Some(in_lane) = self.lanes.get_mut(&lane) else { continue };
            let fits = |waiter: &Waiter| {
                let Measure { most, interval } = waiter.measure;
                most.is_none_or(|most| measured < most)
                    && interval.zip(last).is_none_or(|(interval, last)| last + interval <= now)
            };
            let is_free = in_lane.taken < lane_most || !guard::holds(Guard::PlacesApart);
            let found = is_free.then(|| in_lane.waiting.iter().position(fits)).flatten();
            let waiter = found.and_then(|place| in_lane.waiting.remove(place));
            in_lane.taken += usize::from(waiter.is_some());
            if !in_lane.waiting.is_empty() {
                self.turns.push_back(lane.clone());
            }
            if let Some(Waiter { measure, give, .. }) = waiter {
                let is_measured = measure != Measure::default();
                self.taken += 1;
                if is_measured {
                    self.measured += 1;
                    self.last = Some(now);
                }
                return Some((give, lane, is_measured));
            }
        }
        None
    }
}

/// One that waits, until this is dropped.
struct Waiting<'b> {
    bulkhead: &'b Bulkhead,
    lane: &'b Lane,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.bulkhead.state();
        let Some(in_lane) = state.lanes.get_mut(self.lane) else { return };
        let own = in_lane.waiting.iter().position(|waiter| waiter.number == self.number);
        let removed = own.and_then(|own| in_lane.waiting.remove(own));
        let is_last = removed.is_some() && in_lane.waiting.is_empty();
        if in_lane.waiting.is_empty() && in_lane.taken == 0 {
            state.lanes.remove(self.lane);
        }
        if is_last {
            state.turns.retain(|lane| lane != self.lane);
        }
        drop(state);
        drop(removed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        {
            let mut state = self.bulkhead.state();
            state.taken -= 1;
            state.measured -= usize::from(self.is_measured);
            if let Some(in_lane) = state.lanes.get_mut(&self.lane) {
                in_lane.taken -= 1;
                if in_lane.taken == 0 && in_lane.waiting.is_empty() {
                    state.lanes.remove(&self.lane);
                }
            }
        }
        self.bulkhead.grant();
    }
}

impl fmt::Debug for Bulkhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Bulkhead").field("taken", &state.taken).finish_non_exhaustive()
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({})", self.lane)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn lane(name: &str) -> Lane {
        name.into()
    }

    /// Queues one whose place stays with what this returns.
    fn queue(bulkhead: &Bulkhead, name: &str, order: &Arc<Mutex<Vec<(String, Place)>>>) {
        let (order, own) = (order.clone(), name.to_owned());
        bulkhead.queue(&lane(name), Measure::default(), move |place| {
            order.lock().unwrap().push((own, place));
        });
    }

    #[test]
    fn sources_take_turns_however_many_of_one_wait() {
        let bulkhead = Bulkhead::new(1, 1);
        let given = Arc::default();
        for _ in 0..50 {
            queue(&bulkhead, "busy", &given);
        }
        queue(&bulkhead, "calm", &given);

        let first = given.lock().unwrap().remove(0);
        drop(first);
        let second = given.lock().unwrap().remove(0);
        assert_eq!(second.0, "busy");
        drop(second);
        // A place is not dropped while the order is locked: the next one would be told of it.
        let third = given.lock().unwrap().remove(0);
        assert_eq!(third.0, "calm");
    }

    #[test]
    fn one_source_never_takes_all_places() {
        let bulkhead = Bulkhead::new(4, 3);
        let given = Arc::default();
        for _ in 0..10 {
            queue(&bulkhead, "busy", &given);
        }
        assert_eq!(given.lock().unwrap().len(), 3);

        queue(&bulkhead, "calm", &given);

        assert_eq!(given.lock().unwrap().last().unwrap().0, "calm");
        assert_eq!((bulkhead.waiting("busy"), bulkhead.waiting("calm")), (7, 0));
    }

    #[tokio::test]
    async fn one_that_stops_waiting_takes_no_place() {
        let (bulkhead, a) = (Bulkhead::new(1, 1), lane("a"));
        let first = bulkhead.enter(&a, Measure::default()).await;
        let short = Duration::from_millis(5);
        let waited = tokio::time::timeout(short, bulkhead.enter(&a, Measure::default()));
        assert!(waited.await.is_err());
        assert_eq!(bulkhead.waiting_in_all(), 0);

        drop(first);

        drop(bulkhead.enter(&lane("b"), Measure::default()).await);
        assert!(bulkhead.state().lanes.is_empty());
    }

    #[tokio::test]
    async fn a_measure_bounds_how_many_and_how_often() {
        let bulkhead = Bulkhead::new(10, 10);
        let one = Measure { most: Some(1), interval: None };
        let first = bulkhead.enter(&lane("a"), one).await;
        let short = Duration::from_millis(5);
        assert!(tokio::time::timeout(short, bulkhead.enter(&lane("b"), one)).await.is_err());
        // Those without a measure do not count, and those that allow more are let through.
        drop(bulkhead.enter(&lane("a"), Measure::default()).await);
        drop(bulkhead.enter(&lane("a"), Measure { most: Some(2), interval: None }).await);
        drop(first);

        let began = Instant::now();
        let often = Measure { most: None, interval: Some(Duration::from_millis(20)) };
        for _ in 0..4 {
            drop(bulkhead.enter(&lane("a"), often).await);
        }
        assert!(began.elapsed() >= Duration::from_millis(60), "{:?}", began.elapsed());
    }
}

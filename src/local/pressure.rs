//! How much a server takes on: what it cannot carry on with soon is refused before it is recorded.
//!
//! Whoever is refused sends again; whoever was acknowledged is never refused afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use everhook_ingest::answer::Answer;
use everhook_journal::telemetry;

/// How many webhooks are recorded at once. More would be recorded no sooner, and leave executions less of the engine.
const RECORDED_AT_ONCE: usize = 64;

/// When those are to send again who were refused because of what is being recorded: in seconds.
const SOON: &str = "1";

/// When those are to send again who were refused because of what waits: in seconds.
const LATER: &str = "5";

/// What a server has taken on. A clone is the same.
#[derive(Debug, Clone)]
pub struct Pressure(Arc<State>);

#[derive(Debug)]
struct State {
    backlog_max: u64,
    recording: AtomicUsize,
    /// Webhooks that drivers were told of.
    taken: AtomicU64,
    is_refusing: AtomicBool,
}

/// The right to record a webhook, while it is kept.
#[derive(Debug)]
pub struct Turn(Arc<State>);

/// Why a webhook is not recorded now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Too many are being recorded.
    Recording,
    /// Too many wait to be carried on.
    Waiting,
}

impl Pressure {
    /// Refuses webhooks while so many wait to be carried on.
    pub fn new(backlog_max: usize) -> Self {
        Self(Arc::new(State {
            backlog_max: backlog_max as u64,
            recording: AtomicUsize::new(0),
            taken: AtomicU64::new(0),
            is_refusing: AtomicBool::new(false),
        }))
    }

    /// Lets a webhook be recorded after so many that this process has recorded, or not now.
    pub fn enter(&self, recorded: u64) -> Result<Turn, Refused> {
        let state = &self.0;
        let waiting = recorded.saturating_sub(state.taken.load(Ordering::Relaxed));
        let is_full = waiting >= state.backlog_max;
        // It is told once each time it begins and ends, however many are refused.
        if state.is_refusing.swap(is_full, Ordering::Relaxed) != is_full {
            match is_full {
                true => {
                    tracing::warn!(waiting, "{waiting} webhooks wait: more are refused for now")
                }
                false => tracing::info!(waiting, "webhooks are accepted again"),
            }
        }
        if is_full {
            return Err(Refused::Waiting);
        }
        // Whoever enters is counted first, so that no two take the last place.
        let turn = Turn(Arc::clone(state));
        match state.recording.fetch_add(1, Ordering::Relaxed) < RECORDED_AT_ONCE {
            true => Ok(turn),
            false => Err(Refused::Recording),
        }
    }

    /// How many webhooks are being recorded now.
    pub fn recording(&self) -> usize {
        self.0.recording.load(Ordering::Relaxed)
    }

    /// Drivers were told of so many webhooks. Those that an earlier process has recorded count as well:
    /// they make room for as many more, once.
    pub fn taken(&self, count: usize) {
        self.0.taken.fetch_add(count as u64, Ordering::Relaxed);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.recording.fetch_sub(1, Ordering::Relaxed);
    }
}

impl From<Refused> for Answer {
    fn from(refused: Refused) -> Self {
        telemetry::rejected("overloaded");
        let (after, why) = match refused {
            Refused::Recording => (SOON, "too many webhooks arrive at once"),
            Refused::Waiting => (LATER, "too many webhooks wait to be carried on"),
        };
        let error = format!("{why}; this one was not recorded, send it again after {after} s");
        Self::error(503, error).with_header("retry-after", after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter_all(pressure: &Pressure) -> Vec<Turn> {
        (0..RECORDED_AT_ONCE).map(|_| pressure.enter(0).unwrap()).collect()
    }

    #[test]
    fn so_many_are_recorded_at_once_and_no_more() {
        let pressure = Pressure::new(10);
        let turns = enter_all(&pressure);
        assert_eq!(pressure.enter(0).unwrap_err(), Refused::Recording);
        assert_eq!(pressure.enter(0).unwrap_err(), Refused::Recording);

        drop(turns);

        assert_eq!(enter_all(&pressure).len(), RECORDED_AT_ONCE);
    }

    #[test]
    fn so_many_wait_and_no_more_are_recorded_until_some_are_taken() {
        let pressure = Pressure::new(2);
        assert!(pressure.enter(1).is_ok());
        assert_eq!(pressure.enter(2).unwrap_err(), Refused::Waiting);

        pressure.taken(1);

        assert!(pressure.enter(2).is_ok());
    }

    #[test]
    fn whoever_is_refused_is_told_when_to_send_again() {
        let response = Answer::from(Refused::Waiting).into_response("");
        assert_eq!(response.status_code, 503);
        assert_eq!(response.headers["retry-after"], LATER);
    }
}

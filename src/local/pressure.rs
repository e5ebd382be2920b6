//! How much a server takes on: what it cannot carry on with soon is refused before it is recorded.
//!
//! Whoever is refused sends again; whoever was acknowledged is never refused afterwards.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use everhook_ingest::answer::Answer;
use everhook_journal::telemetry;

/// How many webhooks of one source are recorded at once. More would be recorded no sooner, and leave executions less
/// of the engine.
const RECORDED_AT_ONCE: usize = 64;

/// How many webhooks of all sources are recorded at once.
const RECORDED_AT_ONCE_OF_ALL: usize = 4 * RECORDED_AT_ONCE;

/// When those are to send again who were refused because of what is being recorded: in seconds.
const SOON: &str = "1";

/// When those are to send again who were refused because of what waits: in seconds.
const LATER: &str = "5";

/// What a server has taken on. A clone is the same.
#[derive(Debug, Clone)]
pub struct Pressure(Arc<State>);

#[derive(Debug)]
struct State {
    backlog_max: usize,
    /// By source; those that are unknown share a place.
    recording: Mutex<HashMap<Arc<str>, usize>>,
    is_refusing: AtomicBool,
}

/// The right to record a webhook, while it is kept.
#[derive(Debug)]
pub struct Turn(Arc<State>, Arc<str>);

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
            backlog_max,
            recording: Mutex::default(),
            is_refusing: AtomicBool::new(false),
        }))
    }

    /// Lets a webhook of this source be recorded, or not now: so many of it wait to be driven.
    /// A burst of one source keeps no other out.
    pub fn enter(&self, source: &str, waiting: usize) -> Result<Turn, Refused> {
        let state = &self.0;
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
        let mut recording = state.recording();
        let of_all: usize = recording.values().sum();
        let of_source = recording.get(source).copied().unwrap_or_default();
        if of_source >= RECORDED_AT_ONCE || of_all >= RECORDED_AT_ONCE_OF_ALL {
            return Err(Refused::Recording);
        }
        let source: Arc<str> = source.into();
        *recording.entry(source.clone()).or_default() += 1;
        Ok(Turn(Arc::clone(state), source))
    }

    /// How many webhooks are being recorded now.
    pub fn recording(&self) -> usize {
        self.0.recording().values().sum()
    }
}

impl State {
    fn recording(&self) -> MutexGuard<'_, HashMap<Arc<str>, usize>> {
        self.recording.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut recording = self.0.recording();
        if let Some(many) = recording.get_mut(&self.1) {
            *many -= 1;
            if *many == 0 {
                recording.remove(&self.1);
            }
        }
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
        (0..RECORDED_AT_ONCE).map(|_| pressure.enter("a", 0).unwrap()).collect()
    }

    #[test]
    fn only_so_many_are_recorded_at_once() {
        let pressure = Pressure::new(10);
        let turns = enter_all(&pressure);
        assert_eq!(pressure.enter("a", 0).unwrap_err(), Refused::Recording);
        assert_eq!(pressure.enter("a", 0).unwrap_err(), Refused::Recording);

        drop(turns);

        assert_eq!(enter_all(&pressure).len(), RECORDED_AT_ONCE);
    }

    #[test]
    fn a_burst_of_one_source_keeps_no_other_out() {
        let pressure = Pressure::new(10);
        let _turns = enter_all(&pressure);
        assert_eq!(pressure.enter("a", 10).unwrap_err(), Refused::Waiting);
        assert_eq!(pressure.enter("a", 0).unwrap_err(), Refused::Recording);

        assert!(pressure.enter("b", 0).is_ok());
    }

    #[test]
    fn no_more_are_recorded_while_too_many_wait() {
        let pressure = Pressure::new(2);
        assert!(pressure.enter("a", 1).is_ok());
        assert_eq!(pressure.enter("a", 2).unwrap_err(), Refused::Waiting);
        assert!(pressure.enter("a", 1).is_ok());
    }

    #[test]
    fn a_refusal_says_when_to_send_again() {
        let response = Answer::from(Refused::Waiting).into_response("");
        assert_eq!(response.status_code, 503);
        assert_eq!(response.headers["retry-after"], LATER);
    }
}

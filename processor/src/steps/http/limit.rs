//! How often, and how often at once, one process calls a destination.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use everhook_journal::workflow::StepDefinition;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::step::{DefinitionError, StepError};
use crate::steps::options;

/// The part of a step's time that it may wait for its turn: one half.
const PATIENCE: u32 = 2;

/// What a definition allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit {
    /// The time from one call's beginning to the next one's.
    interval: Option<Duration>,
    /// How many calls may be under way.
    concurrency: Option<usize>,
}

impl Limit {
    /// Reads `limit = { rate = "10/s", concurrency = 4 }`.
    pub(super) fn new(step: &StepDefinition) -> Result<Option<Self>, DefinitionError> {
        let Some(table) = options::table(step, "limit", &["rate", "concurrency"])? else {
            return Ok(None);
        };
        let problem = |message: &str| Err(DefinitionError::at("limit", message));
        let interval = match table.get("rate") {
            None => None,
            Some(rate) => match rate.as_str().and_then(interval) {
                Some(interval) => Some(interval),
                None => {
                    return problem(
                        "`rate` is a number and a unit: \"10/s\", \"100/m\", \"1000/h\"",
                    );
                }
            },
        };
        let concurrency = match table.get("concurrency").map(Value::as_u64) {
            None => None,
            Some(Some(calls @ 1..=1_000)) => usize::try_from(calls).ok(),
            Some(_) => return problem("`concurrency` is a number from 1 to 1000"),
        };
        match (interval, concurrency) {
            (None, None) => problem("`limit` limits nothing; give it a `rate` or a `concurrency`"),
            (interval, concurrency) => Ok(Some(Self { interval, concurrency })),
        }
    }
}

/// The time between two calls at this rate.
fn interval(rate: &str) -> Option<Duration> {
    let (calls, unit) = rate.split_once('/')?;
    let unit = match unit {
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3600),
        _ => return None,
    };
    let calls: u32 = calls.parse().ok()?;
    unit.checked_div(calls).filter(|interval| !interval.is_zero())
}

/// The gates of all destinations that have a limit.
#[derive(Debug, Default)]
pub(super) struct Gates(Mutex<HashMap<(String, u16), Arc<Gate>>>);

impl Gates {
    pub(super) fn of(&self, host: &str, port: u16) -> Arc<Gate> {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gates.entry((host.to_owned(), port)).or_default().clone()
    }
}

/// Where calls to one destination pass. Steps with other limits share it, each by its own measure.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    left: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// How many calls are under way.
    running: usize,
    /// When the last call begins, which may be later than now.
    last: Option<Instant>,
}

/// A call that is under way until this is dropped.
#[derive(Debug)]
pub(super) struct Pass(Arc<Gate>);

impl Gate {
    /// Waits for a turn; fails at once if it would come too late for a step with this timeout.
    pub(super) async fn enter(
        self: Arc<Self>,
        limit: Limit,
        timeout: Duration,
    ) -> Result<Pass, StepError> {
        let patience = timeout / PATIENCE;
        let end = Instant::now() + patience;
        let place = self.clone().place(limit.concurrency);
        let pass = tokio::time::timeout(patience, place).await.map_err(|_| {
            StepError::retryable("limited", "as many calls as `limit` allows are under way")
        })?;
        if let Some(interval) = limit.interval {
            let turn = self.state().turn(interval, Instant::now(), end).map_err(|wait| {
                let message = "more calls wait than `rate` allows in time";
                StepError::retryable("limited", message).with_retry_after(wait)
            })?;
            tokio::time::sleep_until(turn).await;
        }
        Ok(pass)
    }

    async fn place(self: Arc<Self>, concurrency: Option<usize>) -> Pass {
        loop {
            let mut left = std::pin::pin!(self.left.notified());
            // Whoever leaves between the look and the wait is noticed as well.
            left.as_mut().enable();
            if self.state().is_entered(concurrency) {
                break;
            }
            left.await;
        }
        Pass(self)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_entered(&mut self, concurrency: Option<usize>) -> bool {
        let is_free = concurrency.is_none_or(|most| self.running < most);
        self.running += usize::from(is_free);
        is_free
    }

    /// When the next call begins; if that is after the end, how long that would be.
    fn turn(
        &mut self,
        interval: Duration,
        now: Instant,
        end: Instant,
    ) -> Result<Instant, Duration> {
        let turn = self.last.map_or(now, |last| now.max(last + interval));
        if turn > end {
            return Err(turn - now);
        }
        self.last = Some(turn);
        Ok(turn)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.state().running -= 1;
        self.0.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::steps::tests::definition;

    const HOUR: Duration = Duration::from_secs(3600);

    fn read(limit: Value) -> Result<Option<Limit>, DefinitionError> {
        Limit::new(&definition("http", json!({ "limit": limit })))
    }

    fn of(interval_ms: Option<u64>, concurrency: Option<usize>) -> Limit {
        Limit { interval: interval_ms.map(Duration::from_millis), concurrency }
    }

    #[test]
    fn a_limit_is_read() {
        for (limit, expected) in [
            (json!({"rate": "10/s", "concurrency": 4}), of(Some(100), Some(4))),
            (json!({"rate": "30/m"}), of(Some(2_000), None)),
            (json!({"rate": "1/h"}), of(Some(3_600_000), None)),
            (json!({"concurrency": 1}), of(None, Some(1))),
        ] {
            assert_eq!(read(limit), Ok(Some(expected)));
        }
    }

    #[test]
    fn a_limit_that_says_nothing_is_refused() {
        for limit in [
            json!("10/s"),
            json!({}),
            json!({"rate": "10"}),
            json!({"rate": "0/s"}),
            json!({"rate": "10/d"}),
            json!({"rate": 10}),
            json!({"concurrency": 0}),
            json!({"concurrency": 1.5}),
            json!({"rate": "1/s", "burst": 3}),
        ] {
            let error = read(limit.clone()).unwrap_err();
            assert_eq!(error.option.as_deref(), Some("limit"), "{limit}");
        }
    }

    #[test]
    fn calls_begin_one_interval_apart_and_none_begins_too_late() {
        let (mut state, now) = (State::default(), Instant::now());
        let (interval, end) = (Duration::from_millis(100), now + Duration::from_millis(250));
        let mut turn = || state.turn(interval, now, end).map(|turn| turn - now);

        let ms = Duration::from_millis;
        assert_eq!([turn(), turn(), turn()], [Ok(ms(0)), Ok(ms(100)), Ok(ms(200))]);
        // Who is sent away takes no turn from those who come later.
        assert_eq!([turn(), turn()], [Err(ms(300)), Err(ms(300))]);
        assert_eq!(state.turn(interval, now + ms(900), now + HOUR), Ok(now + ms(900)));
    }

    #[tokio::test]
    async fn who_leaves_makes_room() {
        let gates = Gates::default();
        let enter = |limit, timeout| gates.of("a", 443).enter(limit, timeout);
        let first = enter(of(None, Some(1)), HOUR).await.unwrap();

        let short = Duration::from_millis(20);
        let error = enter(of(None, Some(1)), short).await.unwrap_err();
        assert_eq!((error.kind.as_str(), error.retryable), ("limited", true));
        // Another step's limit leaves room, and another port is another destination.
        let second = enter(of(None, Some(2)), short).await.unwrap();
        assert!(gates.of("a", 80).enter(of(None, Some(1)), short).await.is_ok());

        let waiting = tokio::spawn(enter(of(None, Some(1)), HOUR));
        tokio::task::yield_now().await;
        drop(first);
        drop(second);
        assert!(waiting.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn who_cannot_be_served_in_time_is_told_when_to_come_back() {
        let gate = Arc::<Gate>::default();
        let limit = of(Some(3_600_000), None);
        assert!(gate.clone().enter(limit, Duration::from_secs(30)).await.is_ok());

        let error = gate.clone().enter(limit, Duration::from_secs(30)).await.unwrap_err();

        assert_eq!(error.kind, "limited");
        assert!(error.retry_after.unwrap() > HOUR - Duration::from_secs(60));
        assert_eq!(gate.state().running, 0);
    }
}

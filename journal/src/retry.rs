//! When a failed step is tried again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often and how soon a failed step is tried again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Retry {
    /// How many attempts there are in all; 1 means no retry.
    pub attempts: u32,
    /// How the delay grows.
    pub backoff: Backoff,
    /// The longest first delay; what a linear one grows by.
    pub first_ms: u64,
    /// The longest delay.
    pub max_ms: u64,
    /// By what an exponential delay grows; twice, if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// How the delay is drawn; all of it for an exponential one, none for the others, if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Jitter>,
    /// The delays themselves, one after the other; the last one stays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedule_ms: Vec<u64>,
    /// Whether delays are whole seconds, of which there is at least one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole_seconds: bool,
    /// How long after the first attempt began there may be another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_ms: Option<u64>,
    /// The kinds of failure that are tried again; all that could go better, if none is said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<String>,
    /// The kinds of failure that are not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_on: Vec<String>,
}

/// How the delay grows from one attempt to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backoff {
    /// Doubles each time, or grows by the rate that is given.
    Exponential,
    /// Grows by the first delay each time.
    Linear,
    /// Always the first delay.
    Fixed,
    /// As a list says.
    Schedule,
}

/// How a delay is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Jitter {
    /// Evenly between zero and the delay.
    Full,
    /// Evenly between half the delay and the delay.
    Half,
    /// Not at all.
    None,
}

/// A failed attempt, as the rules of a retry see it.
#[derive(Debug, Clone, Copy)]
pub struct Failed<'f> {
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The kind of failure.
    pub kind: &'f str,
    /// Whether another attempt could do better.
    pub retryable: bool,
    /// How long ago the first attempt began.
    pub age: Duration,
    /// How long the other side asks to be left alone.
    pub retry_after: Option<Duration>,
}

/// When attempts that all fail end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GivesUp {
    /// How long after the first attempt began.
    pub age: Duration,
    /// How many attempts there were.
    pub attempts: u32,
    /// Whether it is for their age: there could be more attempts.
    pub is_too_old: bool,
}

/// The draw of which all delays are as long as they are on average.
pub const MEAN: f64 = 0.5;

/// How many attempts there may be for as long as `max_age` says. A history has room for more.
pub const LASTING_ATTEMPTS_MAX: u32 = 1_000;

/// What part of `max_age` the longest delay is, if nothing is said.
const STRETCHED: u64 = 100;

impl Retry {
    /// One attempt only.
    pub const NEVER: Self = Self::of(1, Backoff::Fixed, 0, 0);

    /// What a step with side effects has if its definition says nothing: 6 attempts, 1 s doubling to 60 s.
    pub const DEFAULT: Self = Self::of(6, Backoff::Exponential, 1_000, 60_000);

    /// What a step that looks again and again has if its definition says nothing:
    /// 60 looks, 5 s growing by half to 5 min.
    pub const POLL: Self = {
        let mut poll = Self::of(60, Backoff::Exponential, 5_000, 300_000);
        poll.rate = Some(1.5);
        poll.whole_seconds = true;
        poll
    };

    const fn of(attempts: u32, backoff: Backoff, first_ms: u64, max_ms: u64) -> Self {
        Self {
            attempts,
            backoff,
            first_ms,
            max_ms,
            rate: None,
            jitter: None,
            schedule_ms: Vec::new(),
            whole_seconds: false,
            max_age_ms: None,
            on: Vec::new(),
            not_on: Vec::new(),
        }
    }

    /// The presets of AWS Lambda's durable functions, by name.
    pub fn preset(name: &str) -> Option<Self> {
        let preset = |attempts, backoff, first, max, jitter| Self {
            jitter: Some(jitter),
            whole_seconds: true,
            ..Self::of(attempts, backoff, first, max)
        };
        Some(match name {
            "none" => Self::NEVER,
            "default" => preset(6, Backoff::Exponential, 5_000, 60_000, Jitter::Full),
            "transient" => preset(3, Backoff::Exponential, 5_000, 300_000, Jitter::Half),
            "resource_availability" => {
                preset(5, Backoff::Exponential, 5_000, 300_000, Jitter::Full)
            }
            "critical" => Self {
                rate: Some(1.5),
                ..preset(10, Backoff::Exponential, 1_000, 60_000, Jitter::None)
            },
            "linear" => preset(6, Backoff::Linear, 1_000, 300_000, Jitter::None),
            "fixed" => preset(5, Backoff::Fixed, 5_000, 5_000, Jitter::None),
            _ => return None,
        })
    }

    /// The names of the presets.
    pub const PRESETS: [&str; 7] =
        ["none", "default", "transient", "resource_availability", "critical", "linear", "fixed"];

    /// How long after a failed attempt the next may begin; none if there is no next.
    /// `draw` is a random number from 0 to 1.
    pub fn after(&self, failed: &Failed<'_>, draw: f64) -> Option<Duration> {
        let named = |kinds: &[String]| kinds.iter().any(|kind| matches_kind(kind, failed.kind));
        let wanted = if self.on.is_empty() { failed.retryable } else { named(&self.on) };
        if !wanted || named(&self.not_on) {
            return None;
        }
        self.next(failed.attempt, failed.age, failed.retry_after, draw)
    }

    /// How long after `attempt` the next may begin, whatever it came to; none if there is no next.
    /// `age` is how long ago the first one began.
    pub fn next(
        &self,
        attempt: u32,
        age: Duration,
        retry_after: Option<Duration>,
        draw: f64,
    ) -> Option<Duration> {
        let delay = self.delay(attempt, draw)?.max(retry_after.unwrap_or_default());
        let too_old = |max| age.saturating_add(delay) > Duration::from_millis(max);
        if self.max_age_ms.is_some_and(too_old) { None } else { Some(delay) }
    }

    /// When it gives up if every attempt fails at once: the schedule itself, gone through with this draw.
    pub fn gives_up(&self, draw: f64) -> GivesUp {
        let (mut age, mut attempt) = (Duration::ZERO, 1);
        while let Some(delay) = self.next(attempt, age, None, draw) {
            age = age.saturating_add(delay);
            attempt += 1;
        }
        GivesUp { age, attempts: attempt, is_too_old: attempt < self.attempts }
    }

    /// The delay after the failure of `attempt`; none if it was the last.
    /// `draw` is a random number from 0 to 1.
    pub fn delay(&self, attempt: u32, draw: f64) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let longest = self.longest_delay(attempt);
        let draw = draw.clamp(0.0, 1.0);
        let delay = match self.jitter() {
            Jitter::None => longest,
            Jitter::Half => longest.mul_f64(0.5 + draw / 2.0),
            Jitter::Full => longest.mul_f64(draw),
        };
        Some(if self.whole_seconds { whole_seconds(delay) } else { delay })
    }

    /// The longest that all delays together can be.
    pub fn longest(&self) -> Duration {
        let most = self.gives_up(1.0);
        // Other draws may come closer to the end than the longest delays do.
        self.max_age().filter(|_| most.is_too_old).unwrap_or(most.age)
    }

    /// How long after the first attempt began there may be another.
    pub fn max_age(&self) -> Option<Duration> {
        self.max_age_ms.map(Duration::from_millis)
    }

    /// Goes on as long as `max_age` says, however many attempts that takes, within reason:
    /// if it may be, the longest delay grows with the age. Its error says what to do.
    pub fn lasting(mut self, max_age_ms: u64, may_stretch: bool) -> Result<Self, String> {
        self.attempts = LASTING_ATTEMPTS_MAX;
        self.max_age_ms = Some(max_age_ms);
        if may_stretch {
            self.max_ms = self.max_ms.max(max_age_ms / STRETCHED);
        }
        let usual = self.gives_up(MEAN);
        if usual.is_too_old && usual.attempts <= LASTING_ATTEMPTS_MAX / 2 {
            return Ok(self);
        }
        Err(format!(
            "`max_age` would take more than {} attempts with these delays: \
             make them longer (`first`, `max`, `schedule`), or say how many `attempts` there are",
            LASTING_ATTEMPTS_MAX / 2
        ))
    }

    /// How the delays are drawn.
    pub fn jitter(&self) -> Jitter {
        self.jitter.unwrap_or(match self.backoff {
            Backoff::Exponential => Jitter::Full,
            Backoff::Linear | Backoff::Fixed | Backoff::Schedule => Jitter::None,
        })
    }

    fn longest_delay(&self, attempt: u32) -> Duration {
        let before = attempt.saturating_sub(1);
        let millis = match self.backoff {
            Backoff::Fixed => self.first_ms,
            Backoff::Linear => self.first_ms.saturating_mul(u64::from(before) + 1).min(self.max_ms),
            Backoff::Exponential => {
                let growth =
                    self.rate.unwrap_or(2.0).max(1.0).powi(before.min(1_000).cast_signed());
                // A float as an integer stops at the integer's ends.
                ((self.first_ms as f64 * growth) as u64).min(self.max_ms)
            }
            Backoff::Schedule => {
                let last = self.schedule_ms.last().copied().unwrap_or_default();
                self.schedule_ms.get(before as usize).copied().unwrap_or(last)
            }
        };
        Duration::from_millis(millis)
    }
}

/// Whether a kind of failure is meant: by its name, or by how it begins (`http_5*`).
fn matches_kind(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => kind.starts_with(beginning),
        None => kind == pattern,
    }
}

fn whole_seconds(delay: Duration) -> Duration {
    let up = u64::from(delay.subsec_nanos() > 0);
    Duration::from_secs((delay.as_secs() + up).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_its_maximum_and_the_last_attempt_has_none() {
        let retry = Retry { attempts: 5, max_ms: 3_000, ..Retry::DEFAULT };

        let delays: Vec<_> = (1..=5).map(|attempt| retry.delay(attempt, 1.0)).collect();

        let seconds = |s| Some(Duration::from_secs(s));
        assert_eq!(delays, [seconds(1), seconds(2), seconds(3), seconds(3), None]);
        assert_eq!(retry.longest(), Duration::from_secs(9));
    }

    #[test]
    fn a_fixed_delay_stays_and_has_no_jitter() {
        let retry = Retry { attempts: 3, backoff: Backoff::Fixed, first_ms: 500, ..Retry::DEFAULT };

        let delays: Vec<_> = (1..=3).map(|attempt| retry.delay(attempt, 0.0)).collect();

        let half = Some(Duration::from_millis(500));
        assert_eq!(delays, [half, half, None]);
        assert_eq!(Retry::NEVER.delay(1, 0.0), None);
    }

    #[test]
    fn jitter_is_full() {
        assert_eq!(Retry::DEFAULT.delay(1, 0.0), Some(Duration::ZERO));
        assert_eq!(Retry::DEFAULT.delay(2, 0.5), Some(Duration::from_secs(1)));
    }

    fn lasting(days: u64) -> Retry {
        Retry::DEFAULT.lasting(days * DAY_MS, true).unwrap()
    }

    const DAY_MS: u64 = 86_400_000;

    /// When attempts end that all fail at once, each delay drawn like this.
    fn ended(retry: &Retry, mut draw: impl FnMut() -> f64) -> (u32, Duration) {
        let (mut age, mut attempt) = (Duration::ZERO, 1);
        loop {
            let failed =
                Failed { attempt, kind: "http_503", retryable: true, age, retry_after: None };
            match retry.after(&failed, draw()) {
                Some(delay) => (age, attempt) = (age + delay, attempt + 1),
                None => return (attempt, age),
            }
        }
    }

    #[test]
    fn an_age_without_attempts_lasts_that_long_whatever_is_drawn() {
        for days in [1, 3, 30, 366] {
            let retry = lasting(days);
            let (age, delay) = (retry.max_age().unwrap(), Duration::from_millis(retry.max_ms));
            let mut state = days;
            let drawn = ended(&retry, || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 11) as f64 / (1_u64 << 53) as f64
            });
            for (attempts, end) in [ended(&retry, || 1.0), ended(&retry, || 0.5), drawn] {
                assert!(end <= age && end + delay > age, "{days} days: {attempts}, {end:?}");
            }
        }
    }

    #[test]
    fn an_age_that_takes_too_many_attempts_is_refused() {
        let often = Retry { max_ms: 60_000, ..Retry::DEFAULT };
        assert!(often.clone().lasting(3 * DAY_MS, false).is_err());
        assert!(often.lasting(2 * 3_600_000, false).is_ok());
        let fixed = Retry { backoff: Backoff::Fixed, ..Retry::DEFAULT };
        assert!(fixed.lasting(DAY_MS, true).is_err());
        let nothing = Retry { first_ms: 0, max_ms: 0, ..Retry::DEFAULT };
        assert!(nothing.lasting(DAY_MS, false).is_err());
    }

    #[test]
    fn what_is_told_of_the_end_is_what_the_schedule_does() {
        let many = Retry {
            attempts: 80,
            max_ms: 3_600_000,
            max_age_ms: Some(3 * DAY_MS),
            ..Retry::DEFAULT
        };
        let hours = |hours: u64| Duration::from_secs(3600 * hours);
        let told = many.gives_up(MEAN);
        assert!(!told.is_too_old && told.age > hours(33) && told.age < hours(36), "{told:?}");
        assert_eq!(many.longest(), Duration::from_secs(245_295));
        for retry in [many, lasting(3), Retry::DEFAULT, Retry::POLL, Retry::NEVER] {
            for draw in [0.0, MEAN, 1.0] {
                let GivesUp { age, attempts, .. } = retry.gives_up(draw);
                assert_eq!(ended(&retry, || draw), (attempts, age));
            }
        }
    }

    #[test]
    fn a_wait_that_was_asked_for_does_not_outlast_the_age() {
        let retry = lasting(1);
        let failed = |age: u64, asked: u64| Failed {
            attempt: 1,
            kind: "http_503",
            retryable: true,
            age: Duration::from_secs(age),
            retry_after: Some(Duration::from_secs(asked)),
        };
        assert_eq!(retry.after(&failed(0, 3_600), 1.0), Some(Duration::from_secs(3_600)));
        assert_eq!(retry.after(&failed(86_000, 3_600), 1.0), None);
    }

    #[test]
    fn no_number_of_attempts_overflows() {
        let retry =
            Retry { attempts: u32::MAX, first_ms: u64::MAX, max_ms: u64::MAX, ..Retry::DEFAULT };
        assert!(retry.delay(4_000_000, 1.0).is_some());
    }
}

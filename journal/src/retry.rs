//! When a failed step is tried again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How often and how soon a failed step is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// How many attempts there are in all; 1 means no retry.
    pub attempts: u32,
    /// How the delay grows.
    pub backoff: Backoff,
    /// The longest first delay.
    pub first_ms: u64,
    /// The longest delay.
    pub max_ms: u64,
}

/// How the delay grows from one attempt to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backoff {
    /// Doubles each time, and the delay is drawn evenly between zero and that ("full jitter").
    Exponential,
    /// Always the first delay.
    Fixed,
}

impl Retry {
    /// One attempt only.
    pub const NEVER: Self = Self { attempts: 1, backoff: Backoff::Fixed, first_ms: 0, max_ms: 0 };

    /// What a step with side effects has if its definition says nothing: 6 attempts, 1 s doubling to 60 s.
    pub const DEFAULT: Self =
        Self { attempts: 6, backoff: Backoff::Exponential, first_ms: 1_000, max_ms: 60_000 };

    /// The delay after the failure of `attempt`; none if it was the last.
    /// `draw` is a random number from 0 to 1.
    pub fn delay(&self, attempt: u32, draw: f64) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let longest = self.longest_delay(attempt);
        Some(match self.backoff {
            Backoff::Fixed => longest,
            Backoff::Exponential => longest.mul_f64(draw.clamp(0.0, 1.0)),
        })
    }

    /// The longest that all delays together can be.
    pub fn longest(&self) -> Duration {
        (1..self.attempts).map(|attempt| self.longest_delay(attempt)).sum()
    }

    fn longest_delay(&self, attempt: u32) -> Duration {
        let millis = match self.backoff {
            Backoff::Fixed => self.first_ms,
            Backoff::Exponential => {
                let doublings = attempt.saturating_sub(1).min(63);
                self.first_ms.saturating_mul(1 << doublings).min(self.max_ms)
            }
        };
        Duration::from_millis(millis)
    }
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
        let retry = Retry { attempts: 3, backoff: Backoff::Fixed, first_ms: 500, max_ms: 60_000 };

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

    #[test]
    fn no_number_of_attempts_overflows() {
        let retry =
            Retry { attempts: u32::MAX, first_ms: u64::MAX, max_ms: u64::MAX, ..Retry::DEFAULT };
        assert!(retry.delay(4_000_000, 1.0).is_some());
    }
}

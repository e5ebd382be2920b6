//! When: the time records are aged by, and the pace at which a shard is read.

use std::time::Duration;

use everhook_journal::ambient::{self, Stopwatch};

/// The shortest pause between two reads while records keep coming: what arrives meanwhile shares a batch.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// The longest pause between two reads while records keep coming.
const PAUSE_MAX: Duration = Duration::from_millis(5);
/// The pause after a read that failed; doubles up to [`FAILED_PAUSE_MAX`].
const FAILED_PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest pause after reads that failed.
const FAILED_PAUSE_MAX: Duration = Duration::from_secs(5);

/// The time since the Unix epoch, which never runs backwards.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    started: Stopwatch,
    epoch: Duration,
}

impl Clock {
    /// Sets the clock by the system's.
    pub(super) fn start() -> Self {
        Clock { started: Stopwatch::start(), epoch: ambient::since_epoch() }
    }

    /// The time since the Unix epoch.
    pub(super) fn now(&self) -> Duration {
        self.epoch + self.started.elapsed()
    }

    /// Returns once the clock shows this time; never, if there is none.
    pub(super) async fn shows(&self, time: Option<Duration>) {
        match time {
            Some(time) => ambient::sleep(time.saturating_sub(self.now())).await,
            None => std::future::pending().await,
        }
    }
}

/// When a shard is read next: at once when there is reason to, but never for more than a third of the time.
/// Times are the clock's.
#[derive(Debug)]
pub(super) struct Pace {
    began: Duration,
    ended: Duration,
    pause: Duration,
    /// There is reason to expect records.
    hurry: bool,
    failures: u32,
}

impl Pace {
    /// The first read is due at once.
    pub(super) fn start(now: Duration) -> Self {
        Pace { began: now, ended: now, pause: Duration::ZERO, hurry: true, failures: 0 }
    }

    /// There is reason to expect records.
    pub(super) fn hurry(&mut self) {
        self.hurry = true;
    }

    /// A read begins: reasons to expect records from now on call for another one.
    pub(super) fn begin(&mut self, now: Duration) {
        self.began = now;
        self.hurry = false;
    }

    /// A read has ended with this many records, of at most `limit`.
    pub(super) fn end(&mut self, count: usize, limit: usize, now: Duration) {
        self.ended = now;
        self.failures = 0;
        self.hurry |= count > 0;
        // A full page means a backlog; anything less is worth waiting a moment for company.
        self.pause = match count >= limit {
            true => Duration::ZERO,
            false => ((self.ended - self.began) * 2).clamp(PAUSE_MIN, PAUSE_MAX),
        };
    }

    /// A read has failed.
    pub(super) fn failed(&mut self, now: Duration) {
        self.ended = now;
        self.pause =
            FAILED_PAUSE_FIRST.saturating_mul(1 << self.failures.min(16)).min(FAILED_PAUSE_MAX);
        self.failures = self.failures.saturating_add(1);
    }

    /// When the next read is due.
    pub(super) fn due(&self, idle_poll: Duration) -> Duration {
        self.ended + if self.hurry { self.pause } else { self.pause.max(idle_poll) }
    }
}

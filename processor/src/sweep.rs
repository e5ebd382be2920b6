//! Fires timers: hands over what is due, and marks what makes no progress.
//!
//! The sweep claims a timer before it hands it over, so that it is not handed over again at once. The claim is no lock: it
//! ends after a while, and two drivers that receive the same timer are safe. One look is bounded by time; the next look
//! finds what is left.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use everhook_journal::executions::{DEATHS_MAX, died};
use everhook_journal::guard::{self, Guard};
use everhook_journal::store::Unavailable;
use everhook_journal::timers::{AGAIN_MAX, FIRED_MAX, Fired, Pending, Terms, pause};
use everhook_journal::{
    Clock, ExecutionId, Executions, Journal, Timer, Timers, Timestamp, failpoint, telemetry,
};
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};

use crate::{Driver, Invocation};

/// How often the sweep looks.
pub const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// How many timers of one shard are read at once.
const PAGE: i32 = 100;

/// How many timers are claimed and handed over together.
const GROUP_MAX: usize = 10;

/// How many groups of one shard are claimed or handed over at once. All shards are looked at side by side, so with 8 of
/// them 160 claims are in flight, which is enough for thousands of timers a second. With more of them, calls wait for the
/// processor time of a small function until they time out; then a timer may be claimed and not handed over until its claim ends.
const GROUPS_AT_ONCE: usize = 2;

/// After how long a timer is tried again that could not be handed over.
const NOT_HANDED_OVER: Duration = Duration::from_secs(10);

/// When a stalled execution is tried again.
const STALLED: Duration = Duration::from_secs(6 * 3600);

/// How far ahead to look for ends of claims that an earlier process left.
const CLAIMS_AHEAD: Duration = Duration::from_secs(3600);

/// How many timers of one shard are looked at for such claims.
const RELEASED_MAX: i32 = 1_000;

/// How many rows of an earlier version one look takes over from each shard.
const TAKEN_OVER_MAX: i32 = 100;

/// Finds timers that are due and claims them. It cannot write to the journal.
#[derive(Debug, Clone)]
pub struct Sweep {
    timers: Timers,
    executions: Executions,
    journal: Journal,
    clock: Clock,
    /// This process, where a data folder belongs to one: timers that an earlier process claimed count as not claimed.
    process: Option<Arc<str>>,
}

/// What is handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandOver {
    /// Timers that were claimed.
    Now(Invocation),
    /// Timers that will be due soon, for messages that arrive when they are.
    OnTime(Vec<Timer>),
}

/// The result of one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// How many timers were claimed and handed over.
    pub claimed: usize,
    /// For how many a message was sent that arrives on time.
    pub on_time: usize,
    /// How long the first of them had been due.
    pub oldest: Duration,
    /// How many shards could not be read.
    pub shards_failed: usize,
}

impl Swept {
    fn and(self, other: Self) -> Self {
        Self {
            claimed: self.claimed + other.claimed,
            on_time: self.on_time + other.on_time,
            oldest: self.oldest.max(other.oldest),
            shards_failed: self.shards_failed + other.shards_failed,
        }
    }
}

impl Sweep {
    /// A sweep over these timers.
    pub fn new(timers: Timers, executions: Executions, journal: Journal, clock: Clock) -> Self {
        Self { timers, executions, journal, clock, process: None }
    }

    /// A sweep in the only process that drives executions.
    #[must_use]
    pub fn in_process(self, process: Arc<str>) -> Self {
        Self { process: Some(process), ..self }
    }

    /// Claims due timers, and hands over each group as soon as it is claimed. For timers that are due within `ahead` it
    /// sends messages. `hand_over` says whether it succeeded; if not, the timers are tried again soon.
    /// Nothing is claimed after `until`.
    ///
    /// All shards are read at once, so that an error of one shard delays no other.
    pub async fn look<F: Future<Output = bool>>(
        &self,
        ahead: Duration,
        until: Timestamp,
        hand_over: impl Fn(HandOver) -> F,
    ) -> Swept {
        if !guard::holds(Guard::SweepComes) {
            return Swept::default();
        }
        let looks = self.timers.shards().all();
        let looks = looks.map(|shard| self.look_at(shard, ahead, until, &hand_over));
        let swept = join_all(looks).await.into_iter().fold(Swept::default(), Swept::and);
        telemetry::swept(swept.oldest, swept.claimed, swept.shards_failed);
        swept
    }

    async fn look_at<F: Future<Output = bool>>(
        &self,
        shard: u64,
        ahead: Duration,
        until: Timestamp,
        hand_over: &impl Fn(HandOver) -> F,
    ) -> Swept {
        let mut swept = Swept::default();
        let mut start = None;
        loop {
            let now = self.clock.now();
            // There would be no time left to hand over what is claimed now.
            if now >= until {
                return swept;
            }
            let page = self.timers.due(shard, now + ahead, PAGE, start.as_ref()).await;
            let (pending, is_more) = match page {
                Ok(page) => page,
                Err(error) => {
                    tracing::error!(shard, "could not look for timers in shard {shard}: {error}");
                    return swept.and(Swept { shards_failed: 1, ..Swept::default() });
                }
            };
            start = pending.last().map(|last| last.timer.clone());
            swept = swept.and(self.fire(pending, now, until, hand_over).await);
            if !is_more || start.is_none() {
                return swept;
            }
        }
    }

    async fn fire<F: Future<Output = bool>>(
        &self,
        pending: Vec<Pending>,
        now: Timestamp,
        until: Timestamp,
        hand_over: &impl Fn(HandOver) -> F,
    ) -> Swept {
        let (due, later): (Vec<_>, Vec<_>) =
            pending.into_iter().partition(|pending| self.at(pending) <= now);
        // A message claims its timer when it arrives. What was handed over before is claimed here, less and less often:
        // while the processor is out, neither timers nor messages pile up.
        let is_plain = |pending: &&Pending| pending.is_plain();
        let on_time = later.iter().filter(is_plain).map(|pending| pending.timer.clone());
        let on_time: Vec<_> = on_time.collect();
        let messages = stream::iter(on_time.chunks(GROUP_MAX).map(<[_]>::to_vec))
            .map(|timers| async move {
                let many = timers.len();
                let is_sent = hand_over(HandOver::OnTime(timers)).await;
                Swept { on_time: if is_sent { many } else { 0 }, ..Swept::default() }
            })
            .buffer_unordered(GROUPS_AT_ONCE)
            .fold(Swept::default(), |swept, group| ready(swept.and(group)));
        let groups: Vec<_> = due.chunks(GROUP_MAX).map(<[_]>::to_vec).collect();
        let claims = stream::iter(groups)
            .map(|group| self.claim_and_hand_over(group, until, hand_over))
            .buffer_unordered(GROUPS_AT_ONCE)
            .fold(Swept::default(), |swept, group| ready(swept.and(group)));
        let (messages, claims) = futures_util::future::join(messages, claims).await;
        messages.and(claims)
    }

    /// When a timer is to be handed over. One that an earlier process claimed counts as not claimed: that process has died.
    fn at(&self, pending: &Pending) -> Timestamp {
        match &self.process {
            Some(own) if pending.process.as_deref().is_some_and(|other| other != &**own) => {
                pending.timer.due
            }
            _ => pending.at(),
        }
    }

    async fn claim_and_hand_over<F: Future<Output = bool>>(
        &self,
        group: Vec<Pending>,
        until: Timestamp,
        hand_over: &impl Fn(HandOver) -> F,
    ) -> Swept {
        if self.clock.now() >= until {
            return Swept::default();
        }
        let claims = group.into_iter().map(|pending| self.claim_one(pending));
        let claimed: Vec<_> = join_all(claims).await.into_iter().flatten().collect();
        let (suspects, others): (Vec<_>, Vec<_>) =
            claimed.into_iter().partition(|(fired, _)| self.is_suspect(fired));
        let alone = suspects.into_iter().map(|suspect| vec![suspect]);
        let groups = std::iter::once(others).filter(|others| !others.is_empty()).chain(alone);
        let handed_over = groups.map(|group| self.hand_over(group, hand_over));
        join_all(handed_over).await.into_iter().fold(Swept::default(), Swept::and)
    }

    async fn hand_over<F: Future<Output = bool>>(
        &self,
        group: Vec<(Fired, Duration)>,
        hand_over: &impl Fn(HandOver) -> F,
    ) -> Swept {
        let oldest = group.iter().map(|(_, overdue)| *overdue).max().unwrap_or_default();
        let fired: Vec<_> = group.into_iter().map(|(fired, _)| fired).collect();
        let invocation = match &fired[..] {
            [one] if self.is_suspect(one) => Invocation::Alone(one.clone()),
            _ => Invocation::Due(fired.clone()),
        };
        if hand_over(HandOver::Now(invocation)).await {
            return Swept { claimed: fired.len(), oldest, ..Swept::default() };
        }
        join_all(fired.iter().map(|fired| self.give_back(fired))).await;
        Swept::default()
    }

    /// Whether an execution may have killed a process: one of its attempts has a claim and no outcome, or its timer was
    /// handed over without progress. On one machine the file of suspects says so instead.
    fn is_suspect(&self, fired: &Fired) -> bool {
        let is_suspect = fired.fired > 1 || fired.is_suspect;
        is_suspect && self.process.is_none() && guard::holds(Guard::SuspectsAlone)
    }

    /// Claims a timer. An error concerns this timer alone.
    async fn claim_one(&self, pending: Pending) -> Option<(Fired, Duration)> {
        let claimed = self.try_claim(&pending).await;
        claimed.unwrap_or_else(|error| {
            let id = &pending.timer.execution;
            tracing::warn!(execution.id = %id, "execution {id} is due, and {error}");
            None
        })
    }

    async fn try_claim(&self, pending: &Pending) -> Result<Option<(Fired, Duration)>, Unavailable> {
        let id = &pending.timer.execution;
        let now = self.clock.now();
        let counts = self.process.is_none();
        if counts && (pending.fired > 0 || pending.is_suspect) && !pending.is_stalled {
            let row = self.executions.get_current(id, now).await?;
            let (deaths, is_stalled) =
                row.map_or((0, false), |row| (row.deaths, row.stalled.is_some()));
            let reason = match (deaths, pending.fired) {
                (DEATHS_MAX.., _) => Some(died(deaths)),
                (_, FIRED_MAX..) => {
                    Some(format!("no progress after it was woken {FIRED_MAX} times"))
                }
                _ => None,
            };
            // Of several timers of a stalled execution each is put off.
            if is_stalled || reason.is_some() {
                self.stall(pending, reason.filter(|_| !is_stalled), now).await?;
                return Ok(None);
            }
        }
        let again_at = match pending.is_stalled && counts {
            true => self.stalled_until(id, now).await?,
            false => now + pause(pending.fired),
        };
        let Some(fired) = self.timers.claim(pending, again_at, self.process.as_deref()).await?
        else {
            return Ok(None);
        };
        failpoint::reached("timer.claimed");
        // Counted from the first due time, not from the last hand-over. A stalled one is late on purpose.
        let overdue = match pending.is_stalled {
            true => now.since(self.at(pending)),
            false => now.since(pending.timer.due),
        };
        Ok(Some((fired, overdue)))
    }

    /// Marks an execution as stalled, if it is not, and tries it again after [`STALLED`].
    async fn stall(
        &self,
        pending: &Pending,
        reason: Option<String>,
        now: Timestamp,
    ) -> Result<(), Unavailable> {
        let id = &pending.timer.execution;
        // Put off for long only once it is marked.
        let soon = now + pause(pending.fired);
        let Some(fired) = self.timers.claim(pending, soon, None).await? else { return Ok(()) };
        if let Some(reason) = reason
            && self
                .executions
                .stall(id, &reason, now, self.journal.lifetime(id).await?.expires_at)
                .await?
        {
            tracing::error!(execution.id = %id, "execution {id} is stalled: {reason}");
            telemetry::stalled();
        }
        let until = self.stalled_until(id, now).await?;
        self.timers.again(&fired, until, pending.fired, true).await.map(drop)
    }

    /// When a stalled execution is tried again: not after the time at which it ends because its history expires.
    async fn stalled_until(
        &self,
        id: &ExecutionId,
        now: Timestamp,
    ) -> Result<Timestamp, Unavailable> {
        let latest = self.journal.lifetime(id).await?.last_chance();
        Ok((now + STALLED).min(latest.max(now + AGAIN_MAX)))
    }

    /// Makes a claimed timer due again soon, as if it had not been claimed.
    async fn give_back(&self, fired: &Fired) {
        let at = self.clock.now() + NOT_HANDED_OVER;
        let again = self.timers.again(fired, at, fired.fired - 1, fired.is_stalled).await;
        // If this fails too, the claim ends by itself.
        if let Err(error) = again {
            let id = &fired.timer.execution;
            tracing::warn!(execution.id = %id, "a timer of execution {id} stays claimed: {error}");
        }
    }

    /// Hands over what an earlier process had claimed for calls that it was making when it ended; says how many.
    /// For the only process that drives executions: they need not wait until the claims end.
    pub async fn release(&self, wake: impl Fn(Invocation)) -> Result<usize, Unavailable> {
        let mut released = 0;
        let now = self.clock.now();
        for shard in self.timers.shards().all() {
            let (pending, _) =
                self.timers.due(shard, now + CLAIMS_AHEAD, RELEASED_MAX, None).await?;
            for pending in pending.into_iter().filter(|pending| pending.is_claim) {
                if let Some((fired, _)) = self.claim_one(pending).await {
                    released += 1;
                    wake(Invocation::Due(vec![fired]));
                }
            }
        }
        Ok(released)
    }

    /// Sets timers for what rows of an earlier version say of due times; says for how many, and whether there are more.
    pub async fn take_over(&self) -> Result<(usize, bool), Unavailable> {
        let (owed, is_more) = self.executions.owed(TAKEN_OVER_MAX).await?;
        let many = owed.len();
        for owed in owed {
            let timer = Timer { due: owed.due, execution: owed.execution.clone() };
            let expires_at = owed.expires_at;
            let terms = Terms { is_suspect: false, is_claim: true, is_stalled: false, expires_at };
            self.timers.set_if_missing(&timer, terms).await?;
            self.executions.take_over(&owed).await?;
        }
        Ok((many, is_more))
    }
}

/// The delay of a message that arrives when a timer is due, in whole seconds: never too early by a second's part.
pub fn delay_seconds(delay: Duration) -> i32 {
    i32::try_from(delay.as_millis().div_ceil(1000)).unwrap_or(i32::MAX)
}

/// Claims the timers that messages name. Timers that are gone, or were handed over before, are left out.
pub async fn claim_messages(driver: &Driver, timers: &[Timer]) -> Vec<Fired> {
    let claims = timers.iter().map(|timer| async move {
        let again_at = driver.clock.now() + pause(0);
        let process = driver.process.get().map(|process| &**process);
        match driver.timers.claim_unfired(timer, again_at, process).await {
            Ok(fired) => fired,
            Err(error) => {
                let id = &timer.execution;
                // The sweep's next look finds it.
                tracing::warn!(execution.id = %id, "execution {id} is due, and {error}");
                None
            }
        }
    });
    join_all(claims).await.into_iter().flatten().collect()
}

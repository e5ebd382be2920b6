//! Fires what is due: retries, waits and lost wake-ups are one mechanism.

use std::future::ready;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use everhook_journal::execution::{WATCHDOG, last_chance};
use everhook_journal::executions::{DEATHS_MAX, DUE_SHARDS, Due, Row};
use everhook_journal::guard::{self, Guard};
use everhook_journal::store::{BATCH_GET_MAX, Unavailable};
use everhook_journal::{Clock, ExecutionId, Executions, Timestamp, failpoint, telemetry};
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;

use crate::Invocation;

/// How often the sweep looks.
pub const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How many rows of one shard one look takes.
const DUE_ROWS_MAX: i32 = 100;

/// How many rows are claimed and handed over together.
const GROUP_ROWS_MAX: usize = 10;

/// How many groups of one shard are claimed or handed over at once. All shards are looked at side by side.
const GROUPS_AT_ONCE: usize = 2;

/// When a row is due again whose group could not be handed over.
const NOT_HANDED_OVER: Duration = Duration::from_secs(10);

/// How often an execution is fired without progress before it is stalled.
const REDRIVES_MAX: u64 = 20;

/// How many rows of one shard are looked at for claims to give back.
const RELEASED_ROWS_MAX: i32 = 1_000;

/// By when an execution is due at the latest that was being driven without a claim of its row.
const HANDED_OVER_FOR: Duration = Duration::from_secs(120);

/// The longest time between two tries at an execution that makes no progress.
const REDRIVE_DELAY_MAX: Duration = Duration::from_secs(3600);

/// When a stalled execution is tried again.
const STALLED: Duration = Duration::from_secs(6 * 3600);

/// Finds due rows and claims them. It cannot write to the journal.
#[derive(Debug, Clone)]
pub struct Sweep {
    executions: Executions,
    clock: Clock,
    /// Whether a claim without progress makes an execution suspect: where nothing else shows which ones a process
    /// was driving when it died.
    suspects_unmoved: bool,
}

/// What one look came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// How many executions were claimed and handed over.
    pub claimed: usize,
    /// How long the first of them had been due.
    pub oldest: Duration,
    /// How many shards could not be read.
    pub shards_failed: usize,
}

impl Swept {
    fn and(self, other: Self) -> Self {
        Self {
            claimed: self.claimed + other.claimed,
            oldest: self.oldest.max(other.oldest),
            shards_failed: self.shards_failed + other.shards_failed,
        }
    }
}

/// A row that was claimed.
#[derive(Debug)]
struct Claimed {
    id: ExecutionId,
    /// The obligation before the claim.
    before: Due,
    /// The obligation that the claim made.
    due: Due,
    deaths: u64,
    is_suspect: bool,
    overdue: Duration,
}

impl Sweep {
    /// A sweep over these rows.
    pub fn new(executions: Executions, clock: Clock) -> Self {
        Self { executions, clock, suspects_unmoved: false }
    }

    /// Suspects executions that made no progress since an earlier claim, and hands each of them over alone.
    #[must_use]
    pub fn suspecting_unmoved(self) -> Self {
        Self { suspects_unmoved: true, ..self }
    }

    /// Claims what is due now, for the processor to be woken for.
    pub async fn claim(&self) -> Vec<Invocation> {
        let claimed = Mutex::new(Vec::new());
        let until = self.clock.now() + WATCHDOG;
        self.look(until, |invocation| {
            claimed.lock().unwrap_or_else(PoisonError::into_inner).push(invocation);
            ready(true)
        })
        .await;
        claimed.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims what is due now, a few rows at a time, and hands each few over as soon as they are claimed.
    /// `hand_over` says whether it succeeded; if not, the claims are given back. No row is claimed after `until`.
    ///
    /// All shards are read side by side, so that the trouble of one shard delays no other.
    pub async fn look<F: Future<Output = bool>>(
        &self,
        until: Timestamp,
        hand_over: impl Fn(Invocation) -> F,
    ) -> Swept {
        if !guard::holds(Guard::SweepComes) {
            return Swept::default();
        }
        let shards = (0..DUE_SHARDS).map(|shard| self.look_at(shard, until, &hand_over));
        let swept = join_all(shards).await.into_iter().fold(Swept::default(), Swept::and);
        telemetry::swept(swept.oldest, swept.claimed, swept.shards_failed);
        swept
    }

    async fn look_at<F: Future<Output = bool>>(
        &self,
        shard: u64,
        until: Timestamp,
        hand_over: &impl Fn(Invocation) -> F,
    ) -> Swept {
        let rows = match self.due_rows(shard).await {
            Ok(rows) => rows,
            Err(error) => {
                tracing::error!(shard, "could not look for what is due in shard {shard}: {error}");
                return Swept { shards_failed: 1, ..Swept::default() };
            }
        };
        let groups: Vec<_> = rows.chunks(GROUP_ROWS_MAX).map(<[_]>::to_vec).collect();
        stream::iter(groups)
            .map(|rows| self.claim_and_hand_over(rows, until, hand_over))
            .buffer_unordered(GROUPS_AT_ONCE)
            .fold(Swept::default(), |swept, group| ready(swept.and(group)))
            .await
    }

    /// The rows of one shard that are due, the longest due first. They may lag behind: a claim of one that has moved
    /// meanwhile is refused.
    async fn due_rows(&self, shard: u64) -> Result<Vec<(Row, Due)>, Unavailable> {
        let now = self.clock.now();
        let ids = self.executions.due(shard, now, DUE_ROWS_MAX).await?;
        let rows = self.executions.rows(&ids).await?;
        // The index lags behind: only the row itself says what is due.
        let is_due = |due: &Due| due.at <= now || !guard::holds(Guard::RowSaysDue);
        let due = |row: Row| row.due.filter(is_due).map(|due| (row, due));
        Ok(rows.into_iter().filter_map(due).collect())
    }

    async fn claim_and_hand_over<F: Future<Output = bool>>(
        &self,
        rows: Vec<(Row, Due)>,
        until: Timestamp,
        hand_over: &impl Fn(Invocation) -> F,
    ) -> Swept {
        // What is claimed late could not be handed over any more.
        if self.clock.now() >= until {
            return Swept::default();
        }
        let claims = rows.into_iter().map(|(row, due)| self.claim_one(row, due));
        let claimed: Vec<_> = join_all(claims).await.into_iter().flatten().collect();
        let (suspects, others): (Vec<_>, Vec<_>) =
            claimed.into_iter().partition(|claimed| claimed.is_suspect);
        let alone = suspects.into_iter().map(|suspect| vec![suspect]);
        let groups = std::iter::once(others).filter(|others| !others.is_empty()).chain(alone);
        let handed_over = groups.map(|group| self.hand_over(group, hand_over));
        join_all(handed_over).await.into_iter().fold(Swept::default(), Swept::and)
    }

    async fn hand_over<F: Future<Output = bool>>(
        &self,
        group: Vec<Claimed>,
        hand_over: &impl Fn(Invocation) -> F,
    ) -> Swept {
        if hand_over(invocation(&group)).await {
            let oldest = group.iter().map(|claimed| claimed.overdue).max().unwrap_or_default();
            return Swept { claimed: group.len(), oldest, shards_failed: 0 };
        }
        join_all(group.into_iter().map(|claimed| self.give_back(claimed))).await;
        Swept::default()
    }

    /// Claims a row; one row's trouble stays its own.
    async fn claim_one(&self, row: Row, due: Due) -> Option<Claimed> {
        let claimed = self.try_claim(&row, due).await;
        claimed.unwrap_or_else(|error| {
            let id = &row.view.execution;
            tracing::warn!(execution.id = %id, "execution {id} is due, and {error}");
            None
        })
    }

    async fn try_claim(&self, row: &Row, due: Due) -> Result<Option<Claimed>, Unavailable> {
        let id = &row.view.execution;
        let now = self.clock.now();
        let is_parked = row.parked.is_some();
        let is_deadly = row.deaths >= DEATHS_MAX;
        // One that is parked already keeps its reason, and is tried again.
        if (due.redrives >= REDRIVES_MAX || is_deadly) && !is_parked {
            return self.stall(id, now).await.map(|()| None);
        }
        let lease = match guard::holds(Guard::LeaseOutlastsInvocation) {
            // If it takes another process with it, that must not be soon.
            true if is_deadly => REDRIVE_DELAY_MAX,
            true => lease(due.redrives),
            false => Duration::from_secs(5),
        };
        if !self.executions.claim(id, &due, now + lease).await? {
            return Ok(None);
        }
        failpoint::reached("sweep.claimed");
        let is_suspect = row.deaths > 0 || (self.suspects_unmoved && due.redrives > 0);
        Ok(Some(Claimed {
            id: id.clone(),
            before: due,
            due: Due {
                at: now + lease,
                generation: due.generation + 1,
                redrives: due.redrives + 1,
            },
            deaths: row.deaths,
            is_suspect: is_suspect && guard::holds(Guard::SuspectsAlone),
            // A stalled execution has a metric of its own, and is late on purpose.
            overdue: if is_parked { now.since(due.at) } else { overdue(&due, now) },
        }))
    }

    /// Marks an execution as stalled, if its row still says so when it is read as of the last write.
    async fn stall(&self, id: &ExecutionId, now: Timestamp) -> Result<(), Unavailable> {
        let Some(row) = self.executions.get(id).await? else { return Ok(()) };
        let Some(due) = row.due.filter(|due| due.at <= now && row.parked.is_none()) else {
            return Ok(());
        };
        let reason = match (row.deaths, due.redrives) {
            (DEATHS_MAX.., _) => died(row.deaths),
            (_, REDRIVES_MAX..) => format!("no progress after {REDRIVES_MAX} tries"),
            _ => return Ok(()),
        };
        // Not beyond the time at which it ends because its history expires.
        let latest = last_chance(row.view.created_at, row.view.expires_at);
        let until = (now + STALLED).min(latest.max(now + REDRIVE_DELAY_MAX));
        if self.executions.park(id, &due, &reason, until).await? {
            tracing::error!(execution.id = %id, "execution {id} is stalled: {reason}");
            telemetry::stalled();
        }
        Ok(())
    }

    /// Makes a claimed row due again soon, as if it had not been claimed.
    async fn give_back(&self, claimed: Claimed) {
        let Claimed { id, before, due, .. } = &claimed;
        let at = self.clock.now() + NOT_HANDED_OVER;
        // If this fails too, the claim was for a time.
        if let Err(error) = self.executions.release(id, due, at, before.redrives).await {
            tracing::warn!(execution.id = %id, "could not give back the claim of execution {id}: {error}");
        }
    }
}

impl Sweep {
    /// Records that an earlier process died while it drove these executions, and makes them due:
    /// from now on each of them is handed over alone. Returns those that had ended.
    pub async fn count_deaths(
        &self,
        driven: &[ExecutionId],
    ) -> Result<Vec<ExecutionId>, Unavailable> {
        let mut ended = Vec::new();
        for id in driven {
            // Without a row, its stream record leads to one.
            let Some(row) = self.executions.get(id).await? else { continue };
            match row.due {
                Some(due) => self.count_death(&row, due).await?,
                None => ended.push(id.clone()),
            }
        }
        Ok(ended)
    }

    /// Makes due what an earlier process was at when it ended: what it had claimed, and what is due soon anyway
    /// because it had just been received or handed over. Says how many these are.
    ///
    /// For a server that knows that no other process drives executions: they need not wait until the claims end.
    pub async fn release(&self) -> Result<usize, Unavailable> {
        let mut released = 0;
        let now = self.clock.now();
        for shard in 0..DUE_SHARDS {
            let ids =
                self.executions.due(shard, now + REDRIVE_DELAY_MAX, RELEASED_ROWS_MAX).await?;
            for ids in ids.chunks(BATCH_GET_MAX) {
                for row in self.executions.rows(ids).await? {
                    let Some(due) = row.due.filter(|due| due.at > now) else { continue };
                    // A webhook is handed over at once, and a call keeps the sweep away: both leave such a due time.
                    let is_soon = due.redrives > 0 || due.at < now + HANDED_OVER_FOR;
                    if is_soon && row.parked.is_none() {
                        let id = &row.view.execution;
                        released += usize::from(self.executions.release(id, &due, now, 0).await?);
                    }
                }
            }
        }
        Ok(released)
    }

    async fn count_death(&self, row: &Row, due: Due) -> Result<(), Unavailable> {
        let (id, now) = (&row.view.execution, self.clock.now());
        let deaths = row.deaths + 1;
        self.executions.count_deaths(id, deaths).await?;
        tracing::warn!(execution.id = %id, deaths, "a process died while it drove execution {id}");
        // One that is stalled is tried when it is its time.
        if row.parked.is_none() || deaths < DEATHS_MAX {
            self.executions.release(id, &due, now, due.redrives).await?;
        }
        Ok(())
    }
}

/// Why an execution is stalled that took its processes with it.
fn died(deaths: u64) -> String {
    format!(
        "the process died {deaths} times while it drove this execution; look for what its steps do with this \
         webhook, then redrive or cancel it"
    )
}

/// The invocation for one group.
fn invocation(group: &[Claimed]) -> Invocation {
    match group {
        [one] if one.is_suspect => {
            Invocation::Alone { execution: one.id.clone(), deaths: one.deaths }
        }
        _ => Invocation::Due(group.iter().map(|claimed| claimed.id.clone()).collect()),
    }
}

/// Longer than an invocation may take, and longer after each try without progress.
fn lease(redrives: u64) -> Duration {
    let doublings = u32::try_from(redrives.min(16)).unwrap_or(16);
    (WATCHDOG * 2u32.pow(doublings)).min(REDRIVE_DELAY_MAX)
}

/// How long an execution has been due. Each claim moves the due time on,
/// so the claims that brought no progress count with their leases.
fn overdue(due: &Due, now: Timestamp) -> Duration {
    let claims = due.redrives.min(REDRIVES_MAX);
    now.since(due.at) + (0..claims).map(lease).sum::<Duration>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lease_doubles_up_to_an_hour() {
        let seconds = |redrives| lease(redrives).as_secs();
        assert_eq!(
            [seconds(0), seconds(1), seconds(5), seconds(6), seconds(20)],
            [60, 120, 1920, 3600, 3600]
        );
    }

    #[test]
    fn claims_without_progress_count_as_due() {
        let due = |redrives| Due { at: Timestamp::from_millis(0), generation: 1, redrives };
        let overdue = |redrives| overdue(&due(redrives), Timestamp::from_millis(2_000)).as_secs();
        assert_eq!([overdue(0), overdue(1), overdue(3)], [2, 62, 422]);
    }
}

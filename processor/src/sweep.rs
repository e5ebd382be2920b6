//! Fires what is due: retries, waits and lost wake-ups are one mechanism.

use std::time::Duration;

use everhook_journal::execution::WATCHDOG;
use everhook_journal::executions::{DUE_SHARDS, Due};
use everhook_journal::guard::{self, Guard};
use everhook_journal::store::{BATCH_GET_MAX, Unavailable};
use everhook_journal::{Clock, ExecutionId, Executions, Timestamp, failpoint, telemetry};

/// How often the sweep looks.
pub const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How many rows of one shard one look takes.
const DUE_ROWS_MAX: i32 = 100;

/// How many rows are looked at before those claimed are handed over.
const HANDED_OVER: usize = 10;

/// How often an execution is fired without progress before somebody should look.
const REDRIVES_MAX: u64 = 20;

/// How often a claim is given back: an execution that takes its process with it each time is left alone in the end.
const RELEASES_MAX: u64 = 5;

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
}

impl Sweep {
    /// A sweep over these rows.
    pub fn new(executions: Executions, clock: Clock) -> Self {
        Self { executions, clock }
    }

    /// Claims what is due now, for the processor to be woken for.
    pub async fn claim(&self) -> Result<Vec<ExecutionId>, Unavailable> {
        let mut claimed = Vec::new();
        self.claim_each(|some| claimed.extend(some)).await?;
        Ok(claimed)
    }

    /// Claims what is due now and hands it over a few at a time:
    /// if much is due, the first are on their way long before the last is claimed.
    pub async fn claim_each(
        &self,
        mut hand_over: impl FnMut(Vec<ExecutionId>),
    ) -> Result<(), Unavailable> {
        if !guard::holds(Guard::SweepComes) {
            return Ok(());
        }
        let (mut oldest, mut count) = (Duration::ZERO, 0);
        for shard in 0..DUE_SHARDS {
            let due = self.executions.due(shard, self.clock.now(), DUE_ROWS_MAX).await?;
            for due in due.chunks(HANDED_OVER) {
                let (claimed, overdue) = self.claim_some(due).await;
                oldest = oldest.max(overdue);
                count += claimed.len();
                if !claimed.is_empty() {
                    hand_over(claimed);
                }
            }
        }
        telemetry::swept(oldest, count);
        Ok(())
    }

    /// Makes due what a process claimed that is gone, and says how many these are.
    /// For whoever knows that nobody else drives executions: they need not wait until the claims end.
    pub async fn release(&self) -> Result<usize, Unavailable> {
        let mut released = 0;
        let now = self.clock.now();
        for shard in 0..DUE_SHARDS {
            let claimed = now + lease(RELEASES_MAX);
            let ids = self.executions.due(shard, claimed, RELEASED_ROWS_MAX).await?;
            for ids in ids.chunks(BATCH_GET_MAX) {
                for row in self.executions.rows(ids).await? {
                    let Some(due) = row.due.filter(|due| due.at > now) else { continue };
                    let is_claimed = (1..=RELEASES_MAX).contains(&due.redrives);
                    // A webhook is handed over at once, and a call keeps the sweep away: both leave such a due time.
                    let is_handed_over = due.redrives == 0 && due.at < now + HANDED_OVER_FOR;
                    if (is_claimed || is_handed_over) && row.parked.is_none() {
                        let id = &row.view.execution;
                        released += usize::from(self.executions.release(id, &due, now).await?);
                    }
                }
            }
        }
        Ok(released)
    }

    /// Those of them that are claimed, and how long the first of these has been due.
    async fn claim_some(&self, due: &[ExecutionId]) -> (Vec<ExecutionId>, Duration) {
        let (mut claimed, mut oldest) = (Vec::new(), Duration::ZERO);
        for id in due {
            match self.claim_one(id).await {
                Ok(Some(overdue)) => {
                    oldest = oldest.max(overdue);
                    claimed.push(id.clone());
                }
                Ok(None) => {}
                // One row's trouble stays its own: those behind it are due as well.
                Err(error) => {
                    tracing::warn!(execution.id = %id, "execution {id} is due, and {error}");
                }
            }
        }
        (claimed, oldest)
    }

    /// How long the execution has been due, if it is claimed.
    async fn claim_one(&self, id: &ExecutionId) -> Result<Option<Duration>, Unavailable> {
        let now = self.clock.now();
        // The index lags behind: only the row itself says what is due.
        let Some(row) = self.executions.get(id).await? else { return Ok(None) };
        let is_parked = row.parked.is_some();
        let Some(due) = row.due.filter(|due| due.at <= now || !guard::holds(Guard::RowSaysDue))
        else {
            return Ok(None);
        };
        // One that is parked already keeps its reason, and is tried again.
        if due.redrives >= REDRIVES_MAX && !is_parked {
            tracing::error!(execution.id = %id, "execution {id} is stalled");
            telemetry::stalled();
            let reason = format!("no progress after {REDRIVES_MAX} tries");
            self.executions.park(id, &due, &reason, now + STALLED).await?;
            return Ok(None);
        }
        let lease = match guard::holds(Guard::LeaseOutlastsInvocation) {
            true => lease(due.redrives),
            false => Duration::from_secs(5),
        };
        let claimed = self.executions.claim(id, &due, now + lease).await?;
        failpoint::reached("sweep.claimed");
        // A stalled execution has a metric of its own, and is late on purpose.
        Ok(claimed.then(|| if is_parked { now.since(due.at) } else { overdue(&due, now) }))
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

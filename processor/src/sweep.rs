//! Fires what is due: retries, waits and lost wake-ups are one mechanism.

use std::time::Duration;

use everhook_journal::execution::WATCHDOG;
use everhook_journal::executions::{DUE_SHARDS, Due};
use everhook_journal::store::Unavailable;
use everhook_journal::{Clock, ExecutionId, Executions};

/// How often the sweep looks.
pub const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How many rows of one shard one look takes.
const DUE_ROWS_MAX: i32 = 100;

/// How often an execution is fired without progress before somebody should look.
const REDRIVES_MAX: u64 = 20;

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
        for shard in 0..DUE_SHARDS {
            for id in self.executions.due(shard, self.clock.now(), DUE_ROWS_MAX).await? {
                match self.claim_one(&id).await {
                    Ok(true) => claimed.push(id),
                    Ok(false) => {}
                    // One row's trouble stays its own: those behind it are due as well.
                    Err(error) => {
                        tracing::warn!(execution.id = %id, "execution {id} is due, and {error}");
                    }
                }
            }
        }
        Ok(claimed)
    }

    async fn claim_one(&self, id: &ExecutionId) -> Result<bool, Unavailable> {
        let now = self.clock.now();
        // The index lags behind: only the row itself says what is due.
        let Some(due) = self.executions.get(id).await?.and_then(|row| row.due) else {
            return Ok(false);
        };
        if due.at > now {
            return Ok(false);
        }
        if due.redrives == REDRIVES_MAX {
            tracing::error!(execution.id = %id, "execution {id} is stalled");
            let reason = format!("no progress after {REDRIVES_MAX} tries");
            self.executions.park(id, &due, &reason, now + STALLED).await?;
            return Ok(false);
        }
        self.executions.claim(id, &due, now + lease(&due)).await
    }
}

/// Longer than an invocation may take, and longer after each try without progress.
fn lease(due: &Due) -> Duration {
    let doublings = u32::try_from(due.redrives.min(16)).unwrap_or(16);
    (WATCHDOG * 2u32.pow(doublings)).min(REDRIVE_DELAY_MAX)
}

#[cfg(test)]
mod tests {
    use everhook_journal::Timestamp;

    use super::*;

    #[test]
    fn the_lease_doubles_up_to_an_hour() {
        let lease = |redrives| {
            lease(&Due { at: Timestamp::from_millis(0), generation: 1, redrives }).as_secs()
        };
        assert_eq!(
            [lease(0), lease(1), lease(5), lease(6), lease(20)],
            [60, 120, 1920, 3600, 3600]
        );
    }
}

//! Timers of one machine: each fires when its time has come, and nothing is looked for in between.
//!
//! What is due soon is known in memory: whoever sets a timer in this process adds it, and a look each minute adds what
//! was set before. The table has the last word: a timer is claimed there before it is handed over.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::ready;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use everhook_journal::executions::{DEATHS_MAX, died};
use everhook_journal::{Clock, ExecutionId, Timer, Timestamp};
use everhook_processor::advance::unknown_lane;
use everhook_processor::audit::HORIZON;
use everhook_processor::sweep::{HandOver, SWEEP_EVERY, claim_messages};
use everhook_processor::{Cause, Invocation, Wake};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::{Parts, alone};

/// How far ahead timers are kept in memory: a look finds the rest.
const AHEAD: Duration = Duration::from_secs(120);

/// How many timers are kept in memory at most.
const SCHEDULED_MAX: usize = 200_000;

/// How many timers are claimed together.
const CLAIMED_TOGETHER: usize = 256;

/// How soon the start's work is tried again where the tables did not answer.
const START_AGAIN: Duration = Duration::from_secs(1);

/// The timers that are soon due. A clone is the same.
#[derive(Debug, Clone, Default)]
pub struct Schedule(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    timers: Mutex<BinaryHeap<Reverse<Timer>>>,
    earlier: Notify,
}

impl Schedule {
    /// Adds a timer, unless its time is far away.
    pub(super) fn add(&self, timer: Timer, now: Timestamp) {
        if timer.due > now + AHEAD {
            return;
        }
        let mut timers = self.timers();
        if timers.len() >= SCHEDULED_MAX {
            return;
        }
        let is_first = timers.peek().is_none_or(|Reverse(first)| timer < *first);
        timers.push(Reverse(timer));
        drop(timers);
        if is_first {
            self.0.earlier.notify_one();
        }
    }

    /// Takes timers whose time has come, the earliest first, and says when the next one is due.
    fn take(&self, now: Timestamp) -> (Vec<Timer>, Option<Timestamp>) {
        let mut timers = self.timers();
        let mut due: Vec<Timer> = Vec::new();
        while let Some(Reverse(first)) = timers.peek() {
            if first.due > now || due.len() >= CLAIMED_TOGETHER {
                return (due, Some(first.due));
            }
            let Some(Reverse(first)) = timers.pop() else { break };
            // It may have been added by its writer and by a look.
            if due.last() != Some(&first) {
                due.push(first);
            }
        }
        (due, None)
    }

    fn timers(&self) -> MutexGuard<'_, BinaryHeap<Reverse<Timer>>> {
        self.0.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fires timers and looks after what would be forgotten, until `stopped` turns true. First what an earlier process was
/// at when it ended goes on: `is_alone` says that no other process drives executions, and `suspects` which ones may have
/// killed one. Nothing was accepted by this process before it `began`.
pub(super) async fn run(
    parts: Parts,
    is_alone: bool,
    began: Timestamp,
    suspects: Vec<(ExecutionId, u64)>,
    mut stopped: watch::Receiver<bool>,
) {
    let (send, waiting) = mpsc::unbounded_channel();
    parts.supervisor.driver().alone.set(send.clone()).ok();
    let turns = tokio::spawn(alone::take_turns(parts.clone(), waiting, stopped.clone()));
    let mut suspects = Some(suspects);
    let mut is_started = false;
    // By a clock that nothing sets: a time of day that is set back would put the look off.
    let mut look_at = Instant::now();
    while !*stopped.borrow() {
        let now = Clock::System.now();
        let (due, next) = parts.schedule.take(now);
        if !due.is_empty() {
            fire(&parts, due).await;
            continue;
        }
        if look_at <= Instant::now() {
            if !is_started {
                is_started = go_on(&parts, is_alone.then_some(began), &mut suspects, &send).await;
            }
            look(&parts).await;
            look_at = Instant::now() + if is_started { SWEEP_EVERY } else { START_AGAIN };
            continue;
        }
        let next = next.map_or(look_at, |next| look_at.min(Instant::now() + next.since(now)));
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            () = parts.schedule.0.earlier.notified() => {}
            _ = stopped.wait_for(|stop| *stop) => break,
        }
    }
    turns.await.ok();
}

/// Claims timers whose time has come, and hands them over.
async fn fire(parts: &Parts, due: Vec<Timer>) {
    for fired in claim_messages(parts.supervisor.driver(), &due).await {
        parts.supervisor.hand_over(Wake::fired(fired, Cause::Due), &unknown_lane());
    }
}

/// Looks for what is due, puts what will be soon on the schedule, and looks after what would be forgotten.
async fn look(parts: &Parts) {
    let until = Clock::System.now() + SWEEP_EVERY;
    fire_due(parts, until).await;
    if let Err(error) = parts.audit.run(until).await {
        tracing::warn!("the audit could not go on: {error}");
    }
}

async fn fire_due(parts: &Parts, until: Timestamp) {
    let hand_over = |handed| {
        match handed {
            HandOver::OnTime(timers) => {
                let now = Clock::System.now();
                timers.into_iter().for_each(|timer| parts.schedule.add(timer, now));
            }
            HandOver::Now(invocation) => wake(parts, invocation),
        }
        ready(true)
    };
    parts.sweep.look(AHEAD, until, hand_over).await;
}

fn wake(parts: &Parts, invocation: Invocation) {
    match invocation {
        Invocation::Due(fired) => {
            for fired in fired {
                parts.supervisor.hand_over(Wake::fired(fired, Cause::Due), &unknown_lane());
            }
        }
        Invocation::Alone(fired) => {
            if let Some(alone) = parts.supervisor.driver().alone.get() {
                alone.send(Wake::fired(fired, Cause::Alone)).ok();
            }
        }
        _ => {}
    }
}

/// Makes what an earlier process was at when it ended go on; says whether that could be done. `began` is when this
/// process did, if it alone drives executions.
async fn go_on(
    parts: &Parts,
    began: Option<Timestamp>,
    suspects: &mut Option<Vec<(ExecutionId, u64)>>,
    alone: &mpsc::UnboundedSender<Wake>,
) -> bool {
    for (id, deaths) in suspects.take().into_iter().flatten() {
        match deaths {
            DEATHS_MAX.. => mark_deadly(parts, &id, deaths).await,
            _ => drop(alone.send(Wake::new(id, Cause::Alone))),
        }
    }
    let until = Clock::System.now() + SWEEP_EVERY;
    let taken_over = async {
        while parts.sweep.take_over().await?.1 {}
        // The data folder is this process's alone: what was recorded before it began is driven by no other. What it
        // is recording itself may appear later than its time says, and is for the passes to come.
        let horizon = began.unwrap_or_else(|| Clock::System.now() - HORIZON);
        let audited = parts.audit.run_up_to(horizon, until).await?;
        let released = match began.is_some() {
            true => parts.sweep.release(|invocation| wake(parts, invocation)).await?,
            false => 0,
        };
        Ok::<_, everhook_journal::store::Unavailable>(audited.timers + released)
    };
    match taken_over.await {
        Ok(0) => true,
        Ok(count) => {
            tracing::info!(count, "{count} interrupted executions continue");
            true
        }
        Err(error) => {
            tracing::warn!("could not look for what was interrupted: {error}");
            false
        }
    }
}

/// Marks an execution that has killed too many processes. An operator makes it go on, or its history ends.
async fn mark_deadly(parts: &Parts, id: &ExecutionId, deaths: u64) {
    let reason = died(deaths);
    let marked = async {
        let expires_at = parts.ingest.journal.lifetime(id).await?.expires_at;
        parts.ingest.executions.stall(id, &reason, Clock::System.now(), expires_at).await
    };
    match marked.await {
        Ok(true) => tracing::error!(execution.id = %id, "execution {id} is stalled: {reason}"),
        Ok(false) => {}
        Err(error) => {
            tracing::warn!(execution.id = %id, "execution {id} could not be marked: {error}");
        }
    }
}

//! Drives what may have killed a process: last, and one execution at a time.

use std::time::Duration;

use everhook_journal::executions::DEATHS_MAX;
use everhook_journal::{Clock, ExecutionId};
use everhook_processor::{Suspects, Wake, drive_alone};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::Parts;

/// How long the first suspect waits at most for everything else to come to rest, and each one after it.
const LAST: Duration = Duration::from_secs(2);
const AFTER_THAT: Duration = Duration::from_millis(100);

/// How many deaths make an execution have the process for itself until it rests. Of one death many are suspect,
/// and most of them only ran a step of a user's own that takes long: these are begun one after the other.
const SURELY_ALONE: u64 = 2;
const FIRST_TIME: Duration = Duration::from_millis(300);

/// How long a drive alone may take, and how long it is waited for.
const DRIVEN_WITHIN: Duration = Duration::from_secs(60);

/// How often it is looked whether something rests.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Drives each of these executions in its turn: those with fewer deaths first.
/// If the process dies, nothing else was being driven, so only the guilty execution is suspect again.
pub(super) async fn take_turns(
    parts: Parts,
    mut waiting: mpsc::UnboundedReceiver<Wake>,
    mut stopped: watch::Receiver<bool>,
) {
    let suspects = parts.supervisor.driver().suspects.clone();
    let mut in_turn = Vec::new();
    let mut resting = JoinSet::new();
    let mut patience = LAST;
    loop {
        if in_turn.is_empty() {
            tokio::select! {
                next = waiting.recv() => match next {
                    Some(next) => in_turn.push(next),
                    None => break,
                },
                _ = stopped.wait_for(|stop| *stop) => break,
            }
        }
        while let Ok(next) = waiting.try_recv() {
            in_turn.push(next);
        }
        let next =
            (0..in_turn.len()).min_by_key(|place| suspects.deaths(&in_turn[*place].execution));
        let Some(next) = next.map(|place| in_turn.remove(place)) else { continue };
        let (execution, deaths) = (next.execution.clone(), suspects.deaths(&next.execution));
        if *stopped.borrow() {
            break;
        }
        if deaths >= DEATHS_MAX && !may_go_on(&parts, &execution).await {
            continue;
        }
        until(|| suspects.is_quiet(), patience).await;
        patience = AFTER_THAT;
        let supervisor = parts.supervisor.clone();
        let drive = tokio::spawn(async move {
            let deadline = Clock::System.now() + DRIVEN_WITHIN;
            drive_alone(&supervisor, next, deadline).await;
        });
        let alone = if deaths < SURELY_ALONE { FIRST_TIME } else { DRIVEN_WITHIN };
        rests(&suspects, &execution, &drive, alone).await;
        while resting.try_join_next().is_some() {}
        resting.spawn(drive);
    }
    while resting.join_next().await.is_some() {}
}

/// Whether an execution that has killed too many processes is driven: once an operator has taken its mark away, or to
/// end it before its history expires.
async fn may_go_on(parts: &Parts, id: &ExecutionId) -> bool {
    let executions = &parts.ingest.executions;
    match executions.get(id).await {
        Ok(row) if row.as_ref().is_none_or(|row| row.stalled.is_none()) => true,
        Ok(_) => match parts.ingest.execution(id).await {
            Ok(execution) => execution.last_chance() <= Clock::System.now(),
            Err(_) => false,
        },
        // Its timer fires again.
        Err(_) => false,
    }
}

/// Waits until a drive has ended, or only waits for calls of built-in steps.
async fn rests(
    suspects: &Suspects,
    execution: &ExecutionId,
    drive: &JoinHandle<()>,
    at_most: Duration,
) {
    // It is not marked yet when it has just been spawned.
    tokio::time::sleep(LOOK_EVERY).await;
    let rests = || drive.is_finished() || !suspects.is_driven(execution);
    let mut calm = 0;
    let began = tokio::time::Instant::now();
    while calm < 3 && !drive.is_finished() && began.elapsed() < at_most {
        calm = if rests() { calm + 1 } else { 0 };
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits until this holds, for so long at most.
async fn until(holds: impl Fn() -> bool, patience: Duration) {
    let began = tokio::time::Instant::now();
    while !holds() && began.elapsed() < patience {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

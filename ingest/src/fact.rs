//! What somebody outside adds to a history: an answer that a step waits for, an operator's word.

use std::time::Duration;

use everhook_journal::event::Events;
use everhook_journal::execution::Refusal;
use everhook_journal::guard::{self, Guard};
use everhook_journal::store::Unavailable;
use everhook_journal::table::{AppendError, Draft, ReadError};
use everhook_journal::timers::{Pending, Terms};
use everhook_journal::{
    Command, Execution, ExecutionId, Sequence, Timer, Timestamp, View, failpoint, id, telemetry,
};

use crate::answer::Answer;
use crate::receive::Ingest;

/// How often a fact is decided again because somebody else appended first.
const CONFLICTS_MAX: usize = 16;

/// When an execution that is about to be redriven is looked at, should the call die before it has redriven it.
const REDRIVEN_SOON: Duration = Duration::from_secs(30);

/// Why a fact was not added.
#[derive(Debug, thiserror::Error)]
pub enum FactError {
    /// There is no such execution, or it has expired.
    #[error("there is no such execution, or its history has expired")]
    Absent,
    /// It does not fit where the execution stands.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// Its history cannot be read, now or later.
    #[error("its history is damaged ({0}); `everhook verify` says where")]
    Damaged(String),
    /// What it is recorded in did not answer.
    #[error("it could not be recorded ({0}); send it again")]
    Unavailable(String),
}

impl From<Unavailable> for FactError {
    fn from(error: Unavailable) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<FactError> for Answer {
    fn from(error: FactError) -> Self {
        match error {
            FactError::Absent => Self::error(404, error.to_string()),
            FactError::Refused(_) => Self::error(409, error.to_string()),
            FactError::Damaged(reason) => {
                tracing::error!(reason, "a fact meets a damaged history: {reason}");
                Self::error(
                    500,
                    "the execution's history is damaged; an operator's `everhook verify` says where",
                )
            }
            FactError::Unavailable(reason) => {
                tracing::error!(reason, "a fact could not be recorded: {reason}");
                Self::error(503, "it could not be recorded; send it again")
                    .with_header("retry-after", "5")
            }
        }
    }
}

impl Ingest {
    /// Appends what this decides on the latest state, then sets a timer for now: only then it is acknowledged.
    pub async fn add(
        &self,
        id: &ExecutionId,
        decide: impl Fn(&Execution) -> Result<Command, Refusal>,
    ) -> Result<Execution, FactError> {
        let execution = self.execution(id).await?;
        self.add_to(id, execution, decide).await
    }

    /// Like [`Ingest::add`], to an execution that has just been read.
    pub(crate) async fn add_to(
        &self,
        id: &ExecutionId,
        mut execution: Execution,
        decide: impl Fn(&Execution) -> Result<Command, Refusal>,
    ) -> Result<Execution, FactError> {
        for _ in 0..CONFLICTS_MAX {
            let event = execution.decide(decide(&execution)?)?;
            let rested_until = execution.due_at().map(|due| due.min(execution.last_chance()));
            // One that had ended has no timer, and the audit has passed it.
            let had_ended = execution.status.is_terminal();
            if had_ended && guard::holds(Guard::TimerBeforeRedrive) {
                self.wake(id, &execution, REDRIVEN_SOON).await?;
            }
            let at = self.clock.now();
            let draft = Draft {
                after: execution.head(),
                events: Events::from(event),
                at,
                expires_at: execution.webhook.expires_at,
                until: None,
                name: id::fresh(),
            };
            match self.journal.append(id, draft).await {
                Ok(recorded) => {
                    failpoint::reached("fact.appended");
                    for recorded in &recorded {
                        let (name, sequence) = (recorded.event.name(), recorded.sequence);
                        tracing::info!(
                            execution.id = %id, event.sequence = sequence.get(), event.name = name,
                            "execution {id}: {sequence} {name}"
                        );
                        execution
                            .apply(recorded)
                            .map_err(|error| FactError::Unavailable(error.to_string()))?;
                    }
                    // Of all facts only an operator's word ends an execution.
                    if execution.status.is_terminal() {
                        telemetry::execution("cancelled", at.since(execution.created_at));
                    }
                    if guard::holds(Guard::TimerBeforeAnswer) {
                        let waited = self.waited_for(id, &execution, rested_until).await;
                        self.settle(id, &execution).await?;
                        self.withdraw(waited).await;
                    }
                    if had_ended {
                        self.executions.reopen(&View::of(id, &execution)).await?;
                    }
                    return Ok(execution);
                }
                Err(AppendError::Conflict { .. }) => execution = self.execution(id).await?,
                Err(error) => return Err(FactError::Unavailable(error.to_string())),
            }
        }
        Err(FactError::Unavailable("somebody else keeps moving it".into()))
    }

    /// Sees to it that an execution goes on from what was added to it, or is shown as ended.
    pub async fn settle(&self, id: &ExecutionId, execution: &Execution) -> Result<(), FactError> {
        if execution.status.is_terminal() {
            self.executions.show(&View::of(id, execution)).await?;
            return Ok(());
        }
        self.wake(id, execution, Duration::ZERO).await
    }

    /// The timer of what an execution waited for before this was added to it, if it waits for that no more.
    /// It is read before the next one is set: what a driver sets at the same key from then on is another write.
    async fn waited_for(
        &self,
        id: &ExecutionId,
        execution: &Execution,
        rested_until: Option<Timestamp>,
    ) -> Option<Pending> {
        let due = rested_until.filter(|rested| execution.due_at() != Some(*rested))?;
        self.timers.get(&Timer { due, execution: id.clone() }).await.ok().flatten()
    }

    /// Deletes it. One that stays wakes the execution in vain, which costs a write more.
    async fn withdraw(&self, waited: Option<Pending>) {
        let Some(waited) = waited else { return };
        if let Err(error) = self.timers.withdraw(&waited).await {
            let id = &waited.timer.execution;
            tracing::warn!(execution.id = %id, "a timer of execution {id} stays: {error}");
        }
    }

    /// Sets a timer.
    async fn wake(
        &self,
        id: &ExecutionId,
        execution: &Execution,
        after: Duration,
    ) -> Result<(), FactError> {
        let timer = Timer { due: self.clock.now() + after, execution: id.clone() };
        let expires_at = execution.webhook.expires_at;
        let terms = Terms { is_suspect: false, is_claim: false, is_stalled: false, expires_at };
        Ok(self.timers.set(&timer, terms).await?)
    }

    /// The state of an execution, as of its last append.
    pub async fn execution(&self, id: &ExecutionId) -> Result<Execution, FactError> {
        let history = match self.journal.read(id, Sequence::START).await {
            Ok(history) => history,
            Err(ReadError::Unavailable(error)) => return Err(error.into()),
            Err(error) => return Err(FactError::Damaged(error.to_string())),
        };
        match Execution::fold(&history) {
            Ok(Some(execution)) => Ok(execution),
            Ok(None) => Err(FactError::Absent),
            Err(error) => Err(FactError::Damaged(error.to_string())),
        }
    }
}

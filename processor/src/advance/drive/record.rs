//! What is decided, and how it comes into the journal: together. Where another driver was first, outcomes are decided
//! again, and everything else anew.

use everhook_journal::event::Events;
use everhook_journal::guard::{self, Guard};
use everhook_journal::table::{AppendError, Draft};
use everhook_journal::{Command, Event, Recorded, id};

use super::super::{read, tell, words};
use super::{Advanced, Decided, Drive, Flushed, Trouble};
use crate::alone::gets_somewhere;

/// How often an outcome is decided again because another driver appended first.
const CONFLICTS_MAX: usize = 8;

/// Up to here, events wait to be appended together; DynamoDB's items end at 400 KB.
const TOGETHER_BYTES_MAX: usize = 128 * 1024;

/// How many events wait to be appended together.
const TOGETHER_EVENTS_MAX: usize = 100;

impl Drive<'_> {
    /// Appends what is decided, although this drive has met trouble: it is known.
    pub(in super::super) async fn save(&mut self) {
        if self.has_decided()
            && let Err(Trouble::Outage(error)) = self.flush().await
        {
            tracing::warn!(execution.id = %self.id(), "an outcome was not recorded: {error}");
        }
    }

    /// Whether something is decided and not yet appended.
    pub(super) fn has_decided(&self) -> bool {
        !self.decided.is_empty()
    }

    /// Whether one more event of about so many bytes fits into an append with what is decided.
    pub(super) fn has_room_for(&self, bytes: usize) -> bool {
        let decided: usize = self.decided.iter().map(|decided| decided.bytes).sum();
        let fits =
            decided + bytes <= TOGETHER_BYTES_MAX && self.decided.len() < TOGETHER_EVENTS_MAX;
        !self.has_decided() || fits || !guard::holds(Guard::TogetherFits)
    }

    /// Decides a command on the state we know; it is appended with the next flush.
    pub(super) fn decide(&mut self, command: Command, bytes: usize) -> Result<(), Trouble> {
        let event = self.execution.decide(command.clone()).map_err(|r| Trouble::Own(words(&r)))?;
        self.add(command, event, bytes)
    }

    /// The same, unless the command does not fit the state any more; says whether it did.
    pub(super) fn decide_if_it_fits(
        &mut self,
        command: Command,
        bytes: usize,
    ) -> Result<bool, Trouble> {
        match self.execution.decide(command.clone()) {
            Ok(event) => self.add(command, event, bytes).map(|()| true),
            Err(_) => Ok(false),
        }
    }

    /// Decides the outcome of an attempt, unless it does not fit the state any more.
    pub(super) fn decide_outcome(&mut self, command: Command, bytes: usize) -> Result<(), Trouble> {
        if self.decide_if_it_fits(command, bytes)?
            && let Some(last) = self.decided.last_mut()
        {
            last.is_outcome = true;
        }
        Ok(())
    }

    fn add(&mut self, command: Command, event: Event, bytes: usize) -> Result<(), Trouble> {
        let first = self.appended.sequence.next();
        let sequence = self.execution.sequence.next();
        let at = self.driver.clock.now();
        let recorded = Recorded { sequence, first, at, event, digest: None };
        self.execution.apply(&recorded).map_err(|e| Trouble::Own(words(&e)))?;
        self.decided.push(Decided { command, event: recorded.event, bytes, is_outcome: false });
        Ok(())
    }

    /// Sees what this process was told of the execution since the history was read.
    pub(super) async fn look_up(&mut self) -> Result<(), Trouble> {
        if self.driver.is_closing() {
            self.stopping.get_or_insert(Advanced::Moved);
        }
        let Some(told) = self.stint.news.take() else { return Ok(()) };
        self.held.add(told);
        let commands = std::mem::take(&mut self.decided);
        match self.read_again(commands).await {
            Ok(_) => Ok(()),
            // Calls in flight are worth more than news; an append finds out as well.
            Err(Trouble::Outage(error)) if !self.attempts.is_empty() => {
                tracing::warn!(execution.id = %self.id(), "news was not read: {error}");
                Ok(())
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// Reads what others have appended, and decides again which outcomes were decided; says whether there is a history.
    pub(super) async fn read_again(&mut self, decided: Vec<Decided>) -> Result<bool, Trouble> {
        let known = Some(self.appended.clone());
        let theirs = match read(self.driver, self.id(), known).await {
            Ok(Some(theirs)) => theirs,
            Ok(None) => return Ok(false),
            Err(trouble) => {
                self.decided = decided;
                return Err(trouble);
            }
        };
        self.appended = theirs.clone();
        self.execution = theirs;
        // What else was decided may be wrong now: an answer came before its expiry was recorded, or an outcome is
        // another one than what was computed from it.
        let many = decided.len();
        let kept = decided
            .into_iter()
            .filter(|decided| decided.is_outcome || !guard::holds(Guard::OnlyOutcomesSurvive));
        let kept: Vec<_> = kept.collect();
        self.dropped += u64::from(kept.len() < many);
        for decided in kept {
            if !guard::holds(Guard::OutcomeSurvivesConflict) {
                break;
            }
            self.decide_outcome(decided.command, decided.bytes)?;
        }
        Ok(true)
    }

    /// Appends what is decided. If another append came first, decides it again on what that left:
    /// an outcome survives a conflict, unless another attempt recorded it.
    pub(super) async fn flush(&mut self) -> Result<Flushed, Trouble> {
        for _ in 0..CONFLICTS_MAX {
            let decided = std::mem::take(&mut self.decided);
            let events: Vec<_> = decided.iter().map(|decided| decided.event.clone()).collect();
            let Some(events) = Events::new(events) else { return Ok(Flushed::GoOn) };
            match self.append(events).await {
                Ok(()) => return Ok(Flushed::GoOn),
                Err(AppendError::Conflict { .. }) => {
                    if !self.read_again(decided).await? {
                        self.held.clear(self.driver, None).await;
                        return Ok(Flushed::Stop(Advanced::Absent));
                    }
                }
                Err(error @ AppendError::Refused { .. }) => {
                    return Err(Trouble::Own(words(&error)));
                }
                Err(AppendError::Unavailable(error)) => return Err(error.into()),
            }
        }
        // Others keep appending: what is decided is decided anew with the next move.
        Ok(Flushed::GoOn)
    }

    /// Appends, and takes the state from what was recorded: its times are the journal's.
    async fn append(&mut self, events: Events) -> Result<(), AppendError> {
        let at = self.driver.clock.now();
        let draft = Draft {
            after: self.appended.head(),
            events,
            at,
            expires_at: self.execution.webhook.expires_at,
            until: self.execution.rests_until(&self.plan.workflow, at),
            name: id::fresh(),
        };
        let recorded = self.driver.journal.append(self.id(), draft).await?;
        for recorded in &recorded {
            tell::recorded(&self.appended, self.id(), recorded);
            if let Event::StepClaimed { step, until, .. } = &recorded.event {
                self.claimed.insert(step.clone(), *until);
            }
            self.held.got_further |= gets_somewhere(recorded);
            self.appended.apply(recorded).expect("these events were decided on this state");
        }
        self.execution = self.appended.clone();
        Ok(())
    }
}

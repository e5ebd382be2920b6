//! Attempts at steps that act outside begin: after everything before them is appended, and with a claim if they need one.

use std::time::Duration;

use everhook_journal::execution::{Move, Task};
use everhook_journal::guard::{self, Guard};
use everhook_journal::{Command, StepName};

use super::{Advanced, Drive, Flushed, MARGIN, Trouble, Turn, perform, settle};

/// How far the clocks of two processes may be apart: each is at most two seconds off.
const CLOCKS_APART: Duration = Duration::from_secs(4);

/// How much longer a claim lasts than the attempt: the clocks may differ, and appending it takes a moment.
const CLAIM_MARGIN: Duration = Duration::from_secs(10);

/// How many attempts one wake-up makes at once.
const ATTEMPTS_AT_ONCE: usize = 100;

impl<'d> Drive<'d> {
    /// Begins attempts at steps that act outside, after everything before them is appended.
    pub(super) async fn start(
        &mut self,
        tasks: Vec<Task<'d>>,
    ) -> Result<Option<Advanced>, Trouble> {
        if guard::holds(Guard::AppendBeforeNext)
            && let Flushed::Stop(advanced) = self.flush().await?
        {
            return Ok(Some(advanced));
        }
        if self.stopping.is_some() {
            return Ok(None);
        }
        let free = ATTEMPTS_AT_ONCE.saturating_sub(self.attempts.len());
        let now = self.driver.clock.now();
        // Somebody else may have moved them while we appended.
        let wanted = self.execution.moves(now);
        let mut claims = Vec::new();
        let mut needed = now;
        let mut begun = Vec::new();
        for task in tasks.into_iter().take(free) {
            let Move::Attempt(number) = task.what else { continue };
            if wanted.get(&task.path) != Some(&task.what) {
                continue;
            }
            if !self.has_time_for(&task) {
                self.stopping = Some(Advanced::Moved);
                continue;
            }
            let is_claimed = task.step.at_most_once.is_some();
            let margin = if is_claimed { CLAIM_MARGIN } else { MARGIN };
            let until = now + task.step.timeout() + margin;
            needed = needed.max(until);
            if is_claimed && guard::holds(Guard::ClaimBeforeActing) {
                let until = match guard::holds(Guard::ClaimOutlastsAttempt) {
                    true => until,
                    false => now + Duration::from_secs(1),
                };
                claims.push(Command::ClaimStep(task.path.clone(), number, until));
            }
            begun.push((task, number, is_claimed.then_some(until)));
        }
        if needed > self.lease {
            self.lease = settle::extend(self.driver, self.id(), needed).await?;
        }
        if !claims.is_empty() {
            for claim in claims {
                self.decide(claim, 0)?;
            }
            // Whoever claimed an attempt makes it, however it was woken.
            match self.flush().await? {
                Flushed::GoOn => {}
                Flushed::Stop(Advanced::Moved) => self.stopping = Some(Advanced::Moved),
                Flushed::Stop(advanced) => return Ok(Some(advanced)),
            }
        }
        for (task, number, claimed_until) in begun {
            // Somebody else may have claimed it first.
            if claimed_until.is_some() && !self.has_claimed(&task.path, number) {
                continue;
            }
            // Appending may have taken long: whoever finds the claim expired must not meet an attempt under way.
            let ends = self.driver.clock.now() + task.step.timeout() + CLOCKS_APART;
            if claimed_until.is_some_and(|until| ends > until)
                && guard::holds(Guard::ClaimOutlastsAttempt)
            {
                self.stopping = Some(Advanced::Moved);
                continue;
            }
            let turn = self.turn(&task, number).await?;
            let driver = self.driver;
            self.attempted.insert(task.path.clone());
            let path = task.path;
            let attempt = async move { (path, perform(driver, turn).await) };
            self.attempts.push(Box::pin(attempt));
        }
        Ok(None)
    }

    fn has_claimed(&self, path: &StepName, number: u32) -> bool {
        self.claimed.contains(&(path.clone(), number))
            || !guard::holds(Guard::ClaimIsOwn)
            || !guard::holds(Guard::ClaimBeforeActing)
    }

    pub(super) fn has_time_for(&self, task: &Task<'_>) -> bool {
        self.driver.clock.now() + task.step.timeout() + MARGIN <= self.deadline
    }

    pub(super) async fn turn(&mut self, task: &Task<'d>, number: u32) -> Result<Turn<'d>, Trouble> {
        let (driver, id) = (self.driver, self.id());
        let ready = self.plan.ready(task.step);
        let input = self.inputs.of(driver, id, &self.execution, task, ready, number).await?;
        let state = self.execution.step(&task.path);
        Ok(Turn {
            step: task.step,
            ready,
            forgiven: state.map_or(0, |state| state.forgiven),
            first_at: state
                .filter(|state| state.attempts > state.forgiven)
                .map(|state| state.first_at),
            input,
        })
    }
}

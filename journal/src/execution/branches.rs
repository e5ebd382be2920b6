//! Branches of a step: lines that go on side by side.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::event::{Branches, CompletionRule, Recorded};
use crate::id::StepName;
use crate::payload::Payload;
use crate::time::Timestamp;

use super::line::{Line, PATH_SEPARATOR};
use super::step::CallbackState;
use super::survey::Survey;

/// A step's branches.
#[derive(Debug, Clone, PartialEq)]
pub struct BranchesState {
    /// Each branch, in order.
    pub lines: Vec<Line>,
    /// The list that they are made of, if they are.
    pub items: Option<Payload>,
    /// When they began.
    pub started_at: Timestamp,
    names: Option<Vec<StepName>>,
    labels: Vec<String>,
    concurrency: usize,
    rule: CompletionRule,
    /// Those that are not over.
    open: BTreeSet<usize>,
    succeeded: usize,
    failed: usize,
}

/// How branches have ended as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All of them are over, and not too many failed.
    All,
    /// Enough of them completed.
    Enough,
    /// Too many of them failed.
    TooMany,
    /// All of them are over, and too few completed.
    TooFew,
}

impl BranchesState {
    pub(super) fn new(
        branches: &Branches,
        concurrency: u32,
        rule: CompletionRule,
        started_at: Timestamp,
    ) -> Self {
        let mut labels = Vec::new();
        let (lines, names, items) = match branches {
            Branches::Parallel(branches) => {
                let lines = branches.iter().map(|branch| Line::new(branch.steps.clone()));
                let names = branches.iter().map(|branch| branch.name.clone()).collect();
                (lines.collect::<Vec<_>>(), Some(names), None)
            }
            Branches::Map { items, count, steps, labels: own } => {
                labels.clone_from(own);
                let steps: Arc<[_]> = steps.clone().into();
                let lines = (0..*count).map(|_| Line::new(steps.clone())).collect();
                (lines, None, Some(items.clone()))
            }
        };
        let open = lines.iter().enumerate().filter(|(_, line)| !line.is_over());
        let open: BTreeSet<_> = open.map(|(place, _)| place).collect();
        Self {
            succeeded: lines.len() - open.len(),
            concurrency: (concurrency as usize).max(1),
            failed: 0,
            lines,
            items,
            started_at,
            names,
            labels,
            rule,
            open,
        }
    }

    /// What a branch is called: its name, or the place of its item from 0.
    pub fn name(&self, place: usize) -> String {
        match &self.names {
            Some(names) => names.get(place).map_or_else(String::new, ToString::to_string),
            None => place.to_string(),
        }
    }

    /// What a branch's item is called for those who look on, if it is called anything.
    pub fn label(&self, place: usize) -> Option<&str> {
        self.labels.get(place).map(String::as_str)
    }

    /// How many branches completed, and how many failed.
    pub fn counts(&self) -> (usize, usize) {
        (self.succeeded, self.failed)
    }

    /// How they have ended as a whole, once they have.
    pub fn verdict(&self) -> Option<Verdict> {
        let CompletionRule { enough, tolerated, tolerated_percent } = self.rule;
        let over = |limit: u32| self.failed > limit as usize;
        let over_percent = |limit: u8| self.failed * 100 > usize::from(limit) * self.lines.len();
        if enough.is_some_and(|enough| self.succeeded >= enough as usize) {
            return Some(Verdict::Enough);
        }
        // Fewer than are asked for cannot be more than all of them.
        if self.succeeded == self.lines.len() {
            return Some(Verdict::All);
        }
        let first_is_too_many =
            enough.is_none() && tolerated.is_none() && tolerated_percent.is_none();
        if tolerated.is_some_and(over)
            || tolerated_percent.is_some_and(over_percent)
            || (first_is_too_many && self.failed > 0)
        {
            return Some(Verdict::TooMany);
        }
        let verdict = if enough.is_some() { Verdict::TooFew } else { Verdict::All };
        self.open.is_empty().then_some(verdict)
    }

    /// About how many bytes they take in memory.
    pub(super) fn bytes(&self) -> usize {
        let items = self.items.as_ref().map_or(0, Payload::inline_bytes);
        items + self.lines.iter().map(Line::bytes).sum::<usize>()
    }

    /// The branch of this name and its place, whatever became of it.
    pub(super) fn line(&self, name: &str) -> Option<(usize, &Line)> {
        let place = self.place(name)?;
        Some((place, self.lines.get(place)?))
    }

    /// The branch of this name, if it is going on.
    pub(super) fn active(&self, name: &str) -> Option<&Line> {
        let place = self.place(name)?;
        self.is_active(place).then(|| &self.lines[place])
    }

    pub(super) fn evolve(&mut self, name: &str, path: &str, recorded: &Recorded) -> Option<()> {
        let place = self.place(name)?;
        if !self.is_active(place) {
            return None;
        }
        self.lines[place].evolve(path, recorded)?;
        self.close(place);
        Some(())
    }

    pub(super) fn release(&mut self, due: Timestamp) {
        for place in self.open.iter().take(self.concurrency) {
            self.lines[*place].release(due);
        }
    }

    pub(super) fn outlive(&mut self, process: &str) {
        for place in self.open.iter().take(self.concurrency) {
            self.lines[*place].outlive(process);
        }
    }

    pub(super) fn survey(&self, prefix: &str, now: Timestamp, found: &mut Survey) {
        for place in self.open.iter().take(self.concurrency) {
            let inside = format!("{prefix}{}{PATH_SEPARATOR}", self.name(*place));
            self.lines[*place].survey(&inside, now, found);
        }
    }

    pub(super) fn callbacks<'b>(
        &'b self,
        prefix: &str,
        found: &mut Vec<(StepName, &'b CallbackState)>,
    ) {
        for place in self.open.iter().take(self.concurrency) {
            let inside = format!("{prefix}{}{PATH_SEPARATOR}", self.name(*place));
            self.lines[*place].callbacks(&inside, found);
        }
    }

    /// What failed goes on; what completed stays.
    pub(super) fn redrive(&mut self) {
        self.failed = 0;
        for (place, line) in self.lines.iter_mut().enumerate() {
            if !line.is_well() {
                line.redrive(None);
                self.open.insert(place);
            }
        }
    }

    // The first ones that are open are going on: a branch that waits keeps its place.
    fn is_active(&self, place: usize) -> bool {
        self.verdict().is_none()
            && self.open.iter().take(self.concurrency).any(|open| *open == place)
    }

    fn close(&mut self, place: usize) {
        let line = &self.lines[place];
        if !line.is_over() || !self.open.remove(&place) {
            return;
        }
        if line.is_well() {
            self.succeeded += 1;
        } else {
            self.failed += 1;
        }
    }

    fn place(&self, name: &str) -> Option<usize> {
        match &self.names {
            Some(names) => names.iter().position(|own| own.as_str() == name),
            None => name
                .parse()
                .ok()
                .filter(|place: &usize| *place < self.lines.len() && place.to_string() == name),
        }
    }
}

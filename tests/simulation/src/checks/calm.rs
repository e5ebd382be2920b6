//! S20: where nothing has disturbed an execution, each attempt acts once, and no two attempts of a step at once.
//!
//! A crash disturbs it, and a call whose reply is lost, that its client gives up or that is slower than a claim
//! allows for. Throttles that pass, records that are lost, doubled or late, a late index, clocks and outages of the
//! stream and the sweep excuse nothing.

use everhook_processor::Input;

use super::{Checked, Checks, violated};
use crate::executor::Process;

impl Checks {
    /// A call for this execution came to a bad end.
    pub(crate) fn disturbed(&mut self, execution: &str) {
        if self.histories.contains_key(execution) {
            self.of(execution).is_disturbed = true;
        }
    }

    /// Something happened to a process: to all executions that it drives.
    pub(crate) fn all_disturbed(&mut self, process: Process) {
        let driven = self.driven.iter().filter(|(own, _)| *own == process);
        let acting = self.under_way.iter().filter(|(_, (own, _))| *own == process);
        let acting = acting.map(|((execution, _, _), _)| execution.clone());
        let all: Vec<_> = driven.map(|(_, execution)| execution.clone()).chain(acting).collect();
        all.iter().for_each(|execution| self.disturbed(execution));
    }

    /// After a redrive steps inside of others begin again with their first attempt. What is still under way does not.
    pub(super) fn begins_again(&mut self, execution: &str) {
        let under_way = self.under_way.keys().filter(|(own, _, _)| own == execution);
        let made = under_way.map(|(_, step, attempt)| (step.clone(), *attempt)).collect();
        self.of(execution).made = made;
    }

    /// S20, as an attempt begins to act.
    pub(super) fn acts_once(&self, input: &Input) -> Checked {
        let Some(history) = self.histories.get(input.execution.as_str()) else { return Ok(()) };
        if history.is_disturbed {
            return Ok(());
        }
        let (execution, step) = (input.execution.to_string(), input.step.to_string());
        let attempt = input.attempt;
        let same =
            (execution.clone(), step.clone(), 0)..=(execution.clone(), step.clone(), u32::MAX);
        if let Some(((_, _, other), _)) = self.under_way.range(same).next() {
            return violated(
                "S20",
                format!(
                    "{step} {attempt} of {execution} acts while attempt {other} does, and nothing disturbed it"
                ),
            );
        }
        match history.made.contains(&(step.clone(), attempt)) {
            true => violated(
                "S20",
                format!("{step} {attempt} of {execution} acts again, and nothing disturbed it"),
            ),
            false => Ok(()),
        }
    }
}

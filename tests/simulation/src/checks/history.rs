//! What is known of one execution, and what must hold of its history.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use everhook_journal::execution::Next;
use everhook_journal::executions::Row;
use everhook_journal::workflow::AtMostOnce;
use everhook_journal::{Event, Execution, ExecutionId, Recorded, StepName, Timestamp, View};
use everhook_processor::Input;

use super::idle::Idle;
use super::{Checked, SKEW, UNDER_WAY, has_passed, violated};
use crate::kit::{KILLER, kit};

/// What is known of one execution.
#[derive(Default)]
pub(super) struct History {
    /// When its webhook was recorded.
    pub(super) received: Option<Timestamp>,
    pub(super) recorded: Vec<Recorded>,
    pub(super) state: Option<Execution>,
    pub(super) views: Vec<View>,
    pub(super) row: Option<Row>,
    pub(super) is_acknowledged: bool,
    /// Whether a fact was appended that nobody was told of yet.
    pub(super) has_untold_fact: bool,
    /// The same of an operator's redrive: what callers are told says nothing of it.
    pub(super) has_untold_redrive: bool,
    /// Whether a redrive took so long that the timer set before it may have fired.
    pub(super) is_redriven_late: bool,
    /// When a timer was last set after its end.
    pub(super) timer_after_end: Option<Timestamp>,
    /// Whether a pass of the audit has seen to it.
    pub(super) is_audited: bool,
    /// Whether a crash, a lost reply or a slow call may make it act twice.
    pub(super) is_disturbed: bool,
    /// The attempts that have acted since it was last redriven.
    pub(super) made: BTreeSet<(String, u32)>,
    pub(super) idle: Idle,
    pub(super) redriven: u32,
    pub(super) redriven_at: Option<Timestamp>,
    /// Whether it is driven because it was due, and nobody has died of it yet.
    pub(super) is_fired: bool,
    /// How many processes it killed when it was due, until it was stalled.
    pub(super) kills: u32,
    /// How many drives of it alone have begun and not ended.
    pub(super) alone: u64,
    /// How often its row said that it is stalled because of deaths.
    pub(super) stalled: u32,
    /// How many executions of this id have expired before.
    pub(super) lives: u32,
    pub(super) acted: BTreeMap<(String, u32), u32>,
    pub(super) keys: BTreeMap<String, String>,
}

impl History {
    /// Whether it kills what drives it.
    pub(super) fn is_killer(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.webhook.source.as_str() == KILLER)
    }

    /// Whether it counts as deleted.
    pub(super) fn has_expired(&self, now: Timestamp) -> bool {
        self.state.as_ref().is_some_and(|state| has_passed(state.webhook.expires_at, now))
    }

    /// Whether it has for so long that nothing of it can be under way.
    pub(super) fn is_gone(&self, now: Timestamp) -> bool {
        self.state.as_ref().is_some_and(|state| state.webhook.expires_at + UNDER_WAY < now)
    }

    /// Whether something was appended that nobody was told of yet: whoever did it asks again.
    pub(super) fn is_untold(&self) -> bool {
        self.has_untold_fact || self.has_untold_redrive
    }

    /// What was recorded since an operator redrove it, if one did; the last first.
    pub(super) fn since_redrive(&self) -> impl Iterator<Item = &Recorded> {
        let is_redrive =
            |recorded: &Recorded| matches!(recorded.event, Event::ExecutionRedriven { .. });
        self.recorded.iter().rev().take_while(move |recorded| !is_redrive(recorded))
    }

    pub(super) fn event(&mut self, execution: &str, event: &Recorded, now: Timestamp) -> Checked {
        let expected = self.recorded.len() as u64 + 1;
        if event.sequence.get() != expected {
            return violated(
                "S1",
                format!("{execution} goes from {} to {}", expected - 1, event.sequence),
            );
        }
        let next = match self.state.take() {
            None => Execution::begin(event),
            Some(state) => {
                self.early(execution, event, now)?;
                self.twice(execution, &state, event)?;
                state.evolve(event)
            }
        };
        let state = match next {
            Ok(state) => state,
            Err(error) => return violated("S2", format!("{execution}: {error}")),
        };
        self.has_untold_fact |=
            matches!(event.event, Event::CallbackReceived { .. } | Event::CallbackBeat { .. });
        if matches!(event.event, Event::ExecutionRedriven { .. }) {
            self.redriven += 1;
            self.redriven_at = Some(event.at);
            self.has_untold_redrive = true;
        }
        let id = ExecutionId::parse(execution).expect("a history has an id");
        self.views.push(View::of(&id, &state));
        self.state = Some(state);
        self.recorded.push(event.clone());
        Ok(())
    }

    /// S2, S3, told apart from the product's own rules.
    fn twice(&self, execution: &str, state: &Execution, event: &Recorded) -> Checked {
        if matches!(event.event, Event::WebhookReceived(_)) {
            return violated("S2", format!("{execution} begins twice"));
        }
        let redriven = matches!(event.event, Event::ExecutionRedriven { .. });
        if state.status.is_terminal() && !redriven {
            return violated(
                "S2",
                format!("{execution} goes on with {} after its end", event.event.name()),
            );
        }
        let Event::StepCompleted { step, .. } = &event.event else { return Ok(()) };
        let again = self.since_redrive().filter(|earlier| {
            matches!(&earlier.event, Event::StepCompleted { step: own, .. } if own == step)
        });
        match again.count() {
            0 => Ok(()),
            _ => violated("S3", format!("{step} of {execution} completed twice")),
        }
    }

    /// S8: no timer fires before its time, as far as clocks agree.
    fn early(&self, execution: &str, event: &Recorded, now: Timestamp) -> Checked {
        let due = match &event.event {
            Event::TimerFired { due } => Some(*due),
            Event::StepCompleted { step, .. } => {
                self.recorded.iter().rev().find_map(|earlier| match &earlier.event {
                    Event::WaitStarted { step: own, until } if own == step => Some(*until),
                    _ => None,
                })
            }
            Event::StepFailed { step, error, .. } if error.kind == "callback_timeout" => {
                self.recorded.iter().rev().find_map(|earlier| match &earlier.event {
                    Event::CallbackCreated { step: own, expires_at, .. } if own == step => {
                        Some(*expires_at)
                    }
                    _ => None,
                })
            }
            Event::StepFailed { step, error, .. } if error.kind == "heartbeat_timeout" => {
                self.beat_due(step)
            }
            _ => None,
        };
        match due {
            Some(due) if due > now + SKEW => violated(
                "S8",
                format!("{} of {execution} at {now}, due at {due}", event.event.name()),
            ),
            _ => Ok(()),
        }
    }

    /// When the next sign of life of this step was due, as of the last one.
    fn beat_due(&self, step: &StepName) -> Option<Timestamp> {
        let created = self.recorded.iter().rposition(|earlier| {
            matches!(&earlier.event, Event::CallbackCreated { step: own, .. } if own == step)
        })?;
        let Event::CallbackCreated { heartbeat_ms, .. } = &self.recorded[created].event else {
            return None;
        };
        let beats = self.recorded[created..].iter().rev();
        let last = beats.into_iter().find(
            |earlier| matches!(&earlier.event, Event::CallbackBeat { step: own } if own == step),
        );
        let alive_at = last.unwrap_or(&self.recorded[created]).at;
        heartbeat_ms.map(|every| alive_at + Duration::from_millis(every))
    }

    /// S11: the same history gives the same state, and the same next thing to do.
    pub(super) fn replayed(&self, execution: &str) -> Checked {
        let folded = Execution::fold(&self.recorded);
        if folded != Ok(self.state.clone()) {
            return violated("S11", format!("{execution} folds to another state"));
        }
        let (Some(state), Ok(Some(folded))) = (&self.state, folded) else { return Ok(()) };
        let kit = kit();
        if let Some(workflow) = kit.workflow(&state.webhook.workflow.hash) {
            let now = state.updated_at;
            let (one, two): (Next<'_>, Next<'_>) =
                (state.next(workflow, now), folded.next(workflow, now));
            if one != two {
                return violated("S11", format!("{execution} wants {one:?} and {two:?}"));
            }
        }
        Ok(())
    }

    /// S4: nothing is done before what stands before it.
    pub(super) fn order(&self, input: &Input) -> Checked {
        let Some(state) = &self.state else {
            return violated(
                "S4",
                format!("{} acts for an execution that never began", input.step),
            );
        };
        let path = input.step.as_str();
        let top = path.split('/').next().unwrap_or(path);
        let steps = &state.webhook.workflow.steps;
        let done = |name: &str| {
            self.recorded.iter().any(|recorded| match &recorded.event {
                Event::StepCompleted { step, .. } | Event::StepSkipped { step } => {
                    step.as_str() == name
                }
                // What completes a callback is its answer.
                Event::CallbackReceived { step, .. } => step.as_str() == name,
                _ => false,
            })
        };
        let before = steps.iter().take_while(|step| step.as_str() != top);
        let is_rescue = state.webhook.workflow.on_failure.iter().any(|step| step.as_str() == top);
        if is_rescue {
            let failed = self.recorded.iter().any(|recorded| {
                matches!(
                    &recorded.event,
                    Event::StepFailed { retry_at: None, .. } | Event::ExecutionFailing { .. }
                )
            });
            return match failed {
                true => Ok(()),
                false => violated(
                    "S4",
                    format!("{path} of {} acts and nothing has failed", input.execution),
                ),
            };
        }
        match before.into_iter().find(|step| !done(step.as_str())) {
            Some(step) => {
                violated("S4", format!("{path} of {} acts before {step} is done", input.execution))
            }
            None => Ok(()),
        }
    }

    /// S8: nothing is tried again before its time.
    pub(super) fn in_time(&self, input: &Input, now: Timestamp) -> Checked {
        let earlier = self.since_redrive().find_map(|recorded| match &recorded.event {
            Event::StepFailed { step, attempt, retry_at, .. }
                if *step == input.step && *attempt < input.attempt =>
            {
                Some(*retry_at)
            }
            Event::StepPolled { step, attempt, next_at, .. }
                if *step == input.step && *attempt < input.attempt =>
            {
                Some(Some(*next_at))
            }
            _ => None,
        });
        match earlier.flatten() {
            Some(due) if due > now + SKEW => {
                let (step, attempt) = (&input.step, input.attempt);
                let id = &input.execution;
                violated("S8", format!("{step} {attempt} of {id} acts at {now}, due at {due}"))
            }
            _ => Ok(()),
        }
    }

    /// S5: what is done at most once is not done twice.
    pub(super) fn once(&mut self, input: &Input) -> Checked {
        let path = input.step.to_string();
        let many = self.acted.entry((path.clone(), input.attempt)).or_default();
        *many += 1;
        let many = *many;
        self.made.insert((path.clone(), input.attempt));
        let Some(state) = &self.state else { return Ok(()) };
        let kit = kit();
        let Some(workflow) = kit.workflow(&state.webhook.workflow.hash) else { return Ok(()) };
        let Some(mode) = workflow.step(&path).and_then(|step| step.at_most_once) else {
            return Ok(());
        };
        if many > 1 {
            return violated(
                "S5",
                format!("{path} {} of {} acts {many} times", input.attempt, input.execution),
            );
        }
        let attempts = self.acted.keys().filter(|(own, _)| *own == path).count();
        if mode == AtMostOnce::Step && attempts > 1 + self.redriven as usize {
            return violated(
                "S5",
                format!("{path} of {} acts in {attempts} attempts", input.execution),
            );
        }
        Ok(())
    }
}

//! The protocol as a whole, explored completely: every order in which its calls of the tables can come.
//!
//! What happens in a history is the product's: [`Execution::next`], [`Execution::decide`], [`Execution::fold`],
//! [`Execution::rests_until`] and [`View::of`] are called, not copied. The calls around them are repeated here, one by
//! one: `Ingest::begin` and `Ingest::add`, the driver with its appends, claims, calls and timers, `settle`, the sweep,
//! the audit with its cursors, and the projector. Two drivers are at work at once, beside one of each of the others.
//! Between any two calls a process may crash. Records come late, twice or never; a timer is handed over late, twice or
//! never; the index lags; the caller of a signal asks again or does not. Equal states are explored once.
//!
//! [`Property`] says what must hold, and [`Mutant`] which mistakes must be caught.
//!
//! What is abstracted:
//! - Time has four ticks. Claims, retries, and the pause until a timer is handed over again last one, callbacks two; the
//!   first pass of the audit looks one tick back and the second two, which stands for the third as well. At the last tick
//!   all that is waited for is due and nothing crashes any more, so that everything must end there.
//! - An execution has one step under way at a time: no branches. Steps that only compute are left out.
//! - The number of crashes is bounded in each world, see `Setting::world`.
//! - A call, and the append of its outcome, end before the claim does. In the product the attempt's timeout, the check
//!   right before the call and the margin of the claim see to that; a process that is frozen for longer is not covered.
//! - Ingest appends within its tick, and a redrive is appended within the tick of the timer ahead of it. In the product
//!   that is the time limit of the function: 10 of the 20 and 30 seconds that the audit and that timer leave.
//! - A lost reply to an append is found out at once, by the append's name. A driver reads as soon as it is woken, and a
//!   refused append and the read after it are one call: to read later is as if it were woken later.
//! - A conditional claim of a timer and the read before it are one call, and so are the audit's three reads.
//! - A timer's name is no number: its holder knows whether it is still the same one. Timers that were due before now
//!   differ in nothing else.
//! - Deaths, stalled executions, drives alone, expiry, cancels and heartbeats are left out.
//!
//! [`Execution::next`]: crate::Execution::next
//! [`Execution::decide`]: crate::Execution::decide
//! [`Execution::fold`]: crate::Execution::fold
//! [`Execution::rests_until`]: crate::Execution::rests_until
//! [`View::of`]: crate::View::of
//! [`Property`]: mutant::Property
//! [`Mutant`]: mutant::Mutant

mod driver;
mod histories;
mod mutant;
mod others;
mod search;
mod world;

use std::time::Instant;

use crate::retry::Retry;
use crate::samples::{definition, workflow};
use crate::workflow::{AtMostOnce, StepDefinition, Workflow};

use histories::Histories;
use mutant::{Mutant, Property};
use others::Signal;
use search::{Explored, Violation, explore};
use world::World;

/// What is explored: a workflow, who signals, and what may go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setting {
    /// One step that acts, from the sender's first request on. Two requests are under way at once.
    Ingest,
    /// Two steps that act.
    Two,
    /// A step that acts at most once an attempt, and may be attempted twice.
    Once,
    /// A step that may fail, and is tried again later.
    Retry,
    /// A step that waits for an answer.
    Callback,
    /// A step that waits for an answer after another step inside it has acted. The answer may come during the call.
    Inside,
    /// An execution that has failed and that the audit has passed, and an operator who redrives it.
    Redrive,
    /// A step that may fail, and is tried again later. The projector is at work too, and nothing crashes.
    Projector,
}

impl Setting {
    fn world(self, mutant: Option<Mutant>) -> World {
        let acting = |name: &str, attempts| StepDefinition {
            retry: Retry { attempts, ..Retry::DEFAULT },
            ..definition(name, "http")
        };
        let once = |step| StepDefinition { at_most_once: Some(AtMostOnce::Attempt), ..step };
        let ask = |steps| StepDefinition { steps, ..definition("ask", "callback") };
        let steps = match self {
            Self::Ingest | Self::Redrive => vec![acting("a", 1)],
            Self::Two => vec![acting("a", 1), acting("b", 1)],
            Self::Once => vec![once(acting("a", 2))],
            Self::Retry | Self::Projector => vec![acting("a", 2)],
            Self::Callback => vec![ask(vec![])],
            Self::Inside => vec![ask(vec![acting("s", 1)])],
        };
        let signal = match self {
            Self::Callback | Self::Inside => Some(Signal::Answer(0)),
            Self::Redrive => Some(Signal::Redrive),
            Self::Ingest | Self::Two | Self::Once | Self::Retry | Self::Projector => None,
        };
        World {
            histories: Histories::new(Workflow { steps, ..workflow(&[]) }),
            mutant,
            ingests: if self == Self::Ingest { 2 } else { 0 },
            may_fail: matches!(self, Self::Retry | Self::Projector),
            signal,
            records: match self {
                Self::Callback => 2,
                Self::Redrive => 0,
                _ => 1,
            },
            crashes: match self {
                Self::Once | Self::Callback => 2,
                Self::Ingest | Self::Two | Self::Retry | Self::Redrive => 1,
                Self::Inside | Self::Projector => 0,
            },
            projects: self == Self::Projector,
        }
    }
}

/// Every mistake, where it is looked for, and what it violates.
const CAUGHT: [(Mutant, Setting, Property); 22] = [
    (Mutant::AcknowledgedBeforeEvent, Setting::Ingest, Property::EventBefore202),
    (Mutant::AppendWithoutCondition, Setting::Two, Property::HistoryUnchanged),
    (Mutant::CursorBeforeTimers, Setting::Two, Property::NeverForgotten),
    (Mutant::NoSecondPass, Setting::Two, Property::NeverForgotten),
    (Mutant::MissingViewMeansEnded, Setting::Two, Property::NeverForgotten),
    (Mutant::AuditShowsNoEnds, Setting::Two, Property::NeverForgotten),
    (Mutant::NoSweep, Setting::Two, Property::Ends),
    (Mutant::TimerDeletedOnReceipt, Setting::Two, Property::NeverForgotten),
    (Mutant::NextTimerAfterReturn, Setting::Two, Property::NeverForgotten),
    (Mutant::DeletesAnyTimer, Setting::Callback, Property::TimerInTime),
    (Mutant::TimerDeletedBeforeEndShown, Setting::Once, Property::NeverForgotten),
    (Mutant::EndNeverShown, Setting::Two, Property::NeverForgotten),
    (Mutant::AnsweredBeforeTimer, Setting::Callback, Property::TimerInTime),
    (Mutant::RepeatedSignalSetsNoTimer, Setting::Callback, Property::TimerInTime),
    (Mutant::NoTimerBeforeRedrive, Setting::Redrive, Property::NeverForgotten),
    (Mutant::NoClaim, Setting::Two, Property::CalledOnce),
    (Mutant::ClaimOfAnotherIgnored, Setting::Retry, Property::CalledOnce),
    (Mutant::ActsOnRefusedClaim, Setting::Two, Property::CalledOnce),
    (Mutant::ActsOnRefusedClaim, Setting::Once, Property::AtMostOnce),
    (Mutant::ClaimNotLookedAtAgain, Setting::Two, Property::CalledOnce),
    (Mutant::OutcomeDroppedOnConflict, Setting::Inside, Property::CalledOnce),
    (Mutant::ViewWithoutNewer, Setting::Projector, Property::ViewForward),
];

/// The protocol violates nothing, and each mistake violates what it must.
#[track_caller]
fn assert_only_mistakes_violate(setting: Setting) {
    let began = Instant::now();
    let mut world = setting.world(None);
    let Explored { states, transitions, depth, violation } = explore(&mut world);
    if let Some(Violation { what, steps, story }) = violation {
        panic!("{setting:?}: {what:?} is violated after {steps} steps\n{story}");
    }
    let (histories, took) = (world.histories.len(), began.elapsed());
    println!(
        "model of {setting:?}: {states} states, {transitions} transitions, depth {depth}, {histories} histories, {took:.1?}"
    );
    for (mutant, _, property) in CAUGHT.into_iter().filter(|(_, own, _)| *own == setting) {
        let Explored { states, violation, .. } = explore(&mut setting.world(Some(mutant)));
        let Some(Violation { what, steps, story }) = violation else {
            panic!("{setting:?}: {mutant:?} violates nothing in {states} states");
        };
        assert_eq!(what, property, "{mutant:?} after {steps} steps:\n{story}");
        println!("{mutant:?} violates {what:?} after {steps} steps, {states} states");
    }
}

#[test]
fn requests_of_a_sender_keep_every_property() {
    assert_only_mistakes_violate(Setting::Ingest);
}

#[test]
fn two_steps_that_act_keep_every_property() {
    assert_only_mistakes_violate(Setting::Two);
}

#[test]
fn a_step_that_acts_at_most_once_keeps_every_property() {
    assert_only_mistakes_violate(Setting::Once);
}

#[test]
fn a_step_that_is_tried_again_keeps_every_property() {
    assert_only_mistakes_violate(Setting::Retry);
}

#[test]
fn a_step_that_waits_for_an_answer_keeps_every_property() {
    assert_only_mistakes_violate(Setting::Callback);
}

#[test]
fn an_answer_during_a_call_keeps_every_property() {
    assert_only_mistakes_violate(Setting::Inside);
}

#[test]
fn a_redrive_keeps_every_property() {
    assert_only_mistakes_violate(Setting::Redrive);
}

#[test]
fn a_projector_keeps_every_property() {
    assert_only_mistakes_violate(Setting::Projector);
}

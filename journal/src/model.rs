//! The protocol as a whole, explored completely: every order in which its calls to the tables can come.
//!
//! What happens in a history is the product's: [`Execution::next`], [`Execution::decide`], [`Execution::fold`] and
//! [`View::of`] are called, not copied. The calls around them are told again here, one by one:
//! `Ingest::begin` and `Ingest::add`, `advance`, `Sweep::claim`, the projector, and what `Executions` writes under
//! which condition. Two drivers, a sweep and whoever sends or calls back are at work at once.
//! Between any two calls, everybody may crash, any number of times; records come late, again, or never;
//! a reply may be lost. Whatever is alike is looked at once.
//!
//! Kept small, and why nothing is lost by it:
//! - Time has three moments, a watchdog's time apart. At the last one, whatever is waited for has come.
//! - A generation is no number: whoever read it knows whether it is still the same. That it is never the same again
//!   for one execution is assumed here.
//! - A driver that a record woke reads at once: had it waited, it would be as if the record had come later.
//!   Likewise a refused append and the read after it are one call, and a lost reply is found out at once.
//! - Steps that only compute, branches and operators' words are not in it; `redrives`, `run_ahead = false`, and
//!   what a process remembers are not either: they change when something happens, and never what may.
//! - Nobody outlives an invocation's time where the product rests on that: ingest between its writes, and a driver
//!   that is about to remove a row without a history.
//!
//! [`Execution::next`]: crate::Execution::next
//! [`Execution::decide`]: crate::Execution::decide
//! [`Execution::fold`]: crate::Execution::fold
//! [`View::of`]: crate::View::of

mod driver;
mod mutant;
mod others;
mod pasts;
mod search;
mod world;

use std::time::Instant;

use crate::retry::Retry;
use crate::samples::{definition, workflow};
use crate::workflow::{AtMostOnce, StepDefinition, Workflow};

use mutant::Mutant;
use pasts::Pasts;
use search::{Explored, explore};
use world::World;

/// What is explored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setting {
    /// Two steps that act, from the sender's first request on.
    Plain,
    /// The first step acts at most once an attempt, and may be attempted twice.
    Once,
    /// The first step may fail, and is tried again after a while.
    Retry,
    /// The second step waits for somebody to call back.
    Callback,
}

impl Setting {
    fn world(self) -> World {
        let acting = |name: &str, attempts| StepDefinition {
            retry: Retry { attempts, ..Retry::DEFAULT },
            ..definition(name, "http")
        };
        let (first, second) = match self {
            Self::Plain => (acting("a", 1), acting("b", 1)),
            Self::Once => (
                StepDefinition { at_most_once: Some(AtMostOnce::Attempt), ..acting("a", 2) },
                acting("b", 1),
            ),
            Self::Retry => (acting("a", 2), acting("b", 1)),
            Self::Callback => (acting("a", 1), definition("b", "callback")),
        };
        World {
            pasts: Pasts::new(Workflow { steps: vec![first, second], ..workflow(&[]) }),
            mutant: None,
            ingests: usize::from(self == Self::Plain),
            may_fail: [self == Self::Retry, false],
            projects: false,
        }
    }
}

/// Every mistake that must show, where it is looked for, and what it breaks.
const CAUGHT: [(Mutant, Setting, &str); 22] = [
    (Mutant::AppendWithoutCondition, Setting::Plain, "what the history has was changed"),
    (Mutant::AcknowledgedBeforeRow, Setting::Plain, "acknowledged, and there is no row"),
    (Mutant::AcknowledgedBeforeEvent, Setting::Plain, "acknowledged, and event 1 is not there"),
    (Mutant::RowNotMadeAnew, Setting::Plain, "acknowledged, and there is no row"),
    (Mutant::RowOfAnotherTryTrusted, Setting::Plain, "acknowledged, and there is no row"),
    (Mutant::DiscardByGenerationAlone, Setting::Plain, "acknowledged, and there is no row"),
    (Mutant::DiscardWithoutCondition, Setting::Plain, "acknowledged, and there is no row"),
    (Mutant::NoSweep, Setting::Plain, "an acknowledged execution cannot end by its due time alone"),
    (Mutant::ClaimTakesDueAway, Setting::Plain, "an unfinished execution owes nothing"),
    (
        Mutant::RunAheadOfAppend,
        Setting::Plain,
        "a step acted before the one before it had completed",
    ),
    (Mutant::ConflictNotDecidedAgain, Setting::Once, "something was appended that does not fit"),
    (Mutant::PostponeWithoutGeneration, Setting::Once, "a row shows an end and is due, or neither"),
    (Mutant::ActWithoutClaim, Setting::Once, "an attempt acted twice that must not"),
    (Mutant::ActAfterLostClaim, Setting::Once, "an attempt acted twice that must not"),
    (Mutant::ActAfterLimit, Setting::Once, "an attempt acted that was recorded as ended"),
    (Mutant::ClaimWithoutGeneration, Setting::Retry, "a row shows an end and is due, or neither"),
    (Mutant::EndShownStillDue, Setting::Retry, "a row shows an end and is due, or neither"),
    (Mutant::KeyOfAttempt, Setting::Retry, "a step acted under two idempotency keys"),
    (
        Mutant::EndShownBeforeAppend,
        Setting::Callback,
        "the row shows an end that the history does not have",
    ),
    (Mutant::WaitWithoutLookingAgain, Setting::Callback, LATE),
    (
        Mutant::PostponeWithoutGeneration,
        Setting::Callback,
        "a row shows an end and is due, or neither",
    ),
    (Mutant::AnsweredBeforeDue, Setting::Callback, LATE),
];

const LATE: &str = "the row is due later than the execution has something to do";

/// Mistakes that break no promise, because something else makes up for them:
/// - An append that does not know its own item reads the history, finds its events there and stops.
///   The append's record carries on, or the due time.
/// - An end that the driver does not show stays due, and the next driver shows it.
/// - A step that does not keep the sweep away may be run beside another driver, as after a crash:
///   its key is the same, and an attempt that must not act twice is claimed.
const TOLERATED: [Mutant; 3] =
    [Mutant::OwnAppendNotKnown, Mutant::EndNotShown, Mutant::NoExtension];

/// Explores everything, and tells how much that was.
#[track_caller]
fn assert_nothing_is_wrong(name: &str, mut world: World) -> String {
    let began = Instant::now();
    let Explored { states, transitions, depth, wrong } = explore(&mut world);
    if let Some(wrong) = wrong {
        panic!("{name}: {} ({} steps)\n{}", wrong.what, wrong.steps, wrong.story);
    }
    let (histories, took) = (world.pasts.len(), began.elapsed());
    format!(
        "model of {name}: {states} states, {transitions} transitions, depth {depth}, {histories} histories, {took:.1?}"
    )
}

/// The right protocol breaks nothing, and each mistake that must show does.
#[track_caller]
fn assert_only_mistakes_show(setting: Setting) {
    let told = assert_nothing_is_wrong(&format!("{setting:?}"), setting.world());
    let mut caught = Vec::new();
    for (mutant, _, what) in CAUGHT.into_iter().filter(|(_, own, _)| *own == setting) {
        let mut world = World { mutant: Some(mutant), ..setting.world() };
        let wrong = explore(&mut world).wrong;
        let wrong = wrong.unwrap_or_else(|| panic!("{mutant:?} broke nothing"));
        assert_eq!(wrong.what, what, "{mutant:?}:\n{}", wrong.story);
        caught.push(format!("{mutant:?} after {}", wrong.steps));
    }
    println!("{told}; caught: {}", caught.join(", "));
}

#[test]
fn two_steps_that_act_keep_every_promise() {
    assert_only_mistakes_show(Setting::Plain);
}

#[test]
fn a_step_that_acts_at_most_once_keeps_every_promise() {
    assert_only_mistakes_show(Setting::Once);
}

#[test]
fn a_step_that_is_tried_again_keeps_every_promise() {
    assert_only_mistakes_show(Setting::Retry);
}

#[test]
fn a_step_that_waits_for_an_answer_keeps_every_promise() {
    assert_only_mistakes_show(Setting::Callback);
}

/// With the projector at work as well, and mistakes that something else makes up for. Takes minutes:
/// `cargo test -p everhook-journal model -- --ignored --nocapture --test-threads 1`.
#[test]
#[ignore = "takes minutes"]
fn more_at_once_keep_every_promise() {
    for setting in [Setting::Retry, Setting::Once, Setting::Callback, Setting::Plain] {
        for mutant in TOLERATED {
            let world = World { mutant: Some(mutant), ..setting.world() };
            println!("{}", assert_nothing_is_wrong(&format!("{setting:?}, {mutant:?}"), world));
        }
        let world = World { projects: true, ..setting.world() };
        println!("{}", assert_nothing_is_wrong(&format!("{setting:?}, projector"), world));
    }
}

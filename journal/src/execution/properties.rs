//! What holds for every history and every command.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::samples::{at, failure, received, recorded, step, text, webhook, workflow};

const STEPS: [&str; 3] = ["a", "b", "c"];

/// What happens next to an execution.
#[derive(Debug, Clone)]
enum Turn {
    /// It does what it wants, and its step succeeds.
    Success,
    /// It does what it wants, and its step fails and is tried again.
    Retry,
    /// It does what it wants, and its step fails for good.
    Failure,
    /// Somebody appends this, if it can stand there.
    Stray(Event),
}

fn time() -> impl Strategy<Value = Timestamp> {
    let far = [Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX)];
    prop_oneof![4 => (0i64..4).prop_map(at), 1 => select(far.to_vec())]
}

fn name() -> impl Strategy<Value = StepName> {
    select(vec!["a", "b", "c", "unknown"]).prop_map(step)
}

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0u32..4, 1 => Just(u32::MAX)]
}

fn cause() -> impl Strategy<Value = Cause> {
    proptest::option::of(name()).prop_map(|step| Cause {
        step,
        kind: "cancelled".into(),
        message: "by an operator".into(),
    })
}

/// Any event, sensible or not.
fn event() -> impl Strategy<Value = Event> {
    let steps = vec(select(STEPS.to_vec()), 0..4);
    let completed = (name(), number(), time(), any::<u64>());
    let failed = (name(), number(), time(), any::<u64>(), proptest::option::of(time()));
    prop_oneof![
        steps.prop_map(|steps| Event::WebhookReceived(Arc::new(webhook(&steps)))),
        completed.prop_map(|(step, attempt, started_at, duration_ms)| Event::StepCompleted {
            step,
            attempt,
            started_at,
            duration_ms,
            output: text("done"),
        }),
        failed.prop_map(|(step, attempt, started_at, duration_ms, retry_at)| Event::StepFailed {
            step,
            attempt,
            started_at,
            duration_ms,
            error: failure(),
            retry_at,
        }),
        time().prop_map(|due| Event::TimerFired { due }),
        Just(Event::ExecutionCompleted {}),
        cause().prop_map(|cause| Event::ExecutionFailed { cause }),
    ]
}

/// Any command, sensible or not.
fn command() -> impl Strategy<Value = Command> {
    let attempt = || {
        (name(), number(), time(), any::<Duration>())
            .prop_map(|(step, number, started_at, took)| Attempt { step, number, started_at, took })
    };
    prop_oneof![
        attempt().prop_map(|attempt| Command::CompleteStep(attempt, text("done"))),
        (attempt(), proptest::option::of(time()))
            .prop_map(|(attempt, retry_at)| Command::FailStep(attempt, failure(), retry_at)),
        time().prop_map(Command::FireTimer),
        Just(Command::Complete),
        cause().prop_map(Command::Fail),
    ]
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let turn = prop_oneof![
        4 => Just(Turn::Success),
        4 => Just(Turn::Retry),
        1 => Just(Turn::Failure),
        2 => event().prop_map(Turn::Stray),
    ];
    vec(turn, 0..16)
}

/// What an execution's wish comes to in this turn; nothing if it has ended.
fn wish(execution: &Execution, workflow: &Workflow, turn: &Turn) -> Option<Command> {
    let attempt = |step: &StepDefinition, number| Attempt {
        step: step.name.clone(),
        number,
        started_at: at(0),
        took: Duration::ZERO,
    };
    match (execution.next(workflow), turn) {
        (Next::Nothing, _) => None,
        (Next::Wait { until }, _) => Some(Command::FireTimer(until)),
        (Next::Complete, _) => Some(Command::Complete),
        (Next::Fail { cause }, _) => Some(Command::Fail(cause)),
        (Next::Run { step, attempt: n }, Turn::Success | Turn::Stray(_)) => {
            Some(Command::CompleteStep(attempt(step, n), text("done")))
        }
        (Next::Run { step, attempt: n }, Turn::Retry) => {
            Some(Command::FailStep(attempt(step, n), failure(), Some(at(9))))
        }
        (Next::Run { step, attempt: n }, Turn::Failure) => {
            Some(Command::FailStep(attempt(step, n), failure(), None))
        }
    }
}

/// The history that these turns lead to.
fn history(turns: &[Turn]) -> Vec<Recorded> {
    let workflow = workflow(&STEPS);
    let mut history = vec![recorded(1, received(&STEPS))];
    let mut execution = Execution::begin(&history[0]).unwrap();
    for turn in turns {
        let event = match turn {
            Turn::Stray(event) => Some(event.clone()),
            Turn::Success | Turn::Retry | Turn::Failure => wish(&execution, &workflow, turn)
                .map(|command| execution.decide(command).expect("what is wanted is allowed")),
        };
        let Some(event) = event else { continue };
        let recorded = recorded(execution.sequence.next().get(), event);
        match (execution.clone().evolve(&recorded), turn) {
            (Ok(after), _) => {
                execution = after;
                history.push(recorded);
            }
            (Err(_), Turn::Stray(_)) => {}
            (Err(error), _) => panic!("what was decided is accepted: {error}"),
        }
    }
    history
}

fn folded(history: &[Recorded]) -> Execution {
    Execution::fold(history).unwrap().unwrap()
}

proptest! {
    #[test]
    fn what_next_asks_for_decide_allows_and_evolve_accepts(turns in turns(), last in turns()) {
        let execution = folded(&history(&turns));
        let turn = last.first().cloned().unwrap_or(Turn::Success);

        let Some(command) = wish(&execution, &workflow(&STEPS), &turn) else {
            prop_assert!(execution.status.is_terminal());
            return Ok(());
        };
        let event = execution.decide(command);

        let event = event.expect("what is wanted is allowed");
        let sequence = execution.sequence.next().get();
        prop_assert!(execution.evolve(&recorded(sequence, event)).is_ok());
    }

    #[test]
    fn what_decide_returns_evolve_accepts(turns in turns(), command in command()) {
        let execution = folded(&history(&turns));

        if let Ok(event) = execution.decide(command) {
            let sequence = execution.sequence.next().get();
            prop_assert!(execution.evolve(&recorded(sequence, event)).is_ok());
        }
    }

    #[test]
    fn what_has_ended_refuses_every_command_and_every_event(
        turns in turns(),
        command in command(),
        event in event(),
    ) {
        let mut history = history(&turns);
        if !folded(&history).status.is_terminal() {
            let cause = Cause { step: None, kind: "cancelled".into(), message: String::new() };
            let sequence = history.len() as u64 + 1;
            history.push(recorded(sequence, Event::ExecutionFailed { cause }));
        }
        let (ended, workflow) = (folded(&history), workflow(&STEPS));

        prop_assert_eq!(ended.decide(command), Err(Refusal::Ended));
        prop_assert_eq!(ended.next(&workflow), Next::Nothing);
        let sequence = ended.sequence.next().get();
        prop_assert!(ended.evolve(&recorded(sequence, event)).is_err());
    }

    #[test]
    fn a_history_can_be_folded_in_two_parts(turns in turns(), cut in any::<prop::sample::Index>()) {
        let history = history(&turns);
        let (first, rest) = history.split_at(1 + cut.index(history.len()));

        let in_parts = rest.iter().try_fold(folded(first), Execution::evolve);

        prop_assert_eq!(in_parts, Ok(folded(&history)));
    }

    #[test]
    fn no_sequence_of_events_panics(
        events in vec((event(), proptest::option::weighted(0.1, any::<u64>())), 0..12),
    ) {
        let placed = |(n, (event, stray)): (u64, (Event, Option<u64>))| Recorded {
            sequence: Sequence::new(stray.unwrap_or(n)),
            ..recorded(n, event)
        };
        let history: Vec<_> = (1..).zip(events).map(placed).collect();

        let begun = Execution::begin(&recorded(1, received(&STEPS))).unwrap();

        Execution::fold(&history).ok();
        history.iter().try_fold(begun, Execution::evolve).ok();
    }

    #[test]
    fn an_execution_is_due_exactly_until_it_ends(turns in turns()) {
        let execution = folded(&history(&turns));

        prop_assert_eq!(execution.due_at().is_none(), execution.status.is_terminal());
    }

    #[test]
    fn an_execution_that_is_let_alone_ends(turns in turns()) {
        let workflow = workflow(&STEPS);
        let mut execution = folded(&history(&turns));

        while let Some(command) = wish(&execution, &workflow, &Turn::Retry) {
            let event = execution.decide(command).expect("what is wanted is allowed");
            let sequence = execution.sequence.next().get();
            execution = execution.evolve(&recorded(sequence, event)).unwrap();
        }

        prop_assert!(execution.status.is_terminal());
        prop_assert!(execution.sequence.get() <= EVENTS_MAX);
    }
}

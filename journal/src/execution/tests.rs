mod nested;

use super::*;
use crate::event::Events;
use crate::samples::{
    at, completed, ended_badly, execution, failed, failure, fired, history, received, recorded,
    step, text, workflow,
};

const END: Event = Event::ExecutionCompleted { filtered: None };

/// A time at which nothing else is due.
const NOW: i64 = 5;

fn attempt(name: &str, number: u32) -> Attempt {
    Attempt {
        step: step(name),
        number,
        started_at: at(1),
        took: Duration::from_millis(20),
        request: None,
    }
}

fn not_this_attempt(name: &str, attempt: u32) -> Result<Event, Refusal> {
    Err(Refusal::NotThisAttempt { step: step(name), attempt })
}

fn step_cause() -> Cause {
    Cause { step: Some(step("a")), kind: "timeout".into(), message: "no answer in 30s".into() }
}

fn cancelled() -> Cause {
    Cause { step: None, kind: "cancelled".into(), message: "by an operator".into() }
}

/// The state of step `a` after these many attempts, the last of which ended at this second.
fn state(attempts: u32, ended_at: i64, stage: Stage) -> StepState {
    let failed = !matches!(stage, Stage::Completed(_));
    StepState {
        name: step("a"),
        attempts,
        forgiven: 0,
        started_at: at(1),
        first_at: at(1),
        ended_at: at(ended_at),
        stage,
        error: failed.then(failure),
        seen: None,
        left: None,
    }
}

/// What can be done with the step of the workflow that stands there.
fn wanted(step: &StepDefinition, what: Move) -> Next<'_> {
    Next::Do { tasks: vec![Task { path: step.name.clone(), step, what }], wake: None }
}

#[track_caller]
fn illegal_after(before: Execution, event: Event) -> IllegalEvent {
    let sequence = before.sequence.next().get();
    before.evolve(&recorded(sequence, event)).unwrap_err()
}

/// This many events of a step that fails again and again.
fn endless(step: &str, events: u64) -> impl Iterator<Item = Event> {
    let rounds = (1..).flat_map(move |n| [failed(step, n, Some(at(9))), fired(at(9))]);
    rounds.take(events as usize)
}

#[test]
fn no_events_are_no_execution() {
    assert_eq!(Execution::fold(&[]), Ok(None));
}

#[test]
fn a_webhook_begins_an_execution() {
    let first = recorded(1, received(&["a", "b"]));

    let begun = Execution::begin(&first);

    let Event::WebhookReceived(webhook) = &first.event else { panic!("{first:?}") };
    let expected = Execution {
        webhook: webhook.clone(),
        status: Status::Running,
        line: Line::new([step("a"), step("b")]),
        rescue: Line::new([]),
        created_at: at(1),
        updated_at: at(1),
        counts_from: at(1),
        sequence: Sequence::new(1),
        last_append: Sequence::new(1),
        digest: None,
    };
    assert_eq!(begun, Ok(expected));
}

#[test]
fn nothing_but_a_webhook_begins_an_execution() {
    let history = history([END]);

    let error = Execution::fold(&history).unwrap_err();

    assert_eq!(error, IllegalEvent { sequence: Sequence::new(1), name: "ExecutionCompleted" });
    assert_eq!(error.to_string(), "event 1 (ExecutionCompleted) cannot stand where it stands");
}

#[test]
fn a_history_whose_beginning_is_missing_is_illegal() {
    let second = recorded(2, received(&["a"]));

    let error = Execution::fold([&second]).unwrap_err();

    assert_eq!(error, IllegalEvent { sequence: Sequence::new(2), name: "WebhookReceived" });
}

#[test]
fn a_completed_step_keeps_its_result() {
    let after = execution([completed("a", 1)]);

    assert_eq!(after.line.steps, [state(1, 2, Stage::Completed(text("done")))]);
    assert_eq!(after.line.in_hand(), Some(&step("b")));
    assert_eq!((after.status, after.updated_at), (Status::Running, at(2)));
    assert_eq!((after.sequence, after.last_append), (Sequence::new(2), Sequence::new(2)));
}

#[test]
fn a_failed_step_with_a_retry_waits_for_it() {
    let after = execution([failed("a", 1, Some(at(9)))]);

    assert_eq!(after.line.steps, [state(1, 2, Stage::Retrying { until: at(9) })]);
    assert_eq!((after.status.clone(), after.waits_until()), (Status::Running, Some(at(9))));
}

#[test]
fn a_failed_step_without_a_retry_fails_the_execution() {
    let after = execution([failed("a", 1, None)]);

    assert_eq!(after.line.steps, [state(1, 2, Stage::Failed(None))]);
    assert_eq!(after.status, Status::Failing { cause: step_cause() });
}

#[test]
fn a_timer_lets_it_run_again() {
    let after = execution([failed("a", 1, Some(at(9))), fired(at(9))]);

    assert_eq!(after.line.steps, [state(1, 2, Stage::Ready)]);
    assert_eq!(after.waits_until(), None);
}

#[test]
fn a_step_that_completes_at_last_counts_its_attempts_from_its_first_begin() {
    let given = execution([failed("a", 1, Some(at(9))), fired(at(9))]);
    let second = Event::StepCompleted {
        step: step("a"),
        attempt: 2,
        started_at: at(9),
        duration_ms: 20,
        output: text("done"),
        request: None,
    };

    let after = given.evolve(&recorded(4, second)).unwrap();

    assert_eq!(after.line.steps, [state(2, 4, Stage::Completed(text("done")))]);
}

#[test]
fn an_execution_completes_and_fails() {
    let all_done = execution([completed("a", 1), completed("b", 1)]);
    let failing = execution([failed("a", 1, None)]);

    let completed = all_done.evolve(&recorded(4, END)).unwrap();
    let failed = failing.evolve(&recorded(3, ended_badly(step_cause()))).unwrap();

    assert_eq!(completed.status, Status::Completed { filtered: None });
    assert_eq!(failed.status, Status::Failed { cause: step_cause() });
}

#[test]
fn an_execution_can_be_failed_from_every_state_but_an_end() {
    let states = [
        execution([]),
        execution([failed("a", 1, Some(at(9)))]),
        execution([failed("a", 1, None)]),
    ];
    for given in states {
        let event = given.decide(Command::Fail(cancelled())).unwrap();

        let after = given.clone().evolve(&recorded(given.sequence.next().get(), event)).unwrap();

        assert_eq!(after.status, Status::Failed { cause: cancelled() });
    }
}

#[test]
fn events_of_one_append_share_its_place() {
    let events = Events::new(vec![completed("b", 1), END]).unwrap();
    let appended = events.record(Sequence::new(2), at(5), None);

    let after = appended.iter().try_fold(execution([completed("a", 1)]), Execution::evolve);

    let after = after.unwrap();
    assert_eq!(
        (after.sequence, after.last_append, after.updated_at),
        (Sequence::new(4), Sequence::new(3), at(5))
    );
}

#[test]
fn an_event_that_fits_no_state_is_illegal() {
    let running = || execution([]);
    let waiting = || execution([failed("a", 1, Some(at(9)))]);
    let failing = || execution([failed("a", 1, None)]);
    let all_done = || execution([completed("a", 1), completed("b", 1)]);
    let ended = || execution([completed("a", 1), completed("b", 1), END]);
    let failed_end = || execution([ended_badly(cancelled())]);
    let cases = [
        // A second beginning.
        (running(), received(&["a", "b"])),
        // Going on although it has not ended badly.
        (running(), Event::ExecutionRedriven { from: None }),
        (ended(), Event::ExecutionRedriven { from: None }),
        // A step before its turn, one that is done, one that is not in the workflow.
        (running(), completed("b", 1)),
        (execution([completed("a", 1)]), completed("a", 2)),
        (running(), completed("c", 1)),
        (running(), failed("b", 1, None)),
        // Attempts left out, repeated, or numbered from 0.
        (running(), completed("a", 0)),
        (running(), completed("a", 2)),
        (running(), failed("a", 2, None)),
        (execution([failed("a", 1, Some(at(9))), fired(at(9))]), completed("a", 1)),
        // A timer nobody waits for, or another one.
        (running(), fired(at(9))),
        (waiting(), fired(at(8))),
        (failing(), fired(at(9))),
        // Outcomes while nothing may run.
        (waiting(), completed("a", 2)),
        (failing(), completed("a", 2)),
        (waiting(), failed("a", 2, None)),
        // An end before all is done, or after something failed.
        (running(), END),
        (waiting(), END),
        (failing(), END),
        (all_done(), completed("b", 2)),
        // Anything after the end.
        (ended(), END),
        (ended(), ended_badly(cancelled())),
        (failed_end(), completed("a", 1)),
        (failed_end(), ended_badly(cancelled())),
    ];
    for (before, event) in cases {
        let expected = IllegalEvent { sequence: before.sequence.next(), name: event.name() };
        assert_eq!(illegal_after(before, event), expected);
    }
}

#[test]
fn an_event_out_of_order_is_illegal() {
    for sequence in [0, 1, 3, u64::MAX] {
        let sequence = Sequence::new(sequence);
        let event = Recorded { sequence, ..recorded(2, completed("a", 1)) };

        let error = execution([]).evolve(&event).unwrap_err();

        assert_eq!(error, IllegalEvent { sequence, name: "StepCompleted" });
    }
}

#[test]
fn the_outcome_of_the_wanted_attempt_is_recorded() {
    let given = execution([]);

    let completion = given.decide(Command::CompleteStep(attempt("a", 1), text("done")));
    let retry = given.decide(Command::FailStep(attempt("a", 1), failure(), Some(at(9))));
    let failing = given.decide(Command::FailStep(attempt("a", 1), failure(), None));

    assert_eq!(completion, Ok(completed("a", 1)));
    assert_eq!(retry, Ok(failed("a", 1, Some(at(9)))));
    assert_eq!(failing, Ok(failed("a", 1, None)));
}

#[test]
fn a_late_outcome_of_a_superseded_attempt_is_refused() {
    let second_is_wanted = execution([failed("a", 1, Some(at(9))), fired(at(9))]);

    let late = second_is_wanted.decide(Command::CompleteStep(attempt("a", 1), text("late")));

    assert_eq!(late, not_this_attempt("a", 1));
    assert_eq!(
        late.unwrap_err().to_string(),
        "attempt 1 of step `a` is not what the execution waits for"
    );
}

#[test]
fn an_outcome_that_is_recorded_already_is_refused() {
    let given = execution([completed("a", 1)]);

    let again = given.decide(Command::CompleteStep(attempt("a", 1), text("again")));
    let otherwise = given.decide(Command::FailStep(attempt("a", 1), failure(), None));

    assert_eq!(again, not_this_attempt("a", 1));
    assert_eq!(otherwise, not_this_attempt("a", 1));
}

#[test]
fn an_outcome_before_its_turn_is_refused() {
    let waiting = execution([failed("a", 1, Some(at(9)))]);
    let failing = execution([failed("a", 1, None)]);

    let before_its_time = waiting.decide(Command::CompleteStep(attempt("a", 2), text("early")));
    let after_the_last = failing.decide(Command::CompleteStep(attempt("a", 2), text("late")));
    let before_its_step = execution([]).decide(Command::FailStep(attempt("b", 1), failure(), None));

    assert_eq!(before_its_time, not_this_attempt("a", 2));
    assert_eq!(after_the_last, not_this_attempt("a", 2));
    assert_eq!(before_its_step, not_this_attempt("b", 1));
}

#[test]
fn a_timer_that_is_due_fires() {
    let waiting = execution([failed("a", 1, Some(at(9)))]);

    assert_eq!(waiting.decide(Command::FireTimer(at(9))), Ok(fired(at(9))));
    assert_eq!(waiting.decide(Command::FireTimer(at(99))), Ok(fired(at(9))));
}

#[test]
fn a_timer_that_is_not_due_is_refused() {
    let waiting = execution([failed("a", 1, Some(at(9)))]);

    assert_eq!(waiting.decide(Command::FireTimer(at(8))), Err(Refusal::NoTimerDue));
}

#[test]
fn a_timer_that_nobody_waits_for_is_refused() {
    for given in [execution([]), execution([failed("a", 1, None)])] {
        assert_eq!(given.decide(Command::FireTimer(at(99))), Err(Refusal::NoTimerDue));
    }
}

#[test]
fn an_execution_completes_once_all_steps_have() {
    let all_done = execution([completed("a", 1), completed("b", 1)]);
    let half_done = execution([completed("a", 1)]);
    let failing = execution([failed("a", 1, None)]);

    assert_eq!(all_done.decide(Command::Complete(None)), Ok(END));
    assert_eq!(half_done.decide(Command::Complete(None)), Err(Refusal::Unfinished));
    assert_eq!(failing.decide(Command::Complete(None)), Err(Refusal::Unfinished));
}

#[test]
fn what_has_ended_refuses_everything() {
    let ended = execution([ended_badly(cancelled())]);
    let commands = [
        Command::CompleteStep(attempt("a", 1), text("late")),
        Command::FailStep(attempt("a", 1), failure(), None),
        Command::FireTimer(at(99)),
        Command::Complete(None),
        Command::Fail(cancelled()),
    ];
    for command in commands {
        assert_eq!(ended.decide(command), Err(Refusal::Ended));
    }
}

#[test]
fn next_is_the_first_step_without_a_result() {
    let workflow = workflow(&["a", "b"]);
    let [a, b] = workflow.steps.as_slice() else { panic!("{workflow:?}") };

    let at_the_start = execution([]).next(&workflow, at(NOW));
    let after_one = execution([completed("a", 1)]).next(&workflow, at(NOW));
    let fired = execution([failed("a", 1, Some(at(9))), fired(at(9))]);

    assert_eq!(at_the_start, wanted(a, Move::Attempt(1)));
    assert_eq!(after_one, wanted(b, Move::Attempt(1)));
    assert_eq!(fired.next(&workflow, at(NOW)), wanted(a, Move::Attempt(2)));
}

#[test]
fn next_is_to_wait_to_fire_to_complete_to_fail_or_nothing() {
    let workflow = workflow(&["a", "b"]);
    let all_done = [completed("a", 1), completed("b", 1)];

    let waiting = execution([failed("a", 1, Some(at(9)))]);
    let done = execution(all_done.clone()).next(&workflow, at(NOW));
    let failing = execution([failed("a", 1, None)]).next(&workflow, at(NOW));
    let completed = execution(all_done.into_iter().chain([END])).next(&workflow, at(NOW));
    let failed = execution([ended_badly(cancelled())]).next(&workflow, at(NOW));

    assert_eq!(waiting.next(&workflow, at(8)), Next::Wait { until: at(9) });
    assert_eq!(waiting.next(&workflow, at(9)), Next::Fire { due: at(9) });
    assert_eq!(done, Next::Complete { filtered: None });
    assert_eq!(failing, Next::Fail { cause: step_cause() });
    assert_eq!(completed, Next::Nothing);
    assert_eq!(failed, Next::Nothing);
}

#[test]
fn a_workflow_without_steps_completes_at_once() {
    let empty = Execution::fold(&history([received(&[])])).unwrap().unwrap();

    assert_eq!(empty.next(&workflow(&[]), at(NOW)), Next::Complete { filtered: None });
}

#[test]
fn the_last_place_in_a_history_is_kept_for_its_end() {
    let workflow = workflow(&["a", "b"]);
    let budget = Cause {
        step: None,
        kind: "budget".into(),
        message: "an execution may have 20000 events".into(),
    };
    let after_a = |events| [completed("a", 1)].into_iter().chain(endless("b", events));

    let running = execution(endless("a", EVENTS_MAX - 2));
    let waiting = execution(after_a(EVENTS_MAX - 3));
    let one_before = execution(after_a(EVENTS_MAX - 4));

    let number = u32::try_from(EVENTS_MAX / 2 - 1).unwrap();
    assert_eq!(running.next(&workflow, at(NOW)), Next::Fail { cause: budget.clone() });
    assert_eq!(waiting.next(&workflow, at(NOW)), Next::Fail { cause: budget });
    let last = wanted(&workflow.steps[1], Move::Attempt(number));
    assert_eq!(one_before.next(&workflow, at(NOW)), last);
}

#[test]
fn an_execution_that_is_done_with_its_last_but_one_event_completes() {
    let number = u32::try_from(EVENTS_MAX / 2 - 1).unwrap();
    let last_ones = [completed("a", number), completed("b", 1)];

    let given = execution(endless("a", EVENTS_MAX - 4).chain(last_ones));

    assert_eq!(given.sequence, Sequence::new(EVENTS_MAX - 1));
    assert_eq!(given.next(&workflow(&["a", "b"]), at(NOW)), Next::Complete { filtered: None });
}

#[test]
fn it_is_due_when_its_timer_is_and_a_minute_after_it_moved_otherwise() {
    let running = execution([completed("a", 1)]);
    let waiting = execution([failed("a", 1, Some(at(9)))]);
    let failing = execution([failed("a", 1, None)]);
    let ended = execution([ended_badly(cancelled())]);

    assert_eq!(running.due_at(), None);
    assert_eq!(waiting.due_at(), Some(at(9)));
    assert_eq!(failing.due_at(), None);
    assert_eq!(ended.due_at(), None);
}

#[test]
fn its_last_chance_is_two_hours_before_its_history_expires() {
    let running = execution([completed("a", 1)]);

    assert_eq!(running.last_chance(), at(604_800 - 2 * 3_600));
}

#[test]
fn its_outputs_are_those_of_completed_steps() {
    let given = execution([completed("a", 1), failed("b", 1, None)]);

    let outputs: Vec<_> = given.line.outputs().collect();

    assert_eq!(outputs, [(&step("a"), &text("done"))]);
}

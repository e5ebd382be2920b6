//! What holds for every history and every command.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::event::{Branch, Branches, CallbackAnswer, CompletionRule};
use crate::samples::{at, failure, recorded, showcase, step, text, webhook};

/// Every step of the showcase, and some that it does not have.
const PATHS: [&str; 14] = [
    "a",
    "w",
    "fork",
    "fork/left/l1",
    "fork/left/l2",
    "fork/right/r1",
    "list",
    "list/0/m",
    "list/2/m",
    "list/9/m",
    "ask",
    "ask/s",
    "tell",
    "unknown",
];

/// What happens next to an execution.
#[derive(Debug, Clone)]
enum Turn {
    /// It does one of the things that it wants, with this outcome.
    Wish(usize, Fate),
    /// Somebody appends this, if it can stand there.
    Stray(Event),
}

/// How an attempt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Success,
    Retry,
    Failure,
    Filtered,
    Skipped,
    Polled,
    Claimed,
}

fn time() -> impl Strategy<Value = Timestamp> {
    let far = [Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX)];
    prop_oneof![4 => (0i64..4).prop_map(at), 1 => select(far.to_vec())]
}

fn name() -> impl Strategy<Value = StepName> {
    select(PATHS.to_vec()).prop_map(step)
}

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0u32..4, 1 => Just(u32::MAX)]
}

fn cause() -> impl Strategy<Value = Cause> {
    proptest::option::of(name()).prop_map(|step| Cause {
        step,
        kind: "refused".into(),
        message: "by somebody".into(),
    })
}

fn attempt() -> impl Strategy<Value = Attempt> {
    (name(), number(), time(), any::<Duration>()).prop_map(|(step, number, started_at, took)| {
        Attempt { step, number, started_at, took, request: None }
    })
}

fn branches() -> impl Strategy<Value = Branches> {
    let branch = |name: &str, steps: &[&str]| Branch {
        name: step(name),
        steps: steps.iter().map(|name| step(name)).collect(),
    };
    let parallel = vec![branch("left", &["l1", "l2"]), branch("right", &["r1"])];
    prop_oneof![
        Just(Branches::Parallel(parallel)),
        (0u32..4).prop_map(|count| Branches::Map {
            items: text("[]"),
            count,
            steps: vec![step("m")],
            labels: Vec::new(),
        }),
    ]
}

fn rule() -> impl Strategy<Value = CompletionRule> {
    let some = || proptest::option::of(0u32..4);
    (some(), some(), proptest::option::of(0u8..100)).prop_map(
        |(enough, tolerated, tolerated_percent)| CompletionRule {
            enough,
            tolerated,
            tolerated_percent,
        },
    )
}

fn answer() -> impl Strategy<Value = CallbackAnswer> {
    prop_oneof![
        Just(CallbackAnswer::Succeeded(text("yes"))),
        Just(CallbackAnswer::Failed(failure())),
    ]
}

/// Any command, sensible or not.
fn command() -> impl Strategy<Value = Command> {
    let token = || select(vec!["t", "other"]).prop_map(str::to_owned);
    prop_oneof![
        attempt().prop_map(|attempt| Command::CompleteStep(attempt, text("done"))),
        (attempt(), proptest::option::of(time()))
            .prop_map(|(attempt, retry_at)| Command::FailStep(attempt, failure(), retry_at)),
        attempt().prop_map(|attempt| Command::FilterStep(attempt, "not wanted".into())),
        (attempt(), time()).prop_map(|(it, next)| Command::PollStep(it, text("seen"), next)),
        (attempt(), time()).prop_map(|(it, now)| Command::ExpireCallback(it, failure(), now)),
        name().prop_map(Command::SkipStep),
        (name(), number(), time(), proptest::option::of(time())).prop_map(
            |(step, attempt, until, replaces)| Command::ClaimStep {
                step,
                attempt,
                until,
                replaces,
                process: None,
            }
        ),
        (name(), time()).prop_map(|(name, until)| Command::StartWait(name, until)),
        (name(), number(), time(), proptest::option::of(0u64..9)).prop_map(
            |(step, attempt, expires_at, beat)| Command::CreateCallback {
                step,
                attempt,
                token_sha256: "t".into(),
                steps: vec![StepName::new("s")],
                expires_at,
                heartbeat: beat.map(Duration::from_secs),
            }
        ),
        (name(), token(), answer(), time()).prop_map(|(step, token_sha256, answer, now)| {
            Command::ReceiveCallback { step, token_sha256, answer, now }
        }),
        (name(), token(), time()).prop_map(|(step, token_sha256, now)| Command::BeatCallback {
            step,
            token_sha256,
            now
        }),
        (name(), number(), branches(), 0u32..3, rule()).prop_map(
            |(step, attempt, branches, concurrency, rule)| Command::StartBranches {
                step,
                attempt,
                branches,
                concurrency,
                rule,
            }
        ),
        time().prop_map(Command::FireTimer),
        Just(Command::Complete(None)),
        cause().prop_map(Command::GiveUp),
        cause().prop_map(Command::Fail),
        Just(Command::Cancel("enough".into())),
        proptest::option::of(name()).prop_map(Command::Redrive),
    ]
}

/// Any event, sensible or not: those that commands lead to, whatever the state, and a beginning.
fn event() -> impl Strategy<Value = Event> {
    let begin = vec(select(vec!["a", "b"]), 0..4)
        .prop_map(|steps| Event::WebhookReceived(Arc::new(webhook(&steps))));
    let completed = (attempt(), Just(())).prop_map(|(it, ())| Event::StepCompleted {
        step: it.step,
        attempt: it.number,
        started_at: it.started_at,
        duration_ms: 1,
        output: text("done"),
        request: None,
    });
    let failed =
        (attempt(), proptest::option::of(time())).prop_map(|(it, retry_at)| Event::StepFailed {
            step: it.step,
            attempt: it.number,
            started_at: it.started_at,
            duration_ms: 1,
            error: failure(),
            retry_at,
            request: None,
        });
    let branching = (name(), number(), branches(), 0u32..3, rule()).prop_map(
        |(step, attempt, branches, concurrency, rule)| Event::BranchesStarted {
            step,
            attempt,
            branches,
            concurrency,
            rule,
        },
    );
    let callback =
        (name(), number(), time()).prop_map(|(step, attempt, expires_at)| Event::CallbackCreated {
            step,
            attempt,
            token_sha256: "t".into(),
            steps: Vec::new(),
            expires_at,
            heartbeat_ms: None,
        });
    prop_oneof![
        begin,
        completed,
        failed,
        branching,
        callback,
        (name(), answer()).prop_map(|(step, answer)| Event::CallbackReceived { step, answer }),
        name().prop_map(|step| Event::CallbackBeat { step }),
        name().prop_map(|step| Event::StepSkipped { step }),
        (name(), number(), time(), proptest::option::of(time())).prop_map(
            |(step, attempt, until, replaces)| Event::StepClaimed {
                step,
                attempt,
                until,
                replaces,
                process: None,
            }
        ),
        (name(), time()).prop_map(|(step, until)| Event::WaitStarted { step, until }),
        time().prop_map(|due| Event::TimerFired { due }),
        Just(Event::ExecutionCompleted { filtered: None }),
        cause().prop_map(|cause| Event::ExecutionFailing { cause }),
        cause().prop_map(|cause| Event::ExecutionFailed { cause }),
        Just(Event::ExecutionCancelled { reason: "enough".into() }),
        proptest::option::of(name()).prop_map(|from| Event::ExecutionRedriven { from }),
    ]
}

fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let fate = prop_oneof![
        12 => Just(Fate::Success),
        3 => Just(Fate::Retry),
        1 => Just(Fate::Failure),
        1 => Just(Fate::Filtered),
        1 => Just(Fate::Skipped),
        1 => Just(Fate::Polled),
        1 => Just(Fate::Claimed),
    ];
    let turn = prop_oneof![
        8 => (any::<usize>(), fate).prop_map(|(pick, fate)| Turn::Wish(pick, fate)),
        2 => event().prop_map(Turn::Stray),
    ];
    vec(turn, 0..32)
}

/// What an execution's wish comes to; nothing if it has ended.
fn wish(execution: &Execution, workflow: &Workflow, pick: usize, fate: Fate) -> Option<Command> {
    // A time at which whatever is waited for has come.
    let mut now = execution.updated_at;
    for _ in 0..3 {
        match execution.next(workflow, now) {
            Next::Nothing => return None,
            Next::Wait { until } => match execution.callbacks().first() {
                Some((step, callback)) if callback.line.is_over() && fate != Fate::Failure => {
                    return Some(Command::ReceiveCallback {
                        step: step.clone(),
                        token_sha256: callback.token_sha256.clone(),
                        answer: CallbackAnswer::Succeeded(text("yes")),
                        now: Timestamp::from_millis(i64::MIN),
                    });
                }
                _ => now = until,
            },
            Next::Fire { .. } => return Some(Command::FireTimer(now)),
            Next::Complete { filtered } => return Some(Command::Complete(filtered)),
            Next::GiveUp { cause } => return Some(Command::GiveUp(cause)),
            Next::Fail { cause } => return Some(Command::Fail(cause)),
            Next::Do { tasks, .. } => {
                return Some(made(execution, &tasks[pick % tasks.len()], fate, now));
            }
        }
    }
    panic!("an execution waits for ever")
}

/// What comes of doing this.
fn made(execution: &Execution, task: &Task<'_>, fate: Fate, now: Timestamp) -> Command {
    let path = task.path.clone();
    let attempt = |number| Attempt {
        step: path.clone(),
        number,
        started_at: at(0),
        took: Duration::ZERO,
        request: None,
    };
    let number = match task.what {
        Move::Attempt(number) => number,
        Move::EndWait(number) => return Command::CompleteStep(attempt(number), text("null")),
        Move::Interrupt(number) => return Command::FailStep(attempt(number), failure(), None),
        Move::Expire(number) => return Command::ExpireCallback(attempt(number), failure(), now),
        Move::EndBranches(number) => {
            let state = execution.step(&path).expect("its branches have ended");
            let Stage::Branching(branches) = &state.stage else { panic!("{state:?}") };
            return match branches.verdict() {
                Some(Verdict::TooMany | Verdict::TooFew) => {
                    Command::FailStep(attempt(number), failure(), None)
                }
                _ => Command::CompleteStep(attempt(number), text("together")),
            };
        }
    };
    let claim = execution.step(&path).and_then(|it| match &it.stage {
        Stage::Claimed(claim) => Some(claim.until),
        _ => None,
    });
    let claimed = claim.is_some();
    let first = execution.step(&path).is_none_or(|state| state.attempts == state.forgiven);
    match (fate, task.step.run.as_str()) {
        (Fate::Skipped, _) if first && !claimed => Command::SkipStep(path),
        (Fate::Failure, _) => Command::FailStep(attempt(number), failure(), None),
        (_, "wait") if !claimed => Command::StartWait(path, now + Duration::from_secs(60)),
        (_, "callback") if !claimed => Command::CreateCallback {
            step: path,
            attempt: number,
            token_sha256: "t".into(),
            steps: task.step.steps.iter().map(|step| step.name.clone()).collect(),
            expires_at: now + Duration::from_secs(600),
            heartbeat: Some(Duration::from_secs(60)),
        },
        (_, "parallel") if !claimed => Command::StartBranches {
            step: path,
            attempt: number,
            branches: Branches::Parallel(
                task.step
                    .branches
                    .iter()
                    .map(|branch| Branch {
                        name: branch.name.clone(),
                        steps: branch.steps.iter().map(|step| step.name.clone()).collect(),
                    })
                    .collect(),
            ),
            concurrency: 2,
            rule: CompletionRule::default(),
        },
        (_, "map") if !claimed => Command::StartBranches {
            step: path,
            attempt: number,
            branches: Branches::Map {
                items: text("[1,2,3]"),
                count: 3,
                steps: task.step.steps.iter().map(|step| step.name.clone()).collect(),
                labels: Vec::new(),
            },
            concurrency: 2,
            rule: CompletionRule { tolerated: Some(1), ..CompletionRule::default() },
        },
        (Fate::Claimed, _) => {
            let until = now.max(claim.unwrap_or(now)) + Duration::from_secs(30);
            Command::ClaimStep {
                step: path,
                attempt: number,
                until,
                replaces: claim,
                process: None,
            }
        }
        (Fate::Filtered, _) => Command::FilterStep(attempt(number), "not wanted".into()),
        (Fate::Retry, _) => Command::FailStep(attempt(number), failure(), Some(at(9))),
        (Fate::Polled, _) => Command::PollStep(attempt(number), text("seen"), at(9)),
        (Fate::Success | Fate::Skipped, _) => {
            let result = text(&format!("result of {path}"));
            Command::CompleteStep(attempt(number), result)
        }
    }
}

fn begin() -> Recorded {
    recorded(1, showcase().1)
}

/// One event more, which must be one that can follow.
fn follow(execution: &mut Execution, event: Event) -> Recorded {
    let recorded = recorded(execution.sequence.next().get(), event);
    execution.apply(&recorded).expect("what was decided is accepted");
    recorded
}

/// The history that these turns lead to.
fn history(turns: &[Turn]) -> Vec<Recorded> {
    let workflow = showcase().0;
    let mut history = vec![begin()];
    let mut execution = Execution::begin(&history[0]).unwrap();
    for turn in turns {
        match turn {
            Turn::Stray(event) => {
                let recorded = recorded(execution.sequence.next().get(), event.clone());
                if execution.apply(&recorded).is_ok() {
                    history.push(recorded);
                }
            }
            Turn::Wish(pick, fate) => {
                let Some(command) = wish(&execution, &workflow, *pick, *fate) else { continue };
                let event = execution.decide(command).expect("what is wanted is allowed");
                history.push(follow(&mut execution, event));
            }
        }
    }
    history
}

fn folded(history: &[Recorded]) -> Execution {
    Execution::fold(history).unwrap().unwrap()
}

/// Goes on to the end, with these picks again and again.
fn finished(mut execution: Execution, picks: &[usize], fate: Fate) -> Execution {
    let workflow = showcase().0;
    let mut picks = picks.iter().copied().cycle();
    while let Some(command) = wish(&execution, &workflow, picks.next().unwrap_or_default(), fate) {
        let event = execution.decide(command).expect("what is wanted is allowed");
        follow(&mut execution, event);
    }
    execution
}

fn results(execution: &Execution) -> Vec<String> {
    let shown = |(name, output): (&StepName, &Payload)| {
        format!("{name}: {}", serde_json::to_string(output).unwrap())
    };
    execution.line.outputs().map(shown).collect()
}

proptest! {
    #[test]
    fn what_next_asks_for_decide_allows_and_evolve_accepts(
        turns in turns(),
        pick in any::<usize>(),
        fate in select(vec![Fate::Success, Fate::Retry, Fate::Failure]),
    ) {
        let execution = folded(&history(&turns));

        let Some(command) = wish(&execution, &showcase().0, pick, fate) else {
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
    fn an_event_that_cannot_follow_changes_nothing(turns in turns(), event in event()) {
        let before = folded(&history(&turns));
        let mut after = before.clone();

        if after.apply(&recorded(before.sequence.next().get(), event)).is_err() {
            prop_assert_eq!(after, before);
        }
    }

    #[test]
    fn what_has_ended_wants_nothing_and_only_an_operator_moves_it(
        turns in turns(),
        command in command(),
    ) {
        let mut history = history(&turns);
        if !folded(&history).status.is_terminal() {
            let cause = Cause { step: None, kind: "refused".into(), message: String::new() };
            let sequence = history.len() as u64 + 1;
            history.push(recorded(sequence, Event::ExecutionFailed { cause }));
        }
        let ended = folded(&history);

        let workflow = showcase().0;
        prop_assert_eq!(ended.next(&workflow, at(99)), Next::Nothing);
        match ended.decide(command) {
            Err(_) => {}
            Ok(event) => prop_assert_eq!(event.name(), "ExecutionRedriven"),
        }
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

        let begun = Execution::begin(&begin()).unwrap();

        Execution::fold(&history).ok();
        history.iter().try_fold(begun, Execution::evolve).ok();
    }

    #[test]
    fn an_execution_is_due_exactly_until_it_ends(turns in turns()) {
        let execution = folded(&history(&turns));

        prop_assert!(execution.due_at().is_none() || !execution.status.is_terminal());
    }

    #[test]
    fn an_execution_that_is_let_alone_ends(
        turns in turns(),
        picks in vec(any::<usize>(), 1..8),
        fate in select(vec![Fate::Success, Fate::Retry, Fate::Failure, Fate::Polled]),
    ) {
        let ended = finished(folded(&history(&turns)), &picks, fate);

        prop_assert!(ended.status.is_terminal());
        prop_assert!(ended.sequence.get() <= EVENTS_MAX);
    }

    #[test]
    fn branches_reach_the_same_result_in_any_order(picks in vec(any::<usize>(), 1..64)) {
        let begun = || Execution::begin(&begin()).unwrap();

        let in_order = finished(begun(), &[0], Fate::Success);
        let otherwise = finished(begun(), &picks, Fate::Success);

        prop_assert_eq!(&otherwise.status, &Status::Completed { filtered: None });
        prop_assert_eq!(results(&otherwise), results(&in_order));
        prop_assert_eq!(otherwise.sequence, in_order.sequence);
    }

    #[test]
    fn it_can_be_gone_on_with_from_every_event(
        picks in vec(any::<usize>(), 1..64),
        cut in any::<prop::sample::Index>(),
    ) {
        let turns: Vec<_> = picks.iter().map(|pick| Turn::Wish(*pick, Fate::Success)).collect();
        let history = history(&turns);
        let prefix = &history[..1 + cut.index(history.len())];

        let resumed = finished(folded(prefix), &picks, Fate::Success);

        let whole = finished(folded(&history), &picks, Fate::Success);
        prop_assert_eq!(results(&resumed), results(&whole));
    }
}

//! Steps inside of others: what may happen to them, and when.

use super::*;
use crate::event::{Branch, Branches, CallbackAnswer, CompletionRule};

fn branch(name: &str, steps: &[&str]) -> Branch {
    Branch { name: step(name), steps: steps.iter().map(|name| step(name)).collect() }
}

fn branching(concurrency: u32, rule: CompletionRule) -> Event {
    let branches = vec![branch("x", &["one"]), branch("y", &["two"]), branch("z", &["three"])];
    let branches = Branches::Parallel(branches);
    Event::BranchesStarted { step: step("a"), attempt: 1, branches, concurrency, rule }
}

fn created(steps: &[&str]) -> Event {
    Event::CallbackCreated {
        step: step("a"),
        attempt: 1,
        token_sha256: "t".into(),
        steps: steps.iter().map(|name| step(name)).collect(),
        expires_at: at(60),
        heartbeat_ms: None,
    }
}

fn answered() -> Event {
    let answer = CallbackAnswer::Succeeded(text("yes"));
    Event::CallbackReceived { step: step("a"), answer }
}

#[test]
fn only_so_many_branches_go_on_at_once() {
    let two = || execution([branching(2, CompletionRule::default())]);

    assert_eq!(illegal_after(two(), completed("a/z/three", 1)).name, "StepCompleted");
    let after = two().evolve(&recorded(3, completed("a/x/one", 1))).unwrap();
    assert!(after.evolve(&recorded(4, completed("a/z/three", 1))).is_ok());
}

#[test]
fn nothing_happens_in_branches_once_they_have_ended_as_a_whole() {
    let enough = CompletionRule { enough: Some(1), ..CompletionRule::default() };
    let ended = || execution([branching(3, enough), completed("a/x/one", 1)]);

    illegal_after(ended(), completed("a/y/two", 1));
    assert!(ended().evolve(&recorded(4, completed("a", 1))).is_ok());
    illegal_after(execution([branching(3, enough)]), completed("a", 1));
}

#[test]
fn an_answer_counts_once_also_before_the_step_waits_for_it() {
    let answered_early = execution([created(&["mail"]), answered()]);
    illegal_after(answered_early.clone(), answered());
    illegal_after(answered_early.clone(), failed("a", 1, None));

    let after = answered_early.evolve(&recorded(4, completed("a/mail", 1))).unwrap();
    assert_eq!(after.line.in_hand(), Some(&step("b")));
    illegal_after(execution([created(&[]), answered()]), answered());
}

#[test]
fn whoever_has_another_token_or_comes_too_late_is_refused() {
    let open = execution([created(&[])]);
    let receive = |token: &str, now| Command::ReceiveCallback {
        step: step("a"),
        token_sha256: token.into(),
        answer: CallbackAnswer::Succeeded(text("yes")),
        now: at(now),
    };
    let refused = || Err(Refusal::NotThisCallback { step: step("a") });

    assert_eq!(open.decide(receive("other", 5)), refused());
    assert_eq!(open.decide(receive("t", 60)), refused());
    assert_eq!(open.decide(receive("t", 59)), Ok(answered()));
}

#[test]
fn a_callback_that_somebody_kept_alive_does_not_expire() {
    let open = execution([created(&[])]);
    let expire = |now| Command::ExpireCallback(attempt("a", 1), failure(), at(now));

    assert_eq!(open.decide(expire(59)), Err(Refusal::NoTimerDue));
    assert_eq!(open.decide(expire(60)), Ok(failed("a", 1, None)));
}

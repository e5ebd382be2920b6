use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::expression::{Dot, Expression};
use crate::steps::tests::input;

const AS_WORKER: &str = "EVERHOOK_TEST_IS_WORKER";

/// The test program is its own worker.
pub(super) fn command() -> Command {
    Command {
        program: this_program(),
        arguments: [
            "--exact",
            "expression::worker::tests::the_test_program_is_a_worker",
            "--nocapture",
        ]
        .map(Into::into)
        .into(),
        environment: vec![(AS_WORKER.into(), "1".into())],
    }
}

#[test]
fn the_test_program_is_a_worker() {
    if std::env::var_os(AS_WORKER).is_some() {
        serve();
        std::process::exit(0);
    }
}

async fn result(jq: &str, body: &str) -> Result<String, StepError> {
    let expression = Expression::compile(jq, Dot::Body).unwrap();
    expression.result(input(body)).await.map(|output| output.get().to_owned())
}

#[track_caller]
fn is(error: &StepError, kind: &str) {
    assert_eq!((error.kind.as_str(), error.retryable), (kind, false), "{error}");
}

#[tokio::test]
async fn a_worker_gives_what_the_expression_gives() {
    assert_eq!(result(r#".s | gsub("a"; "b")"#, r#"{"s":"aXa"}"#).await.unwrap(), r#""bXb""#);
    assert_eq!(result("[range(.n)]", r#"{"n":3}"#).await.unwrap(), "[0,1,2]");
    assert_eq!(result("[.[] | tojson | fromjson]", "[1.50]").await.unwrap(), "[1.50]");
    let error = result("[range(.n)] | .a", r#"{"n":"canary"}"#).await.unwrap_err();
    assert_eq!(error.message, "jq: the expression failed on this input");
    let error = result("[range(3)] | .a", "{}").await.unwrap_err();
    assert_eq!(error.message, "jq: cannot index an array with `a`");
}

#[tokio::test]
async fn what_exceeds_a_limit_ends_its_worker_and_nothing_else() {
    let deep = format!(r#"{{"Message":"{}"}}"#, "[".repeat(30_000));
    let long = format!(r#"{{"s":"{}"}}"#, "7".repeat(1_000_000));
    let cases = [
        (".sep * .width", r#"{"sep":"ab","width":9e9}"#, "invalid"),
        (".sep * .width", r#"{"sep":"ab","width":900000000}"#, "too_much_memory"),
        ("[range(.count)]", r#"{"count":2e9}"#, "too_much_memory"),
        ("def up(n): if n == 0 then 0 else 1 + up(n - 1) end; up(.n)", r#"{"n":3e6}"#, "too_deep"),
        ("def f: 1 + f; f", "{}", "too_deep"),
        ("last(range(1e12))", "{}", "too_much_time"),
        ("[limit(.n; repeat(1))] | length", r#"{"n":1e15}"#, "too_much_memory"),
        (".Message | fromjson | .id", deep.as_str(), "invalid"),
    ];
    for (jq, body, kind) in cases {
        let error = result(jq, body).await.unwrap_err();
        // Where the machine is slow, time may run out first.
        let is_slow = kind != "invalid" && error.kind == "too_much_time";
        is(&error, if is_slow { "too_much_time" } else { kind });
        assert_eq!(result("[range(2)]", "{}").await.unwrap(), "[0,1]");
    }
    assert_eq!(result("[.s | tonumber | 1] | [range(length)]", &long).await.unwrap(), "[0]");
}

#[tokio::test]
async fn a_worker_that_has_ended_is_replaced() {
    assert_eq!(result("[range(1)]", "{}").await.unwrap(), "[0]");
    let idle = POOL.idle_ids();
    for id in &idle {
        let id = rustix::process::Pid::from_raw(i32::try_from(*id).unwrap()).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
    }
    assert_eq!(result("[range(1)]", "{}").await.unwrap(), "[0]");
}

/// Six slow evaluations of these sources, in turn, while one of another source comes to its end.
async fn healthy_beside(sources: &[&str]) {
    let slow = Arc::new(Expression::compile("last(range(1e12) | . + 0)", Dot::Body).unwrap());
    let hostile: Vec<_> = (0..6)
        .map(|n| {
            let slow = slow.clone();
            let mut hostile = input("{}");
            let source = sources[n % sources.len()];
            Arc::make_mut(&mut hostile.webhook).source = SourceName::new(source);
            tokio::spawn(async move { slow.result(hostile).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(50)).await;

    let mut healthy = input(r#"{"s":"a"}"#);
    let webhook = Arc::make_mut(&mut healthy.webhook);
    webhook.source = SourceName::new("healthy");
    let expression = Expression::compile(r#".s | gsub("a"; "b")"#, Dot::Body).unwrap();
    assert_eq!(expression.result(healthy).await.unwrap().get(), r#""b""#);
    assert!(hostile.iter().all(|task| !task.is_finished()), "it waited for one of them to end");

    hostile.into_iter().for_each(|task| task.abort());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_source_leaves_workers_to_the_others() {
    healthy_beside(&["hostile"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_evaluations_of_many_sources_make_room_for_another() {
    healthy_beside(&["first", "second", "third"]).await;
}

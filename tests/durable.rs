//! The requirements for durable executions: our own, and the peer's where they are at hand.

use std::path::Path;

use crate::docs::assert_fresh;

#[path = "../examples/durable_conformance/suite.rs"]
mod suite;

use suite::{Report, judge};

/// The workflows of all cases, and our own cases.
const WORKFLOWS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance");

/// Where a checkout may have the peer's collection beside it.
const PUBLISHED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/durable-conformance");

/// What `docs/durable-conformance.md` begins with.
const PAGE: &str = "\
# Durable conformance

AWS publishes requirements for the SDKs of its Lambda durable functions: for each a handler in words, what is sent,
what is called back, and the events that the service must show. Everhook is no such SDK, and has no Lambda invocations
of one; so this is no claim to conform. It is what our engine does with the requirements that can be put to it.

```sh
cargo run --release --example durable_conformance -- --cases DIR --workflows tests/conformance [--json]
```

- Each case has one workflow, written by us from its words, in [`tests/conformance`](../tests/conformance):
  in the configuration language, with one step in Rust, `act`, that gives a result, fails, or dies, as its keys say.
- It is started through ingest, driven by the processor and the sweep over the embedded engine, and called back
  through `POST /callbacks`. The clock goes straight to whatever is next. A crash drops the driver where it is;
  the due time brings the execution back.
- Our history is told in the peer's events. The start of an attempt is derived from the time that its outcome carries,
  unless it was claimed. A branch starts with its first event and ends with its last.
  `validate`, `transform` and `filter` only compute, like the code between a handler's operations, and leave no event.
- Events of invocations are left out on both sides, and the others are counted anew. Keys that a case does not name,
  and events behind its last, are not looked at.
- The result that is compared is the last step's: our executions have none of their own.
- A handler that catches an error is a `parallel` with `failure = \"result\"` and one branch, named `try`.
  Our history has events for it; the handler's `try` has none, so they are left out.
- A `callback` with one step inside, whose name begins with `submit`, is shown as a wait for a callback,
  any other as a callback.
- Where a case names an operation by its input, the runner writes the input into the workflow before it is read:
  our steps are named by their definition.
- `Callback.Timeout` and `Callback.Heartbeat` are our `callback_timeout` and `heartbeat_timeout`.
- What a case says of logs is compared by number, with what `act` noted down.

Some cases in our folder have no file in the collection that we have: their workflows are guesses from the cases
around them, and have never been run against the requirement itself.

The descriptions below are the requirements' own (Amazon.com, Inc. or its affiliates, Apache-2.0).
This is the table of our last run, made by `UPDATE_DOCS=1 cargo test -p everhook --test everhook -- durable`.
Our own cases, in the same form, are in [`tests/conformance/own`](../tests/conformance/own); `cargo test` runs both.
";

/// How many applicable cases of the peer must be there, so that a failure to find them is none to run.
const PUBLISHED_MIN: usize = 60;

#[track_caller]
fn assert_passes(report: &Report) {
    let failures: Vec<_> = report.failures().collect();
    assert!(failures.is_empty(), "{report}");
}

#[tokio::test]
async fn our_own_cases_pass() {
    let report = judge(Path::new(WORKFLOWS), Path::new(WORKFLOWS)).await.unwrap();
    assert_passes(&report);
    assert_eq!(report.to_json()["passed"], 2);
}

#[tokio::test]
async fn a_case_without_a_workflow_fails() {
    let cases = tempfile::tempdir().unwrap();
    std::fs::write(cases.path().join("0-1.yaml"), "Input: 1").unwrap();
    let report = judge(cases.path(), Path::new(WORKFLOWS)).await.unwrap();
    assert!(report.to_string().contains("no workflow"), "{report}");
    assert_eq!(report.to_json()["failed"], 1);
}

#[tokio::test]
async fn every_published_case_that_applies_passes() {
    if !Path::new(PUBLISHED).exists() {
        eprintln!("the collection of published cases is not here");
        return;
    }
    let report = judge(Path::new(PUBLISHED), Path::new(WORKFLOWS)).await.unwrap();
    assert_passes(&report);
    assert!(report.judged.len() >= PUBLISHED_MIN, "{report}");
    // A collection of another size is another one, which the page does not tell of.
    let page = include_str!("../docs/durable-conformance.md");
    let rows = |page: &str| page.lines().filter(|line| line.starts_with("| ")).count();
    let told = report.to_markdown();
    if std::env::var_os("UPDATE_DOCS").is_some() || rows(page) == rows(&told) {
        assert_fresh("durable-conformance.md", &format!("{PAGE}\n{told}"));
    }
}

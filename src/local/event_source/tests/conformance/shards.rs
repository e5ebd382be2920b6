//! Shards that split and end.

use serde_json::{Value, json};

use super::*;

/// Runs a script until this many records are delivered: their executions, and the iterators that were asked for.
async fn played(script: Script, settings: Settings, count: usize) -> (Vec<String>, Vec<String>) {
    let (url, script) = script.serve().await;
    let (function, mut deliveries) = told(complete);
    let running = run(EventSource { settings, ..source(&url, function) });
    let delivered = deliveries.executions(count).await;
    assert!(deliveries.nothing_more().await, "a record was delivered twice");
    running.stop().await;
    let calls = script.calls.lock().unwrap().clone();
    (delivered, calls)
}

fn often() -> Settings {
    Settings { idle_poll: Duration::from_millis(5), ..Settings::default() }
}

/// A closed shard with one record.
fn closed(sequence: &str, execution: &str) -> Value {
    page(&[record(sequence, execution)], None)
}

/// Where a word stands.
#[track_caller]
fn place(words: &[String], wanted: &str) -> usize {
    words.iter().position(|word| word == wanted).unwrap()
}

/// A shard that split twice on one side and once on the other.
fn family() -> Script {
    Script {
        shards: vec![
            child("d-left-left", "b-left"),
            child("b-left", "e-root"),
            child("c-right", "e-root"),
            child("a-left-right", "b-left"),
            shard("e-root"),
            child("0-youngest", "a-left-right"),
        ],
        pages: HashMap::from([
            ("e-root start", closed("1", "root")),
            ("b-left start", closed("2", "left")),
            ("c-right start", closed("3", "right")),
            ("a-left-right start", closed("4", "left-right")),
            ("d-left-left start", closed("5", "left-left")),
            ("0-youngest start", closed("6", "youngest")),
        ]),
        ..Script::default()
    }
}

#[track_caller]
fn in_order_of_descent(delivered: &[String]) {
    let at = |name| place(delivered, name);
    assert_eq!(at("root"), 0);
    assert!(at("left") < at("left-left") && at("left") < at("left-right"));
    assert!(at("left-right") < at("youngest"));
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        at_work(
            "generations of splits",
            "Every parent is drained before its children begin.",
            async {
                let (delivered, _) = played(family(), often(), 6).await;
                in_order_of_descent(&delivered);
            },
        ),
        at_work("a long list of shards", "It is read page by page, to its end.", async {
            let script = Script { shards_at_once: Some(1), ..family() };
            let (delivered, _) = played(script, often(), 6).await;
            in_order_of_descent(&delivered);
        }),
        at_work("a listing that fails", "The shards are listed again soon.", async {
            let script = Script {
                refusals: Mutex::new(HashMap::from([(
                    "DescribeStream",
                    vec!["AccessDeniedException"],
                )])),
                ..Script::of(&[record("1", "first")])
            };
            assert_eq!(played(script, often(), 1).await.0, ["first"]);
        }),
        at_work(
            "late children",
            "A split that is listed late is found without being told.",
            async {
                let script = Script {
                    shards: vec![shard("parent")],
                    late_shards: vec![child("child", "parent")],
                    pages: HashMap::from([
                        ("parent start", closed("1", "first")),
                        ("child start", closed("2", "second")),
                    ]),
                    ..Script::default()
                };
                assert_eq!(played(script, often(), 2).await.0, ["first", "second"]);
            },
        ),
        at_work(
            "a parent without records",
            "A closed shard that is empty holds up nobody.",
            async {
                let script = Script {
                    shards: vec![shard("parent"), child("child", "parent")],
                    pages: HashMap::from([
                        ("parent start", page(&[], None)),
                        ("child start", closed("1", "first")),
                    ]),
                    ..Script::default()
                };
                assert_eq!(played(script, often(), 1).await.0, ["first"]);
            },
        ),
        at_work(
            "empty pages before the end",
            "A page without records does not end a shard.",
            async {
                let script = Script {
                    shards: vec![shard("only")],
                    pages: HashMap::from([
                        ("only start", page(&[], Some("one"))),
                        ("one", page(&[], Some("two"))),
                        ("two", closed("1", "first")),
                    ]),
                    ..Script::default()
                };
                assert_eq!(played(script, often(), 1).await.0, ["first"]);
            },
        ),
        at_work(
            "a parent that is trimmed",
            "Children of a shard that is gone do not wait.",
            async {
                let script = Script {
                    shards: vec![child("child", "long-gone")],
                    pages: HashMap::from([("child start", closed("1", "first"))]),
                    ..Script::default()
                };
                assert_eq!(played(script, often(), 1).await.0, ["first"]);
            },
        ),
        at_work("a parent whose batch is given up", "Its children begin then.", async {
            let script = Script {
                shards: vec![child("child", "parent"), shard("parent")],
                pages: HashMap::from([
                    ("parent start", closed("1", "bad")),
                    ("child start", closed("2", "good")),
                ]),
                ..Script::default()
            };
            let (url, _) = script.serve().await;
            let (function, mut deliveries) = told(|call| match call {
                0 | 1 => Err("on purpose".to_owned()),
                _ => Ok(BatchOutcome::Complete),
            });
            let settings = Settings { retry_attempts: Some(1), ..often() };
            let running = run(EventSource { settings, ..source(&url, function) });
            assert_eq!(deliveries.executions(3).await, ["bad", "bad", "good"]);
            running.stop().await;
        }),
        at_work("a parent of which nothing passes", "It is drained when all is filtered.", async {
            let mut removal = record("1", "removed");
            removal["eventName"] = json!("REMOVE");
            let script = Script {
                shards: vec![shard("parent"), child("child", "parent")],
                pages: HashMap::from([
                    ("parent start", page(&[removal], None)),
                    ("child start", closed("2", "first")),
                ]),
                ..Script::default()
            };
            let filters = vec![Filter::parse(r#"{"eventName":["INSERT"]}"#).unwrap()];
            let (delivered, _) = played(script, Settings { filters, ..often() }, 1).await;
            assert_eq!(delivered, ["first"]);
        }),
        at_work(
            "a parent and a window",
            "The end of a shard ends the window of its last batch.",
            async {
                let script = Script {
                    shards: vec![shard("parent"), child("child", "parent")],
                    pages: HashMap::from([
                        ("parent start", closed("1", "first")),
                        ("child start", closed("2", "second")),
                    ]),
                    ..Script::default()
                };
                let settings = Settings { batching_window: Duration::from_secs(300), ..often() };
                assert_eq!(played(script, settings, 2).await.0, ["first", "second"]);
            },
        ),
        at_work("siblings", "A shard that hangs does not hold up the one beside it.", async {
            let script = Script {
                shards: vec![shard("left"), shard("right")],
                pages: HashMap::from([
                    ("left start", closed("1", "hangs")),
                    ("right start", closed("2", "free")),
                ]),
                ..Script::default()
            };
            let (url, _) = script.serve().await;
            let (tell, mut done) = mpsc::unbounded_channel();
            let function: Function = Arc::new(move |event| {
                let tell = tell.clone();
                Box::pin(async move {
                    if serde_json::to_string(&event.records).unwrap().contains("hangs") {
                        tokio::time::sleep(Duration::from_millis(300)).await;
                    }
                    tell.send(event).unwrap();
                    Ok(BatchOutcome::Complete)
                })
            });
            let running = run(EventSource { settings: often(), ..source(&url, function) });
            let first = timeout(AT_LAST, done.recv()).await.unwrap().unwrap();
            assert!(serde_json::to_string(&first.records).unwrap().contains("free"));
            running.stop().await;
        }),
        at_work("a shard that is gone", "It holds up neither its sibling nor the whole.", async {
            let script = Script {
                shards: vec![shard("gone"), shard("there")],
                pages: HashMap::from([
                    ("gone start", json!("ResourceNotFoundException")),
                    ("there start", closed("1", "first")),
                ]),
                ..Script::default()
            };
            assert_eq!(played(script, often(), 1).await.0, ["first"]);
        }),
    ]
}

//! What the embedded engine never shows: shards that end, iterators that expire, records that are trimmed.

use std::collections::HashMap;

use serde_json::json;

use super::script::{Script, page, record, shard, source};
use super::*;

#[tokio::test]
async fn a_child_is_read_when_the_last_batch_of_its_parent_is_done() {
    let mut child = shard("child");
    child["ParentShardId"] = json!("parent");
    let script = Script {
        shards: vec![child, shard("parent")],
        pages: HashMap::from([
            ("parent start", page(&[record("1", "first")], Some("parent 1"))),
            ("parent 1", page(&[record("2", "second")], None)),
            ("child start", page(&[record("3", "third")], Some("child 3"))),
            ("child 3", page(&[], Some("child 3"))),
        ]),
        ..Script::default()
    };
    let (url, script) = script.serve().await;
    let (function, mut deliveries) = told(|call| match call {
        0 => Err("not yet".to_owned()),
        _ => Ok(BatchOutcome::Complete),
    });

    let running = run(source(&url, function));

    assert_eq!(deliveries.executions(4).await.last().unwrap(), "third");
    assert_eq!(*script.calls.lock().unwrap(), ["parent start", "child start"]);
    running.stop().await;
}

#[tokio::test]
async fn an_iterator_that_expired_is_replaced_after_the_last_record_read() {
    let script = Script {
        shards: vec![shard("only")],
        pages: HashMap::from([
            ("only start", page(&[record("1", "first")], Some("stale"))),
            ("stale", json!("ExpiredIteratorException")),
            ("only 1", page(&[record("2", "second")], Some("end"))),
            ("end", page(&[], Some("end"))),
        ]),
        ..Script::default()
    };
    let (url, script) = script.serve().await;
    let (function, mut deliveries) = told(complete);

    let running = run(source(&url, function));

    assert_eq!(deliveries.executions(2).await, ["first", "second"]);
    assert_eq!(*script.calls.lock().unwrap(), ["only start", "only 1"]);
    running.stop().await;
}

#[tokio::test]
async fn after_a_trim_reading_goes_on_at_the_oldest_record() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("checkpoint.json");
    std::fs::write(&checkpoint, r#"{"stream":"arn","shards":{"only":"1","long-gone":"1"}}"#)
        .unwrap();
    let script = Script {
        shards: vec![shard("only")],
        pages: HashMap::from([
            ("only 1", json!("TrimmedDataAccessException")),
            ("only start", page(&[record("7", "seventh")], Some("end"))),
            ("end", page(&[], Some("end"))),
        ]),
        ..Script::default()
    };
    let (url, _) = script.serve().await;
    let (function, mut deliveries) = told(complete);

    let running =
        run(EventSource { checkpoint: Some(File::at(&checkpoint)), ..source(&url, function) });

    assert_eq!(deliveries.executions(1).await, ["seventh"]);
    running.stop().await;
    assert_eq!(
        std::fs::read_to_string(checkpoint).unwrap(),
        r#"{"stream":"arn","shards":{"only":"7"}}"#
    );
}

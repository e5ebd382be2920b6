//! What is delivered after a restart.

use std::path::Path;

use serde_json::{Value, json};

use super::*;

/// A stream of three records, and iterators after each of them.
fn three() -> Script {
    let records = [record("97", "first"), record("98", "second"), record("100", "third")];
    let mut script = Script::of(&records);
    script.pages.insert("only 97", page(&records[1..], Some("end")));
    script.pages.insert("only 98", page(&records[2..], Some("end")));
    script.pages.insert("only 100", page(&[], Some("end")));
    script
}

/// What is delivered of a stream with this checkpoint, and the checkpoint afterwards.
async fn resumed(script: Script, checkpoint: Option<&[u8]>, count: usize) -> (Vec<String>, Value) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("position.json");
    if let Some(checkpoint) = checkpoint {
        std::fs::write(&file, checkpoint).unwrap();
    }
    let delivered = session(script, &file, count).await;
    (delivered, saved(&file))
}

/// Runs until this many records are delivered, then stops.
async fn session(script: Script, file: &Path, count: usize) -> Vec<String> {
    let (url, _) = script.serve().await;
    let (function, mut deliveries) = told(complete);
    let running = run(EventSource { checkpoint: Some(File::at(file)), ..source(&url, function) });
    let delivered = deliveries.executions(count).await;
    assert!(deliveries.nothing_more().await);
    running.stop().await;
    delivered
}

fn saved(file: &Path) -> Value {
    std::fs::read(file).map_or(Value::Null, |text| serde_json::from_slice(&text).unwrap())
}

fn at(number: &str) -> Vec<u8> {
    json!({"stream": "arn", "shards": {"only": number}}).to_string().into_bytes()
}

/// Files that are no checkpoint of this stream.
fn damaged() -> [(&'static str, Vec<u8>); 7] {
    [
        ("an empty checkpoint", Vec::new()),
        ("a checkpoint cut short", at("98")[..20].to_vec()),
        ("a checkpoint of noise", vec![0, 159, 146, 150, 255]),
        ("a checkpoint of another form", br#"["only","98"]"#.to_vec()),
        ("a checkpoint with a number of 41 digits", at(&"9".repeat(41))),
        ("a checkpoint with a negative number", at("-1")),
        (
            "a checkpoint of another stream",
            br#"{"stream":"arn of before","shards":{"only":"98"}}"#.to_vec(),
        ),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    let everything = ["first", "second", "third"];
    let damaged = damaged().map(|(name, text)| {
        at_work(name, "It counts as none: everything is delivered again.", async move {
            let (delivered, saved) = resumed(three(), Some(&text), 3).await;
            assert_eq!(delivered, everything);
            assert_eq!(saved, json!({"stream": "arn", "shards": {"only": "100"}}));
        })
    });
    let rest = [
        at_work("a first start", "Reading begins at the oldest record.", async move {
            let (delivered, saved) = resumed(three(), None, 3).await;
            assert_eq!(
                (delivered, &saved["shards"]["only"]),
                (everything.map(str::to_owned).to_vec(), &json!("100"),)
            );
        }),
        at_work("a lost checkpoint", "Everything is delivered once more.", async move {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("position.json");
            assert_eq!(session(three(), &file, 3).await, everything);
            std::fs::remove_file(&file).unwrap();
            assert_eq!(session(three(), &file, 3).await, everything);
        }),
        at_work("an old checkpoint", "What was done since is delivered once more.", async {
            assert_eq!(resumed(three(), Some(&at("97")), 2).await.0, ["second", "third"]);
        }),
        at_work("a checkpoint at the end", "Nothing is delivered again.", async {
            let (delivered, saved) = resumed(three(), Some(&at("100")), 0).await;
            assert_eq!((delivered.len(), &saved["shards"]["only"]), (0, &json!("100")));
        }),
        at_work("trimmed while away", "Reading goes on at the oldest record there is.", async {
            let mut script = three();
            script.pages.insert("only 5", json!("TrimmedDataAccessException"));
            assert_eq!(resumed(script, Some(&at("5")), 3).await.0.len(), 3);
        }),
        at_work("a position nobody knows", "It is taken for one that was trimmed.", async {
            let script = Script {
                refusals: Mutex::new(HashMap::from([(
                    "GetShardIterator",
                    vec!["ValidationException"],
                )])),
                ..three()
            };
            let (delivered, saved) = resumed(script, Some(&at("5000")), 3).await;
            assert_eq!((delivered.len(), &saved["shards"]["only"]), (3, &json!("100")));
        }),
        at_work("a parent that is done", "After a restart only its child goes on.", async {
            let script = Script {
                shards: vec![child("child", "parent"), shard("parent")],
                pages: HashMap::from([
                    ("parent 1", page(&[], None)),
                    ("child 2", page(&[record("3", "third")], None)),
                ]),
                ..Script::default()
            };
            let checkpoint = br#"{"stream":"arn","shards":{"parent":"1","child":"2"}}"#;
            assert_eq!(resumed(script, Some(checkpoint), 1).await.0, ["third"]);
        }),
        at_work("a parent that is not done", "It is drained before its child goes on.", async {
            let script = Script {
                shards: vec![child("child", "parent"), shard("parent")],
                pages: HashMap::from([
                    ("parent 1", page(&[record("2", "second")], None)),
                    ("child start", page(&[record("3", "third")], None)),
                ]),
                ..Script::default()
            };
            let checkpoint = br#"{"stream":"arn","shards":{"parent":"1"}}"#;
            assert_eq!(resumed(script, Some(checkpoint), 2).await.0, ["second", "third"]);
        }),
        at_work("a stop while a batch runs", "It ends first, and nothing new begins.", async {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("position.json");
            let begun = stopped_in_a_batch(&file, || Ok(BatchOutcome::Complete)).await;
            assert_eq!((begun, &saved(&file)["shards"]["only"]), (1, &json!("97")));
            assert_eq!(session(three(), &file, 2).await, ["second", "third"]);
        }),
        at_work(
            "a stop while a batch fails",
            "It is delivered again after the restart.",
            async move {
                let folder = tempfile::tempdir().unwrap();
                let file = folder.path().join("position.json");
                let begun = stopped_in_a_batch(&file, || Err("on purpose".to_owned())).await;
                assert_eq!((begun, saved(&file)), (1, Value::Null));
                assert_eq!(session(three(), &file, 3).await, everything);
            },
        ),
        at_work("a sudden end", "What was not done is delivered again.", async {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("position.json");
            let (url, _) = three().serve().await;
            let (function, mut deliveries) = told(|_| Ok(BatchOutcome::FailedFrom("98".into())));
            let mut source = source(&url, function);
            source.settings.retry_attempts = None;
            source.checkpoint = Some(File::at(&file));
            let running = run(source);
            deliveries.executions(3).await;
            while !file.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            running.ended.abort();
            assert!(running.ended.await.unwrap_err().is_cancelled());
            assert_eq!(session(three(), &file, 2).await, ["second", "third"]);
        }),
    ];
    damaged.into_iter().chain(rest).collect()
}

/// Calls the end while the first of three batches runs, and returns how many have begun.
async fn stopped_in_a_batch(file: &Path, outcome: fn() -> Result<BatchOutcome, String>) -> usize {
    let (url, _) = three().serve().await;
    let (begin, mut begun) = mpsc::unbounded_channel();
    let end = Arc::new(tokio::sync::Notify::new());
    let may_end = Arc::clone(&end);
    let function: Function = Arc::new(move |_| {
        begin.send(()).unwrap();
        let may_end = Arc::clone(&may_end);
        Box::pin(async move {
            may_end.notified().await;
            outcome()
        })
    });
    let mut source = source(&url, function);
    source.settings = Settings { batch_size: 1, parallel: 1, ..source.settings };
    source.checkpoint = Some(File::at(file));
    let running = run(source);
    timeout(AT_LAST, begun.recv()).await.unwrap().unwrap();
    running.stop.send(true).unwrap();
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(!running.ended.is_finished(), "the batch was abandoned");
    end.notify_one();
    timeout(AT_LAST, running.ended).await.unwrap().unwrap();
    1 + std::iter::from_fn(|| begun.try_recv().ok()).count()
}

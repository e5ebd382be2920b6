//! Where batches go that are given up.

use serde_json::{Value, json};

use super::super::super::failed::FailedBatch;
use super::mapping::{Mapping, id, plain};
use super::*;

/// What is noted of the first batch that a mapping gives up.
fn noted(mapping: &Mapping) -> Value {
    let failed: &FailedBatch = &mapping.given_up[0];
    failed.to_json("arn:stream", "shard-7", mapping.now + Duration::from_millis(250))
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("attempts used up", "The record has the form and the words of Lambda's.", || {
            let mut mapping = Mapping::of(Settings { retry_attempts: Some(1), ..plain() }, 4);
            mapping.run(|_| true);
            assert_eq!(
                noted(&mapping),
                json!({
                    "version": "1.0",
                    "timestamp": "1970-04-26T17:46:40.45Z",
                    "requestContext": {
                        "condition": "RetryAttemptsExhausted", "approximateInvokeCount": 2,
                    },
                    "DDBStreamBatchInfo": {
                        "shardId": "shard-7",
                        "startSequenceNumber": id(1), "endSequenceNumber": id(4),
                        "approximateArrivalOfFirstRecord": "1970-04-26T17:46:40Z",
                        "approximateArrivalOfLastRecord": "1970-04-26T17:46:40Z",
                        "batchSize": 4, "streamArn": "arn:stream",
                    },
                })
            );
        }),
        case("too old", "The condition says so, and that nobody was invoked.", || {
            let mut mapping = Mapping::of(plain(), 3);
            mapping.now += Duration::from_secs(3_601);
            mapping.starts();
            let noted = noted(&mapping);
            assert_eq!(
                noted["requestContext"],
                json!({"condition": "RecordAgeExceeded", "approximateInvokeCount": 0})
            );
            assert_eq!(noted["DDBStreamBatchInfo"]["batchSize"], 3);
        }),
        case("done in part", "Only the records that are lost are named.", || {
            let mut mapping = Mapping::of(plain(), 4);
            mapping.invoked();
            mapping.names(&[3]);
            let noted = noted(&mapping);
            assert_eq!(noted["DDBStreamBatchInfo"]["startSequenceNumber"], id(3));
            assert_eq!(noted["DDBStreamBatchInfo"]["endSequenceNumber"], id(4));
            assert_eq!(noted["DDBStreamBatchInfo"]["batchSize"], 2);
        }),
        case("the next batch", "The iterator moves on to it.", || {
            let mut mapping = Mapping::of(plain(), 6);
            mapping.invoked();
            mapping.fails();
            assert_eq!((mapping.checkpoint(), mapping.invoked()), (4, vec![5, 6]));
        }),
        at_work("a file of lost batches", "One line each, with metadata and no keys.", async {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("failed.jsonl");
            let (lines, saved) = given_up(&folder, file).await;
            let shards: Vec<&str> = lines
                .iter()
                .map(|line| line["DDBStreamBatchInfo"]["startSequenceNumber"].as_str().unwrap())
                .collect();
            assert_eq!(shards, ["11", "12"]);
            assert!(lines.iter().all(|line| line["DDBStreamBatchInfo"]["shardId"] == "only"));
            assert!(!serde_json::to_string(&lines).unwrap().contains("bad"));
            assert_eq!(saved["shards"]["only"], "13");
        }),
        at_work(
            "nowhere to note them",
            "Trouble with the file does not hold up the shard.",
            async {
                let folder = tempfile::tempdir().unwrap();
                let (lines, saved) = given_up(&folder, folder.path().join("no/such/folder")).await;
                assert_eq!((lines, &saved["shards"]["only"]), (vec![], &json!("13")));
            },
        ),
    ]
}

/// Two records that fail and one that does not: what is noted, and the checkpoint afterwards.
async fn given_up(folder: &tempfile::TempDir, file: std::path::PathBuf) -> (Vec<Value>, Value) {
    let records = [record("11", "bad 1"), record("12", "bad 2"), record("13", "good")];
    let (url, _) = Script::of(&records).serve().await;
    let (tell, mut good) = mpsc::unbounded_channel();
    let function: Function = Arc::new(move |event| {
        let is_good = serde_json::to_string(&event.records).unwrap().contains("good");
        if is_good {
            tell.send(()).unwrap();
        }
        let outcome = if is_good { Ok(BatchOutcome::Complete) } else { Err("bad".to_owned()) };
        Box::pin(async { outcome })
    });
    let checkpoint = folder.path().join("position.json");
    let mut source = source(&url, function);
    source.settings =
        Settings { batch_size: 1, parallel: 1, retry_attempts: Some(0), ..source.settings };
    source.failed_batches = Some(File::at(&file));
    source.checkpoint = Some(File::at(&checkpoint));
    let running = run(source);
    timeout(AT_LAST, good.recv()).await.unwrap().unwrap();
    running.stop().await;
    let noted = std::fs::read_to_string(file).unwrap_or_default();
    let saved = std::fs::read_to_string(checkpoint).unwrap();
    let lines = noted.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (lines, serde_json::from_str(&saved).unwrap())
}

//! Records that are not as they should be: one of them spoils no other.

use serde_json::{Value, json};

use super::*;

/// The records that are delivered of two good ones around an odd one, and the checkpoint afterwards.
async fn delivered(odd: Value) -> (Vec<Value>, Value) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("position.json");
    let (url, _) = Script::of(&[record("1", "before"), odd, record("3", "after")]).serve().await;
    let (function, mut deliveries) = told(complete);
    let source = EventSource { checkpoint: Some(File::at(&file)), ..source(&url, function) };
    let running = run(source);
    let records = deliveries.batch().await;
    assert!(deliveries.nothing_more().await);
    running.stop().await;
    let saved: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    (records, saved["shards"]["only"].clone())
}

/// A good record with something changed.
fn odd(change: impl FnOnce(&mut Value)) -> Value {
    let mut record = record("2", "odd");
    change(&mut record);
    record
}

/// Those that cannot be told apart from others.
fn nameless() -> [(&'static str, Value); 4] {
    let number = |number: Value| odd(|record| record["dynamodb"]["SequenceNumber"] = number);
    [
        ("no sequence number", number(Value::Null)),
        ("an empty sequence number", number(json!(""))),
        ("a sequence number with letters", number(json!("2b"))),
        ("no body", odd(|record| record["dynamodb"] = Value::Null)),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    let nameless = nameless().map(|(name, record)| {
        at_work(name, "It cannot be reported as failed, so it is skipped and logged.", async {
            let (records, checkpoint) = delivered(record).await;
            assert_eq!((records.len(), checkpoint), (2, json!("3")));
        })
    });
    let rest = [
        at_work("an unknown event name", "It is delivered as it is.", async {
            let (records, _) =
                delivered(odd(|record| record["eventName"] = json!("ARCHIVE"))).await;
            assert_eq!((records.len(), &records[1]["eventName"]), (3, &json!("ARCHIVE")));
        }),
        at_work("no event name", "It is delivered without one.", async {
            let (records, _) = delivered(odd(|record| record["eventName"] = Value::Null)).await;
            assert_eq!((records.len(), &records[1]["eventName"]), (3, &json!("")));
        }),
        at_work("no keys", "It is delivered without any.", async {
            let (records, _) =
                delivered(odd(|record| record["dynamodb"]["Keys"] = Value::Null)).await;
            assert_eq!((records.len(), &records[1]["dynamodb"]["Keys"]), (3, &json!({})));
        }),
        at_work("other keys", "They are delivered as they are.", async {
            let keys = json!({"id": {"N": "7"}, "raw": {"B": "eA=="}});
            let change = |record: &mut Value| record["dynamodb"]["Keys"] = keys.clone();
            let (records, _) = delivered(odd(change)).await;
            assert_eq!((records.len(), &records[1]["dynamodb"]["Keys"]), (3, &keys));
        }),
        at_work("no time", "A record of unknown age is not too old.", async {
            let change = |record: &mut Value| {
                record["dynamodb"]["ApproximateCreationDateTime"] = Value::Null;
            };
            assert_eq!(delivered(odd(change)).await.0.len(), 3);
        }),
        at_work("an expired item", "Its removal names the process that removed it.", async {
            let change = |record: &mut Value| {
                record["eventName"] = json!("REMOVE");
                record["userIdentity"] =
                    json!({"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"});
            };
            let (records, _) = delivered(odd(change)).await;
            assert_eq!(
                records[1]["userIdentity"],
                json!({"type": "Service", "principalId": "dynamodb.amazonaws.com"})
            );
        }),
        at_work("a record that comes twice", "Within one shard it is delivered once.", async {
            let (records, _) = delivered(record("1", "before")).await;
            assert_eq!(records.len(), 2);
        }),
        at_work("nothing but odd records", "Reading goes on behind them.", async {
            let odd = odd(|record| record["dynamodb"] = Value::Null);
            let script = Script {
                shards: vec![shard("only")],
                pages: HashMap::from([
                    ("only start", page(&[odd.clone(), odd], Some("next"))),
                    ("next", page(&[record("3", "after")], None)),
                ]),
                ..Script::default()
            };
            let (url, _) = script.serve().await;
            let (function, mut deliveries) = told(complete);
            let running = run(source(&url, function));
            assert_eq!(deliveries.executions(1).await, ["after"]);
            running.stop().await;
        }),
    ];
    nameless.into_iter().chain(rest).collect()
}

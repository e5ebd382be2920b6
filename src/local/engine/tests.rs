use std::time::Duration;

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType,
    ReturnValuesOnConditionCheckFailure, ScalarAttributeType, StreamSpecification, StreamViewType,
    TimeToLiveSpecification,
};
use aws_sdk_dynamodbstreams::types::ShardIteratorType;
use dynoxide::storage::Storage;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::durability::{Durability, Held};
use super::fault::Fault;
use super::operation::Answer;
use super::{DATABASE, Engine, EngineError};

const TABLE: &str = "journal";

#[tokio::test]
async fn what_was_put_is_found() {
    let engine = engine().await;

    put(&engine, "a", 1).await.unwrap();

    let found = engine.dynamodb().get_item().table_name(TABLE).set_key(Some(key("a", 1).into()));
    assert_eq!(found.send().await.unwrap().item, Some(key("a", 1).into()));
}

#[tokio::test]
async fn a_refused_condition_shows_the_item_in_the_way() {
    let engine = engine().await;
    put(&engine, "a", 1).await.unwrap();

    let refused = put(&engine, "a", 1).await.unwrap_err();

    let PutItemError::ConditionalCheckFailedException(refused) = refused else {
        panic!("{refused}")
    };
    assert_eq!(refused.item, Some(key("a", 1).into()));
}

#[tokio::test]
async fn of_64_racers_exactly_one_wins() {
    let engine = engine().await;

    let mut racers = JoinSet::new();
    for _ in 0..64 {
        let engine = engine.clone();
        racers.spawn(async move { put(&engine, "a", 1).await.is_ok() });
    }

    assert_eq!(racers.join_all().await.into_iter().filter(|won| *won).count(), 1);
}

#[tokio::test]
async fn a_query_goes_on_where_its_page_ended() {
    let engine = engine().await;
    for sequence in 1..=5 {
        put(&engine, "a", sequence).await.unwrap();
    }

    let mut pages = engine
        .dynamodb()
        .query()
        .table_name(TABLE)
        .key_condition_expression("execution = :execution")
        .expression_attribute_values(":execution", AttributeValue::S("a".to_owned()))
        .limit(2)
        .consistent_read(true)
        .into_paginator()
        .send();

    let mut sizes = Vec::new();
    while let Some(page) = pages.next().await {
        sizes.push(page.unwrap().count);
    }
    assert_eq!(sizes, [2, 2, 1]);
}

#[tokio::test]
async fn each_write_leaves_a_stream_record() {
    let engine = engine().await;
    put(&engine, "a", 1).await.unwrap();
    put(&engine, "a", 2).await.unwrap();

    let records = records(&engine).await;

    let keys: Vec<_> =
        records.iter().map(|record| record.dynamodb().unwrap().keys().unwrap().clone()).collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[1]["sequence"].as_n().unwrap(), "2");
}

#[tokio::test]
async fn young_records_outlive_a_trim() {
    let engine = engine().await;
    for sequence in 1..=300 {
        put(&engine, "a", sequence).await.unwrap();
    }

    assert_eq!(engine.trim_streams(Duration::from_secs(60)).await.unwrap(), 0);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(engine.trim_streams(Duration::ZERO).await.unwrap(), 300);

    assert_eq!(records(&engine).await, []);
    put(&engine, "a", 301).await.unwrap();
    assert_eq!(records(&engine).await.len(), 1);
}

#[tokio::test]
async fn a_sweep_deletes_what_has_expired_and_says_so_in_the_stream() {
    let engine = engine().await;
    let ttl = TimeToLiveSpecification::builder().enabled(true).attribute_name("ttl").build();
    engine
        .dynamodb()
        .update_time_to_live()
        .table_name(TABLE)
        .time_to_live_specification(ttl.unwrap())
        .send()
        .await
        .unwrap();
    for (sequence, ttl) in (1..=300).map(|sequence| (sequence, sequence % 2 * 4_000_000_000)) {
        let put = engine.dynamodb().put_item().table_name(TABLE);
        let put = put.set_item(Some(key("a", sequence).into()));
        put.item("ttl", AttributeValue::N(ttl.to_string())).send().await.unwrap();
    }

    assert_eq!(engine.sweep_ttl().await.unwrap(), 150);

    let left = engine.dynamodb().scan().table_name(TABLE).send().await.unwrap();
    assert_eq!(left.count, 150);
    let expired = records(&engine).await.iter().filter(|r| r.user_identity().is_some()).count();
    assert_eq!(expired, 150);
}

#[tokio::test]
async fn a_sweep_that_is_stopped_is_continued_by_the_next_and_holds_up_no_request() {
    let engine = engine().await;
    let ttl = TimeToLiveSpecification::builder().enabled(true).attribute_name("ttl").build();
    let update = engine.dynamodb().update_time_to_live().table_name(TABLE);
    update.time_to_live_specification(ttl.unwrap()).send().await.unwrap();
    for sequence in 1..=800 {
        let put = engine.dynamodb().put_item().table_name(TABLE);
        let put = put.set_item(Some(key("a", sequence).into()));
        put.item("ttl", AttributeValue::N("1".to_owned())).send().await.unwrap();
    }

    // It is stopped after some pieces; requests are answered meanwhile.
    let mut answered = 0;
    let requests = async {
        while answered < 10 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            put(&engine, "b", 1 + answered).await.unwrap();
            answered += 1;
        }
    };
    tokio::select! {
        swept = engine.sweep_ttl() => panic!("all {swept:?} before 10 requests were answered"),
        () = requests => {}
    }
    let left = engine.sweep_ttl().await.unwrap();

    assert!((1..800).contains(&left), "{left} were left");
    let all = engine.dynamodb().scan().table_name(TABLE).send().await.unwrap();
    assert_eq!(all.count, 10);
}

#[tokio::test]
async fn a_request_the_engine_cannot_read_is_a_validation_error() {
    let engine = engine().await;

    let refused = engine
        .dynamodb()
        .put_item()
        .table_name("not a name")
        .set_item(Some(key("a", 1).into()))
        .send()
        .await
        .unwrap_err();

    assert_eq!(refused.code(), Some("ValidationException"));
    let text = refused.message().unwrap();
    assert!(text.starts_with("1 validation error detected"), "{text}");
}

#[tokio::test]
async fn a_missing_table_is_a_service_error() {
    let engine = Engine::in_memory().unwrap();

    let refused = put(&engine, "a", 1).await.unwrap_err();

    assert!(refused.is_resource_not_found_exception(), "{refused}");
}

#[tokio::test]
async fn an_unknown_operation_is_a_service_error() {
    let engine = engine().await;

    let refused = engine.dynamodb().describe_limits().send().await.unwrap_err();

    assert_eq!(refused.code(), Some("UnknownOperationException"));
}

#[tokio::test]
async fn a_closed_engine_refuses_at_once() {
    let engine = engine().await;
    let (client, other) = (engine.dynamodb(), engine.clone());

    engine.close().await;

    let refused = client.list_tables().send().await.unwrap_err();
    assert!(
        matches!(refused, aws_sdk_dynamodb::error::SdkError::DispatchFailure(_)),
        "{refused:?}"
    );
    assert!(matches!(other.sweep_ttl().await, Err(EngineError::Closed)));
}

#[tokio::test]
async fn a_folder_belongs_to_one_engine() {
    let folder = tempfile::tempdir().unwrap();
    let first = Engine::on_disk(folder.path()).unwrap();

    let second = Engine::on_disk(folder.path());
    assert!(matches!(second, Err(EngineError::InUse { .. })), "{second:?}");

    drop(first);
    Engine::on_disk(folder.path()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::on_disk(folder.path()).unwrap();
    create_table(&engine).await;
    let mut writers = JoinSet::new();
    for writer in 0..16 {
        let engine = engine.clone();
        writers.spawn(async move {
            for sequence in 1..=20 {
                put(&engine, &format!("execution-{writer}"), sequence).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    drop(engine);

    let engine = Engine::on_disk(folder.path()).unwrap();

    let found = engine.dynamodb().scan().table_name(TABLE).send().await.unwrap();
    assert_eq!(found.count, 16 * 20);
    assert_eq!(records(&engine).await.len(), 16 * 20);
}

#[tokio::test]
async fn what_was_answered_survives_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::on_disk(folder.path()).unwrap();
    create_table(&engine).await;
    for sequence in 1..=20 {
        put(&engine, "a", sequence).await.unwrap();
    }

    let crashed = tempfile::tempdir().unwrap();
    for file in [DATABASE.to_owned(), format!("{DATABASE}-wal")] {
        std::fs::copy(folder.path().join(&file), crashed.path().join(&file)).unwrap();
    }

    let engine = Engine::on_disk(crashed.path()).unwrap();
    assert_eq!(records(&engine).await.len(), 20);
}

/// A device that refuses to be synced stands in for a broken disk.
#[cfg(unix)]
#[tokio::test]
async fn after_a_failed_sync_nothing_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join(DATABASE);
    std::fs::write(&database, []).unwrap();
    let log = folder.path().join(format!("{DATABASE}-wal"));
    std::os::unix::fs::symlink("/dev/null", log).unwrap();
    let fault = Fault::none();
    let mut durability = Durability::of_file(&database, fault.clone()).unwrap();

    let (reply, answer) = oneshot::channel();
    durability.wrote();
    let held = Answer { status: 200, body: Vec::new(), fault: None };
    durability.hold(Held { answer: held, reply });
    durability.flush();

    answer.await.unwrap_err();
    assert!(fault.is_reported());
    assert!(fault.reported().await.contains("check the disk"));
}

#[test]
fn a_commit_does_not_sync_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::new(folder.path().join(DATABASE).to_str().unwrap()).unwrap();
    super::upkeep::prepare(&storage).unwrap();

    let setting = |name: &str| {
        let mut setting = storage.conn().prepare(&format!("PRAGMA {name}")).unwrap();
        setting.query_row([], |row| row.get_ref(0)?.as_i64().map_err(Into::into)).unwrap()
    };
    let normal = 1;
    assert_eq!(setting("synchronous"), normal);
    // A checkpoint that SQLite makes by itself swallows its errors.
    assert_eq!(setting("wal_autocheckpoint"), 0);
}

/// The sync thread holds the log open by name from the start, so it must never be replaced.
#[cfg(unix)]
#[tokio::test]
async fn the_log_stays_the_same_file_through_checkpoints() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join(format!("{DATABASE}-wal"));
    let engine = Engine::on_disk(folder.path()).unwrap();
    create_table(&engine).await;
    let before = log.metadata().unwrap().ino();

    put(&engine, "a", 1).await.unwrap();
    let checkpoint = |storage: &Storage| {
        storage.conn().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").map_err(Into::into)
    };
    super::upkeep::run(&engine.queue().unwrap(), checkpoint).await.unwrap();
    assert_eq!(log.metadata().unwrap().len(), 0);
    put(&engine, "a", 2).await.unwrap();

    let after = log.metadata().unwrap();
    assert_eq!(after.ino(), before);
    assert!(after.len() > 0);
}

/// dynoxide's tables are private to it: this says what to look at when its version changes.
#[test]
fn the_engines_own_statements_use_our_index() {
    let storage = Storage::memory().unwrap();
    super::upkeep::prepare(&storage).unwrap();
    let plan = |statement: &str| {
        let statement = ["?1", "?2", "?3", "?4"]
            .iter()
            .fold(statement.to_owned(), |statement, parameter| statement.replace(parameter, "'1'"));
        let mut plan = storage.conn().prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
        let lines = plan.query_map([], |row| row.get::<_, String>(3)).unwrap();
        lines.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    };

    let last = "SELECT COALESCE(MAX(CAST(sequence_number AS INTEGER)), 0) + 1
        FROM _stream_records WHERE table_name = ?1";
    let after = "SELECT event_name, keys_json, new_image, old_image, sequence_number, created_at, user_identity, event_id
        FROM _stream_records
        WHERE table_name = ?1 AND shard_id = ?2 AND CAST(sequence_number AS INTEGER) > ?3
        ORDER BY CAST(sequence_number AS INTEGER) ASC LIMIT ?4";
    let range =
        "SELECT MIN(CAST(sequence_number AS INTEGER)), MAX(CAST(sequence_number AS INTEGER))
        FROM _stream_records WHERE table_name = ?1 AND shard_id = ?2";
    for statement in [last, after, range] {
        let plan = plan(statement);
        assert!(plan.contains("INDEX everhook_stream_position (table_name=?"), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
    let trim = plan(super::upkeep::TRIM);
    assert!(trim.starts_with("SEARCH _stream_records USING INTEGER PRIMARY KEY"), "{trim}");
}

async fn engine() -> Engine {
    let engine = Engine::in_memory().unwrap();
    create_table(&engine).await;
    engine
}

async fn create_table(engine: &Engine) {
    let stream = StreamSpecification::builder()
        .stream_enabled(true)
        .stream_view_type(StreamViewType::KeysOnly)
        .build();
    let attribute = |name: &str, kind| {
        AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build().unwrap()
    };
    let element =
        |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
    engine
        .dynamodb()
        .create_table()
        .table_name(TABLE)
        .attribute_definitions(attribute("execution", ScalarAttributeType::S))
        .attribute_definitions(attribute("sequence", ScalarAttributeType::N))
        .key_schema(element("execution", KeyType::Hash).unwrap())
        .key_schema(element("sequence", KeyType::Range).unwrap())
        .billing_mode(BillingMode::PayPerRequest)
        .stream_specification(stream.unwrap())
        .send()
        .await
        .unwrap();
}

fn key(execution: &str, sequence: u64) -> [(String, AttributeValue); 2] {
    [
        ("execution".to_owned(), AttributeValue::S(execution.to_owned())),
        ("sequence".to_owned(), AttributeValue::N(sequence.to_string())),
    ]
}

async fn put(engine: &Engine, execution: &str, sequence: u64) -> Result<(), PutItemError> {
    engine
        .dynamodb()
        .put_item()
        .table_name(TABLE)
        .set_item(Some(key(execution, sequence).into()))
        .condition_expression("attribute_not_exists(#sequence)")
        .expression_attribute_names("#sequence", "sequence")
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .send()
        .await
        .map(drop)
        .map_err(|error| error.into_service_error())
}

async fn records(engine: &Engine) -> Vec<aws_sdk_dynamodbstreams::types::Record> {
    let streams = engine.streams();
    let listed = streams.list_streams().table_name(TABLE).send().await.unwrap();
    let arn = listed.streams()[0].stream_arn().unwrap();
    let described = streams.describe_stream().stream_arn(arn).send().await.unwrap();
    let shard = described.stream_description().unwrap().shards()[0].shard_id().unwrap();
    let iterator = streams
        .get_shard_iterator()
        .stream_arn(arn)
        .shard_id(shard)
        .shard_iterator_type(ShardIteratorType::TrimHorizon)
        .send()
        .await
        .unwrap();
    let read = streams.get_records().set_shard_iterator(iterator.shard_iterator).send().await;
    read.unwrap().records.unwrap()
}

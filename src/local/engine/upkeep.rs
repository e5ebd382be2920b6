//! What DynamoDB does by itself and the embedded engine does not: stream retention and time to live.
//!
//! Everything runs on the engine thread, a little at a time with requests in between. A second connection would have
//! to wait for the write lock, and each of its commits would throw away the engine's page cache.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dynoxide::actions::delete_item::{self, DeleteItemRequest};
use dynoxide::actions::scan::{self, ScanRequest};
use dynoxide::storage::{Storage, TableMetadata};
use dynoxide::streams::extract_keys;
use dynoxide::{AttributeValue, DynoxideError, Item};
use tokio::sync::{mpsc, oneshot};

use super::EngineError;
use super::operation::now_or_error;
use super::worker::Job;

/// How much is looked at before the next request gets its turn; about a millisecond's work.
const PIECE: usize = 200;

/// How many pieces one call does at most; the next call goes on.
const PIECES_MAX: usize = 100_000;

/// dynoxide looks for the last record of a table at each write, and for those after a position at each read of a
/// stream, by table and number. Without an index either is a search through all records.
const STREAM_INDEX: &str = "
    CREATE INDEX IF NOT EXISTS everhook_stream_position
        ON _stream_records(table_name, CAST(sequence_number AS INTEGER), shard_id);";

/// `synchronous = NORMAL` is what `durability` builds upon. The folder's lock has shut out everybody else, so SQLite
/// need not lock and unlock its files for each transaction. The worker makes the checkpoints.
const SETTINGS: &str = "
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA synchronous = NORMAL;
    PRAGMA wal_autocheckpoint = 0;
    PRAGMA cache_size = -32768;
    PRAGMA temp_store = MEMORY;";

/// dynoxide keeps a statement for each index of each table.
const STATEMENTS_KEPT: usize = 128;

// Records are numbered in the order in which they came: when the first ones are young, so is the rest.
pub(super) const TRIM: &str = "
    DELETE FROM _stream_records WHERE created_at < ?1
        AND id IN (SELECT id FROM _stream_records ORDER BY id LIMIT ?2)";

// Tells expiry from a deletion that somebody asked for. The record is the last row that the deletion inserted.
const MARK_EXPIRED: &str = r#"
    UPDATE _stream_records SET user_identity = '{"type":"Service","principalId":"dynamodb.amazonaws.com"}'
        WHERE id = last_insert_rowid() AND table_name = ?1 AND event_name = 'REMOVE'"#;

/// Makes a database fit for use, new or old.
pub(super) fn prepare(storage: &Storage) -> Result<(), DynoxideError> {
    let connection = storage.conn();
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection.execute_batch(SETTINGS)?;
    connection.execute_batch(STREAM_INDEX)?;
    Ok(())
}

/// Deletes the stream records older than `older_than`.
pub(super) async fn trim_streams(
    queue: &mpsc::Sender<Job>,
    older_than: Duration,
) -> Result<usize, EngineError> {
    let before = epoch_seconds().saturating_sub(older_than.as_secs());
    let parameters = [i64::try_from(before).unwrap_or(i64::MAX), PIECE as i64];
    let mut trimmed = 0;
    for _ in 0..PIECES_MAX {
        let deleted =
            run(queue, move |storage| Ok(storage.conn().execute(TRIM, parameters)?)).await?;
        trimmed += deleted;
        if deleted == 0 {
            break;
        }
    }
    Ok(trimmed)
}

/// Deletes the items whose time to live is over.
pub(super) async fn sweep_ttl(queue: &mpsc::Sender<Job>) -> Result<usize, EngineError> {
    let now = epoch_seconds();
    let mut swept = 0;
    for table in run(queue, Storage::list_ttl_enabled_tables).await? {
        let table = Arc::new(table);
        let mut from = None;
        for _ in 0..PIECES_MAX {
            let table = Arc::clone(&table);
            let piece = run(queue, move |storage| expire(storage, &table, now, from)).await?;
            swept += piece.deleted;
            from = piece.rest;
            if from.is_none() {
                break;
            }
        }
    }
    Ok(swept)
}

struct Piece {
    deleted: usize,
    rest: Option<Item>,
}

fn expire(
    storage: &Storage,
    table: &TableMetadata,
    now: u64,
    from: Option<Item>,
) -> Result<Piece, DynoxideError> {
    let attribute = table.ttl_attribute.clone().unwrap_or_default();
    let request = ScanRequest {
        table_name: table.table_name.clone(),
        limit: Some(PIECE),
        exclusive_start_key: from,
        filter_expression: Some("#ttl < :now".to_owned()),
        expression_attribute_names: Some([("#ttl".to_owned(), attribute)].into()),
        expression_attribute_values: Some(
            [(":now".to_owned(), AttributeValue::N(now.to_string()))].into(),
        ),
        ..ScanRequest::default()
    };
    let page = now_or_error(scan::execute(storage, request))?;
    let expired = page.items.unwrap_or_default();
    let deleted = expired.len();
    for item in expired {
        let request = DeleteItemRequest {
            table_name: table.table_name.clone(),
            key: extract_keys(&item, &table.key_schema),
            ..DeleteItemRequest::default()
        };
        now_or_error(delete_item::execute(storage, request))?;
        if table.stream_enabled {
            storage.conn().execute(MARK_EXPIRED, [&table.table_name])?;
        }
    }
    Ok(Piece { deleted, rest: page.last_evaluated_key })
}

/// The texts of a piece of a table's items, and the key to go on after if there are more.
pub(super) async fn texts(
    queue: &mpsc::Sender<Job>,
    table: &str,
    from: Option<Item>,
) -> Result<(Vec<String>, Option<Item>), EngineError> {
    let request = ScanRequest {
        table_name: table.to_owned(),
        limit: Some(PIECE),
        exclusive_start_key: from,
        ..ScanRequest::default()
    };
    let read = move |storage: &Storage| now_or_error(scan::execute(storage, request));
    let page = run(queue, read).await?;
    let values = page.items.unwrap_or_default().into_iter().flat_map(Item::into_values);
    let texts = values.filter_map(|value| match value {
        AttributeValue::S(text) => Some(text),
        _ => None,
    });
    Ok((texts.collect(), page.last_evaluated_key))
}

/// Runs `work` on the engine thread in its turn.
pub(super) async fn run<T: Send + 'static>(
    queue: &mpsc::Sender<Job>,
    work: impl FnOnce(&Storage) -> dynoxide::Result<T> + Send + 'static,
) -> Result<T, EngineError> {
    let (reply, result) = oneshot::channel();
    let work = move |storage: &Storage| {
        let worked = work(storage);
        // Whoever asked has the error in words; the worker looks at it as it is.
        let (told, judged) = match worked {
            Ok(worked) => (Ok(worked), Ok(())),
            Err(error) => (Err(DynoxideError::InternalServerError(error.to_string())), Err(error)),
        };
        drop(reply.send(told));
        judged
    };
    queue.send(Job::Upkeep(Box::new(work))).await.map_err(|_| EngineError::Closed)?;
    Ok(result.await.map_err(|_| EngineError::Closed)??)
}

fn epoch_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

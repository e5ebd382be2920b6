//! What DynamoDB does by itself and the embedded engine does not: stream retention and time to live.
//!
//! Everything runs on the engine thread, a few milliseconds at a time, with requests in between and a pause after each
//! piece: most of the thread's time, and of the disk's, is the requests'. A second connection would have to wait for the
//! write lock, and each of its commits would throw away the engine's page cache. The future may be dropped between any
//! two pieces: what is left is found the next time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dynoxide::actions::scan::{self, ScanRequest};
use dynoxide::actions::transact_write_items::{
    self, TransactDelete, TransactWriteItem, TransactWriteItemsRequest,
};
use dynoxide::storage::{Storage, TableMetadata};
use dynoxide::streams::extract_keys;
use dynoxide::{AttributeValue, DynoxideError, Item};
use tokio::sync::{mpsc, oneshot};

use super::EngineError;
use super::operation::now_or_error;
use super::worker::Job;

/// How many items are looked at, or records deleted, before the next request gets its turn: a few milliseconds' work.
const PIECE: usize = 200;

/// How many items are deleted in one transaction: at first, and at most.
const DELETED_AT_FIRST: usize = 10;
const DELETED_MAX: usize = 100;

/// How long a transaction may take. How many items it deletes follows from how long the last one took.
const TRANSACTION: Duration = Duration::from_millis(8);

/// How many times longer than a piece the pause after it is, and how long it is at least.
const PAUSE: u32 = 3;
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// How many pieces one call does at most; the next call goes on.
const PIECES_MAX: usize = 1_000_000;

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

// Tells expiry from a deletion that somebody asked for. Nothing else has run on the engine thread since.
const MARK_EXPIRED: &str = r#"
    UPDATE _stream_records SET user_identity = '{"type":"Service","principalId":"dynamodb.amazonaws.com"}'
        WHERE id > ?1 AND table_name = ?2 AND event_name = 'REMOVE'"#;

const LAST_RECORD: &str = "SELECT coalesce(max(id), 0) FROM _stream_records";

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
        let work = move |storage: &Storage| Ok(storage.conn().execute(TRIM, parameters)?);
        let (deleted, _) = piece(queue, work).await?;
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
    let mut together = DELETED_AT_FIRST;
    for table in run(queue, Storage::list_ttl_enabled_tables).await? {
        let table = Arc::new(table);
        let mut from = None;
        for _ in 0..PIECES_MAX {
            let (looked_at, now) = (Arc::clone(&table), now);
            let (page, _) =
                piece(queue, move |storage| expired(storage, &looked_at, now, from)).await?;
            let mut keys = page.keys;
            while !keys.is_empty() {
                let rest = keys.split_off(keys.len().min(together));
                let these = std::mem::replace(&mut keys, rest);
                let many = these.len();
                let table = Arc::clone(&table);
                let (deleted, took) =
                    piece(queue, move |storage| delete(storage, &table, these, now)).await?;
                swept += deleted;
                let fit = many as f64 * TRANSACTION.as_secs_f64() / took.as_secs_f64().max(1e-6);
                together = (fit as usize).clamp(1, (2 * together).min(DELETED_MAX));
            }
            from = page.rest;
            if from.is_none() {
                break;
            }
        }
    }
    Ok(swept)
}

/// The keys of a page's items that have expired, and where the next page begins.
struct Page {
    keys: Vec<Item>,
    rest: Option<Item>,
}

fn expired(
    storage: &Storage,
    table: &TableMetadata,
    now: u64,
    from: Option<Item>,
) -> Result<Page, DynoxideError> {
    let request = ScanRequest {
        table_name: table.table_name.clone(),
        limit: Some(PIECE),
        exclusive_start_key: from,
        filter_expression: Some("#ttl < :now".to_owned()),
        expression_attribute_names: Some(names(table)),
        expression_attribute_values: Some(values(now)),
        ..ScanRequest::default()
    };
    let page = now_or_error(scan::execute(storage, request))?;
    let items = page.items.unwrap_or_default();
    let keys = items.iter().map(|item| extract_keys(item, &table.key_schema)).collect();
    Ok(Page { keys, rest: page.last_evaluated_key })
}

/// Deletes items in one transaction and says how many. One that was written again since it was found stays.
fn delete(
    storage: &Storage,
    table: &TableMetadata,
    keys: Vec<Item>,
    now: u64,
) -> Result<usize, DynoxideError> {
    let many = keys.len();
    let request = |key: Item| TransactWriteItem {
        delete: Some(TransactDelete {
            table_name: table.table_name.clone(),
            key,
            condition_expression: Some("#ttl < :now".to_owned()),
            expression_attribute_names: Some(names(table)),
            expression_attribute_values: Some(values(now)),
            ..TransactDelete::default()
        }),
        ..TransactWriteItem::default()
    };
    let last: i64 = storage.conn().query_row(LAST_RECORD, [], |row| row.get(0))?;
    let all = TransactWriteItemsRequest {
        transact_items: keys.iter().cloned().map(request).collect(),
        ..TransactWriteItemsRequest::default()
    };
    match now_or_error(transact_write_items::execute(storage, all)) {
        Ok(_) => {}
        // One of them was written again since it was found, or they are too large together: the others go one by one.
        Err(_) if many > 1 => {
            let each = keys.into_iter().map(|key| delete(storage, table, vec![key], now));
            return each.sum();
        }
        Err(DynoxideError::TransactionCanceledException(..)) => return Ok(0),
        Err(error) => return Err(error),
    }
    if table.stream_enabled {
        let connection = storage.conn();
        connection.execute(MARK_EXPIRED, (last, &table.table_name))?;
    }
    Ok(many)
}

fn names(table: &TableMetadata) -> HashMap<String, String> {
    HashMap::from([("#ttl".to_owned(), table.ttl_attribute.clone().unwrap_or_default())])
}

fn values(now: u64) -> HashMap<String, AttributeValue> {
    HashMap::from([(":now".to_owned(), AttributeValue::N(now.to_string()))])
}

/// Runs a piece of work in its turn, says how long it took, and leaves the thread to others for longer than that.
async fn piece<T: Send + 'static>(
    queue: &mpsc::Sender<Job>,
    work: impl FnOnce(&Storage) -> dynoxide::Result<T> + Send + 'static,
) -> Result<(T, Duration), EngineError> {
    let timed = move |storage: &Storage| {
        let began = Instant::now();
        work(storage).map(|done| (done, began.elapsed()))
    };
    let (done, took) = run(queue, timed).await?;
    tokio::time::sleep((took * PAUSE).max(PAUSE_MIN)).await;
    Ok((done, took))
}

/// The values of a piece of a table's items, and the key to go on after if there are more.
pub(super) async fn page(
    queue: &mpsc::Sender<Job>,
    table: &str,
    from: Option<Item>,
) -> Result<(Vec<AttributeValue>, Option<Item>), EngineError> {
    let request = ScanRequest {
        table_name: table.to_owned(),
        limit: Some(PIECE),
        exclusive_start_key: from,
        ..ScanRequest::default()
    };
    let read = move |storage: &Storage| now_or_error(scan::execute(storage, request));
    let page = run(queue, read).await?;
    let values = page.items.unwrap_or_default().into_iter().flat_map(Item::into_values);
    Ok((values.collect(), page.last_evaluated_key))
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

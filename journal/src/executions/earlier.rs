//! What versions before the timers left in rows: a due time while an execution was unfinished, and an index of all rows.
//!
//! | attribute | type | holds |
//! |---|---|---|
//! | `due_at` | S | by when it must have moved; index `due` with `due_shard` |
//! | `generation` | N | changes whenever the due time does |
//! | `source`, `created_at` | S | index `recent` |
//! | `status`, `steps`, … | S | the view, one attribute each; see [`Row::from_item`](super::Row::from_item) |
//!
//! The indexes may be gone: then nothing was left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Cursor, Executions, Listed, execution_of, key, met, to_key};
use crate::id::{ExecutionId, SourceName};
use crate::item::{number, read_number, read_time, text};
use crate::store::{Expression, Item, Query, Unavailable};
use crate::time::Timestamp;

/// How many shards the index had.
const DUE_SHARDS: u64 = 8;

/// Which of the indexes are known to be gone.
#[derive(Debug, Clone, Default)]
pub(super) struct EarlierIndexes(Arc<[AtomicBool; 2]>);

#[derive(Debug, Clone, Copy)]
enum Index {
    Due = 0,
    Recent = 1,
}

/// An unfinished execution whose row says when it is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    /// The execution.
    pub execution: ExecutionId,
    /// When it is due.
    pub due: Timestamp,
    /// When its history may be deleted.
    pub expires_at: Timestamp,
    generation: u64,
}

impl Executions {
    /// At most `limit` executions whose rows say when they are due, and whether there may be more. May lag behind.
    pub async fn owed(&self, limit: i32) -> Result<(Vec<Owed>, bool), Unavailable> {
        let (mut owed, mut is_more) = (Vec::new(), false);
        for shard in 0..DUE_SHARDS {
            let of_shard = Expression::new("#due_shard = :shard", &["due_shard"])
                .with(":shard", number(shard));
            let query =
                Query { index: Some("due"), key: of_shard, limit: Some(limit), ..Query::default() };
            let Some((items, more)) = self.earlier(Index::Due, query).await? else {
                return Ok((owed, false));
            };
            is_more |= more.is_some();
            let keys = items.iter().filter_map(execution_of).map(|id| key(&id)).collect();
            let rows = self.store.batch_get(&self.table, keys, &[]).await?;
            owed.extend(rows.iter().filter_map(to_owed));
        }
        Ok((owed, is_more))
    }

    /// Takes the due time out of a row, if it is still the one that was read: a timer says it now.
    pub async fn take_over(&self, owed: &Owed) -> Result<bool, Unavailable> {
        let change = Expression::new(
            "REMOVE #due_at, #due_shard, #generation",
            &["due_at", "due_shard", "generation"],
        );
        let same = Expression::new("#generation = :generation", &[])
            .with(":generation", number(owed.generation));
        met(self.store.update(&self.table, key(&owed.execution), change, same).await)
    }

    /// The newest executions of a source that an earlier version received, in a span of time, and where to go on.
    pub async fn recent(
        &self,
        source: &SourceName,
        (from, to): (Option<Timestamp>, Option<Timestamp>),
        limit: i32,
        start: Option<Cursor>,
    ) -> Result<(Vec<Listed>, Option<Cursor>), Unavailable> {
        let bound = |time: Option<Timestamp>, open: &str| {
            text(time.map_or_else(|| open.to_owned(), |time| time.to_string()))
        };
        let key = Expression::new(
            "#source = :source AND #created_at BETWEEN :from AND :to",
            &["source", "created_at"],
        )
        .with(":source", text(source.as_str()))
        .with(":from", bound(from, "0"))
        .with(":to", bound(to, "9"));
        let query = Query {
            index: Some("recent"),
            key,
            descending: true,
            limit: Some(limit),
            start: start.map(to_key),
            ..Query::default()
        };
        let found = self.earlier(Index::Recent, query).await?;
        let (items, more) = found.unwrap_or_default();
        let found = items.iter().filter_map(|item| super::listed(item, "created_at")).collect();
        Ok((found, more.as_ref().map(super::to_cursor)))
    }

    /// A page of an index that may be gone.
    async fn earlier(
        &self,
        index: Index,
        query: Query,
    ) -> Result<Option<(Vec<Item>, Option<Item>)>, Unavailable> {
        let is_gone = &self.earlier.0[index as usize];
        if is_gone.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let found = self.store.query_if_indexed(&self.table, query).await?;
        is_gone.store(found.is_none(), Ordering::Relaxed);
        Ok(found)
    }
}

fn to_owed(item: &Item) -> Option<Owed> {
    Some(Owed {
        execution: execution_of(item)?,
        due: read_time(item, "due_at").ok()?,
        expires_at: Timestamp::from_ttl_seconds(read_number(item, "ttl").ok()?),
        generation: read_number(item, "generation").ok()?,
    })
}

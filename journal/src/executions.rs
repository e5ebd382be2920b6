//! The executions table: a row of each execution's view and, while it is unfinished, its obligation.
//!
//! | attribute | type | holds |
//! |---|---|---|
//! | `execution` | S, partition key | the execution's id |
//! | `status`, `current_step`, `event_type`, `workflow`, `delivery_id` | S | the view |
//! | `source`, `created_at` | S | the view; index `recent` |
//! | `updated_at` | S | the view |
//! | `workflow_hash` | S | the view; absent once it has ended |
//! | `error`, `filtered`, `keys`, `steps` | S | the view, as JSON |
//! | `key_count`, `sequence` | N | the view; `sequence` is that of the last folded event |
//! | `head` | S | the view; the digest of the last folded append, see [`crate::chain`]; absent until an append was folded that is known to be there |
//! | `due_at` | S | by when it must have moved; index `due`; absent once it has ended |
//! | `due_shard` | N | the part of the index `due` it is in |
//! | `generation` | N | changes whenever the obligation does |
//! | `redrives` | N | how often the sweep has fired it without progress |
//! | `deaths` | N | how many processes died while they drove it, since it last got further; absent if none did |
//! | `attention` | S | `failed` or `stalled`; index `attention` |
//! | `parked` | S | why it is stalled |
//! | `repeat_of` | S | the execution that the same body had come with before, see `bodies` |
//! | `ttl` | N | when it may be deleted, in seconds since 1970 |
//!
//! Beside the rows it holds what [`crate::quarantine`] keeps, and what the keys of the tables are known by, see `keys`.
//! View and obligation are one item on purpose: the terminal view and the end of the obligation are one write.

mod bodies;
mod keys;
mod row;

use std::collections::HashMap;

use crate::guard::{self, Guard};
use crate::id::{ExecutionId, Sequence, SourceName, WorkflowHash, WorkflowName};
use crate::item::{MalformedItem, number, read_number, read_optional, read_text, read_time, text};
use crate::quarantine::Quarantine;
use crate::store::{Expression, Item, Query, Store, Unavailable, WriteError};
use crate::table::REST;
use crate::time::Timestamp;
use crate::view::{View, ViewStatus};
use row::{to_item, to_row, with_due};

/// Into how many parts the index of due rows is split.
pub const DUE_SHARDS: u64 = 8;

/// How many processes may die while they drive an execution before it is stalled.
pub const DEATHS_MAX: u64 = 3;

/// All executions' rows. A clone is the same table.
#[derive(Debug, Clone)]
pub struct Executions {
    store: Store,
    table: String,
}

/// A row: the view and what is owed.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The view.
    pub view: View,
    /// The obligation; none once the execution has ended.
    pub due: Option<Due>,
    /// Why it is not moving, if somebody should look.
    pub parked: Option<String>,
    /// How many processes died while they drove it, since it last got further.
    pub deaths: u64,
    /// The execution that the same body had come with before, under another id that nobody signed.
    pub repeat_of: Option<ExecutionId>,
}

/// What is owed to an unfinished execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// By when it must have moved.
    pub at: Timestamp,
    /// Changes whenever the obligation does.
    pub generation: u64,
    /// How often the sweep has fired it without progress.
    pub redrives: u64,
}

impl Row {
    /// Reads an item of the table.
    pub fn from_item(item: &Item) -> Result<Self, MalformedItem> {
        to_row(item)
    }
}

/// What came of making the row of a new execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// There was none.
    Made,
    /// There is one.
    Stands {
        /// When its webhook was received, if that can be read.
        created_at: Option<Timestamp>,
    },
}

/// Which definition an unfinished execution runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// Its workflow.
    pub workflow: WorkflowName,
    /// The definition; unknown in rows from before it was written down.
    pub hash: Option<WorkflowHash>,
    /// When its webhook was received.
    pub created_at: Timestamp,
}

/// A place in a listing to go on from.
pub type Cursor = HashMap<String, String>;

impl Executions {
    /// The executions in this table.
    pub fn new(store: Store, table: impl Into<String>) -> Self {
        Self { store, table: table.into() }
    }

    /// The slots for refused requests, which are in this table.
    pub fn quarantine(&self) -> Quarantine {
        Quarantine::new(self.store.clone(), self.table.clone())
    }

    /// Makes the row of a new execution, owed by `due_at`, or says which one stands there.
    /// One that has expired counts as none, as soon as another execution may begin in its place.
    pub async fn open(&self, view: &View, due_at: Timestamp) -> Result<Opened, Unavailable> {
        let item = with_due(to_item(view), due_at, 1);
        let absent = Expression::free_or_expired(view.created_at - REST).guarded(Guard::OpenOnce);
        match self.store.put(&self.table, item, absent).await {
            Ok(()) => Ok(Opened::Made),
            Err(WriteError::Condition(old)) => {
                let created_at = old.and_then(|old| read_time(&old, "created_at").ok());
                Ok(Opened::Stands { created_at })
            }
            Err(error) => Err(outage(error)),
        }
    }

    /// Makes the row anew beside a first event whose row it is not:
    /// the row that stands there is from a try that got no further, and may be about to be removed.
    pub async fn reopen(&self, view: &View, due_at: Timestamp) -> Result<(), Unavailable> {
        let generation = match self.get(&view.execution).await? {
            Some(Row { due: Some(due), .. }) => due.generation + 1,
            Some(Row { due: None, .. }) | None => 1,
        };
        let item = with_due(to_item(view), due_at, generation);
        met(self.store.put(&self.table, item, not_past(view)).await).map(drop)
    }

    /// Shows a newer view of an unfinished execution; an older one changes nothing, and neither does any
    /// as long as the execution is stalled for [`DEATHS_MAX`] deaths.
    /// A row that is missing is made, owed by `due_at`.
    pub async fn project(&self, view: &View, due_at: Timestamp) -> Result<bool, Unavailable> {
        let mut item = to_item(view);
        item.remove("execution");
        let mut change = String::from(
            "SET #due_at = if_not_exists(#due_at, :due_at), #due_shard = :due_shard, \
             #generation = if_not_exists(#generation, :one), #redrives = :none",
        );
        let mut names = vec!["due_at", "due_shard", "generation", "redrives"];
        let mut values = vec![
            (":due_at", text(due_at.to_string())),
            (":due_shard", number(due_shard(&view.execution))),
            (":one", number(1)),
            (":none", number(0)),
        ];
        let mut removed = vec!["#parked".to_owned(), "#attention".to_owned()];
        names.extend(["parked", "attention"]);
        for (attribute, placeholder) in VIEW_ATTRIBUTES {
            names.push(attribute);
            match item.remove(*attribute) {
                Some(value) => {
                    change.push_str(&format!(", #{attribute} = {placeholder}"));
                    values.push((placeholder, value));
                }
                None => removed.push(format!("#{attribute}")),
            }
        }
        change.push_str(&format!(" REMOVE {}", removed.join(", ")));
        let change =
            values.into_iter().fold(Expression::new(change, &names), |change, (name, value)| {
                change.with(name, value)
            });
        // One that is stalled because it killed processes stays so: what they had claimed is no progress.
        let newer = Expression::new(
            "(attribute_not_exists(#execution) OR #sequence < :sequence OR #created_at < :created_at) \
             AND (attribute_not_exists(#deaths) OR #deaths < :deaths_max)",
            &["execution", "deaths"],
        )
        .with(":deaths_max", number(DEATHS_MAX))
        .guarded(Guard::NewerView);
        met(self.store.update(&self.table, key(&view.execution), change, newer).await)
    }

    /// Shows the view of an execution that has ended and lets go of its obligation, in one write.
    /// A mark on the row stays.
    pub async fn finish(&self, view: &View) -> Result<bool, Unavailable> {
        let mut item = to_item(view);
        let written = self
            .store
            .put(&self.table, item.clone(), not_past_unmarked(view).guarded(Guard::EndNotPast))
            .await;
        if let Err(WriteError::Condition(Some(old))) = &written
            && let Some(first) = old.get("repeat_of")
        {
            item.insert("repeat_of".into(), first.clone());
            return met(self.store.put(&self.table, item, not_past(view)).await);
        }
        met(written)
    }

    /// Moves the obligation, if it is still the one that was read.
    pub async fn postpone(
        &self,
        id: &ExecutionId,
        read: &Due,
        until: Timestamp,
    ) -> Result<bool, Unavailable> {
        let change = Expression::new(
            "SET #due_at = :due_at, #generation = :next, #redrives = :none",
            &["due_at", "generation", "redrives"],
        )
        .with(":due_at", text(until.to_string()))
        .with(":next", number(read.generation + 1))
        .with(":none", number(0));
        met(self
            .store
            .update(
                &self.table,
                key(id),
                change,
                unchanged(read).guarded(Guard::PostponeGeneration),
            )
            .await)
    }

    /// Makes an unfinished execution due now. Whoever read its row before this leaves it alone,
    /// also if it was due already: the obligation is another one.
    pub async fn hasten(&self, id: &ExecutionId, now: Timestamp) -> Result<bool, Unavailable> {
        let change = Expression::new(
            "SET #due_at = :now, #generation = #generation + :one, #redrives = :none",
            &["due_at", "generation", "redrives"],
        )
        .with(":now", text(now.to_string()))
        .with(":one", number(u8::from(guard::holds(Guard::HastenGeneration))))
        .with(":none", number(0));
        let owed = Expression::new("attribute_exists(#due_at)", &[]);
        met(self.store.update(&self.table, key(id), change, owed).await)
    }

    /// Moves a row whose claim came to nothing, if it is still the one that was read: it is due at `at`,
    /// after so many claims without progress.
    pub async fn release(
        &self,
        id: &ExecutionId,
        read: &Due,
        at: Timestamp,
        redrives: u64,
    ) -> Result<bool, Unavailable> {
        let change = Expression::new(
            "SET #due_at = :due_at, #generation = :next, #redrives = :redrives",
            &["due_at", "generation", "redrives"],
        )
        .with(":due_at", text(at.to_string()))
        .with(":next", number(read.generation + 1))
        .with(":redrives", number(redrives));
        met(self.store.update(&self.table, key(id), change, unchanged(read)).await)
    }

    /// Records how many processes have died while they drove an unfinished execution.
    pub async fn count_deaths(&self, id: &ExecutionId, deaths: u64) -> Result<bool, Unavailable> {
        let change = match deaths {
            0 => Expression::new("REMOVE #deaths", &["deaths"]),
            _ => Expression::new("SET #deaths = :deaths", &["deaths"])
                .with(":deaths", number(deaths)),
        };
        let owed = Expression::new("attribute_exists(#due_at)", &["due_at"]);
        met(self.store.update(&self.table, key(id), change, owed).await)
    }

    /// Forgets the deaths of an execution that got further, and that it was stalled because of them.
    pub async fn forgive(&self, id: &ExecutionId) -> Result<bool, Unavailable> {
        let change = Expression::new(
            "REMOVE #deaths, #parked, #attention",
            &["deaths", "parked", "attention"],
        );
        let owed = Expression::new("attribute_exists(#due_at)", &["due_at"]);
        met(self.store.update(&self.table, key(id), change, owed).await)
    }

    /// Takes a due row for one try until `until`; one of several callers gets it.
    pub async fn claim(
        &self,
        id: &ExecutionId,
        read: &Due,
        until: Timestamp,
    ) -> Result<bool, Unavailable> {
        let change = Expression::new(
            "SET #due_at = :due_at, #generation = :next, #redrives = :redrives",
            &["due_at", "generation", "redrives"],
        )
        .with(":due_at", text(until.to_string()))
        .with(":next", number(read.generation + 1))
        .with(":redrives", number(read.redrives + 1));
        met(self
            .store
            .update(&self.table, key(id), change, unchanged(read).guarded(Guard::ClaimGeneration))
            .await)
    }

    /// Marks an execution as not moving, so that somebody looks, and tries it again at `until`.
    pub async fn park(
        &self,
        id: &ExecutionId,
        read: &Due,
        reason: &str,
        until: Timestamp,
    ) -> Result<bool, Unavailable> {
        let change = Expression::new(
            "SET #due_at = :due_at, #generation = :next, #redrives = :redrives, \
             #parked = :reason, #attention = :stalled",
            &["due_at", "generation", "redrives", "parked", "attention"],
        )
        .with(":redrives", number(read.redrives + 1))
        .with(":due_at", text(until.to_string()))
        .with(":next", number(read.generation + 1))
        .with(":reason", text(reason))
        .with(":stalled", text(ViewStatus::Stalled.as_str()));
        met(self.store.update(&self.table, key(id), change, unchanged(read)).await)
    }

    /// Removes a row whose execution never began, if its obligation is still the one that was read,
    /// and nobody has made the row anew: then generations may begin again.
    pub async fn discard(
        &self,
        id: &ExecutionId,
        read: &Due,
        created_at: Timestamp,
    ) -> Result<bool, Unavailable> {
        let same = Expression::new(
            "#generation = :generation AND #created_at = :created_at",
            &["generation", "created_at"],
        )
        .with(":generation", number(read.generation))
        .with(":created_at", text(created_at.to_string()))
        .guarded(Guard::DiscardUnchanged);
        met(self.store.delete(&self.table, key(id), same).await)
    }

    /// A row, as of the last acknowledged write.
    pub async fn get(&self, id: &ExecutionId) -> Result<Option<Row>, Unavailable> {
        let item = self.store.get(&self.table, key(id)).await?;
        item.map(|item| to_row(&item)).transpose().map_err(unreadable)
    }

    /// The ids of at most `limit` rows of one shard that were due at `now`. May lag behind.
    pub async fn due(
        &self,
        shard: u64,
        now: Timestamp,
        limit: i32,
    ) -> Result<Vec<ExecutionId>, Unavailable> {
        let query = Query {
            index: Some("due"),
            key: Expression::new(
                "#due_shard = :shard AND #due_at <= :now",
                &["due_shard", "due_at"],
            )
            .with(":shard", number(shard))
            .with(":now", text(now.to_string())),
            limit: Some(limit),
            ..Query::default()
        };
        let (items, _) = self.store.query(&self.table, query).await?;
        Ok(items.iter().filter_map(execution_of).collect())
    }

    /// Which definitions unfinished executions run: at most `limit` executions of each shard, those due first,
    /// and whether there are more. May lag behind.
    pub async fn unfinished(&self, limit: i32) -> Result<(Vec<Unfinished>, bool), Unavailable> {
        let (ids, is_more) = self.unfinished_ids(limit).await?;
        let keys = ids.iter().map(key).collect();
        let wanted = ["execution", "workflow", "workflow_hash", "created_at"];
        let items = self.store.batch_get(&self.table, keys, &wanted).await?;
        let unfinished = |item: &Item| {
            Some(Unfinished {
                workflow: WorkflowName::new(read_text(item, "workflow").ok()?),
                hash: read_optional(item, "workflow_hash").map(WorkflowHash::new),
                created_at: read_time(item, "created_at").ok()?,
            })
        };
        Ok((items.iter().filter_map(unfinished).collect(), is_more))
    }

    /// Unfinished executions: at most `limit` of each shard, those due first, and whether there are more.
    /// May lag behind.
    pub async fn unfinished_ids(
        &self,
        limit: i32,
    ) -> Result<(Vec<ExecutionId>, bool), Unavailable> {
        let (mut ids, mut is_more) = (Vec::new(), false);
        for shard in 0..DUE_SHARDS {
            let key = Expression::new("#due_shard = :shard", &["due_shard"])
                .with(":shard", number(shard));
            let query = Query { index: Some("due"), key, limit: Some(limit), ..Query::default() };
            let (items, more) = self.store.query(&self.table, query).await?;
            ids.extend(items.iter().filter_map(execution_of));
            is_more |= more.is_some();
        }
        Ok((ids, is_more))
    }

    /// How far the views of these executions are; those without a row are left out. May lag behind.
    pub async fn sequences(
        &self,
        ids: &[ExecutionId],
    ) -> Result<HashMap<ExecutionId, Sequence>, Unavailable> {
        let keys = ids.iter().map(key).collect();
        let items = self.store.batch_get(&self.table, keys, &["execution", "sequence"]).await?;
        let pair = |item: &Item| {
            Some((execution_of(item)?, Sequence::new(read_number(item, "sequence").ok()?)))
        };
        Ok(items.iter().filter_map(pair).collect())
    }

    /// Opens a connection. What fails here fails again, and is told, when it matters.
    pub async fn warm(&self) {
        let nothing = Item::from([("execution".into(), text("none"))]);
        self.store.batch_get(&self.table, vec![nothing], &["execution"]).await.ok();
    }

    /// The rows of these executions, in this order; those that are gone are left out.
    pub async fn rows(&self, ids: &[ExecutionId]) -> Result<Vec<Row>, Unavailable> {
        let keys = ids.iter().map(key).collect();
        let items = self.store.batch_get(&self.table, keys, &[]).await?;
        let mut rows: HashMap<_, _> = items
            .iter()
            .filter_map(|item| to_row(item).ok())
            .map(|row| (row.view.execution.clone(), row))
            .collect();
        Ok(ids.iter().filter_map(|id| rows.remove(id)).collect())
    }

    /// The newest executions of a source in a span of time, and where to go on.
    pub async fn recent(
        &self,
        source: &SourceName,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
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
        self.listing(Query { index: Some("recent"), key, ..listing(limit, start) }).await
    }

    /// The newest executions that somebody should look at: `failed` or `stalled`.
    pub async fn attention(
        &self,
        status: ViewStatus,
        limit: i32,
        start: Option<Cursor>,
    ) -> Result<(Vec<Listed>, Option<Cursor>), Unavailable> {
        let key = Expression::new("#attention = :attention", &["attention"])
            .with(":attention", text(status.as_str()));
        self.listing(Query { index: Some("attention"), key, ..listing(limit, start) }).await
    }

    async fn listing(&self, query: Query) -> Result<(Vec<Listed>, Option<Cursor>), Unavailable> {
        let (items, more) = self.store.query(&self.table, query).await?;
        let listed = |item: &Item| {
            Some(Listed {
                execution: execution_of(item)?,
                created_at: read_time(item, "created_at").ok()?,
                cursor: to_cursor(item),
            })
        };
        Ok((items.iter().filter_map(listed).collect(), more.as_ref().map(to_cursor)))
    }
}

/// An entry of a listing.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Which execution.
    pub execution: ExecutionId,
    /// When it was created.
    pub created_at: Timestamp,
    /// Where the entries after this one begin.
    pub cursor: Cursor,
}

fn listing(limit: i32, start: Option<Cursor>) -> Query {
    Query {
        descending: true,
        limit: Some(limit),
        start: start.map(|cursor| cursor.into_iter().map(|(k, v)| (k, text(v))).collect()),
        ..Query::default()
    }
}

/// The view's attributes beside the key, with the placeholders of their values.
const VIEW_ATTRIBUTES: &[(&str, &str)] = &[
    ("status", ":status"),
    ("current_step", ":current_step"),
    ("source", ":source"),
    ("delivery_id", ":delivery_id"),
    ("event_type", ":event_type"),
    ("workflow", ":workflow"),
    ("workflow_hash", ":workflow_hash"),
    ("created_at", ":created_at"),
    ("updated_at", ":updated_at"),
    ("error", ":error"),
    ("filtered", ":filtered"),
    ("keys", ":keys"),
    ("key_count", ":key_count"),
    ("steps", ":steps"),
    ("sequence", ":sequence"),
    ("head", ":head"),
    ("ttl", ":ttl"),
];

/// The part of the index `due` that an execution is in: its id is evenly distributed already.
fn due_shard(id: &ExecutionId) -> u64 {
    id.as_str().bytes().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
        % DUE_SHARDS
}

fn key(id: &ExecutionId) -> Item {
    Item::from([("execution".into(), text(id.as_str()))])
}

/// No row, an older view, or one of an execution that expired before this one began.
const NOT_PAST: &str =
    "(attribute_not_exists(#execution) OR #sequence <= :sequence OR #created_at < :created_at)";

fn not_past(view: &View) -> Expression {
    with_place(view, Expression::new(NOT_PAST, &["execution", "sequence", "created_at"]))
}

/// The same, and not marked as a repeat.
fn not_past_unmarked(view: &View) -> Expression {
    let condition = format!("{NOT_PAST} AND attribute_not_exists(#repeat_of)");
    let names = ["execution", "sequence", "created_at", "repeat_of"];
    with_place(view, Expression::new(condition, &names))
}

fn with_place(view: &View, condition: Expression) -> Expression {
    condition
        .with(":sequence", number(view.sequence))
        .with(":created_at", text(view.created_at.to_string()))
}

fn unchanged(read: &Due) -> Expression {
    Expression::new("#generation = :generation", &["generation"])
        .with(":generation", number(read.generation))
}

/// Whether a conditional write happened.
pub(crate) fn met(result: Result<(), WriteError>) -> Result<bool, Unavailable> {
    match result {
        Ok(()) => Ok(true),
        Err(WriteError::Condition(_)) => Ok(false),
        Err(error) => Err(outage(error)),
    }
}

fn outage(error: WriteError) -> Unavailable {
    match error {
        WriteError::Unavailable(error) => error,
        error => Unavailable(error.to_string()),
    }
}

fn unreadable(error: MalformedItem) -> Unavailable {
    Unavailable(format!("a row of the executions table: {error}"))
}

fn execution_of(item: &Item) -> Option<ExecutionId> {
    ExecutionId::parse(read_text(item, "execution").ok()?)
}

fn to_cursor(item: &Item) -> Cursor {
    let texts =
        item.iter().filter_map(|(name, value)| Some((name.clone(), value.as_s().ok()?.clone())));
    texts.collect()
}

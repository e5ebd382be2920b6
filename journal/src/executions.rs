//! The executions table: the view of each execution, as far as one was written.
//!
//! | attribute | type | holds |
//! |---|---|---|
//! | `execution` | S, partition key | the execution's id |
//! | `sequence` | N | the last event that the view is as of |
//! | `view` | B | the view, as JSON, see [`crate::packed`] |
//! | `created_at` | S | when the webhook was recorded |
//! | `attention` | S | `failed#SHARD` or `stalled#SHARD`; index `attention`, with `created_at` |
//! | `ended` | BOOL | whether the view says that it has ended; absent if not |
//! | `stalled` | S | why it does not move |
//! | `alone` | SS | names of drives of it alone that have not ended: their processes may have died of it |
//! | `deaths` | N | the same as a number, from versions before the timers |
//! | `repeat_of` | S | the execution that the same body had come with before, see `bodies` |
//! | `ttl` | N | when it may be deleted, in seconds since 1970 |
//!
//! A view is a pure fold of a history. It is written when a history rests or has ended, and only over an older one.
//! Nothing is decided by it: whatever decides reads the history.
//!
//! Rows of earlier versions hold the view in attributes of their own and are read by [`Row::from_item`]; in their
//! index `recent` operators find them. What such a row says of a due time is taken over by [`Executions::owed`].
//!
//! Beside the rows it holds what [`crate::quarantine`] keeps, what the keys of the tables are known by (see `keys`), and
//! how far the audit has come (see `audited`).

mod audited;
mod bodies;
mod earlier;
mod keys;
mod marks;
mod row;

use std::collections::HashMap;

use crate::guard::Guard;
use crate::id::{ExecutionId, Sequence, Shards};
use crate::item::{MalformedItem, read_number, read_text, read_time, text};
use crate::quarantine::Quarantine;
use crate::store::{Expression, Item, Query, Store, Unavailable, WriteError};
use crate::time::Timestamp;
use crate::view::{View, ViewStatus};
use row::{to_item, to_row};

pub use audited::Pass;
use earlier::EarlierIndexes;
pub use earlier::Owed;
pub use marks::{DEATHS_MAX, died};

/// The views of all executions. A clone is the same table.
#[derive(Debug, Clone)]
pub struct Executions {
    store: Store,
    table: String,
    shards: Shards,
    earlier: EarlierIndexes,
}

/// What is shown of an execution.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The execution.
    pub execution: ExecutionId,
    /// The view; none was written yet of an execution that was only marked.
    pub view: Option<View>,
    /// Why it does not move, if an operator should look.
    pub stalled: Option<String>,
    /// How many processes may have died of it since it last got further.
    pub deaths: u64,
    /// The execution that the same body had come with before, under another id that nobody signed.
    pub repeat_of: Option<ExecutionId>,
}

impl Row {
    /// A row of an execution of which nothing was written yet.
    pub fn unwritten(execution: ExecutionId) -> Self {
        Self { execution, view: None, stalled: None, deaths: 0, repeat_of: None }
    }

    /// Reads an item of the table.
    pub fn from_item(item: &Item) -> Result<Self, MalformedItem> {
        to_row(item)
    }

    /// Whether its execution has ended, as far as the view says. It never says so too early.
    pub fn has_ended(&self) -> bool {
        self.view.as_ref().is_some_and(|view| view.status.is_terminal())
    }
}

/// A place in a listing to go on from.
pub type Cursor = HashMap<String, String>;

impl Executions {
    /// The executions in this table, whose index has so many shards.
    pub fn new(store: Store, table: impl Into<String>, shards: Shards) -> Self {
        Self { store, table: table.into(), shards, earlier: EarlierIndexes::default() }
    }

    /// The slots for refused requests, which are in this table.
    pub fn quarantine(&self) -> Quarantine {
        Quarantine::new(self.store.clone(), self.table.clone())
    }

    /// Shows a view, unless one that is as new is shown; says whether it did. What has ended is not stalled any more;
    /// what has not stays so.
    pub async fn show(&self, view: &View) -> Result<bool, Unavailable> {
        match view.status.is_terminal() {
            true => self.write(view, &marks::ALL).await,
            false => self.write(view, &["ended"]).await,
        }
    }

    /// Shows the view of an execution that an operator makes go on: it is neither ended nor stalled any more.
    pub async fn reopen(&self, view: &View) -> Result<bool, Unavailable> {
        let removed = [&marks::ALL[..], &["ended"]].concat();
        self.write(view, &removed).await
    }

    async fn write(&self, view: &View, removed: &[&'static str]) -> Result<bool, Unavailable> {
        let mut item = to_item(view, self.shards);
        item.remove("execution");
        let mut names = Vec::new();
        let mut set = Vec::new();
        let mut values = Vec::new();
        for (attribute, placeholder) in VIEW_ATTRIBUTES {
            if let Some(value) = item.remove(*attribute) {
                names.push(*attribute);
                set.push(format!("#{attribute} = {placeholder}"));
                values.push((*placeholder, value));
            }
        }
        let removed: Vec<_> =
            removed.iter().copied().filter(|name| !names.contains(name)).collect();
        let list = removed.iter().map(|name| format!("#{name}")).collect::<Vec<_>>().join(", ");
        let change = format!("SET {} REMOVE {list}", set.join(", "));
        names.extend(removed);
        let change = Expression::new(change, &names);
        let change =
            values.into_iter().fold(change, |change, (name, value)| change.with(name, value));
        let newer = newer().guarded(Guard::NewerView);
        met(self.store.update(&self.table, key(&view.execution), change, newer).await)
    }

    /// A row, as of the last acknowledged write.
    pub async fn get(&self, id: &ExecutionId) -> Result<Option<Row>, Unavailable> {
        let item = self.store.get(&self.table, key(id)).await?;
        item.map(|item| to_row(&item)).transpose().map_err(unreadable)
    }

    /// How far the views of these executions are; those without one, or with one that has expired by `now`, are left
    /// out. May lag behind.
    pub async fn sequences(
        &self,
        ids: &[ExecutionId],
        now: Timestamp,
    ) -> Result<HashMap<ExecutionId, Sequence>, Unavailable> {
        let keys = ids.iter().map(key).collect();
        let wanted = ["execution", "sequence", "ttl"];
        let items = self.store.batch_get(&self.table, keys, &wanted).await?;
        let pair = |item: &Item| {
            if has_expired(item, now) {
                return None;
            }
            Some((execution_of(item)?, Sequence::new(read_number(item, "sequence").ok()?)))
        };
        Ok(items.iter().filter_map(pair).collect())
    }

    /// Opens a connection. What fails here fails again, and is told, when it matters.
    pub async fn warm(&self) {
        let nothing = Item::from([("execution".into(), text("none"))]);
        self.store.batch_get(&self.table, vec![nothing], &["execution"]).await.ok();
    }

    /// The same, unless it has expired by `now`: then it says nothing of the execution that may be there.
    pub async fn get_current(
        &self,
        id: &ExecutionId,
        now: Timestamp,
    ) -> Result<Option<Row>, Unavailable> {
        let item = self.store.get(&self.table, key(id)).await?;
        let item = item.filter(|item| !has_expired(item, now));
        item.map(|item| to_row(&item)).transpose().map_err(unreadable)
    }

    /// The rows of these executions, in this order; those of which nothing was written are empty. May lag behind.
    pub async fn rows(&self, ids: &[ExecutionId]) -> Result<Vec<Row>, Unavailable> {
        let keys = ids.iter().map(key).collect();
        let items = self.store.batch_get(&self.table, keys, &[]).await?;
        let mut rows: HashMap<_, _> = items
            .iter()
            .filter_map(|item| to_row(item).ok())
            .map(|row| (row.execution.clone(), row))
            .collect();
        let row = |id: &ExecutionId| rows.remove(id).unwrap_or_else(|| Row::unwritten(id.clone()));
        Ok(ids.iter().map(row).collect())
    }

    /// The newest executions that an operator should look at, `failed` or `stalled`, in one shard; and where to go on.
    /// `None` is where versions before the shards put them.
    pub async fn attention(
        &self,
        status: ViewStatus,
        shard: Option<u64>,
        limit: i32,
        start: Option<Cursor>,
    ) -> Result<(Vec<Listed>, Option<Cursor>), Unavailable> {
        let partition = match shard {
            Some(shard) => format!("{}#{shard}", status.as_str()),
            None => status.as_str().to_owned(),
        };
        let key = Expression::new("#attention = :attention", &["attention"])
            .with(":attention", text(partition));
        let query = Query {
            index: Some("attention"),
            key,
            descending: true,
            limit: Some(limit),
            start: start.map(to_key),
            ..Query::default()
        };
        self.listing(query).await
    }

    /// The shards of its index.
    pub fn shards(&self) -> Shards {
        self.shards
    }

    async fn listing(&self, query: Query) -> Result<(Vec<Listed>, Option<Cursor>), Unavailable> {
        let (items, more) = self.store.query(&self.table, query).await?;
        let found = items.iter().filter_map(|item| listed(item, "created_at")).collect();
        Ok((found, more.as_ref().map(to_cursor)))
    }
}

/// An entry of a listing.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Which execution.
    pub execution: ExecutionId,
    /// When its webhook was recorded.
    pub created_at: Timestamp,
    /// Where the entries after this one begin.
    pub cursor: Cursor,
}

/// The view's attributes beside the key, with the placeholders of their values.
const VIEW_ATTRIBUTES: &[(&str, &str)] = &[
    ("view", ":view"),
    ("created_at", ":created_at"),
    ("sequence", ":sequence"),
    ("attention", ":attention"),
    ("ended", ":ended"),
    ("ttl", ":ttl"),
];

/// The partition of the index `attention` that an execution is in.
fn attention(status: ViewStatus, id: &ExecutionId, shards: Shards) -> String {
    format!("{}#{}", status.as_str(), shards.of(id))
}

fn key(id: &ExecutionId) -> Item {
    Item::from([("execution".into(), text(id.as_str()))])
}

/// Whether a row may be deleted.
fn has_expired(item: &Item, now: Timestamp) -> bool {
    read_number(item, "ttl").is_ok_and(|ttl| Timestamp::from_ttl_seconds(ttl) < now)
}

/// No view, an older one, or one of an execution that expired before this one began: positions begin anew there.
/// The values are those of the change.
fn newer() -> Expression {
    Expression::new(
        "attribute_not_exists(#sequence) OR #created_at < :created_at \
         OR (#created_at = :created_at AND #sequence < :sequence)",
        &["sequence", "created_at"],
    )
}

/// Whether a conditional write happened.
pub(crate) fn met(result: Result<(), WriteError>) -> Result<bool, Unavailable> {
    match result {
        Ok(()) => Ok(true),
        Err(WriteError::Condition(_)) => Ok(false),
        Err(error) => Err(outage(error)),
    }
}

pub(crate) fn outage(error: WriteError) -> Unavailable {
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

/// An entry of an index, by the attribute that holds its time.
pub(crate) fn listed(item: &Item, time: &'static str) -> Option<Listed> {
    Some(Listed {
        execution: execution_of(item)?,
        created_at: read_time(item, time).ok()?,
        cursor: to_cursor(item),
    })
}

/// The texts of a key.
pub(crate) fn to_cursor(item: &Item) -> Cursor {
    let texts =
        item.iter().filter_map(|(name, value)| Some((name.clone(), value.as_s().ok()?.clone())));
    texts.collect()
}

pub(crate) fn to_key(cursor: Cursor) -> Item {
    cursor.into_iter().map(|(name, value)| (name, text(value))).collect()
}

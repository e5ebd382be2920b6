//! When unfinished executions are to be woken.
//!
//! A timer is a wake-up, never data and never a lock: it may fire early, late, twice, or for an execution that wants
//! nothing. What an execution wants is in its history. The same wake-up of the same execution is the same item.
//!
//! | attribute | type | holds |
//! |---|---|---|
//! | `shard` | S, partition key | `shard#N` |
//! | `due` | S, sort key | the time, `#`, and the execution |
//! | `name` | S | a fresh name for this write: a driver deletes only the timer that it was handed |
//! | `fired` | N | how often it was handed over |
//! | `is_suspect` | BOOL | a process may have died of the execution: it is driven alone |
//! | `again_at` | S | it is not handed over again before this; absent while it was not |
//! | `process` | S | the start of the process that it was handed over in, where a data folder belongs to one |
//! | `is_stalled` | BOOL | the execution is marked as one that does not move |
//! | `is_claim` | BOOL | its time is the end of a claim, which a restart of the only process need not wait for |
//! | `ttl` | N | when it may be deleted, in seconds since 1970 |
//!
//! The order that safety rests on: a driver that lets go of an unfinished execution writes the next timer first, and
//! only then deletes the one that woke it. It does not delete one that was set again or handed over again since.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::executions::met;
use crate::guard::Guard;
use crate::id::{ExecutionId, Shards, fresh};
use crate::item::{number, read_number, read_optional, read_text, text};
use crate::store::{Expression, Item, Query, Store, Unavailable};
use crate::time::Timestamp;

/// A timer that was handed over and is still there is handed over again after this: longer than an invocation may take.
/// Doubles each time.
pub const AGAIN: Duration = Duration::from_secs(75);

/// The longest time between two hand-overs.
pub const AGAIN_MAX: Duration = Duration::from_secs(3600);

/// How often a timer is handed over without progress before its execution is stalled.
pub const FIRED_MAX: u64 = 20;

/// The timers of all executions. A clone is the same table.
#[derive(Clone)]
pub struct Timers {
    store: Store,
    table: String,
    shards: Shards,
    listener: Option<Listener>,
}

/// Called with each timer that this process sets.
type Listener = Arc<dyn Fn(&Timer, Terms) -> BoxFuture<'static, ()> + Send + Sync>;

/// A time at which an execution is to be woken.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timer {
    /// When it is due.
    pub due: Timestamp,
    /// The execution that it wakes.
    pub execution: ExecutionId,
}

/// The other attributes of a new timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Whether a process may have died of the execution: then it is driven alone.
    pub is_suspect: bool,
    /// Whether the time is the end of a claim.
    pub is_claim: bool,
    /// Whether the execution is marked as one that does not move.
    pub is_stalled: bool,
    /// When the history may be deleted.
    pub expires_at: Timestamp,
}

/// A timer as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The timer.
    pub timer: Timer,
    /// The shard that it is in: it was set when there may have been fewer.
    pub shard: u64,
    /// The name of the write that set it.
    pub name: String,
    /// How often it was handed over.
    pub fired: u64,
    /// Whether a process may have died of the execution.
    pub is_suspect: bool,
    /// It is not to be handed over before this.
    pub again_at: Option<Timestamp>,
    /// In which process it was handed over, if that was written down.
    pub process: Option<String>,
    /// Whether its time is the end of a claim.
    pub is_claim: bool,
    /// Whether the execution is marked as one that does not move.
    pub is_stalled: bool,
}

/// A timer that was handed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fired {
    /// The timer.
    pub timer: Timer,
    /// The shard that it is in.
    pub shard: u64,
    /// The name of the write that set it.
    pub name: String,
    /// How often it was handed over, this time included.
    pub fired: u64,
    /// Whether a process may have died of the execution.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_suspect: bool,
    /// Whether the execution is marked as one that does not move.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_stalled: bool,
}

impl Timers {
    /// The timers in this table, with this number of shards.
    pub fn new(store: Store, table: impl Into<String>, shards: Shards) -> Self {
        Self { store, table: table.into(), shards, listener: None }
    }

    /// Calls this with each timer that is set through it, once it is durable, and waits for it: so that an execution
    /// is woken on time and not only by the next look of the sweep.
    #[must_use]
    pub fn telling(
        self,
        listener: impl Fn(&Timer, Terms) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        Self { listener: Some(Arc::new(listener)), ..self }
    }

    /// The shards of the table.
    pub fn shards(&self) -> Shards {
        self.shards
    }

    /// Sets a timer, whatever is there.
    pub async fn set(&self, timer: &Timer, terms: Terms) -> Result<(), Unavailable> {
        let any = Expression::always("shard");
        met(self.store.put(&self.table, self.item(timer, terms), any).await)?;
        self.tell(timer, terms).await;
        Ok(())
    }

    /// Sets a timer that may be there; says whether it was not.
    pub async fn set_if_missing(&self, timer: &Timer, terms: Terms) -> Result<bool, Unavailable> {
        let absent = Expression::new("attribute_not_exists(#shard)", &["shard"]);
        let is_new = met(self.store.put(&self.table, self.item(timer, terms), absent).await)?;
        if is_new {
            self.tell(timer, terms).await;
        }
        Ok(is_new)
    }

    /// This timer, if it is there.
    pub async fn get(&self, timer: &Timer) -> Result<Option<Pending>, Unavailable> {
        let item = self.store.get(&self.table, self.key(timer)).await?;
        Ok(item.as_ref().and_then(to_pending))
    }

    /// Claims a due timer until `again_at`, to hand it over; `None` if it is gone or another process claimed it first.
    pub async fn claim(
        &self,
        pending: &Pending,
        again_at: Timestamp,
        process: Option<&str>,
    ) -> Result<Option<Fired>, Unavailable> {
        let fired = pending.fired + 1;
        let mut names = vec!["fired", "again_at"];
        let mut change = "SET #fired = :fired, #again_at = :again_at".to_owned();
        if process.is_some() {
            names.push("process");
            change.push_str(", #process = :process");
        }
        let mut change = Expression::new(change, &names)
            .with(":fired", number(fired))
            .with(":again_at", text(again_at.to_string()));
        if let Some(process) = process {
            change = change.with(":process", text(process));
        }
        let same = match &pending.again_at {
            Some(before) => Expression::new("#name = :name AND #again_at = :before", &["name"])
                .with(":before", text(before.to_string())),
            None => Expression::new("#name = :name AND attribute_not_exists(#again_at)", &["name"]),
        };
        let same = same.with(":name", text(&pending.name));
        let claimed = met(self
            .store
            .update(&self.table, key(&pending.timer, pending.shard), change, same)
            .await)?;
        let Pending { timer, shard, name, is_suspect, is_stalled, .. } = pending.clone();
        Ok(claimed.then_some(Fired { timer, shard, name, fired, is_suspect, is_stalled }))
    }

    /// Claims the timer that a message names; `None` if it is gone, or was handed over before.
    pub async fn claim_unfired(
        &self,
        timer: &Timer,
        again_at: Timestamp,
        process: Option<&str>,
    ) -> Result<Option<Fired>, Unavailable> {
        match self.get(timer).await? {
            Some(pending) if pending.is_plain() => self.claim(&pending, again_at, process).await,
            _ => Ok(None),
        }
    }

    /// Changes when a timer that was handed over is handed over again, and how often it counts as handed over: handing it
    /// over failed, or the execution got further meanwhile.
    pub async fn again(
        &self,
        handed: &Fired,
        at: Timestamp,
        fired: u64,
        is_stalled: bool,
    ) -> Result<bool, Unavailable> {
        let change = Expression::new(
            "SET #again_at = :at, #fired = :left, #is_stalled = :is_stalled",
            &["again_at", "fired", "is_stalled"],
        )
        .with(":at", text(at.to_string()))
        .with(":left", number(fired))
        .with(":is_stalled", AttributeValue::Bool(is_stalled));
        let own = unchanged(handed, &["name"]);
        met(self.store.update(&self.table, key(&handed.timer, handed.shard), change, own).await)
    }

    /// Deletes a timer that was handed over, unless it was set again or handed over again since.
    pub async fn clear(&self, handed: &Fired) -> Result<bool, Unavailable> {
        let own = unchanged(handed, &["name", "fired"]).guarded(Guard::ClearsOwnTimer);
        met(self.store.delete(&self.table, key(&handed.timer, handed.shard), own).await)
    }

    /// Deletes a timer that nothing waits for any more, unless it was set again since it was read.
    pub async fn withdraw(&self, read: &Pending) -> Result<bool, Unavailable> {
        let same = Expression::new("#name = :name", &["name"]).with(":name", text(&read.name));
        met(self.store.delete(&self.table, key(&read.timer, read.shard), same).await)
    }

    /// A page of the timers of one shard that are due by `until`, the longest due first, and whether there are more.
    pub async fn due(
        &self,
        shard: u64,
        until: Timestamp,
        limit: i32,
        start: Option<&Timer>,
    ) -> Result<(Vec<Pending>, bool), Unavailable> {
        // What is due at this millisecond has an execution after it, whose letters come before `~`.
        let due = Expression::new("#shard = :shard AND #due <= :until", &["shard", "due"])
            .with(":shard", text(format!("shard#{shard}")))
            .with(":until", text(format!("{until}#~")));
        let query = Query {
            key: due,
            limit: Some(limit),
            start: start.map(|timer| key(timer, shard)),
            consistent: true,
            ..Query::default()
        };
        let (items, more) = self.store.query(&self.table, query).await?;
        Ok((items.iter().filter_map(to_pending).collect(), more.is_some()))
    }

    /// At most `limit` timers of each shard, those due first, and whether there are more. May lag behind.
    pub async fn first(&self, limit: i32) -> Result<(Vec<Timer>, bool), Unavailable> {
        let (mut timers, mut is_more) = (Vec::new(), false);
        for shard in self.shards.all() {
            let key = Expression::new("#shard = :shard", &["shard"])
                .with(":shard", text(format!("shard#{shard}")));
            let query = Query { key, limit: Some(limit), ..Query::default() };
            let (items, more) = self.store.query(&self.table, query).await?;
            timers.extend(items.iter().filter_map(to_pending).map(|pending| pending.timer));
            is_more |= more.is_some();
        }
        Ok((timers, is_more))
    }

    async fn tell(&self, timer: &Timer, terms: Terms) {
        if let Some(listener) = &self.listener {
            listener(timer, terms).await;
        }
    }

    /// The key of a timer that is set now.
    fn key(&self, timer: &Timer) -> Item {
        key(timer, self.shards.of(&timer.execution))
    }

    fn item(&self, timer: &Timer, terms: Terms) -> Item {
        let mut item = self.key(timer);
        item.insert("name".into(), text(fresh()));
        item.insert("fired".into(), number(0));
        item.insert("ttl".into(), number(terms.expires_at.to_ttl_seconds()));
        let flags = [
            ("is_claim", terms.is_claim),
            ("is_suspect", terms.is_suspect),
            ("is_stalled", terms.is_stalled),
        ];
        for (name, flag) in flags {
            if flag {
                item.insert(name.into(), AttributeValue::Bool(true));
            }
        }
        item
    }
}

impl fmt::Debug for Timers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timers").field("table", &self.table).finish_non_exhaustive()
    }
}

impl Timer {
    /// Reads its text.
    pub fn parse(text: &str) -> Option<Self> {
        let (due, execution) = text.split_once('#')?;
        Some(Self { due: Timestamp::parse(due)?, execution: ExecutionId::parse(execution)? })
    }
}

impl Serialize for Timer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("not a timer"))
    }
}

/// As its sort key has it: `2026-11-24T02:20:45.123Z#EXECUTION`.
impl fmt::Display for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.due, self.execution)
    }
}

impl Pending {
    /// Whether it was not handed over yet, and its execution need not be driven alone.
    pub fn is_plain(&self) -> bool {
        self.again_at.is_none() && self.fired == 0 && !self.is_suspect
    }

    /// When it is to be handed over.
    pub fn at(&self) -> Timestamp {
        self.again_at.unwrap_or(self.timer.due)
    }
}

/// After how long a timer is handed over again that was handed over this often before.
pub fn pause(fired: u64) -> Duration {
    let doublings = u32::try_from(fired.min(16)).unwrap_or(16);
    (AGAIN * 2u32.pow(doublings)).min(AGAIN_MAX)
}

/// The condition that a timer is the one that was handed over, with the names that no other expression adds.
fn unchanged(handed: &Fired, names: &[&'static str]) -> Expression {
    Expression::new("#name = :name AND #fired = :fired", names)
        .with(":name", text(&handed.name))
        .with(":fired", number(handed.fired))
}

fn key(timer: &Timer, shard: u64) -> Item {
    Item::from([
        ("shard".into(), text(format!("shard#{shard}"))),
        ("due".into(), text(timer.to_string())),
    ])
}

fn to_pending(item: &Item) -> Option<Pending> {
    let flag = |name| matches!(item.get(name), Some(AttributeValue::Bool(true)));
    Some(Pending {
        timer: Timer::parse(read_text(item, "due").ok()?)?,
        shard: read_text(item, "shard").ok()?.strip_prefix("shard#")?.parse().ok()?,
        name: read_text(item, "name").ok()?.to_owned(),
        fired: read_number(item, "fired").unwrap_or(0),
        is_suspect: flag("is_suspect"),
        again_at: read_optional(item, "again_at").as_deref().and_then(Timestamp::parse),
        process: read_optional(item, "process"),
        is_claim: flag("is_claim"),
        is_stalled: flag("is_stalled"),
    })
}

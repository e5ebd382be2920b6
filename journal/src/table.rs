//! The journal: every history. Each append is one conditional put.
//!
//! The index `received` holds the first append of every execution, by source and shard (`SOURCE#SHARD`) and the time at
//! which it was recorded. Operators list by it, and the audit finds by it what was forgotten.
//!
//! The attribute `until` of an append says until when the history then rests: the earliest end of a wait, a callback or a
//! claim. It is absent if something is to be done at once.

use std::time::Duration;

use crate::chain::Head;
use crate::event::{Event, Events, Recorded};
use crate::execution::last_chance;
use crate::executions::{Cursor, Listed, listed, to_cursor, to_key};
use crate::failpoint;
use crate::guard::{self, Guard};
use crate::id::{ExecutionId, Sequence, Shards, SourceName, WorkflowHash};
use crate::item::{self, Append, Beside, MalformedItem, number, text};
use crate::store::{Expression, Item, Query, Store, Unavailable, WriteError};
use crate::time::{Clock, Timestamp};
use crate::workflow::Workflow;

/// The most pages that one history is read in: 1,000 events of at most 400 KB.
const PAGES_MAX: usize = 500;

/// How long after the expiry of an execution another one may begin in its place.
/// Until then every clock has seen it expire, and no request that has read it is under way.
pub(crate) const REST: Duration = Duration::from_secs(300);

/// How long timers and marks outlive a history of which nothing can be read.
const UNREADABLE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The prefix of the keys under which definitions of workflows are kept.
const WORKFLOW_PREFIX: &str = "workflow#";

/// All events of all executions. A clone is the same journal.
#[derive(Debug, Clone)]
pub struct Journal {
    store: Store,
    table: String,
    shards: Shards,
    clock: Clock,
}

/// An append that is to be made.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What it follows.
    pub after: Head,
    /// What happened; decided together.
    pub events: Events,
    /// When.
    pub at: Timestamp,
    /// When the whole history may be deleted.
    pub expires_at: Timestamp,
    /// Until when the history then rests, if it does.
    pub until: Option<Timestamp>,
    /// A fresh name: an append under the same name is the same append.
    pub name: String,
}

/// Which part of an index of a source's executions is listed.
#[derive(Debug, Clone, Default)]
pub struct Span {
    /// From this time on.
    pub from: Option<Timestamp>,
    /// Up to this time.
    pub to: Option<Timestamp>,
    /// The newest first.
    pub descending: bool,
    /// At most this many.
    pub limit: Option<i32>,
    /// After this place.
    pub start: Option<Cursor>,
}

/// From when to when a history is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// When its webhook was recorded.
    pub began_at: Timestamp,
    /// When it may be deleted.
    pub expires_at: Timestamp,
}

impl Lifetime {
    /// What is taken for that of a history that cannot be read.
    pub fn unknown(now: Timestamp) -> Self {
        Self { began_at: now, expires_at: now + UNREADABLE }
    }

    /// When an execution that has not ended by itself is ended at the latest.
    pub fn last_chance(&self) -> Timestamp {
        last_chance(self.began_at, self.expires_at)
    }
}

/// The end of a history.
#[derive(Debug, Clone, PartialEq)]
pub struct Last {
    /// The events of the last append.
    pub events: Vec<Recorded>,
    /// Until when the history rests, if it does.
    pub until: Option<Timestamp>,
    /// When it may be deleted.
    pub expires_at: Timestamp,
}

impl Journal {
    /// The journal in this table, with this number of shards in its index.
    pub fn new(store: Store, table: impl Into<String>, shards: Shards, clock: Clock) -> Self {
        Self { store, table: table.into(), shards, clock }
    }

    /// The shards of the index of received webhooks.
    pub fn shards(&self) -> Shards {
        self.shards
    }

    /// Appends events that were decided together.
    ///
    /// Of several appends after the same event exactly one succeeds; the others get
    /// [`AppendError::Conflict`]. Appending again under the same name succeeds if the first try had,
    /// even when its reply was lost.
    /// What is appended carries the digest of the append that it follows.
    pub async fn append(
        &self,
        id: &ExecutionId,
        draft: Draft,
    ) -> Result<Vec<Recorded>, AppendError> {
        let Draft { after, events, at, expires_at, until, name } = draft;
        let after = match guard::holds(Guard::LinkedHistory) {
            true => after,
            false => Head::from(after.sequence),
        };
        let received = match events.as_slice() {
            [Event::WebhookReceived(webhook), ..] => Some(self.partition(&webhook.source, id)),
            _ => None,
        };
        let beside = Beside { until, received };
        let item = item::from_append(id, after, &events, expires_at, at, &name, beside);
        let condition =
            free_or_expired(after.sequence, expires_at, at).guarded(Guard::AppendCondition);
        let digest = item::digest(&item).ok();
        let recorded = events.record(after.sequence, at, digest);
        failpoint::reached("append.before");
        let put = self.store.put(&self.table, item, condition).await;
        failpoint::reached("append.after");
        match put {
            Ok(()) => Ok(recorded),
            Err(WriteError::Condition(Some(old)))
                if item::read_text(&old, "append").is_ok_and(|theirs| theirs == name)
                    && guard::holds(Guard::OwnAppend) =>
            {
                // What an earlier try has stored is what counts.
                Ok(item::to_append(&old).map_or(recorded, |append| append.recorded))
            }
            Err(WriteError::Condition(old)) => {
                let existing = old.and_then(|old| item::to_append(&old).ok());
                let existing = existing.map(|append| append.recorded).unwrap_or_default();
                let sequence = after.sequence.next();
                Err(AppendError::Conflict { id: id.clone(), sequence, existing })
            }
            Err(WriteError::Refused(reason)) => {
                Err(AppendError::Refused { id: id.clone(), reason })
            }
            Err(WriteError::Unavailable(source)) => Err(AppendError::Unavailable(source)),
        }
    }

    /// The events after `after`, in order, as of the last acknowledged append.
    /// A history that has expired is gone as a whole, whatever DynamoDB has deleted of it.
    /// One that was changed after it was written is [`ReadError::Broken`], as far as its digests show it.
    pub async fn read(
        &self,
        id: &ExecutionId,
        after: impl Into<Head>,
    ) -> Result<Vec<Recorded>, ReadError> {
        let after = after.into();
        let malformed = |source| ReadError::Malformed { id: id.clone(), source };
        let mut history = Vec::new();
        let mut last = after.digest;
        for item in self.items(id, after.sequence).await? {
            item::read_number(&item, "ttl").map_err(malformed)?;
            let Append { previous, digest, recorded } =
                item::to_append(&item).map_err(malformed)?;
            // Appends of older versions carry nothing, wherever they stand.
            if let (Some(last), Some(previous)) = (last, previous)
                && last != previous
            {
                let sequence = recorded.first().map_or(Sequence::START, |first| first.sequence);
                return Err(ReadError::Broken { id: id.clone(), sequence });
            }
            last = Some(digest);
            history.extend(recorded);
        }
        Ok(history)
    }

    /// The items of a history after `after`, as they are stored; what has expired is left out.
    pub(crate) async fn items(
        &self,
        id: &ExecutionId,
        after: Sequence,
    ) -> Result<Vec<Item>, ReadError> {
        let now = self.clock.now();
        let has_expired = |item: &Item| {
            item::read_number(item, "ttl").is_ok_and(|ttl| counts_as_deleted(ttl, now))
        };
        let mut history = Vec::new();
        let mut start = None;
        for _ in 0..PAGES_MAX {
            let query = Query {
                key: Expression::new(
                    "#execution = :execution AND #sequence > :after",
                    &["execution", "sequence"],
                )
                .with(":execution", text(id.as_str()))
                .with(":after", number(after)),
                consistent: guard::holds(Guard::ConsistentHistory),
                start,
                ..Query::default()
            };
            let (items, more) = self.store.query(&self.table, query).await?;
            history.extend(items.into_iter().filter(|item| !has_expired(item)));
            start = more.filter(|_| guard::holds(Guard::WholeHistory));
            if start.is_none() {
                return Ok(history);
            }
        }
        Err(ReadError::TooLong { id: id.clone() })
    }

    /// The first event of an execution, as of the last acknowledged append; `None` if there is none,
    /// or if its history has expired.
    pub async fn first(&self, id: &ExecutionId) -> Result<Option<Recorded>, ReadError> {
        let malformed = |source| ReadError::Malformed { id: id.clone(), source };
        let first = key(id.as_str(), Sequence::START.next());
        let Some(item) = self.store.get(&self.table, first).await? else { return Ok(None) };
        let ttl = item::read_number(&item, "ttl").map_err(malformed)?;
        if counts_as_deleted(ttl, self.clock.now()) {
            return Ok(None);
        }
        let append = item::to_append(&item).map_err(malformed)?;
        Ok(append.recorded.into_iter().next())
    }

    /// How long a history is there, as its first event says; see [`Lifetime::unknown`] for one that says nothing.
    pub async fn lifetime(&self, id: &ExecutionId) -> Result<Lifetime, Unavailable> {
        let first = match self.first(id).await {
            Err(ReadError::Unavailable(error)) => return Err(error),
            first => first.ok().flatten(),
        };
        Ok(match first.map(|first| (first.at, first.event)) {
            Some((began_at, Event::WebhookReceived(webhook))) => {
                Lifetime { began_at, expires_at: webhook.expires_at }
            }
            _ => Lifetime::unknown(self.clock.now()),
        })
    }

    /// The end of a history, as of the last acknowledged append; `None` if there is none, or it has expired.
    pub async fn last(&self, id: &ExecutionId) -> Result<Option<Last>, ReadError> {
        let malformed = |source| ReadError::Malformed { id: id.clone(), source };
        let query = Query {
            key: Expression::new("#execution = :execution", &["execution"])
                .with(":execution", text(id.as_str())),
            descending: true,
            limit: Some(1),
            consistent: true,
            ..Query::default()
        };
        let (items, _) = self.store.query(&self.table, query).await?;
        let Some(mut item) = items.into_iter().next() else { return Ok(None) };
        let mut ttl = item::read_number(&item, "ttl").map_err(malformed)?;
        if counts_as_deleted(ttl, self.clock.now()) {
            // Another execution may have begun in the place of one that has expired, whose end is still there.
            let Some(last) = self.items(id, Sequence::START).await?.pop() else { return Ok(None) };
            ttl = item::read_number(&last, "ttl").map_err(malformed)?;
            item = last;
        }
        let until = item::read_optional(&item, "until");
        let append = item::to_append(&item).map_err(malformed)?;
        Ok(Some(Last {
            events: append.recorded,
            until: until.as_deref().and_then(Timestamp::parse),
            expires_at: Timestamp::from_ttl_seconds(ttl),
        }))
    }

    /// Executions of a source, in one shard, by the time at which their webhooks were recorded; and where to go on.
    /// May lag behind.
    pub async fn received(
        &self,
        source: &SourceName,
        shard: u64,
        span: Span,
    ) -> Result<(Vec<Listed>, Option<Cursor>), Unavailable> {
        let bound = |time: Option<Timestamp>, open: &str| {
            text(time.map_or_else(|| open.to_owned(), |time| time.to_string()))
        };
        let key = Expression::new(
            "#received = :received AND #at BETWEEN :from AND :to",
            &["received", "at"],
        )
        .with(":received", text(format!("{source}#{shard}")))
        .with(":from", bound(span.from, "0"))
        .with(":to", bound(span.to, "9"));
        // What is in this index is always the first append.
        let first = ("sequence".to_owned(), number(Sequence::START.next()));
        let start = span.start.map(|cursor| to_key(cursor).into_iter().chain([first]).collect());
        let query = Query {
            index: Some("received"),
            key,
            descending: span.descending,
            limit: span.limit,
            start,
            ..Query::default()
        };
        let (items, more) = self.store.query(&self.table, query).await?;
        let found = items.iter().filter_map(|item| listed(item, "at")).collect();
        Ok((found, more.as_ref().map(to_cursor)))
    }

    fn partition(&self, source: &SourceName, id: &ExecutionId) -> String {
        format!("{source}#{}", self.shards.of(id))
    }

    /// The time by which histories expire.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Keeps a workflow's definition, so that every history finds the one it ran with.
    pub async fn publish(&self, workflow: &Workflow) -> Result<(), Unavailable> {
        let key = key(&format!("{WORKFLOW_PREFIX}{}", workflow.hash()), Sequence::START.next());
        if self.store.get(&self.table, key.clone()).await?.is_some() {
            return Ok(());
        }
        let mut item = key;
        item.insert("definition".into(), text(workflow.to_canonical_json()));
        item.insert("name".into(), text(workflow.name.as_str()));
        item.insert("at".into(), text(self.clock.now().to_string()));
        let absent = Expression::new("attribute_not_exists(#execution)", &["execution"]);
        match self.store.put(&self.table, item, absent).await {
            // The key is the content's hash: an earlier write put the same definition.
            Ok(()) | Err(WriteError::Condition(_)) => Ok(()),
            Err(WriteError::Refused(reason)) => Err(Unavailable(reason)),
            Err(WriteError::Unavailable(error)) => Err(error),
        }
    }

    /// Opens a connection. An error here is reported by the next call that needs it.
    pub async fn warm(&self) {
        let nothing = key(WORKFLOW_PREFIX, Sequence::START);
        self.store.get(&self.table, nothing).await.ok();
    }

    /// A workflow's definition; `None` if it was never published.
    pub async fn workflow(&self, hash: &WorkflowHash) -> Result<Option<Workflow>, Unavailable> {
        let key = key(&format!("{WORKFLOW_PREFIX}{hash}"), Sequence::START.next());
        let Some(item) = self.store.get(&self.table, key).await? else { return Ok(None) };
        let definition = item::read_text(&item, "definition").ok();
        Ok(definition.and_then(|json| serde_json::from_str(json).ok()))
    }
}

// What has expired counts as deleted, so that a late redelivery cannot graft itself onto its remains.
fn free_or_expired(after: Sequence, expires_at: Timestamp, at: Timestamp) -> Expression {
    let before = match after {
        Sequence::START => at - REST,
        // What expires earlier is of an earlier execution: this one began after that had expired.
        _ => expires_at,
    };
    match guard::holds(Guard::ExpiredMakesRoom) {
        true => Expression::free_or_expired(before),
        false => Expression::new("attribute_not_exists(#execution)", &["execution"]),
    }
}

/// Whether an item that expires then is not read any more.
fn counts_as_deleted(ttl: u64, now: Timestamp) -> bool {
    ttl < (now.as_millis() / 1000).unsigned_abs() && guard::holds(Guard::ExpiredIsDeleted)
}

fn key(execution: &str, sequence: Sequence) -> Item {
    Item::from([("execution".into(), text(execution)), ("sequence".into(), number(sequence))])
}

/// Why nothing was appended, or why that is not known.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Another process appended first: read what is new and decide again.
    #[error("execution {id} already has an event {sequence}")]
    Conflict {
        /// The execution.
        id: ExecutionId,
        /// The position that is taken.
        sequence: Sequence,
        /// What stands there, as far as it can be read.
        existing: Vec<Recorded>,
    },
    /// The events can never be stored as they are.
    #[error("the events of execution {id} cannot be stored: {reason}")]
    Refused {
        /// The execution.
        id: ExecutionId,
        /// DynamoDB's reason.
        reason: String,
    },
    /// It is not known whether the events were appended; appending again under the same name is safe.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why a history could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It holds something that this version did not write.
    #[error("the history of execution {id} cannot be read")]
    Malformed {
        /// The execution.
        id: ExecutionId,
        /// What is wrong.
        source: MalformedItem,
    },
    /// It was changed after it was written.
    #[error(
        "the history of execution {id} was changed after it was written: event {sequence} was appended after \
         something else than what stands before it; `everhook verify {id}` says more"
    )]
    Broken {
        /// The execution.
        id: ExecutionId,
        /// The first event of the append that does not follow.
        sequence: Sequence,
    },
    /// It is longer than any history may be.
    #[error("the history of execution {id} is longer than any may be")]
    TooLong {
        /// The execution.
        id: ExecutionId,
    },
    /// DynamoDB did not answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

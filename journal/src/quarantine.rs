//! Refused requests that are kept for a while: a fixed number of slots for each source, in the executions table.
//!
//! | attribute | type | holds |
//! |---|---|---|
//! | `execution` | S, partition key | `quarantine#SOURCE#SLOT`, which is no execution's id |
//! | `name` | S | a fresh name for what is in the slot |
//! | `received_at` | S | when it was received |
//! | `reason` | S | why it was refused |
//! | `bytes` | N | how large its body is |
//! | `address` | S | whose it is: a keyed hash of the caller's address; absent in those from before there was one |
//! | `sealed` | B | the request, which only its ingest can open |
//! | `ttl` | N | when it may be deleted, in seconds since 1970 |
//!
//! It has no attribute of an index, so nothing that lists, projects or sweeps executions finds it.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use crate::executions::met;
use crate::id::SourceName;
use crate::item::{
    MalformedItem, malformed, number, read_number, read_optional, read_text, read_time, text,
};
use crate::store::{Expression, Item, Store, Unavailable};
use crate::time::Timestamp;

/// How many requests of one source are kept.
pub const SLOTS: usize = 100;

/// What is asked of a slot to list it.
const LISTED: [&str; 7] = ["execution", "name", "received_at", "reason", "bytes", "address", "ttl"];

/// All slots. A clone is the same slots.
#[derive(Debug, Clone)]
pub struct Quarantine {
    store: Store,
    table: String,
}

/// What is known of a kept request without opening it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Where it is, among the source's slots.
    pub slot: usize,
    /// Its own name: another request in the same slot has another one.
    pub name: String,
    /// When it was received.
    pub received_at: Timestamp,
    /// When it is forgotten.
    pub expires_at: Timestamp,
    /// Why it was refused.
    pub reason: String,
    /// How large its body is.
    pub bytes: u64,
    /// A keyed hash of the caller's address; empty if that is unknown.
    pub address: String,
}

impl Quarantine {
    pub(crate) fn new(store: Store, table: String) -> Self {
        Self { store, table }
    }

    /// The key of a slot. What is sealed for one slot is bound to it.
    pub fn key(source: &SourceName, slot: usize) -> String {
        format!("quarantine#{source}#{slot}")
    }

    /// Puts a request into its slot, if that is free, what is in it has expired, or is the request with the name
    /// `instead_of`; says whether it was.
    pub async fn keep(
        &self,
        source: &SourceName,
        kept: &Kept,
        instead_of: Option<&str>,
        sealed: Vec<u8>,
    ) -> Result<bool, Unavailable> {
        let mut item = key(source, kept.slot);
        item.extend([
            ("name".into(), text(&kept.name)),
            ("received_at".into(), text(kept.received_at.to_string())),
            ("reason".into(), text(&kept.reason)),
            ("bytes".into(), number(kept.bytes)),
            ("address".into(), text(&kept.address)),
            ("sealed".into(), AttributeValue::B(Blob::new(sealed))),
            ("ttl".into(), number(kept.expires_at.to_ttl_seconds())),
        ]);
        let free = Expression::new(
            "attribute_not_exists(#execution) OR #ttl <= :now OR #name = :instead",
            &["execution", "ttl", "name"],
        )
        // No request has an empty name.
        .with(":instead", text(instead_of.unwrap_or_default()))
        .with(":now", number(seconds(kept.received_at)));
        met(self.store.put(&self.table, item, free).await)
    }

    /// What is kept of a source, the oldest first. May lag behind.
    pub async fn list(
        &self,
        source: &SourceName,
        now: Timestamp,
    ) -> Result<Vec<Kept>, Unavailable> {
        let keys = (0..SLOTS).map(|slot| key(source, slot)).collect();
        let items = self.store.batch_get(&self.table, keys, &LISTED).await?;
        let mut kept: Vec<_> = items.iter().filter_map(readable).collect();
        kept.retain(|kept| !has_expired(kept, now));
        kept.sort_by_key(|kept| (kept.received_at, kept.slot));
        Ok(kept)
    }

    /// What is sealed in this slot, if it is still this request.
    pub async fn sealed(
        &self,
        source: &SourceName,
        kept: &Kept,
    ) -> Result<Option<Vec<u8>>, Unavailable> {
        let Some(mut item) = self.store.get(&self.table, key(source, kept.slot)).await? else {
            return Ok(None);
        };
        if read_text(&item, "name").map_err(unreadable)? != kept.name {
            return Ok(None);
        }
        match item.remove("sealed") {
            Some(AttributeValue::B(sealed)) => Ok(Some(sealed.into_inner())),
            // Whatever it is, nobody sealed it: it does not open.
            Some(_) | None => Ok(Some(Vec::new())),
        }
    }

    /// Empties a slot, if it still holds this request.
    pub async fn remove(&self, source: &SourceName, kept: &Kept) -> Result<bool, Unavailable> {
        let same = Expression::new("#name = :name", &["name"]).with(":name", text(&kept.name));
        met(self.store.delete(&self.table, key(source, kept.slot), same).await)
    }
}

fn key(source: &SourceName, slot: usize) -> Item {
    Item::from([("execution".into(), text(Quarantine::key(source, slot)))])
}

/// DynamoDB deletes what has expired when it gets to it, within days.
fn has_expired(kept: &Kept, now: Timestamp) -> bool {
    kept.expires_at.to_ttl_seconds() <= seconds(now)
}

fn seconds(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(1000)
}

fn to_kept(item: &Item) -> Result<Kept, MalformedItem> {
    let slot = read_text(item, "execution")?.rsplit('#').next().and_then(|slot| slot.parse().ok());
    let expires = i64::try_from(read_number(item, "ttl")?).unwrap_or(i64::MAX / 1000);
    Ok(Kept {
        slot: slot.ok_or_else(|| malformed("execution", "not a slot"))?,
        name: read_text(item, "name")?.to_owned(),
        received_at: read_time(item, "received_at")?,
        expires_at: Timestamp::from_millis(expires.saturating_mul(1000)),
        reason: read_text(item, "reason")?.to_owned(),
        bytes: read_number(item, "bytes")?,
        address: read_optional(item, "address").unwrap_or_default(),
    })
}

/// One that cannot be read is not in the way of the others, and expires like them.
fn readable(item: &Item) -> Option<Kept> {
    to_kept(item).inspect_err(|error| tracing::warn!("{}", unreadable(error.clone()))).ok()
}

fn unreadable(error: MalformedItem) -> Unavailable {
    Unavailable(format!("a slot of the quarantine: {error}"))
}

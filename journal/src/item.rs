//! How an append and a row become DynamoDB items, and back.
//!
//! An item of the journal:
//!
//! | attribute | type | holds |
//! |---|---|---|
//! | `execution` | S, partition key | the execution's id, or `workflow#<hash>` |
//! | `sequence` | N, sort key | the position of the append's first event |
//! | `form` | N | the version of the stored form: 2 |
//! | `events` | B | a JSON array of events, [`crate::packed`]; the form says with which dictionary |
//! | `at` | S | when it was appended |
//! | `append` | S | a fresh name for this write |
//! | `until` | S | until when the history rests after this append, see [`crate::table`]; absent if it does not |
//! | `received` | S | only in the first append: the partition of the index `received`, `SOURCE#SHARD` |
//! | `previous` | S | the digest of the append before it, see [`crate::chain`]; absent in the first one, and in those from before there were digests |
//! | `ttl` | N | when it may be deleted, in seconds since 1970 |
//!
//! Form 1, of earlier versions, is read as well: `events` is the JSON as text (S), and `names` (S) are its events' names.

use std::borrow::Cow;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;

use crate::chain::{Digest, Head, Link};
use crate::event::{Event, Events, Recorded};
use crate::id::{ExecutionId, Sequence};
use crate::packed;
use crate::store::Item;
use crate::time::Timestamp;

/// The version of the stored form that is written: packed events.
pub const FORM: u64 = 2;

/// The version before: events as text.
pub const FORM_TEXT: u64 = 1;

/// Beyond any position in a history.
const SEQUENCE_MAX: u64 = u32::MAX as u64;

/// An item that is not what we write.
#[derive(Debug, Clone, thiserror::Error)]
#[error("attribute `{attribute}` cannot be read: {reason}")]
pub struct MalformedItem {
    /// The attribute.
    pub attribute: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

/// A text attribute.
pub fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// A number attribute.
pub fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// A binary attribute.
pub fn bytes(value: Vec<u8>) -> AttributeValue {
    AttributeValue::B(Blob::new(value))
}

/// The text of an attribute.
pub fn read_text<'i>(item: &'i Item, attribute: &'static str) -> Result<&'i str, MalformedItem> {
    item.get(attribute)
        .and_then(|value| value.as_s().ok())
        .map(String::as_str)
        .ok_or_else(|| malformed(attribute, "no text"))
}

/// The text of an attribute that may be missing.
pub fn read_optional(item: &Item, attribute: &str) -> Option<String> {
    item.get(attribute).and_then(|value| value.as_s().ok()).cloned()
}

/// The bytes of a binary attribute.
pub fn read_bytes<'i>(item: &'i Item, attribute: &'static str) -> Result<&'i [u8], MalformedItem> {
    item.get(attribute)
        .and_then(|value| value.as_b().ok())
        .map(AsRef::as_ref)
        .ok_or_else(|| malformed(attribute, "no bytes"))
}

/// The number of an attribute.
pub fn read_number(item: &Item, attribute: &'static str) -> Result<u64, MalformedItem> {
    item.get(attribute)
        .and_then(|value| value.as_n().ok())
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| malformed(attribute, "no number"))
}

/// The time of an attribute.
pub fn read_time(item: &Item, attribute: &'static str) -> Result<Timestamp, MalformedItem> {
    Timestamp::parse(read_text(item, attribute)?)
        .ok_or_else(|| malformed(attribute, "not a timestamp"))
}

/// An attribute that cannot be read.
pub fn malformed(attribute: &'static str, reason: impl Into<String>) -> MalformedItem {
    MalformedItem { attribute, reason: reason.into() }
}

/// What stands beside the events of an append.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Beside {
    /// Until when the history rests.
    pub(crate) until: Option<Timestamp>,
    /// The partition of the index `received`.
    pub(crate) received: Option<String>,
}

/// The item of an append.
pub(crate) fn from_append(
    id: &ExecutionId,
    after: Head,
    events: &Events,
    expires_at: Timestamp,
    at: Timestamp,
    name: &str,
    beside: Beside,
) -> Item {
    let json = serde_json::to_vec(events.as_slice()).expect("events are JSON");
    let mut item = Item::from([
        ("execution".into(), text(id.as_str())),
        ("sequence".into(), number(after.sequence.next())),
        ("form".into(), number(FORM)),
        ("events".into(), bytes(packed::pack(&json))),
        ("at".into(), text(at.to_string())),
        ("append".into(), text(name)),
        ("ttl".into(), number(expires_at.to_ttl_seconds())),
    ]);
    item.extend(after.digest.map(|digest| ("previous".into(), text(digest.to_string()))));
    item.extend(beside.until.map(|until| ("until".into(), text(until.to_string()))));
    item.extend(beside.received.map(|partition| ("received".into(), text(partition))));
    item
}

/// An append, as its item holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Append {
    /// The digest of the append that it was made after, if it carries one.
    pub previous: Option<Digest>,
    /// Its own digest.
    pub digest: Digest,
    /// Its events.
    pub recorded: Vec<Recorded>,
}

/// The append of an item.
pub fn to_append(item: &Item) -> Result<Append, MalformedItem> {
    let json = json(item)?;
    let first = read_number(item, "sequence")?;
    if !(1..=SEQUENCE_MAX).contains(&first) {
        return Err(malformed("sequence", format!("{first} is no position")));
    }
    let at = read_time(item, "at")?;
    let events: Vec<Event> = serde_json::from_slice(&json)
        // The position says where to look; the text around it stays out of logs.
        .map_err(|e| malformed("events", format!("not events, at column {}", e.column())))?;
    let events = Events::new(events).ok_or_else(|| malformed("events", "none"))?;
    let digest = digest(item)?;
    let place = Sequence::new(first).before();
    Ok(Append {
        previous: previous(item)?,
        digest,
        recorded: events.record(place, at, Some(digest)),
    })
}

/// The JSON of an item's events, in whichever form they are stored.
fn json(item: &Item) -> Result<Cow<'_, [u8]>, MalformedItem> {
    match read_number(item, "form")? {
        FORM => {
            let unpacked = packed::unpack(read_bytes(item, "events")?);
            unpacked.map(Cow::Owned).map_err(|error| malformed("events", error.to_string()))
        }
        FORM_TEXT => read_text(item, "events").map(|text| Cow::Borrowed(text.as_bytes())),
        form => Err(malformed("form", format!("{form} is not a form that this version knows"))),
    }
}

/// The bytes of an item's events, as they are stored.
pub(crate) fn stored_events(item: &Item) -> Result<&[u8], MalformedItem> {
    match item.get("events") {
        Some(AttributeValue::S(text)) => Ok(text.as_bytes()),
        _ => read_bytes(item, "events"),
    }
}

/// The digest of an item, as it is stored.
pub(crate) fn digest(item: &Item) -> Result<Digest, MalformedItem> {
    let link = Link {
        execution: read_text(item, "execution")?,
        sequence: read_number(item, "sequence")?,
        form: read_number(item, "form")?,
        events: stored_events(item)?,
        at: read_text(item, "at")?,
        append: read_text(item, "append")?,
        previous: match item.get("previous") {
            Some(_) => Some(read_text(item, "previous")?),
            None => None,
        },
    };
    Ok(link.digest())
}

/// The digest of the append that an item was made after, if it carries one.
pub(crate) fn previous(item: &Item) -> Result<Option<Digest>, MalformedItem> {
    if !item.contains_key("previous") {
        return Ok(None);
    }
    let digest = Digest::parse(read_text(item, "previous")?);
    digest.map(Some).ok_or_else(|| malformed("previous", "not a digest"))
}

#[cfg(test)]
mod tests;

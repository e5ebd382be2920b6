//! S14: DynamoDB takes no item of more than 400 KB, now or later.

use aws_sdk_dynamodb::types::AttributeValue;
use everhook_journal::store::{Item, WriteError};

use crate::checks::violated;
use crate::world::world;

/// The largest item.
const ITEM_BYTES_MAX: usize = 400 * 1024;

/// Refuses an item that is too large, as DynamoDB does, and calls that a mistake: it would be refused for ever.
pub(crate) fn fits(table: &str, item: &Item) -> Result<(), WriteError> {
    let bytes: usize = item.iter().map(|(name, value)| name.len() + value_bytes(value)).sum();
    if bytes <= ITEM_BYTES_MAX {
        return Ok(());
    }
    let what = format!("an item of {bytes} bytes for {table}");
    world().check(|_| violated("S14", what));
    Err(WriteError::Refused("Item size has exceeded the maximum allowed size".into()))
}

/// About what a value takes; numbers and flags take little.
fn value_bytes(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        _ => 21,
    }
}

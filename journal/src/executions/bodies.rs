//! Which execution a body came with first: for senders whose ids no signature covers.
//!
//! An item beside the rows, under `body#` and a keyed hash of source and body:
//!
//! | attribute | type | holds |
//! |---|---|---|
//! | `execution` | S, partition key | `body#…` |
//! | `first` | S | the execution that the body came with first |
//! | `ttl` | N | when it may be deleted: with that execution's history |
//!
//! No index has it, and no listing shows it.

use super::{Executions, key, met, outage};
use crate::id::{BodyKey, ExecutionId};
use crate::item::{number, read_text, text};
use crate::store::{Expression, Item, Unavailable, WriteError};
use crate::table::REST;
use crate::time::Timestamp;

/// What the keys of bodies begin with: no execution's id does.
const PREFIX: &str = "body#";

impl Executions {
    /// The execution that a body came with first: this one, if it was not known or that has expired.
    pub async fn first_with(
        &self,
        body: &BodyKey,
        id: &ExecutionId,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<ExecutionId, Unavailable> {
        let item = Item::from([
            ("execution".into(), text(format!("{PREFIX}{body}"))),
            ("first".into(), text(id.as_str())),
            ("ttl".into(), number(expires_at.to_ttl_seconds())),
        ]);
        let absent = Expression::free_or_expired(now - REST);
        match self.store.put(&self.table, item, absent).await {
            Ok(()) => Ok(id.clone()),
            Err(WriteError::Condition(old)) => {
                let first = old.as_ref().and_then(|old| read_text(old, "first").ok());
                Ok(first.and_then(ExecutionId::parse).unwrap_or_else(|| id.clone()))
            }
            Err(error) => Err(outage(error)),
        }
    }

    /// Marks an execution as one whose body had come before, with `first`; says whether it was not marked yet.
    pub async fn mark_repeat(
        &self,
        id: &ExecutionId,
        first: &ExecutionId,
        expires_at: Timestamp,
    ) -> Result<bool, Unavailable> {
        let change = Expression::new(
            "SET #repeat_of = :first, #ttl = if_not_exists(#ttl, :ttl)",
            &["repeat_of", "ttl"],
        )
        .with(":first", text(first.as_str()))
        .with(":ttl", number(expires_at.to_ttl_seconds()));
        // Its view may come later.
        let unmarked = Expression::new("attribute_not_exists(#repeat_of)", &[]);
        met(self.store.update(&self.table, key(id), change, unmarked).await)
    }
}

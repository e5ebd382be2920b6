//! Which keys these tables were made with, as fingerprints: with another key a redelivery would be a new execution.
//!
//! An item beside the rows:
//!
//! | attribute | type | holds |
//! |---|---|---|
//! | `execution` | S, partition key | `key#` and what the key is for |
//! | `fingerprint` | S | what the key is known by, from which it cannot be told |
//!
//! No index has it, no listing shows it, and it never expires.

use super::{Executions, outage};
use crate::id::ExecutionKey;
use crate::item::{read_text, text};
use crate::store::{Expression, Item, Unavailable, WriteError};

/// What the keys of these items begin with: no execution's id does.
const PREFIX: &str = "key#";

impl Executions {
    /// Whether the tables were made with this key, as far as they know. Tables that know none know this one from now on.
    pub async fn knows_key(&self, purpose: &str, key: &ExecutionKey) -> Result<bool, Unavailable> {
        let fingerprint = key.fingerprint();
        let absent = Expression::new("attribute_not_exists(#execution)", &["execution"]);
        match self.store.put(&self.table, item(purpose, &fingerprint), absent).await {
            Ok(()) => Ok(true),
            Err(WriteError::Condition(old)) => {
                let known = old.as_ref().and_then(|old| read_text(old, "fingerprint").ok());
                Ok(known == Some(fingerprint.as_str()))
            }
            Err(error) => Err(outage(error)),
        }
    }

    /// Makes the tables know this key from now on, whatever they knew.
    pub async fn accept_key(&self, purpose: &str, key: &ExecutionKey) -> Result<(), Unavailable> {
        let any = Expression::new(
            "attribute_not_exists(#execution) OR attribute_exists(#execution)",
            &["execution"],
        );
        self.store.put(&self.table, item(purpose, &key.fingerprint()), any).await.map_err(outage)
    }
}

fn item(purpose: &str, fingerprint: &str) -> Item {
    Item::from([
        ("execution".into(), text(format!("{PREFIX}{purpose}"))),
        ("fingerprint".into(), text(fingerprint)),
    ])
}

//! Marks of executions in trouble: one that does not move, and one that may have killed a process.
//!
//! A drive alone writes its name into the row before it begins and takes it out when it has ended, so a name that stays
//! is that of a process that may have died of the execution. Names make both writes repeatable: a lost reply or two
//! drives at once count nothing twice.

use aws_sdk_dynamodb::types::AttributeValue;

use super::{Executions, attention, key, met};
use crate::id::ExecutionId;
use crate::item::{number, text};
use crate::store::{Expression, Unavailable};
use crate::time::Timestamp;
use crate::view::ViewStatus;

/// How many processes may die of an execution before it is stalled.
pub const DEATHS_MAX: u64 = 3;

/// The attributes of all marks.
pub(super) const ALL: [&str; 5] = ["stalled", "parked", "attention", "alone", "deaths"];

/// Why an execution is stalled that so many processes have died of.
pub fn died(deaths: u64) -> String {
    format!(
        "the process died {deaths} times while it drove this execution; look for what its steps do with this webhook, \
         then redrive or cancel it"
    )
}

impl Executions {
    /// Marks an execution as one that does not move, for an operator to look; says whether it was not marked yet.
    pub async fn stall(
        &self,
        id: &ExecutionId,
        reason: &str,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<bool, Unavailable> {
        self.forget_expired(id, now).await?;
        let change = Expression::new(
            "SET #stalled = :reason, #attention = :attention, \
             #created_at = if_not_exists(#created_at, :now), #ttl = if_not_exists(#ttl, :ttl)",
            &["stalled", "attention", "created_at", "ttl"],
        )
        .with(":reason", text(reason))
        .with(":attention", text(attention(ViewStatus::Stalled, id, self.shards)))
        .with(":now", text(now.to_string()))
        .with(":ttl", number(expires_at.to_ttl_seconds()));
        // The end may have been shown meanwhile.
        let unmarked = Expression::new(
            "attribute_not_exists(#stalled) AND attribute_not_exists(#ended)",
            &["ended"],
        );
        met(self.store.update(&self.table, key(id), change, unmarked).await)
    }

    /// Takes that mark away, and forgets deaths: the execution got further, or an operator wants it to be tried again.
    pub async fn unstall(&self, id: &ExecutionId) -> Result<bool, Unavailable> {
        let names = ALL.map(|name| format!("#{name}")).join(", ");
        let change = Expression::new(format!("REMOVE {names}"), &ALL);
        let marked = Expression::new(
            "attribute_exists(#stalled) OR attribute_exists(#parked) \
             OR attribute_exists(#alone) OR attribute_exists(#deaths)",
            &[],
        );
        met(self.store.update(&self.table, key(id), change, marked).await)
    }

    /// Records that a drive of this name begins, and that nothing else is driven beside it.
    pub async fn begin_alone(
        &self,
        id: &ExecutionId,
        drive: &str,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), Unavailable> {
        self.forget_expired(id, now).await?;
        let change = Expression::new(
            "SET #ttl = if_not_exists(#ttl, :ttl) ADD #alone :drive",
            &["ttl", "alone"],
        )
        .with(":ttl", number(expires_at.to_ttl_seconds()))
        .with(":drive", names(drive));
        let any = Expression::always("execution");
        met(self.store.update(&self.table, key(id), change, any).await).map(drop)
    }

    /// Records that it has ended, and with it nothing else.
    pub async fn end_alone(&self, id: &ExecutionId, drive: &str) -> Result<(), Unavailable> {
        let change =
            Expression::new("DELETE #alone :drive", &["alone"]).with(":drive", names(drive));
        let marked = Expression::new("attribute_exists(#alone)", &[]);
        met(self.store.update(&self.table, key(id), change, marked).await).map(drop)
    }

    /// Deletes a row that has expired and is still there: it is of another execution than the one to be marked.
    async fn forget_expired(&self, id: &ExecutionId, now: Timestamp) -> Result<(), Unavailable> {
        let expired = Expression::new("#ttl < :expired", &["ttl"])
            .with(":expired", number(now.as_millis().div_euclid(1000)));
        met(self.store.delete(&self.table, key(id), expired).await).map(drop)
    }
}

fn names(drive: &str) -> AttributeValue {
    AttributeValue::Ss(vec![drive.to_owned()])
}

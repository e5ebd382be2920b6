//! How far the audit has come, and which sources there have been.
//!
//! | `execution`, partition key | attribute | holds |
//! |---|---|---|
//! | `audit#PASS` | `until`, S | everything that was recorded up to this time has been audited |
//! | `audit#sources` | `names`, S | the names of all sources that ever received, as a JSON list |
//!
//! No index has them, no listing shows them, and they never expire.

use super::{Executions, met, outage};
use crate::id::SourceName;
use crate::item::{read_text, read_time, text};
use crate::store::{Expression, Item, Unavailable, WriteError};
use crate::time::Timestamp;

/// The key of the list of sources.
const SOURCES: &str = "audit#sources";

/// How often adding sources is tried while others add some.
const TRIES_MAX: usize = 8;

/// A pass of the audit. Each webhook is looked at once in each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// Soon after it was recorded.
    Soon,
    /// An hour later, for an index that lagged.
    Hour,
    /// A day later, for one that lagged longer.
    Day,
}

impl Pass {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Soon, Self::Hour, Self::Day];

    fn key(self) -> Item {
        let name = match self {
            Self::Soon => "audit#soon",
            Self::Hour => "audit#hour",
            Self::Day => "audit#day",
        };
        item_key(name)
    }
}

impl Executions {
    /// Up to when this pass has audited; `None` if it never has.
    pub async fn audited(&self, pass: Pass) -> Result<Option<Timestamp>, Unavailable> {
        let item = self.store.get(&self.table, pass.key()).await?;
        Ok(item.and_then(|item| read_time(&item, "until").ok()))
    }

    /// Records up to when this pass has audited. It does not go back, since two audits at once may end in any order;
    /// unless it is beyond `ahead`, where only a clock that was wrong can have moved it.
    pub async fn set_audited(
        &self,
        pass: Pass,
        until: Timestamp,
        ahead: Timestamp,
    ) -> Result<bool, Unavailable> {
        let change = Expression::new("SET #until = :until", &["until"])
            .with(":until", text(until.to_string()));
        let newer = Expression::new(
            "attribute_not_exists(#until) OR #until < :until OR #until > :ahead",
            &[],
        )
        .with(":ahead", text(ahead.to_string()));
        met(self.store.update(&self.table, pass.key(), change, newer).await)
    }

    /// The sources that ever received a webhook here, also those that are not configured any more.
    pub async fn sources(&self) -> Result<Vec<SourceName>, Unavailable> {
        let item = self.store.get(&self.table, item_key(SOURCES)).await?;
        let names = item.as_ref().and_then(|item| read_text(item, "names").ok());
        let names = names.and_then(|json| serde_json::from_str::<Vec<String>>(json).ok());
        Ok(names.unwrap_or_default().into_iter().map(SourceName::new).collect())
    }

    /// Adds sources to that list, if they are not in it.
    pub async fn add_sources(&self, names: &[SourceName]) -> Result<(), Unavailable> {
        for _ in 0..TRIES_MAX {
            let known = self.store.get(&self.table, item_key(SOURCES)).await?;
            let before = known.as_ref().and_then(|item| read_text(item, "names").ok());
            let mut all: Vec<String> =
                before.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
            let many = all.len();
            let new = names.iter().map(|name| name.as_str().to_owned());
            all.extend(new);
            all.sort();
            all.dedup();
            if all.len() == many {
                return Ok(());
            }
            let json = serde_json::to_string(&all).expect("names are JSON");
            let mut item = item_key(SOURCES);
            item.insert("names".into(), text(json));
            let same = match before {
                Some(before) => {
                    Expression::new("#names = :before", &["names"]).with(":before", text(before))
                }
                None => Expression::new("attribute_not_exists(#names)", &["names"]),
            };
            match self.store.put(&self.table, item, same).await {
                Ok(()) => return Ok(()),
                Err(WriteError::Condition(_)) => {}
                Err(error) => return Err(outage(error)),
            }
        }
        Err(Unavailable("other processes keep changing the list of sources".into()))
    }
}

fn item_key(name: &str) -> Item {
    Item::from([("execution".into(), text(name))])
}

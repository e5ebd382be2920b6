//! Which definitions of workflows unfinished executions still run.

use std::collections::BTreeMap;

use everhook_journal::id::WorkflowHash;
use everhook_journal::store::Unavailable;
use everhook_journal::{Timestamp, WorkflowName};
use serde::{Deserialize, Serialize};

use crate::StatusApi;
use crate::list::unfinished;

/// How many unfinished executions are looked at, about.
const LOOKED_AT: usize = 1_000;

/// The definitions that are in use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownWorkflows {
    /// Each definition that an unfinished execution runs, by name.
    pub versions: Vec<ShownVersion>,
    /// How many unfinished executions were looked at: those that are due first.
    pub looked_at: usize,
    /// Whether there are unfinished executions beyond them.
    pub more: bool,
}

/// A definition that unfinished executions run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownVersion {
    /// The workflow's name.
    pub workflow: WorkflowName,
    /// Its content hash; none for executions of earlier versions whose rows do not say it.
    pub hash: Option<WorkflowHash>,
    /// How many of those that were looked at run it.
    pub unfinished: u64,
    /// When the oldest of them was received.
    pub oldest: Timestamp,
}

/// The definitions that unfinished executions run. Looks at a bounded number of them.
pub(crate) async fn in_use(api: &StatusApi) -> Result<ShownWorkflows, Unavailable> {
    let (rows, more) = unfinished(api, LOOKED_AT).await?;
    let views: Vec<_> = rows.into_iter().filter_map(|row| row.view).collect();
    let looked_at = views.len();
    let mut versions: BTreeMap<_, (u64, Timestamp)> = BTreeMap::new();
    for one in views {
        let hash = one.workflow_hash.as_ref().map(|hash| hash.as_str().to_owned());
        let key = (one.workflow, hash);
        let (count, oldest) = versions.entry(key).or_insert((0, one.created_at));
        *count += 1;
        *oldest = (*oldest).min(one.created_at);
    }
    let shown = |((workflow, hash), (unfinished, oldest)): ((_, Option<String>), _)| ShownVersion {
        workflow,
        hash: hash.map(WorkflowHash::new),
        unfinished,
        oldest,
    };
    Ok(ShownWorkflows { versions: versions.into_iter().map(shown).collect(), looked_at, more })
}

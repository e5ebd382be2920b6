//! `everhook workflows`: the definitions that are configured, and older ones that unfinished executions still run.

use std::collections::BTreeMap;

use everhook_journal::WorkflowName;
use everhook_journal::config::Config;
use everhook_journal::id::WorkflowHash;
use everhook_projector::workflows::{ShownVersion, ShownWorkflows};
use serde::Serialize;

use super::client::Client;
use super::{Failure, print, print_json};
use crate::cli::Workflows;

/// A workflow with its definitions.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    workflow: WorkflowName,
    /// The definition that is configured; none if the configuration has no such workflow any more.
    configured: Option<WorkflowHash>,
    /// The definitions that unfinished executions run.
    in_use: Vec<ShownVersion>,
}

/// All workflows, and how much was looked at.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownAll {
    workflows: Vec<Shown>,
    looked_at: usize,
    more: bool,
}

pub(super) async fn run(workflows: Workflows) -> Result<(), Failure> {
    let config = Config::load(&workflows.config.path).map_err(Failure::of)?;
    let client = Client::new(&workflows.server.server)?;
    let ShownWorkflows { versions, looked_at, more } = client.get("/workflows", &[]).await?;
    let mut by_name: BTreeMap<WorkflowName, Shown> = BTreeMap::new();
    let entry = |workflow: WorkflowName| Shown { workflow, configured: None, in_use: Vec::new() };
    for (name, workflow) in &config.workflows {
        let shown = by_name.entry(name.clone()).or_insert_with(|| entry(name.clone()));
        shown.configured = Some(workflow.hash());
    }
    for version in versions {
        let name = version.workflow.clone();
        by_name.entry(name.clone()).or_insert_with(|| entry(name)).in_use.push(version);
    }
    let all = ShownAll { workflows: by_name.into_values().collect(), looked_at, more };
    match workflows.json {
        true => print_json(&all)?,
        false => print(&told(&all)),
    }
    Ok(())
}

fn told(all: &ShownAll) -> String {
    let mut lines = Vec::new();
    for Shown { workflow, configured, in_use } in &all.workflows {
        let hash = |hash: Option<&WorkflowHash>| {
            hash.map_or_else(|| "unknown version".to_owned(), ToString::to_string)
        };
        let (now, older): (Vec<_>, Vec<_>) =
            in_use.iter().partition(|version| configured.is_some() && version.hash == *configured);
        let used = |version: &ShownVersion| {
            format!("{} unfinished, the oldest from {}", version.unfinished, version.oldest)
        };
        let current = match configured {
            Some(_) => format!("{}, configured", hash(configured.as_ref())),
            None => "no longer configured".to_owned(),
        };
        let running = now.first().map_or(String::new(), |version| format!("  {}", used(version)));
        lines.push(format!("{workflow}  {current}{running}"));
        let older = older.into_iter();
        lines.extend(
            older.map(|version| format!("    {}  {}", hash(version.hash.as_ref()), used(version))),
        );
    }
    lines.push(match all.more {
        true => format!(
            "looked at the {} unfinished executions that are due first; there are more",
            all.looked_at
        ),
        false => format!("looked at all {} unfinished executions", all.looked_at),
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use everhook_journal::Timestamp;

    use super::*;

    #[test]
    fn older_definitions_stand_below_the_configured_one() {
        let version = |hash: Option<&str>, unfinished| ShownVersion {
            workflow: WorkflowName::new("deploy"),
            hash: hash.map(WorkflowHash::new),
            unfinished,
            oldest: Timestamp::from_millis(1_795_486_845_000),
        };
        let deploy = Shown {
            workflow: WorkflowName::new("deploy"),
            configured: Some(WorkflowHash::new("aa")),
            in_use: vec![version(None, 1), version(Some("aa"), 3), version(Some("bb"), 2)],
        };
        let gone =
            Shown { workflow: WorkflowName::new("gone"), configured: None, in_use: Vec::new() };
        let all = ShownAll { workflows: vec![deploy, gone], looked_at: 6, more: true };
        insta::assert_snapshot!(told(&all));
    }
}

//! One case: its workflow, its webhook, its callbacks, and what came of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use everhook_journal::config::Config;
use everhook_journal::execution::Status;
use everhook_journal::{Execution, ExecutionId, WorkflowName};
use regex_lite::Regex;
use serde_json::Value;

use super::callback::{self, Coming};
use super::case::{Case, plain};
use super::matcher;
use super::report::Verdict;
use super::translate::translate;
use super::world::{World, words};

/// The name of every case's workflow.
const WORKFLOW: &str = "default";

/// The file that says which cases ask for what we do not have, and why.
const NOT_APPLICABLE: &str = "not-applicable.toml";

/// What a workflow's file may say where the case's input is to stand: `${input}`, `${input.0}`.
const INPUT: &str = "${input";

/// How often the clock goes on in one case.
const ROUNDS_MAX: usize = 200;

/// The cases that ask for what we do not have, and why.
pub(crate) fn not_applicable(workflows: &Path) -> Result<BTreeMap<String, String>, String> {
    let file = workflows.join(NOT_APPLICABLE);
    let Ok(text) = std::fs::read_to_string(&file) else { return Ok(BTreeMap::new()) };
    toml::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))
}

/// Runs a case.
pub(crate) async fn judge(case: &Case, workflows: &Path) -> Verdict {
    let file = file(case, workflows);
    let Ok(text) = std::fs::read_to_string(&file) else {
        return Verdict::Failed(vec![format!("no workflow: there is no {}", file.display())]);
    };
    let folder = file.parent().unwrap_or(workflows);
    match run(case, &with_input(&text, &case.input), folder).await {
        Ok(differences) if differences.is_empty() => Verdict::Passed,
        Ok(differences) => Verdict::Failed(differences),
        Err(trouble) => Verdict::Failed(vec![trouble]),
    }
}

/// The workflow of a case: in its suite's folder, or wherever its number is.
fn file(case: &Case, workflows: &Path) -> PathBuf {
    let name = format!("{}.toml", case.id);
    let own = workflows.join(&case.suite).join(&name);
    let folders = std::fs::read_dir(workflows).into_iter().flatten().flatten();
    let mut others = folders.map(|folder| folder.path().join(&name));
    if own.exists() { own } else { others.find(|other| other.exists()).unwrap_or(own) }
}

/// Operations are named by their input in some cases; our steps are named by their definition.
fn with_input(text: &str, input: &Value) -> String {
    let mut text = text.replace(&format!("{INPUT}}}"), &plain(input));
    for (place, item) in input.as_array().into_iter().flatten().enumerate() {
        text = text.replace(&format!("{INPUT}.{place}}}"), &plain(item));
    }
    text
}

async fn run(case: &Case, config: &str, folder: &Path) -> Result<Vec<String>, String> {
    let config = Config::parse(config, folder.to_owned()).map_err(|problems| {
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    })?;
    let world = World::start(&config, folder).await?;
    let id = world.send(&case.input).await?;
    let execution = live(case, &world, &id).await?;

    let workflow = config.workflows.get(&WorkflowName::new(WORKFLOW));
    let workflow = workflow.ok_or_else(|| format!("there is no workflow named `{WORKFLOW}`"))?;
    let history = world.history(&id).await?;
    let events = translate(workflow, &world.ingest.payloads, &history).await?;
    let mut differences = matcher::differences(&case.history, &events);
    if !differences.is_empty() {
        differences.push(format!("the whole: {}", in_short(&events)));
    }
    if let Some(expected) = &case.status {
        let status = match execution.status {
            Status::Completed { .. } => "SUCCEEDED",
            Status::Failed { .. } => "FAILED",
            _ => "RUNNING",
        };
        differences.extend(matcher::difference(
            "status",
            &Value::from(expected.as_str()),
            &status.into(),
        ));
    }
    if let Some(expected) = &case.result {
        differences.extend(matcher::difference(
            "result",
            expected,
            &result(&world, &execution).await?,
        ));
    }
    let logged = world.act.logged.lock().map_err(words)?;
    for (pattern, count) in &case.logs {
        let pattern = Regex::new(pattern).map_err(words)?;
        let found = logged.iter().filter(|line| pattern.is_match(line)).count() as u64;
        if found != *count {
            differences.push(format!("log: expected {count} lines, found {found}"));
        }
    }
    Ok(differences)
}

/// Lets the execution live, with everything that happens to it from outside, until it has ended.
async fn live(case: &Case, world: &World, id: &ExecutionId) -> Result<Execution, String> {
    let mut coming: Vec<_> = case.actions.iter().map(Coming::new).collect();
    world.follow(id).await?;
    for _ in 0..ROUNDS_MAX {
        let execution = world.execution(id).await?;
        if execution.status.is_terminal() {
            return Ok(execution);
        }
        let history = world.history(id).await?;
        callback::look(&mut coming, &history);
        let next = (0..coming.len()).filter_map(|place| Some((coming[place].time()?, place))).min();
        let due = world.due(id).await?.ok_or("nothing is due, and it has not ended")?;
        match next {
            Some((time, place)) if time <= due => {
                world.go_to(time);
                coming.remove(place).perform(world, id).await?;
                world.follow(id).await?;
            }
            _ => {
                world.go_to(due);
                world.fire().await?;
            }
        }
    }
    world.execution(id).await
}

/// Our executions have no result of their own: the last step's stands for it.
async fn result(world: &World, execution: &Execution) -> Result<Value, String> {
    let Some(output) = execution.line.output() else { return Ok(Value::Null) };
    let json = world.ingest.payloads.open(output).await.map_err(words)?;
    serde_json::from_slice(&json).map_err(words)
}

fn in_short(events: &[Value]) -> String {
    let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let each =
        events.iter().map(|event| format!("{} {}", text(event, "EventType"), text(event, "Id")));
    each.collect::<Vec<_>>().join(", ")
}

//! A configuration in words: what each workflow does, step by step.

mod words;

use everhook_journal::config::{CONTROL_KINDS, Config, PURE_KINDS};
use everhook_journal::workflow::{AtMostOnce, StepDefinition};
use everhook_journal::{Workflow, WorkflowName};
use everhook_processor::expression::place::{self, Place};
use everhook_processor::plan::check;

use words::{duration, retry, short, what};

/// What a webhook through three steps that only compute costs, in write units; see docs/costs.md.
const WRITES: u64 = 9;

/// What an append more costs about, in write units.
const WRITES_MORE: u64 = 2;

/// All workflows, each with the sources that start it.
pub fn explain(config: &Config) -> String {
    let each = config.workflows.values().map(|workflow| told(config, workflow));
    each.collect::<Vec<_>>().join("\n\n")
}

fn told(config: &Config, workflow: &Workflow) -> String {
    let mut lines = vec![format!("{}, {}", workflow.name, started_by(config, &workflow.name))];
    steps(&workflow.steps, 1, &mut lines);
    if !workflow.on_failure.is_empty() {
        lines.push("  after a failure:".into());
        steps(&workflow.on_failure, 2, &mut lines);
    }
    let within = workflow
        .timeout()
        .map_or(String::new(), |timeout| format!("; given up after {}", duration(timeout)));
    lines.push(format!("  takes {} at the very most{within}", duration(workflow.longest())));
    lines.push(format!("  writes {}, if nothing fails", writes(workflow)));
    lines.extend(expressions(workflow));
    lines.join("\n")
}

/// Where each expression of the workflow runs, and why.
fn expressions(workflow: &Workflow) -> Vec<String> {
    let each = workflow.all_steps().flat_map(|step| {
        check::expressions(step).into_iter().map(|(key, code)| {
            let place = match place::of(&code) {
                Place::Here => "in this process".to_owned(),
                Place::Worker(reason) => format!("in a worker with limits: {reason}"),
            };
            format!("    `{key}` of {}: {place}", step.name)
        })
    });
    let mut lines: Vec<_> = each.collect();
    if !lines.is_empty() {
        lines.insert(0, "  runs expressions:".into());
    }
    lines
}

fn started_by(config: &Config, workflow: &WorkflowName) -> String {
    let sources = config.sources.iter().filter(|(_, source)| source.workflow == *workflow);
    let names: Vec<_> = sources.map(|(name, _)| name.to_string()).collect();
    match names.is_empty() {
        true => "started by no source".into(),
        false => format!("started by {}", names.join(", ")),
    }
}

fn steps(steps: &[StepDefinition], depth: usize, lines: &mut Vec<String>) {
    let width = steps.iter().map(|step| step.name.as_str().len()).max().unwrap_or_default();
    let indent = "  ".repeat(depth);
    for step in steps {
        lines.push(format!("{indent}{:width$}  {}", step.name.as_str(), line(step)));
        match step.run.as_str() {
            // How it is made again is the poll's own matter.
            "poll" => lines.extend(
                step.steps.iter().map(|look| format!("{indent}  {}  {}", look.name, what(look))),
            ),
            _ => self::steps(&step.steps, depth + 1, lines),
        }
        for branch in &step.branches {
            lines.push(format!("{indent}  branch {}:", branch.name));
            self::steps(&branch.steps, depth + 2, lines);
        }
    }
}

/// What a step does, in one line.
fn line(step: &StepDefinition) -> String {
    let mut parts = vec![what(step)];
    parts.extend(step.when.as_ref().map(|jq| format!("only when {}", short(jq))));
    let run = step.run.as_str();
    // What a callback usually repeats is no more than the making of its address.
    if run != "callback" {
        parts.extend(retry(&step.retry));
    }
    if !PURE_KINDS.contains(&run) && (!CONTROL_KINDS.contains(&run) || run == "poll") {
        parts.push(format!("{} an attempt", duration(step.timeout())));
    }
    if !step.record_request {
        parts.push("what it sends is not recorded".to_owned());
    }
    parts.extend(step.at_most_once.map(|once| match once {
        AtMostOnce::Step => "an interrupted attempt is the last".to_owned(),
        AtMostOnce::Attempt => "an interrupted attempt has failed".to_owned(),
    }));
    parts.join("; ")
}

/// About how many write units an execution needs, and what items add.
fn writes(workflow: &Workflow) -> String {
    let (appends, of_items) = appends(&workflow.steps);
    let units = WRITES + WRITES_MORE * appends;
    match of_items {
        0 => format!("about {units} units"),
        of_items => format!("about {units} units, and {} for each item", WRITES_MORE * of_items),
    }
}

/// The appends that steps need beyond the first and the last: once, and for each item of a list.
fn appends(steps: &[StepDefinition]) -> (u64, u64) {
    let (mut once, mut of_items) = (0, 0);
    for step in steps {
        let (inside, of_inside) = appends(&step.steps);
        let branches = step.branches.iter().map(|branch| appends(&branch.steps));
        let (own, own_items) = match step.run.as_str() {
            run if PURE_KINDS.contains(&run) => (0, 0),
            "wait" => (2, 0),
            "callback" => (2 + inside, of_inside),
            "map" => (1, inside.max(1) + of_inside),
            "parallel" => {
                branches.fold((1, 0), |(a, b), (once, items)| (a + once.max(1), b + items))
            }
            _ if step.at_most_once.is_some() => (2, 0),
            _ => (1, 0),
        };
        once += own;
        of_items += own_items;
    }
    (once, of_items)
}

//! What can be wrong with a workflow as a whole, before anything runs it.
//!
//! Only what is configured is judged like this: a definition that an execution is pinned to runs as it is.

use everhook_journal::config::keys::Form;
use everhook_journal::config::unknown_key;
use everhook_journal::workflow::StepDefinition;
use everhook_journal::{StepName, Workflow};
use serde_json::Value;

use crate::expression::mentions;
use crate::step::DefinitionError;
use crate::steps::keys::KINDS;
use crate::steps::{Steps, template_code};

use super::{PlanError, Ready};

/// Everything that is wrong with the steps of a workflow.
pub fn problems(workflow: &Workflow, steps: &Steps) -> Vec<PlanError> {
    let all: Vec<_> = workflow.all_steps().collect();
    let mut problems = Vec::new();
    for definition in &all {
        if let Err(source) = Ready::new(definition, steps) {
            problems.push(PlanError { step: definition.name.clone(), source });
        }
    }
    // What is wrong with the step inside of a `poll` is told once, where it stands.
    let wrong: Vec<_> = problems.iter().map(|problem| problem.step.clone()).collect();
    let told_inside = |step: &StepName| {
        let outer = all.iter().find(|definition| definition.name == *step);
        outer.is_some_and(|outer| {
            outer.run == "poll" && outer.steps.iter().any(|inner| wrong.contains(&inner.name))
        })
    };
    problems.retain(|problem| !told_inside(&problem.step));

    let mut walk = Walk { workflow, problems };
    walk.steps(&workflow.steps, &[]);
    // What follows a failure sees what the steps before it gave, as far as they came.
    let before: Vec<_> = workflow.steps.iter().map(|step| &step.name).collect();
    walk.steps(&workflow.on_failure, &before);
    walk.problems
}

/// A walk through the steps of a workflow, each with the steps whose results it may see.
struct Walk<'w> {
    workflow: &'w Workflow,
    problems: Vec<PlanError>,
}

impl<'w> Walk<'w> {
    fn steps(&mut self, steps: &'w [StepDefinition], before: &[&'w StepName]) {
        let mut seen = before.to_vec();
        for step in steps {
            self.step(step, &seen);
            self.steps(&step.steps, &seen);
            for branch in &step.branches {
                self.steps(&branch.steps, &seen);
            }
            seen.push(&step.name);
        }
    }

    fn step(&mut self, step: &StepDefinition, seen: &[&StepName]) {
        let wrong = no_templates(step).into_iter();
        self.problems.extend(wrong.map(|source| PlanError { step: step.name.clone(), source }));
        for (key, code) in expressions(step) {
            if mentions::has_forking_foreach(&code) {
                let message = format!(
                    "`{key}` has a `foreach` that may give several results for one item, which jq \
                     takes otherwise; let it give one"
                );
                let source = DefinitionError::at(key, message);
                self.problems.push(PlanError { step: step.name.clone(), source });
            }
            let names = mentions::steps(&code);
            let unseen = names.iter().find(|name| !seen.iter().any(|step| step.as_str() == *name));
            if let Some(name) = unseen {
                let why = self.unseen(step, name, seen);
                let message = format!("`{key}` asks for the result of `{name}`, {why}");
                let source = DefinitionError::at(key, message);
                self.problems.push(PlanError { step: step.name.clone(), source });
            }
        }
    }

    /// Why a step does not see the result of this one.
    fn unseen(&self, step: &StepDefinition, name: &str, seen: &[&StepName]) -> String {
        if step.name.as_str() == name {
            return "which is this step itself".into();
        }
        if !self.workflow.all_steps().any(|other| other.name.as_str() == name) {
            return nowhere(name, seen);
        }
        let mut around = self.workflow.all_steps().filter(|outer| holds(outer, name));
        if let Some(outer) = around.find(|outer| !holds(outer, step.name.as_str())) {
            let outer = &outer.name;
            return format!("which stands inside of `{outer}`: only its steps see one another");
        }
        if self.apart(step.name.as_str(), name) {
            return "which stands in another branch: branches do not see one another".into();
        }
        "which comes later".into()
    }

    /// Whether two steps stand in different branches of one step.
    fn apart(&self, one: &str, other: &str) -> bool {
        let has = |steps: &[StepDefinition], name: &str| {
            steps.iter().any(|step| step.name.as_str() == name || holds(step, name))
        };
        self.workflow.all_steps().any(|step| {
            let mut branches = step.branches.iter();
            branches.any(|branch| has(&branch.steps, one) && !has(&branch.steps, other))
                && holds(step, other)
        })
    }
}

fn nowhere(name: &str, seen: &[&StepName]) -> String {
    let names: Vec<_> = seen.iter().map(|name| name.as_str()).collect();
    if names.is_empty() {
        return "but no step comes before this one".into();
    }
    let hint = unknown_key(name, &names);
    let hint = hint.split_once("; ").map_or("", |(_, hint)| hint);
    format!("but there is no such step; {}", hint.replace("known here", "before it are"))
}

/// Texts that look like templates and would be used as they are.
fn no_templates(step: &StepDefinition) -> Vec<DefinitionError> {
    let kind = KINDS.iter().find(|kind| kind.name == step.run);
    let keys = kind.into_iter().flat_map(|kind| kind.keys);
    let literal = keys.filter(|key| !matches!(key.form, Form::Jq | Form::Template(_)));
    // A schema and a first state are data, and may hold anything.
    let texts = literal.filter(|key| !matches!(key.name, "schema" | "initial"));
    let mut problems = Vec::new();
    for key in texts {
        let mut found = Vec::new();
        texts_of(step.options.get(key.name), &mut found);
        if found.iter().any(|text| text.contains("\\(")) {
            let message = format!(
                "`{0}` is no template: `\\(…)` in it would be used as it is; \
                 templates are {1}",
                key.name,
                templates(step)
            );
            problems.push(DefinitionError::at(key.name, message));
        }
    }
    let url = step.options.get("url").and_then(Value::as_str).filter(|_| step.run == "http");
    if url.is_some_and(|url| url.contains("{{") || url.contains("${")) {
        let message = "`url` has braces, which would be used as they are; \
                       in a template an expression stands in `\\(…)`";
        problems.push(DefinitionError::at("url", message));
    }
    problems
}

/// The keys of a step that are templates, in words.
fn templates(step: &StepDefinition) -> String {
    let kind = KINDS.iter().find(|kind| kind.name == step.run);
    let keys = kind.into_iter().flat_map(|kind| kind.keys);
    let names: Vec<_> = keys
        .filter(|key| matches!(key.form, Form::Template(_)))
        .map(|key| format!("`{}`", key.name))
        .collect();
    if names.is_empty() { format!("not known to `{}`", step.run) } else { names.join(", ") }
}

fn texts_of<'v>(value: Option<&'v Value>, found: &mut Vec<&'v str>) {
    match value {
        Some(Value::String(text)) => found.push(text),
        Some(Value::Array(items)) => items.iter().for_each(|item| texts_of(Some(item), found)),
        Some(Value::Object(map)) => map.values().for_each(|value| texts_of(Some(value), found)),
        Some(Value::Null | Value::Bool(_) | Value::Number(_)) | None => {}
    }
}

/// Whether a step of this name stands inside of another one, at whatever depth.
fn holds(outer: &StepDefinition, name: &str) -> bool {
    let mut inner = outer.branches.iter().flat_map(|branch| &branch.steps).chain(&outer.steps);
    inner.any(|step| step.name.as_str() == name || holds(step, name))
}

/// The expressions of a step, each with its key, in jq. What a step written in Rust calls its keys is its own matter.
pub fn expressions(step: &StepDefinition) -> Vec<(&str, String)> {
    let kind = KINDS.iter().find(|kind| kind.name == step.run);
    let keys = kind.into_iter().flat_map(|kind| kind.keys);
    let own = keys.filter_map(|key| {
        let text = step.options.get(key.name)?.as_str()?;
        match key.form {
            Form::Jq => Some((key.name, text.to_owned())),
            Form::Template(_) => template_code(text).map(|code| (key.name, code)),
            _ => None,
        }
    });
    step.when.iter().map(|code| ("when", code.clone())).chain(own).collect()
}

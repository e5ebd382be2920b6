//! `everhook.toml`: what a user edits.
//!
//! Here stands what all parts share. A source's keys beyond its workflow are read by ingest,
//! a step's keys beyond the common ones by the processor; both find the lines here.

pub mod keys;
mod section;
mod workflows;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use toml::de::{DeTable, DeValue};

pub use section::{Entry, Problem, Section, nearest, unknown_key};
pub use workflows::POLL_KEYS;

use crate::id::{SourceName, StepName, WorkflowName};
use crate::workflow::Workflow;

/// The kinds of step that only compute. They are recorded together with what follows them,
/// because a crash costs no more than computing them again.
pub const PURE_KINDS: [&str; 3] = ["validate", "transform", "filter"];

/// The kinds of step that wait, or hold other steps.
pub const CONTROL_KINDS: [&str; 5] = ["wait", "callback", "poll", "parallel", "map"];

/// The largest body that is accepted, if nothing is said.
const BODY_BYTES_DEFAULT: u64 = 1024 * 1024;

/// How many executions advance at once, if nothing is said.
const CONCURRENCY_DEFAULT: u64 = 64;

/// How many webhooks may wait on one machine if nothing is said.
const BACKLOG_DEFAULT: u64 = 10_000;

/// The whole file.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[settings]`.
    pub settings: Settings,
    /// `[sources.*]`, with the workflow each one starts.
    pub sources: BTreeMap<SourceName, SourceSection>,
    /// `[[workflows.*.steps]]`.
    pub workflows: BTreeMap<WorkflowName, Workflow>,
    /// The folder that relative paths start at.
    pub folder: PathBuf,
    places: BTreeMap<(WorkflowName, StepName), StepPlace>,
}

/// `[settings]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// `retention`: how long histories are kept.
    pub retention: Option<Duration>,
    /// `body_bytes_max`: the largest body that is accepted.
    pub body_bytes_max: usize,
    /// `concurrency`: how many executions advance at once in one process.
    pub concurrency: usize,
    /// `backlog_max`: how many webhooks may wait to be carried on before one machine refuses more.
    pub backlog_max: usize,
    /// `private_hosts`: hosts that `http` steps may call although they are not public.
    pub private_hosts: Vec<String>,
    /// `execution_key`: where the key for execution ids is, as a secret's reference.
    pub execution_key: Option<String>,
    /// `callback_key`: where the key for callbacks is, as a secret's reference.
    pub callback_key: Option<String>,
    /// `public_url`: where whoever is to call back reaches the HTTP API.
    pub public_url: Option<String>,
}

/// `[sources.NAME]`.
#[derive(Debug, Clone)]
pub struct SourceSection {
    /// The workflow that its webhooks start.
    pub workflow: WorkflowName,
    /// Its other keys, for ingest to read.
    pub section: Section,
}

#[derive(Debug, Clone)]
struct StepPlace {
    label: String,
    line: usize,
    options: BTreeMap<String, usize>,
}

/// Why a file is no configuration: each problem with its line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.lines().join("\n"))]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    /// One problem in this file.
    pub fn new(path: &Path, problem: Problem) -> Self {
        Self { path: path.to_owned(), problems: vec![problem] }
    }

    fn lines(&self) -> Vec<String> {
        let line = |p: &Problem| format!("{}:{}: {}", self.path.display(), p.line, p.message);
        self.problems.iter().map(line).collect()
    }
}

impl Config {
    /// Reads the file and what it names.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let message = format!("cannot be read: {error}; name another file with --config");
            ConfigError::new(path, Problem { line: 1, message })
        })?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Self::parse(&text, folder)
            .map_err(|problems| ConfigError { path: path.to_owned(), problems })
    }

    /// Reads the text of a file that stands in `folder`.
    pub fn parse(text: &str, folder: PathBuf) -> Result<Self, Vec<Problem>> {
        let lines = Lines::of(text);
        let document = DeTable::parse(text).map_err(|error| {
            let line = error.span().map_or(1, |span| lines.at(span.start));
            vec![Problem { line, message: error.message().replace('\n', " ") }]
        })?;

        let mut config = Self {
            settings: Settings::default(),
            sources: BTreeMap::new(),
            workflows: BTreeMap::new(),
            folder,
            places: BTreeMap::new(),
        };
        let mut problems = Vec::new();
        for (key, value) in document.get_ref() {
            let line = lines.at(key.span().start);
            let name = key.get_ref().as_ref();
            let read = match (name, value.get_ref()) {
                ("settings", DeValue::Table(table)) => {
                    config.read_settings(lines.section("[settings]".into(), line, table))
                }
                ("sources", DeValue::Table(table)) => {
                    each(table, |name, value| config.read_source(&lines, name, value))
                }
                ("workflows", DeValue::Table(table)) => {
                    each(table, |name, value| config.read_workflow(&lines, name, value))
                }
                ("settings" | "sources" | "workflows", _) => {
                    Err(vec![Problem { line, message: format!("`{name}` must be a table") }])
                }
                _ => {
                    let message = unknown_key(name, &["settings", "sources", "workflows"]);
                    Err(vec![Problem { line, message }])
                }
            };
            problems.extend(read.err().into_iter().flatten());
        }
        problems.extend(config.unknown_workflows(document.get_ref()));
        problems.sort_by_key(|problem| problem.line);
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    /// Something wrong with a step, at the line of this option if it has one.
    pub fn step_problem(
        &self,
        workflow: &WorkflowName,
        step: &StepName,
        option: Option<&str>,
        message: impl std::fmt::Display,
    ) -> Problem {
        let Some(place) = self.places.get(&(workflow.clone(), step.clone())) else {
            return Problem {
                line: 1,
                message: format!("step `{step}` of `{workflow}`: {message}"),
            };
        };
        let line = option.and_then(|key| place.options.get(key)).unwrap_or(&place.line);
        Problem { line: *line, message: format!("{}: {message}", place.label) }
    }

    fn read_settings(&mut self, mut section: Section) -> Result<(), Vec<Problem>> {
        let mut read = || -> Result<Settings, Problem> {
            let usual = Settings::default();
            section.refuse(
                "run_ahead",
                "has no meaning any more: an execution always goes on as far as it can; remove the line",
            )?;
            let settings = Settings {
                retention: section.duration("retention")?,
                body_bytes_max: section
                    .number("body_bytes_max")?
                    .map_or(usual.body_bytes_max, |bytes| bytes as usize),
                concurrency: section
                    .number("concurrency")?
                    .map_or(usual.concurrency, |count| count as usize),
                backlog_max: section
                    .number("backlog_max")?
                    .map_or(usual.backlog_max, |count| count as usize),
                private_hosts: section.texts("private_hosts")?,
                execution_key: section.text("execution_key")?,
                callback_key: section.text("callback_key")?,
                public_url: section.text("public_url")?,
            };
            let address = |url: &String| url.starts_with("https://") || url.starts_with("http://");
            if !settings.public_url.as_ref().is_none_or(address) {
                let message =
                    "`public_url` must be an address such as \"https://hooks.example.com\"";
                return Err(section.problem_of("public_url", message));
            }
            if settings.retention.is_some_and(|retention| retention.is_zero()) {
                let message = "`retention` must be longer than nothing";
                return Err(section.problem_of("retention", message));
            }
            if settings.concurrency == 0 {
                return Err(section.problem_of("concurrency", "`concurrency` must be at least 1"));
            }
            if settings.backlog_max == 0 {
                return Err(section.problem_of("backlog_max", "`backlog_max` must be at least 1"));
            }
            Ok(settings)
        };
        self.settings = read().map_err(|problem| vec![problem])?;
        section.finish().map_err(|problem| vec![problem])
    }

    fn read_source(&mut self, lines: &Lines, name: &str, value: Place) -> Result<(), Problem> {
        let line = value.line(lines);
        let label = format!("[sources.{name}]");
        check_name(name).map_err(|m| Problem { line, message: format!("{label}: {m}") })?;
        let DeValue::Table(table) = value.value else {
            return Err(Problem { line, message: format!("{label} must be a table") });
        };
        let mut section = lines.section(label, line, table);
        let workflow = section.text("workflow")?.unwrap_or_else(|| "default".into());
        let source = SourceSection { workflow: WorkflowName::new(workflow), section };
        self.sources.insert(SourceName::new(name), source);
        Ok(())
    }

    fn read_json(&self, path: &str) -> Result<Value, String> {
        let full = self.folder.join(path);
        let text = std::fs::read_to_string(&full)
            .map_err(|error| format!("{} cannot be read: {error}", full.display()))?;
        serde_json::from_str(&text)
            .map_err(|error| format!("{} is not JSON: {error}", full.display()))
    }

    fn unknown_workflows(&self, document: &DeTable<'_>) -> Vec<Problem> {
        // What the file says counts, not what was read: a workflow with a problem is there.
        let written = match document.get("workflows").map(toml::Spanned::get_ref) {
            Some(DeValue::Table(table)) => Some(table),
            Some(_) | None => None,
        };
        let unknown = |source: &&SourceSection| {
            !written.is_some_and(|table| table.contains_key(source.workflow.as_str()))
        };
        let problem = |source: &SourceSection| {
            let name = &source.workflow;
            let message =
                format!("there is no workflow `{name}`; write [[workflows.{name}.steps]]");
            source.section.problem_of("workflow", message)
        };
        self.sources.values().filter(unknown).map(problem).collect()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            retention: None,
            body_bytes_max: BODY_BYTES_DEFAULT as usize,
            concurrency: CONCURRENCY_DEFAULT as usize,
            backlog_max: BACKLOG_DEFAULT as usize,
            private_hosts: Vec::new(),
            execution_key: None,
            callback_key: None,
            public_url: None,
        }
    }
}

/// Names end up in URLs, keys and logs.
fn check_name(name: &str) -> Result<(), String> {
    let fine = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    fine.then_some(())
        .ok_or_else(|| format!("`{name}` is no name: use 1 to 64 letters, digits, `-` and `_`"))
}

/// A value with the span of its key.
struct Place<'d> {
    start: usize,
    value: &'d DeValue<'d>,
}

impl Place<'_> {
    fn line(&self, lines: &Lines) -> usize {
        lines.at(self.start)
    }
}

fn each<'d>(
    table: &'d DeTable<'d>,
    mut read: impl FnMut(&str, Place<'d>) -> Result<(), Problem>,
) -> Result<(), Vec<Problem>> {
    let problems: Vec<_> = table
        .iter()
        .filter_map(|(key, value)| {
            let place = Place { start: key.span().start, value: value.get_ref() };
            read(key.get_ref(), place).err()
        })
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Where each line of a text begins.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self(std::iter::once(0).chain(ends.map(|(i, _)| i + 1)).collect())
    }

    fn at(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset)
    }

    fn section(&self, label: String, line: usize, table: &DeTable<'_>) -> Section {
        let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
            let key: &toml::Spanned<std::borrow::Cow<'_, str>> = key;
            let line = self.at(key.span().start);
            (key.get_ref().to_string(), Entry { line, value: to_json(value.get_ref()) })
        };
        Section::new(label, line, table.iter().map(entry).collect())
    }
}

fn to_json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::String(number.to_string()), Value::from),
        DeValue::Float(number) => number
            .as_str()
            .parse::<f64>()
            .map_or_else(|_| Value::String(number.to_string()), Value::from),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Datetime(time) => Value::String(time.to_string()),
        DeValue::Array(items) => items.iter().map(|item| to_json(item.get_ref())).collect(),
        DeValue::Table(table) => table
            .iter()
            .map(|(key, value)| (key.get_ref().to_string(), to_json(value.get_ref())))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

#[cfg(test)]
mod tests;

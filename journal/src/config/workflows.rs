//! `[workflows.*]`: the steps, those inside of others as well.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use crate::id::{StepName, WorkflowName};
use crate::retry::{Backoff, Jitter, Retry};
use crate::time::parse_duration;
use crate::workflow::{
    AtMostOnce, BranchDefinition, DEFINITION_BYTES_MAX, DEPTH_MAX, STEP_TIMEOUT_DEFAULT,
    STEP_TIMEOUT_MAX, STEPS_IN_ALL_MAX, STEPS_MAX, StepDefinition, WAIT_MAX, Workflow,
};

use super::section::{Problem, Section, unknown_key};
use super::{CONTROL_KINDS, Config, Lines, PURE_KINDS, Place, StepPlace, check_name};

/// The shortest timeout: definitions count in milliseconds.
const STEP_TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// The most attempts that a step may have.
const ATTEMPTS_MAX: u64 = 100;

/// What a workflow may say.
const WORKFLOW_KEYS: [&str; 3] = ["steps", "on_failure", "timeout"];

/// What a `poll` says for the step inside of it.
pub const POLL_KEYS: [&str; 5] = ["when", "timeout", "retry", "at_most_once", "record_request"];

/// A workflow that is being read.
struct Reading<'l> {
    lines: &'l Lines,
    name: WorkflowName,
    names: BTreeSet<StepName>,
    places: Vec<(StepName, StepPlace)>,
}

impl Config {
    pub(super) fn read_workflow(
        &mut self,
        lines: &Lines,
        name: &str,
        value: Place,
    ) -> Result<(), Problem> {
        let line = value.line(lines);
        let label = format!("[workflows.{name}]");
        let problem =
            |line, message: String| Problem { line, message: format!("{label}: {message}") };
        check_name(name).map_err(|message| problem(line, message))?;
        let DeValue::Table(table) = value.value else {
            return Err(problem(line, "must be a table with `steps`".into()));
        };
        if let Some((key, _)) =
            table.iter().find(|(key, _)| !WORKFLOW_KEYS.contains(&key.get_ref().as_ref()))
        {
            let line = lines.at(key.span().start);
            return Err(problem(line, unknown_key(key.get_ref(), &WORKFLOW_KEYS)));
        }
        let Some(steps) = table.get("steps") else {
            return Err(problem(line, format!("has no steps; write [[workflows.{name}.steps]]")));
        };
        let mut reading = Reading {
            lines,
            name: WorkflowName::new(name),
            names: BTreeSet::new(),
            places: Vec::new(),
        };
        let steps = self.read_steps(
            &mut reading,
            format!("workflows.{name}.steps"),
            line,
            steps.get_ref(),
            1,
        )?;
        let on_failure = match table.get("on_failure") {
            Some(steps) => self.read_steps(
                &mut reading,
                format!("workflows.{name}.on_failure"),
                line,
                steps.get_ref(),
                1,
            )?,
            None => Vec::new(),
        };
        let mut section = lines.section(label.clone(), line, table);
        let timeout_ms = read_wait(&mut section, "timeout")?.map(millis);
        let (name, places) = (reading.name, reading.places);
        for (step, place) in places {
            self.places.insert((name.clone(), step), place);
        }
        let workflow = Workflow { name: name.clone(), steps, on_failure, timeout_ms };
        let bytes = workflow.to_canonical_json().len();
        if bytes > DEFINITION_BYTES_MAX {
            let message = format!(
                "its definition has {bytes} bytes, at most {DEFINITION_BYTES_MAX} can be kept; \
                 shorten its schemas and expressions, or divide it"
            );
            return Err(problem(line, message));
        }
        self.workflows.insert(name, workflow);
        Ok(())
    }

    /// The steps of a list: `place` is where it stands, `workflows.NAME.steps`.
    fn read_steps(
        &self,
        reading: &mut Reading<'_>,
        place: String,
        line: usize,
        value: &DeValue<'_>,
        depth: usize,
    ) -> Result<Vec<StepDefinition>, Problem> {
        let label = format!("[workflows.{}]", reading.name);
        let problem =
            |line, message: String| Problem { line, message: format!("{label}: {message}") };
        let DeValue::Array(items) = value else {
            return Err(problem(line, format!("has no steps; write [[{place}]]")));
        };
        if items.is_empty() || items.len() > STEPS_MAX {
            return Err(problem(line, format!("must have 1 to {STEPS_MAX} steps")));
        }
        if depth > DEPTH_MAX {
            return Err(problem(line, format!("steps stand more than {DEPTH_MAX} deep in others")));
        }
        let mut steps = Vec::new();
        for item in items.iter() {
            let line = reading.lines.at(item.span().start);
            let DeValue::Table(table) = item.get_ref() else {
                return Err(problem(line, "a step must be a table".into()));
            };
            steps.push(self.read_step(reading, &place, line, table, depth)?);
            if reading.names.len() > STEPS_IN_ALL_MAX {
                let message = format!("must have at most {STEPS_IN_ALL_MAX} steps in all");
                return Err(problem(line, message));
            }
        }
        Ok(steps)
    }

    fn read_step(
        &self,
        reading: &mut Reading<'_>,
        place: &str,
        line: usize,
        table: &DeTable<'_>,
        depth: usize,
    ) -> Result<StepDefinition, Problem> {
        let mut section = reading.lines.section(format!("[[{place}]]"), line, table);
        let name = section.required_text("name")?;
        check_name(&name).map_err(|message| section.problem_of("name", message))?;
        let name = StepName::new(name);
        let run = section.required_text("run")?;
        if !reading.names.insert(name.clone()) {
            let message = format!("[workflows.{}]: has two steps named `{name}`", reading.name);
            return Err(Problem { line, message });
        }
        let timeout = section.duration("timeout")?.unwrap_or(STEP_TIMEOUT_DEFAULT);
        if timeout < STEP_TIMEOUT_MIN || timeout > STEP_TIMEOUT_MAX {
            let most = STEP_TIMEOUT_MAX.as_secs();
            let message = format!("`timeout` must be between 1ms and {most}s");
            return Err(section.problem_of("timeout", message));
        }
        let when = section.text("when")?;
        let at_most_once = read_at_most_once(&mut section)?;
        let retry = read_retry(&mut section, &run, at_most_once)?;
        let record_request = section.flag("record_request")?.unwrap_or(true);
        let steps = self.read_inner(reading, &mut section, place, table, &run, depth)?;
        let branches = self.read_branches(reading, &mut section, place, table, &run, depth)?;
        let label = format!("{} step `{name}`", section.label());
        let mut place = StepPlace { label, line, options: BTreeMap::new() };
        let mut options = BTreeMap::new();
        for key in ["when", "retry", "at_most_once"] {
            if let Some(line) = section.line_of(key) {
                place.options.insert(key.to_owned(), line);
            }
        }
        for (key, entry) in section.rest() {
            place.options.insert(key.clone(), entry.line);
            let value = match (key.as_str(), entry.value) {
                ("schema", Value::String(path)) => self
                    .read_json(&path)
                    .map_err(|message| section.problem_at(entry.line, message))?,
                (_, value) => value,
            };
            options.insert(key, value);
        }
        reading.places.push((name.clone(), place));
        Ok(StepDefinition {
            name,
            run,
            timeout_ms: millis(timeout),
            retry,
            when,
            at_most_once,
            record_request,
            steps,
            branches,
            options,
        })
    }

    /// The steps inside of one: of each item of a `map`, what a `poll` does, what precedes a callback.
    fn read_inner(
        &self,
        reading: &mut Reading<'_>,
        section: &mut Section,
        place: &str,
        table: &DeTable<'_>,
        run: &str,
        depth: usize,
    ) -> Result<Vec<StepDefinition>, Problem> {
        if !["map", "poll", "callback"].contains(&run) {
            return Ok(Vec::new());
        }
        let place = format!("{place}.steps");
        let entry = section.take("steps");
        let Some(value) = table.get("steps") else {
            if run == "callback" {
                return Ok(Vec::new());
            }
            let message = format!("a `{run}` needs steps of its own; write [[{place}]] below it");
            return Err(section.problem(message));
        };
        let line = entry.map_or(0, |entry| entry.line);
        let steps = self.read_steps(reading, place, line, value.get_ref(), depth + 1)?;
        if run == "poll" && (steps.len() > 1 || is_control(&steps[0].run)) {
            let message = "a `poll` has one step of its own, which looks and does not wait";
            return Err(section.problem_of("steps", message));
        }
        if run == "poll"
            && let Some((key, line)) = of_no_use(reading.lines, value.get_ref())
        {
            let message = format!("`{key}` says nothing inside of a `poll`; give it to the `poll`");
            return Err(section.problem_at(line, message));
        }
        Ok(steps)
    }

    /// The branches of a `parallel`.
    fn read_branches(
        &self,
        reading: &mut Reading<'_>,
        section: &mut Section,
        place: &str,
        table: &DeTable<'_>,
        run: &str,
        depth: usize,
    ) -> Result<Vec<BranchDefinition>, Problem> {
        if run != "parallel" {
            return Ok(Vec::new());
        }
        let place = format!("{place}.branches");
        section.take("branches");
        let Some(DeValue::Array(items)) = table.get("branches").map(|value| value.get_ref()) else {
            let message = format!("a `parallel` needs branches; write [[{place}]] below it");
            return Err(section.problem(message));
        };
        let mut branches: Vec<BranchDefinition> = Vec::new();
        for item in items.iter() {
            let line = reading.lines.at(item.span().start);
            let DeValue::Table(table) = item.get_ref() else {
                return Err(section.problem_at(line, "a branch must be a table"));
            };
            let mut branch = reading.lines.section(format!("[[{place}]]"), line, table);
            let name = branch.required_text("name")?;
            check_name(&name).map_err(|message| branch.problem_of("name", message))?;
            let name = StepName::new(name);
            if branches.iter().any(|other| other.name == name) {
                return Err(branch.problem_of("name", format!("has two branches named `{name}`")));
            }
            branch.take("steps");
            let inner = format!("{place}.steps");
            let Some(steps) = table.get("steps") else {
                return Err(branch.problem(format!("has no steps; write [[{inner}]]")));
            };
            let steps = self.read_steps(reading, inner, line, steps.get_ref(), depth + 1)?;
            branch.finish()?;
            branches.push(BranchDefinition { name, steps });
        }
        Ok(branches)
    }
}

/// The first key of the step in a `poll` that only the `poll` itself may say, with its line.
fn of_no_use(lines: &Lines, steps: &DeValue<'_>) -> Option<(&'static str, usize)> {
    let table = steps.as_array()?.first()?.get_ref().as_table()?;
    let line = |key| Some((key, lines.at(table.get_key_value(key)?.0.span().start)));
    POLL_KEYS.into_iter().find_map(line)
}

fn is_control(run: &str) -> bool {
    CONTROL_KINDS.contains(&run)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A duration that may be as long as anything is waited for.
fn read_wait(section: &mut Section, key: &'static str) -> Result<Option<Duration>, Problem> {
    let wait = section.duration(key)?;
    if wait.is_some_and(|wait| wait.is_zero() || wait > WAIT_MAX) {
        let most = WAIT_MAX.as_secs() / 86_400;
        return Err(section.problem_of(key, format!("`{key}` must be between 1ms and {most}d")));
    }
    Ok(wait)
}

fn read_at_most_once(section: &mut Section) -> Result<Option<AtMostOnce>, Problem> {
    let Some(entry) = section.take("at_most_once") else { return Ok(None) };
    match &entry.value {
        Value::Bool(false) => Ok(None),
        Value::Bool(true) => Ok(Some(AtMostOnce::Step)),
        Value::String(word) if word == "attempt" => Ok(Some(AtMostOnce::Attempt)),
        _ => {
            let message = "`at_most_once` is true, false, or \"attempt\"";
            Err(section.problem_at(entry.line, message))
        }
    }
}

/// What is repeated if nothing is said.
fn usual_retry(run: &str, at_most_once: Option<AtMostOnce>) -> Retry {
    match run {
        "poll" => Retry::POLL,
        // Only making its address can fail; what its steps and its caller say stands.
        "callback" => Retry::DEFAULT,
        _ if PURE_KINDS.contains(&run) || is_control(run) => Retry::NEVER,
        _ if at_most_once == Some(AtMostOnce::Step) => Retry::NEVER,
        _ => Retry::DEFAULT,
    }
}

fn read_retry(
    section: &mut Section,
    run: &str,
    at_most_once: Option<AtMostOnce>,
) -> Result<Retry, Problem> {
    let usual = usual_retry(run, at_most_once);
    let preset = |section: &Section, line: usize, name: &str| {
        Retry::preset(name).ok_or_else(|| {
            let names = Retry::PRESETS.join("\", \"");
            section
                .problem_at(line, format!("`{name}` is no preset of `retry`; there is \"{names}\""))
        })
    };
    let Some(entry) = section.take("retry") else { return Ok(usual) };
    let (line, mut retry) = match entry.value {
        Value::String(name) => return preset(section, entry.line, &name),
        Value::Object(map) => (entry.line, section.inner("retry", entry.line, map)),
        _ => {
            let message = "`retry` must be a table, or the name of a preset in quotes";
            return Err(section.problem_at(entry.line, message));
        }
    };
    let base = match retry.text("preset")? {
        Some(name) => preset(&retry, line, &name)?,
        None if usual.attempts == 1 => Retry::DEFAULT,
        None => usual,
    };
    let said_attempts = retry.number("attempts")?;
    let attempts = said_attempts.unwrap_or(base.attempts.into());
    if !(1..=ATTEMPTS_MAX).contains(&attempts) {
        return Err(retry.problem(format!("`attempts` must be 1 to {ATTEMPTS_MAX}")));
    }
    let schedule_ms = read_schedule(&mut retry)?;
    let backoff = match retry.text("backoff")?.as_deref() {
        None if !schedule_ms.is_empty() => Backoff::Schedule,
        None => base.backoff,
        Some("exponential") => Backoff::Exponential,
        Some("linear") => Backoff::Linear,
        Some("fixed") => Backoff::Fixed,
        Some("schedule") if !schedule_ms.is_empty() => Backoff::Schedule,
        Some("schedule") => {
            let message =
                "`backoff` \"schedule\" needs `schedule`, a list such as [\"1s\", \"1m\"]";
            return Err(retry.problem(message));
        }
        Some(other) => {
            let message = format!(
                "`backoff` is \"exponential\", \"linear\", \"fixed\" or \"schedule\", not \"{other}\""
            );
            return Err(retry.problem(message));
        }
    };
    if backoff != Backoff::Schedule && !schedule_ms.is_empty() {
        return Err(retry.problem("`schedule` goes with no other `backoff`"));
    }
    let first_ms = retry.duration("first")?.map_or(base.first_ms, millis);
    let max_ms = retry.duration("max")?.map_or(base.max_ms.max(first_ms), millis);
    let said = ["first", "max"].map(|key| retry.line_of(key).is_some());
    if (said[0] && first_ms == 0) || (said[1] && max_ms == 0) {
        return Err(retry.problem("`first` and `max` must be at least 1ms"));
    }
    if said == [true, true] && max_ms < first_ms {
        return Err(retry.problem("`max` is shorter than `first`"));
    }
    let jitter = match retry.text("jitter")?.as_deref() {
        None => base.jitter,
        Some("full") => Some(Jitter::Full),
        Some("half") => Some(Jitter::Half),
        Some("none") => Some(Jitter::None),
        Some(other) => {
            let message = format!("`jitter` is \"full\", \"half\" or \"none\", not \"{other}\"");
            return Err(retry.problem(message));
        }
    };
    let rate = match retry.take("rate").map(|entry| entry.value) {
        None => base.rate,
        Some(rate) => match rate.as_f64().filter(|rate| (1.0..=100.0).contains(rate)) {
            Some(rate) => Some(rate),
            None => return Err(retry.problem("`rate` must be a number from 1 to 100")),
        },
    };
    let max_age_ms = read_wait(&mut retry, "max_age")?.map(millis).or(base.max_age_ms);
    let (on, not_on) = (retry.texts("on")?, retry.texts("not_on")?);
    let too_often = retry.problem_at(retry.line_of("max_age").unwrap_or(line), "");
    retry.finish()?;
    let read = Retry {
        attempts: attempts as u32,
        backoff,
        first_ms,
        max_ms,
        rate,
        jitter,
        schedule_ms,
        whole_seconds: base.whole_seconds,
        max_age_ms,
        on,
        not_on,
    };
    match max_age_ms {
        // Who says for how long need not say how often.
        Some(age) if said_attempts.is_none() => read
            .lasting(age, !said[1])
            .map_err(|message| Problem { message: too_often.message + &message, ..too_often }),
        _ => Ok(read),
    }
}

fn read_schedule(retry: &mut Section) -> Result<Vec<u64>, Problem> {
    let texts = retry.texts("schedule")?;
    if texts.is_empty() && retry.line_of("schedule").is_some() {
        return Err(retry.problem("`schedule` must have at least one duration"));
    }
    let read = |text: &String| parse_duration(text).map(millis);
    let delays: Option<Vec<_>> = texts.iter().map(read).collect();
    match delays {
        Some(delays) if delays.len() <= ATTEMPTS_MAX as usize => Ok(delays),
        _ => Err(retry.problem("`schedule` must be a list of durations such as [\"1s\", \"1m\"]")),
    }
}

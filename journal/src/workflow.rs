//! The ordered steps of a source, pinned by content hash.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{CONTROL_KINDS, PURE_KINDS};
use crate::event::WorkflowRef;
use crate::execution::PATH_SEPARATOR;
use crate::id::{StepName, WorkflowHash, WorkflowName};
use crate::payload::sha256_hex;
use crate::retry::Retry;
use crate::time::parse_duration;

/// The most steps that may stand one after the other.
pub const STEPS_MAX: usize = 100;

/// The most steps a workflow may have, those inside of others included.
pub const STEPS_IN_ALL_MAX: usize = 500;

/// The most bytes that a definition may have: with its key it must fit into an item of 400 KB.
pub const DEFINITION_BYTES_MAX: usize = 390_000;

/// The longest that one attempt may take: below the time an invocation has.
pub const STEP_TIMEOUT_MAX: Duration = Duration::from_secs(50);

/// What a step's attempt may take if its definition says nothing.
pub const STEP_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// The longest that anything may be waited for.
pub const WAIT_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// How far ahead a `wait` may wait for a computed time, if its definition says nothing.
pub const WAIT_AHEAD_DEFAULT: Duration = Duration::from_secs(31 * 24 * 3600);

/// How long the answer to a `callback` may take, if its definition says nothing.
pub const CALLBACK_EXPIRES_DEFAULT: Duration = Duration::from_secs(24 * 3600);

/// The most branches that a step may have, and the most items of a list.
pub const BRANCHES_MAX: u32 = 1_000;

/// How many items of a list go on at once, if its definition says nothing.
pub const MAP_CONCURRENCY_DEFAULT: u32 = 10;

/// How deep steps may stand inside of other steps.
pub const DEPTH_MAX: usize = 4;

/// The longest wait before another attempt that whoever was called may ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// The ordered steps that a webhook goes through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workflow {
    /// Its name in `everhook.toml`.
    pub name: WorkflowName,
    /// Its steps, in order.
    pub steps: Vec<StepDefinition>,
    /// What follows a failure, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_failure: Vec<StepDefinition>,
    /// How long the whole may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// One step of a workflow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepDefinition {
    /// Its name, unique in the workflow.
    pub name: StepName,
    /// The kind of step, or the name of a step written in Rust.
    pub run: String,
    /// How long one attempt may take.
    pub timeout_ms: u64,
    /// When a failed attempt is repeated.
    pub retry: Retry,
    /// The jq expression without which it is passed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// Whether an interrupted attempt is never made again, and what then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most_once: Option<AtMostOnce>,
    /// Whether what it sends is recorded with its outcome.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub record_request: bool,
    /// The steps inside of it: of each item of a `map`, or before a `callback` waits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepDefinition>,
    /// The branches of a `parallel`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<BranchDefinition>,
    /// What its kind asks for beyond that: `jq`, `url`, …; a schema stands here whole.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, Value>,
}

/// A branch of a `parallel` step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BranchDefinition {
    /// Its name, unique in the step.
    pub name: StepName,
    /// Its steps, in order.
    pub steps: Vec<StepDefinition>,
}

/// What an interrupted attempt comes to, if it is never made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AtMostOnce {
    /// The step has failed.
    Step,
    /// The attempt has failed, and `retry` says whether there is another.
    Attempt,
}

impl Workflow {
    /// Its canonical text: equal for equal definitions, whatever order they were written in.
    pub fn to_canonical_json(&self) -> String {
        let value = serde_json::to_value(self).expect("a workflow is JSON");
        sorted(value).to_string()
    }

    /// The content hash of its definition.
    pub fn hash(&self) -> WorkflowHash {
        let mut digest = sha256_hex(self.to_canonical_json().as_bytes());
        digest.truncate(32);
        WorkflowHash::new(digest)
    }

    /// How an execution names it.
    pub fn reference(&self) -> WorkflowRef {
        WorkflowRef {
            name: self.name.clone(),
            hash: self.hash(),
            steps: names(&self.steps),
            on_failure: names(&self.on_failure),
        }
    }

    /// How long the whole may take.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout_ms.map(Duration::from_millis)
    }

    /// The definition of the step of this path: `reserve`, `lines/3/reserve`.
    pub fn step(&self, path: &str) -> Option<&StepDefinition> {
        find(&self.steps, path).or_else(|| find(&self.on_failure, path))
    }

    /// Every step, those inside of others as well.
    pub fn all_steps(&self) -> impl Iterator<Item = &StepDefinition> {
        let mut found = Vec::new();
        gather(&self.steps, &mut found);
        gather(&self.on_failure, &mut found);
        found.into_iter()
    }

    /// The longest an execution can take if nothing is down: all attempts, all delays, all waits,
    /// those included that whoever is called may ask for.
    pub fn longest(&self) -> Duration {
        let steps = longest(&self.steps);
        let steps = self.timeout().map_or(steps, |timeout| steps.min(timeout));
        steps.saturating_add(longest(&self.on_failure))
    }
}

impl StepDefinition {
    /// How long one attempt may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// A duration among its own keys.
    pub fn duration(&self, key: &str) -> Option<Duration> {
        self.options.get(key)?.as_str().and_then(parse_duration)
    }

    /// The longest it can take.
    pub fn longest(&self) -> Duration {
        let attempts = self.timeout().saturating_mul(self.retry.attempts);
        let asked = match PURE_KINDS.contains(&self.run.as_str())
            || CONTROL_KINDS.contains(&self.run.as_str())
        {
            true => Duration::ZERO,
            false => RETRY_AFTER_MAX.saturating_mul(self.retry.attempts.saturating_sub(1)),
        };
        let own = attempts.saturating_add(self.retry.longest()).saturating_add(asked);
        // No attempt begins later than that, also if another wait is asked for.
        let last = self.retry.max_age().map(|age| age.saturating_add(self.timeout()));
        let own = last.map_or(own, |last| own.min(last));
        let inside = longest(&self.steps).saturating_mul(self.rounds());
        let branches: Duration =
            self.branches.iter().map(|branch| longest(&branch.steps)).fold(Duration::ZERO, sum);
        let all = own.saturating_add(inside).saturating_add(branches);
        all.saturating_add(self.waits()).min(WAIT_MAX)
    }

    /// How long it waits at most for something else than its own attempts.
    fn waits(&self) -> Duration {
        let said = |key, usual| self.duration(key).unwrap_or(usual);
        match self.run.as_str() {
            "wait" => self.duration("for").unwrap_or_else(|| said("max", WAIT_AHEAD_DEFAULT)),
            "callback" => said("expires", CALLBACK_EXPIRES_DEFAULT),
            _ => Duration::ZERO,
        }
    }

    /// How often the steps inside of it run one after the other, at most.
    fn rounds(&self) -> u32 {
        if self.run != "map" {
            return 1;
        }
        let at_once = self.options.get("concurrency").and_then(Value::as_u64);
        let at_once = at_once.and_then(|count| u32::try_from(count).ok());
        BRANCHES_MAX.div_ceil(at_once.unwrap_or(MAP_CONCURRENCY_DEFAULT).max(1))
    }
}

fn longest(steps: &[StepDefinition]) -> Duration {
    steps.iter().map(StepDefinition::longest).fold(Duration::ZERO, sum).min(WAIT_MAX)
}

fn sum(one: Duration, other: Duration) -> Duration {
    one.saturating_add(other)
}

fn yes() -> bool {
    true
}

// By reference, as serde calls it.
fn is_true(flag: &bool) -> bool {
    *flag
}

fn names(steps: &[StepDefinition]) -> Vec<StepName> {
    steps.iter().map(|step| step.name.clone()).collect()
}

fn find<'w>(steps: &'w [StepDefinition], path: &str) -> Option<&'w StepDefinition> {
    let (name, rest) = path.split_once(PATH_SEPARATOR).map_or((path, None), |(a, b)| (a, Some(b)));
    let step = steps.iter().find(|step| step.name.as_str() == name)?;
    let Some(rest) = rest else { return Some(step) };
    if step.branches.is_empty() && step.run == "callback" {
        return find(&step.steps, rest);
    }
    let (branch, rest) = rest.split_once(PATH_SEPARATOR)?;
    match step.branches.iter().find(|own| own.name.as_str() == branch) {
        Some(branch) => find(&branch.steps, rest),
        None => find(&step.steps, rest),
    }
}

fn gather<'w>(steps: &'w [StepDefinition], found: &mut Vec<&'w StepDefinition>) {
    for step in steps {
        found.push(step);
        gather(&step.steps, found);
        step.branches.iter().for_each(|branch| gather(&branch.steps, found));
    }
}

/// The same value with the keys of all objects in order.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let sorted_map: BTreeMap<_, _> = map.into_iter().map(|(k, v)| (k, sorted(v))).collect();
            Value::Object(sorted_map.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        value => value,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn workflow(options: Value) -> Workflow {
        let step = StepDefinition {
            name: StepName::new("validate"),
            run: "validate".into(),
            timeout_ms: 30_000,
            retry: Retry::NEVER,
            when: None,
            at_most_once: None,
            record_request: true,
            steps: Vec::new(),
            branches: Vec::new(),
            options: serde_json::from_value(options).unwrap(),
        };
        Workflow {
            name: WorkflowName::new("default"),
            steps: vec![step],
            on_failure: Vec::new(),
            timeout_ms: None,
        }
    }

    #[test]
    fn equal_definitions_have_one_hash() {
        let one = workflow(json!({"schema": {"a": 1, "b": [{"c": 2, "d": 3}]}}));
        let other = workflow(json!({"schema": {"b": [{"d": 3, "c": 2}], "a": 1}}));
        assert_eq!(one.hash(), other.hash());
    }

    #[test]
    fn a_change_anywhere_changes_the_hash() {
        let one = workflow(json!({"schema": {"a": 1}}));
        assert_ne!(one.hash(), workflow(json!({"schema": {"a": 2}})).hash());
        assert_ne!(one.hash(), workflow(json!({})).hash());
    }

    #[test]
    fn a_definition_is_stored() {
        insta::assert_snapshot!(workflow(json!({"jq": ".a", "a": [1.5]})).to_canonical_json());
    }

    #[test]
    fn the_longest_run_has_all_attempts_and_all_delays() {
        let mut one = workflow(json!({}));
        one.steps[0].retry = Retry { attempts: 3, ..Retry::DEFAULT };

        // Three times 30 s, and delays of 1 s and 2 s.
        assert_eq!(one.longest(), Duration::from_secs(93));

        // Whoever is called may ask for an hour, twice.
        one.steps[0].run = "http".into();
        assert_eq!(one.longest(), Duration::from_secs(7_293));
    }

    #[test]
    fn the_longest_run_has_the_waits_that_nobody_wrote_down() {
        let longest = |run: &str, options: Value| {
            let mut one = workflow(options);
            one.steps[0].run = run.into();
            one.steps[0].timeout_ms = 0;
            one.longest()
        };
        let days = |days: u64| Duration::from_secs(24 * 3600 * days);
        assert_eq!(longest("wait", json!({"until": ".at"})), days(31));
        assert_eq!(longest("wait", json!({"until": ".at", "max": "2d"})), days(2));
        assert_eq!(longest("wait", json!({"for": "3d"})), days(3));
        assert_eq!(longest("callback", json!({})), days(1));
        assert_eq!(longest("callback", json!({"expires": "3d"})), days(3));
        // A step of one's own may call a key as it likes.
        assert_eq!(longest("charge", json!({"for": "3d"})), Duration::ZERO);
    }

    #[test]
    fn the_longest_run_has_all_items_of_the_longest_list() {
        let longest = |options: Value| {
            let mut one = workflow(options);
            let mut inside = one.steps[0].clone();
            inside.name = StepName::new("inside");
            inside.timeout_ms = 1_000;
            one.steps[0].run = "map".into();
            one.steps[0].timeout_ms = 0;
            one.steps[0].steps = vec![inside];
            one.longest()
        };
        assert_eq!(longest(json!({})), Duration::from_secs(100));
        assert_eq!(longest(json!({"concurrency": 300})), Duration::from_secs(4));
    }

    #[test]
    fn what_is_usual_is_not_written_down_and_leaves_the_hash_as_it_was() {
        let mut one = workflow(json!({}));
        assert!(!one.to_canonical_json().contains("record_request"));
        let hash = one.hash();
        one.steps[0].record_request = false;
        assert!(one.to_canonical_json().contains("\"record_request\":false"));
        assert_ne!(one.hash(), hash);
        let read: Workflow = serde_json::from_str(&one.to_canonical_json()).unwrap();
        assert_eq!(read, one);
    }

    #[test]
    fn a_definition_is_read_back_whole() {
        let one = workflow(json!({"jq": ".a"}));
        let read: Workflow = serde_json::from_str(&one.to_canonical_json()).unwrap();
        assert_eq!(read, one);
    }
}

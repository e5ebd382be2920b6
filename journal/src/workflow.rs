//! The ordered steps of a source, pinned by content hash.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::PURE_KINDS;
use crate::event::WorkflowRef;
use crate::id::{StepName, WorkflowHash, WorkflowName};
use crate::payload::sha256_hex;
use crate::retry::Retry;

/// The most steps a workflow may have.
pub const STEPS_MAX: usize = 100;

/// The longest that one attempt may take: below the time an invocation has.
pub const STEP_TIMEOUT_MAX: Duration = Duration::from_secs(50);

/// What a step's attempt may take if its definition says nothing.
pub const STEP_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// The longest wait before another attempt that whoever was called may ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// The ordered steps that a webhook goes through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Workflow {
    /// Its name in `everhook.toml`.
    pub name: WorkflowName,
    /// Its steps, in order.
    pub steps: Vec<StepDefinition>,
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
    /// What its kind asks for beyond that: `jq`, `url`, …; a schema stands here whole.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, Value>,
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
        let steps = self.steps.iter().map(|step| step.name.clone()).collect();
        WorkflowRef { name: self.name.clone(), hash: self.hash(), steps }
    }

    /// The longest an execution can take if nothing is down: all attempts and all delays,
    /// those included that whoever is called may ask for.
    pub fn longest(&self) -> Duration {
        let longest = |step: &StepDefinition| {
            let attempts = step.retry.attempts;
            let asked = match PURE_KINDS.contains(&step.run.as_str()) {
                true => Duration::ZERO,
                false => RETRY_AFTER_MAX * attempts.saturating_sub(1),
            };
            step.timeout() * attempts + step.retry.longest() + asked
        };
        self.steps.iter().map(longest).sum()
    }
}

impl StepDefinition {
    /// How long one attempt may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
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
            options: serde_json::from_value(options).unwrap(),
        };
        Workflow { name: WorkflowName::new("default"), steps: vec![step] }
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
    fn a_definition_is_read_back_whole() {
        let one = workflow(json!({"jq": ".a"}));
        let read: Workflow = serde_json::from_str(&one.to_canonical_json()).unwrap();
        assert_eq!(read, one);
    }
}

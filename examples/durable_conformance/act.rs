//! The one step of the cases that is written in Rust: it acts, fails, or dies, as its keys say.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use everhook::{Input, Step, StepError};
use everhook_journal::workflow::StepDefinition;
use everhook_processor::StepFuture;
use everhook_processor::steps::transform::Transform;
use serde_json::Value;
use tokio::sync::Notify;

/// What `run = "act"` does.
///
/// | key | means |
/// |---|---|
/// | `jq` | what it gives, as in `transform`; null, if nothing is said |
/// | `fails` | how many attempts fail first |
/// | `error`, `message` | with which kind of failure, and which words |
/// | `crashes` | how many times the process dies in it first |
/// | `log` | whether it logs the body |
#[derive(Clone, Default)]
pub(crate) struct Act {
    /// Told when the process dies.
    pub(crate) died: Arc<Notify>,
    /// What was logged.
    pub(crate) logged: Arc<Mutex<Vec<String>>>,
    runs: Arc<Mutex<HashMap<String, u64>>>,
}

impl Step for Act {
    fn run(&self, input: Input) -> StepFuture {
        let act = self.clone();
        Box::pin(async move {
            let number = |key: &str| input.options.get(key).and_then(Value::as_u64).unwrap_or(0);
            let text = |key: &str| input.options.get(key).and_then(Value::as_str);
            if input.options.get("log") == Some(&Value::Bool(true)) {
                let line = String::from_utf8_lossy(&input.body).into_owned();
                act.logged.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
            if act.count(&input) <= number("crashes") {
                act.died.notify_one();
                return std::future::pending().await;
            }
            if u64::from(input.attempt) <= number("fails") {
                let kind = text("error").unwrap_or("Error");
                return Err(StepError::retryable(kind, text("message").unwrap_or("on purpose")));
            }
            let jq = Value::from(text("jq").unwrap_or("null"));
            let transform = StepDefinition {
                name: input.step.clone(),
                run: "transform".into(),
                timeout_ms: 1_000,
                retry: everhook_journal::retry::Retry::NEVER,
                when: None,
                at_most_once: None,
                record_request: true,
                steps: Vec::new(),
                branches: Vec::new(),
                options: BTreeMap::from([("jq".to_owned(), jq)]),
            };
            let transform = Transform::new(&transform)
                .map_err(|error| StepError::fatal("definition", error.to_string()))?;
            transform.run(input).await
        })
    }
}

impl Act {
    /// How often it has run, this time included.
    fn count(&self, input: &Input) -> u64 {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let count = runs.entry(input.idempotency_key()).or_default();
        *count += 1;
        *count
    }
}

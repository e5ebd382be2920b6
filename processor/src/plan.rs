//! A workflow with its steps ready to run.

pub mod check;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use everhook_journal::config::{Config, PURE_KINDS, Problem};
use everhook_journal::event::WorkflowRef;
use everhook_journal::guard::{self, Guard};
use everhook_journal::id::{WorkflowHash, WorkflowName};
use everhook_journal::store::Unavailable;
use everhook_journal::workflow::StepDefinition;
use everhook_journal::{Journal, StepName, Workflow};
use serde_json::Value;

use crate::bulkhead::Measure;
use crate::expression::{Dot, Expression};
use crate::step::{DefinitionError, Hidden};
use crate::steps::http::limit;
use crate::steps::{Steps, Work};

/// A workflow with its steps ready to run.
pub struct Plan {
    /// The definition.
    pub workflow: Workflow,
    steps: HashMap<StepName, Ready>,
}

/// A step ready to run.
#[derive(Debug)]
pub struct Ready {
    /// What it does.
    pub work: Work,
    /// The condition without which it is passed over.
    pub when: Option<Expression>,
    /// Its own keys in `everhook.toml`.
    pub options: Arc<BTreeMap<String, Value>>,
    /// Whether it does nothing outside: it computes, waits, or holds other steps.
    pub quick: bool,
    /// Whom it calls: a host and port, a resource of AWS, or the name of a step of one's own.
    pub destination: Arc<str>,
    /// How often, and how often at once, it may be called.
    pub measure: Measure,
    /// Which of its texts are not recorded when it sends them.
    pub hidden: Hidden,
}

impl Plan {
    /// Makes all steps ready, or says which one cannot be.
    pub fn new(workflow: Workflow, steps: &Steps) -> Result<Self, PlanError> {
        let ready = |definition: &StepDefinition| {
            let ready = Ready::new(definition, steps)
                .map_err(|source| PlanError { step: definition.name.clone(), source })?;
            Ok((definition.name.clone(), ready))
        };
        let steps = workflow.all_steps().map(ready).collect::<Result<_, _>>()?;
        Ok(Self { workflow, steps })
    }

    /// One of its own steps, ready to run.
    pub fn ready(&self, definition: &StepDefinition) -> &Ready {
        self.steps.get(&definition.name).expect("the step is one of this workflow's")
    }
}

impl Ready {
    fn new(definition: &StepDefinition, steps: &Steps) -> Result<Self, DefinitionError> {
        let work = steps.prepare(definition)?;
        let when = definition.when.as_deref().map(|code| Expression::compile(code, Dot::Body));
        let when = when.transpose().map_err(|message| DefinitionError::at("when", message))?;
        let options = Arc::new(definition.options.clone());
        let quick = match &work {
            Work::Act(_) => PURE_KINDS.contains(&definition.run.as_str()),
            Work::Poll(_) => false,
            Work::Filter(_) | Work::Wait(_) | Work::Callback(_) | Work::Fan(_) => true,
        };
        // What looks is the step inside.
        let caller = match &work {
            Work::Poll(_) => definition.steps.first().unwrap_or(definition),
            _ => definition,
        };
        let destination = destination(caller).into();
        let measure = match caller.run.as_str() {
            "http" => limit::measure(caller)?,
            _ => Measure::default(),
        };
        let hidden = hidden(caller);
        Ok(Self { work, when, options, quick, destination, measure, hidden })
    }
}

/// What may hold the address of a callback, since the step's expressions ask for it. They see it by this name only,
/// and all else that they see is in the history.
fn hidden(step: &StepDefinition) -> Hidden {
    let asking = step.options.iter().filter(|(_, value)| value.to_string().contains("$callback"));
    asking.fold(Hidden::default(), |hidden, (key, _)| match key.as_str() {
        "jq" => Hidden { body: true, ..hidden },
        _ => Hidden { others: true, ..hidden },
    })
}

/// Whom a step calls.
fn destination(step: &StepDefinition) -> String {
    let text = |key: &str| step.options.get(key).and_then(Value::as_str).unwrap_or_default();
    let run = step.run.as_str();
    let key = match run {
        "http" => {
            let url = reqwest::Url::parse(text("url")).ok();
            let host = url.as_ref().and_then(|url| url.host_str()).unwrap_or_default();
            let port = url.as_ref().and_then(reqwest::Url::port_or_known_default);
            return format!("{host}:{}", port.unwrap_or_default());
        }
        "lambda" => "function",
        "sqs" => "queue",
        "sns" => "topic",
        "eventbridge" => "bus",
        "s3" => "bucket",
        own => return own.to_owned(),
    };
    format!("{run} {}", text(key))
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plan({})", self.workflow.name)
    }
}

/// A step that cannot be made ready.
#[derive(Debug, Clone, thiserror::Error)]
#[error("step `{step}`: {source}")]
pub struct PlanError {
    /// The step.
    pub step: StepName,
    /// What is wrong with its definition.
    pub source: DefinitionError,
}

/// All plans this process has needed so far: those of its configuration, and older ones from the journal.
#[derive(Debug)]
pub struct Plans {
    journal: Journal,
    steps: Steps,
    known: RwLock<HashMap<WorkflowHash, Arc<Plan>>>,
}

impl Plans {
    /// The plans of the configured workflows, and whatever the journal holds beside them.
    pub fn from_config(config: &Config, journal: Journal, steps: Steps) -> Result<Self, Problem> {
        let mut known = HashMap::new();
        for workflow in config.workflows.values() {
            let problem = |PlanError { step, source }| {
                config.step_problem(&workflow.name, &step, source.option.as_deref(), &source)
            };
            if let Some(first) = check::problems(workflow, &steps).into_iter().next() {
                return Err(problem(first));
            }
            let plan = Plan::new(workflow.clone(), &steps).map_err(problem)?;
            known.insert(workflow.hash(), Arc::new(plan));
        }
        Ok(Self { journal, steps, known: RwLock::new(known) })
    }

    /// These plans, each under its workflow's hash, and whatever the journal holds beside them.
    pub fn ready(
        journal: Journal,
        steps: Steps,
        plans: impl IntoIterator<Item = (WorkflowHash, Arc<Plan>)>,
    ) -> Self {
        let known = plans.into_iter().collect();
        Self { journal, steps, known: RwLock::new(known) }
    }

    /// The plan that an execution is pinned to.
    pub async fn find(&self, wanted: &WorkflowRef) -> Result<Arc<Plan>, FindError> {
        if !guard::holds(Guard::PinnedDefinition)
            && let Some(plan) = self.named(&wanted.name)
        {
            return Ok(plan);
        }
        if let Some(plan) = self.known(&wanted.hash) {
            return Ok(plan);
        }
        let workflow = self.journal.workflow(&wanted.hash).await?.ok_or(FindError::Missing)?;
        let plan = Arc::new(Plan::new(workflow, &self.steps)?);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        Ok(known.entry(wanted.hash.clone()).or_insert(plan).clone())
    }

    fn named(&self, name: &WorkflowName) -> Option<Arc<Plan>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.values().find(|plan| plan.workflow.name == *name).cloned()
    }

    fn known(&self, hash: &WorkflowHash) -> Option<Arc<Plan>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(hash).cloned()
    }
}

/// Why an execution's plan cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// Nobody published it.
    #[error("the definition of its workflow is not in the journal")]
    Missing,
    /// This program cannot run one of its steps.
    #[error(transparent)]
    Unrunnable(#[from] PlanError),
    /// DynamoDB did not answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::steps::tests::definition;

    #[test]
    fn what_asks_for_the_address_of_a_callback_is_hidden() {
        let of = |step: &StepDefinition| Ready::new(step, &Steps::new()).unwrap().hidden;
        let url = "https://example.com/";
        let (body, others) = (true, true);
        for (options, expected) in [
            (json!({"url": url, "jq": ".callback"}), Hidden::default()),
            (json!({"url": url, "jq": "$callback.url"}), Hidden { body, others: false }),
            (
                json!({"url": r"https://example.com/\($callback.token | @base64)"}),
                Hidden { body: false, others },
            ),
        ] {
            let look = definition("http", options);
            assert_eq!(of(&look), expected);
            let poll = definition("poll", json!({"until": "."}));
            assert_eq!(of(&StepDefinition { steps: vec![look], ..poll }), expected);
        }
    }
}

//! The kinds of step that a workflow may name.

pub mod aws;
pub mod branches;
pub mod callback;
pub mod eventbridge;
mod fifo;
pub mod filter;
pub(crate) mod form;
pub mod http;
pub(crate) mod json;
pub mod keys;
pub mod lambda;
#[cfg(test)]
mod loopback;
mod options;
pub mod poll;
mod retry_after;
pub mod s3;
mod sent;
pub mod sns;
pub mod sqs;
mod template;
pub mod transform;
pub mod validate;
pub mod wait;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use aws_types::SdkConfig;
use everhook_journal::Secrets;
use everhook_journal::config::{CONTROL_KINDS, Config, unknown_key};
use everhook_journal::workflow::StepDefinition;

use crate::destination::PrivateHosts;
use crate::step::{DefinitionError, Step};
use aws::{Aws, Endpoints};
use http::Clients;
pub(crate) use template::code as template_code;

/// The kinds that are built in.
const KINDS: [&str; 14] = [
    "validate",
    "transform",
    "filter",
    "http",
    "lambda",
    "sqs",
    "sns",
    "eventbridge",
    "s3",
    "wait",
    "callback",
    "poll",
    "parallel",
    "map",
];

/// Whether a kind of step is built in, and not a user's own.
pub(crate) fn is_built_in(run: &str) -> bool {
    KINDS.contains(&run)
}

/// The largest result that a step may have.
pub(crate) const RESULT_BYTES_MAX: usize = 256 * 1024;

/// The kinds of step that a workflow may name: the built-in ones and a user's own. A clone is cheap.
#[derive(Clone, Default)]
pub struct Steps {
    own: Arc<BTreeMap<String, Arc<dyn Step>>>,
    private_hosts: PrivateHosts,
    clients: Arc<Clients>,
    secrets: Secrets,
    aws: Arc<Aws>,
}

/// A step ready to run: what it does when it is its turn.
pub enum Work {
    /// Makes an attempt that gives a result.
    Act(Arc<dyn Step>),
    /// Lets the webhook go on, or not.
    Filter(filter::Filter),
    /// Waits for a time.
    Wait(wait::Wait),
    /// Waits for somebody outside.
    Callback(callback::Callback),
    /// Looks again and again.
    Poll(poll::Poll),
    /// Goes on in branches.
    Fan(branches::Fan),
}

impl Steps {
    /// The built-in kinds.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a step written in Rust, which a workflow names by `run = "NAME"`.
    ///
    /// # Panics
    ///
    /// If the name is taken: two steps of one name are a mistake in the program, found when it starts.
    #[must_use]
    pub fn with(mut self, name: &str, step: impl Step) -> Self {
        let taken = KINDS.contains(&name) || self.own.contains_key(name);
        assert!(!taken, "there is already a step named `{name}`; choose another name");
        Arc::make_mut(&mut self.own).insert(name.to_owned(), Arc::new(step));
        self
    }

    /// Names the hosts that `http` steps may call although they are not public:
    /// `localhost`, `10.0.0.7`, `hooks.internal:9000`.
    #[must_use]
    pub fn allowing(mut self, private_hosts: &[String]) -> Self {
        self.private_hosts = PrivateHosts::new(private_hosts);
        self
    }

    /// Says where the secrets are that `http` steps sign with.
    #[must_use]
    pub fn reading(mut self, secrets: Secrets) -> Self {
        self.secrets = secrets;
        self
    }

    /// Says how AWS is reached, if not as Lambda's environment says.
    #[must_use]
    pub fn reaching(mut self, config: SdkConfig, endpoints: Endpoints) -> Self {
        self.aws = Arc::new(Aws::reached_by(config, endpoints));
        self
    }

    /// The references to all secrets that the steps of the configuration sign with.
    pub fn references(config: &Config) -> Vec<String> {
        let steps = config.workflows.values().flat_map(|workflow| workflow.all_steps());
        steps.filter(|step| step.run == "http").flat_map(http::references).collect()
    }

    /// Makes a definition ready to run: everything that can be wrong with it is found here.
    pub fn prepare(&self, step: &StepDefinition) -> Result<Work, DefinitionError> {
        match step.run.as_str() {
            "filter" => Ok(Work::Filter(filter::Filter::new(step)?)),
            "wait" => Ok(Work::Wait(wait::Wait::new(step)?)),
            "callback" => Ok(Work::Callback(callback::Callback::new(step)?)),
            "poll" => Ok(Work::Poll(poll::Poll::new(step, self)?)),
            "parallel" => Ok(Work::Fan(branches::Fan::parallel(step)?)),
            "map" => Ok(Work::Fan(branches::Fan::map(step)?)),
            _ => Ok(Work::Act(self.build(step)?)),
        }
    }

    /// Makes a definition ready that gives a result whenever it is run.
    pub fn build(&self, step: &StepDefinition) -> Result<Arc<dyn Step>, DefinitionError> {
        match step.run.as_str() {
            "validate" => Ok(Arc::new(validate::Validate::new(step)?)),
            "transform" => Ok(Arc::new(transform::Transform::new(step)?)),
            "http" => {
                let (hosts, clients) = (&self.private_hosts, &self.clients);
                Ok(Arc::new(http::Http::new(step, hosts, clients, &self.secrets)?))
            }
            "lambda" => Ok(Arc::new(lambda::Lambda::new(step, &self.aws)?)),
            "sqs" => Ok(Arc::new(sqs::Sqs::new(step, &self.aws)?)),
            "sns" => Ok(Arc::new(sns::Sns::new(step, &self.aws)?)),
            "eventbridge" => Ok(Arc::new(eventbridge::EventBridge::new(step, &self.aws)?)),
            "s3" => Ok(Arc::new(s3::S3::new(step, &self.aws)?)),
            name if name == "filter" || CONTROL_KINDS.contains(&name) => {
                let message = format!("a `{name}` cannot stand here: it gives no result by itself");
                Err(DefinitionError::at("run", message))
            }
            name => self.own.get(name).cloned().ok_or_else(|| self.unknown(name)),
        }
    }

    fn unknown(&self, name: &str) -> DefinitionError {
        let known: Vec<_> = KINDS.into_iter().chain(self.own.keys().map(String::as_str)).collect();
        let hint = unknown_key(name, &known);
        DefinitionError::at("run", hint.replacen("unknown key", "unknown kind of step", 1))
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Act(_) => f.write_str("Act"),
            Self::Filter(filter) => filter.fmt(f),
            Self::Wait(wait) => wait.fmt(f),
            Self::Callback(callback) => callback.fmt(f),
            Self::Poll(poll) => poll.fmt(f),
            Self::Fan(fan) => fan.fmt(f),
        }
    }
}

/// Shows the names.
impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steps")
            .field("own", &self.own.keys().collect::<Vec<_>>())
            .field("private_hosts", &self.private_hosts)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use everhook_journal::event::{IdOrigin, Verified, Webhook};
    use everhook_journal::retry::Retry;
    use everhook_journal::{
        DeliveryId, ExecutionId, Payload, SourceName, StepName, Timestamp, Workflow, WorkflowName,
    };
    use serde_json::{Value, json};

    use super::*;
    use crate::step::{Hidden, Input, Recorder, StepError};

    pub(crate) fn definition(run: &str, options: Value) -> StepDefinition {
        StepDefinition {
            name: StepName::new("it"),
            run: run.to_owned(),
            timeout_ms: 5_000,
            retry: Retry::NEVER,
            when: None,
            at_most_once: None,
            record_request: true,
            steps: Vec::new(),
            branches: Vec::new(),
            options: serde_json::from_value(options).unwrap(),
        }
    }

    pub(crate) fn input(body: &str) -> Input {
        let workflow = Workflow {
            name: WorkflowName::new("default"),
            steps: Vec::new(),
            on_failure: Vec::new(),
            timeout_ms: None,
        };
        let webhook = Webhook {
            source: SourceName::new("shop"),
            delivery_id: DeliveryId::new("d-1"),
            delivery_id_from: IdOrigin::Signed,
            event_type: Some("order.paid".into()),
            workflow: workflow.reference(),
            verified: Verified { scheme: "none".into(), secret: None, covers: None },
            method: "POST".into(),
            path: "/webhook/shop".into(),
            query: "a=1".into(),
            headers: [("content-type".to_owned(), "application/json".to_owned())].into(),
            source_ip: None,
            request_id: "r-1".into(),
            quarantined_at: None,
            body: Payload::inline(b"").unwrap(),
            body_sha256: String::new(),
            keys: vec!["a".into()],
            key_count: 1,
            expires_at: Timestamp::from_millis(0),
        };
        Input {
            execution: ExecutionId::parse("ABCDEFGHIJKLMNOPQRSTUVWXYZ").unwrap(),
            step: StepName::new("it"),
            attempt: 1,
            started_at: Timestamp::from_millis(1_795_486_845_120),
            timeout: Duration::from_secs(5),
            webhook: Arc::new(webhook),
            received_at: Timestamp::from_millis(0),
            body: Bytes::copy_from_slice(body.as_bytes()),
            outputs: Arc::default(),
            options: Arc::default(),
            item: None,
            state: None,
            callback: None,
            cause: None,
            recorder: Recorder::new(true, Hidden::default()),
        }
    }

    /// The error of a definition that must not be accepted.
    #[track_caller]
    pub(crate) fn refused(run: &str, options: Value) -> DefinitionError {
        match Steps::new().build(&definition(run, options)) {
            Ok(_) => panic!("the definition was accepted"),
            Err(error) => error,
        }
    }

    async fn nothing(_: Input) -> Result<(), StepError> {
        Ok(())
    }

    #[tokio::test]
    async fn a_step_written_in_rust_is_found_by_its_name() {
        let steps = Steps::new().with("charge", nothing);

        let step = steps.build(&definition("charge", json!({"currency": "EUR"}))).unwrap();

        assert_eq!(step.run(input("{}")).await.unwrap().get(), "null");
    }

    #[test]
    fn an_unknown_kind_is_refused_with_a_hint() {
        let error = refused("tranform", json!({}));
        assert_eq!(error.option.as_deref(), Some("run"));
        assert_eq!(error.message, "unknown kind of step `tranform`; did you mean `transform`?");

        let steps = Steps::new().with("charge", nothing);
        let error = steps.build(&definition("newsletter", json!({}))).err().unwrap();
        assert_eq!(
            error.message,
            "unknown kind of step `newsletter`; known here: validate, transform, filter, http, lambda, \
             sqs, sns, eventbridge, s3, wait, callback, poll, parallel, map, charge"
        );
    }

    #[test]
    fn an_unknown_option_is_refused_at_its_key() {
        for (run, options) in [
            ("validate", json!({"shema": {}})),
            ("transform", json!({"jq": ".", "shema": 1})),
            ("http", json!({"url": "https://example.com", "shema": 1})),
            ("lambda", json!({"function": "f", "shema": 1})),
            ("sqs", json!({"queue": "q", "shema": 1})),
            ("sns", json!({"topic": "arn:aws:sns:eu-central-1:1:t", "shema": 1})),
            ("eventbridge", json!({"source": "s", "detail_type": "d", "shema": 1})),
            ("s3", json!({"bucket": "archive", "shema": 1})),
        ] {
            assert_eq!(refused(run, options).option.as_deref(), Some("shema"), "{run}");
        }
    }

    #[test]
    #[should_panic(expected = "there is already a step named `http`")]
    fn a_built_in_name_cannot_be_taken() {
        let _ = Steps::new().with("http", nothing);
    }

    #[test]
    #[should_panic(expected = "there is already a step named `charge`")]
    fn a_name_cannot_be_taken_twice() {
        let _ = Steps::new().with("charge", nothing).with("charge", nothing);
    }
}

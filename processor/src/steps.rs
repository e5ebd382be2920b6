//! The kinds of step that a workflow may name.

pub mod http;
mod json;
mod options;
pub mod transform;
pub mod validate;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use everhook_journal::config::unknown_key;
use everhook_journal::workflow::StepDefinition;

use crate::destination::PrivateHosts;
use crate::step::{DefinitionError, Step};
use http::Clients;

/// The kinds that are built in.
const KINDS: [&str; 3] = ["validate", "transform", "http"];

/// The largest result a built-in step gives.
pub(crate) const RESULT_BYTES_MAX: usize = 256 * 1024;

/// The kinds of step that a workflow may name: the built-in ones and a user's own. A clone is cheap.
#[derive(Clone, Default)]
pub struct Steps {
    own: Arc<BTreeMap<String, Arc<dyn Step>>>,
    private_hosts: PrivateHosts,
    clients: Arc<Clients>,
}

impl Steps {
    /// The built-in kinds: `validate`, `transform` and `http`.
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

    /// Makes a definition ready to run: everything that can be wrong with it is found here.
    pub fn build(&self, step: &StepDefinition) -> Result<Arc<dyn Step>, DefinitionError> {
        match step.run.as_str() {
            "validate" => Ok(Arc::new(validate::Validate::new(step)?)),
            "transform" => Ok(Arc::new(transform::Transform::new(step)?)),
            "http" => Ok(Arc::new(http::Http::new(step, &self.private_hosts, &self.clients)?)),
            name => self.own.get(name).cloned().ok_or_else(|| self.unknown(name)),
        }
    }

    fn unknown(&self, name: &str) -> DefinitionError {
        let known: Vec<_> = KINDS.into_iter().chain(self.own.keys().map(String::as_str)).collect();
        let hint = unknown_key(name, &known);
        DefinitionError::at("run", hint.replacen("unknown key", "unknown kind of step", 1))
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
    use crate::step::{Input, StepError};

    pub(crate) fn definition(run: &str, options: Value) -> StepDefinition {
        StepDefinition {
            name: StepName::new("it"),
            run: run.to_owned(),
            timeout_ms: 5_000,
            retry: Retry::NEVER,
            options: serde_json::from_value(options).unwrap(),
        }
    }

    pub(crate) fn input(body: &str) -> Input {
        let workflow = Workflow { name: WorkflowName::new("default"), steps: Vec::new() };
        let webhook = Webhook {
            source: SourceName::new("shop"),
            delivery_id: DeliveryId::new("d-1"),
            delivery_id_from: IdOrigin::Signed,
            event_type: Some("order.paid".into()),
            workflow: workflow.reference(),
            verified: Verified { scheme: "none".into(), secret: None },
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
        let error = steps.build(&definition("mail", json!({}))).err().unwrap();
        assert_eq!(
            error.message,
            "unknown kind of step `mail`; known here: validate, transform, http, charge"
        );
    }

    #[test]
    fn an_unknown_option_is_refused_at_its_key() {
        for (run, options) in [
            ("validate", json!({"shema": {}})),
            ("transform", json!({"jq": ".", "shema": 1})),
            ("http", json!({"url": "https://example.com", "shema": 1})),
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

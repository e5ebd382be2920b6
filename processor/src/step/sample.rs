//! Inputs for the tests of steps: what a step would see, without AWS and without a server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use everhook_journal::callback::CallbackUrls;
use everhook_journal::event::{Cause, IdOrigin, Verified, Webhook};
use everhook_journal::{
    DeliveryId, ExecutionId, Payload, SourceName, StepName, Timestamp, Workflow, WorkflowName,
};
use serde::Serialize;
use serde_json::Value;

use super::{Hidden, Input, Item, Recorder};

/// When everything happens in a sample: 24 November 2026.
const NOW: Timestamp = Timestamp::from_millis(1_795_486_845_120);

/// The execution of every sample.
const EXECUTION: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// # Samples, for tests
///
/// ```
/// use everhook_processor::{Input, StepError};
///
/// async fn charge(input: Input) -> Result<u64, StepError> {
///     let order: serde_json::Value = input.json()?;
///     let rate: u64 = input.output("rate")?;
///     Ok(order["cents"].as_u64().unwrap_or(0) * rate)
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let input = Input::sample(r#"{"cents": 50}"#).with_output("rate", &3);
/// assert_eq!(charge(input).await, Ok(150));
/// # }
/// ```
impl Input {
    /// What the step `sample` sees in its first attempt at a webhook with this body, if nothing came before it.
    ///
    /// # Panics
    ///
    /// As all of the samples' functions do: if a value is no JSON. They are for tests.
    #[must_use]
    pub fn sample(body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let workflow = Workflow {
            name: WorkflowName::new("default"),
            steps: Vec::new(),
            on_failure: Vec::new(),
            timeout_ms: None,
        };
        let keys: BTreeMap<String, Value> = serde_json::from_slice(&body).unwrap_or_default();
        let webhook = Webhook {
            source: SourceName::new("sample"),
            delivery_id: DeliveryId::new("delivery-1"),
            delivery_id_from: IdOrigin::Signed,
            event_type: None,
            workflow: workflow.reference(),
            verified: Verified { scheme: "none".into(), secret: None, covers: None },
            method: "POST".into(),
            path: "/webhook/sample".into(),
            query: String::new(),
            headers: BTreeMap::from([("content-type".into(), "application/json".into())]),
            source_ip: None,
            request_id: "request-1".into(),
            body: Payload::inline(b"").expect("it is short"),
            body_sha256: String::new(),
            key_count: keys.len() as u64,
            keys: keys.into_keys().collect(),
            expires_at: NOW,
            quarantined_at: None,
        };
        Self {
            execution: ExecutionId::parse(EXECUTION).expect("it is an id"),
            step: StepName::new("sample"),
            attempt: 1,
            started_at: NOW,
            timeout: Duration::from_secs(30),
            webhook: Arc::new(webhook),
            received_at: NOW,
            body,
            outputs: Arc::default(),
            options: Arc::default(),
            item: None,
            state: None,
            callback: None,
            cause: None,
            recorder: Recorder::new(true, Hidden::default()),
        }
    }

    /// The same, of a step with this name.
    #[must_use]
    pub fn named(mut self, step: &str) -> Self {
        self.step = StepName::new(step);
        self
    }

    /// The same, in this attempt, from 1.
    #[must_use]
    pub fn in_attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt;
        self
    }

    /// The same, of a webhook from this source that is of this type.
    #[must_use]
    pub fn from_source(mut self, source: &str, event_type: Option<&str>) -> Self {
        let webhook = Arc::make_mut(&mut self.webhook);
        webhook.source = SourceName::new(source);
        webhook.event_type = event_type.map(str::to_owned);
        self
    }

    /// The same, after a step with this name and result.
    #[must_use]
    pub fn with_output(mut self, step: &str, result: &impl Serialize) -> Self {
        Arc::make_mut(&mut self.outputs).push((StepName::new(step), json(result)));
        self
    }

    /// The same, of a step that has this key of its own in `everhook.toml`.
    #[must_use]
    pub fn with_option(mut self, key: &str, value: impl Into<Value>) -> Self {
        Arc::make_mut(&mut self.options).insert(key.to_owned(), value.into());
        self
    }

    /// The same, about this item of the list of a `map`.
    #[must_use]
    pub fn with_item(mut self, index: u32, item: &impl Serialize) -> Self {
        self.item = Some(Item { index, json: json(item) });
        self
    }

    /// The same, in a `poll` whose step gave this when it last looked.
    #[must_use]
    pub fn with_state(mut self, state: &impl Serialize) -> Self {
        self.state = Some(json(state));
        self
    }

    /// The same, before a `callback` waits to be called here.
    #[must_use]
    pub fn with_callback(mut self, url: &str) -> Self {
        let token = url.rsplit('/').next().unwrap_or_default().to_owned();
        self.callback = Some(CallbackUrls {
            token,
            url: url.to_owned(),
            success_url: format!("{url}/success"),
            failure_url: format!("{url}/failure"),
            heartbeat_url: format!("{url}/heartbeat"),
        });
        self
    }

    /// The same, after this step failed: what a step of `on_failure` sees.
    #[must_use]
    pub fn after_failure(mut self, step: &str, kind: &str, message: &str) -> Self {
        let (kind, message) = (kind.to_owned(), message.to_owned());
        self.cause = Some(Cause { step: Some(StepName::new(step)), kind, message });
        self
    }
}

fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).expect("a sample is JSON").into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sample_shows_what_it_was_given() {
        let input = Input::sample(r#"{"a": 1}"#)
            .named("charge")
            .in_attempt(2)
            .from_source("shop", Some("order.paid"))
            .with_output("rate", &3)
            .with_option("most", 10)
            .with_item(1, &"x")
            .with_state(&json!({"seen": true}))
            .with_callback("https://example.com/callbacks/t")
            .after_failure("ask", "timeout", "nobody came");

        assert_eq!(input.json::<Value>(), Ok(json!({"a": 1})));
        assert_eq!(input.idempotency_key(), format!("{EXECUTION}:charge"));
        assert_eq!((input.attempt, input.webhook.key_count), (2, 1));
        assert_eq!(input.webhook.event_type.as_deref(), Some("order.paid"));
        assert_eq!(input.output::<u64>("rate"), Ok(3));
        assert_eq!(input.options["most"], json!(10));
        assert_eq!(input.item::<String>(), Ok("x".into()));
        assert_eq!(input.state::<Value>(), Ok(Some(json!({"seen": true}))));
        assert!(input.callback.is_some_and(|callback| callback.url.ends_with("/t")));
        assert_eq!(input.cause.map(|cause| cause.kind), Some("timeout".into()));
    }
}

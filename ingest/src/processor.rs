//! How ingest wakes the processor by a shorter way than the stream and the timers: by invoking it.
//!
//! `EVERHOOK_PROCESSOR_FUNCTION` names it. A callback's answer and an operator's word always wake it, so that they act at
//! once; webhooks only if `EVERHOOK_WAKE` is `invoke`: that saves the stream's delay and costs an invocation each.
//! What is lost here is found by the stream, the sweep or the audit.

use std::sync::Arc;

use aws_sdk_lambda::Client;
use aws_sdk_lambda::error::DisplayErrorContext;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use everhook_ingest::receive::Teller;
use everhook_journal::{Clock, Timers, environment};
use serde_json::{Value, json};

/// The processor, if ingest was told its name.
#[derive(Clone)]
pub(crate) struct Processor(Option<Arc<Function>>);

struct Function {
    lambda: Client,
    name: String,
}

impl Processor {
    pub(crate) fn from_env() -> Self {
        let name = std::env::var("EVERHOOK_PROCESSOR_FUNCTION").ok().filter(|it| !it.is_empty());
        Self(name.map(|name| Arc::new(Function { lambda: Client::new(&environment::aws()), name })))
    }

    /// Timers that wake the processor when they are due at once.
    pub(crate) fn timers(&self, timers: Timers) -> Timers {
        let Some(function) = self.0.clone() else { return timers };
        timers.telling(move |timer, _| {
            let (function, timer) = (function.clone(), timer.clone());
            Box::pin(async move {
                if timer.due <= Clock::System.now() {
                    function.invoke(json!({ "timers": [timer] })).await;
                }
            })
        })
    }

    /// Wakes the processor for webhooks, if that is wanted.
    pub(crate) fn teller(&self) -> Option<Teller> {
        let is_wanted = std::env::var("EVERHOOK_WAKE").is_ok_and(|wake| wake == "invoke");
        let function = self.0.clone().filter(|_| is_wanted)?;
        Some(Teller {
            early: true,
            tell: Box::new(move |id, _| {
                let (function, id) = (function.clone(), id.clone());
                Box::pin(async move { function.invoke(json!({ "received": [id] })).await })
            }),
        })
    }
}

impl Function {
    async fn invoke(&self, payload: Value) {
        let request = self
            .lambda
            .invoke()
            .function_name(&self.name)
            .invocation_type(InvocationType::Event)
            .payload(Blob::new(payload.to_string()));
        if let Err(error) = Box::pin(request.send()).await {
            let reason = DisplayErrorContext(&error).to_string();
            tracing::warn!(reason, "the processor could not be woken directly: {reason}");
        }
    }
}

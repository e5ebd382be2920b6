//! Workflows that wait, ask, branch, and go on after a failure.

mod branches;
mod callbacks;
mod command;
mod control;
mod operators;
mod retries;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_lambda_events::encodings::Body;
use everhook::{Input, StepError, Steps};
use everhook_journal::{Event, ExecutionId, StepName};
use serde_json::{Value, json};

use crate::world::{Delivery, World, delivery};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// The source of every world, before the steps of a test.
const SOURCE: &str = r#"
    [sources.default]
    scheme = "hmac-sha256"
    secrets = ["file:secret"]
"#;

/// Steps in Rust, and how often each was run.
#[derive(Clone, Default)]
struct Counted(Arc<AtomicU32>);

impl Counted {
    fn times(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    /// Gives the number of its run.
    fn count(&self) -> impl Fn(Input) -> std::future::Ready<Result<u32, StepError>> + use<> {
        let counter = self.0.clone();
        move |_| std::future::ready(Ok(counter.fetch_add(1, Ordering::SeqCst) + 1))
    }

    /// Fails so many times, then gives the number of its run.
    fn failing(
        &self,
        times: u32,
    ) -> impl Fn(Input) -> std::future::Ready<Result<u32, StepError>> + use<> {
        let counter = self.0.clone();
        move |_| {
            let run = counter.fetch_add(1, Ordering::SeqCst) + 1;
            let failed = StepError::fatal("broken", "it is broken");
            std::future::ready(if run <= times { Err(failed) } else { Ok(run) })
        }
    }
}

async fn world(workflow: &str, steps: Steps) -> World {
    World::with_steps(&format!("{SOURCE}{workflow}"), steps).await
}

/// The last result of a step, as JSON.
pub(crate) async fn result(world: &World, id: &ExecutionId, step: &str) -> Value {
    let history = world.history(id).await;
    let output = history.iter().rev().find_map(|recorded| match &recorded.event {
        Event::StepCompleted { step: own, output, .. } if own.as_str() == step => Some(output),
        _ => None,
    });
    let output = output.unwrap_or_else(|| panic!("{step} has no result: {history:?}"));
    let json = world.parts.ingest.payloads.open(output).await.unwrap();
    serde_json::from_slice(&json).unwrap()
}

/// The path at which a step is called back.
pub(crate) async fn callback(world: &World, id: &ExecutionId, step: &str, attempt: u32) -> String {
    let began_at = world.history(id).await[0].at;
    let callbacks = world.parts.supervisor.driver().callbacks.as_ref().unwrap();
    let url = callbacks.urls(&callbacks.token(id, began_at, &StepName::new(step), attempt)).url;
    url.strip_prefix("https://hooks.example.com").unwrap().to_owned()
}

/// Posts to a path of the HTTP API, as somebody who may.
pub(crate) async fn post(world: &World, path: &str, body: &str) -> (i64, Value) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let event = json!({
        "version": "2.0", "rawPath": path, "rawQueryString": query, "isBase64Encoded": false,
        "headers": {}, "body": body,
        "requestContext": { "http": { "method": "POST", "path": path }, "requestId": "r" },
    });
    let response = everhook_ingest::handle_event(&world.parts.ingest, event).await;
    let body = match response.body {
        Some(Body::Text(text)) => serde_json::from_str(&text).unwrap(),
        body => panic!("{body:?}"),
    };
    (response.status_code, body)
}

fn order(body: Value) -> Delivery {
    delivery("d-1", &body.to_string())
}

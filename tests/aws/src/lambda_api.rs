//! Lambda's Invoke, as far as ingest, the sweep and the processor use it: asynchronous invocations of the processor.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::function::{Function, arn};
use crate::template::Template;

/// The processor, once there is one.
pub(crate) type Processor = Arc<OnceLock<Arc<Function>>>;

/// Starts it; gives its address.
pub(crate) async fn start(processor: Processor) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new()
        .route("/2015-03-31/functions/{name}/invocations", post(invoke))
        .with_state(processor);
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    endpoint
}

async fn invoke(
    State(processor): State<Processor>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let asynchronous = headers.get("x-amz-invocation-type").is_some_and(|kind| kind == "Event");
    let known = [Template::table("ProcessorFunction"), arn("ProcessorFunction")];
    let Some(processor) = processor.get().filter(|_| known.contains(&name) && asynchronous) else {
        return StatusCode::NOT_FOUND;
    };
    let Ok(event) = serde_json::from_slice::<Value>(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    let processor = processor.clone();
    tokio::spawn(async move { processor.invoke(event).await });
    StatusCode::ACCEPTED
}

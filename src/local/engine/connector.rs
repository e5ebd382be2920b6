//! The SDK's way to the engine: an HTTP client that never leaves the process.

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use tokio::sync::{mpsc, oneshot};

use super::EngineError;
use super::operation;
use super::worker::Job;

/// Never resolved: the connector does not look at it.
const ENDPOINT: &str = "http://embedded.invalid";
const REGION: &str = "local";

/// Hands each request to the engine thread.
#[derive(Clone, Debug)]
pub(super) struct Connector {
    // Weak, so that a forgotten client does not keep a closed engine's folder locked.
    queue: mpsc::WeakSender<Job>,
}

impl Connector {
    pub(super) fn new(queue: mpsc::WeakSender<Job>) -> Self {
        Self { queue }
    }
}

/// A tables client over `connector`.
pub(super) fn dynamodb(connector: Connector) -> aws_sdk_dynamodb::Client {
    use aws_sdk_dynamodb::config::{Config, Region, StalledStreamProtectionConfig};
    let config = Config::builder()
        .behavior_version_latest()
        .region(Region::new(REGION))
        .endpoint_url(ENDPOINT)
        // Nobody checks a signature here, and making one costs more than reading the request.
        .allow_no_auth()
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .http_client(connector)
        .build();
    aws_sdk_dynamodb::Client::from_conf(config)
}

/// A streams client over `connector`.
pub(super) fn streams(connector: Connector) -> aws_sdk_dynamodbstreams::Client {
    use aws_sdk_dynamodbstreams::config::{Config, Region, StalledStreamProtectionConfig};
    let config = Config::builder()
        .behavior_version_latest()
        .region(Region::new(REGION))
        .endpoint_url(ENDPOINT)
        .allow_no_auth()
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .http_client(connector)
        .build();
    aws_sdk_dynamodbstreams::Client::from_conf(config)
}

impl HttpClient for Connector {
    fn http_connector(
        &self,
        _settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let queue = self.queue.clone();
        HttpConnectorFuture::new(async move { call(&queue, &request).await })
    }
}

async fn call(
    queue: &mpsc::WeakSender<Job>,
    request: &HttpRequest,
) -> Result<HttpResponse, ConnectorError> {
    let target = request.headers().get("x-amz-target").unwrap_or_default();
    let body = request.body().bytes().unwrap_or_default();
    // Read here, on the caller's thread: the engine thread is the one that all wait for.
    let answer = match operation::read(target, body) {
        Ok(operation) => {
            let (reply, answer) = oneshot::channel();
            let queue = queue.upgrade().ok_or_else(closed)?;
            queue.send(Job::Operation { operation, reply }).await.map_err(|_| closed())?;
            drop(queue);
            answer.await.map_err(|_| closed())?
        }
        Err(answer) => answer,
    };
    let status = StatusCode::try_from(answer.status)
        .map_err(|error| ConnectorError::other(error.into(), None))?;
    Ok(HttpResponse::new(status, SdkBody::from(answer.body)))
}

// Of a kind that the SDK does not try again: a closed engine stays closed.
fn closed() -> ConnectorError {
    ConnectorError::other(EngineError::Closed.into(), None)
}

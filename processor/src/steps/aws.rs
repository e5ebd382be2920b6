//! AWS, as steps reach it: one client a service, made when a step first needs it.

pub(super) mod failure;
pub(super) mod objects;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_sdk_lambda::config::StalledStreamProtectionConfig;
use aws_sdk_lambda::config::retry::RetryConfig;
use aws_sdk_lambda::config::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use everhook_journal::environment;
use object_store::ObjectStore;

use crate::step::StepError;
use objects::Buckets;

/// The kinds of step that call AWS.
pub const KINDS: [&str; 5] = ["lambda", "sqs", "sns", "eventbridge", "s3"];

/// How long it may take to be connected.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where services are, if not where AWS has them.
#[derive(Debug, Clone, Default)]
pub struct Endpoints {
    /// Of Lambda.
    pub lambda: Option<String>,
    /// Of SQS.
    pub sqs: Option<String>,
    /// Of SNS.
    pub sns: Option<String>,
    /// Of EventBridge.
    pub eventbridge: Option<String>,
    /// Of S3.
    pub s3: Option<String>,
}

/// AWS, as the environment describes it, or as somebody has said.
#[derive(Default)]
pub struct Aws {
    config: Option<SdkConfig>,
    endpoints: Endpoints,
    lambda: OnceLock<aws_sdk_lambda::Client>,
    sqs: OnceLock<aws_sdk_sqs::Client>,
    sns: OnceLock<aws_sdk_sns::Client>,
    eventbridge: OnceLock<aws_sdk_eventbridge::Client>,
    buckets: Buckets,
}

impl Aws {
    /// AWS reached like this instead of as Lambda's environment says.
    pub fn reached_by(config: SdkConfig, endpoints: Endpoints) -> Self {
        Self { config: Some(config), endpoints, ..Self::default() }
    }

    pub(super) fn lambda(&self) -> Result<&aws_sdk_lambda::Client, StepError> {
        made(&self.lambda, || {
            Ok(aws_sdk_lambda::Client::new(&self.config(self.endpoints.lambda.as_ref())?))
        })
    }

    pub(super) fn sqs(&self) -> Result<&aws_sdk_sqs::Client, StepError> {
        made(&self.sqs, || Ok(aws_sdk_sqs::Client::new(&self.config(self.endpoints.sqs.as_ref())?)))
    }

    pub(super) fn sns(&self) -> Result<&aws_sdk_sns::Client, StepError> {
        made(&self.sns, || Ok(aws_sdk_sns::Client::new(&self.config(self.endpoints.sns.as_ref())?)))
    }

    pub(super) fn eventbridge(&self) -> Result<&aws_sdk_eventbridge::Client, StepError> {
        made(&self.eventbridge, || {
            let config = self.config(self.endpoints.eventbridge.as_ref())?;
            Ok(aws_sdk_eventbridge::Client::new(&config))
        })
    }

    pub(super) fn bucket(&self, name: &str) -> Result<Arc<dyn ObjectStore>, StepError> {
        self.buckets.named(name, || self.config(self.endpoints.s3.as_ref()))
    }

    /// One attempt is one call: the step's own `retry` says when there is another,
    /// and its `timeout` how long each may take.
    fn config(&self, endpoint: Option<&String>) -> Result<SdkConfig, StepError> {
        let config = self.config.clone().unwrap_or_else(environment::aws);
        if config.region().is_none() {
            return Err(StepError::fatal("aws_region", "there is no AWS region; set AWS_REGION"));
        }
        let config = config
            .into_builder()
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build())
            // A function may think for as long as the step has.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        Ok(match endpoint {
            Some(url) => config.endpoint_url(url).build(),
            None => config.build(),
        })
    }
}

fn made<T>(
    place: &OnceLock<T>,
    make: impl FnOnce() -> Result<T, StepError>,
) -> Result<&T, StepError> {
    if let Some(client) = place.get() {
        return Ok(client);
    }
    let client = make()?;
    Ok(place.get_or_init(|| client))
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aws").field("endpoints", &self.endpoints).finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests;

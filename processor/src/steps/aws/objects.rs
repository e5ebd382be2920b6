//! Buckets of S3, through the client that large payloads use.

use std::collections::HashMap;
use std::error::Error as _;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_sdk_lambda::config::{ProvideCredentials, SharedCredentialsProvider};
use aws_types::SdkConfig;
use aws_types::service_config::ServiceConfigKey;
use everhook_journal::environment;
use object_store::aws::{AmazonS3Builder, AwsCredential};
use object_store::client::{HttpError, HttpErrorKind};
use object_store::{BackoffConfig, ClientOptions, CredentialProvider, ObjectStore, RetryConfig};

use super::failure;
use crate::step::StepError;

/// How long credentials without an end are used.
const CREDENTIALS_LIFE: Duration = Duration::from_secs(300);

/// How long before their end credentials are asked for again.
const CREDENTIALS_MARGIN: Duration = Duration::from_secs(60);

/// The buckets that steps have used so far.
#[derive(Debug, Default)]
pub(super) struct Buckets(Mutex<HashMap<String, Arc<dyn ObjectStore>>>);

impl Buckets {
    /// The bucket of this name; its client is made when it is first asked for.
    pub(super) fn named(
        &self,
        name: &str,
        config: impl FnOnce() -> Result<SdkConfig, StepError>,
    ) -> Result<Arc<dyn ObjectStore>, StepError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = known.get(name) {
            return Ok(bucket.clone());
        }
        let bucket = open(name, &config()?).map_err(|error| {
            StepError::fatal("aws_refused", format!("no client for S3: {}", failure::cause(&error)))
        })?;
        known.insert(name.to_owned(), bucket.clone());
        Ok(bucket)
    }
}

fn open(name: &str, config: &SdkConfig) -> Result<Arc<dyn ObjectStore>, object_store::Error> {
    environment::prepare_tls();
    let endpoint = endpoint(config);
    let plain = endpoint.as_ref().is_some_and(|url| url.starts_with("http://"));
    let options = ClientOptions::new()
        .with_connect_timeout(super::CONNECT_TIMEOUT)
        .with_timeout(everhook_journal::workflow::STEP_TIMEOUT_MAX)
        .with_allow_http(plain);
    // One attempt is one call, as with the other services.
    let once = RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: 0,
        retry_timeout: Duration::ZERO,
    };
    let mut builder =
        AmazonS3Builder::new().with_bucket_name(name).with_client_options(options).with_retry(once);
    if let Some(region) = config.region() {
        builder = builder.with_region(region.as_ref());
    }
    if let Some(provider) = config.credentials_provider() {
        builder = builder.with_credentials(Arc::new(Given { provider, last: Mutex::default() }));
    }
    if let Some(url) = endpoint {
        builder = builder.with_endpoint(url);
    }
    Ok(Arc::new(builder.build()?))
}

/// Where S3 is, if not where AWS has it.
fn endpoint(config: &SdkConfig) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id("S3")
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build()
        .ok()?;
    let named = config.endpoint_url().map(ToOwned::to_owned);
    named.or_else(|| config.service_config()?.load_config(key))
}

/// The failure of a write to a bucket. An answer's body is never told.
pub(in crate::steps) fn failure(bucket: &str, error: &object_store::Error) -> StepError {
    use object_store::Error;
    let answered = |status, code, words: &str| failure::answered("S3", status, code, Some(words));
    match error {
        Error::NotFound { .. } => {
            answered(404, "NotFound", &format!("there is no bucket {bucket}"))
        }
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            answered(403, "AccessDenied", &format!("the bucket {bucket} may not be written to"))
        }
        Error::AlreadyExists { .. } => answered(409, "Conflict", ""),
        Error::Generic { source, .. } => generic(source.as_ref()),
        _ => StepError::fatal("aws_refused", "no call to S3 can be made of this"),
    }
}

fn generic(error: &(dyn std::error::Error + 'static)) -> StepError {
    let causes = || std::iter::successors(Some(error), |error| (*error).source());
    if let Some(broken) = causes().find_map(|error| error.downcast_ref::<HttpError>()) {
        return match broken.kind() {
            HttpErrorKind::Timeout => failure::timeout("S3"),
            _ => {
                let cause = broken.source().map_or_else(String::new, failure::cause);
                StepError::retryable("connect", format!("cannot reach S3: {cause}"))
            }
        };
    }
    if let Some(none) = causes().find_map(|error| error.downcast_ref::<NoCredentials>()) {
        return StepError::retryable("aws_credentials", none.to_string());
    }
    // The client keeps the status to itself, and says it in words.
    let status = causes().find_map(|error| {
        let text = error.to_string();
        text.strip_prefix("Server returned non-2xx status code: ")?.get(..3)?.parse().ok()
    });
    match status {
        Some(status) => failure::answered("S3", status, "", None),
        None => {
            let message =
                "S3 answered what cannot be read; look whether the region is the bucket's";
            StepError::retryable("aws_unavailable", message)
        }
    }
}

/// The credentials of the other clients.
struct Given {
    provider: SharedCredentialsProvider,
    last: Mutex<Option<(Arc<AwsCredential>, SystemTime)>>,
}

#[derive(Debug, thiserror::Error)]
#[error("no credentials for S3: {0}")]
struct NoCredentials(String);

#[async_trait]
impl CredentialProvider for Given {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let now = SystemTime::now();
        let known = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((credential, until)) = known
            && now < until
        {
            return Ok(credential);
        }
        let given = self.provider.provide_credentials().await.map_err(|error| {
            let source = Box::new(NoCredentials(failure::cause(&error)));
            object_store::Error::Generic { store: "S3", source }
        })?;
        let until = given.expiry().map(|end| end - CREDENTIALS_MARGIN);
        let credential = Arc::new(AwsCredential {
            key_id: given.access_key_id().to_owned(),
            secret_key: given.secret_access_key().to_owned(),
            token: given.session_token().map(ToOwned::to_owned),
        });
        let kept = (credential.clone(), until.unwrap_or(now + CREDENTIALS_LIFE));
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok(credential)
    }
}

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Given").finish_non_exhaustive()
    }
}

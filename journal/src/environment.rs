//! What a Lambda function finds around it.
//!
//! | variable | is |
//! |---|---|
//! | `EVERHOOK_CONFIG` | the configuration; `/opt/everhook.toml` if it is not set |
//! | `EVERHOOK_JOURNAL_TABLE`, `EVERHOOK_EXECUTIONS_TABLE` | the tables; `journal` and `executions` |
//! | `EVERHOOK_PAYLOADS` | where large payloads are: `s3://BUCKET` or `file:///FOLDER` |
//! | `EVERHOOK_RETENTION` | how long histories are kept if the configuration does not say: `7d` |
//! | `EVERHOOK_DEPLOYMENT` | the dimension `Deployment` of all metrics |

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::timeout::TimeoutConfig;
use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;

use crate::payload::Payloads;
use crate::store::Store;
use crate::telemetry;
use crate::time::parse_duration;

/// How long one try at a DynamoDB call may take.
const ATTEMPT: Duration = Duration::from_secs(3);

/// How long a DynamoDB call may take with all its tries.
const OPERATION: Duration = Duration::from_secs(10);

/// Why a function cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// A variable has to be set.
    #[error("the environment variable {0} is not set")]
    Unset(&'static str),
    /// The retention is no duration.
    #[error("EVERHOOK_RETENTION is `{0}`, which is no duration: write 7d or 12h")]
    Retention(String),
    /// The place for payloads is none.
    #[error("EVERHOOK_PAYLOADS is `{place}`, which is no place for payloads: {reason}")]
    Payloads {
        /// What it says.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Logs as JSON lines, as much as `RUST_LOG` says, and collects metrics.
pub fn observe() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let json = tracing_subscriber::fmt().json().flatten_event(true).with_span_list(false);
    // A logger that is set already is as good.
    json.with_env_filter(filter).try_init().ok();
    telemetry::start();
}

/// A variable that has to be set.
pub fn needed(variable: &'static str) -> Result<String, EnvironmentError> {
    std::env::var(variable).map_err(|_| EnvironmentError::Unset(variable))
}

/// How long histories are kept if the configuration does not say.
pub fn retention() -> Result<Option<Duration>, EnvironmentError> {
    let Ok(text) = std::env::var("EVERHOOK_RETENTION") else { return Ok(None) };
    parse_duration(&text).map(Some).ok_or(EnvironmentError::Retention(text))
}

/// The configuration's path.
pub fn config_path() -> PathBuf {
    std::env::var_os("EVERHOOK_CONFIG").map_or_else(|| "/opt/everhook.toml".into(), PathBuf::from)
}

/// DynamoDB, as the environment describes it.
pub async fn store() -> Store {
    Store::new(aws_sdk_dynamodb::Client::new(&aws().await.load().await))
}

/// The AWS clients' settings, as the environment describes them.
pub async fn aws() -> aws_config::ConfigLoader {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(ATTEMPT)
        .operation_timeout(OPERATION)
        .build();
    aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts)
}

/// The payload store that `EVERHOOK_PAYLOADS` names.
pub fn payloads() -> Result<Payloads, EnvironmentError> {
    let place = needed("EVERHOOK_PAYLOADS")?;
    let bad = |reason: String| EnvironmentError::Payloads { place: place.clone(), reason };
    let objects: Arc<dyn ObjectStore> = match place.split_once("://") {
        Some(("s3", _)) => {
            let bucket = AmazonS3Builder::from_env().with_url(&place).build();
            Arc::new(bucket.map_err(|error| bad(error.to_string()))?)
        }
        Some(("file", folder)) => {
            let folder = LocalFileSystem::new_with_prefix(folder);
            Arc::new(folder.map_err(|error| bad(error.to_string()))?.with_fsync(true))
        }
        _ => return Err(bad("write s3://BUCKET or file:///FOLDER".into())),
    };
    Ok(Payloads::new(objects))
}

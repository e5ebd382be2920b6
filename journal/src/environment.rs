//! What a Lambda function finds around it.
//!
//! | variable | is |
//! |---|---|
//! | `EVERHOOK_CONFIG` | the configuration; `/opt/everhook.toml` if it is not set |
//! | `EVERHOOK_JOURNAL_TABLE`, `EVERHOOK_EXECUTIONS_TABLE` | the tables; `journal` and `executions` |
//! | `EVERHOOK_PAYLOADS` | where large payloads are: `s3://BUCKET` or `file:///FOLDER` |

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
    /// The place for payloads is none.
    #[error("EVERHOOK_PAYLOADS is `{place}`, which is no place for payloads: {reason}")]
    Payloads {
        /// What it says.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Logs as JSON lines. `RUST_LOG` says how much.
pub fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    // A logger that is set already is as good.
    tracing_subscriber::fmt().json().with_env_filter(filter).without_time().try_init().ok();
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
    let place = std::env::var("EVERHOOK_PAYLOADS")
        .map_err(|_| EnvironmentError::Unset("EVERHOOK_PAYLOADS"))?;
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

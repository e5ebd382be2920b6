//! What a Lambda function finds around it.
//!
//! | variable | is |
//! |---|---|
//! | `EVERHOOK_CONFIG` | the configuration; `/opt/everhook.toml` if it is not set |
//! | `EVERHOOK_PUBLIC_URL` | where callers reach the HTTP API: callbacks' addresses begin with it |
//! | `EVERHOOK_JOURNAL_TABLE`, `EVERHOOK_EXECUTIONS_TABLE` | the tables; `journal` and `executions` |
//! | `EVERHOOK_PAYLOADS` | where large payloads are: `s3://BUCKET` or `file:///FOLDER` |
//! | `EVERHOOK_RETENTION` | how long histories are kept if the configuration does not say: `7d` |
//! | `EVERHOOK_GENERATED_SECRETS` | under which reference generated secrets are: `secretsmanager:STACK` |
//! | `EVERHOOK_DEPLOYMENT` | the dimension `Deployment` of all metrics |
//! | `EVERHOOK_PROCESSOR_FUNCTION` | the function that the sweep wakes |
//! | `RUST_LOG` | how much is logged: `error`, `warn`, `info`, `debug` |

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{
    BehaviorVersion, Credentials, Region, SharedCredentialsProvider, SharedHttpClient,
};
use aws_smithy_http_client::Builder as HttpClientBuilder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_types::SdkConfig;
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};
use object_store::ObjectStore;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::payload::Payloads;
use crate::store::Store;
use crate::telemetry;
use crate::time::parse_duration;

/// How long one try at a DynamoDB call may take.
const ATTEMPT: Duration = Duration::from_secs(3);

/// How long a DynamoDB call may take with all its tries.
const OPERATION: Duration = Duration::from_secs(10);

/// The libraries through which bodies and secrets pass, by what their names begin with.
const WIRES: [&str; 12] = [
    "aws_",
    "dynoxide",
    "h2",
    "hyper",
    "lambda_",
    "object_store",
    "reqwest",
    "rusqlite",
    "rustls",
    "tokio",
    "tower",
    "want",
];

/// How long a start may wait for connections. Lambda ends a start after 10 seconds,
/// and a function that has started can say what it cannot reach.
const WARM: Duration = Duration::from_secs(2);

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
    let json = tracing_subscriber::fmt::layer().json().flatten_event(true).with_span_list(false);
    // A logger that is set already is as good.
    tracing_subscriber::registry().with(json).with(levels()).try_init().ok();
    telemetry::start();
}

/// How much `RUST_LOG` lets through: `info`, or `warn,everhook=debug`. `info` if it says nothing.
///
/// Libraries that write down requests and answers when they tell more than `info` never tell more:
/// these hold bodies and secrets.
pub fn levels() -> Targets {
    let said = std::env::var("RUST_LOG").ok().and_then(|text| text.parse().ok());
    discreet(said.unwrap_or_else(|| Targets::new().with_default(LevelFilter::INFO)))
}

fn discreet(said: Targets) -> Targets {
    let default = said.default_level().unwrap_or(LevelFilter::OFF);
    let silenced = WIRES.map(|wire| (wire.to_owned(), default.min(LevelFilter::INFO)));
    let told = said.into_iter().map(|(target, level)| {
        let is_wire = WIRES.iter().any(|wire| target.starts_with(wire));
        (target, if is_wire { level.min(LevelFilter::INFO) } else { level })
    });
    // What is said of one of them comes last, and counts.
    Targets::new().with_default(default).with_targets(silenced.into_iter().chain(told))
}

/// Does this while the function starts, when it has a whole processor. What takes too long, or fails,
/// is done again and told when it matters: then there is no outcome.
pub async fn warm<T>(connections: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(WARM, connections).await.ok()
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

/// Where callers reach the HTTP API.
pub fn public_url() -> String {
    std::env::var("EVERHOOK_PUBLIC_URL").unwrap_or_default()
}

/// DynamoDB, as the environment describes it.
pub fn store() -> Store {
    Store::new(aws_sdk_dynamodb::Client::new(&aws()))
}

/// The AWS clients' settings, as Lambda describes them to a function: it gives the credentials of its role,
/// and no place where others could be looked for.
pub fn aws() -> SdkConfig {
    let variable = |name| std::env::var(name).ok();
    let credentials = Credentials::new(
        variable("AWS_ACCESS_KEY_ID").unwrap_or_default(),
        variable("AWS_SECRET_ACCESS_KEY").unwrap_or_default(),
        variable("AWS_SESSION_TOKEN"),
        None,
        "environment",
    );
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(variable("AWS_REGION").map(Region::new))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .service_config(Endpoints)
        .retry_config(RetryConfig::standard())
        .timeout_config(timeouts())
        .http_client(https())
        .build()
}

/// How long a call to AWS may take.
pub fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT).operation_timeout(OPERATION).build()
}

/// What carries the calls to AWS.
pub fn https() -> SharedHttpClient {
    HttpClientBuilder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}

/// Makes TLS possible for clients that do not bring it along. To be called before the first of them is made.
pub fn prepare_tls() {
    // Whoever was first has chosen.
    rustls::crypto::ring::default_provider().install_default().ok();
}

/// `AWS_ENDPOINT_URL_DYNAMODB` and its like, for tests and for endpoints of one's own.
#[derive(Debug)]
struct Endpoints;

impl LoadServiceConfig for Endpoints {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let service = key.service_id().to_uppercase().replace([' ', '-'], "_");
        let own = std::env::var(format!("{}_{service}", key.env())).ok();
        own.or_else(|| std::env::var(key.env()).ok())
    }
}

/// The payload store that `EVERHOOK_PAYLOADS` names.
pub fn payloads() -> Result<Payloads, EnvironmentError> {
    payloads_at(&needed("EVERHOOK_PAYLOADS")?)
}

/// The payload store at this place: `s3://BUCKET` or `file:///FOLDER`.
pub fn payloads_at(place: &str) -> Result<Payloads, EnvironmentError> {
    let bad = |reason: String| EnvironmentError::Payloads { place: place.to_owned(), reason };
    let objects: Arc<dyn ObjectStore> = match place.split_once("://") {
        Some(("s3", _)) => {
            prepare_tls();
            let bucket = AmazonS3Builder::from_env().with_url(place).build();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_never_tell_what_goes_over_the_wire() {
        for said in
            ["trace", "debug,aws_smithy_runtime=trace", "warn,hyper=trace,h2=debug", "aws=trace"]
        {
            let levels = discreet(said.parse().unwrap());
            for target in
                ["aws_smithy_runtime::client", "hyper::proto", "h2::codec", "lambda_runtime"]
            {
                assert!(!levels.would_enable(target, &tracing::Level::DEBUG), "{said}: {target}");
            }
        }
    }

    #[test]
    fn everything_else_tells_as_much_as_is_said() {
        let levels = discreet("warn,everhook=debug,mine=trace,hyper=info".parse().unwrap());
        for (target, level, told) in [
            ("everhook_ingest", tracing::Level::DEBUG, true),
            ("mine::step", tracing::Level::TRACE, true),
            ("other", tracing::Level::WARN, true),
            ("other", tracing::Level::INFO, false),
            ("hyper", tracing::Level::INFO, true),
            ("aws_smithy_runtime", tracing::Level::WARN, true),
            ("aws_smithy_runtime", tracing::Level::INFO, false),
        ] {
            assert_eq!(levels.would_enable(target, &level), told, "{target} {level}");
        }
    }
}

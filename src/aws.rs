//! AWS, as whoever sits at this machine reaches it: by profile or by environment.

use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig};
use everhook_ingest::Ingest;
use everhook_journal::Secrets;
use everhook_journal::config::Config;
use everhook_journal::environment;

/// The clients' settings, with this endpoint.
pub(crate) async fn at(endpoint: &str) -> SdkConfig {
    loader().endpoint_url(endpoint).load().await
}

/// The same secrets, with those that AWS keeps within reach. Without such, nothing is looked for.
pub(crate) async fn secrets(config: &Config, secrets: Secrets) -> Secrets {
    let references = Ingest::references(config);
    match references.iter().any(|reference| secrets.is_remote(reference)) {
        true => secrets.reaching(loader().load().await),
        false => secrets,
    }
}

fn loader() -> ConfigLoader {
    aws_config::defaults(BehaviorVersion::latest())
        .timeout_config(environment::timeouts())
        .http_client(environment::https())
}

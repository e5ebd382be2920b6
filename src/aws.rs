//! AWS, as whoever sits at this machine reaches it: by profile or by environment.

use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig};
use everhook_ingest::Ingest;
use everhook_journal::config::Config;
use everhook_journal::{Secrets, StepName, WorkflowName, environment};
use everhook_processor::Steps;
use everhook_processor::steps::aws::{Endpoints, KINDS};

/// A workflow has a step that needs AWS, and nobody has said which region.
#[derive(Debug, thiserror::Error)]
#[error(
    "the step `{step}` of the workflow `{workflow}` calls AWS, and there is no AWS region; \
     set AWS_REGION, or AWS_PROFILE to a profile with a region"
)]
pub struct NoRegion {
    /// The step.
    pub step: StepName,
    /// Its workflow.
    pub workflow: WorkflowName,
}

/// The clients' settings, with this endpoint.
pub(crate) async fn at(endpoint: &str) -> SdkConfig {
    loader().endpoint_url(endpoint).load().await
}

/// The same secrets, with those that AWS keeps within reach. Without such, nothing is looked for.
pub(crate) async fn secrets(config: &Config, secrets: Secrets) -> Secrets {
    let references = [Ingest::references(config), Steps::references(config)].concat();
    match references.iter().any(|reference| secrets.is_remote(reference)) {
        true => secrets.reaching(loader().load().await),
        false => secrets,
    }
}

/// The same steps, with AWS within reach of those that call it. Without such, nothing is looked for.
pub(crate) async fn steps(
    config: &Config,
    steps: Steps,
    endpoints: &Endpoints,
) -> Result<Steps, NoRegion> {
    let all = config
        .workflows
        .values()
        .flat_map(|workflow| workflow.steps.iter().map(|step| (workflow.name.clone(), step)));
    let mut calling = all.filter(|(_, step)| KINDS.contains(&step.run.as_str()));
    let Some((workflow, step)) = calling.next() else { return Ok(steps) };
    // Not by asking the machine's metadata service: where there is none, that takes long to say so.
    let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new())
        .region()
        .await
        .ok_or_else(|| NoRegion { step: step.name.clone(), workflow })?;
    Ok(steps.reaching(loader().region(region).load().await, endpoints.clone()))
}

fn loader() -> ConfigLoader {
    aws_config::defaults(BehaviorVersion::latest())
        .timeout_config(environment::timeouts())
        .http_client(environment::https())
}

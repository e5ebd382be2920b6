//! `everhook check`: whether the configuration is right, without starting anything.

use everhook_ingest::Sources;
use everhook_journal::Secrets;
use everhook_journal::config::{Config, ConfigError};
use everhook_processor::Steps;
use everhook_processor::plan::Plan;

use super::{Failure, print};
use crate::cli::Check;

pub(super) fn run(check: &Check, steps: Steps) -> Result<(), Failure> {
    let config = Config::load(&check.config.path).map_err(Failure::of)?;
    let secrets = Secrets::pretending(config.folder.clone());
    let mut problems = Sources::from_config(&config, &secrets).err().unwrap_or_default();
    let steps = steps.allowing(&config.settings.private_hosts).reading(secrets);
    for workflow in config.workflows.values() {
        if let Err(error) = Plan::new(workflow.clone(), &steps) {
            let option = error.source.option.as_deref();
            problems.push(config.step_problem(&workflow.name, &error.step, option, &error.source));
        }
    }
    problems.sort_by_key(|problem| problem.line);
    if !problems.is_empty() {
        return Err(Failure::of(ConfigError { path: check.config.path.clone(), problems }));
    }
    let (sources, workflows) = (config.sources.len(), config.workflows.len());
    print(&format!(
        "{}: no problems (sources: {sources}, workflows: {workflows})",
        check.config.path.display()
    ));
    Ok(())
}

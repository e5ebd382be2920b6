//! `everhook check`: whether the configuration is right, without starting anything.

use everhook_journal::config::{Config, ConfigError};
use everhook_processor::Steps;

use super::{Failure, print};
use crate::check::{problems, warnings};
use crate::cli::Check;
use crate::explain::explain;

pub(super) fn run(check: &Check, steps: Steps) -> Result<(), Failure> {
    let config = Config::load(&check.config.path).map_err(Failure::of)?;
    for warning in warnings(&config) {
        print(&format!("warning: {warning}"));
    }
    let problems = problems(&config, steps);
    if !problems.is_empty() {
        return Err(Failure::of(ConfigError { path: check.config.path.clone(), problems }));
    }
    if check.explain {
        print(&explain(&config));
        return Ok(());
    }
    let (sources, workflows) = (config.sources.len(), config.workflows.len());
    print(&format!(
        "{}: no problems (sources: {sources}, workflows: {workflows})",
        check.config.path.display()
    ));
    Ok(())
}

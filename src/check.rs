//! Whether a configuration is right, without starting anything.

use everhook_ingest::Sources;
use everhook_journal::Secrets;
use everhook_journal::config::{Config, Problem};
use everhook_processor::Steps;
use everhook_processor::plan::{self, PlanError};

/// What is not wrong, and most likely not meant either.
pub fn warnings(config: &Config) -> Vec<String> {
    Sources::warnings(config, &Secrets::pretending(config.folder.clone()))
}

/// What is wrong with this configuration for a program with these kinds of step, in the order of the file.
/// Secrets that AWS keeps, and generated ones, are taken for granted.
pub fn problems(config: &Config, steps: Steps) -> Vec<Problem> {
    let secrets = Secrets::pretending(config.folder.clone());
    let mut problems = Sources::from_config(config, &secrets).err().unwrap_or_default();
    let steps = steps.allowing(&config.settings.private_hosts).reading(secrets);
    for workflow in config.workflows.values() {
        for PlanError { step, source } in plan::check::problems(workflow, &steps) {
            let option = source.option.as_deref();
            problems.push(config.step_problem(&workflow.name, &step, option, &source));
        }
    }
    problems.sort_by_key(|problem| problem.line);
    problems
}

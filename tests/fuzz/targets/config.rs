//! Configurations: any text is right or has problems, each with its line.

#![no_main]

use std::path::PathBuf;

use everhook_ingest::Sources;
use everhook_journal::Secrets;
use everhook_journal::config::Config;
use everhook_processor::Steps;
use everhook_processor::plan::Plan;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // Nothing of this machine is read.
    if text.contains("schema") || text.contains("file:") || text.contains("env:") {
        return;
    }
    match Config::parse(text, PathBuf::from("/nonexistent")) {
        Ok(config) => {
            let secrets = Secrets::pretending(PathBuf::from("/nonexistent"));
            Sources::from_config(&config, &secrets).ok();
            let steps = Steps::new();
            for workflow in config.workflows.values() {
                assert_eq!(workflow.hash(), workflow.clone().hash());
                Plan::new(workflow.clone(), &steps).ok();
            }
        }
        Err(problems) => assert!(!problems.is_empty()),
    }
});

//! Runs the requirements that AWS publishes for the SDKs of its durable functions against our engine.
//!
//! `cargo run --release --example durable_conformance -- --cases DIR --workflows DIR [--json]`
//!
//! A case is started through ingest, with a clock that goes straight to whatever is next;
//! our history is told in the peer's events, and compared by the peer's rules.
//! It exits with 1 if a case that applies fails. docs/durable-conformance.md says what is compared, and how.
//!
//! - `suite`: all cases of a folder
//! - `case`: a requirement file
//! - `world`, `act`, `callback`: a deployment in memory, the step of the cases, who calls back
//! - `run`: one case from its start to its judgement
//! - `translate`, `place`, `event`: our history in the peer's events
//! - `matcher`: the peer's rules of comparison
//! - `report`: how it all is shown

#[path = "suite.rs"]
mod suite;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Runs requirement files for durable executions against Everhook.
#[derive(Debug, Parser)]
struct Arguments {
    /// The folder of the requirement files, `SUITE/CASE.yaml`.
    #[arg(long)]
    cases: PathBuf,
    /// The folder of the workflows, `SUITE/CASE.toml`.
    #[arg(long, default_value = "tests/conformance")]
    workflows: PathBuf,
    /// Prints for machines.
    #[arg(long)]
    json: bool,
    /// Prints as the documentation has it.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    if let Some(ended) = everhook_processor::expression::worker::begin() {
        return ended;
    }
    let arguments = Arguments::parse();
    let report = match suite::judge(&arguments.cases, &arguments.workflows).await {
        Ok(report) => report,
        Err(error) => {
            eprintln!("durable_conformance: {error}");
            return ExitCode::from(2);
        }
    };
    if arguments.json {
        println!("{:#}", report.to_json());
    } else if arguments.markdown {
        print!("{}", report.to_markdown());
    } else {
        println!("{report}");
    }
    if report.failures().next().is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

//! Runs the functions' own release binaries as AWS would, on this machine: under a Lambda Runtime API,
//! against AWS's DynamoDB Local, with the tables and settings of the translated template.
//!
//! - [`template`]: what the translated template says
//! - [`dynamodb_local`]: AWS's DynamoDB for one machine
//! - [`proxy`]: what stands before it, to count, to time and to cut
//! - [`function`]: a function and its processes
//! - [`events`]: what functions are invoked with
//! - [`lambda_api`]: the call by which ingest, the sweep and the processor itself wake the processor
//! - [`queue`]: the messages that wake it when timers are due
//! - [`target`]: whom `http` steps call
//! - [`deployment`]: all of it together
//! - [`odd_events`]: events that nobody expects
//! - [`in_flight`]: two processes at one execution
//! - [`e2e`], [`costs`], [`mod@bench`], [`shards`], [`drain`], [`upgrade`]: what is done with it

#![expect(clippy::unwrap_used, reason = "whatever cannot be set up ends the run, and says where")]

mod bench;
mod checks;
mod costs;
mod deployment;
mod drain;
mod dynamodb_local;
mod e2e;
mod events;
mod function;
mod in_flight;
mod lambda_api;
mod odd_events;
mod proxy;
mod queue;
mod shards;
mod target;
mod template;
mod upgrade;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use everhook_journal::environment;
use tracing_subscriber::filter::LevelFilter;

use checks::Checks;

/// Runs the functions' own binaries as AWS would, on this machine.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Webhooks all the way through, with deaths and outages; ends with how many checks passed
    E2e(Built),
    /// Count what a webhook costs, and compare it with docs/costs.md
    Costs {
        #[command(flatten)]
        built: Built,
        /// Write docs/costs.md instead
        #[arg(long)]
        write: bool,
    },
    /// Sizes, starts, and what the functions add to the time of their calls
    Bench {
        #[command(flatten)]
        built: Built,
        /// Binaries for arm64, whose sizes are shown beside
        #[arg(long, value_name = "FOLDER")]
        arm64: Option<PathBuf>,
        /// Allow four times as long for everything: others use this machine too
        #[arg(long)]
        busy: bool,
    },
    /// Ten thousand timers that are due, and the sweep; ends with how many checks passed
    Drain(Built),
    /// A stack of a version before the timers, upgraded in place as docs/deploy.md says
    Upgrade(Built),
    /// The local event source over a stream whose shards end: DynamoDB Local with a clock that runs
    Shards {
        /// How long to write, in seconds of this machine
        #[arg(long, default_value_t = 90)]
        seconds: u64,
    },
}

/// What was built before.
#[derive(Debug, Args)]
pub(crate) struct Built {
    /// With IngestFunction/bootstrap and so on, as `sam build` makes them, or ingest/bootstrap, or ingest
    #[arg(long, default_value = ".aws-sam/build", value_name = "FOLDER")]
    pub(crate) binaries: PathBuf,

    /// The translated template, as tests/aws/translate.py makes it
    #[arg(long, default_value = "target/aws/template.json", value_name = "FILE")]
    pub(crate) template: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    environment::prepare_tls();
    let level = std::env::var("RUST_LOG").ok().and_then(|level| level.parse().ok());
    let level = level.unwrap_or(LevelFilter::OFF);
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).init();
    let mut checks = Checks::default();
    match Cli::parse().command {
        Command::E2e(built) => Box::pin(e2e::run(&built, &mut checks)).await,
        Command::Costs { built, write } => {
            Box::pin(costs::run(&built, write, &mut checks)).await;
        }
        Command::Bench { built, arm64, busy } => {
            let patience = if busy { 4 } else { 1 };
            Box::pin(bench::run(&built, arm64.as_deref(), patience, &mut checks)).await;
        }
        Command::Drain(built) => Box::pin(drain::run(&built, &mut checks)).await,
        Command::Upgrade(built) => Box::pin(upgrade::run(&built, &mut checks)).await,
        Command::Shards { seconds } => Box::pin(shards::run(seconds, &mut checks)).await,
    }
    checks.end()
}

//! Everhook on one machine, and its command line.
//!
//! A program with its own steps is this and nothing more:
//!
//! ```no_run
//! use clap::Parser;
//! use everhook::{Cli, Input, StepError, Steps};
//!
//! async fn greet(input: Input) -> Result<String, StepError> {
//!     Ok(format!("hello from {}", input.execution))
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     everhook::main(Cli::parse(), Steps::new().with("greet", greet))
//! }
//! ```
//!
//! - [`check`]: whether a configuration is right
//! - [`cli`]: what can be said on the command line
//! - [`commands`]: what each command does
//! - [`conformance`]: vectors of requests, and whether they are judged as they must be
//! - [`explain`]: a configuration in words
//! - [`local`]: the server of one machine: engine, event sources, sweep, HTTP door
//! - [`replay`]: a history, told event by event
//! - [`schema`]: the JSON Schema of the configuration

mod aws;
pub mod check;
pub mod cli;
pub mod commands;
pub mod conformance;
pub mod explain;
pub mod local;
pub mod printable;
pub mod replay;
pub mod schema;

use std::process::ExitCode;
use std::time::Duration;

use everhook_processor::expression::worker;

pub use cli::Cli;
pub use everhook_processor::{Input, Outgoing, Step, StepError, Steps};

/// How long work that nobody waits for any more may hold up the end.
const LINGER: Duration = Duration::from_secs(1);

/// Runs a command line with these kinds of step. Failure is one line on standard error.
pub fn main(cli: Cli, steps: Steps) -> ExitCode {
    if let Some(cli::Command::ExpressionWorker) = cli.command {
        return worker::serve();
    }
    worker::offer();
    #[cfg(target_os = "linux")]
    if let None | Some(cli::Command::Serve(_)) = cli.command {
        with_few_arenas();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("everhook: no threads could be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(commands::run(cli, steps));
    runtime.shutdown_timeout(LINGER);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("everhook: {}", printable::lines(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

/// Where address space is limited, the allocator must not reserve it for each thread: glibc takes 64 MiB a thread.
/// It reads its settings when a program starts, so this one starts again.
#[cfg(target_os = "linux")]
fn with_few_arenas() {
    use std::os::unix::process::CommandExt;

    use rustix::process::{Resource, getrlimit};

    const SETTING: &str = "MALLOC_ARENA_MAX";
    if getrlimit(Resource::As).current.is_none() || std::env::var_os(SETTING).is_some() {
        return;
    }
    let mut again = std::process::Command::new("/proc/self/exe");
    let arguments: Vec<_> = std::env::args_os().collect();
    if let Some((name, arguments)) = arguments.split_first() {
        again.arg0(name).args(arguments);
    }
    // It returns only if it fails; then this program goes on as it is.
    let _ = again.env(SETTING, "2").exec();
}

//! The command line: `everhook serve` and the tools around it.

use std::process::ExitCode;

use clap::Parser;
use everhook::{Cli, Steps};

fn main() -> ExitCode {
    everhook::main(Cli::parse(), Steps::new())
}

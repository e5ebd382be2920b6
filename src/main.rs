//! The command line: `everhook serve` and the tools around it.

use std::process::ExitCode;

use clap::Parser;
use everhook::{Cli, Steps};

/// The AWS client makes many small allocations, on many threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    everhook::main(Cli::parse(), Steps::new())
}

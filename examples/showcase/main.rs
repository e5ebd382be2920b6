//! Serves the three cases of everhook.toml, with a stand-in for what they call. README.md says how to try them.
//!
//! ```sh
//! cargo run --example showcase
//! ```

mod target;

use std::process::ExitCode;

use clap::Parser;
use everhook::{Cli, Steps};

/// What is done if nothing is said.
const SERVE: [&str; 5] =
    ["serve", "--config", "examples/showcase/everhook.toml", "--data-dir", ".everhook/showcase"];

fn main() -> ExitCode {
    if let Some(ended) = everhook_processor::expression::worker::begin() {
        return ended;
    }
    let said: Vec<_> = std::env::args().collect();
    let serves = said.len() == 1;
    let usual = said.iter().map(String::as_str).chain(SERVE);
    let cli = if serves { Cli::parse_from(usual) } else { Cli::parse() };
    if serves && let Err(error) = target::start("127.0.0.1:9000") {
        eprintln!("showcase: the stand-in cannot listen on 127.0.0.1:9000: {error}");
        return ExitCode::FAILURE;
    }
    everhook::main(cli, Steps::new())
}

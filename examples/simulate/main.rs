//! Runs the functions' own code over a simulated DynamoDB that fails in every way it can:
//!
//! ```sh
//! cargo run --release --example simulate -- --worlds 1000
//! cargo run --release --example simulate -- --help
//! ```

use std::process::ExitCode;

fn main() -> ExitCode {
    everhook_simulation::command::main()
}

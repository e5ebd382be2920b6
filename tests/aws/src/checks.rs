//! What was checked, told as it happens.

use std::fmt::Display;
use std::process::ExitCode;

/// How many checks held.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    passed: usize,
    failed: usize,
}

impl Checks {
    /// Notes whether something holds, and what is the case if it does not.
    pub(crate) fn that(&mut self, name: &str, holds: bool, otherwise: impl Display) -> bool {
        if holds {
            self.passed += 1;
            println!("ok      {name}");
        } else {
            self.failed += 1;
            println!("FAILED  {name}: {otherwise}");
        }
        holds
    }

    /// The last line, and how the program ends.
    pub(crate) fn end(self) -> ExitCode {
        println!("{} passed, {} failed", self.passed, self.failed);
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

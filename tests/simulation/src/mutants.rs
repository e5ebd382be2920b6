//! Which guards the simulation must miss when they are off, and which it need not, and why.

use everhook_journal::guard::Guard;

/// What is expected of worlds without a guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A rule is broken in some of them.
    Caught,
    /// Something else makes up for it.
    Tolerated(&'static str),
}

/// What is expected of worlds without this guard.
pub fn verdict(_guard: Guard) -> Verdict {
    Verdict::Caught
}

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
pub fn verdict(guard: Guard) -> Verdict {
    match guard {
        Guard::OwnAppend => Verdict::Tolerated(
            "whoever meets his own append reads the history and finds it there; an attempt that is made at most once counts as interrupted",
        ),
        Guard::ClearsOwnTimer => Verdict::Tolerated(
            "a driver sets its next timer before it deletes any, and that one is due before anything that the execution waits for",
        ),
        Guard::AuditLetsRest => {
            Verdict::Tolerated("a timer too many wakes in vain; the guard saves writes")
        }
        Guard::WaitAfterAppend => Verdict::Tolerated(
            "whoever appends first sets a timer of its own before it lets go; the guard saves a detour of up to a minute",
        ),
        Guard::OutcomeSurvivesConflict => Verdict::Tolerated(
            "what was done is done again with the same key; an attempt that is made at most once counts as interrupted",
        ),
        _ => Verdict::Caught,
    }
}

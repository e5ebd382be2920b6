//! `run = "callback"`: somebody outside has to answer.

use std::time::Duration;

use everhook_journal::workflow::{CALLBACK_EXPIRES_DEFAULT, StepDefinition};

use super::options;
use crate::step::DefinitionError;

/// Waits until somebody calls the callback's address. The steps inside of it run before it waits,
/// and see the address as `$callback`.
///
/// | key | means |
/// |---|---|
/// | `expires` | how long the answer may take: 1 day, if nothing is said |
/// | `heartbeat` | how long it may be from one sign of life to the next; any, if nothing is said |
#[derive(Debug, Clone, Copy)]
pub struct Callback {
    /// How long the answer may take.
    pub expires: Duration,
    /// How long it may be from one sign of life to the next.
    pub heartbeat: Option<Duration>,
}

impl Callback {
    /// Reads the definition.
    pub fn new(step: &StepDefinition) -> Result<Self, DefinitionError> {
        options::only(step, &["expires", "heartbeat"])?;
        Ok(Self {
            expires: options::duration(step, "expires")?.unwrap_or(CALLBACK_EXPIRES_DEFAULT),
            heartbeat: options::duration(step, "heartbeat")?,
        })
    }
}

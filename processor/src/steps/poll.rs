//! `run = "poll"`: look again and again, until it is there.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use everhook_journal::workflow::StepDefinition;

use super::{Steps, options};
use crate::expression::{Dot, Expression};
use crate::step::{DefinitionError, Input, Output, Step, StepError};

/// Makes the step inside of it again and again, as `retry` says, until an expression holds.
///
/// | key | means |
/// |---|---|
/// | `until` | a jq expression over what the step inside gave; null and false look again |
/// | `initial` | what the step inside sees as `$state` the first time |
#[derive(Clone)]
pub struct Poll {
    look: Arc<dyn Step>,
    until: Expression,
    initial: Option<Bytes>,
}

/// What a look came to.
#[derive(Debug)]
pub enum Look {
    /// It is there.
    Found(Output),
    /// It is not there yet.
    Again(Output),
}

impl Poll {
    /// Reads the definition and makes the step inside of it ready.
    pub fn new(step: &StepDefinition, steps: &Steps) -> Result<Self, DefinitionError> {
        options::only(step, &["until", "initial"])?;
        let code = options::required_text(step, "until")?;
        let until = Expression::compile(code, Dot::State)
            .map_err(|message| DefinitionError::at("until", message))?;
        let look = step.steps.first();
        let look =
            look.ok_or_else(|| DefinitionError::at("run", "a `poll` needs a step inside"))?;
        let inner = |error: DefinitionError| DefinitionError {
            option: None,
            message: format!("step `{}`: {error}", look.name),
        };
        let initial = step.options.get("initial").map(|json| Bytes::from(json.to_string()));
        Ok(Self { look: steps.build(look).map_err(inner)?, until, initial })
    }

    /// Looks once.
    pub async fn look(&self, input: Input) -> Result<Look, StepError> {
        let state = input.state.clone().or_else(|| self.initial.clone());
        let input = Input { state, ..input };
        let seen = self.look.run(input.clone()).await?;
        let state = Bytes::copy_from_slice(seen.get().as_bytes());
        let found = self.until.holds(Input { state: Some(state), ..input }).await?;
        Ok(if found { Look::Found(seen) } else { Look::Again(seen) })
    }
}

impl fmt::Debug for Poll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Poll(until {:?})", self.until)
    }
}

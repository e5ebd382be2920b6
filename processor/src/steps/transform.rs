//! `run = "transform"`: a result computed from the body by a jq expression.

use everhook_journal::workflow::StepDefinition;

use super::options;
use crate::expression::Expression;
use crate::step::{DefinitionError, Input, Step, StepFuture};

/// Gives the first result of a jq expression, or null if it has none.
///
/// | key | means |
/// |---|---|
/// | `jq` | the expression |
/// | `input` | what `.` is: the body as JSON, or `"text"`, `"previous"` or `"item"` |
#[derive(Debug, Clone)]
pub struct Transform(Expression);

impl Transform {
    /// Reads the definition and compiles its expression.
    pub fn new(step: &StepDefinition) -> Result<Self, DefinitionError> {
        options::only(step, &["jq", "input"])?;
        Ok(Self(options::required_jq(step, "jq")?))
    }
}

impl Step for Transform {
    fn run(&self, input: Input) -> StepFuture {
        let expression = self.0.clone();
        Box::pin(async move { expression.result(input).await })
    }
}

#[cfg(test)]
mod tests;

//! `run = "filter"`: only some webhooks go on.

use everhook_journal::workflow::StepDefinition;

use super::options;
use crate::expression::Expression;
use crate::step::{DefinitionError, Input, StepError};

/// How much of an expression is told as the reason.
const REASON_CHARS_MAX: usize = 200;

/// Stops the workflow, as completed, if a jq expression does not hold.
///
/// | key | means |
/// |---|---|
/// | `jq` | the expression; null and false stop, anything else goes on |
/// | `input` | what `.` is, as in `transform` |
/// | `reason` | what the history and the status say of it |
#[derive(Debug, Clone)]
pub struct Filter {
    expression: Expression,
    reason: String,
}

impl Filter {
    /// Reads the definition and compiles its expression.
    pub fn new(step: &StepDefinition) -> Result<Self, DefinitionError> {
        options::only(step, &["jq", "input", "reason"])?;
        let expression = options::required_jq(step, "jq")?;
        let reason = match options::text(step, "reason")? {
            Some(reason) => reason.to_owned(),
            None => {
                let words: Vec<_> = expression.code().split_whitespace().collect();
                format!("not {}", words.join(" ")).chars().take(REASON_CHARS_MAX).collect()
            }
        };
        Ok(Self { expression, reason })
    }

    /// Why the webhook goes no further; nothing if it does.
    pub async fn stops(&self, input: Input) -> Result<Option<String>, StepError> {
        let holds = self.expression.holds(input).await?;
        Ok((!holds).then(|| self.reason.clone()))
    }
}

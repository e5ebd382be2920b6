//! Texts with jq expressions in them: `orders/\(.id).json`.

use everhook_journal::workflow::StepDefinition;

use super::options;
use crate::expression::Expression;
use crate::step::{DefinitionError, Input, StepError};

/// A text in which `\(…)` stands for the value of an expression.
#[derive(Debug, Clone)]
pub(super) enum Template {
    /// A text as it is.
    Fixed(String),
    /// A text of jq's own.
    Computed(Expression),
}

/// The expression that a text is, if it has any in it.
pub(crate) fn code(text: &str) -> Option<String> {
    text.contains("\\(").then(|| format!("\"{text}\""))
}

/// The expression that a URL is, if it has any in it. The value of each is encoded,
/// so that it stays one part of the path, or one value of the query.
pub(crate) fn url_code(text: &str) -> Option<String> {
    code(text).map(|code| format!("@uri {code}"))
}

impl Template {
    /// Reads the text under this key, if there is one.
    pub(super) fn new(step: &StepDefinition, key: &str) -> Result<Option<Self>, DefinitionError> {
        let Some(text) = options::text(step, key)? else { return Ok(None) };
        if text.is_empty() {
            return Err(DefinitionError::at(key, format!("`{key}` is empty")));
        }
        match code(text) {
            None => Ok(Some(Self::Fixed(text.to_owned()))),
            Some(code) => options::expression(step, key, &code).map(|jq| Some(Self::Computed(jq))),
        }
    }

    /// The text of an attempt, which is never empty.
    pub(super) async fn text(&self, input: &Input) -> Result<String, StepError> {
        match self {
            Self::Fixed(text) => Ok(text.clone()),
            Self::Computed(jq) => {
                let output = jq.result(input.clone()).await?;
                let text: Option<String> = serde_json::from_str(output.get()).ok();
                text.filter(|text| !text.is_empty())
                    .ok_or_else(|| StepError::fatal("invalid", "jq: the expression gives no text"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{definition, input};
    use super::*;

    async fn text(template: &str) -> String {
        let step = definition("s3", json!({ "key": template }));
        let template = Template::new(&step, "key").unwrap().unwrap();
        template.text(&input(r#"{"id": 7, "who": {"name": "A\"n"}}"#)).await.unwrap()
    }

    #[tokio::test]
    async fn expressions_in_a_text_are_computed_and_the_rest_stays() {
        assert_eq!(text("a/b \"c\" {d}").await, "a/b \"c\" {d}");
        assert_eq!(text(r"o/\(.id)/\(.who.name).json").await, "o/7/A\"n.json");
        assert_eq!(text(r#"\($webhook.source)-\(.who["name"] | length)"#).await, "shop-3");
    }

    #[tokio::test]
    async fn an_empty_text_is_refused_wherever_it_comes_from() {
        let error = Template::new(&definition("s3", json!({"key": ""})), "key").unwrap_err();
        assert_eq!(error, DefinitionError::at("key", "`key` is empty"));

        let step = definition("s3", json!({"key": r#"\("")"#}));
        let template = Template::new(&step, "key").unwrap().unwrap();
        assert_eq!(template.text(&input("{}")).await.unwrap_err().kind, "invalid");
    }

    #[test]
    fn an_expression_that_cannot_be_read_is_told_at_its_key() {
        let error =
            Template::new(&definition("s3", json!({"key": r"a/\(.id"})), "key").unwrap_err();
        assert_eq!(error.option.as_deref(), Some("key"));
    }
}

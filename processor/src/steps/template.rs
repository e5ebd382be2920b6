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
/// so that it stays one part of the path, or one value of the query; null is an error.
pub(crate) fn url_code(text: &str) -> Option<String> {
    code(text).map(|code| format!("@urlvalue {code}"))
}

/// A part of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    /// Text, with its escapes.
    Text(&'t str),
    /// An expression, with what is around it: `\(…)`.
    Value(&'t str),
}

/// The parts of a template, in their order.
pub(super) fn pieces(template: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut rest, mut at) = (template, 0);
    while let Some(found) = rest[at..].find('\\') {
        let place = at + found;
        if rest[place..].starts_with("\\(") {
            if place > 0 {
                pieces.push(Piece::Text(&rest[..place]));
            }
            let end = place + value_bytes(&rest[place..]);
            pieces.push(Piece::Value(&rest[place..end]));
            (rest, at) = (&rest[end..], 0);
        } else {
            let escaped = rest[place + 1..].chars().next().map_or(0, char::len_utf8);
            at = place + 1 + escaped;
        }
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

/// The length of the `\(…)` that a text begins with: up to its bracket, which may hold strings with more of them.
fn value_bytes(text: &str) -> usize {
    // What is open: a bracket, or a string.
    let mut open = Vec::new();
    let mut characters = text.char_indices();
    while let Some((place, character)) = characters.next() {
        match (open.last(), character) {
            (Some('"'), '"') => drop(open.pop()),
            (Some('"') | None, '\\') => {
                if let Some((_, '(')) = characters.next() {
                    open.push('(');
                }
            }
            (Some('"'), _) => {}
            (_, '"' | '(') => open.push(character),
            (_, ')') => {
                open.pop();
                if open.is_empty() {
                    return place + 1;
                }
            }
            (_, '#') => drop(characters.by_ref().find(|(_, it)| *it == '\n')),
            _ => {}
        }
    }
    text.len()
}

/// Refuses `\\(`, which would be used as `\(`: in single quotes TOML leaves both backslashes.
pub(super) fn check(key: &str, template: &str) -> Result<(), DefinitionError> {
    let is_doubled = pieces(template).iter().any(|piece| match piece {
        Piece::Text(text) => text.contains("\\\\("),
        Piece::Value(_) => false,
    });
    if is_doubled {
        let message = format!("`{key}`: `\\\\(` is no template; write `\\(` in single quotes");
        return Err(DefinitionError::at(key, message));
    }
    Ok(())
}

impl Template {
    /// Reads the text under this key, if there is one.
    pub(super) fn new(step: &StepDefinition, key: &str) -> Result<Option<Self>, DefinitionError> {
        let Some(text) = options::text(step, key)? else { return Ok(None) };
        if text.is_empty() {
            return Err(DefinitionError::at(key, format!("`{key}` is empty")));
        }
        check(key, text)?;
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
    fn a_template_is_divided_at_its_values_whatever_is_in_them() {
        use Piece::{Text, Value};
        for (template, expected) in [
            ("a/b", vec![Text("a/b")]),
            (r"\(.a)", vec![Value(r"\(.a)")]),
            (r"a\(.a)\(.b)c", vec![Text("a"), Value(r"\(.a)"), Value(r"\(.b)"), Text("c")]),
            (r#"\(.a | f(")"))/"#, vec![Value(r#"\(.a | f(")"))"#), Text("/")]),
            (r#"\("x\(.a + ")")\")")/"#, vec![Value(r#"\("x\(.a + ")")\")")"#), Text("/")]),
            (r"\\\(.a)\/", vec![Text(r"\\"), Value(r"\(.a)"), Text(r"\/")]),
            (r"a\\(.a)", vec![Text(r"a\\(.a)")]),
            (r"a\(.a", vec![Text("a"), Value(r"\(.a")]),
            ("a\\", vec![Text("a\\")]),
        ] {
            assert_eq!(pieces(template), expected, "{template}");
        }
    }

    #[test]
    fn a_doubled_backslash_is_refused() {
        for template in [r"a/\\(.id)", r"\\(.id)", r"\(.a)/\\(.id)/x", r"\\\\(.id)"] {
            let step = definition("s3", json!({ "key": template }));
            let message = r"`key`: `\\(` is no template; write `\(` in single quotes";
            assert_eq!(
                Template::new(&step, "key").unwrap_err(),
                DefinitionError::at("key", message)
            );
        }
        for template in [r"a\\\(.id)", r#"\("\\(")"#] {
            assert!(Template::new(&definition("s3", json!({ "key": template })), "key").is_ok());
        }
    }

    #[test]
    fn an_expression_that_cannot_be_read_is_told_at_its_key() {
        let error =
            Template::new(&definition("s3", json!({"key": r"a/\(.id"})), "key").unwrap_err();
        assert_eq!(error.option.as_deref(), Some("key"));
    }
}

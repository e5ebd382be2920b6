//! A step's own keys, as a definition gives them.

use std::ops::RangeInclusive;
use std::time::Duration;

use everhook_journal::config::unknown_key;
use everhook_journal::time::parse_duration;
use everhook_journal::workflow::{StepDefinition, WAIT_MAX};
use serde_json::{Map, Value};

use crate::expression::{Dot, Expression};
use crate::step::DefinitionError;

/// Refuses keys that the kind does not know.
pub(super) fn only(step: &StepDefinition, known: &[&str]) -> Result<(), DefinitionError> {
    match step.options.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(DefinitionError::at(key, unknown_key(key, known))),
    }
}

/// A text.
pub(super) fn text<'d>(
    step: &'d StepDefinition,
    key: &str,
) -> Result<Option<&'d str>, DefinitionError> {
    let Some(value) = step.options.get(key) else { return Ok(None) };
    let text = value.as_str();
    text.map(Some)
        .ok_or_else(|| DefinitionError::at(key, format!("`{key}` must be a text in quotes")))
}

/// A text that must be there.
pub(super) fn required_text<'d>(
    step: &'d StepDefinition,
    key: &str,
) -> Result<&'d str, DefinitionError> {
    text(step, key)?.ok_or_else(|| DefinitionError::at(key, format!("`{key}` is missing")))
}

/// A table of its own, with these keys and no others.
pub(super) fn table<'d>(
    step: &'d StepDefinition,
    key: &str,
    known: &[&str],
) -> Result<Option<&'d Map<String, Value>>, DefinitionError> {
    let table = match step.options.get(key) {
        None => return Ok(None),
        Some(Value::Object(table)) => table,
        Some(_) => {
            return Err(DefinitionError::at(key, format!("`{key}` must be a table: {{ … }}")));
        }
    };
    match table.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(Some(table)),
        Some(name) => Err(DefinitionError::at(key, unknown_key(name, known))),
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(
    step: &StepDefinition,
    key: &str,
    choices: &[(&str, T)],
) -> Result<Option<T>, DefinitionError> {
    let Some(word) = text(step, key)? else { return Ok(None) };
    match choices.iter().find(|(name, _)| *name == word) {
        Some((_, choice)) => Ok(Some(*choice)),
        None => {
            let names: Vec<_> = choices.iter().map(|(name, _)| format!("\"{name}\"")).collect();
            let message = format!("`{key}` is one of {}, not \"{word}\"", names.join(", "));
            Err(DefinitionError::at(key, message))
        }
    }
}

/// A jq expression; `.` is what the step's `input` says.
pub(super) fn jq(step: &StepDefinition, key: &str) -> Result<Option<Expression>, DefinitionError> {
    text(step, key)?.map(|code| expression(step, key, code)).transpose()
}

/// An expression that stands under this key; `.` is what the step's `input` says.
pub(super) fn expression(
    step: &StepDefinition,
    key: &str,
    code: &str,
) -> Result<Expression, DefinitionError> {
    let dot = input(step)?;
    Expression::compile(code, dot).map_err(|message| DefinitionError::at(key, message))
}

/// What `.` is in the expressions of a step.
pub(super) fn input(step: &StepDefinition) -> Result<Dot, DefinitionError> {
    let choices = [
        ("json", Dot::Body),
        ("text", Dot::Text),
        ("form", Dot::Form),
        ("previous", Dot::Previous),
        ("item", Dot::Item),
    ];
    Ok(choice(step, "input", &choices)?.unwrap_or(Dot::Body))
}

/// A jq expression that must be there.
pub(super) fn required_jq(step: &StepDefinition, key: &str) -> Result<Expression, DefinitionError> {
    jq(step, key)?.ok_or_else(|| DefinitionError::at(key, format!("`{key}` is missing")))
}

/// A duration, as people write it: `30s`.
pub(super) fn duration(
    step: &StepDefinition,
    key: &str,
) -> Result<Option<Duration>, DefinitionError> {
    let Some(value) = step.options.get(key) else { return Ok(None) };
    let duration = value.as_str().and_then(parse_duration);
    let fine = duration.filter(|duration| !duration.is_zero() && *duration <= WAIT_MAX);
    fine.map(Some).ok_or_else(|| {
        let most = WAIT_MAX.as_secs() / 86_400;
        let message = format!(
            "`{key}` must be a duration such as \"30s\", \"15m\" or \"7d\", at most {most}d"
        );
        DefinitionError::at(key, message)
    })
}

/// A whole number in a span.
pub(super) fn number(
    step: &StepDefinition,
    key: &str,
    span: RangeInclusive<u32>,
) -> Result<Option<u32>, DefinitionError> {
    let Some(value) = step.options.get(key) else { return Ok(None) };
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    number.filter(|number| span.contains(number)).map(Some).ok_or_else(|| {
        let (least, most) = (span.start(), span.end());
        DefinitionError::at(key, format!("`{key}` must be a whole number from {least} to {most}"))
    })
}

//! A step's own keys, as a definition gives them.

use everhook_journal::config::unknown_key;
use everhook_journal::workflow::StepDefinition;
use serde_json::{Map, Value};

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

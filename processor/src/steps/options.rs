//! A step's own keys, as a definition gives them.

use everhook_journal::config::unknown_key;
use everhook_journal::workflow::StepDefinition;

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

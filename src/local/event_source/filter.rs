//! Which records are delivered at all.

use serde::Deserialize;

/// A filter of an event source mapping, as far as it asks for the kind of change.
///
/// A stream of keys has no images to ask for, so this is all that our template needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    names: Vec<String>,
}

/// The pattern asks for something that is not understood here.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// It is no list of names alone.
    #[error("only patterns such as {{\"eventName\":[\"INSERT\"]}} are understood")]
    Unknown(#[from] serde_json::Error),
    /// It asks for nothing.
    #[error("a pattern needs a name")]
    Empty,
}

/// The part of Lambda's patterns that is understood.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pattern {
    #[serde(rename = "eventName")]
    names: Vec<String>,
}

impl Filter {
    /// Reads a pattern as a template has it.
    /// What Lambda understands beyond names is refused, since ignoring it would let through too much.
    pub fn parse(pattern: &str) -> Result<Self, FilterError> {
        let Pattern { names } = serde_json::from_str(pattern)?;
        if names.is_empty() { Err(FilterError::Empty) } else { Ok(Filter { names }) }
    }

    /// Whether a change of this name is delivered.
    pub(super) fn lets_through(&self, name: &str) -> bool {
        self.names.iter().any(|wanted| wanted == name)
    }
}

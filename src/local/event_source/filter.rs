//! Which records are delivered at all.

use std::collections::BTreeMap;

use aws_lambda_events::dynamodb::EventRecord;
use serde::Deserialize;
use serde_dynamo::AttributeValue;

/// A filter of an event source mapping, as far as it asks for the kind of change and for numbers and texts in keys.
///
/// A stream of keys has no images to ask for, so this is all that our template needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    names: Vec<String>,
    keys: BTreeMap<String, Wanted>,
}

/// The pattern asks for something that is not understood here.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// It is no list of names, with values of keys.
    #[error(
        "only patterns such as {{\"eventName\":[\"INSERT\"]}} are understood, and values of keys beside that"
    )]
    Unknown(#[from] serde_json::Error),
    /// It asks for nothing.
    #[error("a pattern needs a name, and a key needs a value")]
    Empty,
}

/// The part of Lambda's patterns that is understood.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pattern {
    #[serde(rename = "eventName")]
    names: Vec<String>,
    #[serde(default)]
    dynamodb: Option<Change>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    #[serde(rename = "Keys")]
    keys: BTreeMap<String, Wanted>,
}

/// The values of a key that pass, by its type.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
enum Wanted {
    N(Vec<String>),
    S(Vec<String>),
}

impl Wanted {
    fn values(&self) -> &[String] {
        let (Self::N(values) | Self::S(values)) = self;
        values
    }

    fn is(&self, value: &AttributeValue) -> bool {
        match (self, value) {
            (Self::N(values), AttributeValue::N(value))
            | (Self::S(values), AttributeValue::S(value)) => values.contains(value),
            _ => false,
        }
    }
}

impl Filter {
    /// Reads a pattern as a template has it.
    /// What Lambda understands beyond this is refused, since ignoring it would let through too much.
    pub fn parse(pattern: &str) -> Result<Self, FilterError> {
        let Pattern { names, dynamodb } = serde_json::from_str(pattern)?;
        let is_empty = |change: &Change| {
            change.keys.is_empty() || change.keys.values().any(|wanted| wanted.values().is_empty())
        };
        if names.is_empty() || dynamodb.as_ref().is_some_and(is_empty) {
            return Err(FilterError::Empty);
        }
        Ok(Self { names, keys: dynamodb.map(|change| change.keys).unwrap_or_default() })
    }

    /// Whether a record is delivered.
    pub(super) fn lets_through(&self, record: &EventRecord) -> bool {
        let keys = &record.change.keys;
        self.names.contains(&record.event_name)
            && self
                .keys
                .iter()
                .all(|(name, wanted)| keys.get(name).is_some_and(|value| wanted.is(value)))
    }
}

//! The values of expressions, with the arithmetic, order and paths of jq 1.8.

pub(crate) mod calculate;
mod number;
mod paths;
mod read;
mod write;

use std::cmp::Ordering;
use std::rc::Rc;

use indexmap::IndexMap;
use jaq_core::Error as JqError;

pub(crate) use number::{Literal, parse as parse_number};
pub(crate) use paths::places;
pub(crate) use read::{DEPTH_READ_MAX, read, read_known};
pub(crate) use write::{WriteError, write};

/// Members in the order in which they were added.
pub(crate) type Map = IndexMap<Rc<String>, Value>;

/// An error of an expression.
pub(crate) type Error = JqError<Value>;

/// A value, or the error of an expression.
pub(crate) type Result<T = Value> = std::result::Result<T, Error>;

/// The deepest nesting that a comparison or a merge goes into.
const DEPTH_COMPARED_MAX: usize = 10_000;

/// A value of JSON. A clone is cheap, and shares what it holds.
#[derive(Clone, Debug, Default)]
pub(crate) enum Value {
    #[default]
    Null,
    Bool(bool),
    /// A number that was calculated, or a small whole one.
    Number(f64),
    /// Any other number, as it was written.
    Literal(Rc<Literal>),
    /// Text, always UTF-8.
    Text(Rc<String>),
    Array(Rc<Vec<Value>>),
    Object(Rc<Map>),
}

impl Value {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(Rc::new(text.into()))
    }

    pub(crate) fn array(items: Vec<Self>) -> Self {
        Self::Array(Rc::new(items))
    }

    pub(crate) fn object(members: Map) -> Self {
        Self::Object(Rc::new(members))
    }

    /// Its value as a number, if it is one.
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Literal(literal) => Some(literal.value),
            _ => None,
        }
    }

    /// The kind of value, as `type` says it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::Number(_) | Self::Literal(_) => "number",
            Self::Text(_) => "string",
            Self::Array(_) => "array",
            Self::Object(_) => "object",
        }
    }

    /// Whether it is neither null nor false.
    pub(crate) fn holds(&self) -> bool {
        !matches!(self, Self::Null | Self::Bool(false))
    }

    /// What `tostring` gives.
    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Text(text) => text.to_string(),
            other => other.to_string(),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Bool(false) => 1,
            Self::Bool(true) => 2,
            Self::Number(_) | Self::Literal(_) => 3,
            Self::Text(_) => 4,
            Self::Array(_) => 5,
            Self::Object(_) => 6,
        }
    }
}

/// An error of an expression in these words.
pub(crate) fn error<T>(words: impl Into<String>) -> Result<T> {
    Err(Error::new(Value::text(words)))
}

/// What errors tell of a value: its kind, and as much of it as jq tells.
pub(crate) fn told(value: &Value) -> String {
    const BYTES_MAX: usize = 29;
    let mut text = write::prefix(value, BYTES_MAX + 1);
    if text.len() > BYTES_MAX {
        let quoted = matches!(value, Value::Text(_));
        let end = if quoted { "...\"" } else { "..." };
        text.truncate(text.floor_char_boundary(BYTES_MAX - end.len()));
        text.push_str(end);
    }
    format!("{} ({text})", value.kind())
}

/// As in jq, not-a-number equals nothing; everywhere else the order decides.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(one), Self::Text(other)) => one == other,
            (Self::Array(one), Self::Array(other)) => one == other,
            (Self::Object(one), Self::Object(other)) => one == other,
            (Self::Literal(one), Self::Literal(other)) => one.compare(other) == Ordering::Equal,
            _ => match (self.number(), other.number()) {
                (Some(one), Some(other)) => one == other,
                _ => self.rank() == other.rank(),
            },
        }
    }
}

impl Eq for Value {}

#[expect(clippy::non_canonical_partial_ord_impl, reason = "`<` and `sort` differ for not-a-number")]
impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self {
            // Not-a-number is less than any number, itself too.
            Self::Number(number) if number.is_nan() && other.number().is_some() => {
                Some(Ordering::Less)
            }
            _ => Some(self.cmp(other)),
        }
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(one), Self::Text(other)) => one.cmp(other),
            (Self::Array(one), Self::Array(other)) => one.cmp(other),
            (Self::Object(one), Self::Object(other)) => compare_objects(one, other),
            (Self::Literal(one), Self::Literal(other)) => one.compare(other),
            _ => match (self.number(), other.number()) {
                (Some(one), Some(other)) => number::compare(one, other),
                _ => self.rank().cmp(&other.rank()),
            },
        }
    }
}

/// First the names, sorted, then the values in their order.
fn compare_objects(one: &Map, other: &Map) -> Ordering {
    fn sorted(members: &Map) -> Vec<(&Rc<String>, &Value)> {
        let mut sorted: Vec<_> = members.iter().collect();
        sorted.sort_by_key(|(name, _)| *name);
        sorted
    }
    let (one, other) = (sorted(one), sorted(other));
    let names = one.iter().map(|(name, _)| name).cmp(other.iter().map(|(name, _)| name));
    names.then_with(|| one.iter().map(|(_, it)| it).cmp(other.iter().map(|(_, it)| it)))
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Bool(flag)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<isize> for Value {
    fn from(whole: isize) -> Self {
        number::from_whole(whole as f64, || whole.to_string())
    }
}

impl From<usize> for Value {
    fn from(whole: usize) -> Self {
        number::from_whole(whole as f64, || whole.to_string())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl FromIterator<Self> for Value {
    fn from_iter<T: IntoIterator<Item = Self>>(items: T) -> Self {
        Self::array(items.into_iter().collect())
    }
}

//! What is read of a JSON body, in one pass: its summary, the values at a few places, and where its events are.
//! Nothing else of it is kept in memory.

mod path;
mod reader;

use std::ops::Range;

use crate::summary::Summary;

pub use path::Path;

use reader::Reading;

/// What to look for in a body.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Places of texts and numbers.
    pub paths: Vec<Path>,
    /// The place of the list of events.
    pub list: Option<Path>,
}

/// What was found in a body.
#[derive(Debug, Default)]
pub struct Outline {
    /// What it is about; nothing if it is not JSON.
    pub summary: Option<Summary>,
    /// Where in the body each event of the list is; nothing if there is no list.
    pub list: Option<Vec<Range<usize>>>,
    found: Vec<(String, Option<Found>)>,
}

/// What stands at a place.
#[derive(Debug, Clone, PartialEq)]
enum Found {
    Text(String),
    /// As it is written: as a number it may lose digits.
    Number(String),
    EmptyList,
    Other,
}

impl Outline {
    /// Reads a body.
    pub fn of(body: &[u8], wanted: &Wanted) -> Self {
        // What cannot be read at one of the places may still be JSON, and have a summary.
        let reading = Reading::of(body, wanted).or_else(|| Reading::of(body, &Wanted::default()));
        let mut found = reading.as_ref().map(|reading| reading.found.clone()).unwrap_or_default();
        found.resize(wanted.paths.len(), None);
        let places = wanted.paths.iter().map(|path| path.as_str().to_owned());
        let found = places.zip(found).collect();
        let (summary, list) = reading.map(|read| (read.summary, read.list)).unzip();
        Self { summary, list: list.flatten(), found }
    }

    /// The text or number at a place that was wanted; numbers as they are written.
    /// Of a key that occurs twice the last one counts, as for everybody who reads the body later.
    pub fn field(&self, path: &str) -> Option<String> {
        match self.found(path)? {
            Found::Text(text) => Some(text.clone()),
            Found::Number(number) => Some(number.clone()),
            Found::EmptyList | Found::Other => None,
        }
    }

    /// The same, if it is not blank.
    pub fn text(&self, path: &str) -> Option<String> {
        self.field(path).filter(|text| !text.trim().is_empty())
    }

    /// Whether a list without items stands at a place that was wanted.
    pub fn is_empty_list(&self, path: &str) -> bool {
        self.found(path) == Some(&Found::EmptyList)
    }

    fn found(&self, path: &str) -> Option<&Found> {
        let place = self.found.iter().find(|(place, _)| place == path);
        debug_assert!(place.is_some(), "{path} was not wanted");
        place?.1.as_ref()
    }
}

/// The text or number at a path of keys (`data.id`); `None` if there is none.
pub(crate) fn field(body: &[u8], path: &str) -> Option<String> {
    let wanted = Wanted { paths: vec![Path::dotted(path)], list: None };
    Outline::of(body, &wanted).field(path)
}

#[cfg(test)]
mod tests;

//! One table of `everhook.toml`, read key by key, with the line of everything.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::time::parse_duration;

/// Something wrong with the configuration, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// A table of the file. Reading a key takes it out; [`Section::finish`] refuses what is left.
#[derive(Debug, Clone)]
pub struct Section {
    label: String,
    line: usize,
    entries: BTreeMap<String, Entry>,
    known: Vec<&'static str>,
    lines: BTreeMap<&'static str, usize>,
}

/// A value with its line.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The line, from 1.
    pub line: usize,
    /// The value, as JSON.
    pub value: Value,
}

impl Section {
    pub(super) fn new(label: String, line: usize, entries: BTreeMap<String, Entry>) -> Self {
        Self { label, line, entries, known: Vec::new(), lines: BTreeMap::new() }
    }

    /// The table as it stands in the file: `[sources.github]`.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Something wrong with the table as a whole.
    pub fn problem(&self, message: impl fmt::Display) -> Problem {
        Problem { line: self.line, message: format!("{}: {message}", self.label) }
    }

    /// Something wrong with one of its entries.
    pub fn problem_at(&self, line: usize, message: impl fmt::Display) -> Problem {
        Problem { line, message: format!("{}: {message}", self.label) }
    }

    /// Something wrong with the value of a key that was read; with the table, if the key is not there.
    pub fn problem_of(&self, key: &str, message: impl fmt::Display) -> Problem {
        self.problem_at(*self.lines.get(key).unwrap_or(&self.line), message)
    }

    /// The value of a key, whatever it is.
    pub fn take(&mut self, key: &'static str) -> Option<Entry> {
        self.known.push(key);
        let entry = self.entries.remove(key)?;
        self.lines.insert(key, entry.line);
        Some(entry)
    }

    /// A text.
    pub fn text(&mut self, key: &'static str) -> Result<Option<String>, Problem> {
        self.read(key, "a text in quotes", |value| value.as_str().map(str::to_owned))
    }

    /// A text that must be there.
    pub fn required_text(&mut self, key: &'static str) -> Result<String, Problem> {
        self.text(key)?.ok_or_else(|| self.problem(format!("`{key}` is missing")))
    }

    /// A list of texts; empty if it is not there.
    pub fn texts(&mut self, key: &'static str) -> Result<Vec<String>, Problem> {
        let read = |value: &Value| {
            let items = value.as_array()?.iter();
            items.map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        };
        Ok(self.read(key, "a list of texts", read)?.unwrap_or_default())
    }

    /// A whole number from 0.
    pub fn number(&mut self, key: &'static str) -> Result<Option<u64>, Problem> {
        self.read(key, "a whole number", Value::as_u64)
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &'static str) -> Result<Option<bool>, Problem> {
        self.read(key, "true or false", Value::as_bool)
    }

    /// A duration: `"30s"`.
    pub fn duration(&mut self, key: &'static str) -> Result<Option<Duration>, Problem> {
        let read = |value: &Value| value.as_str().and_then(parse_duration);
        self.read(key, "a duration such as \"30s\", \"15m\" or \"7d\"", read)
    }

    /// A table inside this one.
    pub fn section(&mut self, key: &'static str) -> Result<Option<Section>, Problem> {
        let Some(entry) = self.take(key) else { return Ok(None) };
        let Value::Object(map) = entry.value else {
            return Err(self.problem_at(entry.line, format!("`{key}` must be a table")));
        };
        Ok(Some(self.inner(key, entry.line, map)))
    }

    /// The line of a key that was read.
    pub fn line_of(&self, key: &str) -> Option<usize> {
        self.lines.get(key).copied()
    }

    /// A table that was the value of a key of this one.
    pub(super) fn inner(
        &self,
        key: &str,
        line: usize,
        map: serde_json::Map<String, Value>,
    ) -> Section {
        let entries = map.into_iter().map(|(key, value)| (key, Entry { line, value })).collect();
        Self::new(format!("{}, `{key}`", self.label), line, entries)
    }

    /// Everything that was not read yet.
    pub fn rest(&mut self) -> BTreeMap<String, Entry> {
        std::mem::take(&mut self.entries)
    }

    /// Refuses a key that earlier versions knew, and says why.
    pub fn refuse(&self, key: &str, why: &str) -> Result<(), Problem> {
        match self.entries.get(key) {
            None => Ok(()),
            Some(entry) => Err(self.problem_at(entry.line, format!("`{key}` {why}"))),
        }
    }

    /// Refuses keys that nobody read.
    pub fn finish(self) -> Result<(), Problem> {
        match self.entries.iter().next() {
            None => Ok(()),
            Some((key, entry)) => {
                let hint = unknown_key(key, &self.known);
                Err(self.problem_at(entry.line, hint))
            }
        }
    }

    fn read<T>(
        &mut self,
        key: &'static str,
        wanted: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(entry) = self.take(key) else { return Ok(None) };
        match read(&entry.value) {
            Some(value) => Ok(Some(value)),
            None => Err(self.problem_at(entry.line, format!("`{key}` must be {wanted}"))),
        }
    }
}

/// What to say of a key that nobody knows.
pub fn unknown_key(key: &str, known: &[&str]) -> String {
    match nearest(key, known.iter().copied()) {
        Some(name) => format!("unknown key `{key}`; did you mean `{name}`?"),
        None => format!("unknown key `{key}`; known here: {}", known.join(", ")),
    }
}

/// The one of several names that somebody may have meant.
pub fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let near = known.map(|known| (distance(name, known), known)).min()?;
    (near.0 <= 2).then_some(near.1)
}

/// Levenshtein's distance of two short words.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.chars().count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_recognised() {
        assert_eq!(
            unknown_key("shceme", &["scheme", "secrets"]),
            "unknown key `shceme`; did you mean `scheme`?"
        );
        assert_eq!(unknown_key("colour", &["jq"]), "unknown key `colour`; known here: jq");
    }
}

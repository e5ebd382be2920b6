//! Regular expressions, as jq has them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use fancy_regex::{Captures, Regex, RegexBuilder};
use jaq_core::native::{Fun, bome, run, v};
use jaq_core::{Bind, Cv, ValX};

use super::super::value::{Map, Result, Value, error, told};
use super::Data;

/// How often a pattern may try again before it is given up.
const TRIES_MAX: usize = 1_000_000;

/// How many compiled patterns a thread keeps.
const KEPT_MAX: usize = 32;

thread_local! {
    static COMPILED: RefCell<HashMap<(String, String), Rc<Pattern>>> = RefCell::default();
}

pub(super) fn functions() -> Vec<Fun<Data>> {
    let var = || Bind::Var(());
    vec![
        run(("_match", v(2), |cv| bome(matches(cv)))),
        run(("_test", v(2), |cv| bome(test(cv)))),
        run(("_split", v(2), |cv| bome(split(cv)))),
        run(("_captures", v(0), |cv| bome(Ok(named(&cv.1))))),
        run(("_sub", [var(), var(), Bind::Fun(())].into(), |cv| match substituted(cv) {
            Ok(texts) => Box::new(texts.into_iter().map(|text| Ok(Value::text(text)))),
            Err(error) => Box::new(std::iter::once(Err(error))),
        })),
    ]
}

/// A compiled pattern.
struct Pattern {
    regex: Regex,
    everywhere: bool,
}

impl Pattern {
    fn of(pattern: &Value, flags: &Value, everywhere: bool) -> Result<Rc<Self>> {
        // `match([pattern, flags])` is another way to say it.
        let (pattern, flags) = match (pattern, flags) {
            (Value::Array(both), Value::Null) => {
                (both.first().unwrap_or(&Value::Null), both.get(1).unwrap_or(&Value::Null))
            }
            both => both,
        };
        let Value::Text(pattern) = pattern else {
            return error(format!("{} cannot be matched, as it is not a string", told(pattern)));
        };
        let flags = match flags {
            Value::Null => "",
            Value::Text(flags) => flags.as_str(),
            other => return error(format!("{} is not a string", told(other))),
        };
        let key = (pattern.to_string(), format!("{flags}{}", if everywhere { "g" } else { "" }));
        if let Some(known) = COMPILED.with_borrow(|compiled| compiled.get(&key).cloned()) {
            return Ok(known);
        }
        let compiled = Rc::new(Self::compile(pattern, &key.1)?);
        COMPILED.with_borrow_mut(|kept| {
            if kept.len() >= KEPT_MAX {
                kept.clear();
            }
            kept.insert(key, compiled.clone());
        });
        Ok(compiled)
    }

    fn compile(pattern: &str, flags: &str) -> Result<Self> {
        let has = |flag: char| flags.contains(flag);
        if flags.contains(|flag: char| !"ginpsx".contains(flag)) {
            return error(format!("{flags} is not a valid modifier string"));
        }
        let invalid = || error(format!("{pattern} (at offset 0) is not a valid regex"));
        let Some(with_ends) = with_ends(pattern) else {
            return invalid();
        };
        let regex = RegexBuilder::new(&with_ends)
            .case_insensitive(has('i'))
            .ignore_whitespace(has('x'))
            .dot_matches_new_line(has('p'))
            .find_not_empty(has('n'))
            .backtrack_limit(TRIES_MAX)
            .build();
        match regex {
            Ok(regex) => Ok(Self { regex, everywhere: has('g') }),
            Err(_) => invalid(),
        }
    }

    /// What it finds in a text.
    fn found<'t>(&self, text: &'t str) -> Result<Vec<Captures<'t, str>>> {
        let mut all = Vec::new();
        let mut from = 0;
        while from <= text.len() {
            let found = match self.regex.captures_from_pos(text, from) {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(_) => return error("the pattern takes too many tries"),
            };
            let whole = found.get(0).expect("a match has a whole");
            // After nothing was found somewhere, the search goes on behind the next character.
            let (start, end) = (whole.start(), whole.end());
            let step = text[end..].chars().next().map_or(1, char::len_utf8);
            from = if end == start { end + step } else { end };
            all.push(found);
            if !self.everywhere {
                break;
            }
        }
        Ok(all)
    }

    fn names(&self) -> Vec<Option<&str>> {
        self.regex.capture_names().skip(1).collect()
    }
}

/// The pattern with `$` as jq has it: also before a line break at the end of the text.
/// None if the two engines take a part of it for different things.
fn with_ends(pattern: &str) -> Option<String> {
    let mut text = String::with_capacity(pattern.len());
    let (mut escaped, mut class) = (false, 0_usize);
    for character in pattern.chars() {
        match character {
            // A hexadecimal digit to one engine, a blank to the other.
            'h' | 'H' if escaped => return None,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => class += 1,
            ']' => class = class.saturating_sub(1),
            '$' if class == 0 => {
                text.push_str("(?=\\n?\\z)");
                continue;
            }
            _ => {}
        }
        text.push(character);
    }
    Some(text)
}

/// Counts the characters before places that only grow.
struct Counter<'t> {
    text: &'t str,
    bytes: usize,
    characters: usize,
}

impl Counter<'_> {
    fn at(&mut self, place: usize) -> usize {
        if place < self.bytes {
            // A group may stand before one that began earlier.
            return self.text[..place].chars().count();
        }
        self.characters += self.text[self.bytes..place].chars().count();
        self.bytes = place;
        self.characters
    }
}

fn text_of(value: &Value) -> Result<&str> {
    match value {
        Value::Text(text) => Ok(text),
        other => error(format!("{} cannot be matched, as it is not a string", told(other))),
    }
}

fn arguments(cv: &mut Cv<'_, Data>) -> (Value, Value) {
    let flags = cv.0.pop_var();
    (cv.0.pop_var(), flags)
}

fn matches(mut cv: Cv<'_, Data>) -> Result {
    let (pattern, flags) = arguments(&mut cv);
    let text = text_of(&cv.1)?;
    let pattern = Pattern::of(&pattern, &flags, false)?;
    let names = pattern.names();
    let mut counter = Counter { text, bytes: 0, characters: 0 };
    let found = pattern.found(text)?;
    Ok(found.iter().map(|found| one_match(found, &names, &mut counter)).collect())
}

fn one_match(
    found: &Captures<'_, str>,
    names: &[Option<&str>],
    counter: &mut Counter<'_>,
) -> Value {
    let name = |name: &str| Rc::new(name.to_owned());
    let mut place = |group: usize| match found.get(group) {
        Some(group) => {
            let text = group.as_str();
            let offset = Value::from(counter.at(group.start()));
            [
                (name("offset"), offset),
                (name("length"), Value::from(text.chars().count())),
                (name("string"), Value::text(text)),
            ]
        }
        None => [
            (name("offset"), Value::Number(-1.0)),
            (name("length"), Value::from(0_usize)),
            (name("string"), Value::Null),
        ],
    };
    let mut whole: Map = place(0).into_iter().collect();
    let groups = names.iter().enumerate().map(|(index, group)| {
        let mut members: Map = place(index + 1).into_iter().collect();
        let group = group.map_or(Value::Null, Value::text);
        members.insert(name("name"), group);
        Value::object(members)
    });
    let groups = groups.collect();
    whole.insert(name("captures"), groups);
    Value::object(whole)
}

fn test(mut cv: Cv<'_, Data>) -> Result {
    let (pattern, flags) = arguments(&mut cv);
    let text = text_of(&cv.1)?;
    let pattern = Pattern::of(&pattern, &flags, false)?;
    match pattern.regex.is_match(text) {
        Ok(found) => Ok(Value::Bool(found)),
        Err(_) => error("the pattern takes too many tries"),
    }
}

fn split(mut cv: Cv<'_, Data>) -> Result {
    let (pattern, flags) = arguments(&mut cv);
    let text = text_of(&cv.1)?;
    let pattern = Pattern::of(&pattern, &flags, true)?;
    let mut pieces = Vec::new();
    let mut from = 0;
    for found in pattern.found(text)? {
        let whole = found.get(0).expect("a match has a whole");
        pieces.push(Value::text(&text[from..whole.start().max(from)]));
        from = whole.end();
    }
    pieces.push(Value::text(&text[from..]));
    Ok(Value::array(pieces))
}

/// The named groups of a match.
fn named(found: &Value) -> Value {
    let mut members = Map::new();
    let name = |name: &str| name.to_owned();
    if let Value::Object(found) = found
        && let Some(Value::Array(groups)) = found.get(&name("captures"))
    {
        for group in groups.iter() {
            if let Value::Object(group) = group
                && let Some(Value::Text(called)) = group.get(&name("name"))
            {
                let text = group.get(&name("string")).cloned().unwrap_or_default();
                members.insert(called.clone(), text);
            }
        }
    }
    Value::object(members)
}

/// The texts with what was found replaced: one for each result that the replacement has.
fn substituted<'a>(mut cv: Cv<'a, Data>) -> ValX<'a, Vec<String>, Value> {
    let (replacement, context) = cv.0.pop_fun();
    let (pattern, flags) = arguments(&mut cv);
    let text = text_of(&cv.1)?;
    let pattern = Pattern::of(&pattern, &flags, false)?;
    let names = pattern.names();
    let mut results: Vec<String> = Vec::new();
    let mut from = 0;
    let found = pattern.found(text)?;
    if found.is_empty() {
        return Ok(vec![text.to_owned()]);
    }
    for found in found {
        let whole = found.get(0).expect("a match has a whole");
        let between = &text[from..whole.start().max(from)];
        let groups = names.iter().enumerate().filter_map(|(index, group)| {
            let text =
                found.get(index + 1).map_or(Value::Null, |group| Value::text(group.as_str()));
            Some((Rc::new((*group)?.to_owned()), text))
        });
        let groups = Value::object(groups.collect());
        for (index, new) in replacement.run((context.clone(), groups)).enumerate() {
            let new = new?;
            let Value::Text(new) = new else {
                return Ok(error(format!("{} cannot be added to a string", told(&new)))?);
            };
            if index == results.len() {
                results.push(String::new());
            }
            results[index].push_str(between);
            results[index].push_str(&new);
        }
        from = whole.end();
    }
    results.iter_mut().for_each(|result| result.push_str(&text[from..]));
    Ok(results)
}

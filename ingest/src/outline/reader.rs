//! The pass through a body.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use everhook_journal::event::KEYS_MAX;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Found, Wanted};
use crate::items::ITEMS_MAX;
use crate::summary::{Summary, shortened};

/// What a pass has found so far.
pub(super) struct Reading {
    pub(super) summary: Summary,
    /// In the order of the wanted paths.
    pub(super) found: Vec<Option<Found>>,
    pub(super) list: Option<Vec<Range<usize>>>,
    /// Where the body begins in memory, to tell where in it an event is.
    start: usize,
}

/// Something that is sought: what it is, and the steps to it from here.
#[derive(Clone, Copy)]
struct Target<'p> {
    goal: Goal,
    steps: &'p [String],
}

#[derive(Clone, Copy, PartialEq)]
enum Goal {
    /// The value of the wanted path at this position.
    Value(usize),
    /// The list of events.
    List,
}

impl Reading {
    /// Reads a body; `None` if it is not JSON, or has something unreadable on the way to a place.
    pub(super) fn of(body: &[u8], wanted: &Wanted) -> Option<Self> {
        let found = vec![None; wanted.paths.len()];
        let start = body.as_ptr().addr();
        let mut reading = Self { summary: Summary::default(), found, list: None, start };
        let values = wanted.paths.iter().enumerate();
        let values = values.map(|(at, path)| Target { goal: Goal::Value(at), steps: path.steps() });
        let list = wanted.list.iter().map(|path| Target { goal: Goal::List, steps: path.steps() });
        let mut json = serde_json::Deserializer::from_slice(body);
        let targets = values.chain(list).collect();
        Seek { targets, is_top: true, reading: &mut reading }.deserialize(&mut json).ok()?;
        json.end().ok()?;
        Some(reading)
    }

    /// Of a key that occurs twice only the last counts.
    fn forget(&mut self, targets: &[Target<'_>]) {
        for target in targets {
            match target.goal {
                Goal::Value(at) => self.found[at] = None,
                Goal::List => self.list = None,
            }
        }
    }

    fn place(&self, raw: &RawValue) -> Range<usize> {
        let from = raw.get().as_ptr().addr() - self.start;
        from..from + raw.get().len()
    }
}

/// Looks for some targets in one value.
struct Seek<'p, 'r> {
    targets: Vec<Target<'p>>,
    is_top: bool,
    reading: &'r mut Reading,
}

impl<'de> DeserializeSeed<'de> for Seek<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(mut self, json: D) -> Result<(), D::Error> {
        let is_here = |target: &Target<'_>| target.goal != Goal::List && target.steps.is_empty();
        if !self.targets.iter().any(is_here) {
            return json.deserialize_any(self);
        }
        // The raw text first: a value that cannot be read is not an error.
        let raw = <&RawValue>::deserialize(json)?;
        for target in self.targets.extract_if(.., |target| is_here(target)) {
            if let Goal::Value(at) = target.goal {
                self.reading.found[at] = Some(Found::of(raw));
            }
        }
        self.within(raw);
        Ok(())
    }
}

impl Seek<'_, '_> {
    /// Looks in a value that was read already: what cannot be read in it is not there.
    fn within(self, raw: &RawValue) {
        if !self.targets.is_empty() || self.is_top {
            self.deserialize(&mut serde_json::Deserializer::from_str(raw.get())).ok();
        }
    }

    fn is_list(&self) -> bool {
        self.targets.iter().any(|target| target.goal == Goal::List && target.steps.is_empty())
    }
}

impl<'de> Visitor<'de> for Seek<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key()? {
            let targets: Vec<_> =
                self.targets.iter().filter_map(|target| target.under(&key)).collect();
            let is_type = self.is_top && key == "type";
            if is_type {
                // Read aside, because it may be wanted as well.
                let raw: &RawValue = map.next_value()?;
                self.reading.summary.event_type =
                    serde_json::from_str(raw.get()).ok().map(shortened);
                self.reading.forget(&targets);
                Seek { targets, is_top: false, reading: self.reading }.within(raw);
            } else if targets.is_empty() {
                map.next_value::<IgnoredAny>()?;
            } else {
                self.reading.forget(&targets);
                map.next_value_seed(Seek { targets, is_top: false, reading: self.reading })?;
            }
            if self.is_top {
                let summary = &mut self.reading.summary;
                summary.key_count += 1;
                if summary.keys.len() < KEYS_MAX {
                    summary.keys.push(shortened(key.into_owned()));
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let targets: Vec<_> = self.targets.iter().filter_map(Target::indexed).collect();
        let mut list = self.is_list().then(Vec::new);
        let mut count = 0_u64;
        loop {
            let of_this = targets.iter().filter(|(index, _)| *index == count);
            let targets: Vec<_> = of_this.map(|(_, target)| *target).collect();
            let seek = Seek { targets, is_top: false, reading: self.reading };
            let there_is_one = if let Some(list) = &mut list {
                let item = items.next_element::<&RawValue>()?;
                if let Some(raw) = item {
                    // One more than may be, to be refused.
                    if list.len() <= ITEMS_MAX {
                        list.push(seek.reading.place(raw));
                    }
                    seek.within(raw);
                }
                item.is_some()
            } else if seek.targets.is_empty() {
                items.next_element::<IgnoredAny>()?.is_some()
            } else {
                items.next_element_seed(seek)?.is_some()
            };
            if !there_is_one {
                break;
            }
            count += 1;
        }
        if self.is_top {
            self.reading.summary.key_count = count;
        }
        self.reading.list = list.or(self.reading.list.take());
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

impl<'p> Target<'p> {
    /// What remains of it below this key.
    fn under(&self, key: &str) -> Option<Self> {
        let (first, steps) = self.steps.split_first()?;
        (first == key).then_some(Self { goal: self.goal, steps })
    }

    /// The position in a list that is its next step, and what remains of it there.
    fn indexed(&self) -> Option<(u64, Self)> {
        let (first, steps) = self.steps.split_first()?;
        let index: u64 = first.parse().ok()?;
        (index.to_string() == *first).then_some((index, Self { goal: self.goal, steps }))
    }
}

impl Found {
    fn of(raw: &RawValue) -> Self {
        let text = raw.get();
        let found = match text.as_bytes().first() {
            Some(b'"') => serde_json::from_str(text).map(Self::Text),
            Some(b'-' | b'0'..=b'9') => Ok(Self::Number(text.to_owned())),
            Some(b'[') => serde_json::from_str::<[IgnoredAny; 0]>(text).map(|_| Self::EmptyList),
            Some(_) | None => Ok(Self::Other),
        };
        found.unwrap_or(Self::Other)
    }
}

/// A key, without a copy of its own where it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

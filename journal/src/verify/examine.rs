//! What a history's items, and what its row has seen of them, say about each other.

use crate::chain::{Digest, Link};
use crate::event::{Event, Recorded};
use crate::execution::Execution;
use crate::id::Sequence;
use crate::item::{self, read_number, read_optional};
use crate::store::Item;
use crate::time::Timestamp;

use super::{Differs, SeenAppend, Touched};

/// For how many appends that do not fit it is looked where they may belong.
const SOUGHT_MAX: usize = 16;

/// What the items say.
pub(super) struct Examined {
    pub(super) appends: Vec<SeenAppend>,
    /// The events that can be read.
    pub(super) recorded: Vec<Recorded>,
    pub(super) touched: Vec<Touched>,
}

/// An append, as far as it can be read.
struct Seen<'i> {
    item: &'i Item,
    shown: SeenAppend,
    previous: Option<Digest>,
    recorded: Vec<Recorded>,
}

impl Seen<'_> {
    fn first(&self) -> u64 {
        self.shown.sequence.get()
    }

    fn last(&self) -> u64 {
        self.first() + self.shown.events.max(1) - 1
    }

    /// Its digest, had it stood at this place.
    fn digest_at(&self, sequence: u64) -> Option<Digest> {
        let text = |name| item::read_text(self.item, name).ok();
        let link = Link {
            execution: text("execution")?,
            sequence,
            form: read_number(self.item, "form").ok()?,
            events: item::stored_events(self.item).ok()?,
            at: text("at")?,
            append: text("append")?,
            previous: text("previous"),
        };
        Some(link.digest())
    }
}

/// Appends, and what has been found fault with.
#[derive(Default)]
struct Faults<'i> {
    seen: Vec<Seen<'i>>,
    /// Whether each of them is known to be at fault.
    found: Vec<bool>,
    touched: Vec<Touched>,
}

/// Compares items, in their order, with each other and with the last event and digest that their row has seen.
pub(super) fn examine(items: &[Item], row: Option<(Sequence, Option<Digest>)>) -> Examined {
    let mut faults = Faults::default();
    for item in items {
        faults.see(item);
    }
    faults.extend_unreadable(row.map(|(sequence, _)| sequence));
    let gaps = faults.gaps();
    let unmet = faults.unmet(&gaps, row);
    faults.seek(&unmet);
    faults.blame(&unmet);
    faults.count(&gaps);
    faults.compare_row(row);
    faults.derive();
    Examined {
        recorded: faults.seen.iter().flat_map(|seen| seen.recorded.clone()).collect(),
        appends: faults.seen.into_iter().map(|seen| seen.shown).collect(),
        touched: faults.touched,
    }
}

/// Who says of an append what its digest was.
#[derive(Clone, Copy, PartialEq)]
enum Witness {
    Next,
    Row,
}

/// An append whose digest is not the one that was recorded.
struct Unmet {
    place: usize,
    expected: Digest,
    witness: Witness,
}

impl<'i> Faults<'i> {
    /// Reads an item as far as it goes.
    fn see(&mut self, item: &'i Item) {
        let after = self.seen.last().map_or(0, Seen::last);
        let first = read_number(item, "sequence").unwrap_or(after + 1);
        let read = item::to_append(item);
        let fault = read.as_ref().err().map(|error| (error.attribute, error.reason.clone()));
        let recorded = read.map(|append| append.recorded).unwrap_or_default();
        let names = match read_number(item, "form") {
            Ok(item::FORM_TEXT) => read_optional(item, "names").unwrap_or_default(),
            _ => names(&recorded),
        };
        let events = match recorded.len() {
            0 => names.split_whitespace().count(),
            read => read,
        };
        let previous = item::previous(item).ok().flatten();
        self.seen.push(Seen {
            item,
            shown: SeenAppend {
                sequence: Sequence::new(first),
                events: events as u64,
                names,
                digest: item::digest(item).ok(),
                chained: first == 1 || previous.is_some(),
            },
            previous,
            recorded,
        });
        self.found.push(false);
        if let Some((attribute, reason)) = fault {
            self.fault(self.seen.len() - 1, attribute_differs(attribute, reason));
        }
    }

    /// An append whose events cannot be read and counted has all that are missing after it:
    /// what it lost is told once, as its own fault.
    fn extend_unreadable(&mut self, row: Option<Sequence>) {
        for place in 0..self.seen.len() {
            let next = self.seen.get(place + 1).map(Seen::first);
            let end = next.or(row.map(|last| last.get() + 1));
            let seen = &mut self.seen[place];
            if let (0, Some(end)) = (seen.shown.events, end) {
                seen.shown.events = end.saturating_sub(seen.first());
            }
        }
    }

    fn fault(&mut self, place: usize, differs: Differs) {
        let shown = &self.seen[place].shown;
        self.touched.push(Touched { sequence: shown.sequence, name: shown.names.clone(), differs });
        self.found[place] = true;
    }

    /// The appends before which events are missing.
    fn gaps(&self) -> Vec<usize> {
        let mut wanted = 1;
        let mut gaps = Vec::new();
        for (place, seen) in self.seen.iter().enumerate() {
            if seen.first() > wanted {
                gaps.push(place);
            }
            wanted = seen.last() + 1;
        }
        gaps
    }

    /// The appends whose digests are not those that were recorded.
    fn unmet(&self, gaps: &[usize], row: Option<(Sequence, Option<Digest>)>) -> Vec<Unmet> {
        let mut unmet = Vec::new();
        for (place, pair) in self.seen.windows(2).enumerate() {
            if let Some(expected) = pair[1].previous
                && !gaps.contains(&(place + 1))
                && pair[0].shown.digest != Some(expected)
            {
                unmet.push(Unmet { place, expected, witness: Witness::Next });
            }
        }
        if let (Some(last), Some((sequence, Some(head)))) = (self.seen.last(), row)
            && last.last() == sequence.get()
            // An older version may have written the row after a newer one: it leaves the digest as it is.
            && !self.knows(head)
        {
            let place = self.seen.len() - 1;
            unmet.push(Unmet { place, expected: head, witness: Witness::Row });
        }
        unmet
    }

    fn knows(&self, digest: Digest) -> bool {
        self.seen.iter().any(|seen| seen.shown.digest == Some(digest))
    }

    /// Finds appends that stand where others belong.
    fn seek(&mut self, unmet: &[Unmet]) {
        for Unmet { place, expected, witness } in unmet.iter().take(SOUGHT_MAX) {
            let at = self.seen[*place].first();
            let elsewhere =
                |seen: &Seen<'_>| seen.first() != at && seen.digest_at(at) == Some(*expected);
            if let Some(stands) = self.seen.iter().position(elsewhere) {
                self.fault(stands, Differs::Order { belongs: Sequence::new(at) });
            }
            // It says itself which one it follows.
            let followed = self.seen.iter().position(|seen| seen.shown.digest == Some(*expected));
            if let (Some(followed), Witness::Next) = (followed, witness) {
                let belongs = Sequence::new(self.seen[followed].last() + 1);
                self.fault(place + 1, Differs::Order { belongs });
            }
        }
    }

    /// Says which appends were changed. One that was changed does not meet what its successor says of it;
    /// if what it carries of its predecessor was changed, that one seems changed as well.
    fn blame(&mut self, unmet: &[Unmet]) {
        let mut left = unmet.iter().peekable();
        while let Some(Unmet { place, witness, .. }) = left.next() {
            let place = *place;
            if self.found[place] || self.found.get(place + 1).is_some_and(|found| *found) {
                continue;
            }
            if left.next_if(|next| next.place == place + 1).is_some() {
                self.fault(place + 1, Differs::Previous);
                continue;
            }
            let differs = match witness {
                Witness::Row => Differs::Last,
                Witness::Next => Differs::Contents { next: self.seen[place + 1].shown.sequence },
            };
            self.fault(place, differs);
        }
    }

    /// Tells what is missing, and what stands over another.
    fn count(&mut self, gaps: &[usize]) {
        let mut wanted = 1;
        for place in 0..self.seen.len() {
            let (first, last) = (self.seen[place].first(), self.seen[place].last());
            let before_is_well = place == 0 || !self.found[place - 1];
            if gaps.contains(&place) {
                let until = Sequence::new(first - 1);
                self.missing(wanted, Differs::Missing { until, row: false });
            } else if first < wanted && before_is_well && !self.found[place] {
                self.fault(place, Differs::Order { belongs: Sequence::new(wanted) });
            }
            wanted = last + 1;
        }
    }

    fn missing(&mut self, sequence: u64, differs: Differs) {
        let sequence = Sequence::new(sequence);
        self.touched.push(Touched { sequence, name: String::new(), differs });
    }

    fn compare_row(&mut self, row: Option<(Sequence, Option<Digest>)>) {
        let Some((sequence, head)) = row else { return };
        let last = self.seen.last().map_or(0, Seen::last);
        if sequence.get() > last {
            return self.missing(last + 1, Differs::Missing { until: sequence, row: true });
        }
        let place = self.seen.iter().position(|seen| seen.last() >= sequence.get());
        // The last append has been compared with it.
        if let (Some(head), Some(place)) = (head, place)
            && place + 1 < self.seen.len()
            && self.touched.is_empty()
            && !self.knows(head)
        {
            self.fault(place, Differs::Row);
        }
    }

    /// Compares what follows from the events with what is stored beside them, if all else is well.
    fn derive(&mut self) {
        let events = self.seen.iter().flat_map(|seen| &seen.recorded);
        if self.touched.is_empty()
            && let Err(illegal) = Execution::fold(events)
        {
            let name = illegal.name.to_owned();
            let differs = Differs::Illegal;
            self.touched.push(Touched { sequence: illegal.sequence, name, differs });
        }
        for place in 0..self.seen.len() {
            let seen = &self.seen[place];
            let events = names(&seen.recorded);
            if !self.found[place] && seen.shown.names != events {
                self.fault(place, attribute_differs("names", format!("its events are {events}")));
            }
        }
        // A first append that was changed may say another time than the one the others were stored with.
        let Some(expires_at) = self.expires_at().filter(|_| !self.found[0]) else { return };
        for place in 0..self.seen.len() {
            let stored = read_number(self.seen[place].item, "ttl").ok();
            if !self.found[place] && stored != u64::try_from(expires_at.to_ttl_seconds()).ok() {
                let reason = format!("the history was to be kept until {expires_at}");
                self.fault(place, attribute_differs("ttl", reason));
            }
        }
    }

    /// Until when the history is kept, as its first event says.
    fn expires_at(&self) -> Option<Timestamp> {
        match &self.seen.first()?.recorded.first()?.event {
            Event::WebhookReceived(webhook) => Some(webhook.expires_at),
            _ => None,
        }
    }
}

fn names(recorded: &[Recorded]) -> String {
    let names: Vec<_> = recorded.iter().map(|recorded| recorded.event.name()).collect();
    names.join(" ")
}

fn attribute_differs(attribute: &str, reason: String) -> Differs {
    Differs::Attribute { attribute: attribute.to_owned(), reason }
}

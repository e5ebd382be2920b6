use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::examine::examine;
use super::*;
use crate::chain::Head;
use crate::event::Events;
use crate::item::{self, FORM, FORM_TEXT, bytes, number, read_number, text};
use crate::samples::{at, completed, id, in_form_1, received};
use crate::store::Item;

/// The items and the end of a history stored in `form`; `appends` says how many events each append after the first has.
fn history(form: u64, appends: &[usize]) -> (Vec<Item>, (Sequence, Option<Digest>)) {
    let steps: Vec<_> = (0..appends.iter().sum()).map(|n: usize| format!("s{n}")).collect();
    let names: Vec<_> = steps.iter().map(String::as_str).collect();
    let mut steps = names.iter().map(|name| completed(name, 1));
    let mut items = Vec::new();
    let mut head = Head::START;
    let mut append = |events: Vec<Event>, name: String| {
        let events = Events::new(events).unwrap();
        let item = item::from_append(
            &id(),
            head,
            &events,
            at(604_800),
            at(2),
            &name,
            item::Beside::default(),
        );
        let item = if form == FORM_TEXT { in_form_1(item) } else { item };
        head = item::to_append(&item).unwrap().recorded.last().unwrap().head();
        items.push(item);
    };
    append(vec![received(&names)], "append-0".into());
    for (n, events) in (1..).zip(appends) {
        append(steps.by_ref().take(*events).collect(), format!("append-{n}"));
    }
    (items, (head.sequence, head.digest))
}

fn touched(mut items: Vec<Item>, row: (Sequence, Option<Digest>)) -> Vec<Touched> {
    items.sort_by_key(|item| item::read_number(item, "sequence").unwrap());
    examine(&items, Some(row)).touched
}

/// Something that a stranger does to a history.
#[derive(Debug, Clone)]
enum Deed {
    /// Changes a byte of an attribute.
    Change(Index, Index, Index, u8),
    /// Removes an attribute.
    Strip(Index, Index),
    /// Removes an append.
    Remove(Index),
    /// Lets two appends change places.
    Swap(Index, Index),
    /// Puts an append in the place of another one.
    Replace(Index, Index),
}

/// What an item has that can be changed, and guarded.
fn attributes(item: &Item) -> &'static [&'static str] {
    match read_number(item, "form") {
        Ok(FORM_TEXT) => &["events", "at", "append", "names", "previous"],
        _ => &["events", "at", "append", "previous"],
    }
}

fn form() -> impl Strategy<Value = u64> {
    prop_oneof![Just(FORM_TEXT), Just(FORM)]
}

fn deed() -> impl Strategy<Value = Deed> {
    let any = any::<Index>;
    prop_oneof![
        3 => (any(), any(), any(), 1u8..128).prop_map(|(a, b, c, d)| Deed::Change(a, b, c, d)),
        1 => (any(), any()).prop_map(|(a, b)| Deed::Strip(a, b)),
        1 => any().prop_map(Deed::Remove),
        1 => (any(), any()).prop_map(|(a, b)| Deed::Swap(a, b)),
        1 => (any(), any()).prop_map(|(a, b)| Deed::Replace(a, b)),
    ]
}

/// Does it; says which append alone it was done to, if it was one, or that nothing was done.
fn done(items: &mut Vec<Item>, deed: &Deed) -> Result<Option<u64>, ()> {
    let length = items.len();
    let place = |items: &[Item], n: usize| item::read_number(&items[n], "sequence").unwrap();
    match deed {
        Deed::Change(n, attribute, position, bits) => {
            let n = n.index(length);
            let attribute = attribute.get(attributes(&items[n]));
            let is_packed = *attribute == "events" && item::read_bytes(&items[n], "events").is_ok();
            let said = match is_packed {
                true => item::read_bytes(&items[n], "events").map_err(drop)?,
                false => item::read_text(&items[n], attribute).map_err(drop)?.as_bytes(),
            };
            let mut changed = said.to_vec();
            let position = position.index(changed.len());
            changed[position] ^= bits;
            let changed = match is_packed {
                true => bytes(changed),
                false => text(String::from_utf8(changed).map_err(drop)?),
            };
            items[n].insert((*attribute).into(), changed);
            Ok(Some(place(items, n)))
        }
        Deed::Strip(n, attribute) => {
            let n = n.index(length);
            let attribute = attribute.get(attributes(&items[n]));
            items[n].remove(*attribute).ok_or(())?;
            Ok(Some(place(items, n)))
        }
        Deed::Remove(n) => {
            items.remove(n.index(length));
            Ok(None)
        }
        Deed::Swap(one, other) => {
            let (one, other) = (one.index(length), other.index(length));
            let (at_one, at_other) = (place(items, one), place(items, other));
            items[one].insert("sequence".into(), number(at_other));
            items[other].insert("sequence".into(), number(at_one));
            if one == other { Err(()) } else { Ok(None) }
        }
        Deed::Replace(one, other) => {
            let (one, other) = (one.index(length), other.index(length));
            let at = place(items, other);
            items[other] = items[one].clone();
            items[other].insert("sequence".into(), number(at));
            if one == other { Err(()) } else { Ok(None) }
        }
    }
}

proptest! {
    #[test]
    fn whatever_a_stranger_does_is_told_and_nothing_else_is(
        form in form(),
        appends in vec(1usize..4, 0..6),
        deed in deed(),
    ) {
        let (mut items, row) = history(form, &appends);
        prop_assert_eq!(touched(items.clone(), row), []);

        let Ok(alone) = done(&mut items, &deed) else { return Ok(()) };

        let touched = touched(items, row);
        prop_assert!(!touched.is_empty());
        if let Some(sequence) = alone {
            // An append that says that it has other events than before leaves a gap, or overlaps.
            let near = |it: &Touched| it.sequence.get().abs_diff(sequence) <= 3;
            prop_assert!(touched.iter().any(|it| it.sequence.get() == sequence), "{:?}", touched);
            prop_assert!(touched.iter().all(near), "{:?}", touched);
        }
    }

    #[test]
    fn a_row_that_is_behind_accuses_nobody(
        form in form(),
        appends in vec(1usize..4, 1..6),
        seen in any::<Index>(),
    ) {
        let (items, _) = history(form, &appends);
        let append = item::to_append(&items[seen.index(items.len())]).unwrap();
        let head = append.recorded.last().unwrap().head();
        prop_assert_eq!(touched(items, (head.sequence, head.digest)), []);
    }
}

#[test]
fn what_was_found_is_told_in_words() {
    let contents = Differs::Contents { next: Sequence::new(3) };
    let missing = Differs::Missing { until: Sequence::new(5), row: true };
    let told = |name: &str, differs| {
        Touched { sequence: Sequence::new(2), name: name.into(), differs }.to_string()
    };
    assert_eq!(
        told("StepCompleted", contents),
        "event 2 (StepCompleted): its append was changed: \
         it is not the one that event 3 was appended after"
    );
    assert_eq!(
        told("", missing),
        "event 2: it is missing: the row of the executions table has seen events up to 5"
    );
}

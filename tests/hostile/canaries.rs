//! Words that may be nowhere but where they belong: bodies, headers, queries and secrets are marked,
//! much is made to go wrong with them, and everything that is told is searched.
//!
//! By design a body, its query and the headers that are kept are in the journal and the payload store, and are
//! shown to operators by `/executions/{token}/events` and `/executions/{token}/body`; names of keys, types and
//! delivery ids are in the view. Secrets are nowhere.

mod binary;
mod inside;
mod markers;
mod outgoing;
mod presets;

use markers::Markers;

/// What is searched, over all tests of this kind.
const PLACES: &[&str] = &[
    "the server's log, traced",
    "the server's standard output",
    "answers to senders",
    "refusals of senders",
    "answers to callbacks",
    "statuses",
    "the list of executions",
    "the list of failed executions",
    "the list of workflows",
    "the list of a quarantine",
    "histories, for secrets",
    "a dead letter's note in the file of failed batches",
    "a function's log, traced",
    "a function's metrics",
    "the rows of executions",
    "the stream's records",
    "the file of positions in the stream",
];

/// How many places are searched for how many markers.
pub(super) fn count() -> usize {
    PLACES.len()
}

/// What is told in one place.
#[derive(Debug)]
struct Told {
    place: &'static str,
    text: String,
}

/// Searches what is told, and that nothing was forgotten to be told.
#[track_caller]
fn assert_silent(markers: &Markers, told: &[Told], places: &[&str]) {
    for place in places {
        assert!(PLACES.contains(place), "{place} is not in the list");
        let length: usize =
            told.iter().filter(|told| told.place == *place).map(|told| told.text.len()).sum();
        assert!(length > 0, "nothing was told in {place}");
    }
    let found: Vec<_> = told
        .iter()
        .flat_map(|Told { place, text }| {
            // A history is an operator's to read: only secrets must not be in it.
            let of = if place.starts_with("histories") { markers.secrets() } else { markers.all() };
            of.into_iter().filter_map(move |marker| {
                let hit = marker.found_in(text)?;
                Some(format!("{} in {place}: …{hit}…", marker.name))
            })
        })
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

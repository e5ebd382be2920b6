//! Vectors for every sender: our own, and the senders' published ones where they are at hand.

use everhook::conformance::Collection;
use everhook_ingest::signature::preset::all;
use everhook_journal::Timestamp;

/// When vectors without a time of their own are looked at.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// Where a checkout may have the senders' collection beside it.
const PUBLISHED: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/webhooks/signature-vectors.json");

/// Our own vectors: computed apart from our code, with keys made up for it.
pub(crate) fn own() -> Collection {
    Collection::parse(include_str!("vectors.json")).unwrap()
}

/// The senders' vectors; `None` where they are not at hand.
pub(crate) fn published() -> Option<Collection> {
    let text = std::fs::read_to_string(PUBLISHED).ok();
    if text.is_none() {
        eprintln!("the collection of published vectors is not here");
    }
    text.map(|text| Collection::parse(&text).unwrap())
}

#[track_caller]
fn assert_passes(collection: &Collection, at_least: usize) {
    let report = collection.judge(NOW);
    let failures: Vec<_> = report.failures().collect();
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(report.judged.len() >= at_least, "{report}");
}

#[test]
fn our_own_vectors_and_handshakes_are_judged_as_they_say() {
    assert_passes(&own(), 86);
}

#[test]
fn every_published_vector_and_handshake_is_judged_as_it_says() {
    if let Some(published) = published() {
        assert_passes(&published, 400);
    }
}

#[test]
fn every_sender_that_proves_itself_has_a_vector_of_its_own() {
    let own = own();
    let names: Vec<_> = own.vectors().map(|vector| vector.preset.name).collect();
    let without = all().map(|preset| preset.name).filter(|name| !names.contains(name));
    assert_eq!(without.collect::<Vec<_>>(), ["recipe", "none"]);
}

#[test]
fn a_file_of_another_form_is_told_in_words() {
    assert!(Collection::parse("").unwrap_err().contains("not JSON"));
    assert!(Collection::parse("{}").unwrap_err().contains("`format` must be"));
}

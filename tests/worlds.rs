//! The simulation itself: what it runs, it runs the same again, and what is missing, it misses.

mod agree;

use everhook_journal::guard::Guard;
use everhook_simulation::run::{Summary, Worlds, run, threads};

fn worlds(many: u64, without: Option<Guard>) -> Summary {
    let threads = threads();
    let worlds =
        Worlds { first: 0, many, without, about: None, broken_max: 1, limit: None, threads };
    run(worlds, &|_, _| {})
}

#[test]
fn every_promise_is_kept_in_worlds_where_everything_fails() {
    let summary = worlds(150, None);

    assert!(summary.broken.is_empty(), "{:?}", summary.broken);
    assert!(summary.ends.iter().sum::<u64>() > 150, "{:?}", summary.ends);
    // All but the rarest faults struck.
    let struck = summary.faults.iter().filter(|many| **many > 0).count();
    assert!(struck * 10 > summary.faults.len() * 9, "{:?}", summary.faults);
}

#[test]
fn the_same_seed_gives_the_same_world() {
    let one = worlds(40, None);
    let two = worlds(40, None);

    assert_eq!(one.digest, two.digest);
    assert_ne!(one.digest, worlds(41, None).digest);
}

#[test]
fn a_guard_that_is_off_is_missed() {
    for (guard, rule) in [
        (Guard::AppendCondition, "S1"),
        (Guard::ClaimBeforeActing, "S20"),
        (Guard::ClaimEverywhere, "S20"),
        (Guard::StableKey, "S6"),
        (Guard::SweepComes, "L1"),
        (Guard::KeysApart, "P2"),
        (Guard::BodyCompletesId, "S2"),
        (Guard::WindowEnds, "S17"),
        (Guard::BatchesHandOver, "L5"),
        (Guard::PlacesApart, "L5"),
        (Guard::EndsBeforeExpiry, "L1"),
    ] {
        let summary = worlds(100, Some(guard));
        let broken = summary.broken.first().map(|(_, violation)| violation.rule);
        assert_eq!(broken, Some(rule), "{guard:?}");
    }
}

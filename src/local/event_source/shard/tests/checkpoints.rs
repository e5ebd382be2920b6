//! What is done, and where reading goes on.

use super::super::super::filter::Filter;
use super::*;

fn inserts() -> Vec<Filter> {
    vec![Filter::parse(r#"{"eventName":["INSERT"]}"#).unwrap()]
}

#[test]
fn the_checkpoint_is_the_last_record_before_the_first_that_is_not_done() {
    let mut shard = shard_of(Settings { batch_size: 2, ..settings() }, 6);
    let (first, _) = started(&mut shard, NOW);
    let (second, _) = started(&mut shard, NOW);
    let (third, _) = started(&mut shard, NOW);

    shard.ended(second, complete(), NOW);
    assert_eq!(shard.checkpoint(), None);

    shard.ended(first, complete(), NOW);
    assert_eq!(shard.checkpoint(), Some(&number(4)));

    shard.ended(third, complete(), NOW);
    assert_eq!(shard.checkpoint(), Some(&number(6)));
}

#[test]
fn the_checkpoint_waits_for_a_retry() {
    let mut shard = shard_of(Settings { batch_size: 2, ..settings() }, 4);
    let (first, _) = started(&mut shard, NOW);
    let (second, _) = started(&mut shard, NOW);

    shard.ended(first, failed_from(2), NOW);
    shard.ended(second, complete(), NOW);

    assert_eq!(shard.checkpoint(), Some(&number(1)));
}

#[test]
fn after_a_restart_what_was_done_is_not_read_again() {
    let mut shard = Shard::new(Arc::new(settings()), Some(number(2)));

    shard.accept((1..=3).map(|place| record(place, "a")).collect(), NOW);

    assert_eq!(started(&mut shard, NOW).1, [3]);
    assert_eq!(shard.checkpoint(), Some(&number(2)));
}

#[test]
fn places_are_compared_as_numbers() {
    let mut shard = Shard::new(Arc::new(settings()), Some(number(9)));

    shard.accept(vec![record(10, "a"), record(99, "a"), record(100, "a")], NOW);

    assert_eq!(started(&mut shard, NOW).1, [10, 99, 100]);
}

#[test]
fn records_filtered_out_are_done() {
    let mut removal = record(2, "b");
    removal.event.event_name = "REMOVE".to_owned();
    let mut shard = shard(Settings { filters: inserts(), ..settings() }, &["a"]);
    shard.accept(vec![removal], NOW);

    let (batch, places) = started(&mut shard, NOW);
    assert_eq!(places, [1]);

    shard.ended(batch, complete(), NOW);
    assert_eq!(shard.checkpoint(), Some(&number(2)));
}

#[test]
fn without_the_filter_changes_and_removals_are_delivered() {
    let mut change = record(1, "a");
    change.event.event_name = "MODIFY".to_owned();
    let mut shard = Shard::new(Arc::new(Settings { filters: Vec::new(), ..settings() }), None);

    shard.accept(vec![change], NOW);

    assert_eq!(started(&mut shard, NOW).1, [1]);
}

#[test]
fn a_shard_is_drained_when_it_is_closed_and_all_is_done() {
    let mut shard = shard_of(settings(), 1);
    let (batch, _) = started(&mut shard, NOW);
    shard.close();
    assert!(!shard.is_drained());

    shard.ended(batch, failed_from(1), NOW);
    assert!(!shard.is_drained());

    let (batch, _) = started(&mut shard, LATER);
    shard.ended(batch, complete(), LATER);
    assert!(shard.is_drained());
}

#[test]
fn an_idle_shard_is_not_drained_before_it_is_closed() {
    assert!(!shard_of(settings(), 0).is_drained());
}

#[test]
fn after_a_trim_records_in_hand_are_not_taken_twice() {
    let mut shard = shard_of(settings(), 2);

    shard.rewind();
    shard.accept(vec![record(2, "again"), record(3, "c")], NOW);

    assert_eq!(started(&mut shard, NOW).1, [1, 2, 3]);
}

#[test]
fn after_a_trim_an_idle_shard_takes_whatever_comes() {
    let mut shard = Shard::new(Arc::new(settings()), Some(number(50)));

    shard.rewind();
    shard.accept(vec![record(7, "a")], NOW);

    assert_eq!(started(&mut shard, NOW).1, [7]);
}

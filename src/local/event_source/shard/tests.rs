//! The rules of one shard, with time as a number.

mod checkpoints;
mod keys;
mod retries;

use super::*;

/// The age limit is an hour; these times are well inside and outside of it.
const NOW: Duration = Duration::from_secs(100_000);
const LATER: Duration = Duration::from_secs(100_060);

fn settings() -> Settings {
    Settings {
        batch_size: 4,
        parallel: 3,
        retry_attempts: Some(2),
        bisect: false,
        ..Settings::default()
    }
}

fn number(place: u32) -> SequenceNumber {
    SequenceNumber::parse(&place.to_string()).unwrap()
}

fn record(place: u32, key: &str) -> Record {
    let mut event = EventRecord::default();
    event.event_name = "INSERT".to_owned();
    event.change.sequence_number = Some(place.to_string());
    Record { sequence: number(place), key: key.into(), created: NOW, event: Box::new(event) }
}

/// A shard that has read these records: their keys, with places counted from 1.
fn shard(settings: Settings, keys: &[&str]) -> Shard {
    let mut shard = Shard::new(Arc::new(settings), None);
    let places = 1..;
    shard.accept(places.zip(keys).map(|(place, key)| record(place, key)).collect(), NOW);
    shard
}

fn own_keys(count: u32) -> Vec<String> {
    (1..=count).map(|place| format!("key {place}")).collect()
}

/// A shard that has read this many records, each with a key of its own.
fn shard_of(settings: Settings, count: u32) -> Shard {
    let keys = own_keys(count);
    shard(settings, &keys.iter().map(String::as_str).collect::<Vec<_>>())
}

fn places(records: &[EventRecord]) -> Vec<u32> {
    records
        .iter()
        .map(|record| record.change.sequence_number.as_ref().unwrap().parse().unwrap())
        .collect()
}

/// The batch that starts now, and where its records are.
#[track_caller]
fn started(shard: &mut Shard, now: Duration) -> (u64, Vec<u32>) {
    match shard.next(now) {
        Next::Run { id, records } => (id, places(&records)),
        other => panic!("no batch starts: {other:?}"),
    }
}

#[track_caller]
fn given_up(next: Next) -> FailedBatch {
    match next {
        Next::GiveUp(failed) => failed,
        other => panic!("nothing is given up: {other:?}"),
    }
}

fn nothing_starts(shard: &mut Shard, now: Duration) -> bool {
    matches!(shard.next(now), Next::Wait(_))
}

fn failed_from(place: u32) -> Result<BatchOutcome, String> {
    Ok(BatchOutcome::FailedFrom(place.to_string()))
}

fn complete() -> Result<BatchOutcome, String> {
    Ok(BatchOutcome::Complete)
}

fn error() -> Result<BatchOutcome, String> {
    Err("out of order".to_owned())
}

#[test]
fn records_become_batches_of_the_agreed_size_in_order() {
    let mut shard = shard_of(settings(), 6);

    assert_eq!(started(&mut shard, NOW).1, [1, 2, 3, 4]);
    assert_eq!(started(&mut shard, NOW).1, [5, 6]);
    assert_eq!(shard.next(NOW), Next::Wait(None));
}

#[test]
fn no_more_batches_run_than_agreed() {
    let mut shard = shard_of(Settings { batch_size: 1, ..settings() }, 5);
    let first = started(&mut shard, NOW).0;
    started(&mut shard, NOW);
    started(&mut shard, NOW);

    assert_eq!(shard.next(NOW), Next::Wait(None));

    shard.ended(first, complete(), NOW);
    assert_eq!(started(&mut shard, NOW).1, [4]);
}

#[test]
fn a_complete_batch_is_done() {
    let mut shard = shard_of(settings(), 3);
    let (batch, _) = started(&mut shard, NOW);

    assert_eq!(shard.ended(batch, complete(), NOW), None);

    assert!(shard.is_idle());
    assert_eq!(shard.checkpoint(), Some(&number(3)));
}

#[test]
fn records_in_memory_are_bounded() {
    let mut shard = shard_of(Settings { pending_max: 5, ..settings() }, 3);
    assert_eq!(shard.room(), 2);

    shard.accept(vec![record(4, "d"), record(5, "e")], NOW);
    assert_eq!(shard.room(), 0);

    let (batch, _) = started(&mut shard, NOW);
    assert_eq!(shard.room(), 0);

    shard.ended(batch, complete(), NOW);
    assert_eq!(shard.room(), 4);
}

#[test]
fn nothing_more_is_read_while_all_slots_are_taken() {
    let mut shard = shard_of(Settings { parallel: 1, ..settings() }, 1);
    assert!(shard.room() > 0);

    started(&mut shard, NOW);

    assert_eq!(shard.room(), 0);
}

#[test]
fn a_batch_waits_for_its_window_to_fill_up() {
    let window = Duration::from_secs(1);
    let mut shard = shard_of(Settings { batching_window: window, ..settings() }, 3);

    assert_eq!(shard.next(NOW), Next::Wait(Some(NOW + window)));

    shard.accept(vec![record(4, "d")], NOW);
    assert_eq!(started(&mut shard, NOW).1, [1, 2, 3, 4]);
}

#[test]
fn a_batch_that_does_not_fill_up_starts_when_its_window_ends() {
    let window = Duration::from_secs(1);
    let mut shard = shard_of(Settings { batching_window: window, ..settings() }, 1);
    shard.accept(vec![record(2, "b")], NOW + window / 2);

    assert_eq!(started(&mut shard, NOW + window).1, [1, 2]);
}

#[test]
fn a_closed_shard_does_not_wait_for_its_window() {
    let mut shard = shard_of(Settings { batching_window: Duration::from_secs(1), ..settings() }, 1);

    shard.close();

    assert_eq!(started(&mut shard, NOW).1, [1]);
}

//! What is tried again, what is split, and what is given up.

use super::*;

#[test]
fn the_first_failed_record_and_all_after_it_are_tried_again() {
    let mut shard = shard_of(settings(), 4);
    let (batch, _) = started(&mut shard, NOW);

    shard.ended(batch, failed_from(3), NOW);

    assert_eq!(shard.checkpoint(), Some(&number(2)));
    assert_eq!(started(&mut shard, LATER).1, [3, 4]);
}

#[test]
fn an_error_means_that_the_whole_batch_is_tried_again() {
    let mut shard = shard_of(settings(), 4);
    let (batch, _) = started(&mut shard, NOW);

    shard.ended(batch, error(), NOW);

    assert_eq!(shard.checkpoint(), None);
    assert_eq!(started(&mut shard, LATER).1, [1, 2, 3, 4]);
}

#[test]
fn an_identifier_that_is_not_in_the_batch_means_that_the_whole_batch_has_failed() {
    let mut shard = shard_of(settings(), 4);
    let (batch, _) = started(&mut shard, NOW);

    shard.ended(batch, failed_from(17), NOW);

    assert_eq!(started(&mut shard, LATER).1, [1, 2, 3, 4]);
}

#[test]
fn an_empty_identifier_means_that_the_whole_batch_has_failed() {
    let mut shard = shard_of(settings(), 2);
    let (batch, _) = started(&mut shard, NOW);

    shard.ended(batch, Ok(BatchOutcome::FailedFrom(String::new())), NOW);

    assert_eq!(started(&mut shard, LATER).1, [1, 2]);
}

#[test]
fn a_retry_waits_for_its_pause() {
    let mut shard = shard_of(settings(), 1);
    let (batch, _) = started(&mut shard, NOW);
    shard.ended(batch, error(), NOW);

    let Next::Wait(Some(until)) = shard.next(NOW) else { panic!("the retry does not wait") };

    assert!(until > NOW);
    assert!(nothing_starts(&mut shard, until - Duration::from_millis(1)));
    assert_eq!(started(&mut shard, until).1, [1]);
}

#[test]
fn pauses_grow_but_not_for_ever() {
    let mut shard = shard_of(Settings { retry_attempts: Some(40), ..settings() }, 1);
    let mut now = NOW;
    let mut pauses = Vec::new();

    for _ in 0..40 {
        let (batch, _) = started(&mut shard, now);
        shard.ended(batch, error(), now);
        let Next::Wait(Some(until)) = shard.next(now) else { panic!("the retry does not wait") };
        pauses.push(until - now);
        now = until;
    }

    assert!(pauses.is_sorted());
    assert!(pauses[0] < Duration::from_secs(1));
    assert_eq!(*pauses.last().unwrap(), Duration::from_secs(10));
}

#[test]
fn a_batch_is_given_up_when_its_attempts_are_used_up() {
    let mut shard = shard_of(settings(), 3);
    for _ in 0..settings().retry_attempts.unwrap() {
        let (batch, _) = started(&mut shard, LATER);
        assert_eq!(shard.ended(batch, error(), NOW), None);
    }

    let (batch, _) = started(&mut shard, LATER);
    let failed = shard.ended(batch, error(), NOW).unwrap();

    assert_eq!((failed.first.as_str(), failed.last.as_str(), failed.count), ("1", "3", 3));
    assert_eq!(failed.condition, Condition::RetryAttemptsExhausted);
    assert_eq!(shard.checkpoint(), Some(&number(3)));
    assert!(shard.is_idle());
}

#[test]
fn getting_further_does_not_use_up_attempts() {
    let mut shard = shard_of(Settings { bisect: true, retry_attempts: Some(0), ..settings() }, 4);

    for from in 2..=4 {
        let (batch, _) = started(&mut shard, LATER);
        assert_eq!(shard.ended(batch, failed_from(from), NOW), None);
    }

    let (batch, places) = started(&mut shard, LATER);
    assert_eq!(places, [4]);
    assert_eq!(shard.ended(batch, error(), NOW).unwrap().count, 1);
}

#[test]
fn bisecting_finds_the_bad_record_without_using_up_attempts() {
    let mut shard = shard_of(
        Settings { bisect: true, batch_size: 8, retry_attempts: Some(0), ..settings() },
        8,
    );
    let mut lost = Vec::new();
    let mut delivered = Vec::new();

    while !shard.is_idle() {
        let (batch, places) = started(&mut shard, LATER);
        if places.contains(&6) {
            lost.extend(shard.ended(batch, error(), NOW));
        } else {
            shard.ended(batch, complete(), NOW);
            delivered.extend(places);
        }
    }

    delivered.sort_unstable();
    assert_eq!(delivered, [1, 2, 3, 4, 5, 7, 8]);
    assert_eq!(
        lost.iter().map(|failed| (failed.first.as_str(), failed.count)).collect::<Vec<_>>(),
        [("6", 1)]
    );
}

#[test]
fn bisecting_keeps_the_attempts_a_batch_has_left() {
    let mut shard = shard_of(Settings { bisect: true, retry_attempts: Some(1), ..settings() }, 2);
    let (batch, _) = started(&mut shard, LATER);
    shard.ended(batch, error(), NOW);
    let (first, places) = started(&mut shard, LATER);
    assert_eq!(places, [1]);

    assert_eq!(shard.ended(first, error(), NOW), None);

    let (first, places) = started(&mut shard, LATER);
    assert_eq!(places, [1]);
    assert!(shard.ended(first, error(), NOW).is_some());
}

#[test]
fn with_a_partial_response_the_batch_is_split_where_it_failed() {
    let mut shard = shard_of(Settings { bisect: true, ..settings() }, 4);
    let (batch, _) = started(&mut shard, NOW);

    shard.ended(batch, failed_from(2), NOW);

    assert_eq!(started(&mut shard, LATER).1, [2, 3, 4]);
}

#[test]
fn records_that_are_too_old_are_given_up_before_they_are_delivered() {
    let mut shard = shard_of(settings(), 2);
    let expired = NOW + settings().age_max() + Duration::from_secs(1);
    let mut young = record(3, "c");
    young.created = expired;
    shard.accept(vec![young], expired);

    let failed = given_up(shard.next(expired));

    assert_eq!((failed.first.as_str(), failed.last.as_str(), failed.count), ("1", "2", 2));
    assert_eq!(failed.condition, Condition::RecordAgeExceeded);
    assert_eq!(shard.checkpoint(), Some(&number(2)));
    assert_eq!(started(&mut shard, expired).1, [3]);
}

#[test]
fn a_retry_gives_up_only_its_records_that_are_too_old() {
    let mut shard = shard_of(settings(), 1);
    let mut young = record(2, "b");
    young.created = LATER;
    shard.accept(vec![young], NOW);
    let (batch, _) = started(&mut shard, NOW);
    shard.ended(batch, error(), NOW);

    let between = NOW + settings().age_max() + Duration::from_secs(30);
    let failed = given_up(shard.next(between));

    assert_eq!((failed.first.as_str(), failed.count), ("1", 1));
    assert_eq!(started(&mut shard, between).1, [2]);
}

//! Batches run side by side, but the records of one key keep their order.

use super::*;

#[test]
fn halves_that_share_a_key_keep_their_order() {
    let mut shard = shard(Settings { bisect: true, ..settings() }, &["a", "b", "c", "a"]);
    let (batch, _) = started(&mut shard, NOW);
    shard.ended(batch, error(), NOW);

    let (first, places) = started(&mut shard, LATER);
    assert_eq!(places, [1, 2]);
    assert!(nothing_starts(&mut shard, LATER));

    shard.ended(first, complete(), LATER);
    assert_eq!(started(&mut shard, LATER).1, [3, 4]);
}

#[test]
fn a_key_is_never_in_two_batches_at_once() {
    let mut shard =
        shard(Settings { batch_size: 2, ..settings() }, &["a", "b", "a", "c", "b", "a"]);

    let (first, places) = started(&mut shard, NOW);
    assert_eq!(places, [1, 2]);
    assert_eq!(started(&mut shard, NOW).1, [4]);
    assert!(nothing_starts(&mut shard, NOW));

    shard.ended(first, complete(), NOW);
    assert_eq!(started(&mut shard, NOW).1, [3, 5]);
    assert!(nothing_starts(&mut shard, NOW));
}

#[test]
fn records_of_one_key_share_a_batch_in_order() {
    let mut shard = shard(settings(), &["a", "a", "a"]);

    assert_eq!(started(&mut shard, NOW).1, [1, 2, 3]);
}

#[test]
fn records_wait_behind_a_retry_of_their_key() {
    let mut shard = shard(Settings { batch_size: 1, ..settings() }, &["a", "a", "b"]);
    let (first, _) = started(&mut shard, NOW);
    shard.ended(first, error(), NOW);

    assert_eq!(started(&mut shard, NOW).1, [3]);
    assert!(nothing_starts(&mut shard, NOW));

    assert_eq!(started(&mut shard, LATER).1, [1]);
    assert!(nothing_starts(&mut shard, LATER));
}

#[test]
fn a_batch_that_hangs_holds_up_only_its_own_keys() {
    let mut shard = shard(Settings { batch_size: 1, ..settings() }, &["stuck"]);
    started(&mut shard, NOW);
    let mut done = Vec::new();

    for place in 2..100 {
        let key = if place % 10 == 0 { "stuck".to_owned() } else { format!("key {place}") };
        shard.accept(vec![record(place, &key)], NOW);
        while let Next::Run { id, records } = shard.next(NOW) {
            shard.ended(id, complete(), NOW);
            done.extend(places(&records));
        }
    }

    assert_eq!(done, (2..100).filter(|place| place % 10 != 0).collect::<Vec<_>>());
    assert_eq!(shard.checkpoint(), None);
}

#[test]
fn whatever_the_function_answers_every_record_is_done_or_given_up_in_the_order_of_its_key() {
    proptest::proptest!(|(keys in proptest::collection::vec(0_u8..6, 1..60), answers in proptest::collection::vec(0_u8..4, 1..40), bisect: bool)| {
        let names: Vec<String> = keys.iter().map(u8::to_string).collect();
        let mut shard = shard(Settings { bisect, ..settings() }, &names.iter().map(String::as_str).collect::<Vec<_>>());
        let mut answers = answers.into_iter().cycle();
        let mut running: Vec<(u64, Vec<u32>)> = Vec::new();
        let mut ended: Vec<u32> = Vec::new();
        let mut now = NOW;

        while !shard.is_idle() {
            now += Duration::from_millis(50);
            while let Next::Run { id, records } = shard.next(now) {
                running.push((id, places(&records)));
            }
            let in_flight: Vec<u32> = running.iter().flat_map(|(_, places)| places.clone()).collect();
            let key_of = |place: &u32| keys[*place as usize - 1];
            for (position, (_, places)) in running.iter().enumerate() {
                for other in running.iter().skip(position + 1) {
                    assert!(!places.iter().any(|place| other.1.iter().any(|theirs| key_of(place) == key_of(theirs))));
                }
            }
            for place in &in_flight {
                let earlier = (1..*place).filter(|earlier| key_of(earlier) == key_of(place));
                for earlier in earlier {
                    assert!(ended.contains(&earlier) || in_flight.contains(&earlier), "{place} has overtaken {earlier}");
                }
            }
            let answer = answers.next().unwrap();
            if running.is_empty() { continue; }
            let (id, places) = running.remove(usize::from(answer) % running.len());
            let middle = places[places.len() / 2];
            let outcome = match answer { 0 => error(), 1 => failed_from(middle), _ => complete() };
            let done_before = if answer == 0 { 0 } else if answer == 1 { places.len() / 2 } else { places.len() };
            ended.extend(&places[..done_before]);
            if let Some(failed) = shard.ended(id, outcome, now) {
                let (first, last): (u32, u32) = (failed.first.parse().unwrap(), failed.last.parse().unwrap());
                ended.extend(places.iter().filter(|place| (first..=last).contains(*place)));
            }
            let checkpoint = shard.checkpoint().map_or(0, |number| number.as_str().parse().unwrap());
            assert!((1..=checkpoint).all(|place| ended.contains(&place)));
        }

        ended.sort_unstable();
        assert_eq!(ended, (1..=u32::try_from(keys.len()).unwrap()).collect::<Vec<_>>());
    });
}

#[test]
fn halves_with_different_keys_run_side_by_side() {
    let mut shard = shard(Settings { bisect: true, ..settings() }, &["a", "b", "c", "d"]);
    let (batch, _) = started(&mut shard, NOW);
    shard.ended(batch, error(), NOW);

    assert_eq!(started(&mut shard, LATER).1, [1, 2]);
    assert_eq!(started(&mut shard, LATER).1, [3, 4]);
}

#[test]
fn a_half_does_not_overtake_the_other_while_that_one_pauses() {
    let mut shard = shard(Settings { bisect: true, batch_size: 2, ..settings() }, &["a", "a"]);
    let (batch, _) = started(&mut shard, NOW);
    shard.ended(batch, error(), NOW);
    let (first, places) = started(&mut shard, LATER);
    assert_eq!(places, [1]);

    shard.ended(first, error(), LATER);

    assert!(nothing_starts(&mut shard, LATER));
}

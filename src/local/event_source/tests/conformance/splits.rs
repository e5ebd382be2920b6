//! Failed batches that are split, to find the record that is to blame.

use super::mapping::{Mapping, plain};
use super::*;

fn halving() -> Settings {
    Settings { bisect: true, batch_size: 8, retry_attempts: Some(0), ..plain() }
}

fn exhausted(first: usize, last: usize) -> (usize, usize, usize, String) {
    (first, last, last - first + 1, "RetryAttemptsExhausted".to_owned())
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("halves", "A failed batch is halved until the bad record is alone.", || {
            let mut mapping = Mapping::of(halving(), 8);
            assert_eq!(
                mapping.run(|places| places.contains(&6)),
                [
                    vec![1, 2, 3, 4, 5, 6, 7, 8],
                    vec![1, 2, 3, 4],
                    vec![5, 6, 7, 8],
                    vec![5, 6],
                    vec![5],
                    vec![6],
                    vec![7, 8],
                ]
            );
            assert_eq!(mapping.lost(), [exhausted(6, 6)]);
        }),
        case(
            "halves and attempts",
            "Splits use up no attempt: a single record still has all.",
            || {
                let settings = Settings { retry_attempts: Some(2), ..halving() };
                let mut mapping = Mapping::of(settings, 8);
                let batches = mapping.run(|places| places.contains(&1));
                assert_eq!(batches.iter().filter(|batch| **batch == [1]).count(), 3);
                assert_eq!(mapping.lost(), [exhausted(1, 1)]);
            },
        ),
        case("two bad records", "Each is found, and everything else is done.", || {
            let mut mapping = Mapping::of(halving(), 8);
            let bad = |places: &[usize]| places.contains(&2) || places.contains(&7);
            let batches = mapping.run(bad);
            let mut done: Vec<usize> =
                batches.into_iter().filter(|batch| !bad(batch)).flatten().collect();
            done.sort_unstable();
            assert_eq!(done, [1, 3, 4, 5, 6, 8]);
            assert_eq!(mapping.lost(), [exhausted(2, 2), exhausted(7, 7)]);
        }),
        case("nothing but bad records", "Each is tried alone before it is given up.", || {
            let mut mapping = Mapping::of(halving(), 5);
            mapping.run(|_| true);
            assert_eq!(mapping.lost(), [1, 2, 3, 4, 5].map(|place| exhausted(place, place)));
        }),
        case("an odd number of records", "Halving loses none.", || {
            let mut mapping = Mapping::of(halving(), 7);
            let batches = mapping.run(|places| places.len() > 2);
            let done: Vec<usize> =
                batches.into_iter().filter(|batch| batch.len() <= 2).flatten().collect();
            assert_eq!(done, [1, 2, 3, 4, 5, 6, 7]);
        }),
        case("without halving", "A failed batch is given up whole.", || {
            let mut mapping = Mapping::of(Settings { bisect: false, ..halving() }, 8);
            assert_eq!(mapping.run(|places| places.contains(&6)).len(), 1);
            assert_eq!(mapping.lost(), [exhausted(1, 8)]);
        }),
        case("a partial answer", "The batch is split at the number that was returned.", || {
            let mut mapping = Mapping::of(halving(), 8);
            mapping.invoked();
            mapping.names(&[4]);
            assert_eq!((mapping.checkpoint(), mapping.invoked()), (3, vec![4, 5, 6, 7, 8]));
        }),
        case("partial answers and attempts", "Splits at a number use up no attempt.", || {
            let mut mapping = Mapping::of(halving(), 4);
            for place in 2..=4 {
                mapping.invoked();
                mapping.names(&[place]);
            }
            assert_eq!((mapping.invoked(), mapping.lost()), (vec![4], vec![]));
            mapping.names(&[4]);
            assert_eq!(mapping.lost(), [exhausted(4, 4)]);
        }),
        case(
            "a partial answer that names the first",
            "There is no place to split at, so it is halved.",
            || {
                let mut mapping = Mapping::of(halving(), 8);
                mapping.invoked();
                mapping.names(&[1]);
                assert_eq!(mapping.invoked(), [1, 2, 3, 4]);
            },
        ),
        case("a partial answer without halving", "It is no split, so the retry counts.", || {
            let settings = Settings { bisect: false, retry_attempts: Some(1), ..halving() };
            let mut mapping = Mapping::of(settings, 4);
            mapping.invoked();
            mapping.names(&[2]);
            assert_eq!(mapping.invoked(), [2, 3, 4]);
            mapping.names(&[3]);
            assert_eq!(mapping.lost(), [exhausted(3, 4)]);
        }),
        case(
            "no retry and a partial answer",
            "What was done is done; only the rest is given up.",
            || {
                let mut mapping = Mapping::of(Settings { bisect: false, ..halving() }, 4);
                mapping.invoked();
                mapping.names(&[3]);
                assert_eq!((mapping.checkpoint(), mapping.lost()), (4, vec![exhausted(3, 4)]));
            },
        ),
    ]
}

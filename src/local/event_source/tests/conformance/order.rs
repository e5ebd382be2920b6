//! What may overtake what.

use super::mapping::{Mapping, plain};
use super::*;

/// Three batches of two records at a time.
fn side_by_side() -> Settings {
    Settings { batch_size: 2, parallel: 3, retry_attempts: Some(1), ..plain() }
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("one batch at a time", "The next batch starts when the last one has ended.", || {
            let mut mapping = Mapping::of(plain(), 8);
            mapping.invoked();
            assert_eq!(mapping.starts(), None);
            mapping.succeeds();
            assert_eq!(mapping.starts(), Some(vec![5, 6, 7, 8]));
        }),
        case(
            "a failed batch, one at a time",
            "It holds up the whole shard until it is done.",
            || {
                let mut mapping = Mapping::of(Settings { retry_attempts: Some(9), ..plain() }, 8);
                assert_eq!(
                    mapping.run_failing(3, |places| places[0] == 1),
                    [[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4], [5, 6, 7, 8]]
                );
            },
        ),
        case("halves, one at a time", "The second waits for the first, whatever its keys.", || {
            let settings = Settings { bisect: true, retry_attempts: Some(9), ..plain() };
            let mut mapping = Mapping::of(settings, 4);
            assert_eq!(
                mapping.run_failing(3, |_| true),
                [vec![1, 2, 3, 4], vec![1, 2], vec![1], vec![1], vec![2], vec![3, 4]]
            );
        }),
        case("several at a time", "As many batches run as agreed, and no more.", || {
            let mut mapping = Mapping::of(side_by_side(), 8);
            let started: Vec<_> = std::iter::from_fn(|| mapping.starts()).collect();
            assert_eq!(started, [[1, 2], [3, 4], [5, 6]]);
        }),
        case(
            "one item, several batches",
            "Records of one key are never in two batches at once.",
            || {
                let mut mapping = Mapping::of_keys(side_by_side(), &["a", "a", "a", "b"]);
                assert_eq!(mapping.starts(), Some(vec![1, 2]));
                assert_eq!(mapping.starts(), Some(vec![4]));
                assert_eq!(mapping.starts(), None);
                mapping.succeeds();
                assert_eq!(mapping.starts(), Some(vec![3]));
            },
        ),
        case(
            "one item, a retry",
            "Records of one key wait behind its retry; others go on.",
            || {
                let mut mapping = Mapping::of_keys(side_by_side(), &["a", "a", "a", "b", "a", "b"]);
                mapping.invoked();
                mapping.fails();
                assert_eq!(mapping.starts(), Some(vec![4, 6]));
                mapping.succeeds();
                assert_eq!(mapping.invoked(), [1, 2]);
                mapping.succeeds();
                assert_eq!(mapping.invoked(), [3, 5]);
            },
        ),
        case(
            "one item, given up",
            "What follows of a key goes on when its batch is given up.",
            || {
                let settings = Settings { retry_attempts: Some(0), ..side_by_side() };
                let mut mapping = Mapping::of_keys(settings, &["a", "a", "a"]);
                mapping.invoked();
                mapping.fails();
                assert_eq!(mapping.invoked(), [3]);
            },
        ),
        case(
            "several at a time, the checkpoint",
            "It waits for the oldest batch that runs.",
            || {
                let mut mapping = Mapping::of(side_by_side(), 6);
                for _ in 0..3 {
                    mapping.invoked();
                }
                mapping.fails();
                mapping.succeeds();
                mapping.succeeds();
                assert_eq!(mapping.checkpoint(), 0);
                mapping.invoked();
                mapping.succeeds();
                assert_eq!(mapping.checkpoint(), 6);
            },
        ),
    ]
}

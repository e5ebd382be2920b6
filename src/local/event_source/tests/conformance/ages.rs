//! Records that become too old.

use super::super::super::settings::RETENTION;
use super::mapping::{MADE, Mapping, made, plain};
use super::*;

const AGE: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_millis(1);

fn aging() -> Settings {
    Settings { record_age: Some(AGE), retry_attempts: None, ..plain() }
}

fn too_old(first: usize, last: usize) -> (usize, usize, usize, String) {
    (first, last, last - first + 1, "RecordAgeExceeded".to_owned())
}

/// What becomes of a record of this age under this limit: whether it is still delivered.
fn is_delivered(record_age: Option<Duration>, age: Duration) -> bool {
    let mut mapping = Mapping::of(Settings { record_age, ..plain() }, 1);
    mapping.now = MADE + age;
    let started = mapping.starts().is_some();
    assert_eq!(mapping.lost().is_empty(), started);
    started
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("the limit of age", "A record is delivered until it is older than the limit.", || {
            assert!(is_delivered(Some(AGE), AGE));
            assert!(!is_delivered(Some(AGE), AGE + MOMENT));
        }),
        case(
            "never invoked",
            "What is too old before its first turn is given up uninvoked.",
            || {
                let mut mapping = Mapping::of(aging(), 8);
                mapping.invoked();
                mapping.now += AGE + MOMENT;
                mapping.succeeds();
                assert_eq!((mapping.starts(), mapping.lost()), (None, vec![too_old(5, 8)]));
                assert_eq!((mapping.given_up[0].attempts, mapping.checkpoint()), (0, 8));
            },
        ),
        case("no slot free", "Records that wait for a slot are given up, too.", || {
            let mut mapping = Mapping::of(aging(), 8);
            mapping.invoked();
            mapping.now += AGE + MOMENT;
            assert_eq!((mapping.starts(), mapping.lost()), (None, vec![too_old(5, 8)]));
        }),
        case("too old on arrival", "Age counts from the change, not from the read.", || {
            let mut mapping = Mapping::of(aging(), 0);
            mapping.now += AGE + MOMENT;
            mapping.shard.accept(vec![made(1, "a")], mapping.now);
            assert_eq!((mapping.starts(), mapping.lost()), (None, vec![too_old(1, 1)]));
        }),
        case("too old between retries", "A batch that still fails is given up by age.", || {
            let mut mapping = Mapping::of(aging(), 4);
            assert!(mapping.run(|_| true).len() > 2);
            assert_eq!(mapping.lost(), [too_old(1, 4)]);
            assert!(mapping.now <= MADE + AGE + Duration::from_secs(10));
        }),
        case("young and old in one batch", "Only what is too old is given up.", || {
            let mut young = made(2, "b");
            young.created = MADE + AGE;
            let mut mapping = Mapping::of_records(aging(), vec![made(1, "a"), young]);
            mapping.invoked();
            mapping.fails();
            mapping.now = MADE + AGE + MOMENT;
            assert_eq!((mapping.starts(), mapping.lost()), (Some(vec![2]), vec![too_old(1, 1)]));
        }),
        case("after the old ones", "The iterator moves on to what is young enough.", || {
            let mut young = made(3, "c");
            young.created = MADE + AGE;
            let records = vec![made(1, "a"), made(2, "b"), young];
            let mut mapping = Mapping::of_records(aging(), records);
            mapping.now = MADE + AGE + MOMENT;
            assert_eq!((mapping.starts(), mapping.checkpoint()), (Some(vec![3]), 2));
        }),
        case("a batch that runs", "Nobody gives up what is being worked on.", || {
            let mut mapping = Mapping::of(aging(), 4);
            mapping.invoked();
            mapping.now += AGE * 2;
            assert_eq!((mapping.starts(), mapping.lost()), (None, vec![]));
            mapping.succeeds();
            assert_eq!((mapping.checkpoint(), mapping.lost()), (4, vec![]));
        }),
        case(
            "no limit of age",
            "Without one a record is tried until the stream forgets it.",
            || {
                assert!(is_delivered(None, RETENTION));
                assert!(!is_delivered(None, RETENTION + MOMENT));
                assert_eq!(RETENTION, Duration::from_secs(86_400));
            },
        ),
        case("a week", "No limit reaches beyond the stream's own 24 hours.", || {
            let week = Some(Duration::from_secs(604_800));
            assert!(is_delivered(week, RETENTION));
            assert!(!is_delivered(week, RETENTION + MOMENT));
        }),
    ]
}

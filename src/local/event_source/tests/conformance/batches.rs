//! What travels together.

use super::super::super::batch::Record;
use super::super::super::shard::{PAYLOAD_MAX, READ_MAX};
use super::mapping::{MADE, Mapping, made, plain};
use super::*;

const WINDOW: Duration = Duration::from_secs(2);

pub(super) fn cases() -> Vec<Case> {
    vec![
        case(
            "batch size",
            "A batch holds as many records as agreed, and the last one the rest.",
            || {
                let mut mapping = Mapping::of(plain(), 10);
                assert_eq!(
                    mapping.run(|_| false),
                    [vec![1, 2, 3, 4], vec![5, 6, 7, 8], vec![9, 10]]
                );
            },
        ),
        case("batches of one", "Each record is an invocation of its own.", || {
            let mut mapping = Mapping::of(Settings { batch_size: 1, ..plain() }, 3);
            assert_eq!(mapping.run(|_| false), [[1], [2], [3]]);
        }),
        case("no window", "Without a window nobody waits for company.", || {
            assert_eq!(Mapping::of(plain(), 1).starts(), Some(vec![1]));
        }),
        case("a window", "A batch that is not full waits for its oldest record's window.", || {
            let mut mapping = Mapping::of(Settings { batching_window: WINDOW, ..plain() }, 1);
            mapping.now += WINDOW / 2;
            mapping.shard.accept(vec![made(2, "b")], mapping.now);
            assert_eq!(mapping.starts(), None);
            assert_eq!((mapping.invoked(), mapping.now), (vec![1, 2], MADE + WINDOW));
        }),
        case("a window with a full batch", "A full batch does not wait.", || {
            let settings = Settings { batching_window: WINDOW, ..plain() };
            let mut mapping = Mapping::of(settings, 5);
            assert_eq!(mapping.starts(), Some(vec![1, 2, 3, 4]));
            mapping.succeeds();
            assert_eq!(mapping.starts(), None);
        }),
        case("a window does not hold up a retry", "Only records that are new wait for it.", || {
            let settings = Settings { batching_window: WINDOW, retry_attempts: Some(1), ..plain() };
            let mut mapping = Mapping::of(settings, 1);
            mapping.invoked();
            mapping.fails();
            mapping.invoked();
            assert!(mapping.now < MADE + WINDOW * 2);
        }),
        case("6 MB", "A batch ends before its payload outgrows what Lambda takes.", || {
            let mut mapping = Mapping::of_records(of_everything(), megabytes(8));
            assert_eq!(mapping.run(|_| false), [vec![1, 2, 3, 4, 5], vec![6, 7, 8]]);
        }),
        case("6 MB and a window", "A payload that is full does not wait.", || {
            let settings = Settings { batching_window: WINDOW, ..of_everything() };
            let mut mapping = Mapping::of_records(settings, megabytes(8));
            assert_eq!(mapping.starts(), Some(vec![1, 2, 3, 4, 5]));
            mapping.succeeds();
            assert_eq!(mapping.starts(), None);
        }),
        case("6 MB, and not a byte less", "The payload may be as large as the limit.", || {
            let record = |place, bytes: usize| made(place, &"x".repeat(bytes));
            let payload = |records: &[Record]| {
                let mut event = Event::default();
                event.records = records.iter().map(|record| (*record.event).clone()).collect();
                serde_json::to_vec(&event).unwrap().len()
            };
            let half = PAYLOAD_MAX / 2;
            let around = payload(&[record(1, half), record(2, 0)]) - half;
            // The estimate counts a comma that the last record does not have.
            let fits = PAYLOAD_MAX - around - half - 1;
            let batches = |bytes| {
                let records = vec![record(1, half), record(2, bytes)];
                Mapping::of_records(of_everything(), records).run(|_| false).len()
            };
            assert_eq!((batches(fits), batches(fits + 1)), (1, 2));
        }),
        case(
            "more than 6 MB alone",
            "A record that is too large for any batch goes alone.",
            || {
                let records = vec![made(1, "a"), made(2, &"x".repeat(PAYLOAD_MAX)), made(3, "c")];
                let mut mapping = Mapping::of_records(of_everything(), records);
                assert_eq!(mapping.run(|_| false), [[1], [2], [3]]);
            },
        ),
        case("one read", "It asks for at most 1,000 records.", || {
            assert_eq!(Mapping::of(Settings::default(), 0).shard.room(), READ_MAX);
            assert_eq!(READ_MAX, 1_000);
        }),
        case("the base rate", "An idle shard is read four times a second.", || {
            assert_eq!(Settings::default().idle_poll * 4, Duration::from_secs(1));
        }),
        at_work("two shards", "A batch never mixes shards, however long it waits.", async {
            let script = Script {
                shards: vec![shard("left"), shard("right")],
                pages: [
                    ("left start", page(&[record("1", "a"), record("2", "b")], Some("end"))),
                    ("right start", page(&[record("3", "c")], Some("end"))),
                    ("end", page(&[], Some("end"))),
                ]
                .into(),
                ..Script::default()
            };
            let (url, _) = script.serve().await;
            let (function, mut deliveries) = told(complete);
            let mut source = source(&url, function);
            source.settings.batching_window = Duration::from_millis(100);
            let running = run(source);
            let mut sizes = [deliveries.batch().await.len(), deliveries.batch().await.len()];
            sizes.sort_unstable();
            assert_eq!(sizes, [1, 2]);
            running.stop().await;
        }),
    ]
}

fn of_everything() -> Settings {
    Settings { batch_size: 10_000, ..plain() }
}

/// Records of a megabyte each, and a little around it.
fn megabytes(count: usize) -> Vec<Record> {
    (1..=count).map(|place| made(place, &"x".repeat(1024 * 1024))).collect()
}

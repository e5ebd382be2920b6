//! How often a failed batch is tried again, and when.

use super::mapping::{MADE, Mapping, plain};
use super::*;

fn retried(attempts: u32) -> Settings {
    Settings { retry_attempts: Some(attempts), ..plain() }
}

/// How often a batch that always fails is invoked.
fn invocations(settings: Settings) -> usize {
    Mapping::of(settings, 2).run(|_| true).len()
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case("no retry", "With 0 retries a batch is invoked once.", || {
            assert_eq!(invocations(retried(0)), 1);
        }),
        case("one retry", "With 1 retry a batch is invoked twice.", || {
            assert_eq!(invocations(retried(1)), 2);
        }),
        case("as the template has it", "With 4 retries a batch is invoked five times.", || {
            assert_eq!(invocations(Settings { bisect: false, ..Settings::default() }), 5);
        }),
        case(
            "retries without end",
            "Without a limit a batch is tried until its records expire.",
            || {
                let settings = Settings { retry_attempts: None, record_age: None, ..plain() };
                let mut mapping = Mapping::of(settings, 2);
                assert!(mapping.run(|_| true).len() > 1_000);
                assert_eq!(mapping.lost(), [(1, 2, 2, "RecordAgeExceeded".to_owned())]);
            },
        ),
        case(
            "a retry that succeeds",
            "Nothing is lost, and the next batch has all its attempts.",
            || {
                let mut mapping = Mapping::of(retried(1), 8);
                for _ in 0..2 {
                    mapping.invoked();
                    mapping.fails();
                    mapping.invoked();
                    mapping.succeeds();
                }
                assert_eq!((mapping.checkpoint(), mapping.lost()), (8, vec![]));
            },
        ),
        case("a batch after one given up", "It has all its attempts.", || {
            let mut mapping = Mapping::of(retried(1), 8);
            assert_eq!(mapping.run(|_| true).len(), 4);
        }),
        case("waiting for a turn", "What was never invoked has used up no attempt.", || {
            let mut mapping = Mapping::of(retried(0), 8);
            mapping.invoked();
            mapping.now += Duration::from_secs(600);
            mapping.succeeds();
            mapping.invoked();
            mapping.succeeds();
            assert_eq!(mapping.lost(), []);
        }),
        case("pauses", "Each failure doubles the pause, up to ten seconds.", || {
            let mut mapping = Mapping::of(retried(9), 1);
            let mut pauses = Vec::new();
            let mut last = MADE;
            mapping.invoked();
            for _ in 0..9 {
                mapping.fails();
                assert_eq!(mapping.starts(), None, "a retry pauses");
                mapping.invoked();
                pauses.push((mapping.now - last).as_millis());
                last = mapping.now;
            }
            assert_eq!(pauses, [200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000, 10_000]);
        }),
        case("pauses of others", "A batch that pauses leaves its slot to others.", || {
            let settings = Settings { parallel: 2, batch_size: 1, ..retried(1) };
            let mut mapping = Mapping::of(settings, 3);
            mapping.invoked();
            mapping.fails();
            assert_eq!((mapping.starts(), mapping.starts()), (Some(vec![2]), Some(vec![3])));
        }),
        at_work("a read that fails", "Trouble with the stream uses up no attempt.", async {
            let script = Script {
                // The SDK tries again by itself unless it is refused for good.
                refusals: Mutex::new(HashMap::from([
                    ("GetShardIterator", vec!["AccessDeniedException"]),
                    ("GetRecords", vec!["AccessDeniedException"]),
                ])),
                ..Script::of(&[record("1", "first")])
            };
            let (url, _) = script.serve().await;
            let (function, mut deliveries) = told(complete);
            let mut source = source(&url, function);
            source.settings.retry_attempts = Some(0);
            let running = run(source);
            assert_eq!(deliveries.executions(1).await, ["first"]);
            running.stop().await;
        }),
        at_work(
            "running out of time",
            "It is an error of the function, and fails the batch.",
            async {
                let (url, _) = Script::of(&[record("1", "first")]).serve().await;
                let (tell, deliveries) = mpsc::unbounded_channel();
                let function: Function = Arc::new(move |event| {
                    tell.send(event).unwrap();
                    Box::pin(std::future::pending())
                });
                let mut source = source(&url, function);
                source.settings.timeout = Duration::from_millis(20);
                source.settings.retry_attempts = Some(1);
                let running = run(source);
                let mut deliveries = Deliveries(deliveries);
                assert_eq!(deliveries.executions(2).await, ["first", "first"]);
                assert!(deliveries.nothing_more().await);
                running.stop().await;
            },
        ),
    ]
}

//! Which records are delivered at all.

use super::super::super::batch::Record;
use super::mapping::{MADE, Mapping, made, plain};
use super::*;

/// Changes of these names, delivered through these patterns.
fn delivered(patterns: &[&str], names: &[&str]) -> Vec<usize> {
    Mapping::of_records(filtered(patterns), changes(names)).run(|_| false).concat()
}

fn filtered(patterns: &[&str]) -> Settings {
    let filters = patterns.iter().map(|pattern| Filter::parse(pattern).unwrap()).collect();
    Settings { filters, ..plain() }
}

fn changes(names: &[&str]) -> Vec<Record> {
    let change = |(place, name): (usize, &&str)| {
        let mut record = made(place, &format!("key {place}"));
        (*name).clone_into(&mut record.event.event_name);
        record
    };
    (1..).zip(names).map(change).collect()
}

const ALL: [&str; 4] = ["INSERT", "MODIFY", "REMOVE", "INSERT"];
const INSERTS: &str = r#"{"eventName":["INSERT"]}"#;
const CHANGES: &str = r#"{"eventName":["MODIFY","REMOVE"]}"#;

/// Patterns that Lambda understands and we do not, and some that nobody does.
fn refused() -> [(&'static str, &'static str); 7] {
    [
        ("a pattern of images", r#"{"dynamodb":{"NewImage":{"wake":{"S":[{"exists":true}]}}}}"#),
        ("a pattern of no key", r#"{"eventName":["INSERT"],"dynamodb":{"Keys":{}}}"#),
        ("a pattern of identities", r#"{"userIdentity":{"type":["Service"]}}"#),
        ("a pattern with an operator", r#"{"eventName":[{"prefix":"INS"}]}"#),
        ("a pattern that says a key twice", r#"{"eventName":["INSERT"],"eventName":["MODIFY"]}"#),
        ("a pattern of nothing", r#"{"eventName":[]}"#),
        ("a pattern that is no JSON", "eventName = INSERT"),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    let refused = refused().map(|(name, pattern)| {
        case(name, "What is not understood is refused, never ignored.", move || {
            assert!(Filter::parse(pattern).is_err());
        })
    });
    let rest = [
        case("no filter", "Everything is delivered.", || {
            assert_eq!(delivered(&[], &ALL), [1, 2, 3, 4]);
        }),
        case("new items only", "Changes and removals are not delivered.", || {
            assert_eq!(delivered(&[INSERTS], &ALL), [1, 4]);
        }),
        case("changes and removals only", "Any name of a pattern will do.", || {
            assert_eq!(delivered(&[CHANGES], &ALL), [2, 3]);
        }),
        case("several filters", "A record that passes one of them is delivered, once.", || {
            assert_eq!(delivered(&[INSERTS, CHANGES, INSERTS], &ALL), [1, 2, 3, 4]);
        }),
        case("names are exact", "Neither case nor a part of a name is enough.", || {
            assert_eq!(delivered(&[INSERTS], &["insert", "INSERTED", "INS", "INSERT"]), [4]);
        }),
        case("an unknown kind of change", "It passes no filter that does not name it.", || {
            assert_eq!(delivered(&[INSERTS, CHANGES], &["ARCHIVE", "", "INSERT"]), [3]);
        }),
        case("nothing passes", "The iterator moves on without an invocation.", || {
            let mut mapping = Mapping::of_records(filtered(&[CHANGES]), changes(&["INSERT"; 9]));
            assert_eq!((mapping.starts(), mapping.checkpoint()), (None, 9));
            assert_eq!(mapping.lost(), []);
        }),
        case("between those that pass", "The checkpoint counts what was filtered as done.", || {
            let names = ["REMOVE", "INSERT", "REMOVE", "INSERT", "REMOVE"];
            let mut mapping = Mapping::of_records(
                Settings { retry_attempts: Some(1), ..filtered(&[INSERTS]) },
                changes(&names),
            );
            assert_eq!((mapping.invoked(), mapping.checkpoint()), (vec![2, 4], 1));
            mapping.names(&[4]);
            assert_eq!((mapping.invoked(), mapping.checkpoint()), (vec![4], 3));
            mapping.succeeds();
            assert_eq!(mapping.checkpoint(), 5);
        }),
        case("places in a batch", "What is filtered takes none.", || {
            let names = ["INSERT", "REMOVE"].repeat(4);
            let mut mapping = Mapping::of_records(filtered(&[INSERTS]), changes(&names));
            assert_eq!(mapping.starts(), Some(vec![1, 3, 5, 7]));
        }),
        case("a window and nothing that passes", "What is filtered opens no window.", || {
            let window = Duration::from_secs(2);
            let settings = Settings { batching_window: window, ..filtered(&[INSERTS]) };
            let mut mapping = Mapping::of_records(settings, changes(&["REMOVE"]));
            mapping.now += window;
            mapping.shard.accept(vec![made(2, "b")], mapping.now);
            assert_eq!((mapping.starts(), mapping.invoked()), (None, vec![2]));
            assert_eq!(mapping.now, MADE + window * 2);
        }),
        case("too old and filtered", "It is not lost, so nobody notes it.", || {
            let mut mapping = Mapping::of_records(filtered(&[INSERTS]), changes(&["REMOVE"]));
            mapping.now += Duration::from_secs(100_000);
            assert_eq!((mapping.starts(), mapping.lost()), (None, vec![]));
        }),
        case("the template's patterns", "This machine delivers what a deployment does.", || {
            let template = include_str!("../../../../../template.yaml");
            let patterns: Vec<&str> = template
                .lines()
                .filter_map(|line| line.trim().strip_prefix("- Pattern: '")?.strip_suffix('\''))
                .collect();
            use crate::local::server::{APPENDS, RECEIVED};
            assert_eq!(patterns, [RECEIVED, APPENDS]);
            assert_eq!(delivered(&patterns[1..], &ALL), [1, 2, 4]);
        }),
    ];
    refused.into_iter().chain(rest).collect()
}

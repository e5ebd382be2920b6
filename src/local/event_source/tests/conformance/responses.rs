//! What a function's answer means.

use serde_json::{Value, json};

use super::super::super::sequence::SequenceNumber;
use super::mapping::{Mapping, id, plain};
use super::*;

/// Answers that leave nothing to do.
fn successes() -> [(&'static str, Value); 5] {
    [
        ("an empty object", json!({})),
        ("null", json!(null)),
        ("an empty list as the answer", json!([])),
        ("an empty list of failures", json!({"batchItemFailures": []})),
        ("null for the failures", json!({"batchItemFailures": null})),
    ]
}

/// Answers that fail the whole batch of three.
fn failures() -> [(&'static str, Value); 15] {
    let failure = |failure: Value| json!({"batchItemFailures": [failure]});
    [
        ("an empty text as the answer", json!("")),
        ("a null identifier", failure(json!({"itemIdentifier": null}))),
        ("an empty identifier", failure(json!({"itemIdentifier": ""}))),
        ("a wrong key for the identifier", failure(json!({"sequenceNumber": id(2)}))),
        ("a wrong key with null", failure(json!({"foo": null}))),
        ("an identifier of another batch", failure(json!({"itemIdentifier": id(9)}))),
        ("a number as the identifier", failure(json!({"itemIdentifier": 123}))),
        ("an identifier that is no number", failure(json!({"itemIdentifier": "second"}))),
        ("an identifier with a space", failure(json!({"itemIdentifier": format!(" {}", id(2))}))),
        ("a failure that is no object", failure(json!(id(2)))),
        ("failures that are no list", json!({"batchItemFailures": id(2)})),
        ("one bad identifier among good ones", {
            json!({"batchItemFailures": [{"itemIdentifier": id(2)}, {"itemIdentifier": null}]})
        }),
        ("another text as the answer", json!("done")),
        ("a number as the answer", json!(200)),
        ("a list that is not empty as the answer", json!([{"itemIdentifier": id(2)}])),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    let success = successes().map(|(name, answer)| {
        case(name, "It says that every record is done.", move || {
            let mut mapping = Mapping::of(plain(), 3);
            mapping.invoked();
            mapping.answers(&answer);
            assert!(mapping.shard.is_idle());
            assert_eq!((mapping.checkpoint(), mapping.lost()), (3, vec![]));
        })
    });
    let failure = failures().map(|(name, answer)| {
        case(name, "It fails the whole batch, which is delivered again.", move || {
            let mut mapping = Mapping::of(Settings { retry_attempts: Some(1), ..plain() }, 3);
            mapping.invoked();
            mapping.answers(&answer);
            assert_eq!((mapping.checkpoint(), mapping.invoked()), (0, vec![1, 2, 3]));
        })
    });
    let rest = [
        case("an unhandled error", "It fails the whole batch, which is delivered again.", || {
            let mut mapping = Mapping::of(Settings { retry_attempts: Some(1), ..plain() }, 3);
            mapping.invoked();
            mapping.fails();
            assert_eq!((mapping.checkpoint(), mapping.invoked()), (0, vec![1, 2, 3]));
        }),
        case("one failure", "From the named record on all is delivered again.", || {
            after_naming(&[3], &[3, 4]);
        }),
        case(
            "several failures",
            "The lowest number is the checkpoint, wherever it stands.",
            || {
                after_naming(&[4, 2, 3], &[2, 3, 4]);
            },
        ),
        case("a failure named twice", "It counts once.", || after_naming(&[3, 3], &[3, 4])),
        case("the last record failed", "Only that one is delivered again.", || {
            after_naming(&[4], &[4]);
        }),
        case("the first record failed", "Nothing is done.", || after_naming(&[1], &[1, 2, 3, 4])),
        case(
            "success after a failure",
            "It is delivered again: nobody asks what came later.",
            || {
                after_naming(&[1, 4], &[1, 2, 3, 4]);
            },
        ),
        case("the lowest is of another batch", "The whole batch has failed.", || {
            let mut mapping = Mapping::of(Settings { retry_attempts: Some(1), ..plain() }, 8);
            mapping.invoked();
            mapping.succeeds();
            mapping.invoked();
            mapping.names(&[7, 2]);
            assert_eq!((mapping.checkpoint(), mapping.invoked()), (4, vec![5, 6, 7, 8]));
        }),
        case(
            "21 and 22 digits",
            "A longer number is higher, whatever its text begins with.",
            || {
                let settings = Settings { retry_attempts: Some(1), batch_size: 8, ..plain() };
                assert_eq!((id(4).len(), id(5).len()), (21, 22));
                let mut mapping = Mapping::of(settings, 8);
                assert_eq!(mapping.invoked(), [1, 2, 3, 4, 5, 6, 7, 8]);
                mapping.names(&[5, 4, 6]);
                assert_eq!((mapping.checkpoint(), mapping.invoked()), (3, vec![4, 5, 6, 7, 8]));
            },
        ),
        case("numbers beyond floating point", "Neighbours of 21 digits are told apart.", || {
            assert_eq!(id(3).parse::<f64>(), id(2).parse::<f64>());
            after_naming(&[3, 2], &[2, 3, 4]);
        }),
        case(
            "up to 40 digits",
            "The order is that of the numbers, which no integer holds.",
            || {
                proptest::proptest!(|(one in "[1-9][0-9]{20,39}", other in "[1-9][0-9]{20,39}")| {
                    let number = |text: &str| SequenceNumber::parse(text).unwrap();
                    let padded = |text: &str| format!("{text:0>40}");
                    let expected = padded(&one).cmp(&padded(&other));
                    proptest::prop_assert_eq!(number(&one).cmp(&number(&other)), expected);
                });
            },
        ),
        case(
            "what follows a failure",
            "It waits: one batch at a time keeps the shard's order.",
            || {
                let mut mapping = Mapping::of(Settings { retry_attempts: Some(1), ..plain() }, 6);
                mapping.invoked();
                mapping.names(&[3]);
                assert_eq!(mapping.invoked(), [3, 4]);
                mapping.succeeds();
                assert_eq!(mapping.invoked(), [5, 6]);
            },
        ),
    ];
    success.into_iter().chain(failure).chain(rest).collect()
}

/// After these of four records were named, those are delivered again.
#[track_caller]
fn after_naming(named: &[usize], again: &[usize]) {
    let mut mapping = Mapping::of(Settings { retry_attempts: Some(1), ..plain() }, 4);
    assert_eq!(mapping.invoked(), [1, 2, 3, 4]);
    mapping.names(named);
    assert_eq!((mapping.checkpoint(), mapping.invoked()), (again[0] - 1, again.to_vec()));
}

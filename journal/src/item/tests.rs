use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;
use crate::event::{Cause, Covers, IdOrigin, OutgoingBody, OutgoingRequest, Verified, Webhook};
use crate::payload::Payload;
use crate::samples::{
    at, completed, ended_badly, failed, failure, fired, id, in_form_1, received, step,
    text as body_text, unpacked, webhook, with_events,
};

/// The item of these events, appended at sequence 2.
fn item(events: Vec<Event>) -> Item {
    let events = Events::new(events).unwrap();
    let after = Head { sequence: Sequence::new(1), digest: Some(before()) };
    from_append(&id(), after, &events, at(604_800), at(2), "append-1", Beside::default())
}

/// The digest of the append before.
fn before() -> Digest {
    Digest::parse("47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU").unwrap()
}

/// An item as versions wrote it that knew no digests.
fn older(events: Vec<Event>) -> Item {
    let mut item = in_form_1(item(events));
    item.remove("previous");
    item
}

/// The stored JSON of an event, which reads back as the same event.
#[track_caller]
fn stored(event: Event) -> String {
    let stored = unpacked(&item(vec![event.clone()]));
    assert_eq!(read(&stored).unwrap(), [event]);
    stored
}

/// The events of a stored JSON, which both forms read alike.
#[track_caller]
fn read(stored: &str) -> Result<Vec<Event>, String> {
    let packed = item(vec![fired(at(9))]);
    let mut plain = in_form_1(packed.clone());
    plain.insert("events".into(), text(stored));
    let packed = events_of(&with_events(packed, stored));
    assert_eq!(packed, events_of(&plain));
    packed
}

fn events_of(item: &Item) -> Result<Vec<Event>, String> {
    let recorded = to_append(item).map_err(|error| error.to_string())?.recorded;
    Ok(recorded.into_iter().map(|recorded| recorded.event).collect())
}

/// A webhook with everything that may be missing.
fn whole_webhook() -> Webhook {
    Webhook {
        delivery_id_from: IdOrigin::Signed,
        event_type: Some("push".into()),
        verified: Verified {
            scheme: "github".into(),
            secret: Some("env:GITHUB_WEBHOOK_SECRET".into()),
            covers: None,
        },
        query: "a=1&b=%20".into(),
        headers: BTreeMap::from([("content-type".into(), "application/json".into())]),
        source_ip: Some("192.0.2.1".into()),
        keys: vec!["ref".into(), "é\"".into()],
        key_count: 2,
        ..webhook(&["validate", "notify"])
    }
}

fn with_output(output: Payload) -> Event {
    Event::StepCompleted {
        step: step("validate"),
        attempt: 1,
        started_at: at(1),
        duration_ms: 20,
        output,
        request: None,
    }
}

#[test]
fn a_webhook_with_everything_is_stored() {
    insta::assert_snapshot!(stored(Event::WebhookReceived(Arc::new(whole_webhook()))));
}

#[test]
fn what_a_signature_covers_is_stored_where_it_is_less_than_every_byte() {
    for (covers, text) in [
        (None, r#""verified":{"scheme":"none"}"#),
        (Some(Covers::Fields), r#""verified":{"scheme":"none","covers":"fields"}"#),
        (Some(Covers::Form), r#""verified":{"scheme":"none","covers":"form"}"#),
        (Some(Covers::Checksum), r#""verified":{"scheme":"none","covers":"checksum"}"#),
        (Some(Covers::Nothing), r#""verified":{"scheme":"none","covers":"nothing"}"#),
    ] {
        let verified = Verified { covers, ..webhook(&[]).verified };
        let event = Event::WebhookReceived(Arc::new(Webhook { verified, ..webhook(&[]) }));
        let stored = stored(event);
        assert!(stored.contains(text), "{stored}");
    }
}

#[test]
fn a_webhook_that_was_released_from_quarantine_is_stored() {
    let webhook = Webhook { quarantined_at: Some(at(-60)), ..webhook(&[]) };
    insta::assert_snapshot!(stored(Event::WebhookReceived(Arc::new(webhook))));
}

#[test]
fn a_webhook_with_only_what_must_be_is_stored() {
    insta::assert_snapshot!(stored(received(&["validate"])));
}

#[test]
fn a_webhook_whose_id_comes_from_its_body_is_stored() {
    let webhook = Webhook { delivery_id_from: IdOrigin::Body, ..webhook(&[]) };
    insta::assert_snapshot!(stored(Event::WebhookReceived(Arc::new(webhook))));
}

#[test]
fn a_completed_step_is_stored() {
    insta::assert_snapshot!(stored(completed("validate", 1)));
}

#[test]
fn a_result_of_json_is_stored() {
    let json = RawValue::from_string(r#"{"b": 1.50, "a": [null]}"#.into()).unwrap();
    insta::assert_snapshot!(stored(with_output(Payload::Json(json))));
}

#[test]
fn a_result_of_bytes_is_stored() {
    insta::assert_snapshot!(stored(with_output(Payload::Base64("//4A".into()))));
}

#[test]
fn a_result_that_is_compressed_is_stored() {
    let output = Payload::Deflate { base64: "y0jNyclXyEhNKQYA".into(), bytes: 2000 };
    insta::assert_snapshot!(stored(with_output(output)));
}

#[test]
fn a_result_in_the_object_store_is_stored() {
    let sha256 = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae".into();
    insta::assert_snapshot!(stored(with_output(Payload::Stored { sha256, bytes: 100_000 })));
}

#[test]
fn a_failed_step_with_a_retry_is_stored() {
    insta::assert_snapshot!(stored(failed("notify", 1, Some(at(9)))));
}

#[test]
fn a_failed_step_without_a_retry_is_stored() {
    insta::assert_snapshot!(stored(failed("notify", 6, None)));
}

#[test]
fn what_a_step_sent_is_stored_with_each_outcome() {
    let request = |body| {
        let headers = [("authorization", None), ("content-type", Some("text/plain".to_owned()))];
        Some(Box::new(OutgoingRequest {
            method: "POST".into(),
            url: "https://example.com/a?key=…".into(),
            headers: headers.map(|(name, value)| (name.to_owned(), value)).into(),
            more_headers: 0,
            body,
        }))
    };
    let told = r#""request":{"method":"POST","url":"https://example.com/a?key=…","headers":{"authorization":null,"content-type":"text/plain"}"#;
    let sha256 = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
    let omitted = OutgoingBody::Omitted { sha256: sha256.into(), bytes: 5_000 };
    let omitted_text = format!(r#","body":{{"omitted":{{"sha256":"{sha256}","bytes":5000}}}}"#);
    for (body, text) in [
        (None, ""),
        (Some(OutgoingBody::Webhook), r#","body":"webhook""#),
        (Some(OutgoingBody::Result(step("before"))), r#","body":{"result":"before"}"#),
        (Some(OutgoingBody::Text("a\n".into())), r#","body":{"text":"a\n"}"#),
        (Some(omitted), &omitted_text),
    ] {
        let (step, started_at, request) = (step("a"), at(1), request(body));
        for event in [
            Event::StepCompleted {
                step: step.clone(),
                attempt: 1,
                started_at,
                duration_ms: 20,
                output: body_text("done"),
                request: request.clone(),
            },
            Event::StepFailed {
                step: step.clone(),
                attempt: 1,
                started_at,
                duration_ms: 20,
                error: failure(),
                retry_at: None,
                request: request.clone(),
            },
            Event::StepFiltered {
                step: step.clone(),
                attempt: 1,
                started_at,
                duration_ms: 20,
                reason: "not wanted".into(),
                request: request.clone(),
            },
            Event::StepPolled {
                step: step.clone(),
                attempt: 1,
                started_at,
                duration_ms: 20,
                state: body_text("seen"),
                next_at: at(9),
                request: request.clone(),
            },
        ] {
            let stored = stored(event);
            assert!(stored.ends_with(&format!("{told}{text}}}}}}}]")), "{stored}");
        }
    }
}

#[test]
fn an_outcome_from_before_requests_were_recorded_has_none() {
    let older = stored(completed("a", 1));
    assert!(!older.contains("request"), "{older}");
    assert_eq!(read(&older).unwrap()[0].request(), None);
}

#[test]
fn a_timer_is_stored() {
    insta::assert_snapshot!(stored(fired(at(9))));
}

#[test]
fn a_completion_is_stored() {
    insta::assert_snapshot!(stored(Event::ExecutionCompleted { filtered: None }));
}

#[test]
fn an_execution_that_failed_at_a_step_is_stored() {
    let cause = Cause {
        step: Some(step("notify")),
        kind: "timeout".into(),
        message: "no answer in 30s".into(),
    };
    insta::assert_snapshot!(stored(ended_badly(cause)));
}

#[test]
fn an_execution_that_failed_of_itself_is_stored() {
    let cause = Cause {
        step: None,
        kind: "budget".into(),
        message: "an execution may have 1000 events".into(),
    };
    insta::assert_snapshot!(stored(ended_badly(cause)));
}

/// The events of [`end`] as zlib packs them, in base64. They stay readable, whatever a later version would write.
const PACKED: &str = "o85ouZFJiIERuMVuCG7No43XGqEM2ELDLAXYAFbCP+oKAA==";

/// The digest of the append that has them, computed from the table in [`crate::chain`] by a program in Python.
const PACKED_DIGEST: &str = "VcfgvnZOrG_R3tIIo9tjm6iSsl0eTJwx-31goYRNpBE";

#[test]
fn an_append_is_stored_packed() {
    let mut item = item(end());
    // Another version of the compressor may write other bytes.
    item.insert("events".into(), text(format!("packed: {}", unpacked(&item))));
    insta::assert_snapshot!(attributes(item).join("\n"));
}

#[test]
fn packed_bytes_of_an_earlier_version_are_read() {
    let mut item = item(end());
    let packed = data_encoding::BASE64.decode(PACKED.as_bytes()).unwrap();
    item.insert("events".into(), bytes(packed));
    assert_eq!(events_of(&item).unwrap(), end());
    assert_eq!(digest(&item).unwrap().to_string(), PACKED_DIGEST);
}

#[test]
fn an_append_of_form_1_was_stored_whole() {
    let item = in_form_1(item(end()));
    assert_eq!(events_of(&item).unwrap(), end());
    insta::assert_snapshot!(shown(item));
}

#[test]
fn an_append_from_before_there_were_digests_was_stored_whole() {
    let item = older(end());
    assert_eq!(to_append(&item).unwrap().previous, None);
    insta::assert_snapshot!(shown(item));
}

#[test]
fn the_first_append_carries_no_digest() {
    let events = Events::from(received(&[]));
    let first =
        from_append(&id(), Head::START, &events, at(604_800), at(1), "append-1", Beside::default());
    assert_eq!(first.get("previous"), None);
}

fn end() -> Vec<Event> {
    vec![completed("validate", 1), Event::ExecutionCompleted { filtered: None }]
}

/// All attributes of an item, by name, and its digest.
fn shown(item: Item) -> String {
    let digest = format!("digest: {}", digest(&item).unwrap());
    [attributes(item), vec![digest]].concat().join("\n")
}

fn attributes(item: Item) -> Vec<String> {
    let attributes: BTreeMap<_, _> = item.into_iter().collect();
    attributes.into_iter().map(|(name, value)| format!("{name}: {value:?}")).collect()
}

#[test]
fn an_append_is_read_back_with_its_places() {
    let item = item(end());

    let read = to_append(&item).unwrap();

    let digest = digest(&item).unwrap();
    let expected = Events::new(end()).unwrap().record(Sequence::new(1), at(2), Some(digest));
    assert_eq!((read.previous, read.digest), (Some(before()), digest));
    assert_eq!(read.recorded, expected);
    let places: Vec<_> = read.recorded.iter().map(|r| (r.sequence.get(), r.first.get())).collect();
    assert_eq!(places, [(2, 2), (3, 2)]);
}

#[test]
fn a_field_from_a_later_version_is_passed_over() {
    let texts = [
        r#"[{"TimerFired":{"due":"2026-11-24T02:00:09.000Z","zone":"UTC"}}]"#,
        r#"[{"TimerFired":{"zone":{"name":["UTC"]},"due":"2026-11-24T02:00:09.000Z"}}]"#,
    ];
    for text in texts {
        assert_eq!(read(text), Ok(vec![fired(at(9))]));
    }
    let completed = r#"[{"ExecutionCompleted":{"note":"with ease"}}]"#;
    assert_eq!(read(completed), Ok(vec![Event::ExecutionCompleted { filtered: None }]));
}

#[test]
fn an_event_from_a_later_version_is_an_error() {
    let error = read(r#"[{"ExecutionPaused":{"by":"canary"}}]"#).unwrap_err();

    assert_eq!(error, "attribute `events` cannot be read: not events, at column 19");
}

#[test]
fn what_is_no_list_of_events_is_an_error() {
    let texts = ["", "[", "{}", "null", "[null]", r#"[{"TimerFired":{}}]"#, r#"["TimerFired"]"#];
    for text in texts {
        let error = read(text).unwrap_err();
        assert!(error.starts_with("attribute `events` cannot be read: not events"), "{error}");
    }
    assert_eq!(read("[]").unwrap_err(), "attribute `events` cannot be read: none");
}

#[test]
fn an_attribute_that_is_missing_or_wrong_is_an_error() {
    let wrong = [
        ("form", None, "no number"),
        ("form", Some(number(3)), "3 is not a form that this version knows"),
        ("form", Some(text("1")), "no number"),
        ("sequence", None, "no number"),
        ("sequence", Some(number(-1)), "no number"),
        ("sequence", Some(number("1.5")), "no number"),
        ("sequence", Some(number(0)), "0 is no position"),
        ("sequence", Some(number(u64::MAX)), "18446744073709551615 is no position"),
        ("at", None, "no text"),
        ("at", Some(text("yesterday")), "not a timestamp"),
        ("events", None, "no bytes"),
        ("events", Some(text("[]")), "no bytes"),
        ("events", Some(bytes(Vec::new())), "damaged"),
        ("append", None, "no text"),
        ("previous", Some(number(1)), "no text"),
        ("previous", Some(text("abc")), "not a digest"),
    ];
    for (attribute, value, reason) in wrong {
        let mut item = item(vec![fired(at(9))]);
        item.remove(attribute);
        item.extend(value.map(|value| (attribute.to_owned(), value)));

        let error = to_append(&item).unwrap_err();

        assert_eq!((error.attribute, error.reason.as_str()), (attribute, reason));
    }
}

#[test]
fn packed_events_that_say_that_they_are_text_are_an_error() {
    let mut item = item(end());
    item.insert("form".into(), number(FORM_TEXT));
    let error = to_append(&item).unwrap_err();
    assert_eq!((error.attribute, error.reason.as_str()), ("events", "no text"));
}

/// JSON texts near to those of events.
fn damaged() -> impl Strategy<Value = String> {
    let events = vec![received(&["a"]), completed("a", 1), failed("a", 1, None), fired(at(9))];
    let text = serde_json::to_string(&events).unwrap();
    let length = text.len();
    vec((0..length, any::<u8>()), 0..4).prop_map(move |damages| {
        let mut bytes = text.clone().into_bytes();
        for (place, byte) in damages {
            bytes[place] = byte;
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Packed bytes near to those of events.
fn damaged_bytes() -> impl Strategy<Value = Vec<u8>> {
    let item = item(vec![received(&["a"]), completed("a", 1), fired(at(9))]);
    let packed = read_bytes(&item, "events").unwrap().to_vec();
    let length = packed.len();
    (vec((0..length, any::<u8>()), 0..4), 0..length + 4).prop_map(move |(damages, length)| {
        let mut bytes = packed.clone();
        for (place, byte) in damages {
            bytes[place] = byte;
        }
        bytes.resize(length, 0);
        bytes
    })
}

fn payload() -> impl Strategy<Value = Payload> {
    vec(any::<u8>(), 0..40).prop_map(|bytes| Payload::inline(&bytes).unwrap())
}

proptest! {
    #[test]
    fn a_damaged_text_is_an_error_and_no_panic(text in damaged()) {
        read(&text).ok();
    }

    #[test]
    fn damaged_bytes_are_an_error_and_no_panic(damaged in damaged_bytes()) {
        let mut item = item(vec![fired(at(9))]);
        item.insert("events".into(), bytes(damaged));
        to_append(&item).ok();
    }

    #[test]
    fn every_text_and_number_is_read_back(
        texts in vec(".*", 4),
        attempt in any::<u32>(),
        duration_ms in any::<u64>(),
        output in payload(),
    ) {
        let [name, key, header, query] = texts.as_slice() else { unreachable!() };
        let webhook = Webhook {
            event_type: Some(name.clone()),
            query: query.clone(),
            headers: BTreeMap::from([(key.clone(), header.clone())]),
            keys: vec![key.clone()],
            key_count: duration_ms,
            body: body_text(header),
            ..webhook(&[name])
        };
        let completed = Event::StepCompleted {
            step: step(name),
            attempt,
            started_at: at(1),
            duration_ms,
            output,
            request: None,
        };
        let events = vec![Event::WebhookReceived(Arc::new(webhook)), completed];

        let read = to_append(&item(events.clone())).unwrap().recorded;

        let read: Vec<_> = read.into_iter().map(|recorded| recorded.event).collect();
        prop_assert_eq!(read, events);
    }
}

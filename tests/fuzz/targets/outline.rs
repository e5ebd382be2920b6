//! Bodies, read in one pass: what is found is what a reader of the whole body finds.

#![no_main]

use everhook_ingest::outline::{Outline, Path, Wanted};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// Places, as a path and as a JSON Pointer.
const PLACES: [(&str, &str); 7] = [
    ("id", "/id"),
    ("n", "/n"),
    ("type", "/type"),
    ("type.id", "/type/id"),
    ("data.id", "/data/id"),
    ("list.0.id", "/list/0/id"),
    ("0.id", "/0/id"),
];

fuzz_target!(|body: &[u8]| {
    let paths = PLACES.iter().map(|(path, _)| Path::dotted(path)).collect();
    let outline = Outline::of(body, &Wanted { paths, list: Some(Path::pointer("/a/b")) });
    let list = outline.list.iter().flatten();
    let parts: Vec<_> = list.map(|place| std::str::from_utf8(&body[place.clone()])).collect();
    let Ok(whole) = serde_json::from_slice::<Value>(body) else { return };
    let summary = outline.summary.as_ref().expect("it is JSON");
    assert!(summary.key_count >= whole.as_object().map_or(0, |object| object.len() as u64));
    for (path, pointer) in PLACES {
        let found = outline.field(path);
        match whole.pointer(pointer) {
            Some(Value::String(text)) => assert_eq!(found.as_ref(), Some(text), "{path}"),
            // As it is written: what a reader of numbers rounds keeps its digits.
            Some(Value::Number(number)) if number.is_f64() => {
                let read = found.and_then(|text| text.parse::<f64>().ok());
                assert_eq!(read, number.as_f64(), "{path}");
            }
            Some(Value::Number(number)) => assert_eq!(found, Some(number.to_string()), "{path}"),
            _ => assert_eq!(found, None, "{path}"),
        }
    }
    let events = whole.pointer("/a/b").and_then(Value::as_array);
    assert_eq!(outline.list.is_some(), events.is_some());
    for (part, event) in parts.iter().zip(events.into_iter().flatten()) {
        let part = part.expect("a part of JSON is text");
        assert_eq!(serde_json::from_str::<Value>(part).ok().as_ref(), Some(event));
    }
});

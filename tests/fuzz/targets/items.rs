//! Bodies with several events: each item is a part of the body, byte for byte.

#![no_main]

use bytes::Bytes;
use everhook_ingest::items::{ITEMS_MAX, Items};
use everhook_ingest::outline::{Outline, Wanted};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let body = Bytes::copy_from_slice(data);
    for list in ["", "/value", "/a/b"] {
        let id = vec!["/id".to_owned(), "/n".to_owned()];
        let items = Items { list: list.into(), id, event_type: Some("/type".into()) };
        let wanted = Wanted { paths: Vec::new(), list: Some(items.place()) };
        if let Ok(found) = items.of(&body, Outline::of(&body, &wanted)) {
            assert!((1..=ITEMS_MAX).contains(&found.len()));
            for item in found {
                let is_there = data.windows(item.body.len().max(1)).any(|part| part == item.body);
                assert!(is_there || item.body.is_empty());
            }
        }
    }
});

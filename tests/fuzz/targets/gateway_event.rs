//! Events as an HTTP API could hand them over.

#![no_main]

use everhook_ingest::request::Request;
use everhook_journal::gateway;
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 1024;

fuzz_target!(|data: &[u8]| {
    let Ok(event) = serde_json::from_slice(data) else { return };
    let Ok(event) = gateway::read(event) else { return };
    if let Ok(request) = Request::from_event(event, LIMIT) {
        assert!(request.body.len() <= LIMIT);
        assert!(request.path.len() <= 2048 && request.query.len() <= 2048);
        let kept = request.headers.kept(&[], &[]);
        assert!(kept.len() <= 64 && kept.values().all(|value| value.len() <= 4096));
    }
});

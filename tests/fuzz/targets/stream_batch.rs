//! Records of the stream, and what is answered about them.

#![no_main]

use everhook_journal::stream::{Batch, BatchResponse};
use everhook_processor::{Invocation, wakeup};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(event) = serde_json::from_slice::<serde_json::Value>(data) else { return };
    let records = event["Records"].as_array().map_or(0, Vec::len);
    let batch = Batch::from_json(event.clone());
    assert!(batch.records.len() + batch.unreadable <= records.max(1));
    assert!(wakeup::from_batch(&batch).len() <= batch.records.len());
    // What is named as failed is in the batch, so that no answer fails a batch as a whole.
    if let BatchResponse::FailedFrom(number) = BatchResponse::failed(&batch.records) {
        assert!(batch.records.iter().any(|record| record.stream_sequence == number));
    }
    Invocation::from_json(event);
});

//! Histories: any list of events is a state or is told to be none, and a state knows what it wants.
//! Packed events: any bytes are either unpacked, within a bound, or refused as damaged.

#![no_main]

use everhook_journal::event::Recorded;
use everhook_journal::item::{FORM, bytes, number, text, to_append};
use everhook_journal::packed::{UNPACKED_BYTES_MAX, pack, unpack};
use everhook_journal::store::Item;
use everhook_journal::{Execution, ExecutionId, View};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let packed = pack(data);
    assert_eq!(unpack(&packed).as_deref(), Ok(data));
    if let Ok(unpacked) = unpack(data) {
        assert!(unpacked.len() <= UNPACKED_BYTES_MAX);
    }
    // As they are, and as the JSON of events.
    for events in [data.to_vec(), packed] {
        to_append(&item(events)).ok();
    }
    let Ok(history) = serde_json::from_slice::<Vec<Recorded>>(data) else { return };
    let Ok(Some(execution)) = Execution::fold(&history) else { return };
    let id = ExecutionId::parse("AAAAAAAAAAAAAAAAAAAAAAAAAA").expect("26 letters");
    let view = View::of(&id, &execution);
    assert_eq!(view.sequence, execution.sequence);
    execution.due_at();
    // Folded again it is the same: a replay shows what was.
    assert_eq!(Execution::fold(&history).ok().flatten(), Some(execution));
});

fn item(events: Vec<u8>) -> Item {
    Item::from([
        ("execution".into(), text("AAAAAAAAAAAAAAAAAAAAAAAAAA")),
        ("sequence".into(), number(1)),
        ("form".into(), number(FORM)),
        ("events".into(), bytes(events)),
        ("at".into(), text("2026-11-24T02:00:02.000Z")),
        ("append".into(), text("append-1")),
    ])
}

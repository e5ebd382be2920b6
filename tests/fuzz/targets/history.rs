//! Histories: any list of events is a state or is told to be none, and a state knows what it wants.

#![no_main]

use everhook_journal::event::Recorded;
use everhook_journal::{Execution, ExecutionId, View};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(history) = serde_json::from_slice::<Vec<Recorded>>(data) else { return };
    let Ok(Some(execution)) = Execution::fold(&history) else { return };
    let id = ExecutionId::parse("AAAAAAAAAAAAAAAAAAAAAAAAAA").expect("26 letters");
    let view = View::of(&id, &execution);
    assert_eq!(view.sequence, execution.sequence);
    execution.due_at();
    // Folded again it is the same: a replay shows what was.
    assert_eq!(Execution::fold(&history).ok().flatten(), Some(execution));
});

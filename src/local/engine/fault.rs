//! Faults of the disk after which the engine cannot go on. The process then ends: the next one begins with what
//! is on disk, which this one can no longer tell.

use std::sync::Arc;

use dynoxide::DynoxideError;
use tokio::sync::watch;

/// Why the engine cannot go on, once it cannot. A clone says the same.
#[derive(Debug, Clone)]
pub(super) struct Fault(Arc<watch::Sender<Option<String>>>);

impl Fault {
    pub(super) fn none() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Says why the engine cannot go on. The first reason stays.
    pub(super) fn report(&self, reason: impl Into<String>) {
        self.0.send_if_modified(|fault| {
            let is_first = fault.is_none();
            if is_first {
                let reason = reason.into();
                tracing::error!(reason, "the embedded engine stops: {reason}");
                *fault = Some(reason);
            }
            is_first
        });
    }

    pub(super) fn is_reported(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// The reason, once there is one.
    pub(super) async fn reported(&self) -> String {
        let mut fault = self.0.subscribe();
        let reported = fault.wait_for(Option::is_some).await;
        reported.ok().and_then(|reason| reason.clone()).unwrap_or_default()
    }
}

/// SQLite's result codes (sqlite.org/rescode.html): an extended code has the primary one in its lowest byte.
const PRIMARY: i32 = 0xff;
const CORRUPT: i32 = 11;
const NOT_A_DATABASE: i32 = 26;
const IO_READ: i32 = 266;
const IO_SHORT_READ: i32 = 522;
const IO_FSYNC: i32 = 1034;
const IO_DIR_FSYNC: i32 = 1290;
const IO_DATA: i32 = 8202;
const IO_CORRUPT_FS: i32 = 8458;

/// What a damaged database says where its code is lost on the way.
const DAMAGED: [&str; 2] = ["malformed", "not a valid SQLite database"];

/// Whether an error says that the tables are damaged.
pub(super) fn is_damage(error: &DynoxideError) -> bool {
    match error {
        DynoxideError::SqliteError(error) => {
            let code = error.sqlite_error().map_or(0, |error| error.extended_code);
            matches!(code & PRIMARY, CORRUPT | NOT_A_DATABASE)
        }
        DynoxideError::InternalServerError(text) => {
            DAMAGED.iter().any(|damaged| text.contains(damaged))
        }
        _ => false,
    }
}

/// Why the engine cannot go on after this error, if it cannot. A full disk is no such reason: it gets room again.
pub(super) fn of_error(error: &DynoxideError) -> Option<String> {
    if is_damage(error) {
        return Some(format!(
            "the tables are damaged ({error}); restore the data folder from a backup"
        ));
    }
    let DynoxideError::SqliteError(sqlite) = error else { return None };
    match sqlite.sqlite_error().map_or(0, |error| error.extended_code) {
        IO_FSYNC | IO_DIR_FSYNC => Some(format!(
            "the disk did not sync the tables ({error}); check the disk, then start again"
        )),
        IO_READ | IO_SHORT_READ | IO_DATA | IO_CORRUPT_FS => Some(format!(
            "the disk did not read the tables ({error}); check the disk, then start again"
        )),
        _ => None,
    }
}

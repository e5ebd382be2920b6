//! How many files this process may have open: a connection is one too.

/// Enough for all connections of the door and of the steps, and the engine's own; more is refused by some systems.
#[cfg(unix)]
const FILES: u64 = 8_192;

/// Lets this process have as many files open as a server needs, if the system allows it:
/// what a shell hands on is often 1,024, or 256.
#[cfg(unix)]
pub(super) fn allow_many() {
    use rustix::process::{Resource, getrlimit, setrlimit};

    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(FILES, |most| most.min(FILES));
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(wanted);
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::debug!("no more files may be open than before: {error}");
        }
    }
}

/// Elsewhere there is no such limit.
#[cfg(not(unix))]
pub(super) fn allow_many() {}

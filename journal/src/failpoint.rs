//! Named places at which a test of crashes kills the process.
//!
//! Without the feature `simulation`, which no shipped program has, they are nothing.

/// The variable that says where to die: a name, a colon, and how often it is passed before: `append.after:17`.
#[cfg(feature = "simulation")]
pub const VARIABLE: &str = "EVERHOOK_FAILPOINT";

/// Dies here, if this is the place and the time for it.
#[inline]
pub fn reached(name: &str) {
    #[cfg(feature = "simulation")]
    armed::reached(name);
    #[cfg(not(feature = "simulation"))]
    let _ = name;
}

#[cfg(feature = "simulation")]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Place {
        name: String,
        left: AtomicU64,
    }

    static PLACE: LazyLock<Option<Place>> = LazyLock::new(|| {
        let told = std::env::var(super::VARIABLE).ok()?;
        let (name, passes) = told.rsplit_once(':')?;
        Some(Place { name: name.to_owned(), left: AtomicU64::new(passes.parse().ok()?) })
    });

    pub(super) fn reached(name: &str) {
        let Some(place) = PLACE.as_ref().filter(|place| place.name == name) else { return };
        // Whoever takes the last pass dies, and everybody else with it: no destructor runs, nothing is flushed.
        if place.left.fetch_sub(1, Ordering::SeqCst) == 0 {
            std::process::abort();
        }
    }
}

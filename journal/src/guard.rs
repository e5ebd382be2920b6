//! The guards of the protocol, by name.
//!
//! Each of them holds, always. A simulation switches one off to see that it would be missed;
//! that takes the feature `simulation`, which no shipped program has.

/// A guard of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Guard {
    /// An append is conditional: nothing stands there yet.
    AppendCondition,
}

/// Whether this guard holds.
#[cfg(not(feature = "simulation"))]
#[inline(always)]
pub const fn holds(_guard: Guard) -> bool {
    true
}

/// Whether this guard holds.
#[cfg(feature = "simulation")]
#[inline]
pub fn holds(guard: Guard) -> bool {
    crate::ambient::simulated::with(|it| !it.is_off(guard)).unwrap_or(true)
}

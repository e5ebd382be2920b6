//! JSON text, looked at without changing it. What counts as JSON is decided in [`everhook_journal::json`].

pub(crate) use everhook_journal::json::{DEPTH_MAX, check_inside, first, kept, kept_inside};

/// The text, if it is JSON that can be read safely; otherwise what it is instead, to go after "the body".
pub(crate) fn check(bytes: &[u8]) -> Result<&str, String> {
    everhook_journal::json::check(bytes).map_err(|why| why.to_string())
}

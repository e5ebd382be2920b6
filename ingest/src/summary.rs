//! What a body is about: its top-level keys and the type it names.

/// The longest name of a key, or of a type, that is kept, in characters.
const NAME_MAX: usize = 100;

/// What a JSON body is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// The names of its first top-level keys.
    pub keys: Vec<String>,
    /// How many top-level keys (of an object) or items (of an array) it has.
    pub key_count: u64,
    /// Its top-level `type`, if that is text.
    pub event_type: Option<String>,
}

/// A name, no longer than is kept.
pub(crate) fn shortened(mut name: String) -> String {
    if let Some((end, _)) = name.char_indices().nth(NAME_MAX) {
        name.truncate(end);
    }
    name
}

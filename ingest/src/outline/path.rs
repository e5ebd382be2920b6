//! Places in JSON.

/// A way into a JSON body: keys of objects, and positions in lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    text: String,
    steps: Vec<String>,
}

impl Path {
    /// Reads `data.id`.
    pub fn dotted(text: &str) -> Self {
        Self { text: text.to_owned(), steps: text.split('.').map(str::to_owned).collect() }
    }

    /// Reads a JSON Pointer: `/data/id`; an empty one is the whole body.
    pub fn pointer(text: &str) -> Self {
        let step = |step: &str| step.replace("~1", "/").replace("~0", "~");
        Self { text: text.to_owned(), steps: text.split('/').skip(1).map(step).collect() }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn steps(&self) -> &[String] {
        &self.steps
    }
}

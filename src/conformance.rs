//! A collection of vectors, judged: which requests a receiver must accept, and which it must refuse.
//!
//! - [`vector`]: one request, and whether it is to be accepted
//! - `handshake`: one question of a sender, and its answer
//! - [`remote`]: the same against a running receiver
//! - [`report`]: how it came out

mod handshake;
pub mod remote;
pub mod report;
pub mod vector;

use everhook_journal::Timestamp;
use serde_json::Value;

pub use report::{Judged, Report};
pub use vector::Vector;

/// The form of collections that is understood.
const FORMAT: &str = "webhook-vectors/1";

/// Vectors and handshakes, as a file has them.
#[derive(Debug)]
pub struct Collection {
    vectors: Vec<Value>,
    handshakes: Vec<Value>,
}

impl Collection {
    /// Reads a file's text. Its error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut file: Value =
            serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
        if file["format"] != FORMAT {
            return Err(format!("it is no collection of vectors: `format` must be \"{FORMAT}\""));
        }
        let mut list = |name: &str| match file[name].take() {
            Value::Array(items) => Ok(items),
            Value::Null => Ok(Vec::new()),
            _ => Err(format!("`{name}` must be a list")),
        };
        Ok(Self { vectors: list("vectors")?, handshakes: list("handshakes")? })
    }

    /// All vectors that can be read.
    pub fn vectors(&self) -> impl Iterator<Item = Vector> {
        self.vectors.iter().filter_map(|value| Vector::read(value).ok())
    }

    /// Judges every vector with the verifier itself, and every handshake. `now` is for those that name no time.
    pub fn judge(&self, now: Timestamp) -> Report {
        let vectors = self.vectors.iter().map(|value| match Vector::read(value) {
            Ok(vector) => vector.judged(now),
            Err(reason) => unreadable(value, reason),
        });
        let handshakes = self.handshakes.iter().map(|value| handshake::judged(value, now));
        Report { judged: vectors.chain(handshakes).collect() }
    }
}

fn unreadable(value: &Value, reason: String) -> Judged {
    let text = |name: &str| value[name].as_str().unwrap_or("?").to_owned();
    Judged { id: text("id"), scheme: text("scheme"), failure: Some(reason) }
}

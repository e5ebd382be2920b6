//! Objects that no history names are removed: what was stored for an append that came second, for a result that
//! was superseded, or for a history that has expired.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use dynoxide::AttributeValue;
use everhook_journal::packed::{self, UnpackError};
use everhook_journal::payload::PayloadError;
use everhook_journal::schema::Tables;
use everhook_journal::{Payloads, Timestamp};

use super::Engine;
use super::engine::EngineError;

/// How old an object is at least: one is stored before the append that names it, and never this long before.
const AGE_MIN: Duration = Duration::from_secs(3600);

/// How long the engine is left to others after each piece of the journal.
const PAUSE: Duration = Duration::from_millis(10);

/// How long a SHA-256 is in hexadecimal.
const HEX: usize = 64;

/// Why objects could not be collected.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The journal did not answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The object store did not answer.
    #[error(transparent)]
    Payloads(#[from] PayloadError),
    /// The events of an append, and so the objects that it names, are unknown.
    #[error("no object is removed while the events of an append cannot be read: {0}")]
    Unreadable(#[from] UnpackError),
}

/// Removes the objects that were stored before this time and that no history names; says how many.
///
/// An object that is stored again meanwhile stays, see [`Payloads::remove`].
pub async fn collect(
    engine: &Engine,
    payloads: &Payloads,
    before: Timestamp,
) -> Result<usize, CollectError> {
    let mut unnamed: HashMap<_, _> = payloads
        .stored_before(before)
        .await?
        .into_iter()
        .map(|listed| (listed.sha256, listed))
        .collect();
    let mut from = None;
    while !unnamed.is_empty() {
        let (values, rest) = engine.page(&Tables::default().journal, from).await?;
        for value in values {
            // Whatever looks like the hash of an object keeps it: also in a history that cannot be read.
            for hash in hashes(&text(value)?) {
                unnamed.remove(&hash);
            }
        }
        from = rest;
        if from.is_none() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    let mut removed = 0;
    for listed in unnamed.values() {
        removed += usize::from(payloads.remove(listed).await?);
    }
    Ok(removed)
}

/// Until when those objects were stored that are old enough by now.
pub(super) fn before(now: Timestamp) -> Timestamp {
    Timestamp::from_millis(now.as_millis() - AGE_MIN.as_millis() as i64)
}

/// Removes what a process that died has left half written in the folder of objects, once it is old enough.
pub(super) fn remove_drafts(folder: &Path, now: SystemTime) {
    let entries = std::fs::read_dir(folder.join("payloads")).into_iter().flatten().flatten();
    for entry in entries {
        // The object store writes to a name with `#` and a number, and renames it.
        let is_draft = entry.file_name().to_string_lossy().contains('#');
        let is_old = || {
            let modified = entry.metadata().and_then(|it| it.modified()).ok();
            let age = modified.and_then(|modified| now.duration_since(modified).ok());
            age.is_some_and(|age| age >= AGE_MIN)
        };
        if is_draft && is_old() {
            std::fs::remove_file(entry.path()).ok();
        }
    }
}

/// The text of a value, which may be packed.
fn text(value: AttributeValue) -> Result<String, UnpackError> {
    match value {
        AttributeValue::S(text) => Ok(text),
        AttributeValue::B(bytes) => {
            Ok(String::from_utf8_lossy(&packed::unpack(&bytes)?).into_owned())
        }
        _ => Ok(String::new()),
    }
}

/// Everything in a text that can be the name of an object.
fn hashes(text: &str) -> impl Iterator<Item = [u8; 32]> {
    let runs = text.split(|c: char| !matches!(c, '0'..='9' | 'a'..='f'));
    runs.filter(|run| run.len() == HEX)
        .filter_map(|run| data_encoding::HEXLOWER.decode(run.as_bytes()).ok()?.try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hash_of_a_text_is_found() {
        let (one, two) = ("0a".repeat(32), "ff".repeat(32));
        let text = format!(r#"[{{"stored":{{"sha256":"{one}","bytes":1}}}},"{two}"]"#);
        assert_eq!(hashes(&text).collect::<Vec<_>>(), [[0x0a; 32], [0xff; 32]]);
        assert_eq!(hashes(&"0".repeat(63)).count() + hashes(&"0".repeat(65)).count(), 0);
    }

    #[test]
    fn half_written_objects_are_removed_and_whole_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("payloads")).unwrap();
        let path = |name: &str| folder.path().join("payloads").join(name);
        for name in ["whole", "draft#1"] {
            std::fs::write(path(name), "").unwrap();
        }
        remove_drafts(folder.path(), SystemTime::now());
        assert!(path("draft#1").exists(), "it may be being written");
        remove_drafts(folder.path(), SystemTime::now() + 2 * AGE_MIN);
        assert!(path("whole").exists() && !path("draft#1").exists());
    }
}

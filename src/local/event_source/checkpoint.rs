//! How far each shard is done, kept over a restart.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::kept::Kept;
use super::sequence::SequenceNumber;

/// How far each shard of a stream is done. Losing it is harmless: everything is delivered again.
#[derive(Debug)]
pub(super) struct Checkpoints {
    kept: Option<Arc<dyn Kept>>,
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug)]
struct State {
    saved: Saved,
    moved: bool,
}

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Saved {
    stream: String,
    shards: BTreeMap<String, SequenceNumber>,
}

impl Checkpoints {
    /// Reads what was kept; what is missing, damaged or of another stream counts as empty.
    pub(super) async fn load(kept: Option<Arc<dyn Kept>>, stream_arn: &str) -> Self {
        let saved = match &kept {
            Some(kept) => read(&**kept).await,
            None => None,
        };
        let saved = saved
            .filter(|saved| saved.stream == stream_arn)
            .unwrap_or_else(|| Saved { stream: stream_arn.to_owned(), shards: BTreeMap::new() });
        let state = Mutex::new(State { saved, moved: false });
        Checkpoints { kept, state, news: Notify::new() }
    }

    /// The last record of the shard before the first that is not done.
    pub(super) fn of(&self, shard: &str) -> Option<SequenceNumber> {
        self.lock().saved.shards.get(shard).cloned()
    }

    /// Remembers how far the shard is done.
    pub(super) fn set(&self, shard: &str, checkpoint: &SequenceNumber) {
        let state = &mut *self.lock();
        match state.saved.shards.get_mut(shard) {
            Some(known) if known == checkpoint => return,
            Some(known) => *known = checkpoint.clone(),
            None => drop(state.saved.shards.insert(shard.to_owned(), checkpoint.clone())),
        }
        state.moved = true;
        self.news.notify_one();
    }

    /// Returns once anything has moved since the last time.
    pub(super) async fn moved(&self) {
        self.news.notified().await;
    }

    /// Forgets the shards that are no longer there.
    pub(super) fn retain(&self, is_listed: impl Fn(&str) -> bool) {
        self.lock().saved.shards.retain(|shard, _| is_listed(shard));
    }

    /// Writes what is kept if anything has moved since the last time.
    /// Trouble is logged: the next write makes up for it.
    pub(super) async fn save(&self) {
        let Some(kept) = &self.kept else { return };
        let saved = {
            let mut state = self.lock();
            if !std::mem::take(&mut state.moved) {
                return;
            }
            serde_json::to_vec(&state.saved)
        };
        let written = match saved {
            Ok(saved) => kept.replace(saved).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = written {
            tracing::warn!(%error, "could not write the checkpoint");
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read(kept: &dyn Kept) -> Option<Saved> {
    let text = match kept.read().await {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(%error, "could not read the checkpoint; the stream is read from its start");
            return None;
        }
    };
    serde_json::from_slice(&text)
        .inspect_err(|error| tracing::warn!(%error, "the checkpoint is damaged; the stream is read from its start"))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::super::kept::File;
    use super::*;

    fn number(text: &str) -> SequenceNumber {
        SequenceNumber::parse(text).unwrap()
    }

    #[tokio::test]
    async fn a_checkpoint_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let file = Some(File::at(folder.path().join("checkpoint.json")));

        let before = Checkpoints::load(file.clone(), "stream").await;
        before.set("shard", &number("17"));
        before.save().await;

        assert_eq!(Checkpoints::load(file, "stream").await.of("shard"), Some(number("17")));
    }

    #[tokio::test]
    async fn a_checkpoint_of_another_stream_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let file = Some(File::at(folder.path().join("checkpoint.json")));

        let before = Checkpoints::load(file.clone(), "old stream").await;
        before.set("shard", &number("17"));
        before.save().await;

        assert_eq!(Checkpoints::load(file, "new stream").await.of("shard"), None);
    }

    #[tokio::test]
    async fn a_damaged_checkpoint_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("checkpoint.json");

        for damaged in ["", "{", r#"{"stream":"stream","shards":{"shard":"not a number"}}"#] {
            std::fs::write(&file, damaged).unwrap();
            assert_eq!(
                Checkpoints::load(Some(File::at(&file)), "stream").await.of("shard"),
                None,
                "{damaged}"
            );
        }
    }

    #[tokio::test]
    async fn without_a_file_nothing_is_kept() {
        let checkpoints = Checkpoints::load(None, "stream").await;
        checkpoints.set("shard", &number("17"));
        checkpoints.save().await;

        assert_eq!(checkpoints.of("shard"), Some(number("17")));
    }
}

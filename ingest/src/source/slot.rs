//! A source whose secrets may change while we run.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use everhook_journal::config::{Problem, Section};
use everhook_journal::{Timestamp, Workflow};
use tokio::sync::Mutex;

use everhook_journal::secret::Secrets;

use super::{Source, read, references};

/// How long secrets that AWS keeps are used before they are asked for again.
const LIFE: Duration = Duration::from_secs(300);

/// How often they are asked for at most because a signature did not fit:
/// whoever sends forged requests decides no more than this.
const ASKED_EVERY: Duration = Duration::from_secs(30);

/// A source as it is now, and what it takes to read it again.
pub(super) struct Slot {
    current: RwLock<Arc<Source>>,
    section: Section,
    workflow: Workflow,
    /// The references of those of its secrets that AWS keeps.
    remote: Vec<String>,
    /// When they were last asked for, in milliseconds.
    asked_at: AtomicI64,
    asking: Mutex<()>,
}

impl Slot {
    /// The source that this section describes.
    pub(super) fn new(
        section: Section,
        workflow: &Workflow,
        secrets: &Secrets,
    ) -> Result<Self, Problem> {
        let source = read(section.clone(), workflow, secrets)?;
        let mut references = references(&section);
        references.retain(|reference| secrets.is_remote(reference));
        Ok(Self {
            current: RwLock::new(Arc::new(source)),
            section,
            workflow: workflow.clone(),
            remote: references,
            asked_at: AtomicI64::new(0),
            asking: Mutex::default(),
        })
    }

    /// The source as it was read last.
    pub(super) fn current(&self) -> Arc<Source> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says when its secrets were fetched.
    pub(super) fn fetched_at(&self, at: Timestamp) {
        self.asked_at.store(at.as_millis(), Ordering::Relaxed);
    }

    /// The source, read again if its secrets have become old.
    pub(super) async fn fresh(&self, secrets: &Secrets, now: Timestamp) -> Arc<Source> {
        if self.is_older_than(LIFE, now) {
            let _asking = self.asking.lock().await;
            if self.is_older_than(LIFE, now) {
                Box::pin(self.ask(secrets, now)).await;
            }
        }
        self.current()
    }

    /// The source with other secrets than the ones that were tried, if there are any.
    pub(super) async fn newer(
        &self,
        tried: &Arc<Source>,
        secrets: &Secrets,
        now: Timestamp,
    ) -> Option<Arc<Source>> {
        if self.remote.is_empty() {
            return None;
        }
        // Whoever comes while others ask waits for their answer: it may fit.
        let _asking = self.asking.lock().await;
        if Arc::ptr_eq(&self.current(), tried) {
            if !self.is_older_than(ASKED_EVERY, now) {
                return None;
            }
            Box::pin(self.ask(secrets, now)).await;
        }
        Some(self.current()).filter(|source| !Arc::ptr_eq(source, tried))
    }

    /// The source, read again if AWS keeps its secrets.
    pub(super) async fn asked(&self, secrets: &Secrets, now: Timestamp) -> Arc<Source> {
        if !self.remote.is_empty() {
            let _asking = self.asking.lock().await;
            Box::pin(self.ask(secrets, now)).await;
        }
        self.current()
    }

    fn is_older_than(&self, age: Duration, now: Timestamp) -> bool {
        let asked_at = Timestamp::from_millis(self.asked_at.load(Ordering::Relaxed));
        !self.remote.is_empty() && now.since(asked_at) >= age
    }

    async fn ask(&self, secrets: &Secrets, now: Timestamp) {
        self.fetched_at(now);
        secrets.fetch(self.remote.iter().map(String::as_str)).await;
        match read(self.section.clone(), &self.workflow, secrets) {
            Ok(source) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(source);
            }
            Err(problem) => {
                let reason = problem.message;
                tracing::error!(reason, "changed secrets are not used: {reason}");
            }
        }
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.current().fmt(f)
    }
}

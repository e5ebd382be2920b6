//! Which executions this process drives now, and what they are told meanwhile.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use everhook_journal::ExecutionId;
use tokio::sync::Notify;

use crate::wakeup::{Cause, Wake};

/// The executions that are being driven, each by one driver.
#[derive(Debug, Default)]
pub struct Awake(Mutex<HashMap<ExecutionId, Arc<News>>>);

/// What the driver of an execution has not seen yet.
#[derive(Debug, Default)]
pub struct News {
    told: Mutex<Option<Cause>>,
    bell: Notify,
}

impl Awake {
    /// Begins to drive an execution; if it is being driven, its driver is told instead.
    pub fn begin(&self, wake: &Wake) -> Option<Arc<News>> {
        let mut awake = self.map();
        if let Some(news) = awake.get(&wake.execution) {
            news.tell(wake.cause);
            return None;
        }
        let news = Arc::new(News::default());
        awake.insert(wake.execution.clone(), news.clone());
        Some(news)
    }

    /// Ends to drive an execution, unless its driver was told something that it has not seen.
    pub fn end(&self, id: &ExecutionId, news: &News) -> Option<Cause> {
        let mut awake = self.map();
        let told = news.take();
        if told.is_none() {
            awake.remove(id);
        }
        told
    }

    /// Ends to drive an execution, whatever its driver was told.
    pub fn forget(&self, id: &ExecutionId) {
        self.map().remove(id);
    }

    /// How many executions are being driven, or wait for it.
    pub fn len(&self) -> usize {
        self.map().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tells all drivers to look up.
    pub fn ring(&self) {
        self.map().values().for_each(|news| news.bell.notify_one());
    }

    fn map(&self) -> MutexGuard<'_, HashMap<ExecutionId, Arc<News>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl News {
    /// Something moved the execution, or its time has come.
    pub fn tell(&self, cause: Cause) {
        let mut told = self.told();
        *told = Some(match (told.take(), cause) {
            (Some(Cause::Appended(one)), Cause::Appended(two)) => Cause::Appended(one.max(two)),
            (None, cause) => cause,
            (Some(_), _) => Cause::Due,
        });
        self.bell.notify_one();
    }

    /// What was told since this was asked.
    pub fn take(&self) -> Option<Cause> {
        self.told().take()
    }

    /// Waits until something is told.
    pub async fn heard(&self) {
        self.bell.notified().await;
    }

    fn told(&self) -> MutexGuard<'_, Option<Cause>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The embedded engine, with something that happens right before an append.

use std::fmt;
use std::sync::{Arc, Mutex};

use everhook_journal::store::simulated::{Call, Page, Tables};
use everhook_journal::store::{Expression, Item, Query, Store, Unavailable, WriteError};
use futures_util::future::BoxFuture;

/// What happens.
type Meanwhile = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// What happens right before the next append, once.
#[derive(Clone, Default)]
pub(crate) struct Hook(Arc<Mutex<Option<Meanwhile>>>);

impl Hook {
    /// Before the next append, this happens.
    pub(crate) fn before_append(&self, meanwhile: impl Future<Output = ()> + Send + 'static) {
        *self.0.lock().unwrap() = Some(Box::new(move || Box::pin(meanwhile)));
    }

    /// Whether it has happened.
    pub(crate) fn is_over(&self) -> bool {
        self.0.lock().unwrap().is_none()
    }

    async fn run(&self) {
        let meanwhile = self.0.lock().unwrap().take();
        if let Some(meanwhile) = meanwhile {
            meanwhile().await;
        }
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").finish_non_exhaustive()
    }
}

/// A store whose appends the hook comes before.
pub(crate) fn hooked(store: Store, hook: Hook) -> Store {
    Store::simulated(Arc::new(Hooked { store, hook }))
}

#[derive(Debug)]
struct Hooked {
    store: Store,
    hook: Hook,
}

impl Tables for Hooked {
    fn put<'c>(
        &'c self,
        table: &'c str,
        item: Item,
        condition: Expression,
    ) -> Call<'c, Result<(), WriteError>> {
        Box::pin(async move {
            if table.ends_with("journal") {
                self.hook.run().await;
            }
            self.store.put(table, item, condition).await
        })
    }

    fn update<'c>(
        &'c self,
        table: &'c str,
        key: Item,
        change: Expression,
        condition: Expression,
    ) -> Call<'c, Result<(), WriteError>> {
        Box::pin(self.store.update(table, key, change, condition))
    }

    fn delete<'c>(
        &'c self,
        table: &'c str,
        key: Item,
        condition: Expression,
    ) -> Call<'c, Result<(), WriteError>> {
        Box::pin(self.store.delete(table, key, condition))
    }

    fn get<'c>(&'c self, table: &'c str, key: Item) -> Call<'c, Result<Option<Item>, Unavailable>> {
        Box::pin(self.store.get(table, key))
    }

    fn batch_get<'c>(
        &'c self,
        table: &'c str,
        keys: Vec<Item>,
    ) -> Call<'c, Result<Vec<Item>, Unavailable>> {
        Box::pin(async move { self.store.batch_get(table, keys, &[]).await })
    }

    fn query<'c>(&'c self, table: &'c str, query: Query) -> Call<'c, Result<Page, Unavailable>> {
        Box::pin(self.store.query(table, query))
    }
}

//! The calls of a [`Store`](super::Store), for whoever stands in for DynamoDB in a simulation.

use std::fmt;
use std::pin::Pin;

use super::{Expression, Item, Query, Unavailable, WriteError};

/// A call under way.
pub type Call<'c, T> = Pin<Box<dyn Future<Output = T> + Send + 'c>>;

/// A page of items, and the key to go on after if there are more.
pub type Page = (Vec<Item>, Option<Item>);

/// Tables that answer as DynamoDB does.
pub trait Tables: fmt::Debug + Send + Sync {
    /// As [`Store::put`](super::Store::put).
    fn put<'c>(
        &'c self,
        table: &'c str,
        item: Item,
        condition: Expression,
    ) -> Call<'c, Result<(), WriteError>>;

    /// As [`Store::update`](super::Store::update).
    fn update<'c>(
        &'c self,
        table: &'c str,
        key: Item,
        change: Expression,
        condition: Expression,
    ) -> Call<'c, Result<(), WriteError>>;

    /// As [`Store::delete`](super::Store::delete).
    fn delete<'c>(
        &'c self,
        table: &'c str,
        key: Item,
        condition: Expression,
    ) -> Call<'c, Result<(), WriteError>>;

    /// As [`Store::get`](super::Store::get).
    fn get<'c>(&'c self, table: &'c str, key: Item) -> Call<'c, Result<Option<Item>, Unavailable>>;

    /// As [`Store::batch_get`](super::Store::batch_get), with all attributes.
    fn batch_get<'c>(
        &'c self,
        table: &'c str,
        keys: Vec<Item>,
    ) -> Call<'c, Result<Vec<Item>, Unavailable>>;

    /// As [`Store::query`](super::Store::query).
    fn query<'c>(&'c self, table: &'c str, query: Query) -> Call<'c, Result<Page, Unavailable>>;
}

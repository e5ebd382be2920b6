//! What verification yields: the bytes that it verified, and how far. Nothing else can become an execution.

use std::ops::Range;

use bytes::Bytes;
use everhook_journal::event::Covers;

use super::Claims;
use crate::items::{Item, Items, TooMany};
use crate::outline::Outline;

/// A request whose signature is right. Only a scheme makes one, and its body is read only now.
#[derive(Debug)]
pub struct Verified {
    body: Bytes,
    /// What is covered of the body, if that is less than every byte.
    covers: Option<Covers>,
    /// Where the items are that were verified one by one.
    items: Option<Vec<Range<usize>>>,
    /// What verification had to read anyway.
    pub(super) claims: Claims,
    /// The header whose signature fits, if its entries say what the request is.
    header: Option<String>,
    /// What was found in the body, if its time stands there.
    outline: Option<Outline>,
}

/// A verified request whose body was read: what its executions are made of.
#[derive(Debug)]
pub struct Authentic {
    /// What it says of itself.
    pub claims: Claims,
    /// What was found in its body.
    pub outline: Outline,
    body: Bytes,
    covers: Option<Covers>,
}

impl Verified {
    /// This body is verified, as far as `covers` says; every byte of it if that is nothing.
    pub(super) fn new(body: Bytes, covers: Option<Covers>, claims: Claims) -> Self {
        Self { body, covers, items: None, claims, header: None, outline: None }
    }

    /// These items of the body were verified, each for itself. None means that the body is one event.
    pub(super) fn with_items(self, items: Vec<Range<usize>>) -> Self {
        Self { items: Some(items), ..self }
    }

    /// Of several headers this one has the signature that fits: entries are read from no other.
    pub(super) fn with_header(self, header: Option<String>) -> Self {
        Self { header, ..self }
    }

    /// Verification has read the body already.
    pub(super) fn with_outline(self, outline: Option<Outline>) -> Self {
        Self { outline, ..self }
    }

    /// The same request, read. The items that were verified are its items, whatever else its body has.
    pub(super) fn read(
        self,
        outline: impl FnOnce(&[u8]) -> Outline,
        claims: impl FnOnce(Claims, Option<&str>, &Outline) -> Claims,
    ) -> Authentic {
        let Self { body, covers, items, claims: found, header, outline: read } = self;
        let mut outline = read.unwrap_or_else(|| outline(&body));
        if items.is_some() {
            outline.list = items;
        }
        Authentic { claims: claims(found, header.as_deref(), &outline), outline, body, covers }
    }
}

impl Authentic {
    /// The verified body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The events in it, which are where these say or where verification found them.
    pub fn items(self, items: &Items) -> Result<Vec<Item>, TooMany> {
        items.of(&self.body, self.outline)
    }

    /// What the signature covers of the body, if that is less than every byte.
    pub fn covers(&self) -> Option<Covers> {
        self.covers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outline::{Path, Wanted};

    #[test]
    fn only_verified_items_are_items() {
        let body = Bytes::from_static(br#"{"signed":[1],"forged":[2,3]}"#);
        let places = |path: &str| Items { list: path.into(), id: Vec::new(), event_type: None };
        let read = |items: Option<Vec<Range<usize>>>| {
            let verified = Verified::new(body.clone(), None, Claims::default());
            let verified = match items {
                Some(items) => verified.with_items(items),
                None => verified,
            };
            let wanted = Wanted { paths: Vec::new(), list: Some(Path::pointer("/forged")) };
            let read = verified.read(|body| Outline::of(body, &wanted), |claims, _, _| claims);
            let items = read.items(&places("/forged")).unwrap();
            items.into_iter().map(|item| item.body).collect::<Vec<_>>()
        };
        assert_eq!(read(None), ["2", "3"]);
        let signed = 11..12;
        assert_eq!(read(Some(Vec::from([signed]))), ["1"]);
        assert_eq!(read(Some(Vec::new())), [&body[..]]);
    }
}

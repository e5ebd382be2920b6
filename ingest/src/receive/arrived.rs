//! The events of a request, and what each is known by.

use bytes::Bytes;
use everhook_journal::DeliveryId;
use everhook_journal::event::IdOrigin;
use everhook_journal::json::{self, Unreadable};
use everhook_journal::payload::sha256_hex;

use crate::items::{Item, TooMany};
use crate::outline::Outline;
use crate::request::Request;
use crate::signature::Claims;
use crate::source::{Expect, Source};
use crate::summary::Summary;

/// The longest delivery id that is kept as it is, in bytes.
const DELIVERY_ID_MAX: usize = 255;

/// An event of a verified request.
pub(crate) struct Arrived {
    pub(super) body: Bytes,
    pub(super) claims: Claims,
    pub(super) summary: Summary,
}

/// Why a verified request has no events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoEvents {
    /// It is not what its source expects.
    #[error("the body {0}; if this source sends anything but JSON, give it expect = \"any\"")]
    NotJson(Unreadable),
    /// One of its events is not, and is not recorded; the others are.
    #[error("event {place} of the body {why}; it is not recorded, those that are JSON are")]
    ItemNotJson {
        /// Which, from 1.
        place: usize,
        /// Why not.
        why: Unreadable,
    },
    /// It has more than are recorded.
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

/// The events of a verified request: one, or those that its sender put together.
/// Of several events one that nobody could read later is told beside those that are as they must be.
pub(crate) fn events(
    source: &Source,
    request: &Request,
    claims: Claims,
    outline: Outline,
) -> Result<(Vec<Arrived>, Option<NoEvents>), NoEvents> {
    let whole = match source.expect {
        Expect::Json => json::check(&request.body).map(drop),
        Expect::Any => Ok(()),
    };
    let is_list = source.items.is_some() && outline.list.is_some();
    if let Err(why) = whole
        && !(is_list && why.is_well_formed())
    {
        return Err(NoEvents::NotJson(why));
    }
    let Some(items) = &source.items else {
        let summary = outline.summary.unwrap_or_default();
        return Ok((vec![Arrived { body: request.body.clone(), claims, summary }], None));
    };
    let origin = match source.scheme.preset().weak {
        true => IdOrigin::Unsigned,
        false => IdOrigin::Signed,
    };
    let arrived = |item: Item| {
        // The request's own id, if it has one, is not an item's: two items would be one.
        let delivery_id = item.delivery_id.map(|id| (id, origin));
        let event_type = item.event_type.or_else(|| claims.event_type.clone());
        let claims = Claims { secret: claims.secret.clone(), delivery_id, event_type };
        Arrived { body: item.body, claims, summary: item.summary }
    };
    let items = items.of(&request.body, outline)?;
    let mut unreadable = None;
    let mut readable = Vec::with_capacity(items.len());
    for (place, item) in items.into_iter().enumerate() {
        match whole.or_else(|_| json::check(&item.body).map(drop)) {
            Ok(()) => readable.push(arrived(item)),
            Err(why) => {
                unreadable.get_or_insert(NoEvents::ItemNotJson { place: place + 1, why });
            }
        }
    }
    match (readable.is_empty(), unreadable) {
        (true, Some(unreadable)) => Err(unreadable),
        (_, unreadable) => Ok((readable, unreadable)),
    }
}

/// The sender's id, or one from the body. Never a constant: a sender without ids would lose all but one webhook.
pub(super) fn delivery_id(claims: &Claims, body_sha256: &str) -> (DeliveryId, IdOrigin) {
    match &claims.delivery_id {
        Some((id, origin)) if (1..=DELIVERY_ID_MAX).contains(&id.len()) => {
            (DeliveryId::new(id.clone()), *origin)
        }
        Some((id, origin)) if !id.is_empty() => {
            (DeliveryId::new(format!("sha256:{}", sha256_hex(id.as_bytes()))), *origin)
        }
        Some(_) | None => (DeliveryId::new(format!("body:{body_sha256}")), IdOrigin::Body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn derived(id: Option<&str>, body: &str) -> (DeliveryId, IdOrigin) {
        let delivery_id = id.map(|id| (id.to_owned(), IdOrigin::Unsigned));
        delivery_id_of(Claims { delivery_id, ..Claims::default() }, body)
    }

    fn delivery_id_of(claims: Claims, body: &str) -> (DeliveryId, IdOrigin) {
        delivery_id(&claims, &sha256_hex(body.as_bytes()))
    }

    #[test]
    fn a_sender_without_ids_gets_one_an_body() {
        let (one, origin) = derived(None, "one");
        assert_eq!(origin, IdOrigin::Body);
        assert_ne!(one, derived(None, "two").0);
        assert_eq!(one, derived(Some(""), "one").0);
    }

    #[test]
    fn a_long_id_is_bounded_and_still_its_own() {
        let (long, other) = ("a".repeat(300), "a".repeat(301));
        assert!(derived(Some(&long), "").0.as_str().len() < 100);
        assert_ne!(derived(Some(&long), ""), derived(Some(&other), ""));
    }
}

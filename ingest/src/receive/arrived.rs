//! The events of a request, and what each is known by.

use bytes::Bytes;
use everhook_journal::DeliveryId;
use everhook_journal::event::{Covers, IdOrigin};
use everhook_journal::payload::sha256_hex;

use crate::items::{Item, TooMany};
use crate::signature::{Authentic, Claims};
use crate::source::{Expect, Source};
use crate::summary::Summary;

/// The longest delivery id that is kept as it is, in bytes.
const DELIVERY_ID_MAX: usize = 255;

/// An event of a verified request. Only [`events`] makes one, out of what was verified.
pub(crate) struct Arrived {
    body: Bytes,
    claims: Claims,
    summary: Summary,
    covers: Option<Covers>,
    content: Option<String>,
}

/// What is recorded of an event.
pub(super) struct Parts {
    pub(super) body: Bytes,
    pub(super) claims: Claims,
    pub(super) summary: Summary,
    /// What the signature covers of the body, if that is less than every byte.
    pub(super) covers: Option<Covers>,
    /// SHA-256 of what was signed, where several bodies have one signature.
    pub(super) content: Option<String>,
}

impl Arrived {
    pub(super) fn into_parts(self) -> Parts {
        let Self { body, claims, summary, covers, content } = self;
        Parts { body, claims, summary, covers, content }
    }
}

/// Why a verified request has no events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoEvents {
    /// It is not what its source expects.
    #[error("the body is not JSON; if this source sends anything else, give it expect = \"any\"")]
    NotJson,
    /// It has more than are recorded.
    #[error(transparent)]
    TooMany(#[from] TooMany),
}

/// The events of a verified request: one, or those that its sender put together.
pub(crate) fn events(source: &Source, authentic: Authentic) -> Result<Vec<Arrived>, NoEvents> {
    let (body, covers) = (authentic.body().clone(), authentic.covers());
    let content = authentic.content().map(str::to_owned);
    let Authentic { claims, outline, .. } = authentic;
    if outline.summary.is_none() && source.expect == Expect::Json {
        return Err(NoEvents::NotJson);
    }
    let Some(items) = &source.items else {
        let summary = outline.summary.unwrap_or_default();
        return Ok(vec![Arrived { body, claims, summary, covers, content }]);
    };
    // Where only fields are covered, the ids of the items are among them.
    let origin = match covers {
        None | Some(Covers::Fields) => IdOrigin::Signed,
        Some(Covers::Form | Covers::Checksum | Covers::Nothing) => IdOrigin::Unsigned,
    };
    let arrived = |item: Item| {
        // The request's own id, if it has one, is not an item's: two items would be one.
        let delivery_id = item.delivery_id.map(|id| (id, origin));
        let event_type = item.event_type.or_else(|| claims.event_type.clone());
        let claims = Claims { secret: claims.secret.clone(), delivery_id, event_type };
        Arrived { body: item.body, claims, summary: item.summary, covers, content: None }
    };
    Ok(items.of(&body, outline)?.into_iter().map(arrived).collect())
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

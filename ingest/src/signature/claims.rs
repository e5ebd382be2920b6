//! What a verified request says of itself: some of it its verification reads, the rest stands in headers and body.

use everhook_journal::event::IdOrigin;

use super::preset::Described;
use super::template::{self, Place};
use super::{Custom, Sent};
use crate::outline::{Outline, Path};

/// What a verified request says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claims {
    /// The reference of the secret that matched.
    pub secret: Option<String>,
    /// The sender's id of the delivery.
    pub delivery_id: Option<(String, IdOrigin)>,
    /// What the sender calls this kind of event.
    pub event_type: Option<String>,
    /// What stands outside of the body and tells deliveries of one id, or of one body, apart.
    pub beside: Vec<String>,
    /// Whether the body has a time or a counter that no other event has.
    pub is_dated: bool,
    /// The digest of what is signed, where the body's bytes are not.
    pub content: Option<String>,
}

/// What a scheme in code leaves unread.
#[derive(Debug, Clone)]
pub(super) struct Unread {
    /// Places that no signature covers.
    ids: Vec<Vec<Place>>,
    types: Vec<Vec<Place>>,
}

impl Unread {
    pub(super) fn of(custom: Custom, described: &Described) -> Result<Self, String> {
        let [ids, types] = custom.unread(described);
        Ok(Self { ids: template::places(ids)?, types: template::places(types)? })
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = Path> {
        self.ids.iter().chain(&self.types).flatten().filter_map(Place::path)
    }

    pub(super) fn complete(&self, claims: Claims, sent: &Sent<'_>, outline: &Outline) -> Claims {
        let first = |places| template::first(places, sent, &[], outline).map(|(text, _)| text);
        let unsigned = || first(&self.ids).map(|id| (id, IdOrigin::Unsigned));
        Claims {
            delivery_id: claims.delivery_id.or_else(unsigned),
            event_type: claims.event_type.or_else(|| first(&self.types)),
            ..claims
        }
    }
}

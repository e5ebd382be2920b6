//! The events of a request, and what each is known by.

use std::collections::HashMap;

use bytes::Bytes;
use everhook_journal::event::{Covers, IdOrigin};
use everhook_journal::guard::{self, Guard};
use everhook_journal::id::ExecutionKey;
use everhook_journal::json::{self, Unreadable};
use everhook_journal::payload::sha256_hex;
use everhook_journal::{DeliveryId, ExecutionId, SourceName};

use crate::items::{Item, TooMany};
use crate::signature::{Authentic, Claims};
use crate::source::{Expect, Source};
use crate::summary::Summary;

/// The longest delivery id that is kept as it is, in bytes.
const DELIVERY_ID_MAX: usize = 255;

/// An event of a verified request. Only [`events`] makes one, out of what was verified.
pub(crate) struct Arrived(Parts);

/// What is recorded of an event.
pub(super) struct Parts {
    pub(super) body: Bytes,
    pub(super) body_sha256: String,
    pub(super) secret: Option<String>,
    pub(super) event_type: Option<String>,
    pub(super) known: Known,
    pub(super) summary: Summary,
    /// What the signature covers of the body, if that is less than every byte.
    pub(super) covers: Option<Covers>,
}

impl Arrived {
    pub(super) fn into_parts(self) -> Parts {
        self.0
    }
}

/// What an event is known by: a webhook that is known by the same is a redelivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    /// The sender's id, or one from the body. Never a constant: a sender without ids would lose all but one webhook.
    pub(super) delivery_id: DeliveryId,
    pub(super) origin: IdOrigin,
    pub(super) by: By,
    /// The digest of that part of the body which tells events apart.
    pub(super) digest: String,
    /// What stands outside of the body and tells events apart.
    beside: Vec<String>,
}

/// What makes an event known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The id, which is signed and documented to name one event. Another body under it is the same event.
    Id,
    /// The id together with the body.
    IdAndBody,
    /// The body, which has a time or a counter of its own.
    Body,
    /// The body, which may be that of another event: only for a while.
    BodyForAWhile,
}

impl Known {
    fn of(source: &Source, claims: &Claims, body: &[u8], body_sha256: &str) -> Self {
        let content = source.scheme.preset().identity().content;
        let digest = claims.content.clone();
        let digest = digest.unwrap_or_else(|| content.digest(body, body_sha256));
        let mut beside = claims.beside.clone();
        if beside.iter().all(String::is_empty) {
            beside.clear();
        }
        let id = claims.delivery_id.as_ref().filter(|(id, _)| !id.trim().is_empty());
        let (delivery_id, origin, by) = match id {
            Some((id, IdOrigin::Signed)) if source.id_unique => {
                (bounded(id), IdOrigin::Signed, By::Id)
            }
            Some((id, origin)) => (bounded(id), *origin, By::IdAndBody),
            None => {
                let by = if claims.is_dated { By::Body } else { By::BodyForAWhile };
                (format!("body:{digest}"), IdOrigin::Body, by)
            }
        };
        Self { delivery_id: DeliveryId::new(delivery_id), origin, by, digest, beside }
    }

    /// The execution of this event, or, if the body is all that is known, that of its first appearance.
    pub(super) fn execution(&self, key: &ExecutionKey, source: &SourceName) -> ExecutionId {
        let beside = self.beside.iter().map(String::as_str);
        let also: Vec<&str> = match self.by {
            By::Id => Vec::new(),
            By::IdAndBody if !guard::holds(Guard::BodyCompletesId) => Vec::new(),
            By::IdAndBody => ["body", &self.digest].into_iter().chain(beside).collect(),
            // With nothing beside it this is what earlier versions derived.
            By::Body | By::BodyForAWhile => beside.collect(),
        };
        ExecutionId::derive(key, source, &self.delivery_id, &also)
    }

    /// The execution of a later appearance of this body, by the moment from which on it counts as one.
    pub(super) fn appearance(
        &self,
        key: &ExecutionKey,
        source: &SourceName,
        from: &str,
    ) -> ExecutionId {
        let beside = self.beside.iter().map(String::as_str);
        let also: Vec<&str> = ["from", from].into_iter().chain(beside).collect();
        ExecutionId::derive(key, source, &self.delivery_id, &also)
    }
}

/// An id of any length, in one that can be kept.
fn bounded(id: &str) -> String {
    match id.len() > DELIVERY_ID_MAX {
        true => format!("sha256:{}", sha256_hex(id.as_bytes())),
        false => id.to_owned(),
    }
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
/// Of several events one that no step could read is reported beside those that are as they must be.
pub(crate) fn events(
    source: &Source,
    authentic: Authentic,
) -> Result<(Vec<Arrived>, Option<NoEvents>), NoEvents> {
    let (body, covers) = (authentic.body().clone(), authentic.covers());
    let Authentic { claims, outline, .. } = authentic;
    let readable = match source.expect {
        Expect::Json => json::check(&body).map(drop),
        Expect::Any => Ok(()),
    };
    if let Err(why) = readable
        && !(source.items.is_some() && outline.list.is_some() && why.is_well_formed())
    {
        return Err(NoEvents::NotJson(why));
    }
    let Some(items) = &source.items else {
        let summary = outline.summary.unwrap_or_default();
        return Ok((vec![arrived(source, body, covers, claims, summary)], None));
    };
    let is_list = outline.list.as_ref().is_some_and(|list| !list.is_empty());
    // Where only fields are covered, the ids of the items are among them.
    let origin = match covers {
        None | Some(Covers::Fields) => IdOrigin::Signed,
        Some(Covers::Form | Covers::Checksum | Covers::Nothing) => IdOrigin::Unsigned,
    };
    let event = |item: Item| {
        // The request's own id, if it has one, is not an item's: two items would be one.
        let delivery_id = item.delivery_id.map(|id| (id, origin));
        let event_type = item.event_type.or_else(|| claims.event_type.clone());
        let whole = Claims { event_type, ..claims.clone() };
        let claims = match is_list {
            true => Claims { delivery_id, content: None, is_dated: false, ..whole },
            false => whole,
        };
        arrived(source, item.body, covers, claims, item.summary)
    };
    let items = items.of(&body, outline)?;
    let mut unreadable = None;
    let mut events = Vec::with_capacity(items.len());
    for (place, item) in items.into_iter().enumerate() {
        match readable.or_else(|_| json::check(&item.body).map(drop)) {
            Ok(()) => events.push(event(item)),
            Err(why) => {
                unreadable.get_or_insert(NoEvents::ItemNotJson { place: place + 1, why });
            }
        }
    }
    // Where only fields are covered, a list may repeat what was signed once.
    if covers != Some(Covers::Fields) {
        tell_equal_ones_apart(&mut events);
    }
    match (events.is_empty(), unreadable) {
        (true, Some(unreadable)) => Err(unreadable),
        (_, unreadable) => Ok((events, unreadable)),
    }
}

fn arrived(
    source: &Source,
    body: Bytes,
    covers: Option<Covers>,
    claims: Claims,
    summary: Summary,
) -> Arrived {
    let body_sha256 = sha256_hex(&body);
    let known = Known::of(source, &claims, &body, &body_sha256);
    let Claims { secret, event_type, .. } = claims;
    Arrived(Parts { body, body_sha256, secret, event_type, known, summary, covers })
}

/// Equal events of one request are no redeliveries of each other: the second of them is known as the second.
fn tell_equal_ones_apart(events: &mut [Arrived]) {
    let mut counts: HashMap<String, usize> = HashMap::new();
    let of_body = |it: &&mut Arrived| it.0.known.by == By::BodyForAWhile;
    for Arrived(Parts { known, .. }) in events.iter_mut().filter(of_body) {
        let before = counts.entry(known.digest.clone()).or_default();
        if *before > 0 {
            known.beside.push(format!("item {before}"));
        }
        *before += 1;
    }
}

#[cfg(test)]
mod tests {
    use everhook_journal::Secrets;
    use everhook_journal::config::Config;

    use super::*;
    use crate::source::Sources;

    fn source(scheme: &str) -> std::sync::Arc<Source> {
        let text = format!(
            "[sources.a]\nscheme = \"{scheme}\"\nsecrets = [\"generated:a\"]\n\
             [[workflows.default.steps]]\nname = \"look\"\nrun = \"validate\"\n"
        );
        let config = Config::parse(&text, std::path::PathBuf::new()).unwrap();
        let secrets = Secrets::pretending(std::path::PathBuf::new());
        Sources::from_config(&config, &secrets).unwrap().find(&SourceName::new("a"))
    }

    fn known(scheme: &str, id: Option<(&str, IdOrigin)>, body: &str) -> Known {
        let delivery_id = id.map(|(id, origin)| (id.to_owned(), origin));
        let claims = Claims { delivery_id, ..Claims::default() };
        Known::of(&source(scheme), &claims, body.as_bytes(), &sha256_hex(body.as_bytes()))
    }

    fn unsigned(id: &str, body: &str) -> Known {
        known("github", Some((id, IdOrigin::Unsigned)), body)
    }

    fn execution(known: &Known) -> ExecutionId {
        let key = ExecutionKey::new(b"0123456789abcdef").unwrap();
        known.execution(&key, &SourceName::new("a"))
    }

    #[test]
    fn a_sender_without_ids_gets_one_a_body() {
        let one = known("github", None, "one");
        assert_eq!((one.origin, one.by), (IdOrigin::Body, By::BodyForAWhile));
        assert_ne!(one, known("github", None, "two"));
        for blank in ["", " ", "\t\u{2003}"] {
            assert_eq!(one, unsigned(blank, "one"));
        }
    }

    #[test]
    fn a_long_id_is_bounded_and_still_its_own() {
        let (long, other) = ("a".repeat(300), "a".repeat(301));
        assert!(unsigned(&long, "").delivery_id.as_str().len() < 100);
        assert_ne!(execution(&unsigned(&long, "")), execution(&unsigned(&other, "")));
        assert_eq!(execution(&unsigned(&long, "")), execution(&unsigned(&long, "")));
    }

    #[test]
    fn another_body_is_another_event_unless_the_id_is_signed_and_unique() {
        for (scheme, origin, is_same) in [
            ("stripe", IdOrigin::Signed, true),
            ("stripe", IdOrigin::Unsigned, false),
            ("vercel", IdOrigin::Signed, false),
            ("github", IdOrigin::Unsigned, false),
        ] {
            let of = |body| execution(&known(scheme, Some(("e-1", origin)), body));
            assert_eq!(of("{}") == of("{\"n\":1}"), is_same, "{scheme} {origin:?}");
            assert_eq!(of("{}"), of("{}"));
        }
    }

    #[test]
    fn ids_that_differ_in_case_or_space_are_two() {
        let ids = ["a", "A", " a", "a ", "a\u{a0}"];
        let unique: std::collections::BTreeSet<_> =
            ids.iter().map(|id| execution(&unsigned(id, ""))).collect();
        assert_eq!(unique.len(), ids.len());
    }

    #[test]
    fn what_stands_beside_a_body_tells_events_apart() {
        let of = |beside: &[&str], id: Option<&str>| {
            let claims = Claims {
                delivery_id: id.map(|id| (id.into(), IdOrigin::Unsigned)),
                beside: beside.iter().map(|text| (*text).to_owned()).collect(),
                ..Claims::default()
            };
            execution(&Known::of(&source("shopify"), &claims, b"{}", &sha256_hex(b"{}")))
        };
        for id in [None, Some("e-1")] {
            assert_ne!(of(&["orders/create", "w-1"], id), of(&["orders/paid", "w-1"], id));
            assert_ne!(of(&["orders/create", "w-1"], id), of(&["orders/create", "w-2"], id));
            assert_eq!(of(&["", ""], id), of(&[], id));
        }
    }

    #[test]
    fn a_body_that_is_all_that_is_known_derives_as_it_always_did() {
        let key = ExecutionKey::new(b"0123456789abcdef").unwrap();
        let body = DeliveryId::new(format!("body:{}", sha256_hex(b"22.5")));
        let before = ExecutionId::derive(&key, &SourceName::new("a"), &body, &[]);
        assert_eq!(execution(&known("hmac-sha256", None, "22.5")), before);
    }
}

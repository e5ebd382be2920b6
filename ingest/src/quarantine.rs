//! What is kept of refused requests, where a source says `quarantine = true`.
//!
//! A kept request is no webhook: it starts nothing until [`crate::reverify`] has verified it.
//! Strangers decide what comes here, so everything about it has a bound, and no answer depends on it.

mod places;
mod seal;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use everhook_journal::quarantine::Kept;
use everhook_journal::store::Unavailable;
use everhook_journal::{ExecutionKey, SourceName, Timestamp, ambient, id, telemetry};

use crate::receive::Ingest;
use crate::request::Request;
use crate::signature::Unverified;

use places::{NoPlace, Place, Places};
use seal::{Seal, TooLarge};

/// How long a refused request is kept.
const LIFE: Duration = Duration::from_secs(24 * 3600);

/// How many slots one request may find taken before it is let go.
const TRIES_MAX: usize = 4;

/// How long keeping may hold up a 401.
const KEPT_WITHIN: Duration = Duration::from_secs(2);

/// Keeps refused requests.
#[derive(Debug)]
pub(crate) struct Quarantine {
    pub(crate) slots: everhook_journal::Quarantine,
    seal: Seal,
    key: ExecutionKey,
    places: Mutex<HashMap<SourceName, Places>>,
}

/// Why a refused request is not kept.
#[derive(Debug, thiserror::Error)]
enum NotKept {
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    #[error(transparent)]
    NoPlace(#[from] NoPlace),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    #[error("no end within {KEPT_WITHIN:?}")]
    TooLate,
}

impl NotKept {
    /// What it is counted as.
    fn kind(&self) -> &'static str {
        match self {
            Self::TooLarge(_) => "too_large",
            Self::NoPlace(NoPlace::TooFast) => "too_fast",
            Self::NoPlace(NoPlace::Full) => "full",
            Self::Unavailable(_) | Self::TooLate => "unavailable",
        }
    }
}

impl Ingest {
    /// Keeps a request that was refused for this reason, if its source asks for that;
    /// says how it went, for the log.
    pub(crate) async fn keep_refused(
        &self,
        request: &Request,
        reason: Unverified,
        now: Timestamp,
    ) -> Option<&'static str> {
        let source = self.sources.find(&request.source);
        if !source.quarantine || request.method != "POST" {
            return None;
        }
        // One that was refused is made anew by its sender.
        let handshake = source.scheme.preset().handshake;
        let outline = source.scheme.outline(&request.body);
        if handshake.after(&source.scheme, &request.sent(now, None), &outline).is_some() {
            return None;
        }
        let keep = self.quarantine.keep(request, reason, now);
        let outcome =
            match ambient::timeout(KEPT_WITHIN, keep).await.unwrap_or(Err(NotKept::TooLate)) {
                Ok(()) => "kept",
                Err(why) => {
                    if let NotKept::Unavailable(_) | NotKept::TooLate = why {
                        tracing::error!(
                            request.id = request.request_id, source = %request.source,
                            "could not keep a refused request: {why}"
                        );
                    }
                    why.kind()
                }
            };
        telemetry::quarantined(outcome);
        Some(outcome)
    }
}

/// Whose an address is: one caller often has all addresses of an IPv6 network of 64 bits.
fn network(address: &str) -> String {
    match address.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}")
        }
        Ok(address) => address.to_string(),
        Err(_) => address.to_owned(),
    }
}

impl Quarantine {
    pub(crate) fn new(key: &ExecutionKey, slots: everhook_journal::Quarantine) -> Self {
        Self { slots, seal: Seal::new(key), key: key.clone(), places: Mutex::default() }
    }

    async fn keep(
        &self,
        request: &Request,
        reason: Unverified,
        now: Timestamp,
    ) -> Result<(), NotKept> {
        let source = &request.source;
        seal::fits(request)?;
        let network = request.source_ip.as_deref().map(network).unwrap_or_default();
        let address = if network.is_empty() { network } else { self.key.network(&network) };
        for _ in 0..TRIES_MAX {
            let (name, expires_at) = (id::fresh(), now + LIFE);
            if self.with_places(source, |places| places.is_unknown(now)) {
                let kept = self.slots.list(source, now).await?;
                self.with_places(source, |places| places.know(kept, now));
            }
            let take = |places: &mut Places| places.take(&name, &address, now, expires_at);
            let Place { slot, instead_of } = self.with_places(source, take)?;
            let kept = Kept {
                slot,
                name,
                received_at: now,
                expires_at,
                reason: reason.to_string(),
                bytes: request.body.len() as u64,
                address: address.clone(),
            };
            let sealed = self.seal.seal(request, slot, now)?;
            if self.slots.keep(source, &kept, instead_of.as_deref(), sealed).await? {
                return Ok(());
            }
            // Another process was there since.
            self.with_places(source, Places::forget);
        }
        Err(NoPlace::Full.into())
    }

    /// Empties all slots of a source; says how many requests were in them.
    pub(crate) async fn clear(
        &self,
        source: &SourceName,
        now: Timestamp,
    ) -> Result<usize, Unavailable> {
        let mut cleared = 0;
        for kept in self.slots.list(source, now).await? {
            cleared += usize::from(self.slots.remove(source, &kept).await?);
        }
        self.with_places(source, Places::forget);
        Ok(cleared)
    }

    /// The request that is kept here, with the moment at which it was received.
    /// `None` inside if it cannot be opened, outside if it is gone.
    pub(crate) async fn open(
        &self,
        source: &SourceName,
        kept: &Kept,
    ) -> Result<Option<Option<(Request, Timestamp)>>, Unavailable> {
        let sealed = self.slots.sealed(source, kept).await?;
        Ok(sealed.map(|sealed| self.seal.open(sealed, source, kept.slot)))
    }

    /// Empties the slot of a request that was recorded.
    pub(crate) async fn remove(&self, source: &SourceName, kept: &Kept) -> Result<(), Unavailable> {
        self.slots.remove(source, kept).await?;
        self.with_places(source, |places| places.free(kept.slot));
        Ok(())
    }

    fn with_places<T>(&self, source: &SourceName, what: impl FnOnce(&mut Places) -> T) -> T {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        what(places.entry(source.clone()).or_default())
    }
}

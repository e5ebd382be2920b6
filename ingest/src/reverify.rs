//! Kept requests are verified again, as of the moment they were received; those that now fit are recorded.

use std::time::Duration;

use everhook_journal::ambient::Stopwatch;
use everhook_journal::quarantine::Kept;
use everhook_journal::store::Unavailable;
use everhook_journal::{ExecutionId, SourceName, Timestamp, ambient, telemetry};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};

use crate::receive::arrived::{self, Arrived};
use crate::receive::{Ingest, RECORDED_TOGETHER};
use crate::request::Request;
use crate::source::Source;

/// How long one call goes on: a function has little more.
const WITHIN: Duration = Duration::from_secs(8);

/// What became of the kept requests of a source.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reverified {
    /// How many were verified and recorded; in a dry run, would be.
    pub released: usize,
    /// How many are still refused.
    pub refused: usize,
    /// How many could not be looked at or recorded. They are still there.
    pub failed: usize,
    /// Each of them, the oldest first.
    pub requests: Vec<Looked>,
}

/// A kept request that was looked at.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Looked {
    /// When it was received.
    pub received_at: Timestamp,
    /// Why it was refused then.
    pub reason: String,
    /// How large its body is.
    pub bytes: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a kept request.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// Recorded: its executions, and whether all of them had been there before.
    Released {
        /// Its executions.
        executions: Vec<ExecutionId>,
        /// Whether the sender had sent it again meanwhile.
        duplicate: bool,
    },
    /// It would be recorded, were this no dry run.
    Releasable,
    /// Still refused, for this reason.
    Refused(String),
    /// It could not be looked at or recorded, for this reason.
    Failed(String),
}

impl Ingest {
    /// What is kept of this source, the oldest first.
    pub async fn quarantined(&self, name: &SourceName) -> Result<Vec<Kept>, Unavailable> {
        self.quarantine.slots.list(name, self.clock.now()).await
    }

    /// Removes what is kept of this source; says how many requests that were.
    pub async fn clear_quarantine(&self, name: &SourceName) -> Result<usize, Unavailable> {
        let cleared = self.quarantine.clear(name, self.clock.now()).await?;
        tracing::warn!(source = %name, cleared, "the quarantine of {name} was emptied: {cleared} requests");
        Ok(cleared)
    }

    /// Verifies what is kept of a source as of its receipt, and records what its secrets of now fit.
    /// A dry run records nothing. `None` if there is no such source.
    pub async fn reverify(
        &self,
        name: &SourceName,
        dry_run: bool,
    ) -> Result<Option<Reverified>, Unavailable> {
        let now = self.clock.now();
        let began = Stopwatch::start();
        let Some(source) = self.sources.asked(name, now).await else { return Ok(None) };
        let kept = self.quarantine.slots.list(name, now).await?;
        let look = |kept: Kept| {
            let source = &source;
            async move {
                let look = Box::pin(self.look_again(source, name, &kept, dry_run, now));
                let left = WITHIN.saturating_sub(began.elapsed());
                let outcome = match ambient::timeout(left, look).await {
                    Ok(Ok(outcome)) => outcome?,
                    Ok(Err(unavailable)) => Outcome::Failed(unavailable.to_string()),
                    Err(_) => Outcome::Failed(format!("no end within {WITHIN:?}")),
                };
                let Kept { received_at, reason, bytes, .. } = kept;
                Some(Looked { received_at, reason, bytes, outcome })
            }
        };
        let looked = futures_util::stream::iter(kept.into_iter().map(look));
        let requests = looked.buffered(RECORDED_TOGETHER).filter_map(std::future::ready);
        let mut reverified =
            Reverified { requests: requests.collect().await, ..Default::default() };
        for looked in &reverified.requests {
            match &looked.outcome {
                Outcome::Released { .. } | Outcome::Releasable => reverified.released += 1,
                Outcome::Refused(_) => reverified.refused += 1,
                Outcome::Failed(reason) => {
                    reverified.failed += 1;
                    tracing::error!(source = %name, reason, "could not reverify: {reason}");
                }
            }
        }
        Ok(Some(reverified))
    }

    /// `None` if somebody else was faster.
    async fn look_again(
        &self,
        source: &Source,
        name: &SourceName,
        kept: &Kept,
        dry_run: bool,
        now: Timestamp,
    ) -> Result<Option<Outcome>, Unavailable> {
        let Some(opened) = self.quarantine.open(name, kept).await? else { return Ok(None) };
        let Some((request, received_at)) = opened else {
            let why = "it cannot be opened: the execution key is another one, or it was changed";
            return Ok(Some(Outcome::Refused(why.into())));
        };
        let events = match self.events_as_of(received_at, source, &request, now).await {
            Ok(events) => events,
            Err(reason) => return Ok(Some(Outcome::Refused(reason))),
        };
        if dry_run {
            return Ok(Some(Outcome::Releasable));
        }
        let recorded = match self.record_all(&request, source, events, now).await {
            Ok(recorded) => recorded,
            Err(outage) => return Ok(Some(Outcome::Failed(outage.to_string()))),
        };
        telemetry::released();
        tracing::info!(
            request.id = request.request_id, source = %name,
            "released from quarantine: verified as of {received_at}"
        );
        // Where this fails it is a duplicate the next time.
        if let Err(unavailable) = self.quarantine.remove(name, kept).await {
            tracing::warn!(source = %name, "a released request is still kept: {unavailable}");
        }
        let duplicate = recorded.iter().all(|event| event.duplicate);
        let executions = recorded.into_iter().map(|event| event.execution).collect();
        Ok(Some(Outcome::Released { executions, duplicate }))
    }

    /// The events of a kept request, if it is a webhook after all; if not, why not.
    async fn events_as_of(
        &self,
        received_at: Timestamp,
        source: &Source,
        request: &Request,
        now: Timestamp,
    ) -> Result<Vec<Arrived>, String> {
        let verified = self.verify_as_of(received_at, source, request, now).await;
        let verified = verified.map_err(|reason| reason.to_string())?;
        let sent = request.sent(received_at, None);
        let authentic = source.scheme.read(verified, &sent);
        let handshake = source.scheme.preset().handshake;
        if handshake.after(&source.scheme, &sent, &authentic.outline).is_some() {
            return Err("it is a handshake, which has to be made anew".into());
        }
        match arrived::events(source, authentic) {
            Ok((events, None)) => Ok(events),
            Ok((_, Some(reason))) | Err(reason) => Err(reason.to_string()),
        }
    }
}

//! An execution begins: event 1, durable, and what is known of the same id and the same body.

use std::sync::Arc;
use std::time::Duration;

use everhook_journal::event::{Event, IdOrigin, Recorded, Webhook};
use everhook_journal::guard::{self, Guard};
use everhook_journal::id::{self, BodyKey};
use everhook_journal::store::Unavailable;
use everhook_journal::table::{AppendError, Draft, ReadError};
use everhook_journal::{ExecutionId, Head, Timestamp, telemetry};

use super::arrived::{By, Known};
use super::{Ingest, Outage, count};
use crate::answer::Accepted;
use crate::source::Source;

/// What is at the first position of an execution.
enum Begun {
    /// This webhook.
    Now,
    /// An earlier one, as far as it can be read.
    Before(Option<Box<Recorded>>),
}

/// What makes a webhook a repeat.
#[derive(Clone, Copy)]
enum Repeat {
    OtherId,
    Later,
}

impl Ingest {
    /// Makes the first event durable; finds it if that was done before.
    pub(super) async fn begin(
        &self,
        known: &Known,
        source: &Source,
        webhook: Arc<Webhook>,
        now: Timestamp,
    ) -> Result<Accepted, Outage> {
        let id = known.execution(&self.key, &webhook.source);
        let (begun, came_with) = self.open_history(&id, known, source, &webhook, now).await?;
        if let Begun::Before(first) = &begun {
            let is_old = known.by == By::BodyForAWhile
                && !is_within(source.dedup_window, &webhook, first.as_deref(), now);
            if is_old && guard::holds(Guard::WindowEnds) {
                return self.begin_again(known, source, webhook, id, now).await;
            }
        }
        self.accepted(begun, id, came_with, Repeat::OtherId, known.by, &webhook).await
    }

    /// Begins another execution of a body that came first longer ago than its source's window.
    /// Its id derives from the body and the time, in steps of a window: of two redeliveries at one moment one begins it.
    async fn begin_again(
        &self,
        known: &Known,
        source: &Source,
        webhook: Arc<Webhook>,
        first: ExecutionId,
        now: Timestamp,
    ) -> Result<Accepted, Outage> {
        let (window, name) = (source.dedup_window, &webhook.source);
        let step = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
        let id = if step == 0 {
            known.appearance(&self.key, name, &id::fresh())
        } else {
            let from = received_at(&webhook, now).as_millis().div_euclid(step).saturating_mul(step);
            let at = |from: i64| known.appearance(&self.key, name, &from.to_string());
            // The one before is read first: a window may begin in one step and end in the next.
            let before = at(from.saturating_sub(step));
            let event_1 = match self.journal.first(&before).await {
                Err(ReadError::Unavailable(error)) => return Err(error.into()),
                // What cannot be read does not make this a redelivery: a repeat is better than a loss.
                event_1 => event_1.ok().flatten(),
            };
            if event_1.is_some() && is_within(window, &webhook, event_1.as_ref(), now) {
                let begun = Begun::Before(event_1.map(Box::new));
                return self
                    .accepted(begun, before, first, Repeat::Later, known.by, &webhook)
                    .await;
            }
            at(from)
        };
        let (begun, _) = self.open_history(&id, known, source, &webhook, now).await?;
        self.accepted(begun, id, first, Repeat::Later, known.by, &webhook).await
    }

    /// Counts and logs a webhook that is durable, and marks it if its body came before.
    async fn accepted(
        &self,
        begun: Begun,
        id: ExecutionId,
        came_with: ExecutionId,
        repeat: Repeat,
        by: By,
        webhook: &Webhook,
    ) -> Result<Accepted, Outage> {
        let duplicate = match &begun {
            Begun::Now => {
                count(&self.counts.accepted);
                telemetry::accepted();
                let source = &webhook.source;
                tracing::info!(
                    execution.id = %id, source = %source, event.sequence = 1,
                    event.name = "WebhookReceived", "execution {id}: 1 WebhookReceived from {source}"
                );
                false
            }
            Begun::Before(first) => {
                self.redelivered(&id, by, webhook, first.as_deref());
                true
            }
        };
        // Also of a duplicate: the first try may have died before it marked it.
        self.tell_repeat(&id, webhook, &came_with, repeat).await?;
        let repeat_of = (came_with != id).then_some(came_with);
        Ok(Accepted { execution: id, duplicate, repeat_of })
    }

    /// Appends event 1. Also says which execution the body came with first.
    async fn open_history(
        &self,
        id: &ExecutionId,
        known: &Known,
        source: &Source,
        webhook: &Arc<Webhook>,
        now: Timestamp,
    ) -> Result<(Begun, ExecutionId), Outage> {
        let draft = Draft {
            after: Head::START,
            events: Event::WebhookReceived(webhook.clone()).into(),
            at: now,
            expires_at: webhook.expires_at,
            until: None,
            name: id::fresh(),
        };
        let tell = |early| async move {
            if let Some(teller) = self.teller.as_ref().filter(|teller| teller.early == early) {
                (teller.tell)(id, &webhook.source).await;
            }
        };
        let (appended, came_with, ()) = tokio::join!(
            self.journal.append(id, draft),
            self.first_with(id, known, source, webhook, now),
            tell(true),
        );
        let came_with = came_with?;
        let begun = match appended {
            Ok(_) => {
                tell(false).await;
                Begun::Now
            }
            Err(AppendError::Conflict { existing, .. }) => {
                Begun::Before(existing.into_iter().next().map(Box::new))
            }
            Err(AppendError::Unavailable(_)) if !guard::holds(Guard::EventBeforeAnswer) => {
                Begun::Before(None)
            }
            Err(error) => return Err(error.into()),
        };
        Ok((begun, came_with))
    }

    /// The execution that this body came with first. Only where the sender of a recorded request could have made up the
    /// id, and the source wants to know: the same request under an id that is signed, or that is the body's own, is a
    /// redelivery.
    async fn first_with(
        &self,
        id: &ExecutionId,
        known: &Known,
        source: &Source,
        webhook: &Webhook,
        now: Timestamp,
    ) -> Result<ExecutionId, Unavailable> {
        match known.origin {
            IdOrigin::Unsigned if source.remember_bodies => {
                let body = BodyKey::derive(&self.key, &webhook.source, &known.digest);
                self.executions.first_with(&body, id, webhook.expires_at, now).await
            }
            IdOrigin::Unsigned | IdOrigin::Signed | IdOrigin::Body => Ok(id.clone()),
        }
    }

    /// Says so if a body came before in another execution: somebody may have sent a recorded request again.
    async fn tell_repeat(
        &self,
        id: &ExecutionId,
        webhook: &Webhook,
        came_with: &ExecutionId,
        repeat: Repeat,
    ) -> Result<(), Unavailable> {
        if came_with != id && self.executions.mark_repeat(id, came_with, webhook.expires_at).await?
        {
            count(&self.counts.repeated);
            telemetry::repeated_body();
            let how = match repeat {
                Repeat::OtherId => "under another id that is not signed",
                Repeat::Later => "without an id, and longer ago than the source's `dedup_window`",
            };
            tracing::warn!(
                execution.id = %id, source = %webhook.source, repeat.of = %came_with,
                "execution {id}: its body came before, with execution {came_with}, {how}"
            );
        }
        Ok(())
    }

    /// Counts a redelivery. One that may have been another event is counted by itself:
    /// another body under one id, or an equal body that has no id.
    fn redelivered(&self, id: &ExecutionId, by: By, webhook: &Webhook, first: Option<&Recorded>) {
        count(&self.counts.duplicates);
        telemetry::duplicate();
        let source = &webhook.source;
        let is_same = webhook_of(first).is_some_and(|it| it.body_sha256 == webhook.body_sha256);
        match by {
            By::Id if !is_same => {
                count(&self.counts.mismatched);
                telemetry::mismatched_body();
                tracing::warn!(
                    execution.id = %id, source = %source,
                    "execution {id}: received again with another body; the first one counts"
                );
            }
            By::BodyForAWhile => {
                count(&self.counts.by_body);
                telemetry::duplicate_body();
                tracing::info!(
                    execution.id = %id, source = %source,
                    "execution {id}: received again, by its body: it has no id"
                );
            }
            By::Id | By::IdAndBody | By::Body => {
                tracing::info!(execution.id = %id, source = %source, "execution {id}: received again");
            }
        }
    }
}

fn webhook_of(first: Option<&Recorded>) -> Option<&Webhook> {
    match &first?.event {
        Event::WebhookReceived(webhook) => Some(webhook),
        _ => None,
    }
}

/// When a webhook was received: what was in quarantine came before it was recorded.
fn received_at(webhook: &Webhook, recorded_at: Timestamp) -> Timestamp {
    webhook.quarantined_at.unwrap_or(recorded_at)
}

/// Whether a webhook was received within a window of another one, whichever came first.
/// What cannot be read was not: a repeat is better than a loss.
fn is_within(
    window: Duration,
    webhook: &Webhook,
    first: Option<&Recorded>,
    now: Timestamp,
) -> bool {
    let at = received_at(webhook, now);
    first.zip(webhook_of(first)).is_some_and(|(recorded, first)| {
        let first = received_at(first, recorded.at);
        at.since(first).max(first.since(at)) < window
    })
}

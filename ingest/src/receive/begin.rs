//! An execution begins: event 1 and the row, both durable, and what is known of the same id and the same body.

use std::sync::Arc;

use everhook_journal::event::{Event, IdOrigin, Recorded, Webhook};
use everhook_journal::execution::WATCHDOG;
use everhook_journal::executions::Opened;
use everhook_journal::guard::{self, Guard};
use everhook_journal::id::{self, BodyKey, Sequence};
use everhook_journal::store::Unavailable;
use everhook_journal::table::AppendError;
use everhook_journal::{Execution, ExecutionId, Head, Timestamp, View, failpoint, telemetry};

use super::{Ingest, Outage, count};

impl Ingest {
    /// Makes the first event durable, and its row. Says whether it had been recorded before.
    pub(super) async fn begin(
        &self,
        id: &ExecutionId,
        webhook: Arc<Webhook>,
        now: Timestamp,
    ) -> Result<(ExecutionId, bool), Outage> {
        let source = &webhook.source;
        let first = Sequence::START.next();
        let event = Event::WebhookReceived(webhook.clone());
        let event_1 = event.clone();
        let recorded = Recorded { sequence: first, first, at: now, event: event_1, digest: None };
        let execution = Execution::begin(&recorded).expect("a webhook begins an execution");
        let view = View::of(id, &execution);
        let due_at = now + WATCHDOG;
        let name = id::fresh();
        // The stream may tell of it before the append returns.
        self.arrivals.note(id, source);
        let (appended, opened, came_with) = tokio::join!(
            self.journal.append(id, Head::START, event.into(), webhook.expires_at, now, &name),
            self.open(&view, due_at),
            self.first_with(id, &webhook, now),
        );
        let opened = match opened {
            Err(_) if !guard::holds(Guard::RowBeforeAnswer) => Opened::Made,
            opened => opened?,
        };
        let came_with = came_with?;
        match appended {
            Ok(_) => {
                if opened != Opened::Made && guard::holds(Guard::ReopenAnew) {
                    self.executions.reopen(&view, due_at).await?;
                }
                count(&self.counts.accepted);
                telemetry::accepted();
                tracing::info!(
                    execution.id = %id, source = %source, event.sequence = 1,
                    event.name = "WebhookReceived", "execution {id}: 1 WebhookReceived from {source}"
                );
                self.tell_repeat(id, &webhook, &came_with).await?;
                Ok((id.clone(), false))
            }
            Err(AppendError::Conflict { existing, .. }) => {
                // The first try may have died before its row, beside one that is about to be removed.
                if let Opened::Stands { created_at } = opened
                    && let Some(Ok(first)) = existing.first().map(Execution::begin)
                    && created_at != Some(first.created_at)
                    && guard::holds(Guard::ReopenStranger)
                {
                    self.executions.reopen(&View::of(id, &first), due_at).await?;
                }
                // The first try may have died before it had told.
                if self.redelivered(id, &webhook, &existing) {
                    self.tell_repeat(id, &webhook, &came_with).await?;
                }
                Ok((id.clone(), true))
            }
            Err(AppendError::Unavailable(_)) if !guard::holds(Guard::EventBeforeAnswer) => {
                Ok((id.clone(), false))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the row; says whether there was none.
    async fn open(&self, view: &View, due_at: Timestamp) -> Result<Opened, Unavailable> {
        let opened = self.executions.open(view, due_at).await;
        failpoint::reached("row.after");
        opened
    }

    /// The execution that this body came with first. Only where somebody could have made up the id:
    /// the same request under an id that is signed, or that is the body's own, is a redelivery.
    async fn first_with(
        &self,
        id: &ExecutionId,
        webhook: &Webhook,
        now: Timestamp,
    ) -> Result<ExecutionId, Unavailable> {
        match webhook.delivery_id_from {
            IdOrigin::Unsigned => {
                let body = BodyKey::derive(&self.key, &webhook.source, &webhook.body_sha256);
                self.executions.first_with(&body, id, webhook.expires_at, now).await
            }
            IdOrigin::Signed | IdOrigin::Body => Ok(id.clone()),
        }
    }

    /// Says so if a body came before under another id: somebody may have sent a recorded request again.
    async fn tell_repeat(
        &self,
        id: &ExecutionId,
        webhook: &Webhook,
        came_with: &ExecutionId,
    ) -> Result<(), Unavailable> {
        if came_with != id && self.executions.mark_repeat(id, came_with).await? {
            count(&self.counts.repeated);
            telemetry::repeated_body();
            tracing::warn!(
                execution.id = %id, source = %webhook.source, repeat.of = %came_with,
                "execution {id}: its body came before, with execution {came_with}, under another id that is not signed"
            );
        }
        Ok(())
    }

    /// Says so if a sender uses one id for two bodies. The first one counts. Returns whether it is the same.
    fn redelivered(&self, id: &ExecutionId, webhook: &Webhook, existing: &[Recorded]) -> bool {
        count(&self.counts.duplicates);
        telemetry::duplicate();
        let source = &webhook.source;
        let same = existing.iter().any(|recorded| match &recorded.event {
            Event::WebhookReceived(first) => first.body_sha256 == webhook.body_sha256,
            _ => false,
        });
        if same {
            tracing::info!(execution.id = %id, source = %source, "execution {id}: received again");
        } else {
            count(&self.counts.mismatched);
            telemetry::mismatched_body();
            tracing::warn!(
                execution.id = %id, source = %source,
                "execution {id}: received again with another body; the first one counts"
            );
        }
        same
    }
}

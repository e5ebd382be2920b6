//! Who sent a request: the one place where a request is told from a webhook.

use std::sync::Arc;

use everhook_journal::Timestamp;

use super::Ingest;
use crate::request::Request;
use crate::signature::{Unverified, Verified};
use crate::source::Source;

impl Ingest {
    /// The source that sent these exact bytes.
    pub(super) async fn verify(
        &self,
        request: &Request,
        now: Timestamp,
    ) -> Result<(Arc<Source>, Verified), Unverified> {
        let source = self.sources.fresh(&request.source, now).await;
        let certificate = self.certificate(&source, request, now, now).await?;
        let sent = request.sent(now, certificate.as_deref());
        let verified = source.scheme.verify(&sent);
        if verified.is_err()
            && let Some(newer) = self.sources.newer(&request.source, &source, now).await
        {
            let verified = newer.scheme.verify(&sent)?;
            return Ok((newer, verified));
        }
        Ok((source, verified?))
    }

    /// The certificate that verifying this request as of its receipt takes, if it takes one.
    async fn certificate(
        &self,
        source: &Source,
        request: &Request,
        received_at: Timestamp,
        now: Timestamp,
    ) -> Result<Option<Arc<[u8]>>, Unverified> {
        let Some(served) = source.scheme.certificate(&request.sent(received_at, None))? else {
            return Ok(None);
        };
        match Box::pin(self.fetch.certificate(&served, now)).await {
            Ok(pem) => Ok(Some(pem)),
            Err(error) => {
                tracing::warn!(request.id = request.request_id, "no certificate: {error}");
                Err(if error.is_final() {
                    Unverified::Certificate
                } else {
                    Unverified::Unreachable
                })
            }
        }
    }

    /// What this source's secrets of today say of a request that was received then.
    pub(crate) async fn verify_as_of(
        &self,
        received_at: Timestamp,
        source: &Source,
        request: &Request,
        now: Timestamp,
    ) -> Result<Verified, Unverified> {
        let certificate = self.certificate(source, request, received_at, now).await?;
        source.scheme.verify(&request.sent(received_at, certificate.as_deref()))
    }
}

//! The three calls that read a DynamoDB stream.

use std::error::Error;
use std::time::Duration;

use aws_sdk_dynamodbstreams::Client;
use aws_sdk_dynamodbstreams::config::http::HttpResponse;
use aws_sdk_dynamodbstreams::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodbstreams::types::{Record, ShardIteratorType};
use tokio::time::timeout;

use super::lineage::Descent;
use super::sequence::SequenceNumber;

/// The longest one call may take; a lost reply must not stop a shard.
const CALL_MAX: Duration = Duration::from_secs(15);
/// The most pages of shards that are listed.
const PAGES_MAX: usize = 100;

/// One DynamoDB stream.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    client: Client,
    arn: String,
}

/// Records, and where to go on.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) records: Vec<Record>,
    /// `None` once the shard is closed and read to its end: the only sign of it that can be trusted.
    pub(super) next: Option<String>,
}

/// Why the stream could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    #[error("the iterator has expired")]
    Expired,
    #[error("the records after this position were trimmed: {0}")]
    Trimmed(String),
    #[error("the shard is gone: {0}")]
    Gone(String),
    #[error("the request makes no sense to the stream: {0}")]
    Refused(String),
    #[error("{0}")]
    Unavailable(String),
}

impl Stream {
    /// The stream with this ARN.
    pub(super) fn new(client: Client, arn: String) -> Self {
        Stream { client, arn }
    }

    /// The stream's ARN.
    pub(super) fn arn(&self) -> &str {
        &self.arn
    }

    /// All shards the stream has now.
    pub(super) async fn shards(&self) -> Result<Vec<Descent>, StreamError> {
        let mut shards = Vec::new();
        let mut start = None;
        for _ in 0..PAGES_MAX {
            let call = self
                .client
                .describe_stream()
                .stream_arn(&self.arn)
                .set_exclusive_start_shard_id(start.take())
                .send();
            let description = answer(call).await?.stream_description;
            let Some(description) = description else { break };
            start = description.last_evaluated_shard_id;
            shards.extend(description.shards.unwrap_or_default().into_iter().filter_map(|shard| {
                Some(Descent { shard: shard.shard_id?, parent: shard.parent_shard_id })
            }));
            if start.is_none() {
                break;
            }
        }
        Ok(shards)
    }

    /// An iterator after this record, or at the oldest one there is.
    pub(super) async fn iterator(
        &self,
        shard: &str,
        after: Option<&SequenceNumber>,
    ) -> Result<String, StreamError> {
        let kind = match after {
            Some(_) => ShardIteratorType::AfterSequenceNumber,
            None => ShardIteratorType::TrimHorizon,
        };
        let call = self
            .client
            .get_shard_iterator()
            .stream_arn(&self.arn)
            .shard_id(shard)
            .shard_iterator_type(kind)
            .set_sequence_number(after.map(SequenceNumber::to_string));
        let iterator = answer(call.send()).await.map_err(|error| match error {
            // Engines other than AWS refuse a position they do not know any more.
            StreamError::Refused(text) if after.is_some() => StreamError::Trimmed(text),
            error => error,
        })?;
        iterator
            .shard_iterator
            .ok_or_else(|| StreamError::Unavailable("the stream gave no iterator".to_owned()))
    }

    /// The next records, at most `limit`.
    pub(super) async fn records(&self, iterator: &str, limit: usize) -> Result<Page, StreamError> {
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let page =
            answer(self.client.get_records().shard_iterator(iterator).limit(limit).send()).await?;
        Ok(Page { records: page.records.unwrap_or_default(), next: page.next_shard_iterator })
    }
}

/// Waits for a call, and tells apart what the reader can act on.
async fn answer<T, E>(
    call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
) -> Result<T, StreamError>
where
    E: Error + ProvideErrorMetadata + 'static,
{
    let error = match timeout(CALL_MAX, call).await {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(error)) => error,
        Err(_) => return Err(StreamError::Unavailable(format!("no answer within {CALL_MAX:?}"))),
    };
    let text = DisplayErrorContext(&error).to_string();
    Err(match error.code() {
        Some("ExpiredIteratorException") => StreamError::Expired,
        Some("TrimmedDataAccessException") => StreamError::Trimmed(text),
        Some("ValidationException" | "InternalFailure") => StreamError::Refused(text),
        Some("ResourceNotFoundException") => StreamError::Gone(text),
        _ => StreamError::Unavailable(text),
    })
}

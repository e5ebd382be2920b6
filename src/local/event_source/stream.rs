//! The three calls that read a DynamoDB stream.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodbstreams::Client;
use aws_sdk_dynamodbstreams::config::http::HttpResponse;
use aws_sdk_dynamodbstreams::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodbstreams::types::{Record, ShardIteratorType};
use everhook_journal::ambient;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::lineage::Descent;
use super::sequence::SequenceNumber;

/// The longest one call may take; a lost reply must not stop a shard.
const CALL_MAX: Duration = Duration::from_secs(15);
/// The most pages of shards that are listed.
const PAGES_MAX: usize = 100;

/// A call under way.
pub type Call<'c, T> = BoxFuture<'c, Result<T, StreamError>>;

/// The calls that read DynamoDB's streams: the SDK's client, or what a simulation has in its place.
pub trait Streams: fmt::Debug + Send + Sync {
    /// A page of the shards that a stream has, and the shard to go on after if there are more.
    fn shards<'c>(
        &'c self,
        stream_arn: &'c str,
        after: Option<String>,
    ) -> Call<'c, (Vec<Descent>, Option<String>)>;

    /// An iterator after this record of a shard, or at the oldest one there is.
    fn iterator<'c>(
        &'c self,
        stream_arn: &'c str,
        shard: &'c str,
        after: Option<&'c str>,
    ) -> Call<'c, Option<String>>;

    /// The next records, at most `limit`.
    fn records<'c>(&'c self, iterator: &'c str, limit: usize) -> Call<'c, Page>;
}

/// Records, and where to go on.
#[derive(Debug)]
pub struct Page {
    /// The records, the oldest first; none is no sign of an end.
    pub records: Vec<Record>,
    /// `None` once the shard is closed and read to its end: the only sign of it that can be trusted.
    pub next: Option<String>,
}

/// Why the stream could not be read.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// Iterators are good for some minutes.
    #[error("the iterator has expired")]
    Expired,
    /// The stream begins later by now.
    #[error("the records after this position were trimmed: {0}")]
    Trimmed(String),
    /// Shards go when their records do.
    #[error("the shard is gone: {0}")]
    Gone(String),
    /// The stream does not understand what was asked.
    #[error("the request makes no sense to the stream: {0}")]
    Refused(String),
    /// Any other trouble.
    #[error("{0}")]
    Unavailable(String),
}

/// One DynamoDB stream.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    streams: Arc<dyn Streams>,
    arn: String,
}

impl Stream {
    /// The stream with this ARN.
    pub(super) fn new(streams: Arc<dyn Streams>, arn: String) -> Self {
        Stream { streams, arn }
    }

    /// The stream's ARN.
    pub(super) fn arn(&self) -> &str {
        &self.arn
    }

    /// All shards the stream has now.
    pub(super) async fn shards(&self) -> Result<Vec<Descent>, StreamError> {
        let mut shards = Vec::new();
        let mut after = None;
        for _ in 0..PAGES_MAX {
            let (page, last) = in_time(self.streams.shards(&self.arn, after)).await?;
            shards.extend(page);
            after = last;
            if after.is_none() {
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
        let call = self.streams.iterator(&self.arn, shard, after.map(SequenceNumber::as_str));
        let iterator = in_time(call).await.map_err(|error| match error {
            // Engines other than AWS refuse a position they do not know any more.
            StreamError::Refused(text) if after.is_some() => StreamError::Trimmed(text),
            error => error,
        })?;
        iterator.ok_or_else(|| StreamError::Unavailable("the stream gave no iterator".to_owned()))
    }

    /// The next records, at most `limit`.
    pub(super) async fn records(&self, iterator: &str, limit: usize) -> Result<Page, StreamError> {
        in_time(self.streams.records(iterator, limit)).await
    }
}

async fn in_time<T>(call: Call<'_, T>) -> Result<T, StreamError> {
    let late = |_| StreamError::Unavailable(format!("no answer within {CALL_MAX:?}"));
    ambient::timeout(CALL_MAX, call).await.map_err(late)?
}

impl Streams for Client {
    fn shards<'c>(
        &'c self,
        stream_arn: &'c str,
        after: Option<String>,
    ) -> Call<'c, (Vec<Descent>, Option<String>)> {
        async move {
            let call = self.describe_stream().stream_arn(stream_arn);
            let call = call.set_exclusive_start_shard_id(after);
            let description = answer(call.send()).await?.stream_description;
            let Some(description) = description else { return Ok((Vec::new(), None)) };
            let shards = description.shards.unwrap_or_default().into_iter().filter_map(|shard| {
                Some(Descent { shard: shard.shard_id?, parent: shard.parent_shard_id })
            });
            Ok((shards.collect(), description.last_evaluated_shard_id))
        }
        .boxed()
    }

    fn iterator<'c>(
        &'c self,
        stream_arn: &'c str,
        shard: &'c str,
        after: Option<&'c str>,
    ) -> Call<'c, Option<String>> {
        let kind = match after {
            Some(_) => ShardIteratorType::AfterSequenceNumber,
            None => ShardIteratorType::TrimHorizon,
        };
        let call = self
            .get_shard_iterator()
            .stream_arn(stream_arn)
            .shard_id(shard)
            .shard_iterator_type(kind)
            .set_sequence_number(after.map(str::to_owned));
        async move { Ok(answer(call.send()).await?.shard_iterator) }.boxed()
    }

    fn records<'c>(&'c self, iterator: &'c str, limit: usize) -> Call<'c, Page> {
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let call = self.get_records().shard_iterator(iterator).limit(limit);
        async move {
            let page = answer(call.send()).await?;
            Ok(Page { records: page.records.unwrap_or_default(), next: page.next_shard_iterator })
        }
        .boxed()
    }
}

/// Waits for a call, and tells apart what the reader can act on.
async fn answer<T, E>(
    call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
) -> Result<T, StreamError>
where
    E: Error + ProvideErrorMetadata + 'static,
{
    let error = match call.await {
        Ok(answer) => return Ok(answer),
        Err(error) => error,
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

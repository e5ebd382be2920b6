//! DynamoDB's JSON protocol: from the name and body of a request to the answer's status and body.

use dynoxide::DynoxideError;
use dynoxide::actions::vector_lifecycle::VectorIndexLifecycle;
use dynoxide::actions::{
    batch_get_item, batch_write_item, create_table, delete_item, delete_table, describe_stream,
    describe_table, describe_time_to_live, get_item, get_records, get_shard_iterator, list_streams,
    list_tables, put_item, query, scan, transact_get_items, transact_write_items, update_item,
    update_table, update_time_to_live,
};
use dynoxide::storage::Storage;
use futures_util::FutureExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fault;

/// A request that has been read and waits to be run.
pub(super) struct Operation {
    pub(super) run: Box<dyn FnOnce(&Storage) -> Answer + Send>,
    pub(super) effect: Effect,
    /// How long its request is.
    pub(super) bytes: usize,
}

/// What a request does, as far as the disk is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Writes,
    ReadsConsistently,
    ReadsEventually,
}

/// An answer as it would go over the wire.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// Why the engine cannot go on after it, if it cannot.
    pub(super) fault: Option<String>,
}

impl Answer {
    /// The answer to a request that made the engine panic.
    pub(super) fn panicked() -> Self {
        Self::from(DynoxideError::InternalServerError("the engine panicked".to_owned()))
    }

    fn unknown_operation(target: &str) -> Self {
        let body = serde_json::json!({
            "__type": "com.amazon.coral.service#UnknownOperationException",
            "message": format!("the embedded engine has no operation {target}"),
        });
        Self { status: 400, body: body.to_string().into_bytes(), fault: None }
    }
}

impl From<DynoxideError> for Answer {
    fn from(error: DynoxideError) -> Self {
        Self {
            status: error.status_code(),
            body: error.to_json().into_bytes(),
            fault: fault::of_error(&error),
        }
    }
}

/// Reads the request for `target`, the value of `x-amz-target`; an `Err` is the answer to what cannot be read.
pub(super) fn read(target: &str, body: &[u8]) -> Result<Operation, Answer> {
    let name = target
        .strip_prefix("DynamoDB_20120810.")
        .or_else(|| target.strip_prefix("DynamoDBStreams_20120810."))
        .unwrap_or(target);
    match name {
        "PutItem" => writes(body, |s, r| now_or_error(put_item::execute(s, r))),
        "UpdateItem" => writes(body, |s, r| now_or_error(update_item::execute(s, r))),
        "DeleteItem" => writes(body, |s, r| now_or_error(delete_item::execute(s, r))),
        "BatchWriteItem" => writes(body, |s, r| now_or_error(batch_write_item::execute(s, r))),
        // The request's token is not looked at: an answer cannot get lost between a caller and its own process.
        "TransactWriteItems" => {
            writes(body, |s, r| now_or_error(transact_write_items::execute(s, r)))
        }
        "CreateTable" => writes(body, |s, r| now_or_error(create_table::execute(s, r))),
        "UpdateTable" => writes(body, |s, r| {
            now_or_error(update_table::execute(s, r, &VectorIndexLifecycle::new()))
        }),
        "DeleteTable" => writes(body, |s, r| {
            now_or_error(delete_table::execute(s, r, &VectorIndexLifecycle::new()))
        }),
        "UpdateTimeToLive" => writes(body, |s, r| now_or_error(update_time_to_live::execute(s, r))),

        "GetItem" => reads(
            body,
            |r: &get_item::GetItemRequest| r.consistent_read == Some(true),
            |s, r| now_or_error(get_item::execute(s, r)),
        ),
        "BatchGetItem" => reads(
            body,
            |r: &batch_get_item::BatchGetItemRequest| {
                r.request_items.values().any(|table| table.consistent_read == Some(true))
            },
            |s, r| now_or_error(batch_get_item::execute(s, r)),
        ),
        "Query" => reads(
            body,
            |r: &query::QueryRequest| r.consistent_read == Some(true),
            |s, r| now_or_error(query::execute(s, r)),
        ),
        "Scan" => reads(
            body,
            |r: &scan::ScanRequest| r.consistent_read == Some(true),
            |s, r| now_or_error(scan::execute(s, r)),
        ),
        "TransactGetItems" => {
            reads(body, |_| true, |s, r| now_or_error(transact_get_items::execute(s, r)))
        }

        "DescribeTable" => describes(body, |s, r| {
            now_or_error(describe_table::execute(s, r, &VectorIndexLifecycle::new()))
        }),
        "ListTables" => describes(body, |s, r| now_or_error(list_tables::execute(s, r))),
        "DescribeTimeToLive" => {
            describes(body, |s, r| now_or_error(describe_time_to_live::execute(s, r)))
        }
        "ListStreams" => describes(body, |s, r| now_or_error(list_streams::execute(s, r))),
        "DescribeStream" => describes(body, |s, r| now_or_error(describe_stream::execute(s, r))),
        "GetShardIterator" => {
            describes(body, |s, r| now_or_error(get_shard_iterator::execute(s, r)))
        }
        "GetRecords" => describes(body, |s, r| now_or_error(get_records::execute(s, r))),
        _ => Err(Answer::unknown_operation(target)),
    }
}

fn writes<Q, R>(
    body: &[u8],
    execute: fn(&Storage, Q) -> dynoxide::Result<R>,
) -> Result<Operation, Answer>
where
    Q: DeserializeOwned + Send + 'static,
    R: Serialize + 'static,
{
    Ok(operation(parse(body)?, body.len(), Effect::Writes, execute))
}

fn reads<Q, R>(
    body: &[u8],
    is_consistent: fn(&Q) -> bool,
    execute: fn(&Storage, Q) -> dynoxide::Result<R>,
) -> Result<Operation, Answer>
where
    Q: DeserializeOwned + Send + 'static,
    R: Serialize + 'static,
{
    let request = parse(body)?;
    let effect =
        if is_consistent(&request) { Effect::ReadsConsistently } else { Effect::ReadsEventually };
    Ok(operation(request, body.len(), effect, execute))
}

fn describes<Q, R>(
    body: &[u8],
    execute: fn(&Storage, Q) -> dynoxide::Result<R>,
) -> Result<Operation, Answer>
where
    Q: DeserializeOwned + Send + 'static,
    R: Serialize + 'static,
{
    Ok(operation(parse(body)?, body.len(), Effect::ReadsEventually, execute))
}

fn operation<Q, R>(
    request: Q,
    bytes: usize,
    effect: Effect,
    execute: fn(&Storage, Q) -> dynoxide::Result<R>,
) -> Operation
where
    Q: Send + 'static,
    R: Serialize + 'static,
{
    let run = move |storage: &Storage| {
        let written = execute(storage, request).and_then(|response| {
            serde_json::to_vec(&response)
                .map_err(|error| DynoxideError::InternalServerError(error.to_string()))
        });
        match written {
            Ok(body) => Answer { status: 200, body, fault: None },
            Err(error) => Answer::from(error),
        }
    };
    Operation { run: Box::new(run), effect, bytes }
}

fn parse<Q: DeserializeOwned>(body: &[u8]) -> Result<Q, Answer> {
    serde_json::from_slice(body).map_err(|error| {
        let text = error.to_string();
        // dynoxide puts the class of its own refusals in front of them. All of them are validation errors here, since
        // an SDK client sends nothing that is not well-formed.
        let refusal = ["VALIDATION_REQUEST:", "VALIDATION:", "SERIALIZATION:"]
            .iter()
            .find_map(|class| text.strip_prefix(class));
        Answer::from(DynoxideError::ValidationException(refusal.unwrap_or(&text).to_owned()))
    })
}

/// The result of one of dynoxide's actions.
///
/// They are async for the sake of another backend, and never wait over `Storage`.
pub(super) fn now_or_error<T>(
    action: impl Future<Output = dynoxide::Result<T>>,
) -> dynoxide::Result<T> {
    action.now_or_never().unwrap_or_else(|| {
        Err(DynoxideError::InternalServerError("the engine did not answer at once".to_owned()))
    })
}

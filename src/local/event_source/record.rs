//! A stream record as the function sees it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lambda_events::dynamodb::{EventRecord, StreamViewType, UserIdentity};
use aws_sdk_dynamodbstreams::types::{self, AttributeValue};
use everhook_journal::ambient;
use serde_json::{Value, json};

use super::batch::Record;
use super::sequence::{NotASequenceNumber, SequenceNumber};

/// What the time-to-live process calls itself in `userIdentity`.
const TTL_PRINCIPAL: (&str, &str) = ("Service", "dynamodb.amazonaws.com");

/// Why a stream record cannot be delivered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Undeliverable {
    #[error("the record has no body")]
    NoBody,
    #[error("the record has no sequence number")]
    NoSequence(#[from] NotASequenceNumber),
    #[error("the record's keys are not readable")]
    Keys(#[from] serde_json::Error),
}

/// Turns a record as the stream has it into the one Lambda would deliver.
///
/// Images are left out: a record is a wake-up, never data.
pub(super) fn from_stream(
    record: types::Record,
    stream_arn: &str,
    partition_key: &str,
) -> Result<Record, Undeliverable> {
    let body = record.dynamodb.ok_or(Undeliverable::NoBody)?;
    let sequence = SequenceNumber::parse(body.sequence_number().unwrap_or_default())?;
    let created = body.approximate_creation_date_time.and_then(|at| SystemTime::try_from(at).ok());
    let keys = body.keys.unwrap_or_default();

    let mut event = Box::new(EventRecord::default());
    event.event_id = record.event_id.unwrap_or_default();
    event.event_name = record.event_name.map(|name| name.as_str().to_owned()).unwrap_or_default();
    event.event_version = record.event_version;
    event.event_source = Some(record.event_source.unwrap_or_else(|| "aws:dynamodb".to_owned()));
    event.event_source_arn = Some(stream_arn.to_owned());
    event.aws_region = record.aws_region.unwrap_or_default();
    event.user_identity = record.user_identity.map(user_identity);
    event.change.approximate_creation_date_time = created.unwrap_or(UNIX_EPOCH).into();
    event.change.keys = serde_json::from_value(keys_to_json(&keys))?;
    event.change.sequence_number = Some(sequence.to_string());
    event.change.size_bytes = body.size_bytes.unwrap_or_default();
    event.change.stream_view_type = Some(StreamViewType::KeysOnly);

    // A record that does not know its age counts as new rather than being given up.
    let created = created.map_or_else(ambient::since_epoch, |created| {
        created.duration_since(UNIX_EPOCH).unwrap_or_default()
    });
    Ok(Record { sequence, key: key_text(&keys, partition_key), created, event })
}

/// Only the time-to-live process has an identity in a stream; the embedded engine spells its fields so that the SDK
/// does not see them.
fn user_identity(identity: types::Identity) -> UserIdentity {
    let mut user = UserIdentity::default();
    user.type_ = identity.r#type.unwrap_or_else(|| TTL_PRINCIPAL.0.to_owned());
    user.principal_id = identity.principal_id.unwrap_or_else(|| TTL_PRINCIPAL.1.to_owned());
    user
}

/// The partition key's value; all keys of a table whose partition key has another name.
fn key_text(keys: &HashMap<String, AttributeValue>, partition_key: &str) -> Arc<str> {
    match keys.get(partition_key) {
        Some(AttributeValue::S(text)) => text.as_str().into(),
        Some(value) => to_json(value).to_string().into(),
        None => keys_to_json(keys).to_string().into(),
    }
}

fn keys_to_json(keys: &HashMap<String, AttributeValue>) -> Value {
    let keys: BTreeMap<&String, Value> =
        keys.iter().map(|(name, value)| (name, to_json(value))).collect();
    json!(keys)
}

/// The three types a key can have, in DynamoDB's JSON.
fn to_json(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!({ "S": text }),
        AttributeValue::N(number) => json!({ "N": number }),
        AttributeValue::B(bytes) => json!({ "B": aws_smithy_types::base64::encode(bytes) }),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_sdk_dynamodbstreams::primitives::{Blob, DateTime};
    use aws_sdk_dynamodbstreams::types::{Identity, OperationType, StreamRecord};

    use super::*;

    fn stream_record() -> types::builders::RecordBuilder {
        let body = StreamRecord::builder()
            .approximate_creation_date_time(DateTime::from_secs(1_700_000_000))
            .keys("execution", AttributeValue::S("abc".to_owned()))
            .keys("sequence", AttributeValue::N("1".to_owned()))
            .sequence_number("100000000000000000017")
            .size_bytes(42);
        types::Record::builder()
            .event_id("e1")
            .event_name(OperationType::Insert)
            .event_version("1.1")
            .event_source("aws:dynamodb")
            .aws_region("eu-central-1")
            .dynamodb(body.build())
    }

    #[test]
    fn a_record_reads_as_lambda_would_deliver_it() {
        let record = from_stream(stream_record().build(), "arn:stream", "execution").unwrap();

        assert_eq!(
            serde_json::to_value(&record.event).unwrap(),
            json!({
                "eventID": "e1", "eventName": "INSERT", "eventVersion": "1.1", "eventSource": "aws:dynamodb",
                "eventSourceARN": "arn:stream", "awsRegion": "eu-central-1",
                "userIdentity": null, "recordFormat": null, "tableName": null,
                "dynamodb": {
                    "ApproximateCreationDateTime": 1_700_000_000,
                    "Keys": {"execution": {"S": "abc"}, "sequence": {"N": "1"}},
                    "NewImage": {}, "OldImage": {},
                    "SequenceNumber": "100000000000000000017", "SizeBytes": 42, "StreamViewType": "KEYS_ONLY",
                },
            })
        );
        assert_eq!((&*record.key, record.created), ("abc", Duration::from_secs(1_700_000_000)));
    }

    #[test]
    fn an_identity_without_a_name_is_the_time_to_live_process() {
        let record = stream_record().user_identity(Identity::builder().build()).build();

        let identity =
            from_stream(record, "arn:stream", "execution").unwrap().event.user_identity.unwrap();

        assert_eq!((identity.type_.as_str(), identity.principal_id.as_str()), TTL_PRINCIPAL);
    }

    #[test]
    fn without_the_partition_key_all_keys_tell_records_apart() {
        let keys = HashMap::from([
            ("b".to_owned(), AttributeValue::N("1".to_owned())),
            ("a".to_owned(), AttributeValue::B(Blob::new("x"))),
        ]);

        assert_eq!(&*key_text(&keys, "execution"), r#"{"a":{"B":"eA=="},"b":{"N":"1"}}"#);
    }

    #[test]
    fn a_record_without_a_sequence_number_cannot_be_delivered() {
        let record = types::Record::builder().dynamodb(StreamRecord::builder().build()).build();

        assert!(matches!(
            from_stream(record, "arn:stream", "execution"),
            Err(Undeliverable::NoSequence(_))
        ));
    }
}

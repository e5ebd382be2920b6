//! What the journal's stream tells its readers, and what they answer.

use aws_lambda_events::dynamodb::{Event, EventRecord};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};
use serde_dynamo::AttributeValue;
use serde_json::Value;

use crate::id::{ExecutionId, Sequence};

/// The records of one invocation that are news of an execution.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The news, in the stream's order.
    pub records: Vec<Record>,
    /// How many records could not be read. Their executions' due times cover them.
    pub unreadable: usize,
}

/// The news that an execution moved. Never data: the journal has the last word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The execution.
    pub execution: ExecutionId,
    /// The position of the append's first event.
    pub sequence: Sequence,
    /// The stream's own number for the record.
    pub stream_sequence: String,
}

impl Batch {
    /// Reads an invocation's payload, record by record, so that an odd one spoils no other.
    pub fn from_json(payload: Value) -> Self {
        let Value::Object(mut payload) = payload else {
            return Self { unreadable: 1, ..Self::default() };
        };
        let Some(Value::Array(records)) = payload.remove("Records") else {
            return Self { unreadable: 1, ..Self::default() };
        };
        Self::from_records(records.into_iter().map(|r| serde_json::from_value(r).ok()))
    }

    /// Reads an invocation's typed payload.
    pub fn from_event(event: Event) -> Self {
        Self::from_records(event.records.into_iter().map(Some))
    }

    fn from_records(records: impl Iterator<Item = Option<EventRecord>>) -> Self {
        let mut batch = Self::default();
        for record in records {
            match record.and_then(read) {
                Some(Some(record)) => batch.records.push(record),
                Some(None) => {}
                None => batch.unreadable += 1,
            }
        }
        batch
    }
}

/// `None` for what cannot be read, `Some(None)` for what is not news of an execution.
fn read(record: EventRecord) -> Option<Option<Record>> {
    // What is deleted has expired. A change is an append too: one over the remains of an expired history.
    if record.event_name == "REMOVE" {
        return Some(None);
    }
    let keys = record.change.keys.into_inner();
    let AttributeValue::S(execution) = keys.get("execution")? else { return None };
    let AttributeValue::N(sequence) = keys.get("sequence")? else { return None };
    let stream_sequence = record.change.sequence_number?;
    // Definitions of workflows stand in the same table under other keys.
    let Some(execution) = ExecutionId::parse(execution) else { return Some(None) };
    let sequence = Sequence::new(sequence.parse().ok()?);
    Some(Some(Record { execution, sequence, stream_sequence }))
}

/// The answer to a batch: Lambda's partial batch response, which this type cannot get wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchResponse {
    /// All records are done with.
    Complete,
    /// This record and all after it are to be delivered again.
    FailedFrom(String),
}

impl BatchResponse {
    /// The answer if these records of the batch failed.
    pub fn failed<'r>(failed: impl IntoIterator<Item = &'r Record>) -> Self {
        let lowest = failed
            .into_iter()
            .map(|record| record.stream_sequence.as_str())
            // The stream's numbers have up to 40 digits: more than any integer type holds.
            .min_by_key(|number| (number.len(), *number));
        lowest.map_or(Self::Complete, |number| Self::FailedFrom(number.to_owned()))
    }
}

impl Serialize for BatchResponse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Failures<'r>(&'r BatchResponse);
        impl Serialize for Failures<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut list = serializer.serialize_seq(None)?;
                if let BatchResponse::FailedFrom(number) = self.0 {
                    let failure = std::collections::BTreeMap::from([("itemIdentifier", number)]);
                    list.serialize_element(&failure)?;
                }
                list.end()
            }
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("batchItemFailures", &Failures(self))?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const ID: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

    fn record(execution: &str, sequence: &str, number: &str) -> Value {
        json!({
            "eventID": number, "eventName": "INSERT", "awsRegion": "eu-west-1",
            "dynamodb": {
                "ApproximateCreationDateTime": 1_795_486_845.0,
                "Keys": {"execution": {"S": execution}, "sequence": {"N": sequence}},
                "SequenceNumber": number, "SizeBytes": 40, "StreamViewType": "KEYS_ONLY"
            }
        })
    }

    fn news(number: &str) -> Record {
        let execution = ExecutionId::parse(ID).unwrap();
        Record { execution, sequence: Sequence::new(2), stream_sequence: number.into() }
    }

    #[test]
    fn an_append_is_news_and_a_definition_is_not() {
        let records = [record(ID, "2", "100"), record("workflow#0123", "1", "101")];

        let batch = Batch::from_json(json!({ "Records": records }));

        assert_eq!(batch, Batch { records: vec![news("100")], unreadable: 0 });
    }

    #[test]
    fn an_odd_record_spoils_no_other() {
        let odd = json!({"eventName": 7});
        let keyless = json!({
            "eventID": "1", "eventName": "INSERT", "awsRegion": "x",
            "dynamodb": {"Keys": {}, "SequenceNumber": "99", "SizeBytes": 1}
        });

        let batch = Batch::from_json(json!({ "Records": [odd, keyless, record(ID, "2", "100")] }));

        assert_eq!(batch, Batch { records: vec![news("100")], unreadable: 2 });
    }

    #[test]
    fn a_deletion_is_no_news() {
        let mut removed = record(ID, "2", "100");
        removed["eventName"] = json!("REMOVE");
        assert_eq!(Batch::from_json(json!({ "Records": [removed] })), Batch::default());
    }

    #[test]
    fn the_lowest_failed_record_is_reported_by_size_then_digits() {
        let failed = [news("1000"), news("999"), news("9999")];
        let response = BatchResponse::failed(&failed);
        assert_eq!(
            serde_json::to_value(response).unwrap(),
            json!({"batchItemFailures": [{"itemIdentifier": "999"}]})
        );
    }

    #[test]
    fn an_append_over_expired_remains_is_news() {
        let mut changed = record(ID, "2", "100");
        changed["eventName"] = json!("MODIFY");
        let batch = Batch::from_json(json!({ "Records": [changed] }));
        assert_eq!(batch, Batch { records: vec![news("100")], unreadable: 0 });
    }

    #[test]
    fn a_payload_that_is_no_batch_is_unreadable() {
        let unreadable = Batch { records: vec![], unreadable: 1 };
        for payload in [json!(null), json!([]), json!({}), json!({"Records": "none"})] {
            assert_eq!(Batch::from_json(payload), unreadable);
        }
    }

    #[test]
    fn a_position_that_is_no_number_is_unreadable() {
        for position in ["", "two", "-1", "1.5", "18446744073709551616"] {
            let batch = Batch::from_json(json!({ "Records": [record(ID, position, "100")] }));
            assert_eq!(batch, Batch { records: vec![], unreadable: 1 });
        }
    }

    #[test]
    fn a_typed_batch_reads_as_its_json_does() {
        let payload = json!({ "Records": [record(ID, "2", "100")] });
        let typed = Batch::from_event(serde_json::from_value(payload.clone()).unwrap());
        assert_eq!(typed, Batch::from_json(payload));
    }

    /// Compares as schoolchildren do: written one above the other, from the left.
    fn smaller<'n>(a: &'n str, b: &'n str) -> &'n str {
        let width = a.len().max(b.len());
        let digits = |number: &str| format!("{number:0>width$}").into_bytes();
        if digits(a) <= digits(b) { a } else { b }
    }

    proptest! {
        #[test]
        fn the_lowest_of_any_numbers_is_reported(numbers in vec("[1-9][0-9]{0,39}", 1..8)) {
            let lowest = numbers.iter().map(String::as_str).reduce(smaller).unwrap();
            let failed: Vec<_> = numbers.iter().map(|number| news(number)).collect();

            let response = BatchResponse::failed(&failed);

            prop_assert_eq!(response, BatchResponse::FailedFrom(lowest.to_owned()));
        }

        #[test]
        fn numbers_of_one_width_may_begin_with_zeros(numbers in vec(any::<u128>(), 1..8)) {
            let lowest = numbers.iter().min().unwrap();
            let failed: Vec<_> = numbers.iter().map(|n| news(&format!("{n:0>40}"))).collect();

            let response = BatchResponse::failed(&failed);

            prop_assert_eq!(response, BatchResponse::FailedFrom(format!("{lowest:0>40}")));
        }
    }

    #[test]
    fn complete_success_is_an_empty_list() {
        let response = serde_json::to_value(BatchResponse::failed([])).unwrap();
        assert_eq!(response, json!({"batchItemFailures": []}));
    }
}

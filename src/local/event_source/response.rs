//! What a function says about its batch.

use everhook_journal::stream::BatchResponse;
use serde_json::Value;

use super::sequence::SequenceNumber;

/// What a function says about its batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchOutcome {
    /// Every record is done.
    Complete,
    /// The records before this sequence number are done, those from it on are not.
    /// If it is not in the batch, the whole batch has failed.
    FailedFrom(String),
}

impl BatchOutcome {
    /// Reads a partial batch response exactly as Lambda reads its JSON, odd shapes included.
    pub fn from_json(response: &Value) -> Self {
        let failures = match response {
            Value::Null => return BatchOutcome::Complete,
            Value::Array(list) if list.is_empty() => return BatchOutcome::Complete,
            Value::Object(response) => match response.get("batchItemFailures") {
                None | Some(Value::Null) => return BatchOutcome::Complete,
                Some(Value::Array(failures)) => failures,
                Some(_) => return BatchOutcome::whole_batch_failed(),
            },
            // Whoever answers something else may have meant anything.
            _ => return BatchOutcome::whole_batch_failed(),
        };
        BatchOutcome::from_identifiers(
            failures.iter().map(|failure| failure.get("itemIdentifier").and_then(Value::as_str)),
        )
    }

    /// Of several failed records the lowest counts; one that is not named fails the whole batch.
    fn from_identifiers<'a>(identifiers: impl Iterator<Item = Option<&'a str>>) -> Self {
        let lowest = identifiers
            .map(|identifier| identifier.and_then(|text| SequenceNumber::parse(text).ok()))
            .try_fold(None, |lowest: Option<SequenceNumber>, number| {
                let number = number?;
                Some(Some(lowest.map_or(number.clone(), |lowest| lowest.min(number))))
            });
        match lowest {
            Some(None) => BatchOutcome::Complete,
            Some(Some(lowest)) => BatchOutcome::FailedFrom(lowest.into()),
            None => BatchOutcome::whole_batch_failed(),
        }
    }

    fn whole_batch_failed() -> Self {
        BatchOutcome::FailedFrom(String::new())
    }
}

impl From<BatchResponse> for BatchOutcome {
    /// Goes through the JSON that Lambda would be given, so that what is read is what was written.
    fn from(response: BatchResponse) -> Self {
        let json = serde_json::to_value(response).expect("a response is JSON");
        BatchOutcome::from_json(&json)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn five_shapes_mean_that_all_is_done() {
        for response in [
            json!({}),
            json!(null),
            json!([]),
            json!({"batchItemFailures": []}),
            json!({"batchItemFailures": null}),
        ] {
            assert_eq!(BatchOutcome::from_json(&response), BatchOutcome::Complete, "{response}");
        }
    }

    #[test]
    fn an_identifier_that_names_nothing_means_that_all_has_failed() {
        for failure in [
            json!({"itemIdentifier": ""}),
            json!({"itemIdentifier": null}),
            json!({"itemIdentifier": 17}),
            json!({"sequenceNumber": "17"}),
            json!({}),
            json!("17"),
        ] {
            let response = json!({"batchItemFailures": [{"itemIdentifier": "16"}, failure]});
            assert_eq!(
                BatchOutcome::from_json(&response),
                BatchOutcome::FailedFrom(String::new()),
                "{response}"
            );
        }
    }

    #[test]
    fn failures_that_are_no_list_mean_that_all_has_failed() {
        let response = json!({"batchItemFailures": "17"});

        assert_eq!(BatchOutcome::from_json(&response), BatchOutcome::FailedFrom(String::new()));
    }

    #[test]
    fn of_several_failures_the_lowest_number_counts() {
        let response = json!({"batchItemFailures": [{"itemIdentifier": "100"}, {"itemIdentifier": "99"}, {"itemIdentifier": "101"}]});

        assert_eq!(BatchOutcome::from_json(&response), BatchOutcome::FailedFrom("99".to_owned()));
    }

    #[test]
    fn our_own_response_says_what_it_means() {
        let failed = BatchResponse::FailedFrom("7".to_owned());
        assert_eq!(BatchOutcome::from(failed), BatchOutcome::FailedFrom("7".to_owned()));
        assert_eq!(BatchOutcome::from(BatchResponse::Complete), BatchOutcome::Complete);
    }
}

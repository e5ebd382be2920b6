use serde_json::Value;

use super::super::aws::tests::outcome;
use super::super::loopback::answer;
use super::super::tests::refused;
use super::*;

async fn put(mut options: Value, told: &str) -> (Result<Value, StepError>, Value) {
    options["source"] = "everhook.shop".into();
    options["detail_type"] = r"order \(.id)".into();
    let told = answer("200 OK", "application/x-amz-json-1.1", told.as_bytes());
    let (result, request) = outcome("eventbridge", options, told).await;
    (result, serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap())
}

#[tokio::test]
async fn an_event_has_what_rules_look_at() {
    let told = r#"{"FailedEntryCount": 0, "Entries": [{"EventId": "e-1"}]}"#;

    let (result, request) = put(json!({"bus": "shop", "jq": "{id}"}), told).await;

    assert_eq!(result, Ok(json!({"eventId": "e-1"})));
    let entry = json!({
        "EventBusName": "shop",
        "Source": "everhook.shop",
        "DetailType": "order 7",
        "Detail": r#"{"id":7}"#,
    });
    assert_eq!(request, json!({"Entries": [entry]}));
}

#[tokio::test]
async fn an_entry_that_failed_is_a_failure_although_the_call_succeeded() {
    for (told, kind, retryable) in [
        (
            r#"{"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure", "ErrorMessage": "canary"}]}"#,
            "eventbridge_InternalFailure",
            true,
        ),
        (
            r#"{"FailedEntryCount": 1, "Entries": [{"ErrorCode": "ThrottlingException"}]}"#,
            "eventbridge_ThrottlingException",
            true,
        ),
        (
            r#"{"FailedEntryCount": 1, "Entries": [{"ErrorCode": "MalformedDetail"}]}"#,
            "eventbridge_MalformedDetail",
            false,
        ),
        // The count alone is enough, and so is a missing id.
        (
            r#"{"FailedEntryCount": 1, "Entries": [{"EventId": "e-1"}]}"#,
            "eventbridge_unknown",
            true,
        ),
        (r#"{"FailedEntryCount": 0, "Entries": []}"#, "eventbridge_unknown", true),
    ] {
        let error = put(json!({}), told).await.0.unwrap_err();
        assert_eq!((error.kind.as_str(), error.retryable), (kind, retryable));
        assert!(!error.message.contains("canary"));
    }
}

#[tokio::test]
async fn what_is_no_object_is_no_event() {
    let server = super::super::loopback::Server::answering("").await;
    let options = json!({"source": "s", "detail_type": "d", "jq": ".id"});
    let step = server.called_by("eventbridge", options);
    let error = step.run(super::super::tests::input(r#"{"id": 7}"#)).await.unwrap_err();
    assert_eq!((error.kind.as_str(), error.retryable), ("invalid", false));
}

#[test]
fn a_wrong_definition_is_told_at_its_key() {
    for (options, key) in [
        (json!({"source": "s"}), "detail_type"),
        (json!({"detail_type": "d"}), "source"),
        (json!({"source": "aws.s3", "detail_type": "d"}), "source"),
        (json!({"source": "s", "detail_type": "d", "bus": 1}), "bus"),
    ] {
        assert_eq!(refused("eventbridge", options).option.as_deref(), Some(key));
    }
}

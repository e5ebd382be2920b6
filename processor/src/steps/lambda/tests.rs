use super::super::aws::tests::outcome;
use super::super::loopback::{answer, header};
use super::super::tests::refused;
use super::*;

fn with_error(kind: &str, payload: &str) -> Vec<u8> {
    let length = payload.len();
    format!(
        "HTTP/1.1 200 OK\r\nx-amz-function-error: {kind}\r\ncontent-length: {length}\r\n\r\n{payload}"
    )
    .into()
}

#[tokio::test]
async fn the_result_of_the_function_is_the_steps() {
    let options = json!({"function": "resize", "qualifier": "live", "jq": "{id}"});
    let found = answer("200 OK", "application/json", br#"{"n": 1.10}"#);

    let (result, request) = outcome("lambda", options, found).await;

    assert_eq!(result, Ok(json!({"n": 1.10})));
    let path = "POST /2015-03-31/functions/resize/invocations?Qualifier=live HTTP/1.1\r\n";
    assert!(request.starts_with(path), "{request}");
    assert!(request.ends_with("\r\n\r\n{\"id\":7}"));
    assert_eq!(header(&request, "x-amz-invocation-type"), Some("RequestResponse"));
    let context = BASE64.decode(header(&request, "x-amz-client-context").unwrap()).unwrap();
    let custom = json!({
        "idempotency-key": "ABCDEFGHIJKLMNOPQRSTUVWXYZ:it",
        "everhook-execution": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        "everhook-attempt": "1",
    });
    assert_eq!(serde_json::from_slice::<Value>(&context).unwrap(), json!({ "custom": custom }));
}

#[tokio::test]
async fn an_error_of_the_function_is_a_failure_although_the_call_succeeded() {
    for (payload, message) in [
        (
            r#"{"errorType": "ValueError", "errorMessage": "canary"}"#,
            "the function resize failed with ValueError; see its log",
        ),
        (r#"{"errorType": "<canary>"}"#, "the function resize failed with canary; see its log"),
        ("canary", "the function resize failed; see its log"),
        ("", "the function resize failed; see its log"),
    ] {
        let options = json!({"function": "resize"});
        let (result, _) = outcome("lambda", options, with_error("Unhandled", payload)).await;
        assert_eq!(result, Err(StepError::retryable("lambda_error", message)));
    }
}

#[tokio::test]
async fn an_event_is_handed_over_and_no_more() {
    let options = json!({"function": "resize", "mode": "event"});
    let head = "HTTP/1.1 202 Accepted\r\nx-amzn-requestid: r-7\r\ncontent-length: 0\r\n\r\n";

    let (result, request) = outcome("lambda", options, head.into()).await;

    assert_eq!(result, Ok(json!({"status": 202, "requestId": "r-7"})));
    assert_eq!(header(&request, "x-amz-invocation-type"), Some("Event"));
}

#[tokio::test]
async fn a_result_that_is_no_json_is_kept_as_text() {
    let run = |body: &'static [u8]| {
        outcome("lambda", json!({"function": "resize"}), answer("200 OK", "text/plain", body))
    };

    assert_eq!(run(b"").await.0, Ok(Value::Null));
    let flagged = |text: &str, why: &str| Ok(json!({"text": text, "notJson": why}));
    assert_eq!(run(b"done").await.0, flagged("done", "is not JSON (line 1, column 1)"));
    let half = "holds half of a surrogate pair (line 1, column 2)";
    assert_eq!(run(br#""\ud83d""#).await.0, flagged(r#""\ud83d""#, half));
    let bytes = json!({"base64": "/w==", "notJson": "is not UTF-8"});
    assert_eq!(run(b"\xff").await.0, Ok(bytes));
}

#[test]
fn a_wrong_definition_is_told_at_its_key() {
    assert_eq!(
        refused("lambda", json!({})),
        DefinitionError::at("function", "`function` is missing")
    );
    for (options, key) in [
        (json!({"function": 1}), "function"),
        (json!({"function": "f", "mode": "later"}), "mode"),
        (json!({"function": "f", "jq": ".a |"}), "jq"),
        (json!({"function": "f", "input": "yaml", "jq": "."}), "input"),
    ] {
        assert_eq!(refused("lambda", options).option.as_deref(), Some(key));
    }
}

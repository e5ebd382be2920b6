use super::super::aws::tests::outcome;
use super::super::loopback::answer;
use super::super::tests::refused;
use super::*;

const PUBLISHED: &[u8] =
    b"<PublishResponse><PublishResult><MessageId>m-1</MessageId></PublishResult></PublishResponse>";

#[tokio::test]
async fn a_message_is_the_body_with_the_idempotency_key_beside_it() {
    let options = json!({
        "topic": "arn:aws:sns:eu-central-1:1:orders.fifo",
        "jq": ".who",
        "subject": r"Order \(.id)",
        "group": "all",
    });

    let (result, request) = outcome("sns", options, answer("200 OK", "text/xml", PUBLISHED)).await;

    assert_eq!(result, Ok(json!({"messageId": "m-1"})));
    let body = request.split_once("\r\n\r\n").unwrap().1;
    for part in [
        "Action=Publish",
        "&Message=Ann&",
        "&Subject=Order%207&",
        "&MessageAttributes.entry.1.Name=idempotency-key&",
        "&MessageAttributes.entry.1.Value.StringValue=ABCDEFGHIJKLMNOPQRSTUVWXYZ%3Ait&",
        "&MessageDeduplicationId=ABCDEFGHIJKLMNOPQRSTUVWXYZ%3Ait&",
        "&MessageGroupId=all",
    ] {
        assert!(body.contains(part), "{part} is not in {body}");
    }
}

#[test]
fn a_wrong_definition_is_told_at_its_key() {
    for (options, key) in [
        (json!({}), "topic"),
        (json!({"topic": "orders"}), "topic"),
        (json!({"topic": "arn:aws:sns:eu-central-1:1:a.fifo"}), "group"),
        (json!({"topic": "arn:aws:sns:eu-central-1:1:a", "deduplication": "a"}), "deduplication"),
        (json!({"topic": "arn:aws:sns:eu-central-1:1:a", "subject": ""}), "subject"),
    ] {
        assert_eq!(refused("sns", options).option.as_deref(), Some(key));
    }
}

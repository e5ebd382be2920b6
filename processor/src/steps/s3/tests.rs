use super::super::aws::tests::outcome;
use super::super::loopback::header;
use super::super::tests::refused;
use super::*;

const PUT: &str = "HTTP/1.1 200 OK\r\netag: \"e-1\"\r\ncontent-length: 0\r\n\r\n";

#[tokio::test]
async fn the_body_is_archived_as_it_was_received() {
    let (result, request) = outcome("s3", json!({"bucket": "archive"}), PUT.into()).await;

    let key = "shop/ABCDEFGHIJKLMNOPQRSTUVWXYZ/it";
    assert_eq!(result, Ok(json!({"bucket": "archive", "key": key, "etag": "e-1"})));
    assert!(request.starts_with(&format!("PUT /archive/{key} HTTP/1.1\r\n")), "{request}");
    assert!(request.ends_with("\r\n\r\n{\"id\": 7, \"who\": \"Ann\"}"));
    assert_eq!(header(&request, "content-type"), Some("application/json"));
    let metadata = header(&request, "x-amz-meta-idempotency-key");
    assert_eq!(metadata, Some("ABCDEFGHIJKLMNOPQRSTUVWXYZ:it"));
}

#[tokio::test]
async fn the_key_may_be_made_of_the_body() {
    let options = json!({"bucket": "archive", "key": r"orders/\(.id).txt", "jq": ".who"});

    let (result, request) = outcome("s3", options, PUT.into()).await;

    assert_eq!(result.unwrap()["key"], "orders/7.txt");
    assert!(request.starts_with("PUT /archive/orders/7.txt HTTP/1.1\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\nAnn"));
}

#[tokio::test]
async fn a_key_cannot_lead_elsewhere() {
    let server = super::super::loopback::Server::answering(PUT).await;
    let step = server.called_by("s3", json!({"bucket": "archive", "key": r"a/\(.id)"}));
    for id in ["../b", "..", ".", "a//b", "/"] {
        let body = json!({ "id": id }).to_string();
        let error = step.run(super::super::tests::input(&body)).await.unwrap_err();
        assert_eq!((error.kind.as_str(), error.retryable), ("invalid", false), "{id}");
    }
    assert!(server.requests.lock().unwrap().is_empty());
}

#[test]
fn a_wrong_definition_is_told_at_its_key() {
    for (options, key) in [
        (json!({}), "bucket"),
        (json!({"bucket": "Archive"}), "bucket"),
        (json!({"bucket": "a/b"}), "bucket"),
        (json!({"bucket": "archive", "key": "a/../b"}), "key"),
        (json!({"bucket": "archive", "key": r"\(nothing)"}), "key"),
    ] {
        assert_eq!(refused("s3", options).option.as_deref(), Some(key));
    }
}

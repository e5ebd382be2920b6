//! The services' own answers, from a server on this machine.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_lambda::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use everhook_journal::environment;
use serde_json::{Value, json};

use super::*;
use crate::step::{Input, Step};
use crate::steps::Steps;
use crate::steps::loopback::{Server, answer};
use crate::steps::tests::{definition, input};

/// A definition of each kind that is right.
pub(in crate::steps) fn right(kind: &str) -> Value {
    match kind {
        "lambda" => json!({"function": "resize"}),
        "sqs" => json!({"queue": "https://sqs.eu-central-1.amazonaws.com/1/orders"}),
        "sns" => json!({"topic": "arn:aws:sns:eu-central-1:1:orders"}),
        "eventbridge" => json!({"source": "everhook", "detail_type": "order"}),
        _ => json!({"bucket": "archive"}),
    }
}

fn settings(url: &str) -> SdkConfig {
    let credentials = Credentials::new("test", "test", None, None, "test");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(environment::https())
        .endpoint_url(url)
        .build()
}

impl Server {
    /// A step whose service is this server.
    pub(in crate::steps) fn called_by(&self, kind: &str, options: Value) -> Arc<dyn Step> {
        let steps = Steps::new().reaching(settings(&self.url), Endpoints::default());
        steps.build(&definition(kind, options)).unwrap()
    }
}

/// What a step of this kind gives, or fails with, when its service answers like this.
pub(in crate::steps) async fn outcome(
    kind: &str,
    options: Value,
    answer: Vec<u8>,
) -> (Result<Value, StepError>, String) {
    let server = Server::answering(answer).await;
    let step = server.called_by(kind, options);
    let result = step.run(input(r#"{"id": 7, "who": "Ann"}"#)).await;
    let request = server.request();
    (result.map(|output| serde_json::from_str(output.get()).unwrap()), request)
}

#[tokio::test]
async fn an_outage_is_tried_again_and_a_refusal_is_not() {
    for kind in KINDS {
        for (status, expected) in [
            ("503 Service Unavailable", ("aws_unavailable", true)),
            ("429 Too Many Requests", ("aws_throttled", true)),
            ("403 Forbidden", ("aws_denied", false)),
            ("404 Not Found", ("aws_missing", false)),
            ("400 Bad Request", ("aws_refused", false)),
        ] {
            let answer = answer(status, "application/json", b"");
            let (result, _) = outcome(kind, right(kind), answer).await;
            let error = result.unwrap_err();
            assert_eq!((error.kind.as_str(), error.retryable), expected, "{kind} {error}");
        }
    }
}

#[tokio::test]
async fn one_attempt_is_one_call() {
    for kind in KINDS {
        let server = Server::answering(answer("503 No", "application/json", b"")).await;
        server.called_by(kind, right(kind)).run(input("{}")).await.unwrap_err();
        assert_eq!(server.requests.lock().unwrap().len(), 1, "{kind}");
    }
}

#[tokio::test]
async fn a_wait_that_a_service_asks_for_is_told() {
    let head = "HTTP/1.1 429 No\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n";
    let (result, _) = outcome("lambda", right("lambda"), head.into()).await;
    assert_eq!(result.unwrap_err().retry_after, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn nobody_there_is_worth_another_attempt() {
    for kind in KINDS {
        let steps = Steps::new().reaching(settings("http://127.0.0.1:9"), Endpoints::default());
        let step = steps.build(&definition(kind, right(kind))).unwrap();
        let error = step.run(input("{}")).await.unwrap_err();
        assert_eq!((error.kind.as_str(), error.retryable), ("connect", true), "{kind} {error}");
    }
}

#[tokio::test]
async fn an_endpoint_of_one_service_goes_before_that_of_all() {
    let server = Server::answering(answer("403 Forbidden", "application/json", b"")).await;
    let url = Some(server.url.clone());
    let endpoints = Endpoints {
        lambda: url.clone(),
        sqs: url.clone(),
        sns: url.clone(),
        eventbridge: url.clone(),
        s3: url,
    };
    let steps = Steps::new().reaching(settings("http://127.0.0.1:9"), endpoints);
    for kind in KINDS {
        let step = steps.build(&definition(kind, right(kind))).unwrap();
        assert_eq!(step.run(input("{}")).await.unwrap_err().kind, "aws_denied", "{kind}");
    }
}

#[tokio::test]
async fn without_a_region_nothing_is_called() {
    let nowhere = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
    let steps = Steps::new().reaching(nowhere, Endpoints::default());
    for kind in KINDS {
        let step = steps.build(&definition(kind, right(kind))).unwrap();
        let error = step.run(Input { ..input("{}") }).await.unwrap_err();
        let words = "there is no AWS region; set AWS_REGION";
        assert_eq!(error, StepError::fatal("aws_region", words), "{kind}");
    }
}

#[tokio::test]
async fn without_credentials_an_attempt_says_so() {
    #[derive(Debug)]
    struct Nobody;
    impl aws_sdk_lambda::config::ProvideCredentials for Nobody {
        fn provide_credentials<'a>(
            &'a self,
        ) -> aws_credential_types::provider::future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            let error = aws_credential_types::provider::error::CredentialsError::not_loaded(
                "nobody is here",
            );
            aws_credential_types::provider::future::ProvideCredentials::ready(Err(error))
        }
    }
    let nobody = settings("http://127.0.0.1:9")
        .into_builder()
        .credentials_provider(SharedCredentialsProvider::new(Nobody))
        .build();
    let steps = Steps::new().reaching(nobody, Endpoints::default());
    for kind in KINDS {
        let step = steps.build(&definition(kind, right(kind))).unwrap();
        let error = step.run(input("{}")).await.unwrap_err();
        assert_eq!((error.kind.as_str(), error.retryable), ("aws_credentials", true), "{kind}");
        assert!(error.message.contains("nobody is here"), "{error}");
    }
}

/// What a step of this kind records of its call, which gets no answer.
async fn recorded(kind: &str, options: Value) -> Value {
    let steps = Steps::new().reaching(settings("http://127.0.0.1:9"), Endpoints::default());
    let step = steps.build(&definition(kind, options)).unwrap();
    let input = input(r#"{"id": 7, "who": "Ann"}"#);
    step.run(input.clone()).await.unwrap_err();
    serde_json::to_value(input.recorded_request()).unwrap()
}

#[tokio::test]
async fn a_call_is_recorded_also_without_an_answer() {
    let key = "ABCDEFGHIJKLMNOPQRSTUVWXYZ:it";
    for (kind, options, expected) in [
        (
            "lambda",
            json!({"function": "resize", "qualifier": "live", "jq": "{id}"}),
            json!({
                "method": "Invoke",
                "url": "resize:live",
                "headers": {
                    "InvocationType": "RequestResponse",
                    "everhook-attempt": "1",
                    "everhook-execution": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
                    "idempotency-key": key,
                },
                "body": {"text": r#"{"id":7}"#},
            }),
        ),
        (
            "sqs",
            json!({"queue": "https://q/1/orders", "delay": "1m"}),
            json!({
                "method": "SendMessage",
                "url": "https://q/1/orders",
                "headers": {"DelaySeconds": "60", "idempotency-key": key},
                "body": "webhook",
            }),
        ),
        (
            "sqs",
            json!({"queue": "https://q/1/a.fifo", "group": r"order-\(.id)", "jq": ".who"}),
            json!({
                "method": "SendMessage",
                "url": "https://q/1/a.fifo",
                "headers": {
                    "MessageDeduplicationId": key,
                    "MessageGroupId": "order-7",
                    "idempotency-key": key,
                },
                "body": {"text": "Ann"},
            }),
        ),
        (
            "sns",
            json!({
                "topic": "arn:aws:sns:eu-central-1:1:orders",
                "subject": r"Order \(.id)",
                "jq": ".who",
            }),
            json!({
                "method": "Publish",
                "url": "arn:aws:sns:eu-central-1:1:orders",
                "headers": {"Subject": "Order 7", "idempotency-key": key},
                "body": {"text": "Ann"},
            }),
        ),
        (
            "eventbridge",
            json!({"source": "shop", "detail_type": r"order \(.id)"}),
            json!({
                "method": "PutEvents",
                "url": "default",
                "headers": {"Source": "shop", "DetailType": "order 7"},
                "body": "webhook",
            }),
        ),
        (
            "s3",
            json!({"bucket": "archive", "key": r"orders/\(.id).txt", "jq": ".who"}),
            json!({
                "method": "PutObject",
                "url": "s3://archive/orders/7.txt",
                "headers": {"content-type": "text/plain; charset=utf-8", "idempotency-key": key},
                "body": {"text": "Ann"},
            }),
        ),
    ] {
        assert_eq!(recorded(kind, options).await, expected, "{kind}");
    }
    // Without the queue's URL no message is sent.
    assert_eq!(recorded("sqs", json!({"queue": "orders"})).await, Value::Null);
}

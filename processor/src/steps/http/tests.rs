use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::super::loopback::{Server, answer, header};
use super::super::tests::{definition, input, refused};
use super::answer::BODY_BYTES_MAX;
use super::*;
use crate::expression::place::{self, Place};
use crate::steps::{Steps, template};

impl Server {
    fn step(&self, mut options: Value) -> Arc<dyn Step> {
        options["url"] = format!("{}/hooks?key=1", self.url).into();
        let steps = Steps::new().allowing(&["127.0.0.1".into()]);
        steps.build(&definition("http", options)).unwrap()
    }
}

fn http(definition: &StepDefinition) -> Http {
    let (hosts, clients) = (PrivateHosts::default(), Arc::default());
    Http::new(definition, &hosts, &clients, &Secrets::default()).unwrap()
}

/// The result without its duration.
async fn result(step: &Arc<dyn Step>, input: Input) -> Value {
    let output = step.run(input).await.unwrap();
    let mut result: Value = serde_json::from_str(output.get()).unwrap();
    let duration = result.as_object_mut().unwrap().remove("durationMs").unwrap();
    assert!(duration.is_u64());
    result
}

#[tokio::test]
async fn the_webhook_is_posted_as_it_was_received() {
    let server = Server::answering(answer("200 OK", "application/json", br#"{"id":1}"#)).await;

    let result = result(&server.step(json!({})), input(r#"{ "amount": 1.10 }"#)).await;

    assert_eq!(result, json!({"status": 200, "body": {"id": 1}}));
    let request = server.request();
    assert!(request.starts_with("POST /hooks?key=1 HTTP/1.1\r\n"));
    assert!(request.ends_with("\r\n\r\n{ \"amount\": 1.10 }"));
    assert_eq!(header(&request, "content-type"), Some("application/json"));
    assert_eq!(header(&request, "idempotency-key"), Some("ABCDEFGHIJKLMNOPQRSTUVWXYZ:it"));
    assert_eq!(header(&request, "everhook-execution"), Some("ABCDEFGHIJKLMNOPQRSTUVWXYZ"));
    assert_eq!(header(&request, "everhook-attempt"), Some("1"));
    assert_eq!(header(&request, "user-agent"), Some("everhook/0.1.0"));
    assert_eq!(header(&request, "accept-encoding"), None);
}

#[tokio::test]
async fn the_previous_result_is_posted_as_it_was_written() {
    let server = Server::answering(answer("204 No Content", "text/plain", b"")).await;
    let step = server.step(json!({"body": "previous", "headers": {"X-Team": "billing"}}));
    let mut input = input("webhook");
    let name = everhook_journal::StepName::new("before");
    input.outputs = Arc::new(vec![(name, r#"{"amount":1.10}"#.into())]);

    let result = result(&step, input).await;

    assert_eq!(result, json!({"status": 204, "body": ""}));
    let request = server.request();
    assert!(request.ends_with("\r\n\r\n{\"amount\":1.10}"));
    assert_eq!(header(&request, "content-type"), Some("application/json"));
    assert_eq!(header(&request, "x-team"), Some("billing"));
}

#[tokio::test]
async fn without_a_step_before_there_is_nothing_to_post() {
    let server = Server::answering("").await;
    let error = server.step(json!({"body": "previous"})).run(input("{}")).await.unwrap_err();
    assert_eq!(error, StepError::fatal("invalid", "there is no step before this one"));
}

#[tokio::test]
async fn all_attempts_have_one_idempotency_key() {
    let server =
        Server::answering(answer("503 Service Unavailable", "text/plain", b"canary")).await;
    let step = server.step(json!({}));

    for attempt in 1..=3 {
        let error = step.run(Input { attempt, ..input("{}") }).await.unwrap_err();
        let message = "127.0.0.1 answered 503 Service Unavailable";
        assert_eq!(error, StepError::retryable("http_503", message));
    }

    let requests = server.requests.lock().unwrap().clone();
    let each =
        |name: &str| -> Vec<_> { requests.iter().map(|r| header(r, name).unwrap()).collect() };
    assert_eq!(each("idempotency-key"), ["ABCDEFGHIJKLMNOPQRSTUVWXYZ:it"; 3]);
    assert_eq!(each("everhook-attempt"), ["1", "2", "3"]);
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn every_answer_but_a_success_is_worth_another_attempt() {
    for status in
        ["400 Bad Request", "404 Not Found", "409 Conflict", "429 Too Many Requests", "500 No"]
    {
        let server = Server::answering(answer(status, "text/plain", b"")).await;
        let error = server.step(json!({})).run(input("{}")).await.unwrap_err();
        assert_eq!(error.kind, format!("http_{}", &status[..3]));
        assert!(error.retryable, "{status}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let target = Server::answering(answer("200 OK", "text/plain", b"")).await;
    let redirect =
        format!("HTTP/1.1 307 Go\r\nlocation: {}/\r\ncontent-length: 0\r\n\r\n", target.url);
    let server = Server::answering(redirect).await;

    let error = server.step(json!({})).run(input("{}")).await.unwrap_err();

    assert_eq!((error.kind.as_str(), error.retryable), ("http_307", true));
    assert!(error.message.ends_with("; redirects are not followed"));
    assert_eq!(target.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_server_that_hangs_times_out() {
    let short = || Input { timeout: Duration::from_millis(100), ..input("{}") };

    let server = Server::answering("").await;
    let error = server.step(json!({})).run(short()).await.unwrap_err();
    assert_eq!(error, StepError::retryable("timeout", "127.0.0.1 did not answer in time"));

    let server = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await;
    let error = server.step(json!({})).run(short()).await.unwrap_err();
    assert_eq!(error.kind, "timeout");
}

#[tokio::test]
async fn nobody_there_is_worth_another_attempt() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let steps = Steps::new().allowing(&["127.0.0.1".into()]);
    let step = steps.build(&definition("http", json!({ "url": url }))).unwrap();

    let error = step.run(input("{}")).await.unwrap_err();

    assert_eq!((error.kind.as_str(), error.retryable), ("connect", true));
    assert!(error.message.contains("refused"), "{error}");
}

#[tokio::test]
async fn an_answer_is_kept_as_json_or_text_or_base64() {
    for (content_type, body, expected) in [
        ("application/json", &br#"{"a":[1]}"#[..], json!({"status": 200, "body": {"a": [1]}})),
        ("application/problem+json; charset=utf-8", b"1", json!({"status": 200, "body": 1})),
        (
            "application/json",
            b"{",
            json!({
                "status": 200, "body": "{",
                "notJson": "ends too early to be JSON (line 1, column 1)",
            }),
        ),
        ("text/plain", b"{}", json!({"status": 200, "body": "{}"})),
        ("text/plain", b"a\xff", json!({"status": 200, "body": "Yf8=", "bodyEncoding": "base64"})),
        ("text/plain", b"a\0", json!({"status": 200, "body": "YQA=", "bodyEncoding": "base64"})),
    ] {
        let server = Server::answering(answer("200 OK", content_type, body)).await;
        assert_eq!(result(&server.step(json!({})), input("{}")).await, expected);
    }
}

#[tokio::test]
async fn numbers_in_an_answer_stay_as_they_are_written() {
    let body = br#"{"a":1.10,"b":12345678901234567890123}"#;
    let server = Server::answering(answer("200 OK", "application/json", body)).await;
    let output = server.step(json!({})).run(input("{}")).await.unwrap();
    assert!(output.get().contains(std::str::from_utf8(body).unwrap()));
}

#[tokio::test]
async fn a_large_answer_is_cut() {
    let server = |length: usize| async move {
        let body = "é".repeat(length / 2) + &"a".repeat(length % 2);
        Server::answering(answer("200 OK", "application/json", body.as_bytes())).await
    };
    for (length, kept, truncated) in [
        (BODY_BYTES_MAX - 1, BODY_BYTES_MAX - 1, Value::Null),
        (BODY_BYTES_MAX, BODY_BYTES_MAX, Value::Null),
        (BODY_BYTES_MAX + 1, BODY_BYTES_MAX, Value::Bool(true)),
        (10_000_000, BODY_BYTES_MAX, Value::Bool(true)),
    ] {
        let result = result(&server(length).await.step(json!({})), input("{}")).await;
        assert_eq!(result["body"].as_str().unwrap().len(), kept);
        assert_eq!(result["truncated"], truncated);
    }
    let odd = ["a", &"é".repeat(BODY_BYTES_MAX)].concat();
    let server = Server::answering(answer("200 OK", "text/plain", odd.as_bytes())).await;
    let result = result(&server.step(json!({})), input("{}")).await;
    assert_eq!(result["body"].as_str().unwrap().len(), BODY_BYTES_MAX - 1);
}

#[tokio::test]
async fn the_largest_answer_is_no_larger_than_a_result() {
    for body in [vec![b'"'; BODY_BYTES_MAX + 1], vec![1; BODY_BYTES_MAX + 1]] {
        let server = Server::answering(answer("200 OK", "text/plain", &body)).await;
        let output = server.step(json!({})).run(input("{}")).await.unwrap();
        assert!(output.get().len() < crate::steps::RESULT_BYTES_MAX);
    }
}

#[tokio::test]
async fn an_address_that_is_not_allowed_is_never_connected_to() {
    let server = Server::answering(answer("200 OK", "text/plain", b"")).await;
    let error = refused("http", json!({ "url": server.url }));
    let words = "the destination 127.0.0.1 is not public; name it in private_hosts to allow it";
    assert_eq!(error, DefinitionError::at("url", words));

    // The same for a definition that was built while it was allowed.
    let allowed = PrivateHosts::new(&["127.0.0.1".into()]);
    let definition = definition("http", json!({ "url": server.url }));
    let mut step = Http::new(&definition, &allowed, &Arc::default(), &Secrets::default()).unwrap();
    step.private_hosts = PrivateHosts::default();
    let error = step.run(input("{}")).await.unwrap_err();
    assert_eq!(error, StepError::fatal("refused", words));

    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_public_name_that_leads_to_this_machine_is_never_connected_to() {
    let server = Server::answering(answer("200 OK", "text/plain", b"")).await;
    let clients = Clients::default();
    let definition = definition("http", json!({"url": "https://example.com/"}));
    let step = http(&definition);

    let url = format!("https://localhost:{}/", server.port());
    let error = clients.get().unwrap().public.post(url).send().await.unwrap_err();

    let words = "the destination localhost is not public; name it in private_hosts to allow it";
    assert_eq!(step.failure(&error), StepError::fatal("refused", words));
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_named_host_is_resolved_as_this_machine_does() {
    let server = Server::answering(answer("200 OK", "text/plain", b"ok")).await;
    let steps = Steps::new().allowing(&[format!("localhost:{}", server.port())]);
    let url = format!("http://localhost:{}/", server.port());
    let step = steps.build(&definition("http", json!({ "url": url }))).unwrap();
    assert_eq!(result(&step, input("{}")).await, json!({"status": 200, "body": "ok"}));
}

#[test]
fn a_wrong_definition_is_told_at_its_key() {
    let url = "https://example.com/";
    for (options, key, message) in [
        (json!({}), "url", "`url` is missing"),
        (json!({"url": "example.com"}), "url", "`url` is not a URL: relative URL without a base"),
        (
            json!({"url": "http://example.com"}),
            "url",
            "the destination example.com must be called by https; name it in private_hosts to allow http",
        ),
        (
            json!({"url": url, "body": "all"}),
            "body",
            "`body` is one of \"webhook\", \"previous\", not \"all\"",
        ),
        (json!({"url": url, "headers": "a: b"}), "headers", "`headers` must be a table of texts"),
        (json!({"url": url, "headers": {"a b": "c"}}), "headers", "`a b` is no header's name"),
        (json!({"url": url, "headers": {"a": 1}}), "headers", "`a` has no header's value"),
        (
            json!({"url": url, "headers": {"a": "b\r\nc: d"}}),
            "headers",
            "`a` has no header's value",
        ),
        (
            json!({"url": url, "headers": {"Host": "a"}}),
            "headers",
            "`Host` is written by the step itself",
        ),
    ] {
        assert_eq!(refused("http", options), DefinitionError::at(key, message));
    }
    for name in headers::OWN {
        assert_eq!(
            refused("http", json!({"url": url, "headers": {name: "a"}})).option.as_deref(),
            Some("headers")
        );
    }
}

#[test]
fn a_step_shows_no_keys() {
    let definition = definition(
        "http",
        json!({"url": "https://example.com/canary", "headers": {"a": "canary"}}),
    );
    let step = http(&definition);
    assert_eq!(format!("{step:?}"), "Http(POST to example.com)");
}

#[tokio::test]
async fn the_method_and_what_is_sent_are_as_the_definition_says() {
    let server = Server::answering(answer("200 OK", "text/plain", b"")).await;
    let body = r#"{"id": 7, "who": "Ann"}"#;
    for (options, line, kind, sent) in [
        (json!({"method": "PUT"}), "PUT", Some("application/json"), body),
        (
            json!({"method": "PATCH", "jq": "{id}"}),
            "PATCH",
            Some("application/json"),
            r#"{"id":7}"#,
        ),
        (json!({"jq": ".who"}), "POST", Some("text/plain; charset=utf-8"), "Ann"),
        (json!({"method": "GET"}), "GET", None, ""),
        (json!({"method": "DELETE"}), "DELETE", None, ""),
        (json!({"method": "DELETE", "jq": ".id"}), "DELETE", Some("application/json"), "7"),
    ] {
        result(&server.step(options), input(body)).await;

        let request = server.request();
        assert!(request.starts_with(&format!("{line} /hooks?key=1 HTTP/1.1\r\n")), "{request}");
        assert_eq!(header(&request, "content-type"), kind);
        assert_eq!(header(&request, "idempotency-key"), Some("ABCDEFGHIJKLMNOPQRSTUVWXYZ:it"));
        assert_eq!(request.split_once("\r\n\r\n").unwrap().1, sent);
    }
}

#[tokio::test]
async fn a_wait_that_is_asked_for_is_told_up_to_an_hour() {
    for (asked, expected) in [
        ("120", Some(120)),
        ("86400", Some(3600)),
        ("Tue, 24 Nov 2026 02:21:45 GMT", Some(59)),
        ("soon", None),
    ] {
        let head = format!("HTTP/1.1 429 No\r\nretry-after: {asked}\r\ncontent-length: 0\r\n\r\n");
        let server = Server::answering(head).await;
        let error = server.step(json!({})).run(input("{}")).await.unwrap_err();
        let told = error.retry_after.map(|wait| wait.as_secs());
        assert_eq!((error.kind.as_str(), told), ("http_429", expected), "{asked}");
    }
}

#[test]
fn what_get_cannot_send_is_refused() {
    for (options, key) in [
        (json!({"method": "GET", "body": "webhook"}), "body"),
        (json!({"method": "GET", "jq": "."}), "jq"),
        (json!({"method": "get"}), "method"),
        (json!({"jq": ".", "body": "webhook"}), "body"),
        (json!({"limit": {}}), "limit"),
        (json!({"sign": {}}), "sign"),
    ] {
        let mut options = options;
        options["url"] = "https://example.com/".into();
        assert_eq!(refused("http", options).option.as_deref(), Some(key));
    }
}

/// The step with this path and query behind the server's address.
fn templated(server: &Server, rest: &str) -> Arc<dyn Step> {
    let options = json!({ "url": format!("{}{rest}", server.url), "method": "GET" });
    let steps = Steps::new().allowing(&["127.0.0.1".into()]);
    steps.build(&definition("http", options)).unwrap()
}

#[tokio::test]
async fn a_value_in_a_url_stays_one_part_of_it() {
    let template = r"/users/\(.id)/\(.n)?note=\(.note)&fixed=1";
    for (body, path) in [
        (r#"{"id":"ada","n":7,"note":"x"}"#, "/users/ada/7?note=x&fixed=1"),
        (r#"{"id":"a/b","n":1.50,"note":"x&y=z"}"#, "/users/a%2Fb/1.50?note=x%26y%3Dz&fixed=1"),
        (r#"{"id":"?#","n":-1,"note":"a b+c"}"#, "/users/%3F%23/-1?note=a%20b%2Bc&fixed=1"),
        (r#"{"id":"%2e%2e","n":0,"note":""}"#, "/users/%252e%252e/0?note=&fixed=1"),
        (
            r#"{"id":"é\r\nX: y","n":0,"note":"\\"}"#,
            "/users/%C3%A9%0D%0AX%3A%20y/0?note=%5C&fixed=1",
        ),
        (r#"{"id":"a..b","n":0,"note":".."}"#, "/users/a..b/0?note=..&fixed=1"),
        (r#"{"id":["a"],"n":true,"note":false}"#, "/users/%5B%22a%22%5D/true?note=false&fixed=1"),
        (r#"{"id":"null","n":[null],"note":"x"}"#, "/users/null/%5Bnull%5D?note=x&fixed=1"),
    ] {
        let server = Server::answering(answer("200 OK", "text/plain", b"")).await;
        templated(&server, template).run(input(body)).await.unwrap();
        let request = server.request();
        let line = request.lines().next().unwrap();
        assert_eq!(line, format!("GET {path} HTTP/1.1"), "{body}");
    }
}

#[tokio::test]
async fn a_value_that_would_lead_to_another_path_is_refused() {
    let server = Server::answering(answer("200 OK", "text/plain", b"")).await;
    for id in [r#""..""#, r#"".""#] {
        let body = format!(r#"{{"id":{id}}}"#);
        let step = templated(&server, r"/users/\(.id)/keys");
        let error = step.run(input(&body)).await.unwrap_err();
        assert_eq!((error.kind.as_str(), error.retryable), ("invalid", false), "{id}");
    }
    let error = templated(&server, r"/a/.\(.id)/b").run(input(r#"{"id":"."}"#)).await.unwrap_err();
    assert_eq!(error.kind, "invalid");
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_empty_value_leads_to_no_other_place() {
    let server = Server::answering(answer("204 No Content", "text/plain", b"")).await;
    let told = "`url` gives a path with an empty value in it, which leads elsewhere";
    for template in [
        r"/users/\(.id)",
        r"/users/\(.id)/",
        r"/users/\(.id)/keys",
        r"/\(.id)?a=1",
        r"/users/\(.id)#a",
        r"/users/\(.id)\(.id)/keys",
        r"/users\/\(.id)",
        r"/a\\\(.id)\\b",
        r"/\(.n)/\(.id)",
    ] {
        let step = templated(&server, template);
        let error = step.run(input(r#"{"id":"","n":1}"#)).await.unwrap_err();
        assert_eq!(error, StepError::fatal("invalid", told), "{template}");
    }
    for (template, called) in [
        (r"/users/\(.n)", "/users/1"),
        (r"/users/x\(.id)/a", "/users/x/a"),
        (r"/users/\(.id)\(.n)/a", "/users/1/a"),
        (r"/users?id=\(.id)", "/users?id="),
        (r"/users//\(.n)/", "/users//1/"),
    ] {
        templated(&server, template).run(input(r#"{"id":"","n":1}"#)).await.unwrap();
        assert!(server.request().starts_with(&format!("GET {called} HTTP/1.1")), "{template}");
    }
}

#[tokio::test]
async fn a_value_that_is_null_leads_nowhere() {
    let server = Server::answering(answer("204 No Content", "text/plain", b"")).await;
    let told = "jq: a value in the URL is null";
    for template in [
        r"/users/\(.id)",
        r"/users/\(.missing)/keys",
        r"/users/x\(.id)",
        r"/users?id=\(.id)",
        r"/users/\(.n)/\(.id)",
        r"/\($webhook.type)/\(.id | .)",
    ] {
        let step = templated(&server, template);
        let error = step.run(input(r#"{"id":null,"n":1}"#)).await.unwrap_err();
        assert_eq!(error, StepError::fatal("invalid", told), "{template}");
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
    let step = templated(&server, r#"/users?id=\(.id // "")"#);
    step.run(input(r#"{"id":null}"#)).await.unwrap();
    assert!(server.request().starts_with("GET /users?id= HTTP/1.1"));
}

#[test]
fn a_url_of_three_values_is_computed_in_this_process() {
    let code = template::url_code(r"https://example.com/\(.a)/\(.b)?c=\(.c)").unwrap();
    assert_eq!(place::of(&code), Place::Here);
}

#[tokio::test]
async fn a_computed_host_is_judged_as_any_other() {
    let steps = Steps::new();
    for (url, body) in [
        (r"https://\(.host)/a", r#"{"host":"127.0.0.1"}"#),
        (r"https://\(.host)/a", r#"{"host":"canary.internal"}"#),
        (r"https://\(.host).localhost/a", r#"{"host":"canary"}"#),
        (r"https://api.\(.host)", r#"{"host":"local"}"#),
        (r"http://\(.host)/a", r#"{"host":"example.com"}"#),
        (r"https://example.com:\(.host)/a", r#"{"host":"22"}"#),
        (r"https://\(.host)/a", r#"{"host":"a@127.0.0.1"}"#),
        (r"https://\(.host)/a", r#"{"host":"127.0.0.1:1/"}"#),
        (r"https://\(.host)/a", r#"{"host":"2130706433"}"#),
        (r"https://\(.host)", r#"{"host":""}"#),
    ] {
        let step = steps.build(&definition("http", json!({ "url": url }))).unwrap();
        let error = step.run(input(body)).await.unwrap_err();
        assert!(matches!(error.kind.as_str(), "refused" | "invalid"), "{url} {body}: {error:?}");
        assert!(!error.retryable && !error.message.contains("canary"), "{url}: {error:?}");
    }
}

#[test]
fn a_url_with_expressions_is_checked_as_far_as_it_is_known() {
    for (url, why) in [
        (r"https://127.0.0.1/\(.id)", "is not public"),
        (r"http://example.com/\(.id)", "must be called by https"),
        (r"https://localhost?id=\(.id)", "is not public"),
        (r"\(.url)", "before any"),
        (r"https\(.rest)", "before any"),
        (r"ftp://example.com/\(.id)", "https://"),
        (r"https://example.com/\(.id", "line 1"),
        (r"https://example.com/\(nothing)", "there is no function"),
    ] {
        let error = refused("http", json!({ "url": url }));
        assert_eq!(error.option.as_deref(), Some("url"), "{url}");
        assert!(error.message.contains(why), "{url}: {}", error.message);
    }
    http(&definition("http", json!({ "url": r"https://example.com/\(.id)?q=\($webhook.type)" })));
}

#[tokio::test]
async fn a_success_with_many_headers_is_a_success() {
    let headers: String = (0..500).map(|n| format!("x-{n}: {n}\r\n")).collect();
    let text = format!("HTTP/1.1 200 OK\r\n{headers}content-length: 2\r\n\r\nok");
    let server = Server::answering(text.as_str()).await;
    let result = result(&server.step(json!({})), input("{}")).await;
    assert_eq!(result, json!({"status": 200, "body": "ok"}));
}

#[tokio::test]
async fn an_answer_that_says_it_is_json_and_is_not_is_kept_as_text_with_the_reason() {
    let deep = "[".repeat(127) + &"]".repeat(127);
    for (body, why) in [
        (&br#"{"a":"\ud83d"}"#[..], "holds half of a surrogate pair (line 1, column 7)"),
        (b"{", "ends too early to be JSON (line 1, column 1)"),
        (b"1e400", "holds a number beyond the range of a float (line 1, column 1)"),
        (deep.as_bytes(), "is nested more than 126 deep"),
    ] {
        let server = Server::answering(answer("200 OK", "application/json", body)).await;
        let result = result(&server.step(json!({})), input("{}")).await;
        let text = std::str::from_utf8(body).unwrap();
        assert_eq!(result, json!({"status": 200, "body": text, "notJson": why}));
    }
    let server = Server::answering(answer("200 OK", "application/json", b"\"\xff\"")).await;
    let told = result(&server.step(json!({})), input("{}")).await;
    assert_eq!(told["notJson"], "is not UTF-8");
    assert_eq!(told["bodyEncoding"], "base64");
    // Nothing at all is no JSON, and nobody takes it for any.
    let server = Server::answering(answer("204 No Content", "application/json", b"")).await;
    assert_eq!(
        result(&server.step(json!({})), input("{}")).await,
        json!({"status": 204, "body": ""})
    );
}

/// What is recorded of the call of a step with these keys.
async fn recorded(url: &str, mut options: Value, input: Input) -> Value {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("key"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let secrets = Secrets::new(folder.path().to_owned(), None);
    options["url"] = url.into();
    let steps = Steps::new().allowing(&["127.0.0.1".into()]).reading(secrets);
    let step = steps.build(&definition("http", options)).unwrap();
    let _ = step.run(input.clone()).await;
    serde_json::to_value(input.recorded_request()).unwrap()
}

#[tokio::test]
async fn a_call_is_recorded_without_its_credentials() {
    let server = Server::answering(answer("200 OK", "text/plain", b"")).await;
    let options = json!({
        "jq": "{id}",
        "headers": {
            "Authorization": "Bearer canary",
            "X-Api-Key": "canary",
            "X-Copy": "key=MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "X-Team": "billing",
        },
        "sign": {"secrets": ["file:key"]},
    });
    let url = format!("{}/hooks?api_key=canary&page=1", server.url);

    let recorded = recorded(&url, options, input(r#"{"id": 7, "who": "Ann"}"#)).await;

    let expected = json!({
        "method": "POST",
        "url": format!("{}/hooks?api_key=…&page=1", server.url),
        "headers": {
            "authorization": null,
            "content-type": "application/json",
            "everhook-attempt": "1",
            "everhook-execution": "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
            "idempotency-key": "ABCDEFGHIJKLMNOPQRSTUVWXYZ:it",
            "webhook-id": "ABCDEFGHIJKLMNOPQRSTUVWXYZ:it",
            "webhook-signature": null,
            "webhook-timestamp": "1795486845",
            "x-api-key": null,
            "x-copy": null,
            "x-team": "billing",
        },
        "body": {"text": r#"{"id":7}"#},
    });
    assert_eq!(recorded, expected);
    let request = server.request();
    assert_eq!(header(&request, "authorization"), Some("Bearer canary"));
    let signature = header(&request, "webhook-signature").unwrap();
    assert!(signature.starts_with("v1,") && !recorded.to_string().contains(&signature[3..]));
}

#[tokio::test]
async fn a_call_without_an_answer_is_recorded() {
    let server = Server::answering("").await;
    let short = || Input { timeout: Duration::from_millis(100), ..input("{}") };
    for url in [&server.url, "http://127.0.0.1:9"] {
        let recorded = recorded(&format!("{url}/a"), json!({}), short()).await;
        assert_eq!(recorded["url"], format!("{url}/a"));
        assert_eq!(recorded["body"], "webhook");
    }
}

#[tokio::test]
async fn a_call_is_recorded_as_it_was_made() {
    let server = Server::answering(answer("200 OK", "text/plain", b"")).await;
    let url = format!(r"{}/users/\(.id)?note=\(.note)", server.url);
    let body = r#"{"id": 7, "note": "a&b"}"#;
    for (options, method, sent) in [
        (json!({"method": "GET"}), "GET", Value::Null),
        (json!({"method": "DELETE"}), "DELETE", Value::Null),
        (json!({"method": "PUT"}), "PUT", json!("webhook")),
        (json!({"body": "previous"}), "POST", json!({"result": "before"})),
        (json!({"jq": "$steps.before"}), "POST", json!({"result": "before"})),
        (json!({"jq": ".note"}), "POST", json!({"text": "a&b"})),
    ] {
        let name = everhook_journal::StepName::new("before");
        let outputs = Arc::new(vec![(name, r#"{"n":1}"#.into())]);
        let recorded = recorded(&url, options, Input { outputs, ..input(body) }).await;
        assert_eq!(recorded["method"], method);
        assert_eq!(recorded["url"], format!("{}/users/7?note=a%26b", server.url));
        assert_eq!(recorded["body"], sent);
    }
}

#[tokio::test]
async fn what_is_not_sent_is_not_recorded() {
    let url = "http://127.0.0.1:9";
    let failing = json!({"jq": "error"});
    assert_eq!(recorded(url, failing, input("{}")).await, Value::Null);
    let refused =
        recorded(r"https://\(.host)/", json!({}), input(r#"{"host": "127.0.0.2"}"#)).await;
    assert_eq!(refused, Value::Null);
}

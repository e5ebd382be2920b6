use everhook_journal::StepName;

use super::*;

/// What is recorded of a request in an attempt like this.
fn recorded(input: &Input, request: Outgoing) -> OutgoingRequest {
    input.record_request(request);
    input.recorded_request().unwrap().clone()
}

fn to_url(url: &str) -> String {
    recorded(&Input::sample("{}"), Outgoing::new("GET", url)).url
}

fn body_of(input: &Input, body: impl Into<Bytes>) -> OutgoingBody {
    recorded(input, Outgoing::new("POST", "https://example.com/").body(body)).body.unwrap()
}

/// An attempt of a step some of whose texts are hidden.
fn hiding(hidden: Hidden) -> Input {
    Input { recorder: Recorder::new(true, hidden), ..Input::sample("{}") }
}

#[test]
fn the_first_request_is_recorded() {
    let input = Input::sample("{}");
    input.record_request(Outgoing::new("GET", "https://example.com/first"));
    input.record_request(Outgoing::new("GET", "https://example.com/second"));
    assert_eq!(input.recorded_request().unwrap().url, "https://example.com/first");
    assert_eq!(Input::sample("{}").recorded_request(), None);
}

#[test]
fn nothing_is_recorded_where_that_is_turned_off() {
    let recorder = Recorder::new(false, Hidden::default());
    let input = Input { recorder, ..Input::sample("{}") };
    input.record_request(Outgoing::new("GET", "https://example.com/"));
    assert_eq!(input.recorded_request(), None);
}

#[test]
fn values_of_credentials_are_left_out_of_headers() {
    for name in [
        "authorization",
        "Proxy-Authorization",
        "Cookie",
        "X-API-Key",
        "x_api_key",
        "webhook-signature",
        "X-Hub-Signature-256",
        "X-Auth",
        "X-Amz-Security-Token",
    ] {
        let request = Outgoing::new("GET", "https://example.com/").header(name, "canary");
        let headers = recorded(&Input::sample("{}"), request).headers;
        assert_eq!(headers, BTreeMap::from([(name.to_owned(), None)]));
    }
    for name in ["idempotency-key", "content-type", "webhook-id", "X-Team", "MessageGroupId"] {
        let request = Outgoing::new("GET", "https://example.com/").header(name, "kept");
        let headers = recorded(&Input::sample("{}"), request).headers;
        assert_eq!(headers, BTreeMap::from([(name.to_owned(), Some("kept".to_owned()))]));
    }
}

#[test]
fn credentials_are_left_out_of_urls() {
    for (url, expected) in [
        ("https://example.com/a?b=1", "https://example.com/a?b=1"),
        ("https://user:canary@example.com/a", "https://example.com/a"),
        ("postgres://user:canary@example.com/a", "postgres://example.com/a"),
        ("https://example.com/a?b=1&api_key=canary&c", "https://example.com/a?b=1&api_key=…&c"),
        ("https://example.com/?%74oken=canary&sig=canary", "https://example.com/?%74oken=…&sig=…"),
        ("https://example.com/a?b=1#canary", "https://example.com/a?b=1"),
        ("s3://archive/a b/#7?c", "s3://archive/a b/#7?c"),
        ("arn:aws:sns:eu-central-1:1:orders", "arn:aws:sns:eu-central-1:1:orders"),
        ("resize:live", "resize:live"),
    ] {
        assert_eq!(to_url(url), expected);
    }
}

#[test]
fn a_text_that_holds_a_secret_is_left_out() {
    let secret = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let encoded = BASE64.encode(secret);
    for text in [secret.to_owned(), format!("before-{secret}"), format!("{encoded}==")] {
        let request = Outgoing::new("POST", format!("https://example.com/{text}"))
            .header("x-team", &text)
            .header(text.as_str(), "a")
            .body(format!("a {text} b"))
            .knowing(secret);
        let recorded = recorded(&Input::sample("{}"), request);
        assert_eq!(recorded.url, "https://example.com/…");
        assert_eq!(recorded.headers, BTreeMap::from([("x-team".to_owned(), None)]));
        assert_eq!(recorded.more_headers, 1);
        assert!(matches!(recorded.body, Some(OutgoingBody::Omitted { .. })), "{text}");
        assert!(!serde_json::to_string(&recorded).unwrap().contains(&text));
    }
}

#[test]
fn the_address_of_a_callback_is_left_out() {
    let token = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let asked = || Input::sample("{}").with_callback(&format!("https://example.com/{token}"));
    let body = body_of(&asked(), format!("{{\"answerTo\":\"https://example.com/{token}\"}}"));
    assert!(matches!(body, OutgoingBody::Omitted { bytes: 67, .. }), "{body:?}");
    for host in [token.to_owned(), token.to_lowercase()] {
        let request = Outgoing::new("GET", format!("https://{host}.example.com/a"));
        assert_eq!(recorded(&asked(), request).url, "…");
    }
    let request = Outgoing::new("GET", format!("https://example.com?to={token}"));
    assert_eq!(recorded(&asked(), request).url, "https://example.com/…");
    assert_eq!(body_of(&asked(), "no token"), OutgoingBody::Text("no token".into()));
}

#[test]
fn what_may_hold_the_address_of_a_callback_in_disguise_is_hidden() {
    let body = Hidden { body: true, others: false };
    assert!(matches!(body_of(&hiding(body), "disguised"), OutgoingBody::Omitted { .. }));
    // What the history holds already is no secret.
    assert_eq!(body_of(&hiding(body), "{}"), OutgoingBody::Webhook);

    let others = Hidden { body: false, others: true };
    for (url, shown) in [
        ("https://example.com:444/canary?canary=1", "https://example.com:444/…"),
        ("https://example.com?canary", "https://example.com/…"),
        ("s3://archive/canary", "s3://archive/…"),
        ("canary", "…"),
    ] {
        let request = Outgoing::new("GET", url).header("Subject", "canary").body("kept");
        let recorded = recorded(&hiding(others), request);
        assert_eq!(recorded.url, shown);
        assert_eq!(recorded.headers["Subject"], None);
        assert_eq!(recorded.body, Some(OutgoingBody::Text("kept".into())));
    }
}

#[test]
fn a_body_that_the_history_holds_already_is_named_and_not_repeated() {
    let input = || Input::sample(r#"{"a": 1}"#).with_output("one", &1).with_output("two", &2);
    assert_eq!(body_of(&input(), r#"{"a": 1}"#), OutgoingBody::Webhook);
    assert_eq!(body_of(&input(), "2"), OutgoingBody::Result(StepName::new("two")));
    assert_eq!(body_of(&input(), "1"), OutgoingBody::Text("1".into()));
    assert_eq!(body_of(&input(), r#"{"a":1}"#), OutgoingBody::Text(r#"{"a":1}"#.into()));
    assert_eq!(body_of(&Input::sample(""), ""), OutgoingBody::Webhook);
}

#[test]
fn a_body_that_does_not_fit_or_is_no_text_is_a_hash_and_a_length() {
    let omitted = |bytes: &[u8]| OutgoingBody::Omitted {
        sha256: sha256_hex(bytes),
        bytes: bytes.len() as u64,
    };
    let room = REQUEST_BYTES_MAX - "POST".len() - "https://example.com/".len();
    for (length, is_inline) in [(room, true), (room + 1, false), (1_000_000, false)] {
        let text = "x".repeat(length);
        let expected = match is_inline {
            true => OutgoingBody::Text(text.clone()),
            false => omitted(text.as_bytes()),
        };
        assert_eq!(body_of(&Input::sample("{}"), text), expected, "{length}");
    }
    for bytes in [&b"\xff"[..], b"a\0", b"\x1b[2J"] {
        assert_eq!(body_of(&Input::sample("{}"), bytes), omitted(bytes));
    }
    let text = "a\tb\r\nc é";
    assert_eq!(body_of(&Input::sample("{}"), text), OutgoingBody::Text(text.into()));
}

#[test]
fn whatever_is_sent_little_of_it_is_recorded() {
    let long = "é\"".repeat(100_000);
    let mut request =
        Outgoing::new(&long, format!("https://example.com/{long}")).body(long.clone());
    for number in 0..10_000 {
        request = request.header(format!("x-{number}"), "y".repeat(number % 700));
    }
    let recorded = recorded(&Input::sample("{}"), request.header(&long, &long));
    let shown: usize = recorded
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.as_ref().map_or(0, String::len))
        .sum();
    let shown = shown + recorded.method.len() + recorded.url.len();
    assert!((1_000..=REQUEST_BYTES_MAX).contains(&shown), "{shown}");
    assert_eq!(recorded.headers.len() + recorded.more_headers as usize, 10_001);
    // A quotation mark is two bytes in JSON, and a name of one letter has four around it.
    assert!(recorded.inline_bytes() < 3 * REQUEST_BYTES_MAX, "{}", recorded.inline_bytes());
}

#[test]
fn no_log_shows_what_is_sent() {
    let request = || {
        let request = Outgoing::new("POST", "https://example.com/canary");
        request.header("x-team", "canary").body("canary")
    };
    assert_eq!(format!("{:?}", request()), "Outgoing(POST)");
    let recorded = recorded(&Input::sample("{}"), request());
    assert_eq!(format!("{recorded:?}"), "OutgoingRequest(POST, Some(Text(6 bytes)))");
}

//! What a delivery is known by: real events that look like redeliveries run, and redeliveries do not.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use aws_lambda_events::http::HeaderValue;
use everhook_ingest::signature::encoding::KeyEncoding;
use everhook_ingest::signature::preset::{self, Way};
use everhook_ingest::signature::{Custom, Preset};
use everhook_journal::ExecutionId;
use serde_json::{Value, json};

use crate::world::{Delivery, Told, World};

const MINUTE: Duration = Duration::from_secs(60);

/// Senders whose ids are missing, repeat, are not signed, or cover several topics.
const SENDERS: &str = r#"
    [sources.dropbox]
    scheme = "dropbox"
    secrets = ["file:secret"]

    [sources.woocommerce]
    scheme = "woocommerce"
    secrets = ["file:secret"]

    [sources.shopify]
    scheme = "shopify"
    secrets = ["file:secret"]

    [sources.github]
    scheme = "github"
    secrets = ["file:secret"]

    [sources.stripe]
    scheme = "stripe"
    secrets = ["file:secret"]

    [sources.zoom]
    scheme = "zoom"
    secrets = ["file:secret"]

    [sources.hubspot]
    scheme = "hubspot-v1"
    secrets = ["file:secret"]

    [sources.line]
    scheme = "line"
    secrets = ["file:secret"]

    [sources.sensor]
    scheme = "hmac-sha256"
    secrets = ["file:secret"]
    expect = "any"

    [sources.hasty]
    scheme = "hmac-sha256"
    secrets = ["file:secret"]
    dedup_window = "0s"

    [sources.patient]
    scheme = "hmac-sha256"
    secrets = ["file:secret"]
    dedup_window = "1d"

    [sources.typed]
    scheme = "hmac-sha256"
    secrets = ["file:secret"]
    type_header = "x-kind"

    [sources.counted]
    scheme = "hmac-sha256"
    secrets = ["file:secret"]
    items = "/events"
    item_id = ["/id"]

    [sources.promised]
    scheme = "recipe"
    header = "x-signature"
    secrets = ["file:secret"]
    id = "json:id"
    id_unique = true

    [sources.unpromised]
    scheme = "recipe"
    header = "x-signature"
    secrets = ["file:secret"]
    id = "json:id"

    [[workflows.default.steps]]
    name = "look"
    run = "transform"
    jq = "1"
"#;

async fn start() -> World {
    World::start(SENDERS).await
}

/// A request that its sender signed, with these headers instead of or beside its own.
fn signed(
    world: &World,
    source: &'static str,
    headers: &[(&str, &str)],
    body: &str,
) -> ApiGatewayV2httpRequest {
    let delivery = Delivery { source, id: String::new(), event_type: None, body: body.into() };
    let mut request = world.signed(&delivery);
    for name in
        ["webhook-id", "x-github-delivery", "x-shopify-event-id", "x-wc-webhook-delivery-id"]
    {
        request.headers.remove(name);
    }
    for (name, value) in headers {
        let name = aws_lambda_events::http::HeaderName::try_from(*name).unwrap();
        request.headers.insert(name, HeaderValue::from_str(value).unwrap());
    }
    request
}

async fn send(world: &World, source: &'static str, headers: &[(&str, &str)], body: &str) -> Told {
    world.send(signed(world, source, headers, body)).await
}

#[track_caller]
fn assert_new(told: &Told) -> ExecutionId {
    assert_eq!((told.status, &told.body["duplicate"]), (202, &json!(false)), "{:?}", told.body);
    told.token()
}

#[track_caller]
fn assert_known(told: &Told, as_: &ExecutionId) {
    let (duplicate, token) = (&told.body["duplicate"], &told.body["executionToken"]);
    assert_eq!((duplicate, token), (&json!(true), &json!(as_)), "{:?}", told.body);
}

async fn repeat_of(world: &World, token: &ExecutionId) -> Value {
    world.status(token).await["repeatOf"].clone()
}

async fn completed(world: &World) -> usize {
    world.settle().await;
    let listed = world.get("/executions?limit=100").await.body;
    let listed = listed["executions"].as_array().unwrap().clone();
    listed.iter().filter(|one| one["status"] == "completed").count()
}

#[tokio::test]
async fn the_second_change_of_the_week_runs() {
    let world = start().await;
    let body = r#"{"list_folder":{"accounts":["dbid:A"]},"delta":{"users":[1]}}"#;

    let first = assert_new(&send(&world, "dropbox", &[], body).await);
    world.pass(Duration::from_secs(20));
    assert_known(&send(&world, "dropbox", &[], body).await, &first);
    world.pass(MINUTE * 60 * 24 * 3);
    let told = send(&world, "dropbox", &[], body).await;
    let second = assert_new(&told);
    assert_eq!(told.body["repeatOf"], json!(first));

    assert_eq!(repeat_of(&world, &first).await, Value::Null);
    assert_eq!(repeat_of(&world, &second).await, json!(first));
    assert_eq!(completed(&world).await, 2);
    let counts = &world.parts.ingest.counts;
    let counted = [&counts.accepted, &counts.duplicates, &counts.by_body, &counts.repeated];
    assert_eq!(counted.map(|it| it.load(Ordering::Relaxed)), [2, 1, 1, 1]);
}

#[tokio::test]
async fn two_orders_of_one_second_run() {
    let world = start().await;
    let headers = [("x-wc-webhook-delivery-id", "3f2c"), ("x-wc-webhook-topic", "order.created")];
    let one = assert_new(&send(&world, "woocommerce", &headers, r#"{"id":1}"#).await);
    assert_new(&send(&world, "woocommerce", &headers, r#"{"id":2}"#).await);

    world.pass(MINUTE * 60);
    assert_known(&send(&world, "woocommerce", &headers, r#"{"id":1}"#).await, &one);
    assert_eq!(completed(&world).await, 2);
}

#[tokio::test]
async fn one_event_runs_under_each_topic_and_subscription() {
    let world = start().await;
    let of = |topic, webhook| {
        [
            ("x-shopify-event-id", "98880550"),
            ("x-shopify-topic", topic),
            ("x-shopify-webhook-id", webhook),
        ]
    };
    let all = [of("orders/create", "1"), of("orders/paid", "1"), of("orders/paid", "2")];
    let mut tokens = Vec::new();
    for headers in &all {
        tokens.push(assert_new(&send(&world, "shopify", headers, r#"{"id":1}"#).await));
    }
    world.pass(MINUTE * 60 * 4);
    for (headers, token) in all.iter().zip(&tokens) {
        assert_known(&send(&world, "shopify", headers, r#"{"id":1}"#).await, token);
    }
    assert_eq!(world.status(&tokens[0]).await["deliveryId"], "98880550");
    assert_eq!(completed(&world).await, 3);
}

#[tokio::test]
async fn a_captured_body_under_an_id_to_come_takes_nothing_away() {
    let world = start().await;
    let captured = assert_new(
        &send(&world, "github", &[("x-github-delivery", "1")], r#"{"ref":"old"}"#).await,
    );
    let stolen = send(&world, "github", &[("x-github-delivery", "2")], r#"{"ref":"old"}"#).await;
    assert_eq!(stolen.body["repeatOf"], json!(captured));
    assert_new(&stolen);

    let real = send(&world, "github", &[("x-github-delivery", "2")], r#"{"ref":"new"}"#).await;
    let token = assert_new(&real);
    assert!(real.body.get("repeatOf").is_none());
    let again = send(&world, "github", &[("x-github-delivery", "2")], r#"{"ref":"new"}"#).await;
    assert_known(&again, &token);
    // Nor does one with the real body and another type, sent while the real one is on its way.
    let headers = [("x-github-delivery", "3"), ("x-github-event", "push")];
    let forged = [("x-github-delivery", "3"), ("x-github-event", "ping")];
    assert_new(&send(&world, "github", &forged, r#"{"ref":"newer"}"#).await);
    assert_new(&send(&world, "github", &headers, r#"{"ref":"newer"}"#).await);
}

#[tokio::test]
async fn a_body_without_id_or_time_counts_as_a_redelivery_for_a_while() {
    let world = start().await;
    for body in ["22.5", "", "{}", "null", "t=22.5"] {
        let first = assert_new(&send(&world, "sensor", &[], body).await);
        world.pass(MINUTE * 9);
        assert_known(&send(&world, "sensor", &[], body).await, &first);
        world.pass(MINUTE);
        let second = assert_new(&send(&world, "sensor", &[], body).await);
        assert_eq!(repeat_of(&world, &second).await, json!(first), "{body}");
        // The window of a later appearance is its own, wherever its steps begin.
        for _ in 0..3 {
            world.pass(MINUTE * 3);
            assert_known(&send(&world, "sensor", &[], body).await, &second);
        }
        world.pass(MINUTE * 2);
        let third = assert_new(&send(&world, "sensor", &[], body).await);
        assert_eq!(repeat_of(&world, &third).await, json!(first), "{body}");
    }
}

#[tokio::test]
async fn the_window_is_a_setting_of_the_source() {
    let world = start().await;
    let ping = "{}";
    let hasty = assert_new(&send(&world, "hasty", &[], ping).await);
    let again = assert_new(&send(&world, "hasty", &[], ping).await);
    let third = assert_new(&send(&world, "hasty", &[], ping).await);
    assert_eq!(BTreeSet::from([&hasty, &again, &third]).len(), 3);
    assert_eq!(repeat_of(&world, &third).await, json!(hasty));

    let patient = assert_new(&send(&world, "patient", &[], ping).await);
    world.pass(MINUTE * 60 * 23);
    assert_known(&send(&world, "patient", &[], ping).await, &patient);
    world.pass(MINUTE * 60 * 2);
    assert_new(&send(&world, "patient", &[], ping).await);
}

#[tokio::test]
async fn the_calls_for_a_body_without_an_id_are_counted() {
    let world = start().await;
    let calls = || {
        let calls = world.parts.store.calls().snapshot();
        ["PutItem", "UpdateItem", "GetItem", "Query"]
            .map(|name| calls.iter().find(|(it, _)| *it == name).map_or(0, |(_, n)| *n))
    };
    let mut before = calls();
    let mut spent = || {
        let now = calls();
        let spent: Vec<_> = now.iter().zip(before).map(|(now, before)| now - before).collect();
        before = now;
        spent
    };
    // New, a redelivery, a repeat, and a redelivery of the repeat in the next step of the window.
    assert_new(&send(&world, "sensor", &[], "1").await);
    assert_eq!(spent(), [1, 0, 0, 0]);
    send(&world, "sensor", &[], "1").await;
    assert_eq!(spent(), [1, 0, 0, 0]);
    world.pass(MINUTE * 15);
    assert_new(&send(&world, "sensor", &[], "1").await);
    assert_eq!(spent(), [2, 1, 1, 0]);
    world.pass(MINUTE * 6);
    send(&world, "sensor", &[], "1").await;
    let [puts, updates, gets, queries] = spent()[..] else { panic!("four kinds of call") };
    assert!(puts <= 2 && updates <= 1 && gets == 1 && queries == 0, "{puts} {updates} {gets}");
}

#[tokio::test]
async fn a_body_with_a_time_of_its_own_is_known_for_good() {
    let world = start().await;
    let body = r#"{"event":"meeting.started","event_ts":1795486845000,"payload":{}}"#;
    let first = assert_new(&send(&world, "zoom", &[], body).await);
    world.pass(MINUTE * 85);
    assert_known(&send(&world, "zoom", &[], body).await, &first);
    // Without its time it is as any other.
    let bare = r#"{"event":"meeting.started","payload":{}}"#;
    assert_new(&send(&world, "zoom", &[], bare).await);
    world.pass(MINUTE * 20);
    assert_new(&send(&world, "zoom", &[], bare).await);
}

#[tokio::test]
async fn the_type_in_a_header_tells_equal_bodies_apart() {
    let world = start().await;
    let opened = assert_new(&send(&world, "typed", &[("x-kind", "opened")], "{}").await);
    let closed = assert_new(&send(&world, "typed", &[("x-kind", "closed")], "{}").await);
    assert_known(&send(&world, "typed", &[("x-kind", "opened")], "{}").await, &opened);
    world.pass(MINUTE * 60);
    let told = send(&world, "typed", &[("x-kind", "closed")], "{}").await;
    assert_eq!(told.body["repeatOf"], json!(closed));
}

#[tokio::test]
async fn a_signed_and_unique_id_is_enough_and_any_other_is_not() {
    let world = start().await;
    let event = |pending: u8| format!(r#"{{"id":"evt_1","pending_webhooks":{pending}}}"#);
    let first = assert_new(&send(&world, "stripe", &[], &event(2)).await);
    assert_known(&send(&world, "stripe", &[], &event(1)).await, &first);
    let mismatched = &world.parts.ingest.counts.mismatched;
    assert_eq!(mismatched.load(Ordering::Relaxed), 1);

    let one = assert_new(&send(&world, "promised", &[], r#"{"id":1,"n":1}"#).await);
    assert_known(&send(&world, "promised", &[], r#"{"id":1,"n":2}"#).await, &one);
    let one = assert_new(&send(&world, "unpromised", &[], r#"{"id":1,"n":1}"#).await);
    assert_new(&send(&world, "unpromised", &[], r#"{"id":1,"n":2}"#).await);
    assert_known(&send(&world, "unpromised", &[], r#"{"id":1,"n":1}"#).await, &one);
}

#[tokio::test]
async fn what_a_retry_changes_makes_no_other_event() {
    let world = start().await;
    let events = |attempt: u8, value: &str| {
        json!([{"eventId": 1, "subscriptionId": 7, "propertyValue": value, "attemptNumber": attempt}])
            .to_string()
    };
    let first = assert_new(&send(&world, "hubspot", &[], &events(0, "a")).await);
    world.pass(MINUTE * 60);
    assert_known(&send(&world, "hubspot", &[], &events(3, "a")).await, &first);
    // HubSpot does not promise that its ids are unique.
    assert_new(&send(&world, "hubspot", &[], &events(0, "b")).await);

    let event = |redelivery: bool, text: &str| {
        let context = json!({"isRedelivery": redelivery});
        let event = json!({"webhookEventId": "e1", "deliveryContext": context, "text": text});
        json!({"destination": "U", "events": [event]}).to_string()
    };
    let first = assert_new(&send(&world, "line", &[], &event(false, "a")).await);
    assert_known(&send(&world, "line", &[], &event(true, "a")).await, &first);
    assert_new(&send(&world, "line", &[], &event(false, "b")).await);
}

#[tokio::test]
async fn ids_beyond_64_bits_keep_their_digits() {
    let world = start().await;
    let batch = |ids: &[&str]| {
        let events: Vec<_> = ids.iter().map(|id| format!("{{\"id\":{id}}}")).collect();
        format!("{{\"events\":[{}]}}", events.join(","))
    };
    let ids = ["123456789012345678901234567890123", "123456789012345678901234567890124"];
    let told = send(&world, "counted", &[], &batch(&ids)).await;
    let executions = told.body["executions"].as_array().unwrap();
    let tokens: Vec<_> = executions.iter().map(|one| one["executionToken"].clone()).collect();
    assert_ne!(tokens[0], tokens[1]);
    let shown = world.get(&format!("/status/{}", tokens[1].as_str().unwrap())).await.body;
    assert_eq!(shown["deliveryId"], ids[1]);
    assert_known(&send(&world, "counted", &[], &batch(&ids[..1])).await, &told.token());
}

#[tokio::test]
async fn equal_events_of_one_request_are_two() {
    let world = start().await;
    let body =
        |readings: usize| json!({ "events": vec![json!({"t": 22.5}); readings] }).to_string();
    let told = send(&world, "counted", &[], &body(3)).await;
    assert_eq!(told.body["duplicate"], false);
    let executions = told.body["executions"].as_array().unwrap();
    let tokens: BTreeSet<_> =
        executions.iter().map(|one| one["executionToken"].to_string()).collect();
    assert_eq!(tokens.len(), 3);
    // Sent again, none is new; with one more, that one is.
    assert_eq!(send(&world, "counted", &[], &body(3)).await.body["duplicate"], true);
    let more = send(&world, "counted", &[], &body(4)).await.body;
    let known: Vec<_> =
        more["executions"].as_array().unwrap().iter().map(|one| &one["duplicate"]).collect();
    assert_eq!(known, [&json!(true), &json!(true), &json!(true), &json!(false)]);
}

#[tokio::test]
async fn any_byte_in_a_header_makes_an_id() {
    let world = start().await;
    let with_id = |bytes: &[u8]| {
        let mut request = signed(&world, "sensor", &[], "{}");
        request.headers.insert("webhook-id", HeaderValue::from_bytes(bytes).unwrap());
        request
    };
    let cafe = assert_new(&world.send(with_id(b"caf\xe9")).await);
    assert_new(&world.send(with_id(b"caf\xe8")).await);
    assert_new(&world.send(with_id("caf\u{e9}".as_bytes())).await);
    assert_known(&world.send(with_id(b"caf\xe9")).await, &cafe);
    assert_eq!(world.status(&cafe).await["deliveryId"], "caf\u{e9}");

    // Blank is none, and two headers are one id of both.
    let blank = assert_new(&world.send(with_id(b" ")).await);
    assert_known(&send(&world, "sensor", &[], "{}").await, &blank);
    let doubled = |second: &'static str| {
        let mut request = with_id(b"a");
        request.headers.append("webhook-id", HeaderValue::from_static(second));
        request
    };
    let ab = assert_new(&world.send(doubled("b")).await);
    assert_new(&world.send(doubled("c")).await);
    assert_known(&world.send(doubled("b")).await, &ab);
}

#[tokio::test]
async fn a_redelivery_at_the_edge_of_a_step_is_known() {
    let world = start().await;
    // To the last moment of a step, so that everything after it is in the next.
    let into = u64::try_from(world.now().as_millis()).unwrap() % 600_000;
    world.pass(Duration::from_millis(600_000 - into - 1));
    let first = assert_new(&send(&world, "sensor", &[], "7").await);
    world.pass(MINUTE * 20);
    let repeat = assert_new(&send(&world, "sensor", &[], "7").await);
    world.pass(Duration::from_millis(2));
    assert_known(&send(&world, "sensor", &[], "7").await, &repeat);
    assert_eq!(repeat_of(&world, &repeat).await, json!(first));
}

#[tokio::test]
async fn redeliveries_at_one_moment_begin_one_repeat() {
    let world = start().await;
    let first = assert_new(&send(&world, "sensor", &[], "8").await);
    world.pass(MINUTE * 60);
    let one = || send(&world, "sensor", &[], "8");
    let told = tokio::join!(one(), one(), one());
    let tokens = BTreeSet::from([told.0.token(), told.1.token(), told.2.token()]);
    assert_eq!(tokens.len(), 1);
    assert_eq!(repeat_of(&world, tokens.first().unwrap()).await, json!(first));
}

#[tokio::test]
async fn an_unreadable_window_and_an_unsigned_unique_id_are_refused() {
    let check = |lines: &str| {
        let text = format!(
            "[sources.a]\n{lines}\n[[workflows.default.steps]]\nname = \"look\"\nrun = \"validate\"\n"
        );
        let config =
            everhook_journal::config::Config::parse(&text, std::path::PathBuf::new()).unwrap();
        everhook::check::problems(&config, everhook::Steps::new())
            .iter()
            .map(ToString::to_string)
            .collect::<String>()
    };
    let github = "scheme = \"github\"\nsecrets = [\"generated:a\"]\n";
    assert_eq!(check(&format!("{github}dedup_window = \"30s\"\nid_unique = false")), "");
    let unsigned = check(&format!("{github}id_unique = true"));
    assert!(unsigned.contains("line 4") && unsigned.contains("the signature covers"), "{unsigned}");
    let long = check(&format!("{github}dedup_window = \"31d\""));
    assert!(long.contains("between 0s and 30d"), "{long}");
    let weak = check("scheme = \"bearer\"\nsecrets = [\"generated:a\"]\nid_unique = true");
    assert!(weak.contains("the signature covers"), "{weak}");
}

/// A webhook that a version before this one recorded, under the token that it derived.
#[tokio::test]
async fn what_an_earlier_version_recorded_is_known_where_its_token_is_the_same() {
    let world = start().await;
    for (source, id, body) in [
        ("stripe", "evt_1", r#"{"id":"evt_1"}"#.to_owned()),
        ("sensor", "", "22.5".to_owned()),
        ("dropbox", "", "{}".to_owned()),
    ] {
        let id = match id {
            "" => format!("body:{}", everhook_journal::payload::sha256_hex(body.as_bytes())),
            id => id.to_owned(),
        };
        let before = ExecutionId::derive(
            &world.parts.ingest.key,
            &everhook_journal::SourceName::new(source),
            &everhook_journal::DeliveryId::new(id),
            &[],
        );
        assert_eq!(assert_new(&send(&world, source, &[], &body).await), before, "{source}");
    }
}

/// What the table of senders says, its sources do: for every sender whose webhooks can be signed here.
#[tokio::test]
async fn every_sender_keeps_what_its_table_says() {
    let is_signable = |preset: &&Preset| {
        let is_text = match &preset.way {
            Way::Recipe(written) => matches!(written.key, KeyEncoding::Text),
            Way::Custom(custom, _) => *custom == Custom::StandardWebhooks,
            Way::Open(_) => false,
        };
        is_text && preset.lines.is_empty()
    };
    let presets: Vec<_> = preset::all().filter(is_signable).collect();
    let source = |name: &str| {
        format!("[sources.{name}]\nscheme = \"{name}\"\nsecrets = [\"file:secret\"]\n")
    };
    let sources: String = presets.iter().map(|preset| source(preset.name)).collect();
    let workflow =
        "[[workflows.default.steps]]\nname = \"look\"\nrun = \"transform\"\njq = \"1\"\n";
    let world = World::start(&format!("{sources}{workflow}")).await;
    let post = |preset: &'static Preset, n: u8| {
        let id = "e-1";
        let body = json!({
            "id": id, "event_id": id, "eventId": id, "event": {"id": id}, "n": n,
            "webhookTimestamp": world.now().as_millis(),
        });
        let body = body.to_string().into_bytes();
        let delivery = Delivery { source: preset.name, id: id.into(), event_type: None, body };
        let request = world.signed(&delivery);
        world.send(request)
    };

    for preset in &presets {
        let first = post(preset, 1).await;
        assert_known(&post(preset, 1).await, &first.token());
        let other = post(preset, 2).await;
        assert_eq!(other.body["duplicate"], preset.identity().unique, "{}", preset.name);
    }
    assert!(presets.len() >= 25, "only {} senders were checked", presets.len());
}

/// Senders whose verification accepts more than one spelling of what they sign, or might.
const SPELLINGS: &str = r#"
    [sources.twilio]
    scheme = "twilio"
    secrets = ["file:secret"]
    public_url = "https://hooks.example.com/webhook/twilio"

    [sources.twilio-port]
    scheme = "twilio"
    secrets = ["file:secret"]
    public_url = "https://hooks.example.com:8443/webhook/twilio"

    [sources.adyen]
    scheme = "adyen-item"
    secrets = ["generated:x"]

    [sources.hubspot2]
    scheme = "hubspot-v2"
    secrets = ["file:secret"]
    public_url = "https://hooks.example.com/webhook/hubspot2"

    [sources.hubspot3]
    scheme = "hubspot-v3"
    secrets = ["file:secret"]
    public_url = "https://hooks.example.com/webhook/hubspot3"

    [sources.square]
    scheme = "square"
    secrets = ["file:secret"]
    public_url = "https://hooks.example.com/webhook/square"

    [sources.trello]
    scheme = "trello"
    secrets = ["file:secret"]
    public_url = "https://hooks.example.com/webhook/trello"

    [sources.mailgun]
    scheme = "mailgun"
    secrets = ["file:secret"]

    [sources.box]
    scheme = "box"
    secrets = ["file:secret"]

    [sources.twitch]
    scheme = "twitch"
    secrets = ["file:secret"]

    [sources.standard]
    scheme = "standard-webhooks"
    secrets = ["file:secret"]

    [sources.two]
    scheme = "recipe"
    secrets = ["file:secret"]
    header = ["X-A", "X-B"]
    separator = ","
    tag = "v1="
    signed = "{entry:id}.{body}"
    id = "entry:id"
    id_unique = true

    [sources.pair]
    scheme = "recipe"
    secrets = ["file:secret"]
    header = "X-A"
    signed = "{header:x-id}.{header:x-topic}.{body}"
    id = "header:x-id"
    type = "header:x-topic"
    id_unique = true

    [sources.undivided]
    scheme = "recipe"
    secrets = ["file:secret"]
    header = "X-A"
    signed = "{header:x-id}{header:x-topic}{body}"
    id = "header:x-id"
    type = "header:x-topic"

    [[workflows.default.steps]]
    name = "look"
    run = "transform"
    input = "text"
    jq = "1"
"#;

/// The signature of these parts with a source's own key.
fn signature(world: &World, source: &str, parts: &[&str]) -> Vec<u8> {
    let source = world.parts.ingest.sources.find(&everhook_journal::SourceName::new(source));
    let parts: Vec<_> = parts.iter().map(|part| part.as_bytes()).collect();
    source.scheme.keys()[0].sign(&parts)
}

fn base64(bytes: &[u8]) -> String {
    data_encoding::BASE64.encode(bytes)
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// A request with one signature, in one of its spellings.
#[derive(Clone)]
struct Spelling {
    query: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Spelling {
    fn new(headers: &[(&'static str, String)], body: &str) -> Self {
        Self { query: String::new(), headers: headers.to_vec(), body: body.into() }
    }

    fn with_query(self, query: &str) -> Self {
        Self { query: query.into(), ..self }
    }

    async fn send(&self, world: &World, source: &str) -> Told {
        let headers: Vec<_> =
            self.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let mut request = crate::world::request(source, &headers, self.body.as_bytes());
        request.raw_query_string = Some(self.query.clone());
        world.send(request).await
    }

    /// Other spellings, most of which are wrong: of the query, the headers and the body.
    fn others(&self) -> Vec<Self> {
        let queries =
            respelled(&self.query).into_iter().map(|query| self.clone().with_query(&query));
        let mut all: Vec<_> = queries.collect();
        for at in 0..self.headers.len() {
            let (_, value) = &self.headers[at];
            let mut values = respelled(value);
            values.extend([
                value.to_uppercase(),
                value.to_lowercase(),
                value.trim_end_matches('=').to_owned(),
                value.replace('+', "-").replace('/', "_"),
                format!("{value},"),
                format!("{value},{value}"),
                format!("\"{value}\""),
                format!("0{value}"),
                format!("{value} "),
            ]);
            all.extend(values.into_iter().map(|value| {
                let mut other = self.clone();
                other.headers[at].1 = value;
                other
            }));
            let mut doubled = self.clone();
            doubled.headers.push(self.headers[at].clone());
            all.push(doubled);
        }
        let body = &self.body;
        let mut bodies = respelled(body);
        bodies.extend([
            format!(" {body}"),
            format!("{body}\n"),
            format!("\u{feff}{body}"),
            format!("[{body}]"),
            body.replace(':', ": "),
            body.replace("\"P1\"", "\"\\u0050\\u0031\""),
            body.replace("1130", "\"1130\""),
            body.replace("\"success\":\"true\"", "\"success\":true"),
            body.replacen('{', "{\"reason\":\"x\",", 1),
            body.replacen('{', "{\"originalReference\":null,", 1),
        ]);
        all.extend(bodies.into_iter().map(|body| Self { body, ..self.clone() }));
        all
    }
}

/// A text with some of its characters escaped, or not, in all ways for the first ones.
fn respelled(text: &str) -> Vec<String> {
    const CHARACTERS: &str = "'\"<>!()*,;:@/?$ &=+.aA";
    const PLACES_MAX: usize = 6;
    let pieces = text.split_inclusive(|c| CHARACTERS.contains(c));
    let mut all = vec![String::new()];
    let mut places = 0;
    for piece in pieces {
        let last = piece.chars().next_back().filter(|c| CHARACTERS.contains(*c));
        let Some(last) = last.filter(|_| places < PLACES_MAX) else {
            all.iter_mut().for_each(|text| text.push_str(piece));
            continue;
        };
        places += 1;
        let before = &piece[..piece.len() - 1];
        let code = u32::from(last);
        let spelled = [last.to_string(), format!("%{code:02X}"), format!("%{code:02x}")];
        let both = |text: &String| spelled.clone().map(|last| format!("{text}{before}{last}"));
        all = all.iter().flat_map(both).collect();
    }
    // And back, where it is escaped.
    for (escaped, raw) in [("%27", "'"), ("%22", "\""), ("%28", "("), ("%3A", ":"), ("%2C", ",")] {
        let found: Vec<_> = text.match_indices(escaped).map(|(at, _)| at).collect();
        for chosen in 1..1_u32 << found.len().min(PLACES_MAX) {
            let mut other = text.to_owned();
            let chosen = found.iter().enumerate().rev().filter(|(bit, _)| chosen >> bit & 1 == 1);
            for (_, at) in chosen {
                other.replace_range(*at..at + escaped.len(), raw);
            }
            all.push(other);
        }
    }
    all
}

/// An item that Adyen has signed, with this reference.
fn adyen_item(world: &World, reference: &str) -> String {
    let text = format!("{reference}:::ref:1130:EUR:CAPTURE:true");
    let signature = base64(&signature(world, "adyen", &[&text]));
    format!(
        r#"{{"pspReference":"{reference}","merchantReference":"ref","amount":{{"value":1130,"currency":"EUR"}},"eventCode":"CAPTURE","success":"true","additionalData":{{"hmacSignature":"{signature}"}}}}"#
    )
}

fn listed(items: &[&str]) -> String {
    let wrapped: Vec<_> =
        items.iter().map(|item| format!(r#"{{"NotificationRequestItem":{item}}}"#)).collect();
    format!(r#"{{"live":"false","notificationItems":[{}]}}"#, wrapped.join(","))
}

/// Requests that their senders signed, each with more spellings that may fit its signature.
fn originals(world: &World) -> Vec<(&'static str, Spelling, Vec<Spelling>)> {
    const FORM: &str = "application/x-www-form-urlencoded";
    let (seconds, millis) = (world.now().as_millis() / 1000, world.now().as_millis());
    let mut all = Vec::new();
    for (source, ports) in [("twilio", ["", ":443"]), ("twilio-port", ["", ":8443"])] {
        // Signed with and without a port, with escapes in the query and without.
        for signed_port in ports {
            let query = "a=%27b%27&c=%22%27";
            let url = format!("https://hooks.example.com{signed_port}/webhook/twilio");
            let text = format!("{url}?{query}From1To2{signed_port}");
            let signed = base64(&signature(world, source, &[&text]));
            let headers = [("x-twilio-signature", signed), ("content-type", FORM.into())];
            let form = Spelling::new(&headers, &format!("From=1&To=2{signed_port}"));
            let form = form.with_query(query);
            let of_body = |body: String| Spelling { body, ..form.clone() };
            let split = format!("From1=To2{signed_port}");
            let doubled = format!("From=1&From=1&To=2{signed_port}");
            let more = vec![of_body(split), of_body(doubled)];
            all.push((source, form, more));

            let body = format!("{{\"port\":\"{signed_port}\"}}");
            let hash = everhook_journal::payload::sha256_hex(body.as_bytes());
            let query = format!("x=%27%27%27&bodySHA256={hash}");
            let signed = base64(&signature(world, source, &[&format!("{url}?{query}")]));
            let headers =
                [("x-twilio-signature", signed), ("content-type", "application/json".into())];
            all.push((source, Spelling::new(&headers, &body).with_query(&query), Vec::new()));
        }
    }
    // Without a reference an item has no id, and is known by its signature.
    for reference in ["P1", ""] {
        let item = adyen_item(world, reference);
        let with_blanks = format!("{{ {}", &item[1..]);
        let noted = item.replacen('{', r#"{"reason":"x","#, 1);
        let more =
            [listed(&[&item]), listed(&[&with_blanks]), listed(&[&noted]), listed(&[&item, &item])];
        let more = more.iter().map(|body| Spelling::new(&[], body)).collect();
        all.push(("adyen", Spelling::new(&[], &item), more));
    }

    let events = r#"[{"eventId":1,"subscriptionId":7,"attemptNumber":0}]"#;
    let url = "https://hooks.example.com/webhook";
    let query = "q=(a):'b',!*;@/?$";
    let signed = signature(world, "hubspot2", &["POST", url, "/hubspot2?", query, events]);
    let headers = [("x-hubspot-signature", hex(&signed))];
    all.push(("hubspot2", Spelling::new(&headers, events).with_query(query), Vec::new()));
    let time = millis.to_string();
    let signed = signature(world, "hubspot3", &["POST", url, "/hubspot3?", query, events, &time]);
    let headers =
        [("x-hubspot-signature-v3", base64(&signed)), ("x-hubspot-request-timestamp", time)];
    all.push(("hubspot3", Spelling::new(&headers, events).with_query(query), Vec::new()));

    let body = r#"{"event_id":"e-1","id":"e-1","type":"a","action":{"id":"1"}}"#;
    let signed = signature(world, "square", &[url, "/square", body]);
    let headers = [("x-square-hmacsha256-signature", base64(&signed))];
    all.push(("square", Spelling::new(&headers, body), Vec::new()));
    let signed = signature(world, "trello", &[body, url, "/trello"]);
    let headers = [("x-trello-webhook", base64(&signed))];
    all.push(("trello", Spelling::new(&headers, body), Vec::new()));

    let (time, token) = (seconds.to_string(), "t'a:A".repeat(10));
    let signed = hex(&signature(world, "mailgun", &[&time, &token]));
    let proof = json!({"timestamp": time, "token": token, "signature": signed});
    let body = json!({"signature": proof, "event-data": {"event": "opened"}}).to_string();
    all.push(("mailgun", Spelling::new(&[], &body), Vec::new()));

    let time = world.now().to_string();
    let signed = base64(&signature(world, "box", &[body.as_str(), &time]));
    let headers = [
        ("box-signature-primary", signed),
        ("box-delivery-timestamp", time.clone()),
        ("box-signature-version", "1".into()),
        ("box-signature-algorithm", "HmacSHA256".into()),
    ];
    all.push(("box", Spelling::new(&headers, &body), Vec::new()));
    let signed = format!("sha256={}", hex(&signature(world, "twitch", &["id-1", &time, &body])));
    let headers = [
        ("twitch-eventsub-message-id", "id-1".to_owned()),
        ("twitch-eventsub-message-timestamp", time.clone()),
        ("twitch-eventsub-message-signature", signed.clone()),
    ];
    let shifted = [
        ("twitch-eventsub-message-id", "id-12".to_owned()),
        ("twitch-eventsub-message-timestamp", time[1..].to_owned()),
        ("twitch-eventsub-message-signature", signed),
    ];
    all.push(("twitch", Spelling::new(&headers, &body), vec![Spelling::new(&shifted, &body)]));
    let time = seconds.to_string();
    let signed = base64(&signature(world, "standard", &["id-1", ".", &time, ".", &body]));
    let of = |prefix: [&'static str; 3]| {
        let values = ["id-1".to_owned(), time.clone(), format!("v1,{signed}")];
        let headers: Vec<_> = prefix.into_iter().zip(values).collect();
        Spelling::new(&headers, &body)
    };
    let svix = of(["svix-id", "svix-timestamp", "svix-signature"]);
    let mut named = svix.clone();
    named.headers.push(("webhook-id", "id-2".into()));
    let first = of(["webhook-id", "webhook-timestamp", "webhook-signature"]);
    all.push(("standard", first, vec![svix, named]));
    all
}

/// The executions of a request.
fn tokens_of(told: &Told) -> Vec<ExecutionId> {
    let executions = told.body["executions"].as_array();
    let tokens = executions.into_iter().flatten().map(|one| one["executionToken"].as_str());
    let tokens: Vec<_> = tokens.map(|text| ExecutionId::parse(text.unwrap()).unwrap()).collect();
    if tokens.is_empty() { vec![told.token()] } else { tokens }
}

#[tokio::test]
async fn every_spelling_that_fits_one_signature_is_one_execution() {
    let world = World::start(SPELLINGS).await;
    let (mut sent, mut accepted) = (0, std::collections::BTreeMap::<&str, usize>::new());
    let originals = originals(&world);
    let mut tokens = BTreeSet::new();
    for (source, original, more) in &originals {
        let token = assert_new(&original.send(&world, source).await);
        assert!(tokens.insert(token.clone()), "{source}: two requests are one");
        let others = more.iter().flat_map(|other| [vec![other.clone()], other.others()].concat());
        for other in original.others().into_iter().chain(others) {
            sent += 1;
            let told = other.send(&world, source).await;
            if told.status == 202 {
                *accepted.entry(source).or_default() += 1;
                for one in tokens_of(&told) {
                    let spelling = (&other.query, &other.headers, &other.body);
                    assert_eq!(one, token, "{source}: {spelling:?}");
                }
            }
        }
    }
    assert!(sent > 2_000, "only {sent} spellings");
    assert!(
        accepted["twilio"] > 20 && accepted["adyen"] > 8 && accepted["hubspot3"] > 20,
        "{accepted:?}"
    );
}

#[tokio::test]
async fn a_forged_second_header_names_no_captured_request() {
    let world = World::start(SPELLINGS).await;
    let of = |id: &str, body: &str| {
        format!("id={id},v1={}", hex(&signature(&world, "two", &[id, ".", body])))
    };
    let captured = of("real-1", "{}");
    let first = Spelling::new(&[("x-b", captured.clone())], "{}");
    let first = assert_new(&first.send(&world, "two").await);
    for forged in
        [format!("id=future,v1={}", "0".repeat(64)), "id=future".into(), "id=future,v1=x".into()]
    {
        for names in [["x-a", "x-b"], ["x-b", "x-a"]] {
            let headers = [(names[0], forged.clone()), (names[1], captured.clone())];
            assert_known(&Spelling::new(&headers, "{}").send(&world, "two").await, &first);
        }
    }
    let body = r#"{"real":"payment"}"#;
    let real = Spelling::new(&[("x-a", of("future", body))], body).send(&world, "two").await;
    assert_new(&real);
    assert_eq!(completed(&world).await, 2);
}

#[tokio::test]
async fn values_that_share_a_signed_text_take_nothing_away() {
    let world = World::start(SPELLINGS).await;
    let send = async |source: &str, text: &str, id: &str, topic: &str, body: &str| {
        let headers = [
            ("x-a", hex(&signature(&world, source, &[text, body]))),
            ("x-id", id.to_owned()),
            ("x-topic", topic.to_owned()),
        ];
        Spelling::new(&headers, body).send(&world, source).await
    };
    let body = r#"{"x":1}"#;
    let first = assert_new(&send("pair", "7.orders.paid.", "7", "orders.paid", body).await);
    assert_eq!(send("pair", "7.orders.paid.", "7.orders", "paid", body).await.status, 401);
    assert_known(&send("pair", "7.orders.paid.", "7", "orders.paid", body).await, &first);
    // A body that is no object does not say where it begins.
    assert_eq!(send("pair", "8.orders.22.", "8", "orders.22", "5").await.status, 401);
    assert_new(&send("pair", "8.orders.", "8", "orders", "22.5").await);

    // Nothing divides these: the id is the sender's word, and no captured request is sent under another one unseen.
    let captured = assert_new(&send("undivided", "abcd", "ab", "cd", body).await);
    let shifted = send("undivided", "abcd", "abc", "d", body).await;
    assert_new(&shifted);
    assert_eq!(shifted.body["repeatOf"], json!(captured));
    assert_new(&send("undivided", "abcd", "abc", "d", r#"{"x":2}"#).await);
    assert_known(&send("undivided", "abcd", "ab", "cd", body).await, &captured);
}

#[test]
fn an_id_that_nothing_divides_is_not_signed_and_the_template_is_named() {
    let check = |lines: &str| {
        let text = format!(
            "[sources.a]\nscheme = \"recipe\"\nsecrets = [\"generated:a\"]\nheader = \"X-A\"\n{lines}\n\
             [[workflows.default.steps]]\nname = \"look\"\nrun = \"validate\"\n"
        );
        let config =
            everhook_journal::config::Config::parse(&text, std::path::PathBuf::new()).unwrap();
        let problems = everhook::check::problems(&config, everhook::Steps::new());
        problems.iter().map(ToString::to_string).collect::<String>()
    };
    let undivided = "signed = \"{header:x-id}{header:x-topic}{body}\"\nid = \"header:x-id\"";
    assert_eq!(check(undivided), "");
    let unique = check(&format!("{undivided}\nid_unique = true"));
    let named =
        ["{header:x-id}{header:x-topic}{body}", "nothing divides the id", "`id_unique = true`"];
    assert!(named.iter().all(|words| unique.contains(words)), "{unique}");
    let divided = "signed = \"{header:x-id}.{header:x-topic}.{body}\"\nid = \"header:x-id\"";
    assert_eq!(check(&format!("{divided}\nid_unique = true")), "");
    let both = check("signed = \"{header:x-id}{body}{header:x-topic}\"");
    assert!(both.contains("both sides of {body}"), "{both}");
}

/// What Twilio and Adyen sent to an earlier version, in the form that they use.
#[tokio::test]
async fn mended_identities_are_those_of_before_for_genuine_senders() {
    let world = World::start(SPELLINGS).await;
    let derived = |source: &str, id: &str, also: &[&str]| {
        let (source, id) = (everhook_journal::SourceName::new(source), id.to_owned());
        let id = everhook_journal::DeliveryId::new(id);
        ExecutionId::derive(&world.parts.ingest.key, &source, &id, also)
    };
    let item = adyen_item(&world, "P1");
    let value: Value = serde_json::from_str(&item).unwrap();
    let signed = value["additionalData"]["hmacSignature"].as_str().unwrap();
    let digest =
        everhook_journal::payload::sha256_hex(format!("{}:{signed}", signed.len()).as_bytes());
    let before = derived("adyen", "7:CAPTURE2:P1", &["body", &digest]);
    assert_eq!(
        assert_new(&Spelling::new(&[], &listed(&[&item])).send(&world, "adyen").await),
        before
    );

    for port in ["", ":443"] {
        let (url, query) = ("https://hooks.example.com", format!("q=%27{port}"));
        let text = format!("{url}{port}/webhook/twilio?{query}a1");
        let signed = base64(&signature(&world, "twilio", &[&text]));
        let form = "application/x-www-form-urlencoded".to_owned();
        let headers = [("x-twilio-signature", signed), ("content-type", form)];
        let sent = Spelling::new(&headers, "a=1").with_query(&query).send(&world, "twilio").await;
        let text = format!("{url}/webhook/twilio?{query}a1");
        let digest = everhook_journal::payload::sha256_hex(text.as_bytes());
        assert_eq!(assert_new(&sent), derived("twilio", &format!("body:{digest}"), &[]));
    }
}

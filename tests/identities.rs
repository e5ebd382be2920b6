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
    assert_eq!(spent(), [2, 0, 0, 0]);
    send(&world, "sensor", &[], "1").await;
    assert_eq!(spent(), [2, 0, 0, 0]);
    world.pass(MINUTE * 15);
    assert_new(&send(&world, "sensor", &[], "1").await);
    assert_eq!(spent(), [4, 1, 1, 0]);
    world.pass(MINUTE * 6);
    send(&world, "sensor", &[], "1").await;
    let [puts, updates, gets, queries] = spent()[..] else { panic!("four kinds of call") };
    assert!(puts <= 4 && updates <= 1 && gets == 1 && queries == 0, "{puts} {updates} {gets}");
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

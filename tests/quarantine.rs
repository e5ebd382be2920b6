//! Refused requests that are kept: never executed, bounded, unreadable, and released once they can be verified.

mod bounds;
mod command;

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use aws_lambda_events::http::Method;
use aws_sdk_dynamodb::config::{Credentials, Region, SharedCredentialsProvider};
use everhook::Steps;
use everhook_ingest::Ingest;
use everhook_ingest::reverify::{Outcome, Reverified};
use everhook_journal::config::Config;
use everhook_journal::schema::Tables;
use everhook_journal::store::{Item, Store};
use everhook_journal::{Clock, Event, Payloads, Secrets, SourceName, Storage};
use object_store::memory::InMemory;
use serde_json::json;

use crate::world::{SECRET, World, delivery, request, signed_with};

/// A source that knows only this secret, and one with signed timestamps.
fn config(secret: &str, quarantine: &str) -> String {
    format!(
        r#"
        [sources.default]
        scheme = "hmac-sha256"
        secrets = ["file:{secret}"]
        {quarantine}

        [sources.slack]
        scheme = "slack"
        secrets = ["file:{secret}"]
        {quarantine}

        [[workflows.default.steps]]
        name = "validate"
        run = "validate"
    "#
    )
}

const ON: &str = "quarantine = true";

/// A world that has the wrong secret: what its senders sign with the right one is refused.
async fn mistaken() -> World {
    World::start(&config("other-secret", ON)).await
}

/// The same deployment after the secret was corrected, so long after the beginning.
async fn corrected(mistaken: &World, later: Duration) -> World {
    let world = World::over(mistaken.engine.clone(), &config("secret", ON), Steps::new()).await;
    world.pass(later);
    world
}

async fn items(world: &World) -> Vec<Item> {
    let scan = world.engine.dynamodb().scan().table_name("executions").send().await.unwrap();
    let items = scan.items.unwrap_or_default().into_iter();
    let is_slot = |item: &Item| item["execution"].as_s().unwrap().starts_with("quarantine#");
    items.filter(is_slot).collect()
}

async fn reverify(world: &World) -> Reverified {
    reverify_source(world, "default").await
}

async fn reverify_source(world: &World, name: &str) -> Reverified {
    world.parts.ingest.reverify(&SourceName::new(name), false).await.unwrap().unwrap()
}

fn numbers(reverified: &Reverified) -> (usize, usize, usize) {
    (reverified.released, reverified.refused, reverified.failed)
}

/// What a sender sends who signs with the right secret, as Slack does at this moment.
fn from_slack(world: &World, body: &str) -> ApiGatewayV2httpRequest {
    let seconds = (world.now().as_millis() / 1000).to_string();
    let secret = everhook_journal::secret::Secret::new("a sender's", SECRET);
    let key = everhook_ingest::signature::Key::new(&secret, SECRET.as_bytes()).unwrap();
    let signed = key.sign(&[b"v0:", seconds.as_bytes(), b":", body.as_bytes()]);
    let signature = format!("v0={}", data_encoding::HEXLOWER.encode(&signed));
    let headers = [
        ("x-slack-request-timestamp".to_owned(), seconds),
        ("x-slack-signature".to_owned(), signature),
    ];
    request("slack", &headers, body.as_bytes())
}

#[tokio::test]
async fn nothing_is_kept_unless_the_source_says_so() {
    for off in ["", "quarantine = false"] {
        let world = World::start(&config("other-secret", off)).await;
        let writes = world.parts.store.calls().snapshot();
        assert_eq!(world.send(signed_with(SECRET, &delivery("d-1", "{}"))).await.status, 401);
        assert_eq!(items(&world).await, []);
        assert_eq!(world.parts.store.calls().snapshot(), writes);
    }
}

#[tokio::test]
async fn what_is_refused_is_kept_with_its_reason_and_told_and_executed_to_nobody() {
    let world = mistaken().await;
    world.records().await;
    let mut unsigned = signed_with(SECRET, &delivery("d-2", r#"{"n": 2}"#));
    unsigned.headers.remove("x-webhook-signature");
    let mut nowhere = signed_with(SECRET, &delivery("d-3", "{}"));
    nowhere.raw_path = Some("/webhook/nobody".into());

    let refused = world.send(signed_with(SECRET, &delivery("d-1", "{}"))).await;
    world.pass(Duration::from_secs(1));
    assert_eq!(world.send(unsigned).await, refused);
    assert_eq!(world.send(nowhere).await, refused);

    assert_eq!(refused.status, 401);
    let kept = world.parts.ingest.quarantined(&SourceName::new("default")).await.unwrap();
    let kept: Vec<_> = kept.iter().map(|kept| (kept.reason.as_str(), kept.bytes)).collect();
    assert_eq!(kept, [("no secret matches", 2), ("a signature header is missing", 8)]);
    world.live_through(Duration::from_secs(600), Duration::from_secs(60)).await;
    assert_eq!(world.records().await, Vec::<serde_json::Value>::new());
    assert_eq!(world.get("/executions").await.body["executions"], json!([]));
    assert_eq!(items(&world).await.len(), 2);
}

#[tokio::test]
async fn a_corrected_secret_releases_what_it_signed_once() {
    let mistaken = mistaken().await;
    let sent = signed_with(SECRET, &delivery("d-1", r#"{"type": "paid"}"#));
    mistaken.send(sent.clone()).await;
    mistaken.send(signed_with("a stranger's", &delivery("d-2", "{}"))).await;
    let received_at = mistaken.now();
    assert_eq!(numbers(&reverify(&mistaken).await), (0, 2, 0));

    let world = corrected(&mistaken, Duration::from_secs(3600)).await;
    let dry = world.parts.ingest.reverify(&SourceName::new("default"), true).await.unwrap();
    assert_eq!(numbers(&dry.unwrap()), (1, 1, 0));
    assert_eq!(items(&world).await.len(), 2);
    let reverified = reverify(&world).await;
    assert_eq!(numbers(&reverified), (1, 1, 0));
    let released = reverified.requests.into_iter().find_map(|looked| match looked.outcome {
        Outcome::Released { executions, duplicate: false } => Some(executions),
        _ => None,
    });
    let token = released.unwrap().remove(0);

    world.settle().await;
    assert_eq!(world.status(&token).await["status"], "completed");
    let history = world.history(&token).await;
    let Event::WebhookReceived(webhook) = &history[0].event else { panic!("{history:?}") };
    assert_eq!(webhook.quarantined_at, Some(received_at));
    assert_eq!(history[0].at, world.now());
    assert_eq!(webhook.event_type.as_deref(), Some("paid"));
    assert_eq!(webhook.verified.secret.as_deref(), Some("file:secret"));

    let length = history.len();
    assert_eq!(numbers(&reverify(&world).await), (0, 1, 0));
    assert_eq!(world.send(sent).await.body["duplicate"], true);
    world.settle().await;
    assert_eq!((world.history(&token).await.len(), items(&world).await.len()), (length, 1));
}

#[tokio::test]
async fn what_was_sent_again_meanwhile_is_released_as_the_duplicate_it_is() {
    let mistaken = mistaken().await;
    let sent = signed_with(SECRET, &delivery("d-1", "{}"));
    mistaken.send(sent.clone()).await;
    let world = corrected(&mistaken, Duration::from_secs(60)).await;
    let token = world.send(sent).await.token();

    let reverified = reverify(&world).await;

    let outcome = Outcome::Released { executions: vec![token], duplicate: true };
    assert_eq!(reverified.requests[0].outcome, outcome);
    assert_eq!(items(&world).await, []);
}

#[tokio::test]
async fn a_timestamp_is_judged_as_of_the_receipt() {
    let mistaken = mistaken().await;
    let stale = from_slack(&mistaken, r#"{"n": 1}"#);
    mistaken.pass(Duration::from_secs(301));
    mistaken.send(stale).await;
    mistaken.send(from_slack(&mistaken, r#"{"n": 2}"#)).await;

    let world = corrected(&mistaken, Duration::from_secs(8 * 3600)).await;
    let late = from_slack(&mistaken, r#"{"n": 2}"#);
    assert_eq!(world.send(late).await.status, 401, "the same request is too old by now");
    let reverified = reverify_source(&world, "slack").await;

    assert_eq!(numbers(&reverified), (1, 2, 0), "{reverified:?}");
    let refused = "the timestamp is outside the tolerance".to_owned();
    let outcomes: Vec<_> = reverified.requests.into_iter().map(|looked| looked.outcome).collect();
    assert_eq!(outcomes.iter().filter(|o| **o == Outcome::Refused(refused.clone())).count(), 2);
}

#[tokio::test]
async fn questions_and_handshakes_are_not_kept() {
    let world = mistaken().await;
    let mut get = signed_with(SECRET, &delivery("d-1", "{}"));
    get.request_context.http.method = Method::GET;
    let handshake = from_slack(&world, r#"{"type": "url_verification", "challenge": "c"}"#);

    assert_eq!(world.send(get).await.status, 405);
    assert_eq!(world.send(handshake).await.status, 401);

    assert_eq!(items(&world).await, []);
}

#[tokio::test]
async fn without_a_store_the_answer_is_the_same() {
    let world = mistaken().await;
    let told = world.send(signed_with(SECRET, &delivery("d-1", "{}"))).await;
    world.engine.clone().close().await;
    assert_eq!(world.send(signed_with(SECRET, &delivery("d-2", "{}"))).await, told);
    assert!(world.parts.ingest.reverify(&SourceName::new("default"), false).await.is_err());
}

#[tokio::test]
async fn a_store_that_hangs_holds_up_the_answer_for_two_seconds() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = aws_config::SdkConfig::builder()
        .behavior_version(aws_config::BehaviorVersion::latest())
        .region(Region::new("local"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            "test", "test", None, None, "test",
        )))
        .http_client(everhook_journal::environment::https())
        .endpoint_url(format!("http://{}", silent.local_addr().unwrap()))
        .build();
    let store = Store::new(aws_sdk_dynamodb::Client::new(&client));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), SECRET).unwrap();
    let secrets = Secrets::new(folder.path().to_owned(), Some(folder.path().to_owned()));
    let tables = Tables::default();
    let storage = Storage {
        journal: tables.journal_in(&store, Clock::System),
        executions: tables.executions_in(&store),
        timers: tables.timers_in(&store),
        payloads: Payloads::new(Arc::new(InMemory::new())),
    };
    let ingest = Ingest::from_config(
        &Config::parse(&config("secret", ON), folder.path().to_owned()).unwrap(),
        &secrets,
        storage,
        Clock::System,
    )
    .unwrap();
    let began = std::time::Instant::now();

    let forged = signed_with("a guess", &delivery("d-1", "{}"));
    assert_eq!(everhook_ingest::handle(&ingest, forged).await.status_code, 401);

    assert!((1..4).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_kept_request_that_is_no_webhook_stays_refused() {
    let mistaken = mistaken().await;
    mistaken.send(signed_with(SECRET, &delivery("d-1", "not json"))).await;
    let world = corrected(&mistaken, Duration::from_secs(60)).await;

    let reverified = reverify(&world).await;

    let Outcome::Refused(reason) = &reverified.requests[0].outcome else {
        panic!("{reverified:?}")
    };
    assert!(reason.starts_with("the body is not JSON"), "{reason}");
    assert_eq!(items(&world).await.len(), 1);
}

#[tokio::test]
async fn releasing_is_one_webhook_however_many_release_it() {
    let mistaken = mistaken().await;
    mistaken.send(signed_with(SECRET, &delivery("d-1", "{}"))).await;
    let world = corrected(&mistaken, Duration::from_secs(60)).await;
    let (one, two) = tokio::join!(reverify(&world), reverify(&world));
    assert!(one.released + two.released >= 1);
    let again = world.send(signed_with(SECRET, &delivery("d-1", "{}"))).await;
    assert_eq!(again.body["duplicate"], true);
    world.settle().await;
    assert_eq!(world.get("/executions").await.body["executions"].as_array().unwrap().len(), 1);
}

#[test]
fn the_key_is_a_flag_and_says_nothing_where_nothing_is_verified() {
    let problem = |source: &str| {
        let text =
            format!("{source}\n[[workflows.default.steps]]\nname = \"a\"\nrun = \"validate\"");
        let config = Config::parse(&text, ".".into()).unwrap();
        let secrets = Secrets::new(".".into(), None);
        everhook_ingest::Sources::from_config(&config, &secrets).unwrap_err().remove(0).message
    };
    let open = "[sources.open]\nverify = \"none\"\nquarantine = true";
    assert!(problem(open).contains("a source that verifies nothing refuses nothing"));
    let odd = "[sources.open]\nverify = \"none\"\nquarantine = \"yes\"";
    assert!(problem(odd).contains("`quarantine` must be true or false"));
}

//! How much is kept, for how long, and who can read it.

use std::time::Duration;

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use aws_lambda_events::http::HeaderValue;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use everhook::Steps;
use everhook::local::Engine;
use everhook_ingest::reverify::Outcome;
use everhook_journal::SourceName;
use everhook_journal::quarantine::SLOTS;
use everhook_journal::store::Item;

use super::{ON, config, corrected, items, mistaken, numbers, reverify};
use crate::world::{SECRET, World, delivery, signed_with};

#[tokio::test]
async fn a_flood_stays_within_its_bounds() {
    let world = mistaken().await;
    let before = world.parts.store.calls().snapshot();
    for number in 0..2_000 {
        let forged = delivery(&format!("d-{number}"), &format!("{{\"n\": {number}}}"));
        assert_eq!(world.send(signed_with("a guess", &forged)).await.status, 401);
        world.pass(Duration::from_millis(100));
    }
    let puts = world.parts.store.calls().snapshot()[0].1 - before[0].1;
    // One address leaves a quarter to others, and displaces its own only rarely.
    let most = SLOTS * 3 / 4;
    assert_eq!(items(&world).await.len(), most);
    assert!(puts <= most as u64 + 4, "{puts} puts");

    for number in 0..2_000 {
        world.send(signed_with("a guess", &delivery(&format!("e-{number}"), "{}"))).await;
        world.pass(Duration::from_millis(900));
    }
    let puts = world.parts.store.calls().snapshot()[0].1 - before[0].1;
    assert!(puts <= most as u64 + 15, "{puts} puts");
    assert_eq!(items(&world).await.len(), most);
}

/// A forged request of this address.
fn forged(address: &str, body: &str) -> ApiGatewayV2httpRequest {
    let mut request = signed_with("a guess", &delivery("d-1", body));
    request.request_context.http.source_ip = Some(address.to_owned());
    request
}

/// What a true sender sends from several addresses.
fn from_several(number: usize) -> ApiGatewayV2httpRequest {
    let mut request = signed_with(SECRET, &delivery(&format!("d-{number}"), "{}"));
    request.request_context.http.source_ip = Some(format!("192.0.2.{}", number % 5));
    request
}

/// How many requests are kept of a sender, by the size of their bodies.
async fn kept_of(world: &World, bytes: u64) -> usize {
    let kept = world.parts.ingest.quarantined(&SourceName::new("default")).await.unwrap();
    kept.iter().filter(|kept| kept.bytes == bytes).count()
}

#[tokio::test]
async fn a_full_quarantine_keeps_what_another_address_sends() {
    let world = mistaken().await;
    for number in 0..400 {
        // Many addresses of one network are one address.
        let address = format!("2001:db8:{}:1::{number:x}", number % 4);
        world.send(forged(&address, "junk")).await;
        world.pass(Duration::from_secs(1));
    }
    assert_eq!(kept_of(&world, 4).await, SLOTS);

    for number in 0..3 {
        world.send(forged("192.0.2.7", &format!("genuine {number}"))).await;
        world.pass(Duration::from_secs(1));
    }

    assert_eq!((kept_of(&world, 9).await, items(&world).await.len()), (3, SLOTS));
}

#[tokio::test]
async fn a_flood_from_one_address_leaves_the_rate_to_others() {
    let world = mistaken().await;
    for number in 0..100 {
        world.send(forged("192.0.2.1", "junk")).await;
        if number % 20 == 0 {
            world.send(forged("192.0.2.7", "genuine")).await;
        }
        world.pass(Duration::from_millis(100));
    }
    assert_eq!(kept_of(&world, 7).await, 5);
}

#[tokio::test]
async fn a_process_that_starts_knows_what_is_kept() {
    let mistaken = mistaken().await;
    for _ in 0..300 {
        mistaken.send(forged("192.0.2.1", "junk")).await;
        mistaken.pass(Duration::from_secs(2));
    }
    let before = names(&items(&mistaken).await);
    let again =
        World::over(mistaken.engine.clone(), &config("other-secret", ON), Steps::new()).await;
    again.pass(Duration::from_secs(600));

    for _ in 0..20 {
        again.send(forged("192.0.2.1", "junk")).await;
        again.pass(Duration::from_secs(2));
    }

    let after = names(&items(&again).await);
    assert_eq!(after.len(), before.len());
    assert!(after.iter().filter(|name| !before.contains(name)).count() <= 2);
}

#[tokio::test]
async fn an_emptied_quarantine_is_empty_and_keeps_again() {
    let world = mistaken().await;
    for _ in 0..5 {
        world.send(forged("192.0.2.1", "junk")).await;
    }
    let cleared = world.parts.ingest.clear_quarantine(&SourceName::new("default")).await.unwrap();
    assert_eq!((cleared, items(&world).await.len()), (5, 0));
    world.pass(Duration::from_secs(60));
    world.send(forged("192.0.2.1", "junk")).await;
    assert_eq!(items(&world).await.len(), 1);
}

fn names(items: &[Item]) -> Vec<String> {
    let mut names: Vec<_> = items.iter().map(|item| item["name"].as_s().unwrap().clone()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_large_request_is_refused_and_not_kept() {
    let world = mistaken().await;
    let body = |length| delivery("d-1", &"x".repeat(length));
    let mut headers = signed_with(SECRET, &delivery("d-2", "{}"));
    let long = HeaderValue::from_str(&"x".repeat(40_000)).unwrap();
    headers.headers.insert("x-long", long);

    assert_eq!(world.send(signed_with(SECRET, &body(64 * 1024 + 1))).await.status, 401);
    assert_eq!(world.send(headers).await.status, 401);
    assert_eq!(items(&world).await, []);
    assert_eq!(world.send(signed_with(SECRET, &body(64 * 1024))).await.status, 401);
    assert_eq!(items(&world).await.len(), 1);
}

#[tokio::test]
async fn nothing_of_a_kept_request_can_be_read() {
    let world = mistaken().await;
    let mut sent = signed_with(SECRET, &delivery("delivery-canary", r#"{"a": "body-canary"}"#));
    sent.headers.insert("authorization", HeaderValue::from_static("header-canary"));
    sent.raw_query_string = Some("query-canary".into());
    world.send(sent).await;

    let items = items(&world).await;

    let mut names: Vec<_> = items[0].keys().cloned().collect();
    names.sort();
    let kept = ["address", "bytes", "execution", "name", "reason", "received_at", "sealed", "ttl"];
    assert_eq!(names, kept);
    for value in items[0].values() {
        let bytes = match value {
            AttributeValue::B(blob) => blob.as_ref(),
            AttributeValue::S(text) | AttributeValue::N(text) => text.as_bytes(),
            other => panic!("{other:?}"),
        };
        let shown =
            format!("{} {}", String::from_utf8_lossy(bytes), data_encoding::BASE64.encode(bytes));
        for secret in ["canary", "x-github-delivery", "Y2FuYXJ5"] {
            assert!(!shown.contains(secret), "{secret} in {value:?}");
        }
    }
}

#[tokio::test]
async fn what_was_changed_or_moved_is_refused() {
    let mistaken = mistaken().await;
    mistaken.send(signed_with(SECRET, &delivery("d-1", "{}"))).await;
    let kept = items(&mistaken).await.remove(0);
    let world = corrected(&mistaken, Duration::from_secs(60)).await;
    let put = |item: Item| {
        let client = world.engine.dynamodb();
        async move {
            client.put_item().table_name("executions").set_item(Some(item)).send().await.unwrap();
        }
    };
    let mut sealed = kept["sealed"].as_b().unwrap().clone().into_inner();
    *sealed.last_mut().unwrap() ^= 1;
    for value in [
        AttributeValue::B(Blob::new(sealed)),
        AttributeValue::B(Blob::new([])),
        AttributeValue::S("not sealed".into()),
    ] {
        let mut changed = kept.clone();
        changed.insert("sealed".into(), value);
        put(changed).await;
        assert_eq!(numbers(&reverify(&world).await), (0, 1, 0));
    }

    let mut moved = kept.clone();
    let elsewhere = match kept["execution"].as_s().unwrap().as_str() {
        "quarantine#default#7" => "quarantine#default#8",
        _ => "quarantine#default#7",
    };
    moved.insert("execution".into(), AttributeValue::S(elsewhere.into()));
    put(moved.clone()).await;
    put(kept).await;
    assert_eq!(numbers(&reverify(&world).await), (1, 1, 0));

    moved.remove("name");
    put(moved).await;
    assert_eq!(numbers(&reverify(&world).await), (0, 0, 0));
}

#[tokio::test]
async fn what_has_expired_counts_as_absent_before_it_is_deleted() {
    let mistaken = mistaken().await;
    mistaken.send(signed_with(SECRET, &delivery("d-1", "{}"))).await;
    let day = Duration::from_secs(24 * 3600);

    let world = corrected(&mistaken, day - Duration::from_secs(1)).await;
    assert_eq!(world.parts.ingest.quarantined(&SourceName::new("default")).await.unwrap().len(), 1);
    world.pass(Duration::from_secs(1));
    assert_eq!(numbers(&reverify(&world).await), (0, 0, 0));
    assert_eq!(items(&world).await.len(), 1);

    // A full quarantine whose time is over is an empty one.
    for number in 10..160 {
        mistaken.send(from_several(number)).await;
        mistaken.pass(Duration::from_secs(1));
    }
    let old = names(&items(&mistaken).await);
    mistaken.pass(day);
    mistaken.send(signed_with(SECRET, &delivery("f-1", "{}"))).await;
    let new = names(&items(&mistaken).await);
    assert_eq!((old.len(), new.len()), (SLOTS, SLOTS));
    assert_eq!(new.iter().filter(|name| !old.contains(name)).count(), 1);
}

#[tokio::test]
async fn a_released_slot_is_free_again() {
    let mistaken = mistaken().await;
    for number in 0..150 {
        mistaken.send(from_several(number)).await;
        mistaken.pass(Duration::from_secs(1));
    }
    let world = corrected(&mistaken, Duration::from_secs(300)).await;
    assert_eq!(numbers(&reverify(&world).await), (SLOTS, 0, 0));
    world.send(signed_with("a guess", &delivery("e-1", "{}"))).await;
    assert_eq!(items(&world).await.len(), 1);
}

#[tokio::test]
async fn the_engine_deletes_what_has_expired() {
    let engine = Engine::in_memory().unwrap();
    let world = World::over(engine.clone(), &config("other-secret", ON), Steps::new()).await;
    world.send(signed_with(SECRET, &delivery("d-1", "{}"))).await;
    let mut item = items(&world).await.remove(0);
    item.insert("ttl".into(), AttributeValue::N("1".into()));
    let client = engine.dynamodb();
    client.put_item().table_name("executions").set_item(Some(item)).send().await.unwrap();
    engine.sweep_ttl().await.unwrap();
    assert_eq!(items(&world).await, []);
}

#[tokio::test]
async fn another_deployments_key_opens_nothing() {
    let mistaken = mistaken().await;
    mistaken.send(signed_with(SECRET, &delivery("d-1", "{}"))).await;
    let other = format!("[settings]\nexecution_key = \"file:secret\"\n{}", config("secret", ON));
    let world = World::over(mistaken.engine.clone(), &other, Steps::new()).await;

    let reverified = reverify(&world).await;

    let Outcome::Refused(reason) = &reverified.requests[0].outcome else {
        panic!("{reverified:?}")
    };
    assert!(reason.starts_with("it cannot be opened"), "{reason}");
    assert_eq!(items(&world).await.len(), 1);
}

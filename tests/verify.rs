//! Histories that somebody changed afterwards, past everything of ours: each is told, with the event.

mod command;

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use everhook::{Input, StepError, Steps};
use everhook_journal::ExecutionId;
use everhook_journal::store::Item;
use everhook_journal::verify::{Differs, Verified, verify};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde_json::{Value, json};

use crate::world::{World, delivery, item_bytes};

const ACTS: &str = r#"
    [sources.default]
    scheme = "hmac-sha256"
    secrets = ["file:secret"]

    [[workflows.default.steps]]
    name = "first"
    run = "give"

    [[workflows.default.steps]]
    name = "second"
    run = "give"

    [[workflows.default.steps]]
    name = "third"
    run = "give"
"#;

/// Waits eight times, so that the process remembers the state; then acts.
const WAITS: &str = r#"
    [sources.default]
    scheme = "hmac-sha256"
    secrets = ["file:secret"]

    [[workflows.default.steps]]
    name = "each"
    run = "map"
    items = "[range(5)]"
    concurrency = 1

    [[workflows.default.steps.steps]]
    name = "pause"
    run = "wait"
    for = "1m"
"#;

/// Three results.
const COMPUTES: &str = r#"
    [sources.default]
    scheme = "hmac-sha256"
    secrets = ["file:secret"]

    [[workflows.default.steps]]
    name = "first"
    run = "transform"
    jq = '"result of first"'

    [[workflows.default.steps]]
    name = "second"
    run = "transform"
    jq = '"result of second"'

    [[workflows.default.steps]]
    name = "third"
    run = "transform"
    jq = '"result of third"'
"#;

/// An execution that has ended: the webhook, two results, and a third with the end.
async fn ended() -> (World, ExecutionId) {
    let whole = World::start(COMPUTES).await;
    let id = whole.accepted(&delivery("d-1", "{}")).await;
    whole.settle().await;
    let history = whole.history(&id).await;
    // The same events, as drivers append them that each die after one step.
    let world = World::start(COMPUTES).await;
    assert_eq!(world.accepted(&delivery("d-1", "{}")).await, id);
    world.append(&id, [&history[1..2], &history[2..3], &history[3..]]).await;
    world.settle().await;
    assert_eq!(sequences(&world, &id).await, [1, 2, 3, 4]);
    (world, id)
}

async fn items(world: &World, id: &ExecutionId) -> Vec<Item> {
    let query = world.engine.dynamodb().query().table_name("journal");
    let query = query.key_condition_expression("execution = :id");
    let query = query.expression_attribute_values(":id", text(id.as_str()));
    query.send().await.unwrap().items.unwrap()
}

async fn sequences(world: &World, id: &ExecutionId) -> Vec<u64> {
    items(world, id).await.iter().map(sequence).collect()
}

fn sequence(item: &Item) -> u64 {
    item["sequence"].as_n().unwrap().parse().unwrap()
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// The JSON of an item's events.
fn unpacked(item: &Item) -> String {
    let json = everhook_journal::packed::unpack(item["events"].as_b().unwrap().as_ref()).unwrap();
    String::from_utf8(json).unwrap()
}

/// Events as an item holds them.
fn packed(json: &str) -> AttributeValue {
    AttributeValue::B(Blob::new(everhook_journal::packed::pack(json.as_bytes())))
}

fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

async fn put(world: &World, item: Item) {
    let put = world.engine.dynamodb().put_item().table_name("journal");
    put.set_item(Some(item)).send().await.unwrap();
}

async fn remove(world: &World, id: &ExecutionId, sequence: u64) {
    let delete = world.engine.dynamodb().delete_item().table_name("journal");
    let delete = delete.key("execution", text(id.as_str()));
    delete.key("sequence", number(sequence)).send().await.unwrap();
}

async fn row(world: &World, id: &ExecutionId) -> Item {
    let row = world.engine.dynamodb().get_item().table_name("executions");
    row.key("execution", text(id.as_str())).send().await.unwrap().item.unwrap()
}

/// The view of a row, as JSON.
fn view_of(row: &Item) -> Value {
    let bytes = row["view"].as_b().unwrap();
    serde_json::from_slice(&everhook_journal::packed::unpack(bytes.as_ref()).unwrap()).unwrap()
}

/// Changes the view without asking whether it is newer.
async fn change_view(world: &World, id: &ExecutionId, name: &str, value: Value) {
    let mut row = row(world, id).await;
    let mut view = view_of(&row);
    view[name] = value;
    row.insert("view".into(), packed(&view.to_string()));
    let put = world.engine.dynamodb().put_item().table_name("executions");
    put.set_item(Some(row)).send().await.unwrap();
}

async fn verified(world: &World, id: &ExecutionId) -> Verified {
    let status = &world.parts.status;
    let payloads = Some(&status.payloads);
    verify(&status.journal, &status.executions, payloads, id).await.unwrap().unwrap()
}

/// What was touched, each as its sequence and what differs.
async fn touched(world: &World, id: &ExecutionId) -> Vec<(u64, Differs)> {
    let touched = verified(world, id).await.touched;
    touched.into_iter().map(|touched| (touched.sequence.get(), touched.differs)).collect()
}

fn event(number: u64) -> everhook_journal::Sequence {
    everhook_journal::Sequence::new(number)
}

/// Other values of an item's attributes, such as a stranger would write.
fn other_values(item: &Item) -> Vec<(&'static str, Option<AttributeValue>)> {
    let said = |name: &str| item[name].as_s().unwrap().clone();
    let events = unpacked(item);
    let mut cut = item["events"].as_b().unwrap().clone().into_inner();
    cut.truncate(cut.len() / 2);
    let mut values = vec![
        ("events", Some(packed(&events.replace('{', "{ ")))),
        ("events", Some(packed(&events.replace("Ms\":", "Ms\":1")))),
        ("events", Some(packed("[]"))),
        ("events", Some(packed("?"))),
        ("events", Some(AttributeValue::B(Blob::new(cut)))),
        ("events", Some(text(&events))),
        ("events", None),
        ("at", Some(text(&said("at").replace("2026", "2025")))),
        ("at", Some(text("yesterday"))),
        ("at", None),
        ("append", Some(text("another"))),
        ("append", None),
        ("form", Some(number(1))),
        ("form", Some(number(3))),
        ("form", None),
        ("ttl", Some(number(4_102_444_800))),
        ("ttl", None),
        ("previous", Some(text("47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"))),
        ("previous", Some(text("?"))),
        ("previous", Some(number(1))),
    ];
    if item.contains_key("previous") {
        values.push(("previous", None));
    }
    values.retain(|(name, value)| value.as_ref() != item.get(*name));
    values
}

#[tokio::test]
async fn every_attribute_of_every_append_is_guarded() {
    let (world, id) = ended().await;
    let mut told = BTreeMap::new();
    for item in items(&world, &id).await {
        for (attribute, value) in other_values(&item) {
            let mut other = item.clone();
            other.remove(attribute);
            other.extend(value.clone().map(|value| (attribute.to_owned(), value)));
            put(&world, other).await;

            let touched = touched(&world, &id).await;

            let own = |(at, _): &(u64, Differs)| *at == sequence(&item);
            let is_told = !touched.is_empty() && touched.iter().all(own);
            assert!(is_told, "{attribute} = {value:?} at {}: {touched:?}", sequence(&item));
            *told.entry(attribute).or_insert(0) += 1;
            put(&world, item.clone()).await;
        }
        assert_eq!(touched(&world, &id).await, []);
    }
    assert_eq!(told.len(), 6);
}

#[tokio::test]
async fn an_append_that_was_changed_is_told_from_one_that_says_it_follows_another() {
    let (world, id) = ended().await;
    let items = items(&world, &id).await;
    let mut other = items[1].clone();
    let events = unpacked(&other).replace("result of first", "result of nobody");
    other.insert("events".into(), packed(&events));
    put(&world, other.clone()).await;
    assert_eq!(touched(&world, &id).await, [(2, Differs::Contents { next: event(3) })]);
    let said = world.get(&format!("/executions/{id}/verification")).await;
    assert_eq!(said.body["touched"][0]["name"], "StepCompleted");

    put(&world, items[1].clone()).await;
    let mut other = items[2].clone();
    other.insert("previous".into(), text("47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"));
    put(&world, other.clone()).await;
    assert_eq!(touched(&world, &id).await, [(3, Differs::Previous)]);
    other.insert("previous".into(), items[1]["previous"].clone());
    put(&world, other).await;
    assert_eq!(touched(&world, &id).await, [(3, Differs::Order { belongs: event(2) })]);
}

#[tokio::test]
async fn appends_that_changed_places_are_told() {
    let (world, id) = ended().await;
    let items = items(&world, &id).await;
    let (mut one, mut other) = (items[1].clone(), items[2].clone());
    one.insert("sequence".into(), number(3));
    other.insert("sequence".into(), number(2));
    put(&world, one).await;
    put(&world, other).await;

    let touched = touched(&world, &id).await;

    let moved = |from, to| (from, Differs::Order { belongs: event(to) });
    assert!(touched.contains(&moved(2, 3)) && touched.contains(&moved(3, 2)), "{touched:?}");
    assert!(touched.iter().all(|(at, _)| [2, 3].contains(at)), "{touched:?}");
}

#[tokio::test]
async fn an_append_that_is_missing_is_told_wherever_it_was() {
    let (world, id) = ended().await;
    let items = items(&world, &id).await;
    for item in &items[..3] {
        let gone = sequence(item);
        remove(&world, &id, gone).await;
        let missing = Differs::Missing { until: event(gone), row: false };
        assert_eq!(touched(&world, &id).await, [(gone, missing)]);
        put(&world, item.clone()).await;
    }
    // The last one held two events. Only the row knows of them.
    remove(&world, &id, 4).await;
    let missing = Differs::Missing { until: event(5), row: true };
    assert_eq!(touched(&world, &id).await, [(4, missing)]);
    for item in &items {
        remove(&world, &id, sequence(item)).await;
    }
    let missing = Differs::Missing { until: event(5), row: true };
    assert_eq!(touched(&world, &id).await, [(1, missing)]);
}

#[tokio::test]
async fn an_append_that_seems_to_have_expired_is_missing() {
    let (world, id) = ended().await;
    let mut item = items(&world, &id).await.remove(2);
    item.insert("ttl".into(), number(1));
    put(&world, item).await;
    let missing = Differs::Missing { until: event(3), row: false };
    assert_eq!(touched(&world, &id).await, [(3, missing)]);
}

#[tokio::test]
async fn the_last_append_and_what_the_row_knows_of_it_guard_each_other() {
    let (world, id) = ended().await;
    let items = items(&world, &id).await;
    let mut other = items[3].clone();
    other.insert("at".into(), text("2026-11-24T00:00:00.000Z"));
    put(&world, other).await;
    assert_eq!(touched(&world, &id).await, [(4, Differs::Last)]);

    put(&world, items[3].clone()).await;
    let digest = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
    change_view(&world, &id, "head", json!(digest)).await;
    assert_eq!(touched(&world, &id).await, [(4, Differs::Last)]);
    // A row that is behind has seen an append before the last.
    change_view(&world, &id, "sequence", json!(3)).await;
    assert_eq!(touched(&world, &id).await, [(3, Differs::Row)]);
}

#[tokio::test]
async fn the_last_append_of_an_execution_that_waits_is_guarded_too() {
    let world = World::start(WAITS).await;
    let id = world.accepted(&delivery("d-1", "{}")).await;
    for _ in 0..3 {
        world.settle().await;
        let last = items(&world, &id).await.pop().unwrap();
        let mut other = last.clone();
        other.insert("append".into(), text("another"));
        put(&world, other).await;
        assert_eq!(touched(&world, &id).await, [(sequence(&last), Differs::Last)]);
        put(&world, last).await;
        assert_eq!(touched(&world, &id).await, []);
        world.records().await;
        world.pass(Duration::from_secs(60));
    }
}

#[tokio::test]
async fn digests_cost_the_shipped_workflow_no_write_unit() {
    let config =
        include_str!("../config/everhook.toml").replace("generated:default", "file:secret");
    let world = World::start(&config).await;
    let push = include_str!("../examples/push.json");
    let id = world.accepted(&delivery("f0a1c2d4-c911-11f0-8de9-0242ac120002", push)).await;
    world.settle().await;
    for mut item in items(&world, &id).await {
        let with = units(&item);
        let digest = item.remove("previous");
        assert!(digest.is_some() || sequence(&item) == 1);
        assert_eq!(with, units(&item));
    }
    let mut row = row(&world, &id).await;
    let with = units(&row);
    let mut view = view_of(&row);
    assert!(view.as_object_mut().unwrap().remove("head").is_some());
    row.insert("view".into(), packed(&view.to_string()));
    assert_eq!(with, units(&row));
}

/// What it takes to write an item: one unit for each KiB.
fn units(item: &Item) -> usize {
    item_bytes(item).div_ceil(1024)
}

#[tokio::test]
async fn a_row_of_an_older_version_accuses_nobody() {
    let (world, id) = ended().await;
    // It moved the row on, and knew no digest to move along.
    let third = items(&world, &id).await.remove(2);
    let before = verified(&world, &id).await.appends[1].digest.unwrap();
    assert_eq!(text(&before.to_string()), third["previous"]);
    change_view(&world, &id, "head", json!(before.to_string())).await;
    assert_eq!(touched(&world, &id).await, []);
    change_view(&world, &id, "head", Value::Null).await;
    assert_eq!(touched(&world, &id).await, []);
}

#[tokio::test]
async fn events_that_cannot_follow_each_other_are_told() {
    let (world, id) = ended().await;
    // Somebody who computes digests adds an end that follows an end.
    let mut forged = items(&world, &id).await.remove(3);
    let digest = verified(&world, &id).await.appends[3].digest.unwrap();
    forged.insert("previous".into(), text(&digest.to_string()));
    forged.insert("sequence".into(), number(6));
    put(&world, forged).await;
    assert_eq!(touched(&world, &id).await, [(6, Differs::Illegal)]);
}

#[tokio::test]
async fn bodies_and_results_in_the_object_store_are_compared() {
    let noise = |seed: u64| -> String {
        let next = |x: &u64| Some(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        let digits = std::iter::successors(Some(seed), next).take(8_000);
        digits.map(|x| format!("{x:016x}")).collect()
    };
    let result = noise(2);
    let large = move |_: Input| std::future::ready(Ok::<_, StepError>(result.clone()));
    let world = World::with_steps(ACTS, Steps::new().with("give", large)).await;
    let body = format!("{{\"a\": \"{}\"}}", noise(1));
    let id = world.accepted(&delivery("d-1", &body)).await;
    world.settle().await;
    let whole = verified(&world, &id).await;
    assert_eq!((whole.touched, whole.bodies, whole.unseen), (vec![], 4, 0));
    let status = &world.parts.status;
    let blind = verify(&status.journal, &status.executions, None, &id).await.unwrap().unwrap();
    assert_eq!((blind.touched, blind.bodies, blind.unseen), (vec![], 0, 4));

    // The claim of the first step stands between.
    let places = [(1, sha256_of(&world, &id, 0).await), (3, sha256_of(&world, &id, 2).await)];
    for (at, sha256) in places {
        let path = Path::from_iter(["payloads", &sha256]);
        let before = world.objects.get(&path).await.unwrap().bytes().await.unwrap();
        let mut other = before.to_vec();
        other[100] ^= 1;
        world.objects.put(&path, other.into()).await.unwrap();
        let replaced = touched(&world, &id).await;
        assert_eq!(replaced[0].0, at);
        world.objects.delete(&path).await.unwrap();
        let missing = touched(&world, &id).await;
        assert_eq!(missing[0].0, at);
        assert_ne!(missing, replaced);
        for differs in [&replaced[0].1, &missing[0].1] {
            let is_body = matches!(differs, Differs::Body { .. });
            let is_result = matches!(differs, Differs::Payload { .. });
            assert_eq!((is_body, is_result), (at == 1, at == 3), "{differs:?}");
        }
        world.objects.put(&path, before.into()).await.unwrap();
        assert_eq!(touched(&world, &id).await, []);
    }
}

/// Under which hash an append's payload is stored.
async fn sha256_of(world: &World, id: &ExecutionId, place: usize) -> String {
    let events = unpacked(&items(world, id).await.remove(place));
    events.split("\"sha256\":\"").nth(1).unwrap()[..64].to_owned()
}

#[tokio::test]
async fn a_history_without_digests_goes_on_and_its_chain_begins_there() {
    let world = World::start(WAITS).await;
    let id = world.accepted(&delivery("d-1", "{}")).await;
    world.settle().await;
    for mut item in items(&world, &id).await {
        item.remove("previous");
        put(&world, item).await;
    }
    let old = items(&world, &id).await.len();
    // Another process, which remembers no digest.
    let world = World::over(world.engine.clone(), WAITS, Steps::new()).await;
    world.live_through(Duration::from_secs(400), Duration::from_secs(60)).await;

    let row = world.parts.ingest.executions.get(&id).await.unwrap().unwrap();
    assert_eq!(row.view.unwrap().status.as_str(), "completed");
    let found = verified(&world, &id).await;
    assert_eq!(found.touched, []);
    let chained: Vec<_> = found.appends.iter().map(|append| append.chained).collect();
    assert!(old > 1 && chained[1..old].iter().all(|chained| !chained), "{chained:?}");
    assert!(chained.len() > old && chained[old..].iter().all(|chained| *chained), "{chained:?}");
    // The first append of a newer version vouches for the last of an older one.
    let mut item = items(&world, &id).await.remove(old - 1);
    let last = sequence(&item);
    item.insert("append".into(), text("another"));
    put(&world, item).await;
    assert_eq!(touched(&world, &id).await[0].0, last);
}

/// Changes a history while its execution waits, and lets it go on.
async fn gone_on_after_a_change(place: usize, remembered: bool) -> (World, ExecutionId) {
    let world = World::start(WAITS).await;
    let id = world.accepted(&delivery("d-1", "{}")).await;
    world.settle().await;
    world.live_through(Duration::from_secs(200), Duration::from_secs(60)).await;
    let item = items(&world, &id).await.remove(place);
    let mut other = item.clone();
    other.insert("at".into(), text("2026-11-24T00:00:00.000Z"));
    let world = match remembered {
        true => world,
        false => World::over(world.engine.clone(), WAITS, Steps::new()).await,
    };
    put(&world, other).await;
    if remembered {
        // Nobody hears of it: a wake-up for what is past would make the process forget.
        world.records().await;
    }
    (world, id)
}

#[tokio::test]
async fn an_execution_whose_history_was_changed_is_parked_and_nobody_else_waits_for_it() {
    let (world, id) = gone_on_after_a_change(2, false).await;
    let other = world.accepted(&delivery("d-2", "{}")).await;
    // The stream tells of the change too: no batch fails of it.
    world.pass(Duration::from_secs(900));
    world.settle().await;

    let row = world.parts.ingest.executions.get(&id).await.unwrap().unwrap();
    let reason = row.stalled.unwrap();
    assert!(reason.contains("was changed after it was written"), "{reason}");
    assert!(reason.contains(&format!("everhook verify {id}")), "{reason}");
    let items = items(&world, &id).await;
    let (changed, next) = (sequence(&items[2]), sequence(&items[3]));
    assert!(reason.contains(&format!("event {next} ")), "{reason}");
    let other = world.parts.ingest.executions.get(&other).await.unwrap().unwrap();
    assert_eq!(other.stalled, None);
    let told = world.get(&format!("/executions/{id}/events")).await;
    assert_eq!((told.status, told.body["error"].as_str().unwrap()), (500, reason.as_str()));
    assert_eq!(touched(&world, &id).await[0].0, changed);
}

#[tokio::test]
async fn a_process_that_remembers_a_state_appends_after_what_it_has_read() {
    let (world, id) = gone_on_after_a_change(2, true).await;
    world.live_through(Duration::from_secs(400), Duration::from_secs(60)).await;
    // It had read the history before: it ends, and the change shows all the same.
    let row = world.parts.ingest.executions.get(&id).await.unwrap().unwrap();
    assert!(row.view.unwrap().status.is_terminal());
    let changed = sequence(&items(&world, &id).await[2]);
    assert_eq!(touched(&world, &id).await[0].0, changed);
}

#[tokio::test]
async fn an_append_after_another_one_than_is_remembered_is_not_taken() {
    let (world, id) = gone_on_after_a_change(1, true).await;
    let mut forged = items(&world, &id).await.pop().unwrap();
    let next = sequence(&forged) + events_of(&forged);
    forged.insert("sequence".into(), number(next));
    forged.insert("events".into(), packed(r#"[{"ExecutionCompleted":{}}]"#));
    put(&world, forged).await;
    world.pass(Duration::from_secs(100));
    world.settle().await;
    let row = world.parts.ingest.executions.get(&id).await.unwrap().unwrap();
    let reason = row.stalled.unwrap();
    let told = format!("was changed after it was written: event {next} ");
    assert!(reason.contains(&told), "{reason}");
}

fn events_of(item: &Item) -> u64 {
    serde_json::from_str::<Vec<serde_json::Value>>(&unpacked(item)).unwrap().len() as u64
}

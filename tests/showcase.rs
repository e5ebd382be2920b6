//! The cases of examples/showcase, as they are in the repository, from the webhook to the last call.

#[path = "../examples/showcase/target.rs"]
#[expect(dead_code, reason = "here it listens in a way of its own")]
mod target;

mod prefixes;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use everhook::{Steps, check};
use everhook_journal::ExecutionId;
use everhook_journal::config::Config;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::world::{Delivery, World, request};

const CONFIG: &str = include_str!("../examples/showcase/everhook.toml");

/// What the stand-in got: path and body, in order.
type Calls = Arc<Mutex<Vec<(String, Value)>>>;

/// What the stand-in is to fail with, before it answers as usual.
type Failures = Arc<Mutex<Vec<StatusCode>>>;

/// The showcase, with a stand-in that listens somewhere else.
async fn showcase(failures: &[StatusCode]) -> (World, Calls) {
    let (address, calls) = stand_in(failures).await;
    (world_at(&address).await, calls)
}

/// A stand-in, where it listens, and what it gets.
async fn stand_in(failures: &[StatusCode]) -> (String, Calls) {
    let (calls, failures) = (Calls::default(), Failures::new(failures.to_vec().into()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let app = Router::new().fallback(receive).with_state((calls.clone(), failures));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (address, calls)
}

async fn world_at(address: &str) -> World {
    World::start(&CONFIG.replace("127.0.0.1:9000", address)).await
}

async fn receive(
    State((calls, failures)): State<(Calls, Failures)>,
    uri: Uri,
    body: Bytes,
) -> (StatusCode, [(&'static str, &'static str); 1], String) {
    let asked: Value = serde_json::from_slice(&body).unwrap();
    calls.lock().unwrap().push((uri.path().to_owned(), asked.clone()));
    let (status, answer) = target::answer(uri.path(), &asked);
    let status = StatusCode::from_u16(status[..3].parse().unwrap()).unwrap();
    let status = failures.lock().unwrap().pop().unwrap_or(status);
    (status, [("content-type", "application/json")], answer.to_string())
}

async fn sent(world: &World, source: &'static str, body: &Value) -> ExecutionId {
    let event_type = (source == "github").then_some("push");
    let body = body.to_string().into_bytes();
    let id = world.accepted(&Delivery { source, id: "d-1".into(), event_type, body }).await;
    world.settle().await;
    id
}

fn paths(calls: &Calls) -> Vec<String> {
    calls.lock().unwrap().iter().map(|(path, _)| path.clone()).collect()
}

/// Answers as somebody outside would, at the address that was sent out.
async fn answer(world: &World, calls: &Calls, end: &str, said: &Value) {
    let asked = |(_, asked): &(String, Value)| asked["answerTo"].as_str().map(str::to_owned);
    let url = calls.lock().unwrap().iter().rev().find_map(asked).unwrap();
    let (_, path) = url.split_once("/callbacks/").unwrap();
    let mut call: ApiGatewayV2httpRequest = request("", &[], said.to_string().as_bytes());
    call.raw_path = Some(format!("/callbacks/{path}{end}"));
    assert_eq!(world.send(call).await.status, 200);
    world.settle().await;
}

#[test]
fn both_configurations_are_right() {
    for text in [CONFIG, include_str!("../examples/showcase/aws.toml")] {
        let config = Config::parse(text, "examples/showcase".into()).unwrap();
        assert_eq!(check::problems(&config, Steps::new()), []);
    }
}

#[tokio::test]
async fn a_push_starts_the_build_however_often_it_has_to_be_asked() {
    let (world, calls) = showcase(&[StatusCode::SERVICE_UNAVAILABLE; 3]).await;
    let push: Value = serde_json::from_str(include_str!("../examples/push.json")).unwrap();
    let mut push = push;
    push["ref"] = json!("refs/heads/main");

    let id = sent(&world, "github", &push).await;
    world.live_through(Duration::from_secs(60), Duration::from_secs(1)).await;

    assert_eq!(world.status(&id).await["status"], "completed");
    assert_eq!(paths(&calls), ["/ci/builds"; 4]);
    let (_, build) = calls.lock().unwrap().pop().unwrap();
    assert_eq!(build["repository"], push["repository"]["full_name"]);
}

#[tokio::test]
async fn a_push_to_another_branch_ends_at_the_filter() {
    let (world, calls) = showcase(&[]).await;
    let id = sent(&world, "github", &json!({ "ref": "refs/heads/other" })).await;
    assert_eq!(world.status(&id).await["status"], "completed");
    assert_eq!(paths(&calls), Vec::<String>::new());
}

fn invoice() -> Value {
    let object = json!({ "id": "in_1", "amount_due": 1000 });
    json!({ "id": "evt_1", "type": "invoice.finalized", "data": { "object": object } })
}

#[tokio::test]
async fn an_approved_invoice_is_archived() {
    let (world, calls) = showcase(&[]).await;
    let id = sent(&world, "stripe", &invoice()).await;
    assert_eq!(world.status(&id).await["status"], "waiting");
    world.pass(Duration::from_secs(2 * 24 * 3600));
    world.settle().await;
    assert_eq!(world.status(&id).await["status"], "waiting");

    answer(&world, &calls, "", &json!({ "approved": true })).await;

    assert_eq!(world.status(&id).await["status"], "completed");
    assert_eq!(paths(&calls), ["/price", "/approvals", "/archive"]);
    let archived = calls.lock().unwrap().pop().unwrap().1;
    let price = json!({ "net": 1000, "total": 1200 });
    let expected = json!({ "invoice": "in_1", "price": price, "approval": { "approved": true } });
    assert_eq!(archived, expected);
}

#[tokio::test]
async fn an_invoice_that_is_refused_or_forgotten_alerts() {
    let (world, calls) = showcase(&[]).await;
    let id = sent(&world, "stripe", &invoice()).await;
    answer(&world, &calls, "/failure", &json!({ "error": "Rejected" })).await;
    assert_eq!(world.status(&id).await["status"], "failed");
    let alert = json!({ "invoice": "in_1", "step": "approval", "kind": "Rejected" });
    assert_eq!(calls.lock().unwrap().last(), Some(&("/alerts".to_owned(), alert)));

    let (world, calls) = showcase(&[]).await;
    let id = sent(&world, "stripe", &invoice()).await;
    world.pass(Duration::from_secs(3 * 24 * 3600 + 1));
    world.settle().await;
    assert_eq!(world.status(&id).await["status"], "failed");
    assert_eq!(paths(&calls).last().unwrap(), "/alerts");
}

fn order(lines: usize, broken: usize) -> Value {
    let sku = |n| if n < broken { "broken".to_owned() } else { format!("sku-{n}") };
    let lines: Vec<_> = (0..lines).map(|n| json!({ "sku": sku(n) })).collect();
    json!({ "id": "A-1", "lines": lines })
}

#[tokio::test]
async fn an_order_goes_out_without_one_line_in_ten() {
    let (world, calls) = showcase(&[]).await;
    let id = sent(&world, "orders", &order(20, 2)).await;
    world.live_through(Duration::from_secs(10), Duration::from_secs(1)).await;
    assert_eq!(world.status(&id).await["status"], "completed");
    let (path, shipped) = calls.lock().unwrap().pop().unwrap();
    assert_eq!(path, "/ship");
    assert_eq!((&shipped["order"], &shipped["missing"]), (&json!("A-1"), &json!(2)));
    assert_eq!(shipped["reserved"].as_array().unwrap().len(), 18);
}

#[tokio::test]
async fn an_order_with_too_much_missing_does_not_go_out() {
    let (world, calls) = showcase(&[]).await;
    let id = sent(&world, "orders", &order(20, 3)).await;
    world.live_through(Duration::from_secs(10), Duration::from_secs(1)).await;
    assert_eq!(world.status(&id).await["status"], "failed");
    assert!(!paths(&calls).contains(&"/ship".to_owned()));
}

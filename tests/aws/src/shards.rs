//! The local event source over a stream whose shards end.
//!
//! Of what runs on one machine only DynamoDB Local closes shards, every four hours: so its clock runs
//! 720 times as fast, and an hour takes five seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lambda_events::dynamodb::Event;
use everhook::local::Doorbell;
use everhook::local::event_source::{BatchOutcome, EventSource, Settings};
use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::checks::Checks;
use crate::deployment::streams;
use crate::dynamodb_local::DynamoDbLocal;
use crate::proxy::Proxy;

/// How fast the stream's clock runs.
const CLOCK: &str = "+0 x720";

/// How many items are written side by side, and how often.
const ITEMS: usize = 5;
const EVERY: Duration = Duration::from_millis(100);

/// How long the function takes now and then: an iterator expires meanwhile, since nothing can be taken in.
const PAUSE: Duration = Duration::from_secs(12);

/// The table of this run.
const TABLE: &str = "everhook-shards";

/// The keys that were delivered, in the order of their first delivery, and of how many batches.
#[derive(Debug, Default)]
struct Seen {
    by_item: BTreeMap<String, Vec<u64>>,
    known: BTreeSet<(String, u64)>,
    batches: u64,
}

pub(crate) async fn run(seconds: u64, checks: &mut Checks) {
    let dynamodb = DynamoDbLocal::start(Some(CLOCK)).await;
    let proxy = Proxy::start(&dynamodb.endpoint).await;
    let stream_arn = make_table(&dynamodb).await;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let (stop, stopped) = watch::channel(false);
    let source = EventSource {
        streams: Arc::new(streams(&proxy.endpoint)),
        stream_arn: stream_arn.clone(),
        // Little is held, so that a slow function stops the reading.
        settings: Settings { batch_size: 20, parallel: 1, pending_max: 20, ..Settings::default() },
        function: {
            let seen = seen.clone();
            Arc::new(move |event| take(seen.clone(), event).boxed())
        },
        doorbell: Doorbell::new(),
        checkpoint: None,
        failed_batches: None,
    };
    let reading = tokio::spawn(source.run(stopped));

    println!("        writing for {seconds} s, in which {} hours pass", seconds / 5);
    let written = write(&dynamodb, Duration::from_secs(seconds)).await;
    let all = ITEMS * usize::try_from(written).unwrap();
    let latest = Instant::now() + Duration::from_secs(60);
    while seen.lock().unwrap().known.len() < all && Instant::now() < latest {
        sleep(Duration::from_millis(200)).await;
    }
    stop.send(true).ok();
    reading.await.unwrap();

    let shards = shards(&dynamodb, &stream_arn).await;
    let children = shards.iter().filter(|shard| shard["ParentShardId"].is_string()).count();
    checks.that(&format!("the stream had {} shards", shards.len()), shards.len() > 2, "too few");
    checks.that(&format!("{children} of them had a parent"), children > 1, "too few");
    let answers = proxy.take();
    let expired =
        answers.iter().filter(|call| call.error.as_deref() == Some("ExpiredIteratorException"));
    let expired = expired.count();
    checks.that(&format!("{expired} iterators expired"), expired > 0, "none did");
    let seen = seen.lock().unwrap();
    let name = format!("all {all} records were delivered");
    checks.that(&name, seen.known.len() == all, seen.known.len());
    let disordered = seen.by_item.iter().find(|(_, numbers)| !numbers.is_sorted());
    let name = "those of each item in their order, so no child before its parent";
    checks.that(name, disordered.is_none(), format!("{disordered:?}"));
}

async fn make_table(dynamodb: &DynamoDbLocal) -> String {
    let table = json!({
        "TableName": TABLE,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            { "AttributeName": "execution", "AttributeType": "S" },
            { "AttributeName": "sequence", "AttributeType": "N" },
        ],
        "KeySchema": [
            { "AttributeName": "execution", "KeyType": "HASH" },
            { "AttributeName": "sequence", "KeyType": "RANGE" },
        ],
        "StreamSpecification": { "StreamEnabled": true, "StreamViewType": "KEYS_ONLY" },
    });
    let made = dynamodb.call("CreateTable", &table).await;
    made["TableDescription"]["LatestStreamArn"].as_str().unwrap().to_owned()
}

/// Writes each item's numbers from 1; says how far it came.
async fn write(dynamodb: &DynamoDbLocal, time: Duration) -> u64 {
    let end = Instant::now() + time;
    let mut number = 0;
    while Instant::now() < end {
        number += 1;
        for item in 0..ITEMS {
            let put = json!({
                "TableName": TABLE,
                "Item": {
                    "execution": { "S": format!("item-{item}") },
                    "sequence": { "N": number.to_string() },
                },
            });
            dynamodb.call("PutItem", &put).await;
        }
        sleep(EVERY).await;
    }
    number
}

async fn take(seen: Arc<Mutex<Seen>>, event: Event) -> Result<BatchOutcome, String> {
    let event = serde_json::to_value(event).map_err(|error| error.to_string())?;
    let pause = {
        let mut seen = seen.lock().unwrap();
        seen.batches += 1;
        for record in event["Records"].as_array().into_iter().flatten() {
            let keys = &record["dynamodb"]["Keys"];
            let item = keys["execution"]["S"].as_str().unwrap_or_default().to_owned();
            let number = keys["sequence"]["N"].as_str().and_then(|text| text.parse().ok());
            let number = number.ok_or("a record without its key")?;
            if seen.known.insert((item.clone(), number)) {
                seen.by_item.entry(item).or_default().push(number);
            }
        }
        seen.batches % 60 == 30
    };
    if pause {
        sleep(PAUSE).await;
    }
    Ok(BatchOutcome::Complete)
}

async fn shards(dynamodb: &DynamoDbLocal, stream_arn: &str) -> Vec<Value> {
    let stream = json!({ "StreamArn": stream_arn });
    let described = dynamodb.streams_call("DescribeStream", &stream).await;
    described["StreamDescription"]["Shards"].as_array().cloned().unwrap_or_default()
}

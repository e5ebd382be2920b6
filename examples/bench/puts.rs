//! What the embedded engine does without us: one conditional put after another into a table like the journal.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use everhook::local::Engine;
use everhook_journal::schema::Tables;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::CONNECTIONS;
use crate::figures::{Spread, rounded};
use crate::process;

/// What each item holds beside its key.
const ITEM_BYTES: usize = 1024;

/// What so many callers got.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Puts {
    pub(crate) callers: usize,
    pub(crate) per_second: f64,
    pub(crate) took_ms: Spread,
}

/// Measures in a process of its own, as the server is measured.
pub(crate) fn in_a_process(time: Duration) -> io::Result<Vec<Puts>> {
    let data_dir = tempfile::tempdir()?;
    let seconds = time.as_secs().to_string();
    let name = OsStr::new("put-for-bench");
    let mut child = process::again([name, data_dir.path().as_os_str(), OsStr::new(&seconds)])?;
    let mut output = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut output)?;
    }
    child.wait()?;
    Ok(serde_json::from_str(&output)?)
}

/// Measures in this process, and prints what it found.
pub(crate) async fn measure(data_dir: &Path, time: Duration) -> io::Result<()> {
    let engine = Engine::on_disk(data_dir).map_err(io::Error::other)?;
    let client = engine.dynamodb();
    Tables::default().create(&client).await.map_err(io::Error::other)?;
    let mut found = Vec::new();
    for callers in CONNECTIONS {
        found.push(put(&client, callers, time).await?);
    }
    println!("{}", serde_json::to_string(&found)?);
    engine.close().await;
    Ok(())
}

async fn put(client: &Client, callers: usize, time: Duration) -> io::Result<Puts> {
    let table = Tables::default().journal;
    let content = Blob::new("0123456789abcdef".repeat(ITEM_BYTES / 16));
    let began = Instant::now();
    let mut running = JoinSet::new();
    for caller in 0..callers {
        let (client, table, content) = (client.clone(), table.clone(), content.clone());
        running.spawn(async move {
            let mut took = Vec::new();
            while began.elapsed() < time {
                let began = Instant::now();
                let key = format!("PUT-{callers}-{caller}-{}", took.len());
                client
                    .put_item()
                    .table_name(&table)
                    .item("execution", AttributeValue::S(key))
                    .item("sequence", AttributeValue::N("1".into()))
                    .item("events", AttributeValue::B(content.clone()))
                    .condition_expression("attribute_not_exists(execution)")
                    .send()
                    .await
                    .map_err(io::Error::other)?;
                took.push(began.elapsed());
            }
            Ok(took)
        });
    }
    let results: io::Result<Vec<_>> = running.join_all().await.into_iter().collect();
    let took = results?.concat();
    let per_second = rounded(took.len() as f64 / began.elapsed().as_secs_f64());
    Ok(Puts { callers, per_second, took_ms: Spread::of(took) })
}

//! What each kind of step costs: calls to DynamoDB, and the time from a webhook to its end.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use everhook::local::Server;
use everhook::local::door::Limits;
use everhook::local::server::Options;
use everhook::{Input, StepError, Steps};
use everhook_journal::{Event, ExecutionId, Sequence, environment};
use everhook_processor::steps::aws::Endpoints;
use serde::Serialize;

use crate::figures::Spread;

/// How long one execution may take.
const COMPLETED_MAX: Duration = Duration::from_secs(300);

/// How many executions of a row that takes no time by itself.
const COUNT: usize = 30;

/// A row: a workflow, and how many executions of it.
struct Row {
    name: &'static str,
    count: usize,
    steps: String,
    body: String,
}

/// What the executions of a row took.
#[derive(Debug, Serialize)]
pub(crate) struct Taken {
    name: &'static str,
    executions: usize,
    /// Events and appends of one.
    events: f64,
    appends: f64,
    /// Calls to DynamoDB for one, ingest and views included.
    calls: BTreeMap<String, f64>,
    completed_ms: Spread,
    /// How much later than it was due each wait ended.
    late_ms: Option<Spread>,
}

/// Measures all rows, one after the other, each on a fresh server.
pub(crate) async fn measure() -> io::Result<Vec<Taken>> {
    let mut taken = Vec::new();
    for row in rows() {
        let measured = run(&row).await?;
        println!("{measured}");
        taken.push(measured);
    }
    Ok(taken)
}

pub(crate) const HEAD: &str = "steps                        events  appends  puts  queries  updates  \
                               POST to completed, ms: p50      p99      max";

fn rows() -> Vec<Row> {
    let line = |kind: &str, options: &str, count: usize| -> String {
        let step = |number| {
            format!(
                "[[workflows.default.steps]]\nname = \"s{number}\"\nrun = \"{kind}\"\n{options}\n"
            )
        };
        (0..count).map(step).collect()
    };
    let row = |name, steps| Row { name, count: COUNT, steps, body: "{}".into() };
    let jq = "jq = \"1\"";
    let inner =
        |kind: &str| format!("[[workflows.default.steps.steps]]\nname = \"i\"\nrun = \"{kind}\"\n");
    let branches: String = (0..100)
        .map(|number| {
            format!(
                "[[workflows.default.steps.branches]]\nname = \"b{number}\"\n\
                 [[workflows.default.steps.branches.steps]]\nname = \"i{number}\"\nrun = \"act\"\n"
            )
        })
        .collect();
    let items = (0..1000).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    vec![
        row("1 transform", line("transform", jq, 1)),
        row("3 transforms", line("transform", jq, 3)),
        row("10 transforms", line("transform", jq, 10)),
        row("50 transforms", line("transform", jq, 50)),
        row("1 that acts", line("act", "", 1)),
        row("3 that act", line("act", "", 3)),
        row("10 that act", line("act", "", 10)),
        row("50 that act", line("act", "", 50)),
        row("3 that act at most once", line("act", "at_most_once = true", 3)),
        row("1 filter", line("filter", "jq = \"true\"", 1)),
        row("1 passed over", line("act", "when = \"false\"", 1)),
        row("1 poll, found at once", line("poll", "until = \"true\"", 1) + &inner("act")),
        row("100 branches that act", line("parallel", "", 1) + &branches),
        Row {
            count: 3,
            body: format!("[{items}]"),
            ..row(
                "1,000 items that act",
                line("map", "items = \".\"\nconcurrency = 100", 1) + &inner("act"),
            )
        },
        Row { count: 20, ..row("1 wait of 1 s", line("wait", "for = \"1s\"", 1)) },
        Row { count: 5, ..row("50 waits of 1 s", line("wait", "for = \"1s\"", 50)) },
    ]
}

async fn run(row: &Row) -> io::Result<Taken> {
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("everhook.toml");
    let source = "[sources.default]\nscheme = \"none\"\nexpect = \"any\"\n";
    std::fs::write(&config, format!("{source}{}", row.steps))?;
    let options = Options {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        data_dir: folder.path().join("data"),
        in_memory: false,
        new_keys: false,
        config,
        dynamodb_endpoint: None,
        endpoints: Endpoints::default(),
        limits: Limits::default(),
    };
    let steps = Steps::new().with("act", |_: Input| async { Ok::<_, StepError>(1) });
    let server = Server::start(&options, steps).await.map_err(io::Error::other)?;
    environment::prepare_tls();
    let client = reqwest::Client::builder().no_proxy().build().map_err(io::Error::other)?;
    // What is done once is done before.
    complete(&client, &server, row, 0).await?;
    let before: BTreeMap<_, u64> = server.parts.store.calls().snapshot().into();
    let mut ids = Vec::new();
    let mut took = Vec::new();
    if row.name.contains("wait") {
        let all = (1..=row.count).map(|number| complete(&client, &server, row, number));
        for completed in futures_util::future::join_all(all).await {
            let (id, time) = completed?;
            ids.push(id);
            took.push(time);
        }
    } else {
        for number in 1..=row.count {
            let (id, time) = complete(&client, &server, row, number).await?;
            ids.push(id);
            took.push(time);
        }
    }
    // Views and late records still come.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after: BTreeMap<_, u64> = server.parts.store.calls().snapshot().into();
    let each = |count: u64| (count as f64 / row.count as f64 * 10.0).round() / 10.0;
    // Gets are ours: we ask for the row again and again.
    let calls = after
        .into_iter()
        .filter(|(name, _)| *name != "GetItem")
        .map(|(name, count)| (name.to_string(), each(count - before.get(&name).unwrap_or(&0))))
        .collect();
    let (mut events, mut appends, mut late) = (0, 0, Vec::new());
    for id in &ids {
        let history = server.parts.ingest.journal.read(id, Sequence::START).await;
        let history = history.map_err(io::Error::other)?;
        events += history.len() as u64;
        appends +=
            history.iter().filter(|recorded| recorded.first == recorded.sequence).count() as u64;
        let mut due = None;
        for recorded in &history {
            match (&recorded.event, due) {
                (Event::WaitStarted { until, .. }, _) => due = Some(*until),
                (Event::StepCompleted { .. }, Some(until)) => {
                    late.push(recorded.at.since(until));
                    due = None;
                }
                _ => {}
            }
        }
    }
    server.stop().await;
    Ok(Taken {
        name: row.name,
        executions: row.count,
        events: each(events),
        appends: each(appends),
        calls,
        completed_ms: Spread::of(took),
        late_ms: (!late.is_empty()).then(|| Spread::of(late)),
    })
}

/// Sends a webhook and asks until it is completed.
async fn complete(
    client: &reqwest::Client,
    server: &Server,
    row: &Row,
    number: usize,
) -> io::Result<(ExecutionId, Duration)> {
    let begun = Instant::now();
    // Each body is another one, so that each is another webhook.
    let body = format!("{}{}", row.body, " ".repeat(number));
    let url = format!("http://{}/webhook", server.address);
    let answer = client.post(url).body(body).send().await.map_err(io::Error::other)?;
    let answer: serde_json::Value =
        serde_json::from_str(&answer.text().await.map_err(io::Error::other)?)?;
    let id = answer["executionToken"].as_str().and_then(ExecutionId::parse);
    let id = id.ok_or_else(|| io::Error::other(format!("no token: {answer}")))?;
    while begun.elapsed() < COMPLETED_MAX {
        let shown = server.parts.ingest.executions.get(&id).await.map_err(io::Error::other)?;
        match shown.and_then(|row| row.view).map(|view| view.status.as_str()) {
            Some("completed") => return Ok((id, begun.elapsed())),
            Some("failed") => return Err(io::Error::other(format!("{}: {id} failed", row.name))),
            _ => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
    Err(io::Error::other(format!("{}: {id} never completed", row.name)))
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls = |name: &str| self.calls.get(name).copied().unwrap_or_default();
        let (puts, queries, updates) = (calls("PutItem"), calls("Query"), calls("UpdateItem"));
        write!(
            f,
            "{:<27} {:>7} {:>8} {puts:>5} {queries:>8} {updates:>8} {:>37}",
            self.name, self.events, self.appends, self.completed_ms
        )?;
        match self.late_ms {
            Some(late) => write!(f, "   waits end late by {late}"),
            None => Ok(()),
        }
    }
}

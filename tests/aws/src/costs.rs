//! What a webhook costs: counted calls and consumed units of a real run, times AWS's prices.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use everhook_journal::callback::Callbacks;
use everhook_journal::id::{ExecutionKey, StepName};
use everhook_journal::{ExecutionId, Timestamp};
use serde_json::json;
use tokio::time::sleep;

use crate::Built;
use crate::checks::Checks;
use crate::deployment::{CALLBACK_EXPIRES, Deployment, EXECUTION_KEY, SECRET};
use crate::e2e::completed;
use crate::events::{self, Webhook};
use crate::proxy::Call;

/// The page that tells it.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/costs.md");

/// What encloses, in the page, what is printed here.
const BEGIN: &str = "<!-- printed by `just costs` -->\n";
const END: &str = "<!-- end -->\n";

/// What is counted: webhooks of a source, whose workflow has three steps.
struct Case {
    source: &'static str,
    /// What the page says of it.
    says: &'static str,
    /// Write units that one may cost.
    units_max: f64,
    /// How many are counted, one after the other, so that none shares a batch: the worst case.
    webhooks: usize,
    /// What happens after the end that belongs to it.
    afterwards: Duration,
}

/// Counted a few times: a call that is made again, or a batch that two records share, is not what is usual.
const FEW: usize = 3;

const CASES: [Case; 7] = [
    Case {
        source: "stripe",
        says: "three steps that compute; the id is signed or in the body",
        units_max: 4.0,
        webhooks: 5,
        afterwards: Duration::ZERO,
    },
    Case {
        source: "forgetful",
        says: "the same; the id is not signed, `remember_bodies = false`",
        units_max: 4.0,
        webhooks: FEW,
        afterwards: Duration::ZERO,
    },
    Case {
        source: "github",
        says: "the same; the id is not signed, and the body is remembered",
        units_max: 5.0,
        webhooks: FEW,
        afterwards: Duration::ZERO,
    },
    Case {
        source: "stripe-acting",
        says: "one of the three acts outside",
        units_max: 5.0,
        webhooks: FEW,
        afterwards: Duration::ZERO,
    },
    Case {
        source: "stripe-retrying",
        says: "one of the three acts outside, and is tried a second time",
        units_max: 11.0,
        webhooks: FEW,
        afterwards: Duration::ZERO,
    },
    Case {
        source: "stripe-waiting",
        says: "one of the three waits",
        units_max: 9.0,
        webhooks: FEW,
        afterwards: Duration::ZERO,
    },
    Case {
        source: "stripe-answered",
        says: "one of the three waits for an answer, which comes",
        units_max: 12.0,
        webhooks: FEW,
        // Nothing is left to fire when it would have expired.
        afterwards: CALLBACK_EXPIRES,
    },
];

/// How long nothing is called once all is done: the projector gathers for a second.
const QUIET: Duration = Duration::from_millis(1800);

/// Bodies of about 1 KB, as GitHub and Stripe send them, and a part of each that is another one each time.
const PUSH: (&str, &str) =
    (include_str!("../../write_units/push.json"), "c41e7a90b3d25f6788190a2b3c4d5e6f70819203");
const PAYMENT: (&str, &str) =
    (include_str!("../../write_units/payment.json"), "evt_3QKd2vLkdIwHu7ix0nQ8ZtYb");

/// What a webhook may write to the logs, in bytes.
const LOG_BYTES: usize = 5 * 1024;

/// What a webhook leaves in the tables, in bytes, with the 100 that DynamoDB adds to each item.
const STORED_BYTES: usize = 6 * 1024;

/// Prices in USD: us-east-1, arm64, on demand, without free tiers.
struct Prices {
    api_request: f64,
    invocation: f64,
    gb_second: f64,
    write_unit: f64,
    read_unit: f64,
    log_gb: f64,
    table_gb_month: f64,
    backup_gb_month: f64,
}

const PRICES: Prices = Prices {
    api_request: 1.00e-6,
    invocation: 0.20e-6,
    gb_second: 13.3334e-6,
    write_unit: 0.625e-6,
    read_unit: 0.125e-6,
    log_gb: 0.50,
    table_gb_month: 0.25,
    backup_gb_month: 0.20,
};

/// A function's memory in GB, and how long an invocation is taken to last in AWS, in seconds:
/// what it adds here, and 5 ms for each DynamoDB call that it waits for.
const LASTING: [(&str, f64, f64); 3] =
    [("ingest", 0.5, 0.010), ("processor", 1.0, 0.020), ("projector", 0.5, 0.020)];

/// What was counted for one webhook.
#[derive(Debug, PartialEq)]
struct Counted {
    /// Operation and table -> calls, units.
    calls: BTreeMap<(String, String), (usize, f64)>,
    /// Function -> invocations.
    invocations: BTreeMap<&'static str, u64>,
}

/// Counts, and compares with the page, or writes it.
pub(crate) async fn run(built: &Built, write: bool, checks: &mut Checks) {
    let (counted, log_bytes) = count(built).await;
    let tables = tables(&counted);
    println!("{tables}");
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("docs/costs.md has the marks");
    let (documented, after) = rest.split_once(END).expect("docs/costs.md has the marks");
    if write {
        std::fs::write(PAGE, format!("{before}{BEGIN}{tables}{END}{after}")).unwrap();
    } else {
        let name = "docs/costs.md tells what was counted";
        checks.that(name, documented == tables, "it differs; `just costs --write` renews it");
    }
    for (case, counted) in CASES.iter().zip(&counted) {
        let (units, most) = (units(counted, true), case.units_max);
        let name = format!("{}: {units} write units, of {most} at most", case.says);
        checks.that(&name, units > 0.0 && units <= most, units);
    }
    let name = format!("it logs {log_bytes} bytes, of {LOG_BYTES} at most");
    checks.that(&name, log_bytes <= LOG_BYTES, log_bytes);
}

/// As [`run`], to be checked with the rest.
pub(crate) async fn are_as_documented(built: &Built, checks: &mut Checks) {
    Box::pin(run(built, false, checks)).await;
}

/// What is usual of each case, and how many bytes the first one logs.
async fn count(built: &Built) -> (Vec<Counted>, usize) {
    let aws = Deployment::start(built, 1).await;
    aws.proxy.meter();
    let mappings = [aws.map("ProcessorFunction"), aws.map("ProjectorFunction")];
    // The first one starts the functions, which costs calls of its own.
    one(&aws, &CASES[0], 0).await;
    aws.proxy.take();
    let (mut counted, mut logged) = (Vec::new(), None);
    for case in &CASES {
        let lines = aws.lines.lock().unwrap().len();
        let mut of_each = Vec::new();
        for number in 1..=case.webhooks {
            of_each.push(one(&aws, case, number).await);
        }
        let written: usize = aws.lines.lock().unwrap()[lines..].iter().map(String::len).sum();
        logged.get_or_insert(written / case.webhooks);
        let same = |one: &Counted| of_each.iter().filter(|other| *other == one).count();
        let usual = (0..of_each.len()).max_by_key(|place| same(&of_each[*place])).unwrap();
        counted.push(of_each.swap_remove(usual));
    }
    for mapping in mappings {
        mapping.stop().await;
    }
    (counted, logged.unwrap_or_default())
}

/// Sends one webhook, and counts until nothing moves any more.
async fn one(aws: &Deployment, case: &Case, number: usize) -> Counted {
    for function in [&aws.ingest, &aws.processor, &aws.projector] {
        function.invocations();
    }
    let token = events::call(&aws.ingest, webhook(case, number).signed(SECRET)).await.token();
    if case.source == "stripe-answered" {
        answer(aws, &token).await;
    }
    let status = completed(aws, &token).await;
    assert_eq!(status["status"], "completed", "{}: {status}", case.source);
    sleep(case.afterwards).await;
    aws.proxy.quiet_for(QUIET).await;
    let calls = by_operation(aws.proxy.take());
    let invocations = BTreeMap::from([
        ("ingest", aws.ingest.invocations()),
        ("processor", aws.processor.invocations()),
        ("projector", aws.projector.invocations()),
    ]);
    Counted { calls, invocations }
}

/// Answers the callback of an execution, once it waits and its view says so: most answers take longer than a view.
async fn answer(aws: &Deployment, token: &str) {
    loop {
        let status = aws.status_of(token).await;
        assert_ne!(status["status"], "failed", "{status}");
        if status["status"] == "waiting" {
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
    aws.proxy.quiet_for(QUIET).await;
    let events = aws.part_of(token, "events").await.json();
    let began = events["events"][0]["at"].as_str().and_then(Timestamp::parse).unwrap();
    let key = ExecutionKey::new(EXECUTION_KEY.as_bytes()).unwrap();
    let execution = ExecutionId::parse(token).unwrap();
    let callbacks = Callbacks::new(key, "https://hooks.example.com");
    let address = callbacks.token(&execution, began, &StepName::new("approval"), 1);
    let told = aws.call_back(&callbacks.urls(&address).url, &json!({ "ok": true })).await;
    assert_eq!(told.status, 200, "{told:?}");
}

/// A webhook that is like no other.
fn webhook(case: &Case, number: usize) -> Webhook {
    let ((body, part), event) = match case.source {
        source if source.starts_with("stripe") => (PAYMENT, "payment_intent.succeeded"),
        _ => (PUSH, "push"),
    };
    // As long as the one it stands for.
    let other = format!("{}{number}", &part[..part.len() - 1]);
    let body = body.replacen(part, &other, 1).into_bytes();
    let delivery = format!("72d3162e-cc78-11e3-81ab-4c9367dc095{number}");
    Webhook { source: case.source, event: event.into(), delivery, body }
}

fn by_operation(calls: Vec<Call>) -> BTreeMap<(String, String), (usize, f64)> {
    let mut by_operation = BTreeMap::new();
    for call in calls {
        if call.operation.contains("Stream") {
            continue;
        }
        let table = match &call.table {
            table if table.contains("Journal") => "journal",
            table if table.contains("Timers") => "timers",
            _ => "executions",
        };
        let of_this: &mut (usize, f64) =
            by_operation.entry((call.operation, table.to_owned())).or_default();
        of_this.0 += 1;
        of_this.1 += call.units;
    }
    by_operation
}

fn is_write(operation: &str) -> bool {
    ["PutItem", "UpdateItem", "DeleteItem"].contains(&operation)
}

fn units(counted: &Counted, writes: bool) -> f64 {
    let of_kind = counted.calls.iter().filter(|((name, _), _)| is_write(name) == writes);
    of_kind.map(|(_, (_, units))| units).sum()
}

/// The tables of the page.
fn tables(counted: &[Counted]) -> String {
    let mut text = table(&counted[0]);
    let least = units(&counted[0], true);
    text += "\n| of one webhook whose workflow has | write units | more than the first | USD a million |\n|---|---|---|---|\n";
    for (case, counted) in CASES.iter().zip(counted) {
        let units = units(counted, true);
        let more = match units - least {
            0.0 => String::new(),
            more => more.to_string(),
        };
        let price = units * PRICES.write_unit * 1_000_000.0;
        writeln!(text, "| {} | {units} | {more} | {price:.2} |", case.says).unwrap();
    }
    text
}

/// The tables of one case.
fn table(counted: &Counted) -> String {
    let mut text =
        String::from("| of one webhook | calls | write units | read units |\n|---|---|---|---|\n");
    for ((operation, table), (calls, units)) in &counted.calls {
        let (writes, reads) = if is_write(operation) {
            (units.to_string(), String::new())
        } else {
            (String::new(), units.to_string())
        };
        writeln!(text, "| `{operation}`, {table} | {calls} | {writes} | {reads} |").unwrap();
    }
    let (writes, reads) = (units(counted, true), units(counted, false));
    let calls: usize = counted.calls.values().map(|(calls, _)| calls).sum();
    writeln!(text, "| together | {calls} | {writes} | {reads} |\n").unwrap();
    let million = 1_000_000.0;
    let mut rows = vec![("HTTP API: requests", "1".to_owned(), PRICES.api_request * million)];
    let mut invocations = 0;
    let mut seconds = 0.0;
    for (name, gigabytes, lasting) in LASTING {
        let count = counted.invocations[name];
        invocations += count;
        #[expect(clippy::cast_precision_loss, reason = "a handful of invocations")]
        let count = count as f64;
        seconds += count * gigabytes * lasting;
    }
    let told: Vec<_> =
        LASTING.iter().map(|(name, ..)| format!("{} {name}", counted.invocations[name])).collect();
    #[expect(clippy::cast_precision_loss, reason = "a handful of invocations")]
    let invoked = invocations as f64 * PRICES.invocation * million;
    rows.push(("Lambda: invocations", told.join(", "), invoked));
    rows.push((
        "Lambda: GB-seconds",
        format!("{seconds:.3}"),
        seconds * PRICES.gb_second * million,
    ));
    rows.push(("DynamoDB: write units", writes.to_string(), writes * PRICES.write_unit * million));
    rows.push(("DynamoDB: read units", reads.to_string(), reads * PRICES.read_unit * million));
    // So many GB are kept for so much of a month.
    #[expect(clippy::cast_precision_loss, reason = "a few kilobytes")]
    let (stored, logged) = (STORED_BYTES as f64 / 1024.0, LOG_BYTES as f64 / 1024.0);
    let gb = |kilobytes: f64| kilobytes * million / (1024.0 * 1024.0);
    let kept = gb(stored) * 7.0 / 30.0 * (PRICES.table_gb_month + PRICES.backup_gb_month);
    rows.push(("DynamoDB: kept for 7 days, with recovery", format!("{stored} KB"), kept));
    rows.push((
        "CloudWatch: logs and metrics in them",
        format!("{logged} KB"),
        gb(logged) * PRICES.log_gb,
    ));
    text += "| of one million webhooks | of each | USD |\n|---|---|---|\n";
    for (name, of_each, price) in &rows {
        writeln!(text, "| {name} | {of_each} | {price:.2} |").unwrap();
    }
    let total: f64 = rows.iter().map(|(_, _, price)| price).sum();
    writeln!(text, "| together | | {total:.2} |").unwrap();
    text
}

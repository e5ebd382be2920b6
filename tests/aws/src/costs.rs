//! What a webhook costs: counted calls and consumed units of a real run, times AWS's prices.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use tokio::time::sleep;

use crate::Built;
use crate::checks::Checks;
use crate::deployment::{Deployment, SECRET};
use crate::e2e::completed;
use crate::events::{self, Webhook};
use crate::proxy::Call;

/// The page that tells it.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/costs.md");

/// What encloses, in the page, what is printed here.
const BEGIN: &str = "<!-- printed by `just costs` -->\n";
const END: &str = "<!-- end -->\n";

/// How many webhooks are counted, one after the other, so that none shares a batch: the dearest way.
const WEBHOOKS: usize = 7;

/// Their body, of about 1 KB: a push, as GitHub sends one.
const BODY: &str = include_str!("../../write_units/push.json");

/// Write units that a webhook may cost.
const WRITE_UNITS_MAX: f64 = 7.0;

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
    let table = table(&counted);
    println!("{table}");
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("docs/costs.md has the marks");
    let (documented, after) = rest.split_once(END).expect("docs/costs.md has the marks");
    if write {
        std::fs::write(PAGE, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
    } else {
        let name = "docs/costs.md tells what was counted";
        checks.that(name, documented == table, "it differs; `just costs --write` renews it");
    }
    let units = units(&counted, true);
    let name = format!("a webhook costs {units} write units, of {WRITE_UNITS_MAX} at most");
    checks.that(&name, units > 0.0 && units <= WRITE_UNITS_MAX, units);
    let name = format!("it logs {log_bytes} bytes, of {LOG_BYTES} at most");
    checks.that(&name, log_bytes <= LOG_BYTES, log_bytes);
}

/// As [`run`], to be checked with the rest.
pub(crate) async fn are_as_documented(built: &Built, checks: &mut Checks) {
    Box::pin(run(built, false, checks)).await;
}

async fn count(built: &Built) -> (Counted, usize) {
    let aws = Deployment::start(built, 1).await;
    aws.proxy.meter();
    let mappings = [aws.map("ProcessorFunction"), aws.map("ProjectorFunction")];
    let mut of_each = Vec::new();
    let mut logged = 0;
    // The first one starts the functions, which costs calls of its own.
    for number in 0..=WEBHOOKS {
        let lines = aws.lines.lock().unwrap().len();
        let told = events::call(&aws.ingest, webhook(number).signed(SECRET)).await;
        let status = completed(&aws, &told.token()).await;
        assert_eq!(status["status"], "completed", "{status}");
        // The projector gathers for a second.
        sleep(Duration::from_millis(2500)).await;
        let calls = aws.proxy.take();
        let invocations = BTreeMap::from([
            ("ingest", aws.ingest.invocations()),
            ("processor", aws.processor.invocations()),
            ("projector", aws.projector.invocations()),
        ]);
        if number > 0 {
            of_each.push(Counted { calls: by_operation(calls), invocations });
            logged += aws.lines.lock().unwrap()[lines..].iter().map(String::len).sum::<usize>();
        }
    }
    for mapping in mappings {
        mapping.stop().await;
    }
    let usual = of_each
        .iter()
        .max_by_key(|one| of_each.iter().filter(|other| other == one).count())
        .unwrap();
    let usual = Counted { calls: usual.calls.clone(), invocations: usual.invocations.clone() };
    (usual, logged / WEBHOOKS)
}

/// A webhook that is like no other.
fn webhook(number: usize) -> Webhook {
    let body = BODY.replacen('{', &format!("{{\"number\":{number},"), 1).into_bytes();
    let delivery = format!("72d3162e-cc78-11e3-81ab-4c9367dc09{number:02}");
    Webhook { source: "github", event: "push".into(), delivery, body }
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

//! What is counted and timed, for CloudWatch.
//!
//! The Lambda functions write it to their logs in the embedded metric format; see `docs/observability.md`.
//! Without [`start`], as on one machine, counting costs next to nothing and goes nowhere.
//!
//! Nothing here takes a body, a header, a secret or anything else a sender chose.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use metrics::{Unit, counter, histogram};
use metrics_cloudwatch_embedded::{Builder, Collector};

/// The namespace of all metrics.
const NAMESPACE: &str = "Everhook";

/// A document holds 100 values of one metric at most; what comes after would be lost.
const VALUES_MAX: usize = 50;

const COUNTERS: [&str; 14] = [
    "Accepted",
    "Duplicate",
    "DuplicateBodies",
    "MismatchedBodies",
    "RepeatedBodies",
    "Rejected",
    "Quarantined",
    "Released",
    "Stalled",
    "Due",
    "ShardsFailed",
    "Unreadable",
    "AuditTimers",
    "AuditViews",
];

static COLLECTOR: OnceLock<&Collector> = OnceLock::new();
static VALUES: AtomicUsize = AtomicUsize::new(0);

/// Begins to collect, with `EVERHOOK_DEPLOYMENT` as the dimension `Deployment`.
pub fn start() {
    let deployment = std::env::var("EVERHOOK_DEPLOYMENT").unwrap_or_else(|_| "everhook".into());
    let builder =
        Builder::new().cloudwatch_namespace(NAMESPACE).with_dimension("Deployment", deployment);
    match builder.init() {
        Ok(collector) => {
            COLLECTOR.set(collector).ok();
            describe();
        }
        Err(error) => tracing::warn!("no metrics are written: {error}"),
    }
}

fn describe() {
    for name in COUNTERS {
        metrics::describe_counter!(name, Unit::Count, "");
    }
    for name in ["StepDuration", "ExecutionDuration"] {
        metrics::describe_histogram!(name, Unit::Milliseconds, "");
    }
    for name in ["DueAge", "AuditAge"] {
        metrics::describe_histogram!(name, Unit::Seconds, "");
    }
}

/// Writes what was collected since the last time. To be called at the end of each invocation:
/// a frozen function writes nothing.
pub fn flush() {
    if let Some(collector) = COLLECTOR.get() {
        VALUES.store(0, Ordering::Relaxed);
        if let Err(error) = collector.flush(std::io::stdout().lock()) {
            tracing::warn!("metrics could not be written: {error}");
        }
    }
}

/// A webhook was recorded.
pub fn accepted() {
    counter!("Accepted").increment(1);
}

/// A webhook had been recorded before.
pub fn duplicate() {
    counter!("Duplicate").increment(1);
}

/// A webhook without an id had been recorded before, by its body.
pub fn duplicate_body() {
    counter!("DuplicateBodies").increment(1);
}

/// A webhook had been recorded before, under the same id with another body.
pub fn mismatched_body() {
    counter!("MismatchedBodies").increment(1);
}

/// The body of a webhook had been recorded before: under another id that is not signed, or without an id.
pub fn repeated_body() {
    counter!("RepeatedBodies").increment(1);
}

/// A request was not recorded, for one of a few reasons.
pub fn rejected(reason: &'static str) {
    counter!("Rejected", "Reason" => reason).increment(1);
}

/// A request that was not verified was `kept`, or not, for one of a few reasons.
pub fn quarantined(outcome: &'static str) {
    counter!("Quarantined", "Outcome" => outcome).increment(1);
}

/// A kept request could be verified after all, and was recorded.
pub fn released() {
    counter!("Released").increment(1);
}

/// An attempt at a step was recorded: `completed`, `retried` or `failed`.
pub fn step(outcome: &'static str, took: Duration) {
    histogram!("StepDuration", "Outcome" => outcome).record(took.as_secs_f64() * 1000.0);
    value();
}

/// An execution ended, so long after its webhook was received: `completed` or `failed`.
pub fn execution(outcome: &'static str, took: Duration) {
    histogram!("ExecutionDuration", "Outcome" => outcome).record(took.as_secs_f64() * 1000.0);
    value();
}

/// An execution was parked for somebody to look at.
pub fn stalled() {
    counter!("Stalled").increment(1);
}

/// The sweep looked: how long the oldest timer has been due, how many were claimed,
/// and how many shards of the index could not be read.
pub fn swept(oldest: Duration, claimed: usize, shards_failed: usize) {
    // Without it for some minutes an alarm goes off: a look that missed a shard does not count as one.
    if shards_failed == 0 {
        histogram!("DueAge").record(oldest.as_secs_f64());
        value();
    }
    counter!("Due").increment(claimed as u64);
    if shards_failed > 0 {
        counter!("ShardsFailed").increment(shards_failed as u64);
    }
}

/// The audit went on: how far behind it is, and how many timers and views were missing.
pub fn audited(behind: Duration, timers: usize, views: usize) {
    // Without it for some minutes an alarm goes off.
    histogram!("AuditAge").record(behind.as_secs_f64());
    value();
    counter!("AuditTimers").increment(timers as u64);
    counter!("AuditViews").increment(views as u64);
}

/// Records of the stream that cannot be read.
pub fn unreadable(records: usize) {
    counter!("Unreadable").increment(records as u64);
}

fn value() {
    if VALUES.fetch_add(1, Ordering::Relaxed) + 1 >= VALUES_MAX {
        flush();
    }
}

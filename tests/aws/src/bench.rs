//! Sizes, starts, and what the functions add to the time of their calls.

use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::Built;
use crate::checks::Checks;
use crate::deployment::{Deployment, SECRET};
use crate::e2e::small;
use crate::events;
use crate::function::{BINARIES, binary};

/// How large a binary may be, in MiB: for arm64, which is what is deployed, and for x86_64, whose code is larger.
const ARM64_MAX: u64 = 8;
const X86_64_MAX: u64 = 12;

/// The processor's share: JSON Schema, jq, and the clients of eight services that steps call.
const PROCESSOR_X86_64_MAX: u64 = 15;

/// How often each function is started.
const STARTS: usize = 15;

/// How long a start may take, in the median.
const START_MAX: Duration = Duration::from_millis(30);

/// How many webhooks are timed, after as many as warm the function up.
const WEBHOOKS: usize = 2_000;
const WARMING: usize = 200;

/// What ingest may add to its puts, 99 times of 100.
const INGEST_MAX: Duration = Duration::from_millis(5);

/// How many executions of ten steps are timed.
const EXECUTIONS: usize = 100;
const STEPS: u32 = 10;

/// What a step may take beyond its own append, in the median.
const STEP_MAX: Duration = Duration::from_millis(2);

pub(crate) async fn run(built: &Built, arm64: Option<&Path>, patience: u32, checks: &mut Checks) {
    for (name, _) in BINARIES {
        let max = if name == "ProcessorFunction" { PROCESSOR_X86_64_MAX } else { X86_64_MAX };
        size(name, "x86_64", &built.binaries, max, checks);
        if let Some(folder) = arm64 {
            size(name, "arm64", folder, ARM64_MAX, checks);
        }
    }
    let aws = Deployment::start(built, 1).await;
    starts(&aws, patience, checks).await;
    ingest_adds_little(&aws, patience, checks).await;
    for (source, told) in [("computing", "transform"), ("calling", "http")] {
        steps_add_little(&aws, source, told, patience, checks).await;
    }
}

fn size(name: &str, processor: &str, folder: &Path, mebibytes_max: u64, checks: &mut Checks) {
    let bytes = std::fs::metadata(binary(folder, name)).unwrap().len();
    let hundredths = bytes * 100 / 1024 / 1024;
    let told = format!(
        "size of {name}, {processor}: {}.{:02} MiB of {mebibytes_max}",
        hundredths / 100,
        hundredths % 100
    );
    checks.that(&told, hundredths <= mebibytes_max * 100, "it is larger");
}

async fn starts(aws: &Deployment, patience: u32, checks: &mut Checks) {
    let functions = [&aws.ingest, &aws.processor, &aws.projector, &aws.status, &aws.sweep];
    // The first one makes what the others find: tables' metadata, published workflows.
    for function in functions {
        function.start_once().await;
    }
    for ((name, _), function) in BINARIES.into_iter().zip(functions) {
        let mut times = Vec::new();
        for _ in 0..STARTS {
            times.push(function.start_once().await);
        }
        let (median, worst) = (percentile(&mut times, 50), percentile(&mut times, 100));
        let told = format!("start of {name}: median {}, worst {}", ms(median), ms(worst));
        checks.that(&told, median <= START_MAX * patience, "too long");
    }
}

async fn ingest_adds_little(aws: &Deployment, patience: u32, checks: &mut Checks) {
    let mut added = Vec::new();
    let mut whole = Vec::new();
    for number in 0..WARMING + WEBHOOKS {
        aws.proxy.take();
        let event = small("github", &format!("bench-{number}")).signed(SECRET);
        let told = events::call(&aws.ingest, event).await;
        assert_eq!(told.status, 202);
        if number >= WARMING {
            let (began, ended) = (told.answered.began, told.answered.ended);
            let calls = aws.proxy.take();
            assert_eq!(calls.len(), 2, "a webhook whose id is not signed is two puts");
            let elsewhere =
                covered(calls.iter().map(|call| (call.began, call.ended)), began, ended);
            whole.push(between(began, ended));
            added.push(between(began, ended).saturating_sub(elsewhere));
        }
    }
    let (p50, p99) = (percentile(&mut added, 50), percentile(&mut added, 99));
    let told = format!(
        "ingest adds to its two puts: p50 {}, p99 {} (with them: p50 {}, p99 {})",
        ms(p50),
        ms(p99),
        ms(percentile(&mut whole, 50)),
        ms(percentile(&mut whole, 99))
    );
    checks.that(&told, p99 <= INGEST_MAX * patience, "too long");
}

/// Executions of ten steps in one invocation; of `http` steps each has an append of its own.
async fn steps_add_little(
    aws: &Deployment,
    source: &'static str,
    told: &str,
    patience: u32,
    checks: &mut Checks,
) {
    let mut added = Vec::new();
    for number in 0..WARMING / 10 + EXECUTIONS {
        let webhook = small(source, &format!("steps-{number}"));
        let token = events::call(&aws.ingest, webhook.signed(SECRET)).await.token();
        aws.proxy.take();
        // What acts is left to an invocation of its own, which is the one that is timed.
        let event = match source {
            "calling" => json!({ "acting": [token] }),
            _ => json!({ "Records": [events::record(&token, 1)] }),
        };
        let answered = aws.processor.invoke(event).await.unwrap();
        let calls = aws.proxy.take();
        if number >= WARMING / 10 {
            let calls = calls.iter().map(|call| (call.began, call.ended));
            let acted = aws.target.calls_for(&token);
            let acted = acted.iter().filter_map(|call| Some((call.began, call.ended?)));
            let calls = calls.chain(acted);
            let elsewhere = covered(calls, answered.began, answered.ended);
            let whole = between(answered.began, answered.ended);
            added.push(whole.saturating_sub(elsewhere) / STEPS);
        }
        let status = aws.status_of(&token).await;
        assert_eq!(status["status"], "completed", "{status}");
    }
    let (p50, p99) = (percentile(&mut added, 50), percentile(&mut added, 99));
    let told =
        format!("a step of kind {told} takes beyond its append: p50 {}, p99 {}", ms(p50), ms(p99));
    checks.that(&told, p50 <= STEP_MAX * patience, "too long");
}

/// How much of the time from `began` to `ended` any of these spans covers.
fn covered(
    spans: impl Iterator<Item = (SystemTime, SystemTime)>,
    began: SystemTime,
    ended: SystemTime,
) -> Duration {
    let mut spans: Vec<_> = spans.map(|(from, to)| (from.max(began), to.min(ended))).collect();
    spans.sort();
    let mut covered = Duration::ZERO;
    let mut until = began;
    for (from, to) in spans {
        covered += between(from.max(until), to);
        until = until.max(to);
    }
    covered
}

fn between(from: SystemTime, to: SystemTime) -> Duration {
    to.duration_since(from).unwrap_or_default()
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    let last = times.len().checked_sub(1).expect("something was timed");
    times[last * percent / 100]
}

fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

//! What steps act on: it counts what is done to it, and answers well, badly, late, or not at all.

use std::time::Duration;

use everhook_processor::{Input, Outgoing, StepError, Steps};
use serde_json::{Value, json};

use crate::answers::beats;
use crate::checks::RESULT_BYTES_MAX;
use crate::executor::{WORLD, executor, roll, sleep};
use crate::faults::Fault;
use crate::kit::{HANG, RACE, kit};
use crate::outsiders::callback;
use crate::tables::die;
use crate::world::world;

/// Noise of so many bytes just fits into an event.
const WIDE_BYTES: usize = 37 * 1024;

/// The kind of a failure whose message is the number of seconds after which to come again.
pub(crate) const LATER: &str = "later";

/// The kinds of step that the workflows name.
pub(crate) fn steps() -> Steps {
    Steps::new()
        .with("act", |input| act(input, 400))
        .with("act-long", |input| act(input, 40_000))
        .with("look", |input| act(input, 400))
        .with("kill", kill)
}

/// How an attempt will end.
enum End {
    Well,
    Large,
    /// As large as fits into an event.
    Wide,
    TooLarge,
    Failure,
    LongFailure,
    Refusal,
    /// It says in how many seconds it is worth while to come again.
    Later(u64),
    Panic,
}

/// An effect under way: it ends when its future does, however that is.
struct UnderWay(Input);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let now = world().now();
        world().checks.borrow_mut().effect_ends(&self.0, now);
    }
}

fn begin(input: &Input, millis_max: u64) -> (Duration, End) {
    let world = world();
    world.tell(|| format!("acts {} {} {}", input.execution, input.step, input.attempt));
    let now = world.now();
    world.check(|checks| checks.effect_begins(input, executor().current(), now));
    let sent =
        Outgoing::new("ACT", input.step.as_str()).header("attempt", input.attempt.to_string());
    input.record_request(sent.header("execution", input.execution.as_str()));
    if let Some(urls) = &input.callback {
        let token = urls.token.clone();
        if input.webhook.source.as_str() == "beat" {
            executor().spawn(WORLD, beats(token.clone(), input.execution.clone()));
        }
        world.asked.borrow_mut().push((token.clone(), input.execution.clone()));
        let expires = match input.webhook.source.as_str() {
            RACE => Duration::from_secs(25),
            _ => Duration::from_secs(1_800),
        };
        executor().spawn(WORLD, callback(token, input.execution.clone(), expires));
    }
    let hangs = input.webhook.source.as_str() == HANG;
    let duration = match hangs || world.strikes(Fault::TargetSlow) {
        true => input.timeout + Duration::from_millis(roll(|dice| dice.between(0, 20_000))),
        false => Duration::from_millis(roll(|dice| dice.between(5, millis_max))),
    };
    let fates = [
        (Fault::TargetPanics, End::Panic),
        (Fault::TargetRefuses, End::Refusal),
        (Fault::TargetFails, End::Failure),
        (Fault::TargetAsksLater, End::Later(roll(|dice| dice.between(5, 300)))),
        (Fault::FailureLong, End::LongFailure),
        (Fault::LargePayload, End::Large),
        (Fault::ResultTooLarge, End::TooLarge),
    ];
    let end = fates.into_iter().find(|(fault, _)| world.strikes(*fault));
    let usual = if is_wide(input) { End::Wide } else { End::Well };
    (duration, end.map_or(usual, |(_, end)| end))
}

/// Whether all results of its list are as large as fits into an event: that is drawn for a list as a whole.
fn is_wide(input: &Input) -> bool {
    let world = world();
    let mut wide = world.wide.borrow_mut();
    let drawn = || world.strikes(Fault::ResultsWide);
    input.item.is_some() && *wide.entry(input.execution.to_string()).or_insert_with(drawn)
}

async fn act(input: Input, millis_max: u64) -> Result<Value, StepError> {
    let (duration, end) = begin(&input, millis_max);
    let under_way = UnderWay(input);
    sleep(duration).await;
    let result = result(&under_way.0, end);
    if let Ok(value) = &result {
        world().checks.borrow_mut().said.given(&under_way.0, &value.to_string());
    }
    result
}

/// Ends the process that makes the attempt.
async fn kill(input: Input) -> Result<Value, StepError> {
    let (duration, _) = begin(&input, 400);
    let under_way = UnderWay(input);
    sleep(duration).await;
    world().check(|checks| checks.kills(&under_way.0));
    drop(under_way);
    die().await
}

/// Whether it is a look at something that may not be there yet.
fn looks(input: &Input) -> bool {
    input.step.as_str() == "seen"
}

/// What is seen: whether it is there, and what decides what follows.
fn seen(noise: Option<&str>) -> Value {
    json!({
        "there": !world().strikes(Fault::NotThereYet),
        "ours": roll(|dice| dice.happens(0.8)),
        "odd": roll(|dice| dice.happens(0.5)),
        "noise": noise,
    })
}

fn result(input: &Input, end: End) -> Result<Value, StepError> {
    let noise = &kit().noise;
    match end {
        End::Well if looks(input) => Ok(seen(None)),
        End::Large if looks(input) => Ok(seen(Some(noise))),
        End::Well => Ok(json!({ "did": input.step })),
        End::Large => Ok(json!(noise)),
        End::Wide => Ok(json!(noise[..WIDE_BYTES])),
        End::TooLarge => Ok(json!("x".repeat(RESULT_BYTES_MAX as usize))),
        End::Failure => Err(StepError::retryable("unlucky", "the target said so")),
        End::LongFailure => Err(StepError::retryable("é".repeat(1_000), "é".repeat(4_000))),
        End::Later(seconds) => {
            let wait = Duration::from_secs(seconds);
            Err(StepError::retryable(LATER, seconds.to_string()).with_retry_after(wait))
        }
        End::Refusal => Err(StepError::fatal("refused", "the target said so")),
        // Without the hook, which would print it.
        End::Panic => std::panic::resume_unwind(Box::new("simulated")),
    }
}

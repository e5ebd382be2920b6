//! What steps act on: it counts what is done to it, and answers well, badly, late, or not at all.

use std::time::Duration;

use everhook_processor::{Input, StepError, Steps};
use serde_json::{Value, json};

use crate::executor::{executor, roll, sleep};
use crate::faults::Fault;
use crate::kit::kit;
use crate::outsiders::callback;
use crate::world::world;

/// The kinds of step that the workflows name.
pub(crate) fn steps() -> Steps {
    Steps::new().with("act", |input| act(input, 400)).with("act-long", |input| act(input, 40_000))
}

/// How an attempt will end.
enum End {
    Well,
    Large,
    Failure,
    Refusal,
    Panic,
}

/// An effect under way: it ends when its future does, however that is.
struct UnderWay(Input);

impl Drop for UnderWay {
    fn drop(&mut self) {
        world().checks.borrow_mut().effect_ends(&self.0);
    }
}

fn begin(input: &Input, millis_max: u64) -> (Duration, End) {
    let world = world();
    world.tell(|| format!("acts {} {} {}", input.execution, input.step, input.attempt));
    world.check(|checks| checks.effect_begins(input, executor().current(), executor().now()));
    if let Some(urls) = &input.callback {
        let token = urls.token.clone();
        executor().spawn(crate::executor::WORLD, callback(token, input.execution.clone()));
    }
    let duration = match world.strikes(Fault::TargetSlow) {
        true => input.timeout + Duration::from_millis(roll(|dice| dice.between(0, 20_000))),
        false => Duration::from_millis(roll(|dice| dice.between(5, millis_max))),
    };
    let fates = [
        (Fault::TargetPanics, End::Panic),
        (Fault::TargetRefuses, End::Refusal),
        (Fault::TargetFails, End::Failure),
        (Fault::LargePayload, End::Large),
    ];
    let end = fates.into_iter().find(|(fault, _)| world.strikes(*fault));
    (duration, end.map_or(End::Well, |(_, end)| end))
}

async fn act(input: Input, millis_max: u64) -> Result<Value, StepError> {
    let (duration, end) = begin(&input, millis_max);
    let step = input.step.clone();
    let under_way = UnderWay(input);
    sleep(duration).await;
    drop(under_way);
    match end {
        End::Well => Ok(json!({ "did": step })),
        End::Large => Ok(json!(std::str::from_utf8(&kit().noise).expect("it is text"))),
        End::Failure => Err(StepError::retryable("unlucky", "the target said so")),
        End::Refusal => Err(StepError::fatal("refused", "the target said so")),
        // Without the hook, which would print it.
        End::Panic => std::panic::resume_unwind(Box::new("simulated")),
    }
}

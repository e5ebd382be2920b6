//! The sweep function: started every minute, it looks every second until shortly before its deadline,
//! and wakes the processor for what is due.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_lambda::Client;
use aws_sdk_lambda::error::DisplayErrorContext;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use everhook_journal::schema::Tables;
use everhook_journal::{Clock, ExecutionId, Executions, Timestamp, environment, telemetry};
use everhook_processor::Sweep;
use everhook_processor::sweep::SWEEP_EVERY;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;

/// How long before its deadline the function returns: a look that is under way may need it.
const MARGIN: Duration = Duration::from_secs(5);

/// How many executions one invocation of the processor is woken for.
const WOKEN_TOGETHER: usize = 25;

/// The processor, as far as the sweep knows it.
struct Processor {
    lambda: Client,
    function: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    environment::observe();
    let function = environment::needed("EVERHOOK_PROCESSOR_FUNCTION")?;
    let aws = environment::aws();
    let processor = Arc::new(Processor { lambda: Client::new(&aws), function });
    let executions = Executions::new(environment::store(), Tables::from_env().executions);
    let sweep = Sweep::new(executions, Clock::System);
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| {
        let (sweep, processor) = (sweep.clone(), processor.clone());
        async move {
            let deadline = Timestamp::from_millis(i64::try_from(event.context.deadline)?);
            watch(&sweep, &processor, deadline).await;
            telemetry::flush();
            Ok::<_, Error>(())
        }
    }))
    .await
}

/// Looks every second while time remains.
async fn watch(sweep: &Sweep, processor: &Processor, deadline: Timestamp) {
    let stay = deadline.since(Clock::System.now()).saturating_sub(MARGIN);
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let looks = async {
        loop {
            ticks.tick().await;
            look(sweep, processor).await;
        }
    };
    // Whatever a look that is cut short has claimed comes due again.
    tokio::time::timeout(stay.max(SWEEP_EVERY), looks).await.ok();
}

async fn look(sweep: &Sweep, processor: &Processor) {
    let due = match sweep.claim().await {
        Ok(due) => due,
        Err(error) => {
            tracing::error!("could not look for what is due: {error}");
            return;
        }
    };
    for due in due.chunks(WOKEN_TOGETHER) {
        processor.wake(due).await;
    }
}

impl Processor {
    /// Hands executions over. If that fails, their rows were only claimed for a time.
    async fn wake(&self, due: &[ExecutionId]) {
        tracing::info!(executions = due.len(), "woke the processor for {} executions", due.len());
        let payload = serde_json::to_vec(&json!({ "due": due })).expect("ids are JSON");
        let request = self
            .lambda
            .invoke()
            .function_name(&self.function)
            .invocation_type(InvocationType::Event)
            .payload(Blob::new(payload));
        if let Err(error) = Box::pin(request.send()).await {
            let reason = DisplayErrorContext(&error).to_string();
            tracing::error!(reason, "the processor could not be woken: {reason}");
        }
    }
}

//! The sweep function: started every minute, it looks every second until shortly before its deadline,
//! and invokes the processor for what is due as soon as that is claimed.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_lambda::Client;
use aws_sdk_lambda::error::DisplayErrorContext;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use everhook_journal::schema::Tables;
use everhook_journal::{Clock, Executions, Timestamp, environment, telemetry};
use everhook_processor::sweep::SWEEP_EVERY;
use everhook_processor::{Invocation, Sweep};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;
use tokio::time::MissedTickBehavior;

/// How long before its deadline the function claims its last rows: they still have to be handed over.
const MARGIN: Duration = Duration::from_secs(5);

/// How long before its deadline the function returns, whatever does not answer.
const LAST: Duration = Duration::from_millis(500);

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
    let sweep = Sweep::new(executions, Clock::System).suspecting_unmoved();
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
    let now = Clock::System.now();
    // At least one look, however short the time.
    let until = now + deadline.since(now).saturating_sub(MARGIN).max(SWEEP_EVERY);
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let looks = async {
        while Clock::System.now() < until {
            ticks.tick().await;
            sweep.look(until, |invocation| processor.invoke(invocation)).await;
        }
    };
    let stay = deadline.since(now).saturating_sub(LAST).max(SWEEP_EVERY);
    if tokio::time::timeout(stay, looks).await.is_err() {
        tracing::error!("calls did not answer in time; what they had claimed comes due again");
    }
}

impl Processor {
    /// Invokes the processor, and says whether it will be.
    async fn invoke(&self, invocation: Invocation) -> bool {
        let Some(payload) = invocation.to_json() else { return false };
        let payload = serde_json::to_vec(&payload).expect("ids are JSON");
        let request = self
            .lambda
            .invoke()
            .function_name(&self.function)
            .invocation_type(InvocationType::Event)
            .payload(Blob::new(payload));
        match Box::pin(request.send()).await {
            Ok(_) => {
                let executions = invocation.many();
                tracing::info!(executions, "invoked the processor for {executions} executions");
                true
            }
            Err(error) => {
                let reason = DisplayErrorContext(&error).to_string();
                tracing::error!(reason, "the processor could not be invoked: {reason}");
                false
            }
        }
    }
}

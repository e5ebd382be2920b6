//! The sweep function: started every minute. It looks after what would be forgotten, invokes the processor for timers that
//! are due as soon as they are claimed, and sends messages that arrive when the others of the next minute are.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_lambda::Client;
use aws_sdk_lambda::error::DisplayErrorContext;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use everhook_journal::schema::Tables;
use everhook_journal::{Clock, Timer, Timestamp, environment, telemetry};
use everhook_processor::sweep::{HandOver, SWEEP_EVERY, delay_seconds};
use everhook_processor::{Audit, Invocation, Sweep};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;

/// How long before its deadline the function claims its last timers: they still have to be handed over.
const MARGIN: Duration = Duration::from_secs(5);

/// How long before its deadline the function returns, whatever does not answer.
const LAST: Duration = Duration::from_millis(500);

/// How far ahead messages are sent: the next look may be late.
const AHEAD: Duration = Duration::from_secs(75);

/// Where the sweep hands over to.
struct Processor {
    lambda: Client,
    function: String,
    sqs: aws_sdk_sqs::Client,
    queue: Option<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    environment::observe();
    let function = environment::needed("EVERHOOK_PROCESSOR_FUNCTION")?;
    let queue = std::env::var("EVERHOOK_TIMERS_QUEUE").ok().filter(|url| !url.is_empty());
    let aws = environment::aws();
    let (lambda, sqs) = (Client::new(&aws), aws_sdk_sqs::Client::new(&aws));
    let processor = Arc::new(Processor { lambda, function, sqs, queue });
    let (store, tables) = (environment::store(), Tables::from_env());
    let journal = tables.journal_in(&store, Clock::System);
    let (executions, timers) = (tables.executions_in(&store), tables.timers_in(&store));
    let sweep = Sweep::new(timers.clone(), executions.clone(), journal.clone(), Clock::System);
    let audit = Audit::new(journal, executions, timers, Clock::System);
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| {
        let (sweep, audit, processor) = (sweep.clone(), audit.clone(), processor.clone());
        async move {
            let deadline = Timestamp::from_millis(i64::try_from(event.context.deadline)?);
            look(&sweep, &audit, &processor, deadline).await;
            telemetry::flush();
            Ok::<_, Error>(())
        }
    }))
    .await
}

async fn look(sweep: &Sweep, audit: &Audit, processor: &Processor, deadline: Timestamp) {
    let now = Clock::System.now();
    let time = deadline.since(now);
    let until = now + time.saturating_sub(MARGIN).max(Duration::from_secs(1));
    let ahead = if processor.queue.is_some() { AHEAD } else { Duration::ZERO };
    let looks = async {
        // What is due does not wait for the audit, and what the audit sets is fired at once.
        sweep.look(ahead, until, |handed| processor.hand_over(handed)).await;
        match sweep.take_over().await {
            Ok((0, _)) => {}
            Ok((count, _)) => tracing::info!(count, "took over {count} rows of an earlier version"),
            Err(error) => tracing::error!("could not take over earlier rows: {error}"),
        }
        match audit.run(until).await {
            Ok(audited) if audited.timers == 0 => return,
            Ok(_) => {}
            Err(error) => tracing::error!("the audit could not go on: {error}"),
        }
        sweep.look(Duration::ZERO, until, |handed| processor.hand_over(handed)).await;
    };
    let stay = time.saturating_sub(LAST).max(Duration::from_secs(1));
    if tokio::time::timeout(stay.min(SWEEP_EVERY * 14), looks).await.is_err() {
        tracing::error!("calls did not answer in time; what they had claimed comes due again");
    }
}

impl Processor {
    async fn hand_over(&self, handed: HandOver) -> bool {
        match handed {
            HandOver::Now(invocation) => self.invoke(invocation).await,
            HandOver::OnTime(timers) => self.send(&timers).await,
        }
    }

    /// Sends messages that arrive when the timers are due, and says whether all of them were sent.
    async fn send(&self, timers: &[Timer]) -> bool {
        let Some(queue) = &self.queue else { return false };
        let now = Clock::System.now();
        let entry = |(place, timer): (usize, &Timer)| {
            SendMessageBatchRequestEntry::builder()
                .id(place.to_string())
                .message_body(timer.to_string())
                .delay_seconds(delay_seconds(timer.due.since(now)))
                .build()
                .expect("all is set")
        };
        let entries: Vec<_> = timers.iter().enumerate().map(entry).collect();
        let request = self.sqs.send_message_batch().queue_url(queue).set_entries(Some(entries));
        match Box::pin(request.send()).await {
            Ok(sent) => sent.failed.is_empty(),
            Err(error) => {
                let reason = DisplayErrorContext(&error).to_string();
                tracing::error!(reason, "no messages were sent for timers: {reason}");
                false
            }
        }
    }

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

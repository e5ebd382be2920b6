//! The processor function: records of the journal's stream, or executions that are due, in; failed records out.

mod messages;

use std::process::ExitCode;
use std::sync::Arc;

use aws_sdk_lambda::Client;
use aws_sdk_lambda::error::DisplayErrorContext;
use aws_sdk_lambda::primitives::Blob;
use aws_sdk_lambda::types::InvocationType;
use everhook_journal::callback::Callbacks;
use everhook_journal::config::Config;
use everhook_journal::schema::Tables;
use everhook_journal::{Clock, ExecutionId, Secrets, Storage, Timestamp, environment, telemetry};
use everhook_processor::{Acting, Driver, Invocation, Steps, Supervisor};
use futures_util::future::join_all;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

/// How many executions of one source one invocation makes go on.
const ACTING_TOGETHER: usize = 25;

fn main() -> Result<ExitCode, Error> {
    if let Some(ended) = everhook_processor::expression::worker::begin() {
        return Ok(ended);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run())?;
    Ok(ExitCode::SUCCESS)
}

async fn run() -> Result<(), Error> {
    environment::observe();
    let config = Config::load(&environment::config_path())?;
    let (store, tables) = (environment::store(), Tables::from_env());
    let storage = Storage {
        journal: tables.journal_in(&store, Clock::System),
        executions: tables.executions_in(&store),
        timers: messages::telling(tables.timers_in(&store)),
        payloads: environment::payloads()?,
    };
    let (journal, payloads) = (storage.journal.clone(), storage.payloads.clone());
    let secrets = Secrets::from_env(config.folder.clone());
    let callback_key = secrets.fetch([Callbacks::reference(&config)]);
    let warm = async { tokio::join!(journal.warm(), payloads.warm(), callback_key) };
    environment::warm(warm).await;
    let callbacks = Callbacks::from_config(&config, &secrets, &environment::public_url());
    let steps = Steps::new().reading(secrets);
    let mut driver = Driver::from_config(&config, steps, storage, Clock::System)?;
    match callbacks {
        Ok(callbacks) => driver = driver.with_callbacks(callbacks),
        // Whatever asks nobody goes on.
        Err(error) => tracing::error!("nobody can be asked to call back: {error}"),
    }
    let supervisor = Arc::new(Supervisor::start(Arc::new(driver)).await?);
    let lambda = Arc::new(Client::new(&environment::aws()));
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| {
        let (supervisor, lambda) = (supervisor.clone(), lambda.clone());
        async move {
            let deadline = Timestamp::from_millis(i64::try_from(event.context.deadline)?);
            let invocation = Invocation::from_json(event.payload);
            let (response, acting) =
                everhook_processor::handle_soon(&supervisor, invocation, deadline).await;
            let left = hand_over(&lambda, &event.context.invoked_function_arn, acting).await;
            if !left.is_empty() {
                let left = Invocation::Acting(left);
                everhook_processor::handle(&supervisor, left, deadline).await;
            }
            telemetry::flush();
            Ok::<_, Error>(response)
        }
    }))
    .await
}

/// Leaves executions whose next step acts to invocations of their own, by source: one that is slow slows down itself.
/// Returns those that could not be handed over.
async fn hand_over(lambda: &Client, function: &str, acting: Acting) -> Vec<ExecutionId> {
    let groups = acting
        .iter()
        .flat_map(|(source, ids)| ids.chunks(ACTING_TOGETHER).map(move |ids| (source, ids)));
    let calls = groups.map(|(source, ids)| async move {
        let payload = serde_json::to_vec(&json!({ "acting": ids })).expect("ids are JSON");
        let request = lambda
            .invoke()
            .function_name(function)
            .invocation_type(InvocationType::Event)
            .payload(Blob::new(payload));
        match Box::pin(request.send()).await {
            Ok(_) => &ids[..0],
            Err(error) => {
                let reason = DisplayErrorContext(&error).to_string();
                tracing::error!(%source, reason, "could not hand over acting steps: {reason}");
                ids
            }
        }
    });
    join_all(calls).await.concat()
}

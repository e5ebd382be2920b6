//! The processor function: records of the journal's stream, or executions that are due, in; failed records out.

use std::process::ExitCode;
use std::sync::Arc;

use everhook_journal::callback::Callbacks;
use everhook_journal::config::Config;
use everhook_journal::schema::Tables;
use everhook_journal::{Clock, Executions, Journal, Secrets, Timestamp, environment, telemetry};
use everhook_processor::{Driver, Invocation, Steps, Supervisor};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;

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
    let journal = Journal::new(store.clone(), tables.journal, Clock::System);
    let executions = Executions::new(store, tables.executions);
    let payloads = environment::payloads()?;
    let secrets = Secrets::from_env(config.folder.clone());
    let callback_key = secrets.fetch([Callbacks::reference(&config)]);
    let warm = async { tokio::join!(journal.warm(), payloads.warm(), callback_key) };
    environment::warm(warm).await;
    let callbacks = Callbacks::from_config(&config, &secrets, &environment::public_url());
    let steps = Steps::new().reading(secrets);
    let mut driver =
        Driver::from_config(&config, steps, journal, executions, payloads, Clock::System)?;
    match callbacks {
        Ok(callbacks) => driver = driver.with_callbacks(callbacks),
        // Whatever asks nobody goes on.
        Err(error) => tracing::error!("nobody can be asked to call back: {error}"),
    }
    let supervisor = Supervisor::start(Arc::new(driver), config.settings.concurrency).await?;
    let supervisor = Arc::new(supervisor);
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| {
        let supervisor = supervisor.clone();
        async move {
            let deadline = Timestamp::from_millis(i64::try_from(event.context.deadline)?);
            let invocation = Invocation::from_json(event.payload);
            let response = everhook_processor::handle(&supervisor, invocation, deadline).await;
            telemetry::flush();
            Ok::<_, Error>(response)
        }
    }))
    .await
}

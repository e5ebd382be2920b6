//! The ingest function: API Gateway's requests in, answers out.

mod processor;

use std::sync::Arc;

use everhook_ingest::Ingest;
use everhook_journal::config::Config;
use everhook_journal::schema::Tables;
use everhook_journal::{Clock, Secrets, Storage, environment, telemetry};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;

use processor::Processor;

/// With another key every redelivery would be a new execution.
const OTHER_KEY: &str = "the execution key is not the one that the tables were made with; put that one back, \
     or delete the item `key#execution` of the executions table to go on with this one";

#[tokio::main]
async fn main() -> Result<(), Error> {
    environment::observe();
    let mut config = Config::load(&environment::config_path())?;
    config.settings.retention = config.settings.retention.or(environment::retention()?);
    let secrets = Secrets::from_env(config.folder.clone());
    let (store, tables) = (environment::store(), Tables::from_env());
    let journal = tables.journal_in(&store, Clock::System);
    let executions = tables.executions_in(&store);
    let payloads = environment::payloads()?;
    let processor = Processor::from_env();
    let timers = processor.timers(tables.timers_in(&store));
    // A webhook may be two puts side by side: two connections.
    let connections = async { tokio::join!(journal.warm(), journal.warm(), payloads.warm()) };
    tokio::join!(Ingest::fetch(&config, &secrets), environment::warm(connections));
    let storage = Storage { journal, executions, timers, payloads };
    let mut ingest = Ingest::from_config(&config, &secrets, storage, Clock::System)?;
    ingest.teller = processor.teller();
    let first = async { tokio::join!(ingest.publish(), ingest.knows_its_key()) };
    if let Some((_, Ok(false))) = environment::warm(first).await {
        return Err(OTHER_KEY.into());
    }
    let ingest = Arc::new(ingest);
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| {
        let ingest = ingest.clone();
        async move {
            let answer = everhook_ingest::handle_event(&ingest, event.payload).await;
            telemetry::flush();
            Ok::<_, Error>(answer)
        }
    }))
    .await
}

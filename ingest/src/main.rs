//! The ingest function: API Gateway's requests in, answers out.

use std::sync::Arc;

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use everhook_ingest::{Ingest, Secrets};
use everhook_journal::config::Config;
use everhook_journal::environment;
use everhook_journal::schema::Tables;
use everhook_journal::{Clock, Executions, Journal};
use lambda_runtime::{Error, LambdaEvent, service_fn};

#[tokio::main]
async fn main() -> Result<(), Error> {
    environment::log();
    let config = Config::load(&environment::config_path())?;
    let secrets = Secrets::new(config.folder.clone(), None);
    let (store, tables) = (environment::store().await, Tables::from_env());
    let journal = Journal::new(store.clone(), tables.journal, Clock::System);
    let executions = Executions::new(store, tables.executions);
    let ingest = Ingest::from_config(
        &config,
        &secrets,
        journal,
        executions,
        environment::payloads()?,
        Clock::System,
    )?;
    ingest.publish(&config).await?;
    let ingest = Arc::new(ingest);
    lambda_runtime::run(service_fn(move |event: LambdaEvent<ApiGatewayV2httpRequest>| {
        let ingest = ingest.clone();
        async move { Ok::<_, Error>(everhook_ingest::handle(&ingest, event.payload).await) }
    }))
    .await
}

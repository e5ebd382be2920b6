//! The status function: queries in, answers out.

use std::sync::Arc;

use aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use everhook_journal::config::Config;
use everhook_journal::environment;
use everhook_journal::schema::Tables;
use everhook_journal::{Clock, Executions, Journal};
use everhook_projector::StatusApi;
use lambda_runtime::{Error, LambdaEvent, service_fn};

#[tokio::main]
async fn main() -> Result<(), Error> {
    environment::observe();
    let config = Config::load(&environment::config_path())?;
    let (store, tables) = (environment::store().await, Tables::from_env());
    let status = Arc::new(StatusApi {
        journal: Journal::new(store.clone(), tables.journal, Clock::System),
        executions: Executions::new(store, tables.executions),
        payloads: environment::payloads()?,
        sources: config.sources.into_keys().collect(),
    });
    status.executions.warm().await;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<ApiGatewayV2httpRequest>| {
        let status = status.clone();
        async move { Ok::<_, Error>(status.handle(event.payload).await) }
    }))
    .await
}

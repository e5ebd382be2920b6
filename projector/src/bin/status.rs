//! The status function: queries in, answers out.

use std::sync::Arc;

use everhook_journal::Clock;
use everhook_journal::config::Config;
use everhook_journal::environment;
use everhook_journal::schema::Tables;
use everhook_projector::StatusApi;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;

#[tokio::main]
async fn main() -> Result<(), Error> {
    environment::observe();
    let config = Config::load(&environment::config_path())?;
    let (store, tables) = (environment::store(), Tables::from_env());
    let status = Arc::new(StatusApi {
        journal: tables.journal_in(&store, Clock::System),
        executions: tables.executions_in(&store),
        timers: tables.timers_in(&store),
        payloads: environment::payloads()?,
        sources: config.sources.into_keys().collect(),
    });
    environment::warm(status.executions.warm()).await;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| {
        let status = status.clone();
        async move { Ok::<_, Error>(status.handle_event(event.payload).await) }
    }))
    .await
}

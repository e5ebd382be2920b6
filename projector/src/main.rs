//! The projector function: records of the journal's stream in, failed records out.

use std::sync::Arc;

use everhook_journal::schema::Tables;
use everhook_journal::stream::Batch;
use everhook_journal::{Clock, environment, telemetry};
use everhook_projector::Projector;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;

#[tokio::main]
async fn main() -> Result<(), Error> {
    environment::observe();
    let (store, tables) = (environment::store(), Tables::from_env());
    let projector = Arc::new(Projector {
        journal: tables.journal_in(&store, Clock::System),
        executions: tables.executions_in(&store),
    });
    environment::warm(projector.executions.warm()).await;
    lambda_runtime::run(service_fn(move |event: LambdaEvent<Value>| {
        let projector = projector.clone();
        async move {
            let batch = Batch::from_json(event.payload);
            let response = everhook_projector::handle(&projector, batch).await;
            telemetry::flush();
            Ok::<_, Error>(response)
        }
    }))
    .await
}

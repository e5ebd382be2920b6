//! `everhook replay`: a history, event by event, running nothing.

use everhook_journal::schema::Tables;
use everhook_journal::store::Store;
use everhook_journal::{Clock, ExecutionId, Recorded, Sequence};
use everhook_projector::shown::ShownExecution;
use everhook_projector::status::ShownEvents;

use super::client::Client;
use super::{Failure, print, print_json};
use crate::aws;
use crate::cli::Replay;
use crate::replay;

pub(super) async fn run(command: Replay) -> Result<(), Failure> {
    let id = ExecutionId::parse(&command.token)
        .ok_or_else(|| Failure(format!("`{}` is not an execution's token", command.token)))?;
    let mut history = match &command.dynamodb_endpoint {
        Some(endpoint) => from_dynamodb(&id, endpoint).await?,
        None => from_server(&id, &command.server.server).await?,
    };
    if history.is_empty() {
        return Err(Failure(format!("there is no execution {id}, or it has expired")));
    }
    let last = command.until.map_or(u64::MAX, |until| until);
    history.retain(|recorded| recorded.sequence <= Sequence::new(last));
    let told = replay::tell(&history).map_err(Failure::of)?;
    if command.json {
        print_json(&told)?;
    } else {
        print(&replay::transcript(&id, &told));
        if let Some(first) = repeat_of(&command, &id).await {
            print(&format!("\nits body came before, with execution {first}"));
        }
    }
    Ok(())
}

async fn from_server(id: &ExecutionId, server: &str) -> Result<Vec<Recorded>, Failure> {
    let client = Client::new(server)?;
    let (mut history, mut cursor) = (Vec::new(), None);
    loop {
        let query: Vec<_> = cursor.map(|cursor| ("cursor", cursor)).into_iter().collect();
        let page: ShownEvents = client.get(&format!("/executions/{id}/events"), &query).await?;
        history.extend(page.events);
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(history);
        }
    }
}

/// The execution that the same body came with first, if the server knows one: no event says it.
async fn repeat_of(command: &Replay, id: &ExecutionId) -> Option<ExecutionId> {
    if command.dynamodb_endpoint.is_some() {
        return None;
    }
    let client = Client::new(&command.server.server).ok()?;
    let shown: ShownExecution = client.get(&format!("/status/{id}"), &[]).await.ok()?;
    shown.repeat_of
}

async fn from_dynamodb(id: &ExecutionId, endpoint: &str) -> Result<Vec<Recorded>, Failure> {
    let aws = aws::at(endpoint).await;
    let store = Store::new(aws_sdk_dynamodb::Client::new(&aws));
    let journal = Tables::from_env().journal_in(&store, Clock::System);
    journal.read(id, Sequence::START).await.map_err(Failure::of)
}

//! `everhook list`: executions, the newest first.

use everhook_projector::shown::{ShownExecution, ShownPage};

use super::client::Client;
use super::{Failure, print_json, print_line};
use crate::cli::List;

pub(super) async fn run(list: List) -> Result<(), Failure> {
    let client = Client::new(&list.server.server)?;
    let filters =
        [("source", list.source), ("status", list.status), ("from", list.from), ("to", list.to)];
    let filters = filters.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let filters: Vec<_> = filters.collect();
    let mut executions = Vec::new();
    let mut cursor = None;
    loop {
        let left = list.limit - executions.len();
        let mut query = filters.clone();
        query.push(("limit", left.clamp(1, 100).to_string()));
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let page: ShownPage = client.get("/executions", &query).await?;
        executions.extend(page.executions.into_iter().take(left));
        cursor = page.cursor;
        if cursor.is_none() || executions.len() >= list.limit {
            break;
        }
    }
    if list.json {
        print_json(&executions)?;
    } else {
        executions.iter().for_each(|execution| print_line(&line(execution)));
    }
    Ok(())
}

fn line(execution: &ShownExecution) -> String {
    let summary = &execution.webhook_summary;
    let kind = summary.event_type.as_deref().unwrap_or("-");
    let error =
        execution.error.as_ref().map_or(String::new(), |e| format!("  {}: {}", e.kind, e.message));
    let repeat =
        execution.repeat_of.as_ref().map_or(String::new(), |of| format!("  repeat of {of}"));
    format!(
        "{}  {:<9}  {}  {}  {kind}{repeat}{error}",
        execution.execution_token,
        execution.status.as_str(),
        execution.created_at,
        summary.source,
    )
}

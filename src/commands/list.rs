//! `everhook list`: executions, the newest first.

use everhook_projector::shown::{ShownExecution, ShownPage};

use super::client::Client;
use super::{Failure, print_json, print_line};
use crate::cli::List;

/// How many a page has.
const PAGE: usize = 100;

/// How many pages are read to count those that are not shown.
const LOOKS_MAX: usize = 10;

pub(super) async fn run(list: List) -> Result<(), Failure> {
    let client = Client::new(&list.server.server)?;
    let filters =
        [("source", list.source), ("status", list.status), ("from", list.from), ("to", list.to)];
    let filters = filters.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let filters: Vec<_> = filters.collect();
    let mut executions = Vec::new();
    let (mut cursor, mut more, mut looks) = (None, 0, 0);
    loop {
        let left = list.limit.get().saturating_sub(executions.len());
        let mut query = filters.clone();
        let wanted = if left == 0 { PAGE } else { left.min(PAGE) };
        query.push(("limit", wanted.to_string()));
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let page: ShownPage = client.get("/executions", &query).await?;
        more += page.executions.len().saturating_sub(left);
        executions.extend(page.executions.into_iter().take(left));
        cursor = page.cursor;
        looks += usize::from(executions.len() >= list.limit.get());
        if cursor.is_none() || looks > LOOKS_MAX {
            break;
        }
    }
    let note = left_out(executions.len(), more, cursor.is_some());
    if list.json {
        print_json(&executions)?;
        note.iter().for_each(|note| eprintln!("{note}"));
    } else {
        executions.iter().for_each(|execution| print_line(&line(execution)));
        note.iter().for_each(|note| print_line(note));
    }
    Ok(())
}

/// What to say of those that are not shown.
fn left_out(shown: usize, more: usize, is_counted_in_part: bool) -> Option<String> {
    let all = shown + more;
    match (more, is_counted_in_part) {
        (0, false) => None,
        (_, false) => Some(format!("{shown} shown, {more} more; --limit {all} shows all")),
        (_, true) => Some(format!("{shown} shown, more than {more} more; --limit shows more")),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_how_many_it_leaves_out() {
        assert_eq!(left_out(50, 0, false), None);
        assert_eq!(left_out(0, 0, false), None);
        assert_eq!(
            left_out(50, 117, false).as_deref(),
            Some("50 shown, 117 more; --limit 167 shows all")
        );
        assert_eq!(
            left_out(50, 1_000, true).as_deref(),
            Some("50 shown, more than 1000 more; --limit shows more")
        );
    }
}

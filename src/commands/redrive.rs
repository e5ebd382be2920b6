//! `everhook redrive`: executions that failed go on.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use everhook_journal::time::parse_duration;
use everhook_journal::{Clock, ExecutionId, Timestamp};
use everhook_projector::shown::ShownPage;
use tokio::time::MissedTickBehavior;

use super::client::Client;
use super::{Failure, print, print_line};
use crate::cli::Redrive;

/// How many executions one call redrives at most.
const ALL_MAX: usize = 100_000;

/// How wide the bar is, in characters.
const BAR: usize = 30;

pub(super) async fn run(redrive: Redrive) -> Result<(), Failure> {
    let client = Client::new(&redrive.server.server)?;
    if let Some(token) = &redrive.token {
        one(&client, token, redrive.from.as_deref()).await?;
        print(&format!("{token} goes on"));
        return Ok(());
    }
    let found = failed(&client, &redrive).await?;
    print(&format!("{} failed executions", found.len()));
    if redrive.dry_run || found.is_empty() {
        found.iter().for_each(|(token, words)| print_line(&format!("{token}  {words}")));
        return Ok(());
    }
    let refused = all(&client, &redrive, &found).await?;
    print(&format!("{} go on, {} did not", found.len() - refused.len(), refused.len()));
    refused.iter().for_each(|(token, why)| print_line(&format!("{token}  {why}")));
    match refused.len() {
        0 => Ok(()),
        count => Err(Failure(format!("{count} could not be redriven; run it again"))),
    }
}

/// Those that failed and are meant, the oldest first, each with what went wrong.
async fn failed(client: &Client, redrive: &Redrive) -> Result<Vec<(ExecutionId, String)>, Failure> {
    let mut filters = vec![("status", "failed".to_owned()), ("limit", "100".to_owned())];
    filters.extend(redrive.source.clone().map(|source| ("source", source)));
    if let Some(since) = &redrive.since {
        filters.push(("from", since_when(since)?.to_string()));
    }
    let mut found = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = filters.clone();
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page: ShownPage = client.get("/executions", &query).await?;
        found.extend(page.executions.into_iter().map(|execution| {
            let words = execution
                .error
                .map_or_else(String::new, |error| format!("{}: {}", error.kind, error.message));
            (execution.execution_token, words)
        }));
        cursor = page.cursor;
        if cursor.is_none() || found.len() >= ALL_MAX {
            found.reverse();
            return Ok(found);
        }
    }
}

/// The time that is meant: so long ago, or a moment.
fn since_when(text: &str) -> Result<Timestamp, Failure> {
    if let Some(ago) = parse_duration(text) {
        let now = Clock::System.now().as_millis();
        let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
        return Ok(Timestamp::from_millis(now.saturating_sub(ago)));
    }
    Timestamp::parse(text).ok_or_else(|| {
        Failure(format!("--since {text}: write 2h, 7d, or a moment such as 2026-11-24T12:00:00Z"))
    })
}

/// Redrives all of them at the rate that is asked for; returns those that did not go on, and why.
async fn all(
    client: &Client,
    redrive: &Redrive,
    found: &[(ExecutionId, String)],
) -> Result<Vec<(ExecutionId, String)>, Failure> {
    let mut pace = tokio::time::interval(Duration::from_secs(1) / redrive.rate);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut refused = Vec::new();
    for (place, (token, _)) in found.iter().enumerate() {
        pace.tick().await;
        if let Err(Failure(why)) = one(client, token.as_str(), redrive.from.as_deref()).await {
            refused.push((token.clone(), why));
        }
        progress(place + 1, found.len());
    }
    Ok(refused)
}

async fn one(client: &Client, token: &str, from: Option<&str>) -> Result<(), Failure> {
    let query = from.map_or_else(String::new, |from| format!("?from={from}"));
    client.post(&format!("/executions/{token}/redrive{query}"), &[], Vec::new()).await.map(drop)
}

/// Shows how far it got, to whoever looks on.
fn progress(done: usize, all: usize) {
    let mut out = std::io::stderr();
    if !out.is_terminal() {
        return;
    }
    let full = done * BAR / all.max(1);
    let bar = format!("{}{}", "#".repeat(full), ".".repeat(BAR - full));
    let end = if done == all { "\n" } else { "" };
    write!(out, "\r[{bar}] {done} of {all}{end}").ok();
    out.flush().ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_so_long_ago_or_a_moment() {
        let moment = "2026-11-24T12:00:00.000Z";
        assert_eq!(since_when(moment).unwrap().to_string(), moment);
        let ago = Clock::System.now().since(since_when("2h").unwrap());
        assert!((7_199..7_260).contains(&ago.as_secs()), "{ago:?}");
        assert!(since_when("yesterday").unwrap_err().to_string().contains("write 2h"));
    }
}

//! `everhook sources`: who may send, and when each secret proved a webhook last.
//!
//! Event 1 of a history says which secret that was, so the newest histories are asked, and nothing else is kept.

use everhook_ingest::operators::ShownQuarantine;
use everhook_journal::config::{Config, SourceSection};
use everhook_journal::{Event, SourceName, Timestamp};
use everhook_projector::shown::ShownPage;
use everhook_projector::status::ShownEvents;
use serde::Serialize;

use super::client::Client;
use super::{Failure, print, print_json};
use crate::cli::Sources;

/// How many of a source's newest webhooks are looked at.
const LOOKED_AT: usize = 50;

/// A source as it is configured, and as its webhooks show it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    source: SourceName,
    scheme: String,
    workflow: String,
    secrets: Vec<Used>,
    /// When its newest webhook was received.
    last_webhook: Option<Timestamp>,
    /// How many of its refused requests are kept, if it keeps any.
    quarantined: Option<usize>,
}

/// A secret, by its reference.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Used {
    reference: String,
    /// The newest webhook that it proved, among those that were looked at.
    last_used: Option<Timestamp>,
}

pub(super) async fn run(sources: Sources) -> Result<(), Failure> {
    let config = Config::load(&sources.config.path).map_err(Failure::of)?;
    let client = Client::new(&sources.server.server)?;
    let mut shown = Vec::new();
    for (name, source) in &config.sources {
        shown.push(show(&client, name, source).await?);
    }
    if sources.json {
        print_json(&shown)?;
    } else {
        shown.iter().for_each(|source| print(&lines(source)));
    }
    Ok(())
}

async fn show(
    client: &Client,
    name: &SourceName,
    source: &SourceSection,
) -> Result<Shown, Failure> {
    let mut section = source.section.clone();
    let scheme = section.text("scheme").ok().flatten().unwrap_or_else(|| "none".to_owned());
    let references = section.texts("secrets").unwrap_or_default();
    let secrets = references.into_iter().map(|reference| Used { reference, last_used: None });
    let mut secrets: Vec<_> = secrets.collect();

    let quarantined = match section.flag("quarantine") {
        Ok(Some(true)) => {
            let path = format!("/sources/{name}/quarantine");
            Some(client.get::<ShownQuarantine>(&path, &[]).await?.requests.len())
        }
        Ok(Some(false) | None) | Err(_) => None,
    };

    let query = [("source", name.to_string()), ("limit", LOOKED_AT.to_string())];
    let page: ShownPage = client.get("/executions", &query).await?;
    let last_webhook = page.executions.first().map(|newest| newest.created_at);
    for execution in page.executions {
        // The newest come first: what is known of a secret is not changed by older ones.
        if secrets.iter().all(|secret| secret.last_used.is_some()) {
            break;
        }
        let path = format!("/executions/{}/events", execution.execution_token);
        let first: ShownEvents = client.get(&path, &[("limit", "1".to_owned())]).await?;
        let Some(Event::WebhookReceived(webhook)) = first.events.first().map(|first| &first.event)
        else {
            continue;
        };
        let proved =
            |secret: &&mut Used| Some(&secret.reference) == webhook.verified.secret.as_ref();
        if let Some(secret) = secrets.iter_mut().find(proved) {
            secret.last_used.get_or_insert(execution.created_at);
        }
    }
    let workflow = source.workflow.to_string();
    Ok(Shown { source: name.clone(), scheme, workflow, secrets, last_webhook, quarantined })
}

fn lines(shown: &Shown) -> String {
    let newest = match shown.last_webhook {
        Some(at) => format!("last webhook {at}"),
        None => "no webhooks".to_owned(),
    };
    let mut text =
        format!("{}  {}  workflow {}  {newest}", shown.source, shown.scheme, shown.workflow);
    if let Some(count) = shown.quarantined {
        text.push_str(&format!("  {count} in quarantine"));
    }
    for secret in &shown.secrets {
        let used = match secret.last_used {
            Some(at) => format!("last used {at}"),
            None => format!("not used by the last {LOOKED_AT} webhooks"),
        };
        text.push_str(&format!("\n    {}  {used}", secret.reference));
    }
    text
}

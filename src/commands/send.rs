//! `everhook send`: signs a body the way its sender would, and posts it.

use everhook_ingest::{Ingest, Sources};
use everhook_journal::Secrets;
use everhook_journal::config::Config;
use everhook_journal::id::fresh;
use everhook_journal::{Clock, SourceName};

use super::client::Client;
use super::{Failure, print_json};
use crate::aws;
use crate::cli::Send;

pub(super) async fn run(send: Send) -> Result<(), Failure> {
    let body = std::fs::read(&send.file)
        .map_err(|error| Failure(format!("{} cannot be read: {error}", send.file.display())))?;
    let headers = signed(&send, &body).await?;
    let client = Client::new(&send.server.server)?;
    let path = match send.source.as_str() {
        "default" => "/webhook".to_owned(),
        source => format!("/webhook/{source}"),
    };
    let answer = client.post(&path, &headers, body).await?;
    print_json(&answer)?;
    Ok(())
}

async fn signed(send: &Send, body: &[u8]) -> Result<Vec<(String, String)>, Failure> {
    let mut config = Config::load(&send.config.path).map_err(Failure::of)?;
    let name = SourceName::new(send.source.clone());
    // The other sources' secrets are not needed here, and may not be here.
    config.sources.retain(|source, _| *source == name);
    if config.sources.is_empty() {
        return Err(Failure(format!("{} has no source `{name}`", send.config.path.display())));
    }
    let secrets = match std::env::var_os("EVERHOOK_GENERATED_SECRETS") {
        // The server is in AWS, and so are its secrets.
        Some(_) => Secrets::from_env(config.folder.clone()),
        None => Secrets::new(config.folder.clone(), Some(send.data_dir.join("secrets"))),
    };
    let secrets = aws::secrets(&config, secrets).await;
    Ingest::fetch(&config, &secrets).await;
    let sources = Sources::from_config(&config, &secrets).map_err(|problems| {
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Failure(format!("{}: {}", send.config.path.display(), problems.join("; ")))
    })?;
    let id = send.id.clone().unwrap_or_else(fresh);
    let scheme = &sources.find(&name).scheme;
    if !scheme.can_sign() {
        let message = "its sender signs with a private key or in the body: nobody else can";
        return Err(Failure(format!("the source `{name}` cannot be signed for; {message}")));
    }
    let mut headers = scheme.sign(&id, send.event.as_deref(), body, Clock::System.now());
    let json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    let content_type = if json { "application/json" } else { "application/octet-stream" };
    headers.push(("content-type".into(), content_type.into()));
    Ok(headers)
}

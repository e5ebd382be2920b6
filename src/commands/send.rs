//! `everhook send`: signs a body the way its sender would, and posts it.

use everhook_ingest::{Ingest, Sources};
use everhook_journal::Secrets;
use everhook_journal::config::{Config, nearest};
use everhook_journal::id::fresh;
use everhook_journal::{Clock, SourceName, json};

use super::client::Client;
use super::{Failure, print_json};
use crate::aws;
use crate::cli::Send;

pub(super) async fn run(send: Send) -> Result<(), Failure> {
    let body = std::fs::read(&send.file)
        .map_err(|error| Failure(format!("{} cannot be read: {error}", send.file.display())))?;
    let (headers, query) = signed(&send, &body).await?;
    let client = Client::new(&send.server.server)?;
    let mut path = match send.source.as_str() {
        "default" => "/webhook".to_owned(),
        source => format!("/webhook/{source}"),
    };
    if !query.is_empty() {
        path.push_str(&format!("?{query}"));
    }
    let answer = client.post(&path, &headers, body).await?;
    print_json(&answer)?;
    Ok(())
}

/// The headers and the query with which the sender would send this body.
async fn signed(send: &Send, body: &[u8]) -> Result<(Vec<(String, String)>, String), Failure> {
    let mut config = Config::load(&send.config.path).map_err(Failure::of)?;
    let name = SourceName::new(send.source.clone());
    let names: Vec<_> = config.sources.keys().cloned().collect();
    // The other sources' secrets are not needed here, and may not be here.
    config.sources.retain(|source, _| *source == name);
    if config.sources.is_empty() {
        let path = send.config.path.display();
        let hint = match nearest(name.as_str(), names.iter().map(SourceName::as_str)) {
            Some(near) => format!("; did you mean \"{near}\"?"),
            None => String::new(),
        };
        return Err(Failure(format!("{path} has no source named \"{name}\"{hint}")));
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
    if send.id.is_some()
        && let Some(place) = scheme.id_elsewhere()
    {
        let scheme = scheme.name();
        return Err(Failure(format!(
            "--id cannot be used for the source `{name}`: a delivery of \"{scheme}\" has its id {place}; \
             leave --id out, and change the body for another delivery"
        )));
    }
    let public_url = scheme.settings().public_url.as_deref().unwrap_or_default();
    if !scheme.query(body).is_empty() && public_url.contains('?') {
        return Err(Failure(format!(
            "the body is no form, so its sender puts a hash of it into the URL: \
             `public_url` of the source `{name}` must have no query"
        )));
    }
    let mut headers = scheme.sign(&id, send.event.as_deref(), body, Clock::System.now());
    if !headers.iter().any(|(name, _)| name == "content-type") {
        let json = json::check(body).is_ok();
        let content_type = if json { "application/json" } else { "application/octet-stream" };
        headers.push(("content-type".into(), content_type.into()));
    }
    Ok((headers, scheme.query(body)))
}

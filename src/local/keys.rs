//! Whether the deployment's keys are the ones that its tables were made with.
//!
//! A key that is lost must not be made anew in silence: every redelivery would be a new execution, and whoever
//! was asked to call back would be unknown.

use std::path::Path;

use aws_sdk_dynamodb::Client;
use everhook_ingest::receive;
use everhook_journal::callback::Callbacks;
use everhook_journal::config::Config;
use everhook_journal::id::ExecutionKey;
use everhook_journal::schema::Tables;
use everhook_journal::store::Unavailable;
use everhook_journal::{Executions, Secrets};

/// Why a key is refused.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Its file is gone, and the tables hold executions.
    #[error(
        "the {purpose} key {file} is missing, and the tables hold executions; restore it from a backup, \
         or start once with --new-keys: {lost}"
    )]
    Missing {
        /// What it is for.
        purpose: &'static str,
        /// Where it was.
        file: String,
        /// What is lost with it.
        lost: &'static str,
    },
    /// The tables were made with another one.
    #[error(
        "the {purpose} key ({reference}) is not the one that the tables were made with; restore that one, \
         or start once with --new-keys: {lost}"
    )]
    Other {
        /// What it is for.
        purpose: &'static str,
        /// Where it is.
        reference: String,
        /// What is lost with the other one.
        lost: &'static str,
    },
    /// The tables did not answer.
    #[error(transparent)]
    Store(#[from] Unavailable),
}

/// A key, and what it is for.
struct Key<'c> {
    purpose: &'static str,
    reference: &'c str,
    lost: &'static str,
}

/// The keys that what is in the tables depends on.
fn keys(config: &Config) -> [Key<'_>; 2] {
    [
        Key {
            purpose: "execution",
            reference: receive::execution_key(config),
            lost: "redeliveries of earlier webhooks then run again, and what is in quarantine is unreadable",
        },
        Key {
            purpose: "callback",
            reference: Callbacks::reference(config),
            lost: "steps that are tried again then ask for calls that are unknown",
        },
    ]
}

/// Refuses keys that are generated and gone while the tables hold executions, before they are made anew.
pub(super) async fn refuse_missing(
    config: &Config,
    generated: &Path,
    tables: &Client,
) -> Result<(), KeyError> {
    for Key { purpose, reference, lost } in keys(config) {
        let Some(name) = reference.strip_prefix("generated:") else { continue };
        let file = generated.join(name);
        if !file.exists() && hold_executions(tables).await? {
            return Err(KeyError::Missing { purpose, file: file.display().to_string(), lost });
        }
    }
    Ok(())
}

/// Refuses keys with which the tables were not made, unless they are to be accepted.
pub(super) async fn refuse_others(
    config: &Config,
    secrets: &Secrets,
    executions: &Executions,
    accepted: bool,
) -> Result<(), KeyError> {
    for Key { purpose, reference, lost } in keys(config) {
        // What cannot be read has its own error elsewhere.
        let key = secrets.read(reference).ok().and_then(|key| ExecutionKey::new(key.expose()));
        let Some(key) = key else { continue };
        if executions.knows_key(purpose, &key).await? {
            continue;
        }
        if !accepted {
            return Err(KeyError::Other { purpose, reference: reference.to_owned(), lost });
        }
        executions.accept_key(purpose, &key).await?;
        tracing::warn!(purpose, "the {purpose} key is another one from now on: {lost}");
    }
    Ok(())
}

async fn hold_executions(tables: &Client) -> Result<bool, Unavailable> {
    let scan = tables.scan().table_name(Tables::default().executions).limit(1).send().await;
    let scan = scan.map_err(|error| {
        Unavailable(aws_sdk_dynamodb::error::DisplayErrorContext(&error).to_string())
    })?;
    Ok(scan.count > 0)
}

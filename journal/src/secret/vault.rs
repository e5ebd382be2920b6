//! Secrets that AWS keeps: fetched when they are asked for, and remembered in the process.

#[cfg_attr(not(feature = "aws-secrets"), path = "vault/nobody.rs")]
mod clients;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{OnceLock, PoisonError, RwLock};

use aws_types::SdkConfig;
use futures_util::StreamExt;
use serde_json::Value;

use crate::environment;
use clients::Clients;

/// How many secrets are fetched at once.
const TOGETHER: usize = 8;

/// Where AWS keeps a secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    service: Service,
    id: String,
    /// Which text of the JSON that the secret is.
    key: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Service {
    SecretsManager,
    Parameters,
}

impl Place {
    /// Reads `secretsmanager:NAME`, `secretsmanager:NAME#KEY` or `ssm:/PATH`.
    pub(super) fn parse(reference: &str) -> Option<Self> {
        let (service, rest) = match reference.split_once(':')? {
            ("secretsmanager", rest) => (Service::SecretsManager, rest),
            ("ssm", rest) => (Service::Parameters, rest),
            _ => return None,
        };
        let (id, key) = match (service, rest.split_once('#')) {
            (Service::SecretsManager, Some((id, key))) => (id, Some(key.to_owned())),
            _ => (rest, None),
        };
        let named = !id.is_empty() && key.as_deref() != Some("");
        named.then(|| Self { service, id: id.to_owned(), key })
    }

    /// The same place as a whole, whatever the key.
    fn whole(&self) -> Self {
        Self { key: None, ..self.clone() }
    }
}

/// What AWS gave so far.
#[derive(Default)]
pub(super) struct Vault {
    /// How AWS is reached, if not as the environment says.
    aws: Option<SdkConfig>,
    clients: OnceLock<Clients>,
    known: RwLock<HashMap<Place, Result<Vec<u8>, String>>>,
}

impl Vault {
    /// A vault that reaches AWS like this.
    pub(super) fn reached_by(aws: SdkConfig) -> Self {
        Self { aws: Some(aws), ..Self::default() }
    }

    /// Fetches these secrets anew, each once. Where that fails, what is known stays.
    pub(super) async fn fetch(&self, places: Vec<Place>) {
        let wholes: BTreeSet<_> = places.iter().map(Place::whole).collect();
        if wholes.is_empty() {
            return;
        }
        let clients = self.clients.get_or_init(|| match &self.aws {
            Some(aws) => Clients::new(aws),
            None => Clients::new(&environment::aws()),
        });
        let fetched: Vec<_> = futures_util::stream::iter(wholes)
            .map(|place| async move { (clients.fetch(&place).await, place) })
            .buffer_unordered(TOGETHER)
            .collect()
            .await;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for (value, place) in fetched {
            if let (Err(reason), Some(Ok(_))) = (&value, known.get(&place)) {
                tracing::warn!(reason, "a secret could not be fetched again: {reason}");
                continue;
            }
            known.insert(place, value);
        }
    }

    /// The value as it was fetched last, or why there is none.
    pub(super) fn read(&self, place: &Place) -> Result<Vec<u8>, String> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let whole = match known.get(&place.whole()) {
            Some(Ok(value)) => value,
            Some(Err(reason)) => return Err(reason.clone()),
            None => return Err("it was not fetched".to_owned()),
        };
        match &place.key {
            None => Ok(whole.clone()),
            Some(key) => member(whole, key)
                .ok_or_else(|| format!("it is not JSON with a text under `{key}`")),
        }
    }
}

fn member(json: &[u8], key: &str) -> Option<Vec<u8>> {
    let object: Value = serde_json::from_slice(json).ok()?;
    Some(object.get(key)?.as_str()?.as_bytes().to_vec())
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").finish_non_exhaustive()
    }
}

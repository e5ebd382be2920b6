//! What senders serve: certificates and confirmations. Addresses come from `signature`, which knows whose they are.
//!
//! Strangers decide how often a certificate is asked for, so everything about it has a bound,
//! and whoever needs one that is known waits for nobody.

mod trust;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use everhook_journal::{Timestamp, environment};
use tokio::sync::{OnceCell, Semaphore};

use crate::signature::Served;
use trust::{Trust, Untrusted};

/// How long a certificate is used before it is fetched again.
const LIFE: Duration = Duration::from_secs(24 * 3600);

/// How long nothing is fetched from an address that did not answer.
const PAUSE: Duration = Duration::from_secs(5);

/// How long nothing is fetched from an address that answered with something else than the sender's certificate.
const LONG_PAUSE: Duration = Duration::from_secs(60);

/// How many addresses are remembered.
const ADDRESSES_MAX: usize = 64;

/// How many certificates are fetched at once.
const FETCHES_MAX: usize = 8;

/// How many requests wait at once for certificates that are not known yet.
const WAITING_MAX: usize = 64;

/// The largest answer that is read, in bytes.
const BYTES_MAX: usize = 64 * 1024;

/// How long an answer may take, from its first byte to its last.
const WITHIN: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 3 });

/// Fetches from senders, and keeps their certificates.
#[derive(Debug)]
pub struct Fetch {
    client: OnceCell<reqwest::Client>,
    trust: OnceCell<Trust>,
    addresses: Mutex<HashMap<String, Address>>,
    fetches: Semaphore,
    waiting: Arc<Semaphore>,
}

/// An address, and what it gave: nothing yet while it is asked.
#[derive(Debug, Clone)]
struct Address {
    since: Timestamp,
    given: Arc<OnceCell<Result<Arc<[u8]>, FetchError>>>,
}

/// Why nothing could be fetched.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FetchError {
    /// It did not answer, or not well.
    #[error("{url} cannot be fetched: {reason}")]
    Failed {
        /// The address.
        url: String,
        /// Why.
        reason: String,
        /// Whether it answered that there is nothing.
        is_final: bool,
    },
    /// Its answer is too large.
    #[error("{0} answers with more than {BYTES_MAX} bytes")]
    TooLarge(String),
    /// It serves no certificate of the sender's.
    #[error("{url} does not serve a certificate of the sender: {reason}")]
    Untrusted {
        /// The address.
        url: String,
        /// Why.
        reason: Untrusted,
    },
    /// Too many wait already.
    #[error("too many requests wait for certificates")]
    Busy,
}

impl FetchError {
    /// Whether asking again would change nothing: the address has answered, and with no certificate.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Failed { is_final, .. } => *is_final,
            Self::TooLarge(_) | Self::Untrusted { .. } => true,
            Self::Busy => false,
        }
    }
}

impl Default for Fetch {
    fn default() -> Self {
        Self {
            client: OnceCell::new(),
            trust: OnceCell::new(),
            addresses: Mutex::default(),
            fetches: Semaphore::new(FETCHES_MAX),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
        }
    }
}

impl Address {
    /// Whether what it gave still counts.
    fn is_fresh(&self, now: Timestamp) -> bool {
        let age = now.since(self.since);
        match self.given.get() {
            // It is being asked, or nobody asks any more and the next one does.
            None => true,
            Some(Ok(_)) => age < LIFE,
            Some(Err(error)) if error.is_final() => age < LONG_PAUSE,
            Some(Err(_)) => age < PAUSE,
        }
    }

    fn is_good(&self) -> bool {
        self.given.get().is_some_and(Result::is_ok)
    }
}

impl Fetch {
    /// The certificate at this address, as it was fetched last.
    pub async fn certificate(
        self: &Arc<Self>,
        served: &Served,
        now: Timestamp,
    ) -> Result<Arc<[u8]>, FetchError> {
        let address = self.address(&served.url, now);
        if let Some(known) = address.given.get() {
            return known.clone();
        }
        // What is known needs no place; whoever waits for the same address waits for one answer.
        let waiting = self.waiting.clone().try_acquire_owned().map_err(|_| FetchError::Busy)?;
        let (fetch, served) = (self.clone(), served.clone());
        // A task of its own: whoever asks and hangs up does not make the next one ask again.
        let given = tokio::spawn(async move {
            let _waiting = waiting;
            address.given.get_or_init(|| fetch.trusted(&served, now)).await.clone()
        });
        match tokio::time::timeout(2 * WITHIN, given).await {
            Ok(Ok(given)) => given,
            Ok(Err(_)) | Err(_) => Err(FetchError::Busy),
        }
    }

    /// What is at this address. Redirects are not followed.
    pub async fn get(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        let failed = |error: reqwest::Error| {
            let status = error.status().map(|status| status.as_u16());
            // A server that is in trouble or too busy says nothing about what it serves.
            let is_final = error.is_redirect()
                || status.is_some_and(|status| (300..500).contains(&status) && status != 429);
            let reason = innermost(&error.without_url());
            FetchError::Failed { url: url.to_owned(), reason, is_final }
        };
        let client = self.client.get_or_try_init(client).await.map_err(failed)?;
        let answer = client.get(url).send().await.and_then(reqwest::Response::error_for_status);
        let mut answer = answer.map_err(failed)?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            body.extend_from_slice(&chunk);
            if body.len() > BYTES_MAX {
                return Err(FetchError::TooLarge(url.to_owned()));
            }
        }
        Ok(body)
    }

    /// The address, to be asked anew if what it gave counts no more. Never waits for another one.
    fn address(&self, url: &str, now: Timestamp) -> Address {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = addresses.get(url).filter(|known| known.is_fresh(now)) {
            return known.clone();
        }
        if addresses.len() >= ADDRESSES_MAX && !addresses.contains_key(url) {
            // Addresses that strangers make up never take the place of a certificate.
            let oldest = addresses.iter().min_by_key(|(_, known)| (known.is_good(), known.since));
            if let Some(url) = oldest.map(|(url, _)| url.clone()) {
                addresses.remove(&url);
            }
        }
        let address = Address { since: now, given: Arc::default() };
        addresses.insert(url.to_owned(), address.clone());
        address
    }

    async fn trusted(&self, served: &Served, now: Timestamp) -> Result<Arc<[u8]>, FetchError> {
        let url = &served.url;
        let _place = self.fetches.acquire().await.map_err(|_| FetchError::Busy)?;
        let pem = self.get(url).await?;
        let untrusted = |reason| FetchError::Untrusted { url: url.clone(), reason };
        let trust = self.trust.get_or_try_init(|| async { Trust::of_the_system() });
        trust.await.map_err(untrusted)?.check(&pem, served, now).map_err(untrusted)?;
        Ok(pem.into())
    }
}

/// What is behind an error: reqwest only says that something failed.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

fn builder() -> reqwest::ClientBuilder {
    environment::prepare_tls();
    reqwest::Client::builder()
        .https_only(true)
        .redirect(reqwest::redirect::Policy::custom(|redirect| redirect.error("a redirect")))
        .timeout(WITHIN)
}

async fn client() -> Result<reqwest::Client, reqwest::Error> {
    builder().build()
}

#[cfg(test)]
mod tests;

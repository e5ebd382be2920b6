//! What senders serve: certificates and confirmations. Addresses come from `signature`, which knows whose they are.

use std::collections::HashMap;
use std::time::Duration;

use everhook_journal::{Timestamp, environment};
use tokio::sync::{Mutex, OnceCell};

/// How long a certificate is used before it is fetched again.
const LIFE: Duration = Duration::from_secs(24 * 3600);

/// How soon after a failure nothing is fetched: whoever sends forged requests decides no more than this.
const PAUSE: Duration = Duration::from_secs(2);

/// How many certificates are kept.
const CERTIFICATES_MAX: usize = 32;

/// The largest answer that is read, in bytes.
const BYTES_MAX: usize = 64 * 1024;

/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(3);

/// Fetches from senders, and keeps their certificates.
#[derive(Debug, Default)]
pub struct Fetch {
    client: OnceCell<reqwest::Client>,
    certificates: Mutex<Certificates>,
}

#[derive(Debug, Default)]
struct Certificates {
    kept: HashMap<String, (Timestamp, Vec<u8>)>,
    failed_at: Option<Timestamp>,
}

/// Why nothing could be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It did not answer, or not well.
    #[error("{url} cannot be fetched")]
    Failed {
        /// The address.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// Its answer is too large.
    #[error("{0} answers with more than {BYTES_MAX} bytes")]
    TooLarge(String),
    /// Something failed a moment ago.
    #[error("nothing is fetched so soon after a failure")]
    TooSoon,
}

impl Fetch {
    /// The certificate at this address, as it was fetched last.
    pub async fn certificate(&self, url: &str, now: Timestamp) -> Result<Vec<u8>, FetchError> {
        // One at a time: whoever comes meanwhile waits for the same answer.
        let mut certificates = self.certificates.lock().await;
        if let Some((at, pem)) = certificates.kept.get(url)
            && now.since(*at) < LIFE
        {
            return Ok(pem.clone());
        }
        if certificates.failed_at.is_some_and(|at| now.since(at) < PAUSE) {
            return Err(FetchError::TooSoon);
        }
        let fetched = self.get(url).await;
        match &fetched {
            Ok(pem) => {
                if certificates.kept.len() >= CERTIFICATES_MAX {
                    certificates.kept.clear();
                }
                certificates.kept.insert(url.to_owned(), (now, pem.clone()));
            }
            Err(_) => certificates.failed_at = Some(now),
        }
        fetched
    }

    /// What is at this address. Redirects are not followed.
    pub async fn get(&self, url: &str) -> Result<Vec<u8>, FetchError> {
        let failed = |source| FetchError::Failed { url: url.to_owned(), source };
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
}

async fn client() -> Result<reqwest::Client, reqwest::Error> {
    environment::prepare_tls();
    reqwest::Client::builder()
        .https_only(true)
        .redirect(reqwest::redirect::Policy::custom(|redirect| redirect.error("a redirect")))
        .timeout(WITHIN)
        .build()
}

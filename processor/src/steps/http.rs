//! `run = "http"`: posts the webhook, or the result before, to a URL.

mod answer;

use std::error::Error;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use everhook_journal::environment;
use everhook_journal::workflow::StepDefinition;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use serde_json::Value;

use super::options;
use crate::destination::{PrivateHosts, PublicOnly, Reach, Refused};
use crate::step::{DefinitionError, Input, Output, Step, StepError, StepFuture};

/// How long it may take to be connected.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How many idle connections to one host are kept.
const IDLE_CONNECTIONS_MAX: usize = 16;

/// How long an idle connection is kept: shorter than most servers do.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of a cause is told.
const CAUSE_CHARS_MAX: usize = 200;

/// Headers that the step itself writes.
const OWN_HEADERS: [&str; 9] = [
    "connection",
    "content-length",
    "everhook-attempt",
    "everhook-execution",
    "host",
    "idempotency-key",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Posts to a URL. Every answer but a 2xx, and every failure to get one, is worth another attempt;
/// a destination that may not be called is not.
///
/// | key | means |
/// |---|---|
/// | `url` | where to; `https`, unless `private_hosts` names the host |
/// | `body` | `"webhook"` (the default): the body as it was received, or `"previous"`: the result before |
/// | `headers` | further headers; they are part of the recorded definition, so no place for secrets |
///
/// The request carries `Idempotency-Key`, equal for all attempts, `Everhook-Execution` and
/// `Everhook-Attempt`. Redirects are not followed.
#[derive(Clone)]
pub struct Http {
    url: Url,
    body: Body,
    headers: HeaderMap,
    private_hosts: PrivateHosts,
    clients: Arc<Clients>,
}

#[derive(Debug, Clone, Copy)]
enum Body {
    Webhook,
    Previous,
}

/// The connections of all `http` steps.
#[derive(Debug, Default)]
pub struct Clients(OnceLock<Pair>);

#[derive(Debug)]
struct Pair {
    public: Client,
    anywhere: Client,
}

impl Http {
    /// Reads the definition and checks its destination.
    pub fn new(
        step: &StepDefinition,
        private_hosts: &PrivateHosts,
        clients: &Arc<Clients>,
    ) -> Result<Self, DefinitionError> {
        options::only(step, &["url", "body", "headers"])?;
        let url = options::required_text(step, "url")?;
        let url: Url = url
            .parse()
            .map_err(|error| DefinitionError::at("url", format!("`url` is not a URL: {error}")))?;
        private_hosts
            .check(&url)
            .map_err(|refused| DefinitionError::at("url", refused.to_string()))?;
        let bodies = [("webhook", Body::Webhook), ("previous", Body::Previous)];
        let body = options::choice(step, "body", &bodies)?.unwrap_or(Body::Webhook);
        let headers = read_headers(step)?;
        clients.get().map_err(|error| {
            let message = format!("this machine cannot call by https: {}", cause(&error));
            DefinitionError::at("run", message)
        })?;
        let (private_hosts, clients) = (private_hosts.clone(), Arc::clone(clients));
        Ok(Self { url, body, headers, private_hosts, clients })
    }

    async fn call(&self, input: &Input) -> Result<Output, StepError> {
        let began = Instant::now();
        let clients = self.clients.get().map_err(|error| self.failure(&error))?;
        let refused = |refused: Refused| StepError::fatal("refused", refused.to_string());
        let client = match self.private_hosts.check(&self.url).map_err(refused)? {
            Reach::Public => &clients.public,
            Reach::Anywhere => &clients.anywhere,
        };
        let request = client
            .post(self.url.clone())
            .headers(self.headers(input)?)
            .body(self.body(input)?)
            .timeout(input.timeout);
        let response = request.send().await.map_err(|error| self.failure(&error))?;
        if !response.status().is_success() {
            return Err(self.unsuccessful(&response));
        }
        let read = answer::Answer::read(response).await;
        read.map_err(|error| self.failure(&error))?.to_output(began.elapsed())
    }

    fn body(&self, input: &Input) -> Result<Bytes, StepError> {
        match self.body {
            Body::Webhook => Ok(input.body.clone()),
            Body::Previous => input
                .previous()
                .cloned()
                .ok_or_else(|| StepError::fatal("invalid", "there is no step before this one")),
        }
    }

    fn headers(&self, input: &Input) -> Result<HeaderMap, StepError> {
        let content_type = match self.body {
            Body::Webhook => input.webhook.headers.get("content-type").map(String::as_str),
            Body::Previous => Some("application/json"),
        };
        let mut headers = HeaderMap::new();
        let own = [
            ("idempotency-key", input.idempotency_key()),
            ("everhook-execution", input.execution.to_string()),
            ("everhook-attempt", input.attempt.to_string()),
        ];
        for (name, value) in own {
            let value = HeaderValue::try_from(value)
                .map_err(|_| StepError::fatal("invalid", format!("{name} is no header's value")))?;
            headers.insert(name, value);
        }
        // What the sender calls its body is passed on if it can be, and otherwise left open.
        if let Some(Ok(content_type)) = content_type.map(HeaderValue::from_str) {
            headers.insert(CONTENT_TYPE, content_type);
        }
        headers.extend(self.headers.clone());
        Ok(headers)
    }

    fn unsuccessful(&self, response: &Response) -> StepError {
        let status = response.status();
        let hint = if status.is_redirection() { "; redirects are not followed" } else { "" };
        let kind = format!("http_{}", status.as_u16());
        StepError::retryable(kind, format!("{} answered {status}{hint}", self.host()))
    }

    fn failure(&self, error: &reqwest::Error) -> StepError {
        let host = self.host();
        let causes = || std::iter::successors(error.source(), |error| (*error).source());
        if let Some(refused) = causes().find_map(|error| error.downcast_ref::<Refused>()) {
            return StepError::fatal("refused", refused.to_string());
        }
        if error.is_connect() {
            return StepError::retryable(
                "connect",
                format!("cannot connect to {host}: {}", cause(error)),
            );
        }
        if error.is_timeout() {
            return StepError::retryable("timeout", format!("{host} did not answer in time"));
        }
        StepError::retryable("http", format!("{host} broke off: {}", cause(error)))
    }

    fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }
}

impl Step for Http {
    fn run(&self, input: Input) -> StepFuture {
        let step = self.clone();
        Box::pin(async move { step.call(&input).await })
    }
}

/// Shows neither the path, which may hold a key, nor the headers.
impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Http({:?} to {})", self.body, self.host())
    }
}

impl Clients {
    // Reading the machine's certificates takes a while: it is done once, and only where something is called.
    fn get(&self) -> Result<&Pair, reqwest::Error> {
        if let Some(pair) = self.0.get() {
            return Ok(pair);
        }
        environment::prepare_tls();
        let client = || {
            Client::builder()
                .user_agent(concat!("everhook/", env!("CARGO_PKG_VERSION")))
                .redirect(Policy::none())
                .referer(false)
                .no_proxy()
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_idle_timeout(IDLE_TIMEOUT)
                .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        };
        let public = client().dns_resolver(PublicOnly).build()?;
        let anywhere = client().build()?;
        Ok(self.0.get_or_init(|| Pair { public, anywhere }))
    }
}

fn read_headers(step: &StepDefinition) -> Result<HeaderMap, DefinitionError> {
    let problem = |message: String| DefinitionError::at("headers", message);
    let table = match step.options.get("headers") {
        None => return Ok(HeaderMap::new()),
        Some(Value::Object(table)) => table,
        Some(_) => return Err(problem("`headers` must be a table of texts".into())),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in table {
        let header = HeaderName::try_from(name.as_str())
            .map_err(|_| problem(format!("`{name}` is no header's name")))?;
        if OWN_HEADERS.contains(&header.as_str()) {
            return Err(problem(format!("`{name}` is written by the step itself")));
        }
        let value = value.as_str().and_then(|text| HeaderValue::from_str(text).ok());
        let mut value = value.ok_or_else(|| problem(format!("`{name}` has no header's value")))?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

/// The innermost cause: the others only say that there is one.
fn cause(error: &(dyn Error + 'static)) -> String {
    let innermost = std::iter::successors(Some(error), |error| (*error).source()).last();
    innermost.unwrap_or(error).to_string().chars().take(CAUSE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;

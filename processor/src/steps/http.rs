//! `run = "http"`: sends the webhook, or something made of it, to a URL.

mod answer;
mod clients;
mod headers;
pub(crate) mod limit;
mod sign;
mod target;

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use everhook_journal::Secrets;
use everhook_journal::workflow::StepDefinition;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Response, Url};

use super::aws::failure::cause;
use super::sent::{Content, Sent};
use super::{options, retry_after, sent};
use crate::destination::{PrivateHosts, Reach, Refused};
use crate::step::{DefinitionError, Input, Outgoing, Output, Step, StepError, StepFuture};
pub use clients::Clients;
use sign::Sign;
pub(super) use sign::references;
use target::Target;

/// What a step may do to a URL.
const METHODS: [(&str, Method); 5] = [
    ("GET", Method::GET),
    ("POST", Method::POST),
    ("PUT", Method::PUT),
    ("PATCH", Method::PATCH),
    ("DELETE", Method::DELETE),
];

/// Calls a URL. Every answer but a 2xx, and every failure to get one, is worth another attempt;
/// a destination that may not be called is not.
///
/// | key | means |
/// |---|---|
/// | `url` | where to, a template; `https`, unless `private_hosts` names the host |
/// | `method` | `"POST"` (the default), `"GET"`, `"PUT"`, `"PATCH"` or `"DELETE"` |
/// | `body`, `jq`, `input` | what is sent; nothing with `GET`, and with `DELETE` only if one of them is there |
/// | `headers` | further headers; they are part of the recorded definition, so no place for secrets |
/// | `limit` | how often, and how often at once, this process calls the destination |
/// | `sign` | signs as Standard Webhooks says |
///
/// The request carries `Idempotency-Key`, equal for all attempts, `Everhook-Execution` and
/// `Everhook-Attempt`. Redirects are not followed.
#[derive(Clone)]
pub struct Http {
    target: Target,
    method: Method,
    sent: Option<Sent>,
    headers: HeaderMap,
    sign: Option<Sign>,
    private_hosts: PrivateHosts,
    clients: Arc<Clients>,
}

impl Http {
    /// Reads the definition and checks its destination.
    pub fn new(
        step: &StepDefinition,
        private_hosts: &PrivateHosts,
        clients: &Arc<Clients>,
        secrets: &Secrets,
    ) -> Result<Self, DefinitionError> {
        let own = ["url", "method", "headers", "limit", "sign"];
        options::only(step, &[&own[..], &sent::KEYS].concat())?;
        let target = Target::new(step, private_hosts)?;
        let method = method(step)?;
        let sent = sent_by(&method, step)?;
        let headers = headers::read(step)?;
        limit::measure(step)?;
        let sign = Sign::new(step, secrets)?;
        clients.get().map_err(|error| {
            let message = format!("this machine cannot call by https: {}", cause(&error));
            DefinitionError::at("run", message)
        })?;
        let (private_hosts, clients) = (private_hosts.clone(), Arc::clone(clients));
        Ok(Self { target, method, sent, headers, sign, private_hosts, clients })
    }

    async fn call(&self, input: &Input) -> Result<Output, StepError> {
        let began = Instant::now();
        let clients = self.clients.get().map_err(|error| self.failure(&error))?;
        let refused = |refused: Refused| StepError::fatal("refused", self.target.told(&refused));
        let url = self.target.url(input).await?;
        // Who may be called is decided by the URL that is called, whatever it was made of.
        let client = match self.private_hosts.check(&url).map_err(refused)? {
            Reach::Public => &clients.public,
            Reach::Anywhere => &clients.anywhere,
        };
        let mut headers = headers::of(input)?;
        let content = match &self.sent {
            Some(sent) => Some(sent.content(input).await?),
            None => None,
        };
        if let Some(Content { content_type: Some(kind), .. }) = &content
            // What the sender calls its body is passed on if it can be, and otherwise left open.
            && let Ok(kind) = HeaderValue::from_str(kind)
        {
            headers.insert(CONTENT_TYPE, kind);
        }
        headers.extend(self.headers.clone());
        let mut secrets = Vec::new();
        if let Some(sign) = &self.sign {
            let body = content.as_ref().map(|content| &content.bytes[..]).unwrap_or_default();
            let signed = sign.headers(input, body).await?;
            headers.extend(signed.headers);
            secrets = signed.secrets;
        }
        self.record(input, &url, &headers, content.as_ref(), secrets);
        let began_call = Instant::now();
        let mut request = client
            .request(self.method.clone(), url)
            .headers(headers)
            .timeout(input.timeout.saturating_sub(began.elapsed()));
        if let Some(content) = content {
            request = request.body(content.bytes);
        }
        let response = request.send().await.map_err(|error| self.failure(&error))?;
        if !response.status().is_success() {
            return Err(self.unsuccessful(&response, input));
        }
        let read = answer::Answer::read(response).await;
        read.map_err(|error| self.failure(&error))?.to_output(began_call.elapsed())
    }

    /// Notes the call before it is made, so that it is recorded also if no answer comes.
    fn record(
        &self,
        input: &Input,
        url: &Url,
        headers: &HeaderMap,
        content: Option<&Content>,
        secrets: Vec<String>,
    ) {
        let mut request = Outgoing::new(self.method.as_str(), url.as_str());
        for (name, value) in headers {
            // A value that is no text cannot be shown.
            request = request.header(name.as_str(), value.to_str().unwrap_or_default());
        }
        if let Some(content) = content {
            request = request.body(content.bytes.clone());
        }
        input.record_request(secrets.into_iter().fold(request, Outgoing::knowing));
    }

    fn unsuccessful(&self, response: &Response, input: &Input) -> StepError {
        let status = response.status();
        let hint = if status.is_redirection() { "; redirects are not followed" } else { "" };
        let kind = format!("http_{}", status.as_u16());
        let message = format!("{} answered {status}{hint}", self.host());
        let failure = StepError::retryable(kind, message);
        let asked = response.headers().get(RETRY_AFTER).and_then(|text| text.to_str().ok());
        match asked.and_then(|text| retry_after::read(text, input.started_at)) {
            Some(wait) => failure.with_retry_after(wait),
            None => failure,
        }
    }

    fn failure(&self, error: &reqwest::Error) -> StepError {
        let host = self.host();
        let causes = || std::iter::successors(error.source(), |error| (*error).source());
        if let Some(refused) = causes().find_map(|error| error.downcast_ref::<Refused>()) {
            return StepError::fatal("refused", self.target.told(refused));
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
        self.target.host()
    }
}

fn method(step: &StepDefinition) -> Result<Method, DefinitionError> {
    let names: [_; METHODS.len()] = std::array::from_fn(|index| (METHODS[index].0, index));
    let chosen = options::choice(step, "method", &names)?;
    Ok(chosen.map_or(Method::POST, |index| METHODS[index].1.clone()))
}

fn sent_by(method: &Method, step: &StepDefinition) -> Result<Option<Sent>, DefinitionError> {
    let said = sent::KEYS.into_iter().find(|key| step.options.contains_key(*key));
    match said {
        Some(key) if *method == Method::GET => {
            let message = format!("`{key}` says what is sent, and GET sends nothing");
            Err(DefinitionError::at(key, message))
        }
        None if matches!(*method, Method::GET | Method::DELETE) => Ok(None),
        _ => Sent::new(step).map(Some),
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
        write!(f, "Http({} to {})", self.method, self.host())
    }
}

#[cfg(test)]
mod tests;

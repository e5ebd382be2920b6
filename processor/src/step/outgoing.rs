//! What an attempt sends outside, noted right before it is sent and recorded with the attempt's outcome.
//!
//! What is left out is decided here, for all kinds of step.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use bytes::Bytes;
use everhook_journal::credential;
use everhook_journal::event::{OutgoingBody, OutgoingRequest};
use everhook_journal::payload::sha256_hex;
use everhook_journal::secret::SECRET_BYTES_MIN;
use reqwest::Url;

use super::Input;

/// How many bytes of URL, headers and body are recorded of one request. A body that does not fit is left out.
pub const REQUEST_BYTES_MAX: usize = 2 * 1024;

/// How many bytes of a URL, and of a method, are recorded.
const URL_BYTES_MAX: usize = 1024;
const METHOD_BYTES_MAX: usize = 64;

/// Stands for what is left out of a URL.
const LEFT_OUT: &str = "…";

/// A request that is about to be sent.
///
/// ```
/// use everhook_processor::{Input, Outgoing};
///
/// let input = Input::sample("{}");
/// let request = Outgoing::new("POST", "https://pay.example.com/charges")
///     .header("idempotency-key", input.idempotency_key())
///     .header("authorization", "Bearer 123")
///     .body(r#"{"cents":50}"#);
/// input.record_request(request);
///
/// let recorded = input.recorded_request().unwrap();
/// assert_eq!(recorded.url, "https://pay.example.com/charges");
/// assert_eq!(recorded.headers["authorization"], None);
/// ```
pub struct Outgoing {
    method: String,
    url: String,
    headers: Vec<(String, Option<String>)>,
    body: Option<Bytes>,
    secrets: Vec<String>,
}

impl Outgoing {
    /// With this method, or operation of a service, to this URL, or whatever names the receiver.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Self {
        let (method, url) = (method.into(), url.into());
        Self { method, url, headers: Vec::new(), body: None, secrets: Vec::new() }
    }

    /// The same, with this header. The value is left out if the name says that it is a credential.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), Some(value.into())));
        self
    }

    /// The same, with this header if there is a value.
    pub(crate) fn optional(self, name: &str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.header(name, value),
            None => self,
        }
    }

    /// The same, with this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// The same, sent with the knowledge of this secret: a text that holds it, also in base64, is left out.
    #[must_use]
    pub fn knowing(mut self, secret: impl Into<String>) -> Self {
        self.secrets.push(secret.into());
        self
    }

    /// What is recorded of it.
    fn recorded(mut self, input: &Input, hidden: Hidden) -> OutgoingRequest {
        // The token is a secret: with it, anyone could answer as the receiver. The history has only its hash.
        self.secrets.extend(input.callback.as_ref().map(|callback| callback.token.clone()));
        let secrets = Secrets::new(&self.secrets);
        self.method.truncate(self.method.floor_char_boundary(METHOD_BYTES_MAX));
        let url = url(&self.url, hidden.others, &secrets);
        let mut room = REQUEST_BYTES_MAX.saturating_sub(self.method.len() + url.len());
        let mut headers = BTreeMap::new();
        let mut more_headers = 0;
        for (name, value) in self.headers {
            let is_shown = |value: &String| {
                !hidden.others && !credential::is_parameter(&name) && !secrets.are_in(value)
            };
            let value = value.filter(is_shown);
            let bytes = name.len() + value.as_ref().map_or(0, String::len);
            if secrets.are_in(&name) || bytes > room {
                more_headers += 1;
                continue;
            }
            room -= bytes;
            headers.insert(name, value);
        }
        let body = self.body.map(|bytes| body(&bytes, input, room, hidden.body, &secrets));
        OutgoingRequest { method: self.method, url, headers, more_headers, body }
    }
}

fn body(
    bytes: &Bytes,
    input: &Input,
    room: usize,
    is_hidden: bool,
    secrets: &Secrets,
) -> OutgoingBody {
    if *bytes == input.body {
        return OutgoingBody::Webhook;
    }
    if let Some((step, _)) = input.outputs.last().filter(|(_, result)| result == bytes) {
        return OutgoingBody::Result(step.clone());
    }
    // Control characters would be six bytes each, and are no text.
    let is_plain = |character: char| !character.is_control() || "\t\r\n".contains(character);
    match std::str::from_utf8(bytes) {
        Ok(text)
            if !is_hidden
                && text.len() <= room
                && text.chars().all(is_plain)
                && !secrets.are_in(text) =>
        {
            OutgoingBody::Text(text.to_owned())
        }
        _ => OutgoingBody::Omitted { sha256: sha256_hex(bytes), bytes: bytes.len() as u64 },
    }
}

/// The URL without user, password, fragment and the values of credentials; what is hidden ends after the host.
fn url(text: &str, is_hidden: bool, secrets: &Secrets) -> String {
    let mut url = text.to_owned();
    if let Ok(mut parsed) = Url::parse(text)
        && parsed.has_host()
    {
        let is_web = ["http", "https"].contains(&parsed.scheme());
        let has_user = !parsed.username().is_empty() || parsed.password().is_some();
        if has_user || is_web && parsed.fragment().is_some() {
            // These fail for URLs without a host only.
            let _ = (parsed.set_username(""), parsed.set_password(None));
            // The fragment of a web page is never sent.
            parsed.set_fragment(None);
            url = parsed.into();
        }
    }
    if is_hidden || secrets.are_in(&url) {
        let host = url.find("://").map_or(0, |scheme| scheme + 3);
        let host = url[host..].find(['/', '?']).map_or(url.len(), |end| host + end);
        url.truncate(if url.contains("://") { host } else { 0 });
        url.push_str(if url.is_empty() { LEFT_OUT } else { "/…" });
        return if secrets.are_in(&url) { LEFT_OUT.to_owned() } else { url };
    }
    if let Some((before, query)) = url.split_once('?') {
        let parameter = |pair: &str| {
            let name = form_urlencoded::parse(pair.as_bytes()).next().map(|(name, _)| name);
            match pair.split_once('=') {
                Some((written, _)) if name.is_some_and(|it| credential::is_parameter(&it)) => {
                    format!("{written}={LEFT_OUT}")
                }
                _ => pair.to_owned(),
            }
        };
        let query: Vec<_> = query.split('&').map(parameter).collect();
        url = format!("{before}?{}", query.join("&"));
    }
    if url.len() > URL_BYTES_MAX {
        url.truncate(url.floor_char_boundary(URL_BYTES_MAX));
        url.push_str(LEFT_OUT);
    }
    url
}

/// The secrets that must be in nothing that is recorded, in the forms that are looked for.
struct Secrets(Vec<String>);

impl Secrets {
    fn new(texts: &[String]) -> Self {
        // What is shorter is no secret, and in many texts.
        let texts = texts.iter().filter(|text| text.len() >= SECRET_BYTES_MIN);
        let forms = texts.flat_map(|text| [text.clone(), BASE64.encode(text)]);
        Self(forms.map(|form| form.to_ascii_lowercase()).collect())
    }

    // A host is in lower case, whatever the case of what it was made of.
    fn are_in(&self, text: &str) -> bool {
        let text = text.to_ascii_lowercase();
        self.0.iter().any(|secret| text.contains(secret))
    }
}

/// Which texts of a step may hold the address of a callback, in whatever form.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hidden {
    /// The body.
    pub body: bool,
    /// The URL and the headers.
    pub others: bool,
}

/// Where an attempt notes what it sends. All clones are of one attempt.
#[derive(Clone)]
pub(crate) struct Recorder {
    /// None: nothing is recorded.
    noted: Option<Arc<OnceLock<Box<OutgoingRequest>>>>,
    hidden: Hidden,
}

impl Recorder {
    /// For one attempt of a step.
    pub(crate) fn new(is_recorded: bool, hidden: Hidden) -> Self {
        Self { noted: is_recorded.then(Arc::default), hidden }
    }
}

impl Input {
    /// Notes what is about to be sent, to be recorded with the attempt's outcome, whatever that is.
    /// Of several requests the first is recorded; with `record_request = false` none is.
    pub fn record_request(&self, request: Outgoing) {
        if let Some(noted) = &self.recorder.noted {
            noted.get_or_init(|| Box::new(request.recorded(self, self.recorder.hidden)));
        }
    }

    /// What was noted.
    pub fn recorded_request(&self) -> Option<&OutgoingRequest> {
        self.recorder.noted.as_ref()?.get().map(Box::as_ref)
    }
}

/// Shows neither the URL nor what is sent.
impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outgoing({})", self.method)
    }
}

#[cfg(test)]
mod tests;

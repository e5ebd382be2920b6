//! One request, and whether it is to be accepted.

use std::time::Duration;

use aws_lambda_events::http::{HeaderMap, HeaderName, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use everhook_ingest::request::Headers;
use everhook_ingest::signature::{Authentic, Preset, Scheme, Sent, Settings, Unverified, preset};
use everhook_journal::Timestamp;
use everhook_journal::secret::Secret;
use serde_json::Value;

use super::Judged;

/// One request, and whether it is to be accepted.
#[derive(Debug, Clone)]
pub struct Vector {
    /// Its name.
    pub id: String,
    /// The sender's scheme.
    pub preset: &'static Preset,
    /// The headers to look in, where the vectors are of a scheme without its own.
    pub header: Option<&'static str>,
    /// The source's secrets, the newest first; where a certificate proves the sender, that.
    pub secrets: Vec<String>,
    /// What the source says beside them.
    pub settings: Settings,
    /// The method.
    pub method: String,
    /// The query.
    pub query: String,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// When it is looked at, if that matters.
    pub now: Option<Timestamp>,
    /// Whether it is to be accepted.
    pub valid: bool,
    /// Why it is interesting.
    pub why: String,
    /// The vector that it was made from.
    pub base: Option<String>,
}

impl Vector {
    /// Reads one entry. Its error says what is wrong with it.
    pub fn read(value: &Value) -> Result<Self, String> {
        let text = |name: &str| value[name].as_str();
        let scheme = text("scheme").ok_or("`scheme` is missing")?;
        let (preset, header) = preset_of(scheme).ok_or(format!("unknown scheme `{scheme}`"))?;
        let (public_url, query) =
            match text("url").map(|url| url.split_once('?').unwrap_or((url, ""))) {
                Some((url, query)) => (Some(url.to_owned()), query.to_owned()),
                None => (None, String::new()),
            };
        let usual = preset.tolerance_s.map(Duration::from_secs);
        let tolerance = match value.get("tolerance_s") {
            Some(seconds) => seconds.as_u64().map(Duration::from_secs),
            None => usual,
        };
        let settings = Settings {
            tolerance,
            public_url,
            webhook_id: text("webhook_id").map(str::to_owned),
            ..Settings::default()
        };
        let valid = match text("expected") {
            Some("valid") => true,
            Some("invalid") => false,
            _ => return Err("`expected` must be \"valid\" or \"invalid\"".into()),
        };
        Ok(Self {
            id: text("id").ok_or("`id` is missing")?.to_owned(),
            preset,
            header,
            secrets: texts(&value["secret"]),
            settings,
            method: text("method").unwrap_or("POST").to_owned(),
            query,
            headers: pairs(&value["headers"]),
            body: body(value)?,
            now: value["now_unix"].as_f64().map(|at| Timestamp::from_millis((at * 1000.0) as i64)),
            valid,
            why: text("why").unwrap_or_default().to_owned(),
            base: text("base_id").map(str::to_owned),
        })
    }

    /// The scheme of a source that is configured for it. Its error says why there can be none.
    pub fn scheme(&self) -> Result<Scheme, String> {
        let secrets: Vec<_> = match self.preset.is_proved_by_certificate() {
            true => Vec::new(),
            false => {
                self.secrets.iter().map(|text| Secret::new("the vector's", text.as_str())).collect()
            }
        };
        if secrets.is_empty() && self.preset.takes_secrets() {
            return Err("it has no secret".into());
        }
        match self.header {
            Some(header) => Scheme::list_in(self.preset, header, &secrets, self.settings.clone()),
            None => Scheme::new(self.preset, &secrets, self.settings.clone()),
        }
    }

    /// What the verifier says of it.
    pub fn verify(&self, scheme: &Scheme, now: Timestamp) -> Result<Authentic, Unverified> {
        let certificate = self.preset.is_proved_by_certificate().then(|| self.secrets.first());
        let sent = Sent {
            method: &self.method,
            query: &self.query,
            headers: &headers(&self.headers),
            body: &Bytes::copy_from_slice(&self.body),
            now: self.now.unwrap_or(now),
            certificate: certificate.flatten().map(String::as_bytes),
        };
        Ok(scheme.read(scheme.verify(&sent)?, &sent))
    }

    /// How the verifier did.
    pub fn judged(&self, now: Timestamp) -> Judged {
        let refused = match self.scheme() {
            Ok(scheme) => self.verify(&scheme, now).err().map(|reason| reason.to_string()),
            Err(reason) => Some(reason),
        };
        let failure = match (self.valid, refused) {
            (true, Some(reason)) => Some(format!("refused, but it is valid: {reason}")),
            (false, None) => Some(format!("accepted, but it is not valid: {}", self.why)),
            (true, None) | (false, Some(_)) => None,
        };
        Judged { id: self.id.clone(), scheme: self.preset.name.to_owned(), failure }
    }
}

/// The preset that vectors mean, by its name with underscores. Those of a mere list of signatures name their header.
fn preset_of(scheme: &str) -> Option<(&'static Preset, Option<&'static str>)> {
    let name = scheme.replace('_', "-");
    match name.strip_suffix("-list") {
        Some(name) => preset(name).map(|preset| (preset, Some("x-signature"))),
        None => preset(&name).map(|preset| (preset, None)),
    }
}

/// Headers from pairs; what cannot be one is left out.
pub(super) fn headers(pairs: &[(String, String)]) -> Headers {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let pair = (HeaderName::try_from(name.as_str()), HeaderValue::from_bytes(value.as_bytes()));
        if let (Ok(name), Ok(value)) = pair {
            headers.append(name, value);
        }
    }
    Headers::new(headers)
}

/// Names and values, from an object or a list of pairs.
pub(super) fn pairs(value: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match value {
        Value::Object(map) => map.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        Value::Array(pairs) => pairs.iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

/// The body, byte for byte.
pub(super) fn body(value: &Value) -> Result<Vec<u8>, String> {
    let text = value["body"].as_str().unwrap_or_default();
    match value["body_encoding"].as_str() {
        None | Some("utf8" | "utf-8" | "text") => Ok(text.as_bytes().to_vec()),
        Some("base64") => BASE64.decode(text).map_err(|error| format!("`body`: {error}")),
        Some(other) => Err(format!("`body_encoding` \"{other}\" is unknown")),
    }
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => {
            items.iter().filter_map(|item| Some(item.as_str()?.into())).collect()
        }
        value => value.as_str().map(Into::into).into_iter().collect(),
    }
}

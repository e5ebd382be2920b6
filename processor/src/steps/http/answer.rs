//! What a server answered, as a step's result.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use everhook_journal::json::Unreadable;
use reqwest::Response;
use reqwest::header::CONTENT_TYPE;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::step::{Output, StepError, to_output};
use crate::steps::json;

/// How much of an answer's body is kept.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024;

/// An answer, with as much of its body as is kept.
#[derive(Debug)]
pub(super) struct Answer {
    status: u16,
    is_json: bool,
    body: Vec<u8>,
    truncated: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    status: u16,
    body: Body,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_encoding: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not_json: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
    duration_ms: u64,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Body {
    Json(Box<RawValue>),
    Text(String),
}

impl Answer {
    /// Reads the body as far as it is kept; the rest is never received.
    pub(super) async fn read(mut response: Response) -> Result<Self, reqwest::Error> {
        let status = response.status().as_u16();
        let content_type = response.headers().get(CONTENT_TYPE);
        let is_json = content_type.and_then(|value| value.to_str().ok()).is_some_and(names_json);
        let mut body = Vec::new();
        while body.len() <= BODY_BYTES_MAX
            && let Some(chunk) = response.chunk().await?
        {
            body.extend_from_slice(&chunk);
        }
        let truncated = body.len() > BODY_BYTES_MAX;
        body.truncate(BODY_BYTES_MAX);
        Ok(Self { status, is_json, body, truncated })
    }

    /// JSON as it is written, else text, else base64. If it says that it is JSON and is not, why not.
    pub(super) fn to_output(&self, took: Duration) -> Result<Output, StepError> {
        let (json, not_json) = match self.json() {
            Some(Ok(json)) => (Some(json), None),
            Some(Err(why)) => (None, Some(why.to_string())),
            None => (None, None),
        };
        let (body, body_encoding) = match (json, self.text()) {
            (Some(json), _) => (Body::Json(json), None),
            (None, Some(text)) => (Body::Text(text.to_owned()), None),
            (None, None) => (Body::Text(BASE64.encode(&self.body)), Some("base64")),
        };
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let (status, truncated) = (self.status, self.truncated);
        to_output(&Shown { status, body, body_encoding, not_json, truncated, duration_ms })
    }

    /// The body as JSON, if it says that it is and is here whole.
    fn json(&self) -> Option<Result<Box<RawValue>, Unreadable>> {
        if !self.is_json || self.truncated || self.body.is_empty() {
            return None;
        }
        // One level is left for the result around it.
        let text = json::check_inside(&self.body, 1);
        Some(
            text.map(|text| RawValue::from_string(text.trim().to_owned()).expect("it was checked")),
        )
    }

    fn text(&self) -> Option<&str> {
        let text = match std::str::from_utf8(&self.body) {
            Ok(text) => text,
            // The cut may have gone through the middle of a character.
            Err(error) if self.truncated && error.error_len().is_none() => {
                std::str::from_utf8(&self.body[..error.valid_up_to()]).ok()?
            }
            Err(_) => return None,
        };
        // Control characters would be six bytes each, and are no text.
        let readable = |character: char| !character.is_control() || "\t\r\n".contains(character);
        text.chars().all(readable).then_some(text)
    }
}

fn names_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

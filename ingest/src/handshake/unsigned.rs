//! Handshakes that nobody signs.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde_json::json;

use super::short;
use crate::answer::Answer;
use crate::signature::{Scheme, Sent};

/// How many requests a minute a sender of CloudEvents may make.
const ALLOWED_RATE: u32 = 100;

pub(super) fn probe(sent: &Sent<'_>) -> Option<Answer> {
    matches!(sent.method, "GET" | "HEAD").then(|| Answer::empty(200))
}

pub(super) fn meta(scheme: &Scheme, sent: &Sent<'_>) -> Option<Answer> {
    let is_ours = parameter(sent, "GET", "hub.mode")? == "subscribe"
        && scheme.knows_token(&parameter(sent, "GET", "hub.verify_token")?);
    let challenge = short(parameter(sent, "GET", "hub.challenge")?)?;
    is_ours.then(|| Answer::text(challenge))
}

pub(super) fn dropbox(sent: &Sent<'_>) -> Option<Answer> {
    short(parameter(sent, "GET", "challenge")?).map(Answer::text)
}

pub(super) fn x(scheme: &Scheme, sent: &Sent<'_>) -> Option<Answer> {
    let token = short(parameter(sent, "GET", "crc_token")?).filter(|token| is_no_body(token))?;
    let signature = scheme.keys().first()?.sign(&[token.as_bytes()]);
    let signature = data_encoding::BASE64.encode(&signature);
    Some(Answer::json(&json!({ "response_token": format!("sha256={signature}") })))
}

pub(super) fn okta(sent: &Sent<'_>) -> Option<Answer> {
    let challenge = header(sent, "GET", "x-okta-verification-challenge")?;
    Some(Answer::json(&json!({ "verification": challenge })))
}

pub(super) fn msgraph(sent: &Sent<'_>) -> Option<Answer> {
    short(parameter(sent, "POST", "validationToken")?).map(Answer::text)
}

pub(super) fn asana(sent: &Sent<'_>) -> Option<Answer> {
    let secret = header(sent, "POST", "x-hook-secret")?;
    Some(Answer::empty(200).with_header("x-hook-secret", secret))
}

pub(super) fn cloudevents(sent: &Sent<'_>) -> Option<Answer> {
    let origin = header(sent, "OPTIONS", "webhook-request-origin")?;
    let asked = sent.headers.only("webhook-request-rate").ok();
    let asked = asked.and_then(|rate| rate.parse::<u32>().ok()).unwrap_or(ALLOWED_RATE);
    let rate = asked.clamp(1, ALLOWED_RATE).to_string();
    let answer = Answer::empty(200).with_header("webhook-allowed-origin", origin);
    Some(answer.with_header("webhook-allowed-rate", rate).with_header("allow", "POST"))
}

/// Whether a token cannot be a webhook's body. X signs both alike: whoever could have
/// any text signed could send any webhook.
fn is_no_body(token: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_+/=.".contains(&byte);
    token.bytes().all(is_plain) && serde_json::from_str::<IgnoredAny>(token).is_err()
}

/// A parameter of the query, of a request with this method. There must be exactly one.
fn parameter(sent: &Sent<'_>, method: &str, name: &str) -> Option<String> {
    let mut values = form_urlencoded::parse(sent.query.as_bytes())
        .filter(|(found, _)| found == name)
        .map(|(_, value)| value);
    let value = values.next().map(Cow::into_owned);
    value.filter(|_| sent.method == method && values.next().is_none())
}

/// A header that can be sent back, of a request with this method.
fn header(sent: &Sent<'_>, method: &str, name: &str) -> Option<String> {
    let value = sent.headers.only(name).ok().filter(|_| sent.method == method)?;
    short(value.to_owned())
}

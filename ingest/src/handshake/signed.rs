//! Handshakes that were verified first.

use serde_json::json;

use super::{Reply, short};
use crate::answer::Answer;
use crate::outline::Outline;
use crate::signature::{SUBSCRIBES, Scheme, Sent, subscribe_url};

pub(super) fn slack(body: &Outline) -> Option<Answer> {
    (body.field("type")? == "url_verification").then_some(())?;
    short(body.field("challenge")?).map(Answer::text)
}

pub(super) fn zoom(scheme: &Scheme, body: &Outline) -> Option<Answer> {
    (body.field("event")? == "endpoint.url_validation").then_some(())?;
    let token = short(body.field("payload.plainToken")?)?;
    let signature = scheme.keys().first()?.sign(&[token.as_bytes()]);
    let signature = data_encoding::HEXLOWER.encode(&signature);
    Some(Answer::json(&json!({ "plainToken": token, "encryptedToken": signature })))
}

pub(super) fn discord(body: &Outline) -> Option<Answer> {
    match body.field("type")?.as_str() {
        "1" if body.field("event.type").is_none() => Some(Answer::json(&json!({ "type": 1 }))),
        "0" => Some(Answer::empty(204)),
        _ => None,
    }
}

/// The header that names the type of a message is not signed; the body is.
pub(super) fn twitch(body: &Outline) -> Option<Answer> {
    let status = body.field("subscription.status");
    status.is_none_or(|status| status == "webhook_callback_verification_pending").then_some(())?;
    short(body.field("challenge")?).map(Answer::text)
}

pub(super) fn monday(body: &Outline) -> Option<Answer> {
    let challenge = short(body.field("challenge")?)?;
    Some(Answer::json(&json!({ "challenge": challenge })))
}

pub(super) fn xero(body: &Outline) -> Option<Answer> {
    body.is_empty_list("events").then(|| Answer::empty(200))
}

pub(super) fn eventgrid(sent: &Sent<'_>, body: &Outline) -> Option<Answer> {
    let message = sent.headers.only("aeg-event-type").ok()?;
    (message == "SubscriptionValidation").then_some(())?;
    let code = short(body.field("0.data.validationCode")?)?;
    Some(Answer::json(&json!({ "validationResponse": code })))
}

/// A message names its type in what is signed. The header, which is not signed, counts only
/// where there is no message at all.
pub(super) fn sns(sent: &Sent<'_>, body: &Outline) -> Option<Reply> {
    let header = || sent.headers.only("x-amz-sns-message-type").ok().map(str::to_owned);
    let kind = if sent.body.is_empty() { header() } else { body.field("Type") };
    (kind? == SUBSCRIBES).then_some(())?;
    let fetch = subscribe_url(body);
    let answer = match fetch.is_some() || sent.body.is_empty() {
        true => Answer::empty(200),
        false => Answer::error(400, "the confirmation is not Amazon's to fetch"),
    };
    Some(Reply { answer, fetch })
}

//! Handshakes that were verified first.

use serde_json::json;

use super::{Reply, short};
use crate::answer::Answer;
use crate::signature::field::field;
use crate::signature::{Scheme, Sent, subscribe_url};

pub(super) fn slack(sent: &Sent<'_>) -> Option<Answer> {
    (field(sent.body, "type")? == "url_verification").then_some(())?;
    short(field(sent.body, "challenge")?).map(Answer::text)
}

pub(super) fn zoom(scheme: &Scheme, sent: &Sent<'_>) -> Option<Answer> {
    (field(sent.body, "event")? == "endpoint.url_validation").then_some(())?;
    let token = short(field(sent.body, "payload.plainToken")?)?;
    let signature = scheme.keys().first()?.sign(&[token.as_bytes()]);
    let signature = data_encoding::HEXLOWER.encode(&signature);
    Some(Answer::json(&json!({ "plainToken": token, "encryptedToken": signature })))
}

pub(super) fn discord(sent: &Sent<'_>) -> Option<Answer> {
    match field(sent.body, "type")?.as_str() {
        "1" if field(sent.body, "event.type").is_none() => {
            Some(Answer::json(&json!({ "type": 1 })))
        }
        "0" => Some(Answer::empty(204)),
        _ => None,
    }
}

pub(super) fn twitch(sent: &Sent<'_>) -> Option<Answer> {
    let message = sent.headers.only("twitch-eventsub-message-type").ok()?;
    (message == "webhook_callback_verification").then_some(())?;
    short(field(sent.body, "challenge")?).map(Answer::text)
}

pub(super) fn monday(sent: &Sent<'_>) -> Option<Answer> {
    let challenge = short(field(sent.body, "challenge")?)?;
    Some(Answer::json(&json!({ "challenge": challenge })))
}

pub(super) fn xero(sent: &Sent<'_>) -> Option<Answer> {
    #[derive(serde::Deserialize)]
    struct Body {
        events: Vec<serde::de::IgnoredAny>,
    }
    let body: Body = serde_json::from_slice(sent.body).ok()?;
    body.events.is_empty().then(|| Answer::empty(200))
}

pub(super) fn eventgrid(sent: &Sent<'_>) -> Option<Answer> {
    let message = sent.headers.only("aeg-event-type").ok()?;
    (message == "SubscriptionValidation").then_some(())?;
    let code = short(field(sent.body, "0.data.validationCode")?)?;
    Some(Answer::json(&json!({ "validationResponse": code })))
}

pub(super) fn sns(sent: &Sent<'_>) -> Option<Reply> {
    let message = sent.headers.only("x-amz-sns-message-type").ok()?;
    (message == "SubscriptionConfirmation").then_some(())?;
    let fetch = subscribe_url(sent.body);
    let answer = match (&fetch, sent.body) {
        (Some(_), _) | (None, []) => Answer::empty(200),
        (None, _) => Answer::error(400, "the confirmation is not Amazon's to fetch"),
    };
    Some(Reply { answer, fetch })
}

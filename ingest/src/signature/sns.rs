//! Amazon SNS: RSA over named fields of the body, with a certificate that AWS serves.

use everhook_journal::event::IdOrigin;
use serde::Deserialize;

use super::encoding::Encoding;
use super::key::{Algorithm, Key, Signature};
use super::time::{self, Unit};
use super::{Claims, Scheme, Sent, Unverified, certificate, matching, template};

/// What SNS posts. A field that occurs twice makes it unreadable.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Message {
    r#type: String,
    message_id: String,
    topic_arn: String,
    message: String,
    timestamp: String,
    signature_version: String,
    signature: String,
    #[serde(rename = "SigningCertURL")]
    signing_cert_url: String,
    subject: Option<String>,
    #[serde(rename = "SubscribeURL")]
    subscribe_url: Option<String>,
    token: Option<String>,
}

pub(super) fn verify(scheme: &Scheme, sent: &Sent<'_>) -> Result<Claims, Unverified> {
    let message = message(sent.body).ok_or(Unverified::Malformed)?;
    if !is_certificate(&message.signing_cert_url) {
        return Err(Unverified::Certificate);
    }
    // AWS signs with either; the certificate's key is its own for both.
    let algorithm = match message.signature_version.as_str() {
        "1" => Algorithm::RsaSha1,
        "2" => Algorithm::RsaSha256,
        _ => return Err(Unverified::Malformed),
    };
    let pem = sent.certificate.ok_or(Unverified::Certificate)?;
    let key = certificate::key_of(pem, sent.now)?;
    let key = Key::of("the certificate", algorithm, &key).ok_or(Unverified::Certificate)?;
    let decoded = template::decoded(Encoding::Base64, &message.signature, None);
    let signature = Signature::new(decoded.ok_or(Unverified::Malformed)?);
    let text = signed(&message).ok_or(Unverified::Malformed)?;
    let secret = matching(&[key], &[text.as_bytes()], &[signature])?;
    let topics = scheme.settings().topics.as_ref();
    if topics.is_some_and(|topics| !topics.contains(&message.topic_arn)) {
        return Err(Unverified::NoMatch);
    }
    if let Some(tolerance) = scheme.settings().tolerance {
        time::check(Unit::Rfc3339.read(&message.timestamp)?, sent.now, tolerance)?;
    }
    Ok(Claims {
        secret: Some(secret),
        delivery_id: Some((message.message_id, IdOrigin::Signed)),
        event_type: Some(message.r#type),
        ..Claims::default()
    })
}

pub(super) fn certificate_url(sent: &Sent<'_>) -> Result<String, Unverified> {
    let url = message(sent.body).ok_or(Unverified::Malformed)?.signing_cert_url;
    if is_certificate(&url) { Ok(url) } else { Err(Unverified::Certificate) }
}

/// The address that confirms a subscription, if AWS serves it.
pub(crate) fn subscribe_url(body: &[u8]) -> Option<String> {
    let url = message(body)?.subscribe_url?;
    let rest = path_of_aws(&url)?;
    rest.starts_with("/?").then_some(url)
}

fn message(body: &[u8]) -> Option<Message> {
    serde_json::from_slice(body).ok()
}

/// Names and values of the fields that SNS signs, in its order.
fn signed(message: &Message) -> Option<String> {
    let named = |name: &str, value: &str| format!("{name}\n{value}\n");
    let mut text = named("Message", &message.message) + &named("MessageId", &message.message_id);
    match message.r#type.as_str() {
        "Notification" => {
            text +=
                &message.subject.as_deref().map(|text| named("Subject", text)).unwrap_or_default();
            text += &named("Timestamp", &message.timestamp);
        }
        "SubscriptionConfirmation" | "UnsubscribeConfirmation" => {
            text += &named("SubscribeURL", message.subscribe_url.as_deref()?);
            text += &named("Timestamp", &message.timestamp);
            text += &named("Token", message.token.as_deref()?);
        }
        _ => return None,
    }
    Some(text + &named("TopicArn", &message.topic_arn) + &named("Type", &message.r#type))
}

fn is_certificate(url: &str) -> bool {
    let name = path_of_aws(url).and_then(|path| path.strip_prefix('/'));
    let name = name.and_then(|name| name.strip_suffix(".pem"));
    name.is_some_and(|name| !name.is_empty() && is_plain(name))
}

/// What follows the host of an address of SNS itself: `https://sns.REGION.amazonaws.com/…`.
fn path_of_aws(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://sns.")?;
    let (host, path) = rest.split_at(rest.find('/')?);
    let region = host.strip_suffix(".amazonaws.com").or(host.strip_suffix(".amazonaws.com.cn"))?;
    (!region.is_empty() && is_plain(region)).then_some(path)
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_aws_itself_serves_certificates() {
        assert!(is_certificate(
            "https://sns.us-east-2.amazonaws.com/SimpleNotificationService-7f.pem"
        ));
        assert!(is_certificate(
            "https://sns.cn-north-1.amazonaws.com.cn/SimpleNotificationService-7f.pem"
        ));
        for url in [
            "http://sns.us-east-2.amazonaws.com/a.pem",
            "https://sns.us-east-2.amazonaws.com.evil.example/a.pem",
            "https://sns.us-east-2.amazonaws.com@evil.example/a.pem",
            "https://sns.us-east-2.amazonaws.com:8443/a.pem",
            "https://bucket.s3.amazonaws.com/a.pem",
            "https://sns.s3.us-east-2.amazonaws.com/a.pem",
            "https://sns..amazonaws.com/a.pem",
            "https://sns.us-east-2.amazonaws.com/a.key",
            "https://sns.us-east-2.amazonaws.com/../a.pem",
            "https://sns.us-east-2.amazonaws.com/a.pem?x=.pem",
        ] {
            assert!(!is_certificate(url), "{url}");
        }
    }
}

//! Amazon SNS: RSA over named fields of the body, with a certificate that AWS serves.
//!
//! A topic belongs to a region, and only the region's own host proves a message of it.

use everhook_journal::event::{Covers, IdOrigin};

use super::certificate::{self, Served};
use super::encoding::Encoding;
use super::key::{Algorithm, Key, Signature};
use super::members::Members;
use super::time::{self, Unit};
use super::{Claims, Scheme, Sent, Unverified, Verified, matching, template};
use crate::outline::Outline;

/// The types of messages that subscribe and unsubscribe.
pub(crate) const SUBSCRIBES: &str = "SubscriptionConfirmation";
const UNSUBSCRIBES: &str = "UnsubscribeConfirmation";

/// How long signatures of RSA are, in bytes.
const SIGNATURE_BYTES: std::ops::RangeInclusive<usize> = 128..=1024;

/// Partitions of AWS, and what their hosts end in.
const PARTITIONS: [(&str, &str); 4] = [
    ("aws", "amazonaws.com"),
    ("aws-cn", "amazonaws.com.cn"),
    ("aws-us-gov", "amazonaws.com"),
    ("aws-eusc", "amazonaws.eu"),
];

/// A message, as far as it can be judged without a certificate.
struct Message {
    kind: String,
    id: String,
    /// Names and values of the fields that SNS signs, in its order.
    signed: String,
    algorithm: Algorithm,
    signature: Signature,
    certificate: Served,
}

/// Where a topic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place<'a> {
    region: &'a str,
    suffix: &'static str,
}

pub(super) fn verify(scheme: &Scheme, sent: &Sent<'_>) -> Result<Verified, Unverified> {
    let message = Message::read(scheme, sent)?;
    let pem = sent.certificate.ok_or(Unverified::Certificate)?;
    let key = certificate::key_of(pem, sent.now)?;
    let key = Key::of("the certificate", message.algorithm, &key).ok_or(Unverified::Certificate)?;
    let secret = matching(&[key], &[message.signed.as_bytes()], &[message.signature])?;
    let claims = Claims {
        secret: Some(secret),
        delivery_id: Some((message.id, IdOrigin::Signed)),
        event_type: Some(message.kind),
        ..Claims::default()
    };
    Ok(Verified::new(scheme.document(sent.body), Some(Covers::Fields), claims))
}

/// The certificate that proves a message, if the message can be one of ours at all.
pub(super) fn certificate(scheme: &Scheme, sent: &Sent<'_>) -> Result<Served, Unverified> {
    Message::read(scheme, sent).map(|message| message.certificate)
}

/// The address that confirms a subscription. Only of a verified message: its type and the address are then signed.
pub(crate) fn subscribe_url(body: &Outline) -> Option<String> {
    let (topic, url) = (body.field("TopicArn")?, body.field("SubscribeURL")?);
    let rest = Place::of(&topic)?.path(&url)?;
    let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic());
    (rest.starts_with("/?") && is_plain).then_some(url)
}

/// Whether this is the ARN of a topic whose region has a host that can be trusted.
pub(crate) fn is_topic(arn: &str) -> bool {
    Place::of(arn).is_some()
}

impl Message {
    /// Reads a message, the cheap checks first: whoever sends what no topic of ours could send has nothing fetched.
    fn read(scheme: &Scheme, sent: &Sent<'_>) -> Result<Self, Unverified> {
        let body = scheme.document(sent.body);
        let members = Members::of(&body).ok_or(Unverified::Malformed)?;
        // Lines are what divides the fields that are signed: only the message may have several.
        // Otherwise other fields would have the same signature.
        let is_line = |text: &String| !text.is_empty() && !text.contains('\n');
        let field = |name| members.text(name).filter(is_line).ok_or(Unverified::Malformed);
        let topic = field("TopicArn")?;
        let topics = scheme.settings().topics.as_ref();
        if topics.is_some_and(|topics| !topics.contains(&topic)) {
            return Err(Unverified::NoMatch);
        }
        let place = Place::of(&topic).ok_or(Unverified::Malformed)?;
        // AWS signs with either; the certificate's key is its own for both.
        let algorithm = match field("SignatureVersion")?.as_str() {
            "1" => Algorithm::RsaSha1,
            "2" => Algorithm::RsaSha256,
            _ => return Err(Unverified::Malformed),
        };
        let decoded = template::decoded(Encoding::Base64, &field("Signature")?, None);
        let decoded = decoded.filter(|bytes| SIGNATURE_BYTES.contains(&bytes.len()));
        let signature = Signature::new(decoded.ok_or(Unverified::Malformed)?);
        let (kind, id, timestamp) = (field("Type")?, field("MessageId")?, field("Timestamp")?);
        let sent_at = Unit::Rfc3339.read(&timestamp)?;
        if let Some(tolerance) = scheme.settings().tolerance {
            time::check(sent_at, sent.now, tolerance)?;
        }
        let message = members.text("Message").ok_or(Unverified::Malformed)?;
        let mut signed = vec![("Message", message), ("MessageId", id.clone())];
        match kind.as_str() {
            "Notification" => {
                let subject = members.text("Subject").filter(|text| !text.contains('\n'));
                let subject = subject.ok_or(Unverified::Malformed)?;
                // An empty subject is signed, one that is not there is not.
                let is_there = members.get("Subject").is_some_and(|value| value.get() != "null");
                signed.extend(is_there.then_some(("Subject", subject)));
                signed.push(("Timestamp", timestamp));
            }
            SUBSCRIBES | UNSUBSCRIBES => {
                signed.push(("SubscribeURL", field("SubscribeURL")?));
                signed.push(("Timestamp", timestamp));
                signed.push(("Token", field("Token")?));
            }
            _ => return Err(Unverified::Malformed),
        }
        let certificate = place.certificate(field("SigningCertURL")?);
        let certificate = certificate.ok_or(Unverified::Certificate)?;
        signed.extend([("TopicArn", topic), ("Type", kind.clone())]);
        let signed = signed.iter().map(|(name, value)| format!("{name}\n{value}\n")).collect();
        Ok(Self { kind, id, signed, algorithm, signature, certificate })
    }
}

impl<'a> Place<'a> {
    /// Where the topic with this ARN is: `arn:aws:sns:eu-central-1:123456789012:orders`.
    fn of(arn: &'a str) -> Option<Self> {
        let [start, partition, service, region, account, name] =
            <[&str; 6]>::try_from(arn.splitn(6, ':').collect::<Vec<_>>()).ok()?;
        let (_, suffix) = PARTITIONS.into_iter().find(|(known, _)| *known == partition)?;
        let is_topic = start == "arn" && service == "sns" && !name.is_empty();
        let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        (is_topic && is_account && is_region(region)).then_some(Self { region, suffix })
    }

    /// What follows the host of an address, if the host is the one of SNS in this region.
    fn path<'u>(&self, url: &'u str) -> Option<&'u str> {
        let Self { region, suffix } = self;
        let rest = url.strip_prefix(&format!("https://sns.{region}.{suffix}"))?;
        rest.starts_with('/').then_some(rest)
    }

    /// The certificate at this address, if SNS serves it in this region.
    fn certificate(&self, url: String) -> Option<Served> {
        let name = self.path(&url)?.strip_prefix('/')?.strip_suffix(".pem")?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if name.is_empty() || !name.bytes().all(is_plain) {
            return None;
        }
        let Self { region, suffix } = self;
        // One name everywhere; regions that came later, China and GovCloud have names of their own.
        let mut names = vec![
            format!("sns.{suffix}"),
            format!("sns.{region}.{suffix}"),
            format!("sns-signing.{region}.{suffix}"),
            format!("sns-{region}.{suffix}"),
        ];
        if region.starts_with("us-gov-") {
            names.push(format!("sns-us-gov-west-1.{suffix}"));
        }
        Some(Served { url, names })
    }
}

/// Whether this is the name of a region: `eu-central-1`, `us-gov-west-1`. A bucket may be named like anything else.
fn is_region(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    let [first, words @ .., number] = parts.as_slice() else { return false };
    let is_word = |word: &&str| {
        (2..=16).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_lowercase())
    };
    let is_number =
        (1..=2).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    is_word(first) && !words.is_empty() && words.iter().all(is_word) && is_number
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use everhook_journal::Timestamp;
    use ring::rand::SystemRandom;
    use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
    use rustls::pki_types::PrivatePkcs8KeyDer;
    use rustls::pki_types::pem::PemObject;
    use serde_json::{Value, json};

    use super::*;
    use crate::request::Headers;
    use crate::signature::{Claims, Settings, preset};

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn sign(text: &str) -> String {
        let key = PrivatePkcs8KeyDer::from_pem_slice(include_bytes!("sns/test.key")).unwrap();
        let key = RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap();
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
        Encoding::Base64.encode(&signature)
    }

    /// A message with these fields, and a signature of this text.
    fn message(fields: Value, signed: &str) -> Value {
        let mut message = json!({
            "Type": "Notification", "MessageId": "m-1", "TopicArn": TOPIC, "Message": "hello",
            "Timestamp": NOW, "SignatureVersion": "2", "Signature": sign(signed),
            "SigningCertURL": "https://sns.us-east-2.amazonaws.com/a.pem",
        });
        for (name, value) in fields.as_object().unwrap() {
            message[name] = value.clone();
        }
        message
    }

    fn plain() -> Value {
        let text = format!(
            "Message\nhello\nMessageId\nm-1\nTimestamp\n{NOW}\nTopicArn\n{TOPIC}\nType\nNotification\n"
        );
        message(json!({}), &text)
    }

    fn verify(body: &str) -> Result<Claims, Unverified> {
        let settings = Settings {
            topics: Some(vec![TOPIC.to_owned()]),
            tolerance: Some(std::time::Duration::from_secs(300)),
            ..Settings::default()
        };
        let scheme = Scheme::new(preset("sns").unwrap(), &[], settings).unwrap();
        let (headers, body) = (Headers::default(), Bytes::from(body.to_owned()));
        let certificate = Some(&include_bytes!("sns/test.pem")[..]);
        let sent = Sent {
            method: "POST",
            query: "",
            headers: &headers,
            body: &body,
            now: NOW,
            certificate,
        };
        // What needs no certificate is judged without one.
        scheme.certificate(&sent)?;
        Ok(scheme.read(scheme.verify(&sent)?, &sent).claims)
    }

    #[test]
    fn the_signed_fields_are_what_a_message_says() {
        let claims = verify(&plain().to_string()).unwrap();
        assert_eq!(claims.event_type.as_deref(), Some("Notification"));
        assert_eq!(claims.delivery_id, Some(("m-1".to_owned(), IdOrigin::Signed)));
        for (name, other) in [
            ("Type", json!("SubscriptionConfirmation")),
            ("MessageId", json!("m-2")),
            ("Message", json!("other")),
            ("Message", json!(1)),
            ("Subject", json!("new")),
            ("Subject", json!("")),
            ("Timestamp", json!("2027-01-15T08:00:00Z")),
            ("SignatureVersion", json!("1")),
            ("SignatureVersion", json!("3")),
        ] {
            let mut changed = plain();
            changed[name] = other.clone();
            assert!(verify(&changed.to_string()).is_err(), "{name}: {other}");
        }
        let text = plain().to_string();
        let doubled = format!(r#"{{"Message":"evil",{}"#, &text[1..]);
        assert_eq!(verify(&doubled), Err(Unverified::Malformed));
    }

    #[test]
    fn fields_cannot_be_split_again() {
        let text = format!(
            "Message\na\nMessageId\nb\nSubject\nc\nMessageId\nm-1\nTimestamp\n{NOW}\nTopicArn\n{TOPIC}\nType\nNotification\n"
        );
        let genuine = message(json!({ "Message": "a\nMessageId\nb\nSubject\nc" }), &text);
        assert!(verify(&genuine.to_string()).is_ok());
        let split = json!({ "Message": "a", "MessageId": "b", "Subject": "c\nMessageId\nm-1" });
        assert_eq!(verify(&message(split, &text).to_string()), Err(Unverified::Malformed));
        let split = json!({
            "Message": "a", "MessageId": "b\nSubject\nc\nMessageId\nm-1",
        });
        assert_eq!(verify(&message(split, &text).to_string()), Err(Unverified::Malformed));
    }

    #[test]
    fn what_cannot_be_ours_has_nothing_fetched() {
        let judge = |name: &str, other: Value| {
            let mut changed = plain();
            changed[name] = other;
            let body = Bytes::from(changed.to_string());
            let settings = Settings {
                topics: Some(vec![TOPIC.to_owned()]),
                tolerance: Some(std::time::Duration::from_secs(300)),
                ..Settings::default()
            };
            let scheme = Scheme::new(preset("sns").unwrap(), &[], settings).unwrap();
            let headers = Headers::default();
            let sent = Sent {
                method: "POST",
                query: "",
                headers: &headers,
                body: &body,
                now: NOW,
                certificate: None,
            };
            scheme.certificate(&sent).map(drop)
        };
        assert_eq!(judge("Message", json!("forged")), Ok(()));
        let other = "arn:aws:sns:us-east-2:123456789012:other";
        assert_eq!(judge("TopicArn", json!(other)), Err(Unverified::NoMatch));
        assert_eq!(judge("SignatureVersion", json!("9")), Err(Unverified::Malformed));
        assert_eq!(judge("Signature", json!("!")), Err(Unverified::Malformed));
        assert_eq!(judge("Signature", json!("AAAA")), Err(Unverified::Malformed));
        assert_eq!(judge("Timestamp", json!("2020-01-01T00:00:00Z")), Err(Unverified::Stale));
        assert_eq!(judge("Type", json!("Other")), Err(Unverified::Malformed));
        let bucket = "https://sns.s3.amazonaws.com/x.pem";
        assert_eq!(judge("SigningCertURL", json!(bucket)), Err(Unverified::Certificate));
    }

    const TOPIC: &str = "arn:aws:sns:us-east-2:123456789012:orders";

    fn is_certificate(topic: &str, url: &str) -> bool {
        Place::of(topic).unwrap().certificate(url.to_owned()).is_some()
    }

    #[test]
    fn only_the_topics_region_serves_its_certificates() {
        assert!(is_certificate(
            TOPIC,
            "https://sns.us-east-2.amazonaws.com/SimpleNotificationService-7f.pem"
        ));
        assert!(is_certificate(
            "arn:aws-cn:sns:cn-north-1:123456789012:orders",
            "https://sns.cn-north-1.amazonaws.com.cn/SimpleNotificationService-7f.pem"
        ));
        for url in [
            // A bucket of this name can belong to anybody.
            "https://sns.s3.amazonaws.com/a.pem",
            "https://sns.us-east-1.amazonaws.com/a.pem",
            "https://sns.us-east-2.amazonaws.com.cn/a.pem",
            "https://sns.us-east-2.amazonaws.com",
            "https://SNS.us-east-2.amazonaws.com/a.pem",
            "https://sns-us-east-2.amazonaws.com/a.pem",
            "https://sns.us-east-2.s3.amazonaws.com/a.pem",
            "https://sns.s3-us-east-2.amazonaws.com/a.pem",
            "http://sns.us-east-2.amazonaws.com/a.pem",
            "https://sns.us-east-2.amazonaws.com.evil.example/a.pem",
            "https://sns.us-east-2.amazonaws.com@evil.example/a.pem",
            "https://sns.us-east-2.amazonaws.com:8443/a.pem",
            "https://sns.us-east-2.amazonaws.com./a.pem",
            "https://bucket.s3.amazonaws.com/a.pem",
            "https://sns.s3.us-east-2.amazonaws.com/a.pem",
            "https://sns..amazonaws.com/a.pem",
            "https://sns.us-east-2.amazonaws.com/a.key",
            "https://sns.us-east-2.amazonaws.com/../a.pem",
            "https://sns.us-east-2.amazonaws.com/a.pem?x=.pem",
            "https://sns.us-east-2.amazonaws.com\\@evil.example/a.pem",
        ] {
            assert!(!is_certificate(TOPIC, url), "{url}");
        }
    }

    #[test]
    fn a_topic_is_in_a_region_of_aws() {
        for good in [
            TOPIC,
            "arn:aws-us-gov:sns:us-gov-west-1:123456789012:a.fifo",
            "arn:aws:sns:ap-southeast-7:123456789012:a",
            "arn:aws-eusc:sns:eusc-de-east-1:123456789012:a",
        ] {
            assert!(is_topic(good), "{good}");
        }
        for bad in [
            "arn:aws:sns:s3:123456789012:a",
            "arn:aws:sns:s3-us-east-1:123456789012:a",
            "arn:aws:sns:eu-central-1.evil:123456789012:a",
            "arn:aws:sns:eu-central-1/:123456789012:a",
            "arn:aws:sns:EU-central-1:123456789012:a",
            "arn:aws:sns::123456789012:a",
            "arn:aws:sqs:eu-central-1:123456789012:a",
            "arn:other:sns:eu-central-1:123456789012:a",
            "arn:aws:sns:eu-central-1:12345:a",
            "arn:aws:sns:eu-central-1:123456789012:",
            "orders",
        ] {
            assert!(!is_topic(bad), "{bad}");
        }
    }
}

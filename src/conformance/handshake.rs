//! One question of a sender, and its answer.

use bytes::Bytes;
use everhook_ingest::answer::Answer;
use everhook_ingest::signature::preset::all;
use everhook_ingest::signature::{Algorithm, Key, Preset, Scheme, Sent, Settings, Unverified};
use everhook_journal::Timestamp;
use everhook_journal::secret::Secret;
use serde_json::Value;

use super::{Judged, vector};

/// What a collection's handshakes are counted as.
const SCHEME: &str = "handshake";

/// Secrets for vectors that name none, for schemes of any form.
const STAND_INS: [&str; 2] =
    ["a-secret-of-our-own", "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"];

/// How the receiver does with one handshake.
pub(super) fn judged(value: &Value, now: Timestamp) -> Judged {
    let id = value["id"].as_str().unwrap_or("?").to_owned();
    Judged { failure: judge(value, &id, now).err(), id, scheme: SCHEME.into() }
}

/// A request of a vector.
struct Asked {
    method: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

fn judge(value: &Value, id: &str, now: Timestamp) -> Result<(), String> {
    let preset = preset_of(value, id).ok_or("no sender of this name is known")?;
    let scheme = scheme(preset, value)?;
    let request = &value["request"];
    let text = |name: &str| request[name].as_str();
    let mut asked = Asked {
        method: text("method").unwrap_or("POST").to_owned(),
        query: text("query").unwrap_or_default().to_owned(),
        headers: vector::pairs(&request["headers"]),
        body: vector::body(request)?,
    };
    let unsigned = asked.before(&scheme, now);
    let answer = if preset.handshake.is_unsigned() {
        unsigned.ok_or("it is not answered")?
    } else {
        if unsigned.is_some() {
            return Err("it is answered before it is verified".into());
        }
        asked.verified(&scheme, now)?;
        asked.after(&scheme, now).ok_or("it is taken for a webhook")?
    };
    compare(&value["response"], answer)?;
    if value.get("negative").is_some() {
        asked.body.push(b' ');
        let refused = asked.verify(&scheme, now).is_err();
        return if refused { Ok(()) } else { Err("a wrong signature is accepted".into()) };
    }
    Ok(())
}

impl Asked {
    /// Makes sure that it is verified: by its own signature, or by one that we add.
    fn verified(&mut self, scheme: &Scheme, now: Timestamp) -> Result<(), String> {
        if self.verify(scheme, now).is_ok() {
            return Ok(());
        }
        let signed = scheme.sign("handshake", None, &self.body, now);
        let has_signature = signed.iter().any(|(name, _)| {
            self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
        });
        if has_signature {
            return Err("its own signature is refused".into());
        }
        self.headers.extend(signed);
        match self.verify(scheme, now) {
            Ok(()) => Ok(()),
            // Only the sender can sign: what is left to judge is the answer.
            Err(_) if !scheme.can_sign() => Ok(()),
            Err(reason) => Err(format!("it is not verified: {reason}")),
        }
    }

    fn verify(&self, scheme: &Scheme, now: Timestamp) -> Result<(), Unverified> {
        self.sent(now, |sent| scheme.verify(sent).map(drop))
    }

    fn before(&self, scheme: &Scheme, now: Timestamp) -> Option<Answer> {
        self.sent(now, |sent| scheme.preset().handshake.before(scheme, sent))
    }

    fn after(&self, scheme: &Scheme, now: Timestamp) -> Option<Answer> {
        // What is judged here is the answer: as if it had been verified.
        let after = |sent: &Sent<'_>| {
            scheme.preset().handshake.after(scheme, sent, &scheme.outline(sent.body))
        };
        self.sent(now, after).map(|reply| reply.answer)
    }

    fn sent<T>(&self, now: Timestamp, look: impl FnOnce(&Sent<'_>) -> T) -> T {
        let headers = vector::headers(&self.headers);
        look(&Sent {
            method: &self.method,
            query: &self.query,
            headers: &headers,
            body: &Bytes::copy_from_slice(&self.body),
            now,
            certificate: None,
        })
    }
}

/// The sender that a handshake names, or with whose name its own begins.
fn preset_of(value: &Value, id: &str) -> Option<&'static Preset> {
    let name = value["scheme"].as_str().unwrap_or(id).replace('_', "-");
    let begins = |preset: &&Preset| {
        name.strip_prefix(preset.name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    all().filter(begins).max_by_key(|preset| preset.name.len())
}

fn scheme(preset: &'static Preset, value: &Value) -> Result<Scheme, String> {
    let secret = value["secret"].as_str();
    let token = value["verify_token"].as_str().or(secret).unwrap_or_default();
    let settings = Settings {
        public_url: Some("https://hooks.example.com/webhook".into()),
        verify_token: Key::of("the vector's", Algorithm::Token, token.as_bytes()),
        ..Settings::default()
    };
    let with = |text: &str| {
        let secrets = [Secret::new("the vector's", text)];
        let secrets = if preset.takes_secrets() { &secrets[..] } else { &[] };
        Scheme::new(preset, secrets, settings.clone())
    };
    match secret {
        Some(secret) => with(secret),
        None => with(STAND_INS[0]).or_else(|_| with(STAND_INS[1])),
    }
}

/// Whether an answer is the one that is wanted, as far as that is said.
fn compare(wanted: &Value, answer: Answer) -> Result<(), String> {
    let told = answer.into_response("");
    let body = match told.body {
        Some(aws_lambda_events::encodings::Body::Text(text)) => text,
        Some(_) | None => String::new(),
    };
    if let Some(status) = wanted["status"].as_i64().filter(|status| *status != told.status_code) {
        return Err(format!("the status is {}, not {status}", told.status_code));
    }
    let header = |name: &str| told.headers.get(name).and_then(|value| value.to_str().ok());
    let mut headers = vector::pairs(&wanted["headers"]);
    headers
        .extend(wanted["content_type"].as_str().map(|text| ("content-type".into(), text.into())));
    for (name, value) in headers {
        if header(&name.to_ascii_lowercase()) != Some(&value) {
            return Err(format!("the header {name} is not {value}"));
        }
    }
    if wanted["body"].as_str().is_some_and(|wanted| wanted != body) {
        return Err(format!("the body is {body:?}"));
    }
    let json = wanted.get("json");
    if json.is_some_and(|wanted| serde_json::from_str::<Value>(&body).ok().as_ref() != Some(wanted))
    {
        return Err(format!("the body is {body:?}"));
    }
    Ok(())
}

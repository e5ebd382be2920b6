//! Signatures as Standard Webhooks says, for whoever is called.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD as BASE64;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use everhook_journal::secret::Secret;
use everhook_journal::workflow::StepDefinition;
use everhook_journal::{Secrets, Timestamp};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{HeaderMap, HeaderName};
use serde_json::Value;
use sha2::Sha256;
use tokio::sync::Mutex;

use super::headers;
use crate::step::{DefinitionError, Input, StepError};
use crate::steps::options;

/// How many secrets sign at once, at most.
const SECRETS_MAX: usize = 4;

/// The shortest key that the standard knows, in bytes.
const KEY_BYTES_MIN: usize = 24;

/// How long secrets that AWS keeps are used before they are asked for again.
const LIFE: Duration = Duration::from_secs(300);

/// Secrets are handed out with and without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What signs the calls of a step: every secret that is listed, the newest first.
/// A receiver that knows one of them is content, so both sides can go over to a new one.
#[derive(Clone)]
pub(super) struct Sign {
    keys: Vec<Key>,
    secrets: Secrets,
    /// When the secrets that AWS keeps were asked for.
    asked_at: Arc<Mutex<Option<Timestamp>>>,
}

#[derive(Clone)]
enum Key {
    /// Read when the step was made.
    Known(SigningKey),
    /// Kept by AWS under this reference.
    Remote(String),
}

/// A key, and the text that it was read from.
#[derive(Clone)]
struct SigningKey {
    mac: Hmac<Sha256>,
    text: String,
}

/// What proves who sends a body.
pub(super) struct Signed {
    pub(super) headers: HeaderMap,
    /// The texts of the keys that signed, which are recorded nowhere.
    pub(super) secrets: Vec<String>,
}

/// The references to the secrets that a step signs with.
pub(in crate::steps) fn references(step: &StepDefinition) -> Vec<String> {
    let secrets = step.options.get("sign").and_then(|sign| sign.get("secrets"));
    let secrets = secrets.and_then(Value::as_array).into_iter().flatten();
    secrets.filter_map(Value::as_str).map(ToOwned::to_owned).collect()
}

impl Sign {
    /// Reads `sign = { secrets = ["env:NEW", "env:OLD"] }`.
    pub(super) fn new(
        step: &StepDefinition,
        secrets: &Secrets,
    ) -> Result<Option<Self>, DefinitionError> {
        let Some(table) = options::table(step, "sign", &["secrets"])? else { return Ok(None) };
        let problem = |message: String| DefinitionError::at("sign", message);
        let references = references(step);
        let listed = table.get("secrets").and_then(Value::as_array).map_or(0, Vec::len);
        if references.len() != listed || !(1..=SECRETS_MAX).contains(&listed) {
            let message = format!(
                "`secrets` is a list of 1 to {SECRETS_MAX} references, the newest first: \
                 [\"env:NAME\"]"
            );
            return Err(problem(message));
        }
        let keys = references.into_iter().map(|reference| {
            let secret = secrets.read(&reference);
            if secrets.is_remote(&reference) {
                return Ok(Key::Remote(reference));
            }
            let secret = secret.map_err(|error| problem(error.to_string()))?;
            key(&secret).map(Key::Known).map_err(problem)
        });
        let keys = keys.collect::<Result<_, DefinitionError>>()?;
        Ok(Some(Self { keys, secrets: secrets.clone(), asked_at: Arc::default() }))
    }

    /// The headers that prove who sends this body, and when.
    pub(super) async fn headers(&self, input: &Input, body: &[u8]) -> Result<Signed, StepError> {
        let id = input.idempotency_key();
        let timestamp = input.started_at.as_millis().div_euclid(1000).to_string();
        let (mut signatures, mut secrets) = (Vec::new(), Vec::new());
        for SigningKey { mut mac, text } in self.keys(input.started_at).await? {
            for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
                mac.update(part);
            }
            signatures.push(format!("v1,{}", BASE64.encode(mac.finalize().into_bytes())));
            secrets.push(text);
        }
        let mut headers = HeaderMap::new();
        let own = [
            ("webhook-id", id),
            ("webhook-timestamp", timestamp),
            ("webhook-signature", signatures.join(" ")),
        ];
        for (name, text) in own {
            headers.insert(HeaderName::from_static(name), headers::value(name, text)?);
        }
        Ok(Signed { headers, secrets })
    }

    async fn keys(&self, now: Timestamp) -> Result<Vec<SigningKey>, StepError> {
        let failed = |message| StepError::retryable("secret", message);
        self.ask(now).await;
        let keys = self.keys.iter().map(|known| match known {
            Key::Known(key) => Ok(key.clone()),
            Key::Remote(reference) => {
                let secret = self.secrets.read(reference).map_err(|e| failed(e.to_string()))?;
                key(&secret).map_err(failed)
            }
        });
        let keys = keys.collect();
        if let Err(StepError { .. }) = keys {
            // The next attempt may find what this one did not.
            *self.asked_at.lock().await = None;
        }
        keys
    }

    /// Fetches what AWS keeps, unless that was done a short while ago.
    async fn ask(&self, now: Timestamp) {
        let remote = self.keys.iter().filter_map(|key| match key {
            Key::Known(_) => None,
            Key::Remote(reference) => Some(reference.as_str()),
        });
        let remote: Vec<_> = remote.collect();
        if remote.is_empty() {
            return;
        }
        // Whoever comes while others ask waits for their answer.
        let mut asked_at = self.asked_at.lock().await;
        if asked_at.is_none_or(|asked_at| now.since(asked_at) >= LIFE) {
            Box::pin(self.secrets.fetch(remote)).await;
            *asked_at = Some(now);
        }
    }
}

/// The key of a secret: what stands after `whsec_`, in base64.
fn key(secret: &Secret) -> Result<SigningKey, String> {
    let reference = secret.reference();
    let text = std::str::from_utf8(secret.expose()).unwrap_or_default();
    let text = text.strip_prefix("whsec_").unwrap_or(text);
    let bytes = LENIENT.decode(text).map_err(|_| {
        format!("{reference} is no secret of Standard Webhooks: write whsec_ and base64")
    })?;
    if bytes.len() < KEY_BYTES_MIN {
        return Err(format!(
            "{reference} stands for {} bytes; a signing key needs at least {KEY_BYTES_MIN}",
            bytes.len()
        ));
    }
    let mac = Hmac::new_from_slice(&bytes).map_err(|_| format!("{reference} is no key"))?;
    Ok(SigningKey { mac, text: text.to_owned() })
}

impl fmt::Debug for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sign(by {} secrets)", self.keys.len())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::steps::tests::{definition, input};

    /// The example of the standard's own page.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn read(sign: Value) -> Result<Option<Sign>, DefinitionError> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("new", SECRET),
            ("old", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
            ("words", "correct horse battery staple"),
            ("short", "whsec_AAAAAAAA"),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let secrets = Secrets::new(folder.path().to_owned(), None);
        Sign::new(&definition("http", json!({ "sign": sign })), &secrets)
    }

    async fn signatures(secrets: &[&str]) -> Vec<String> {
        let sign = read(json!({ "secrets": secrets })).unwrap().unwrap();
        let Signed { headers, .. } = sign.headers(&input(""), b"{}").await.unwrap();
        assert_eq!(headers["webhook-id"], "ABCDEFGHIJKLMNOPQRSTUVWXYZ:it");
        assert_eq!(headers["webhook-timestamp"], "1795486845");
        let text = headers["webhook-signature"].to_str().unwrap();
        text.split(' ').map(ToOwned::to_owned).collect()
    }

    #[tokio::test]
    async fn every_secret_signs_the_newest_first() {
        let both = signatures(&["file:new", "file:old"]).await;
        assert_eq!(
            both,
            [signatures(&["file:new"]).await, signatures(&["file:old"]).await].concat()
        );
        assert_ne!(both[0], both[1]);

        let key = BASE64.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ:it.1795486845.{}");
        assert_eq!(both[0], format!("v1,{}", BASE64.encode(mac.finalize().into_bytes())));
    }

    #[test]
    fn what_cannot_sign_is_refused_in_words() {
        let message = |sign| {
            let error = read(sign).unwrap_err();
            assert_eq!(error.option.as_deref(), Some("sign"));
            error.message
        };
        let list = "`secrets` is a list of 1 to 4 references, the newest first: [\"env:NAME\"]";
        assert_eq!(message(json!({})), list);
        assert_eq!(message(json!({"secrets": []})), list);
        assert_eq!(message(json!({"secrets": ["file:new", 1]})), list);
        assert_eq!(message(json!({"secrets": vec!["file:new"; 5]})), list);
        assert!(message(json!("file:new")).contains("must be a table"));
        assert!(message(json!({"secret": []})).contains("did you mean `secrets`"));
        assert!(message(json!({"secrets": ["hunter22"]})).contains("is no reference"));
        assert!(message(json!({"secrets": ["env:EVERHOOK_NOT_SET"]})).contains("is not set"));
        assert!(message(json!({"secrets": ["file:words"]})).contains("write whsec_ and base64"));
        assert!(message(json!({"secrets": ["file:short"]})).contains("stands for 6 bytes"));
    }

    #[test]
    fn what_aws_keeps_is_not_asked_for_before_it_is_needed() {
        let sign = read(json!({"secrets": ["secretsmanager:everhook/steps/ci"]})).unwrap();
        assert_eq!(format!("{:?}", sign.unwrap()), "Sign(by 1 secrets)");
    }
}

//! The tokens with which somebody outside completes a step.

use std::fmt;

use serde::Serialize;

use crate::config::Config;
use crate::id::{
    EXECUTION_ID_LENGTH, EXECUTION_KEY_BYTES_MIN, ExecutionId, ExecutionKey, StepName,
};
use crate::payload::sha256_hex;
use crate::secret::{SecretError, Secrets};
use crate::time::Timestamp;

/// Makes callbacks' tokens and addresses. A clone makes the same ones.
#[derive(Clone)]
pub struct Callbacks {
    key: ExecutionKey,
    base: String,
}

/// A callback's token: who knows it may complete one step of one execution, once.
#[derive(Clone, PartialEq, Eq)]
pub struct CallbackToken(String);

/// Where to call back.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CallbackUrls {
    /// The token.
    pub token: String,
    /// The address of the callback itself: a `POST` completes the step with its body.
    pub url: String,
    /// Completes the step with the body of the request.
    pub success_url: String,
    /// Fails the step.
    pub failure_url: String,
    /// Gives a sign of life.
    pub heartbeat_url: String,
}

/// Where the key for callbacks is, if nothing is said.
const CALLBACK_KEY: &str = "generated:callback-key";

/// Why nobody can be asked to call back.
#[derive(Debug, thiserror::Error)]
pub enum CallbacksError {
    /// The key cannot be read.
    #[error("`callback_key` in [settings]: {0}")]
    Key(#[from] SecretError),
    /// The key protects nothing.
    #[error("`callback_key` in [settings] must have at least {EXECUTION_KEY_BYTES_MIN} bytes")]
    ShortKey,
}

impl Callbacks {
    /// The reference to the key's secret.
    pub fn reference(config: &Config) -> &str {
        config.settings.callback_key.as_deref().unwrap_or(CALLBACK_KEY)
    }

    /// Callbacks as configured; `base` is where the HTTP API is reached, unless the configuration says otherwise.
    pub fn from_config(
        config: &Config,
        secrets: &Secrets,
        base: &str,
    ) -> Result<Self, CallbacksError> {
        let key = secrets.read(Self::reference(config))?;
        let key = ExecutionKey::new(key.expose()).ok_or(CallbacksError::ShortKey)?;
        Ok(Self::new(key, config.settings.public_url.as_deref().unwrap_or(base)))
    }

    /// Callbacks of a deployment with this key, whose HTTP API begins with this address.
    pub fn new(key: ExecutionKey, base: impl Into<String>) -> Self {
        let base: String = base.into();
        Self { key, base: base.trim_end_matches('/').to_owned() }
    }

    /// The token of a step's attempt in the execution that began then: the same each time, so that it outlives
    /// whoever made it, and another one in an execution that begins where this one has expired.
    pub fn token(
        &self,
        execution: &ExecutionId,
        began_at: Timestamp,
        step: &StepName,
        attempt: u32,
    ) -> CallbackToken {
        let secret = self.key.derive_text(&[
            "callback",
            execution.as_str(),
            &began_at.to_string(),
            step.as_str(),
            &attempt.to_string(),
        ]);
        CallbackToken(format!("{execution}{secret}"))
    }

    /// Where to call back with this token.
    pub fn urls(&self, token: &CallbackToken) -> CallbackUrls {
        let url = format!("{}/callbacks/{}", self.base, token.0);
        CallbackUrls {
            token: token.0.clone(),
            success_url: format!("{url}/success"),
            failure_url: format!("{url}/failure"),
            heartbeat_url: format!("{url}/heartbeat"),
            url,
        }
    }
}

impl CallbackToken {
    /// Reads a token that somebody sent us; `None` where it cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        let execution = text.get(..EXECUTION_ID_LENGTH)?;
        let secret = text.get(EXECUTION_ID_LENGTH..)?;
        let plausible =
            ExecutionId::parse(execution).is_some() && ExecutionId::parse(secret).is_some();
        plausible.then(|| Self(text.to_owned()))
    }

    /// The execution it is for.
    pub fn execution(&self) -> ExecutionId {
        ExecutionId::parse(&self.0[..EXECUTION_ID_LENGTH]).expect("a token begins with an id")
    }

    /// What a history keeps of it: SHA-256 in hexadecimal.
    pub fn sha256(&self) -> String {
        sha256_hex(self.0.as_bytes())
    }
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Callbacks({})", self.base)
    }
}

/// Shows the execution, never the secret.
impl fmt::Debug for CallbackToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallbackToken({}…)", self.execution())
    }
}

/// Shows the address without its secret.
impl fmt::Debug for CallbackUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallbackUrls(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{id, step};

    const BEGAN: Timestamp = Timestamp::from_millis(0);

    fn callbacks() -> Callbacks {
        Callbacks::new(ExecutionKey::new(&[7; 32]).unwrap(), "https://hooks.example.com/")
    }

    #[test]
    fn a_token_is_the_same_each_time_and_another_for_each_step_and_attempt() {
        let token = |name: &str, attempt| callbacks().token(&id(), BEGAN, &step(name), attempt);
        assert_eq!(token("approval", 1), token("approval", 1));
        assert_ne!(token("approval", 1), token("approval", 2));
        assert_ne!(token("approval", 1), token("approval/1", 1));
    }

    #[test]
    fn a_token_is_another_one_where_an_execution_begins_anew() {
        let token = |began_at| callbacks().token(&id(), began_at, &step("approval"), 1);
        assert_ne!(token(BEGAN), token(Timestamp::from_millis(1)));
    }

    #[test]
    fn a_token_is_read_back_and_names_its_execution() {
        let token = callbacks().token(&id(), BEGAN, &step("approval"), 1);
        let url = callbacks().urls(&token).url;
        let text = url.strip_prefix("https://hooks.example.com/callbacks/").unwrap();
        let read = CallbackToken::parse(text).unwrap();
        assert_eq!((read.execution(), read.sha256()), (id(), token.sha256()));
        assert!(!format!("{read:?}").contains(&text[26..]));
    }

    #[test]
    fn what_cannot_be_a_token_is_none() {
        let token = callbacks().token(&id(), BEGAN, &step("approval"), 1).0;
        for text in
            ["", id().as_str(), &token[1..], &token.to_lowercase(), &format!("{token}A"), "ä"]
        {
            assert!(CallbackToken::parse(text).is_none(), "{text}");
        }
    }
}

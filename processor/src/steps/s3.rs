//! `run = "s3"`: archives the webhook, or something made of it, in a bucket.

use std::fmt;
use std::sync::Arc;

use everhook_journal::workflow::StepDefinition;
use object_store::path::Path;
use object_store::{Attribute, Attributes, PutOptions};
use serde_json::json;

use super::aws::{Aws, objects};
use super::options;
use super::sent::{self, Content, Sent};
use super::template::Template;
use crate::step::{
    DefinitionError, Input, Outgoing, Output, Step, StepError, StepFuture, to_output,
};

/// The longest key that S3 knows, in bytes.
const KEY_BYTES_MAX: usize = 1024;

/// Puts an object. It has the metadata `idempotency-key`.
///
/// | key | means |
/// |---|---|
/// | `bucket` | its name, in the region of the credentials |
/// | `key` | the object's key; `SOURCE/TOKEN/STEP` if nothing is said |
/// | `body`, `jq`, `input` | what the object holds |
#[derive(Clone)]
pub struct S3 {
    bucket: String,
    key: Option<Template>,
    sent: Sent,
    aws: Arc<Aws>,
}

impl S3 {
    /// Reads the definition.
    pub fn new(step: &StepDefinition, aws: &Arc<Aws>) -> Result<Self, DefinitionError> {
        options::only(step, &[&["bucket", "key"][..], &sent::KEYS].concat())?;
        let bucket = options::required_text(step, "bucket")?.to_owned();
        let plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(plain) {
            let message = "`bucket` is a bucket's name: 3 to 63 small letters, digits, dots and -";
            return Err(DefinitionError::at("bucket", message));
        }
        let key = Template::new(step, "key")?;
        if let Some(Template::Fixed(text)) = &key {
            path(text).map_err(|error| DefinitionError::at("key", error.message))?;
        }
        Ok(Self { bucket, key, sent: Sent::new(step)?, aws: aws.clone() })
    }

    async fn call(&self, input: &Input) -> Result<Output, StepError> {
        let Content { bytes, content_type } = self.sent.content(input).await?;
        let key = match &self.key {
            Some(key) => key.text(input).await?,
            None => format!("{}/{}/{}", input.webhook.source, input.execution, input.step),
        };
        let path = path(&key)?;
        let mut sent = Outgoing::new("PutObject", format!("s3://{}/{path}", self.bucket))
            .header("idempotency-key", input.idempotency_key())
            .body(bytes.clone());
        let mut attributes = Attributes::new();
        let name = Attribute::Metadata("idempotency-key".into());
        attributes.insert(name, input.idempotency_key().into());
        // What the sender calls its body is passed on if it can be, and otherwise left open.
        if let Some(kind) =
            content_type.filter(|kind| kind.bytes().all(|b| (b' '..0x7f).contains(&b)))
        {
            sent = sent.header("content-type", &kind);
            attributes.insert(Attribute::ContentType, kind.into());
        }
        let bucket = self.aws.bucket(&self.bucket)?;
        let options = PutOptions { attributes, ..PutOptions::default() };
        input.record_request(sent);
        let put = bucket.put_opts(&path, bytes.into(), options).await;
        let put = put.map_err(|error| objects::failure(&self.bucket, &error))?;
        let etag = put.e_tag.as_deref().map(|etag| etag.trim_matches('"'));
        to_output(&json!({ "bucket": self.bucket, "key": path.as_ref(), "etag": etag }))
    }
}

/// A key that says one place only: without empty parts, `.` and `..`.
fn path(key: &str) -> Result<Path, StepError> {
    let path = Path::parse(key).ok().filter(|path| {
        let length = path.as_ref().len();
        (1..=KEY_BYTES_MAX).contains(&length)
    });
    path.ok_or_else(|| {
        let message = "`key` gives no key of an object: it has parts between single slashes, \
                       none of them . or .., and at most 1024 bytes";
        StepError::fatal("invalid", message)
    })
}

impl Step for S3 {
    fn run(&self, input: Input) -> StepFuture {
        let step = self.clone();
        Box::pin(async move { step.call(&input).await })
    }
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3(into {})", self.bucket)
    }
}

#[cfg(test)]
mod tests;

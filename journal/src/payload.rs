//! Bodies and step results: inline in the event while small, else in an object store.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tokio::sync::RwLock;

use crate::failpoint;
use crate::guard::{self, Guard};
use crate::packed;
use crate::time::Timestamp;

/// Up to here a payload stays in the event as it is: the append is packed as a whole, which takes less room than
/// packing the payload by itself.
pub const READABLE_BYTES_MAX: usize = 32 * 1024;

/// Up to here, once compressed, a larger payload stays in the event.
pub const INLINE_BYTES_MAX: usize = 32 * 1024;

/// A body or a step's result, as an event holds it. [`Payloads::open`] gives the bytes back exactly.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Payload {
    /// JSON, written into the event as it is.
    Json(Box<RawValue>),
    /// Text.
    Text(String),
    /// Bytes that are not text.
    Base64(String),
    /// Raw DEFLATE (RFC 1951), then base64.
    Deflate {
        /// The compressed bytes.
        base64: String,
        /// How many bytes there are once inflated.
        bytes: u64,
    },
    /// In the object store, under its content hash.
    Stored {
        /// SHA-256 of the bytes, in hexadecimal.
        sha256: String,
        /// How many bytes there are.
        bytes: u64,
    },
}

impl Payload {
    /// The payload inside the event, or `None` if it is too large for that.
    pub fn inline(bytes: &[u8]) -> Option<Self> {
        if bytes.len() <= READABLE_BYTES_MAX {
            return Some(match std::str::from_utf8(bytes) {
                Ok(text) => Self::Text(text.to_owned()),
                Err(_) => Self::Base64(BASE64.encode(bytes)),
            });
        }
        let packed = packed::deflate(bytes, &[]);
        (packed.len() <= INLINE_BYTES_MAX)
            .then(|| Self::Deflate { base64: BASE64.encode(&packed), bytes: bytes.len() as u64 })
    }

    /// The payload as an event holds it. One that is not inside the event has to be stored as well.
    pub fn of(bytes: &[u8]) -> Self {
        Self::inline(bytes).unwrap_or_else(|| Self::Stored {
            sha256: sha256_hex(bytes),
            bytes: bytes.len() as u64,
        })
    }

    /// Like [`Payload::of`], for JSON: small values stay readable in the event.
    pub fn of_json(json: &RawValue) -> Self {
        match json.get().len() <= READABLE_BYTES_MAX {
            true => Self::Json(json.to_owned()),
            false => Self::of(json.get().as_bytes()),
        }
    }

    /// About how many bytes of an event it takes.
    pub fn inline_bytes(&self) -> usize {
        match self {
            Self::Json(json) => json.get().len(),
            Self::Text(text) | Self::Base64(text) => text.len(),
            Self::Deflate { base64, .. } => base64.len(),
            Self::Stored { .. } => 100,
        }
    }

    /// How many bytes it holds once opened.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Json(json) => json.get().len() as u64,
            Self::Text(text) => text.len() as u64,
            Self::Base64(base64) => {
                let padding = base64.len() - base64.trim_end_matches('=').len();
                (base64.len() / 4 * 3).saturating_sub(padding) as u64
            }
            Self::Deflate { bytes, .. } | Self::Stored { bytes, .. } => *bytes,
        }
    }

    /// The bytes, exactly as they were kept, of one that is inside its event; what is stored elsewhere is missing.
    pub fn open_inline(&self) -> Result<Bytes, PayloadError> {
        match self {
            Self::Json(json) => Ok(Bytes::copy_from_slice(json.get().as_bytes())),
            Self::Text(text) => Ok(Bytes::copy_from_slice(text.as_bytes())),
            Self::Base64(base64) => {
                BASE64.decode(base64).map(Bytes::from).map_err(|_| PayloadError::Damaged)
            }
            Self::Deflate { base64, bytes } => inflate(base64, *bytes),
            Self::Stored { .. } => Err(PayloadError::Missing),
        }
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        serde_json::to_string(self).ok() == serde_json::to_string(other).ok()
    }
}

/// Shows the kind and the size only: a payload never reaches a log.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.bytes())
    }
}

/// Where large payloads are kept.
#[derive(Debug, Clone)]
pub struct Payloads {
    objects: Arc<dyn ObjectStore>,
    /// Held by each `put`, and alone by each removal: an object is never removed while it is stored again.
    storing: Arc<RwLock<()>>,
}

/// An object as it was listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
    /// When it was stored last, in milliseconds since 1970.
    pub stored_at: i64,
}

impl Payloads {
    /// Keeps them in this object store.
    pub fn new(objects: Arc<dyn ObjectStore>) -> Self {
        Self { objects, storing: Arc::default() }
    }

    /// Opens a connection. What fails here fails again, and is told, when it matters.
    pub async fn warm(&self) {
        self.objects.head(&path("none")).await.ok();
    }

    /// Makes bytes ready for an event; large ones are durable before this returns.
    pub async fn keep(&self, bytes: Bytes) -> Result<Payload, PayloadError> {
        let payload = Payload::of(&bytes);
        self.store(&payload, bytes).await?;
        Ok(payload)
    }

    /// Makes the bytes of [`Payload::of`] durable, unless they are inside the event.
    pub async fn store(&self, payload: &Payload, bytes: Bytes) -> Result<(), PayloadError> {
        let Payload::Stored { sha256, .. } = payload else { return Ok(()) };
        let storing = self.storing.read().await;
        let put = self.objects.put(&path(sha256), bytes.into()).await;
        drop(storing);
        if guard::holds(Guard::PayloadBeforeEvent) {
            put?;
        }
        failpoint::reached("payload.stored");
        Ok(())
    }

    /// The objects that were stored last before this time.
    pub async fn stored_before(&self, time: Timestamp) -> Result<Vec<Listed>, PayloadError> {
        let listed = self.objects.list(Some(&Path::from("payloads")));
        let old = listed.try_filter_map(|object| {
            let stored_at = object.last_modified.timestamp_millis();
            let sha256 = object.location.filename().and_then(from_hex);
            let sha256 = sha256.filter(|_| stored_at < time.as_millis());
            std::future::ready(Ok(sha256.map(|sha256| Listed { sha256, stored_at })))
        });
        Ok(old.try_collect().await?)
    }

    /// Removes an object, unless it was stored again since it was listed. Says whether it did.
    pub async fn remove(&self, listed: &Listed) -> Result<bool, PayloadError> {
        let path = path(&data_encoding::HEXLOWER.encode(&listed.sha256));
        // Between the look and the removal it must not be stored again.
        let _alone = self.storing.write().await;
        let found = match self.objects.head(&path).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(false),
            found => found?,
        };
        if found.last_modified.timestamp_millis() != listed.stored_at {
            return Ok(false);
        }
        self.objects.delete(&path).await?;
        Ok(true)
    }

    /// Like [`Payloads::keep`], for JSON: small values stay readable in the event.
    pub async fn keep_json(&self, json: Box<RawValue>) -> Result<Payload, PayloadError> {
        let payload = Payload::of_json(&json);
        self.store_json(&payload, json).await?;
        Ok(payload)
    }

    /// Makes the JSON of [`Payload::of_json`] durable, unless it is inside the event.
    pub async fn store_json(
        &self,
        payload: &Payload,
        json: Box<RawValue>,
    ) -> Result<(), PayloadError> {
        self.store(payload, Bytes::from(Box::<str>::from(json).into_string())).await
    }

    /// The bytes, exactly as they were kept.
    pub async fn open(&self, payload: &Payload) -> Result<Bytes, PayloadError> {
        let Payload::Stored { sha256, bytes } = payload else { return payload.open_inline() };
        let object = self.objects.get(&path(sha256)).await?.bytes().await?;
        let whole = object.len() as u64 == *bytes && sha256_hex(&object) == *sha256;
        whole.then_some(object).ok_or(PayloadError::Damaged)
    }
}

fn inflate(base64: &str, bytes: u64) -> Result<Bytes, PayloadError> {
    let packed = BASE64.decode(base64).map_err(|_| PayloadError::Damaged)?;
    let limit = usize::try_from(bytes).map_err(|_| PayloadError::Damaged)?;
    let inflated = packed::inflate(&packed, &[], limit).map_err(|_| PayloadError::Damaged)?;
    (inflated.len() == limit).then(|| inflated.into()).ok_or(PayloadError::Damaged)
}

fn path(sha256: &str) -> Path {
    Path::from_iter(["payloads", sha256])
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

/// SHA-256 in hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}

/// Why a payload could not be kept or opened.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// The bytes are not the ones the event names.
    #[error("the payload is not the one its event names")]
    Damaged,
    /// The event names an object that is not there.
    #[error("the payload is missing from the payload store")]
    Missing,
    /// The object store did not answer.
    #[error("the payload store did not answer")]
    Unavailable(#[source] object_store::Error),
}

impl From<object_store::Error> for PayloadError {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::Missing,
            error => Self::Unavailable(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    fn payloads() -> Payloads {
        Payloads::new(Arc::new(InMemory::new()))
    }

    async fn kept_and_opened(bytes: &[u8]) -> (Payload, Bytes) {
        let payloads = payloads();
        let payload = payloads.keep(Bytes::copy_from_slice(bytes)).await.unwrap();
        let stored = serde_json::to_string(&payload).unwrap();
        let read: Payload = serde_json::from_str(&stored).unwrap();
        let opened = payloads.open(&read).await.unwrap();
        (payload, opened)
    }

    /// Bytes that do not compress.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1u64;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(length)
        .collect()
    }

    #[tokio::test]
    async fn every_body_comes_back_byte_for_byte() {
        let repetitive = b"{\"a\":1}".repeat(20_000);
        let bodies: [&[u8]; 9] = [
            b"",
            b" {\"a\" : 1.50}\n",
            b"\xff\xfe\x00",
            "\u{e9}\\u00e9".as_bytes(),
            &repetitive,
            &noise(900 * 1024),
            &noise(1025),
            &noise(READABLE_BYTES_MAX),
            &noise(READABLE_BYTES_MAX + 1),
        ];
        for body in bodies {
            let (_, opened) = kept_and_opened(body).await;
            assert_eq!(opened, body);
        }
    }

    #[tokio::test]
    async fn small_text_is_readable_and_large_noise_is_stored() {
        let (small, _) = kept_and_opened(b"hello").await;
        let (packed, _) = kept_and_opened(&b"hello ".repeat(10_000)).await;
        let (large, _) = kept_and_opened(&noise(100_000)).await;

        assert!(matches!(small, Payload::Text(text) if text == "hello"));
        assert!(matches!(packed, Payload::Deflate { bytes: 60_000, .. }));
        assert!(matches!(large, Payload::Stored { bytes: 100_000, .. }));
    }

    #[tokio::test]
    async fn an_inflated_size_that_was_tampered_with_is_noticed() {
        let (packed, _) = kept_and_opened(&b"hello ".repeat(10_000)).await;
        let Payload::Deflate { base64, .. } = packed else { panic!("{packed:?}") };

        let damaged = Payload::Deflate { base64, bytes: 10 };

        assert!(matches!(payloads().open(&damaged).await, Err(PayloadError::Damaged)));
    }

    #[tokio::test]
    async fn a_missing_object_is_told_from_an_outage() {
        let gone = Payload::Stored { sha256: "00".into(), bytes: 1 };
        assert!(matches!(payloads().open(&gone).await, Err(PayloadError::Missing)));
    }

    #[tokio::test]
    async fn small_json_is_readable_and_large_json_comes_back_as_it_was() {
        let payloads = payloads();
        let small: Box<RawValue> = serde_json::from_str(r#"{"b": 1.50, "a": 1}"#).unwrap();
        let long = serde_json::to_string(&"x".repeat(40_000)).unwrap();
        let large: Box<RawValue> = serde_json::from_str(&long).unwrap();

        let small = payloads.keep_json(small).await.unwrap();
        let large = payloads.keep_json(large).await.unwrap();

        assert_eq!(serde_json::to_string(&small).unwrap(), r#"{"json":{"b": 1.50, "a": 1}}"#);
        assert_eq!(payloads.open(&small).await.unwrap(), r#"{"b": 1.50, "a": 1}"#);
        assert!(matches!(large, Payload::Deflate { bytes: 40_002, .. }));
        assert_eq!(payloads.open(&large).await.unwrap(), long);
    }

    #[tokio::test]
    async fn a_payload_knows_its_size() {
        for length in [0, 1, 2, 3, 4, READABLE_BYTES_MAX, READABLE_BYTES_MAX + 1, 100_000] {
            let bytes = vec![0xff; length];
            let (payload, opened) = kept_and_opened(&bytes).await;
            assert_eq!((payload.bytes(), opened.len()), (length as u64, length));
        }
    }

    #[tokio::test]
    async fn the_limits_belong_to_the_smaller_kind() {
        let (readable, _) = kept_and_opened(&[b'a'; READABLE_BYTES_MAX]).await;
        let (packed, _) = kept_and_opened(&[b'a'; READABLE_BYTES_MAX + 1]).await;

        assert!(matches!(readable, Payload::Text(_)));
        assert!(matches!(packed, Payload::Deflate { .. }));
    }

    #[tokio::test]
    async fn what_is_damaged_is_noticed() {
        let payloads = payloads();
        let stored = payloads.keep(noise(100_000).into()).await.unwrap();
        let Payload::Stored { sha256, .. } = stored else { panic!("{stored:?}") };
        let damaged = [
            Payload::Base64("?".into()),
            Payload::Deflate { base64: "?".into(), bytes: 1 },
            Payload::Deflate { base64: BASE64.encode(b"no deflate"), bytes: u64::MAX },
            Payload::Stored { sha256, bytes: 1 },
        ];
        for payload in damaged {
            let opened = payloads.open(&payload).await;
            assert!(matches!(opened, Err(PayloadError::Damaged)), "{opened:?}");
        }
    }

    #[tokio::test]
    async fn an_object_with_other_content_is_noticed() {
        let payloads = payloads();
        let sha256 = sha256_hex(b"one");
        payloads.objects.put(&path(&sha256), Bytes::from("two").into()).await.unwrap();

        let opened = payloads.open(&Payload::Stored { sha256, bytes: 3 }).await;

        assert!(matches!(opened, Err(PayloadError::Damaged)));
    }

    #[tokio::test]
    async fn an_object_is_removed_only_as_it_was_listed() {
        let payloads = payloads();
        let long_ago = Timestamp::from_millis(0);
        let in_future = Timestamp::from_millis(i64::MAX / 2);
        let one = payloads.keep(noise(100_000).into()).await.unwrap();
        assert_eq!(payloads.stored_before(long_ago).await.unwrap(), []);
        let listed = payloads.stored_before(in_future).await.unwrap();
        let [object] = listed[..] else { panic!("{listed:?}") };

        let again = Listed { stored_at: object.stored_at - 1, ..object };
        assert!(!payloads.remove(&again).await.unwrap(), "it was stored again since");
        assert!(payloads.open(&one).await.is_ok());
        assert!(payloads.remove(&object).await.unwrap());
        assert!(!payloads.remove(&object).await.unwrap());
        assert!(matches!(payloads.open(&one).await, Err(PayloadError::Missing)));
    }

    #[test]
    fn a_size_that_cannot_be_is_no_panic() {
        assert_eq!(Payload::Base64("=".into()).bytes(), 0);
    }

    #[test]
    fn debug_shows_no_content() {
        assert_eq!(format!("{:?}", Payload::Text("canary".into())), "Payload(6 bytes)");
    }
}

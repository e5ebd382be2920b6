//! A refused request, made unreadable for everybody but this deployment's ingest.
//!
//! It may hold what a sender would tell nobody else: a body that the wrong party sent, a token in a header.
//! What is sealed is the form's version, the length of a head, the head in JSON, and the body.

use aws_lambda_events::http::{HeaderMap, HeaderName, HeaderValue, Method};
use bytes::Bytes;
use data_encoding::BASE64;
use everhook_journal::{ExecutionKey, Quarantine, SourceName, Timestamp, ambient};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};

use crate::request::{Headers, Request};

/// The largest body that is kept, in bytes.
pub(super) const BODY_MAX: usize = 64 * 1024;

/// The largest head that is kept, in bytes.
const HEAD_MAX: usize = 32 * 1024;

/// What the key is for.
const PURPOSE: &str = "everhook quarantine 1";

/// The version of the form that is sealed.
const FORM: u8 = 1;

/// Seals and opens.
#[derive(Debug)]
pub(super) struct Seal(LessSafeKey);

/// The request is larger than what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a body of more than {BODY_MAX} bytes, or headers of more than {HEAD_MAX}, are not kept")]
pub(super) struct TooLarge;

/// Everything of a request but its body and its source.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    received_at: Timestamp,
    method: String,
    path: String,
    query: String,
    /// Names, and values in base64: they are not always text.
    headers: Vec<(String, String)>,
    source_ip: Option<String>,
    request_id: String,
}

/// Whether a request may be kept, as far as that can be told cheaply.
pub(super) fn fits(request: &Request) -> Result<(), TooLarge> {
    let headers: usize = request.headers.all().map(|(name, value)| name.len() + value.len()).sum();
    (request.body.len() <= BODY_MAX && headers <= HEAD_MAX).then_some(()).ok_or(TooLarge)
}

impl Seal {
    /// With a key of its own, derived from the deployment's.
    pub(super) fn new(key: &ExecutionKey) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, &key.derive(PURPOSE));
        Self(LessSafeKey::new(key.expect("a key has 32 bytes")))
    }

    /// A request, sealed for this slot.
    pub(super) fn seal(
        &self,
        request: &Request,
        slot: usize,
        received_at: Timestamp,
    ) -> Result<Vec<u8>, TooLarge> {
        let headers = request.headers.all();
        let head = Head {
            received_at,
            method: request.method.as_str().to_owned(),
            path: request.path.clone(),
            query: request.query.clone(),
            headers: headers.map(|(name, value)| (name.to_owned(), BASE64.encode(value))).collect(),
            source_ip: request.source_ip.clone(),
            request_id: request.request_id.clone(),
        };
        let head = serde_json::to_vec(&head).expect("a head is JSON");
        if head.len() > HEAD_MAX || request.body.len() > BODY_MAX {
            return Err(TooLarge);
        }
        let length = u32::try_from(head.len()).map_err(|_| TooLarge)?;
        let mut plain = vec![FORM];
        plain.extend(length.to_be_bytes());
        plain.extend(&head);
        plain.extend(&request.body[..]);

        let mut nonce = [0; NONCE_LEN];
        ambient::fill(&mut nonce);
        let place = Aad::from(Quarantine::key(&request.source, slot));
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), place, &mut plain)
            .expect("a request is not too long to be sealed");
        Ok([nonce.as_slice(), &plain].concat())
    }

    /// The request that was sealed for this slot, and when it was received;
    /// `None` for anything else, and if the key is another one.
    pub(super) fn open(
        &self,
        sealed: Vec<u8>,
        source: &SourceName,
        slot: usize,
    ) -> Option<(Request, Timestamp)> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let place = Aad::from(Quarantine::key(source, slot));
        let mut rest = rest.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self.0.open_in_place(nonce, place, &mut rest).ok()?;
        let (&[form, a, b, c, d], plain) = plain.split_first_chunk::<5>()?;
        if form != FORM {
            return None;
        }
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?;
        let (head, body) = plain.split_at_checked(length)?;
        let head: Head = serde_json::from_slice(head).ok()?;
        let request = Request {
            source: source.clone(),
            method: Method::from_bytes(head.method.as_bytes()).ok()?,
            path: head.path,
            query: head.query,
            headers: headers(&head.headers)?,
            source_ip: head.source_ip,
            request_id: head.request_id,
            quarantined_at: Some(head.received_at),
            body: Bytes::copy_from_slice(body),
        };
        Some((request, head.received_at))
    }
}

fn headers(pairs: &[(String, String)]) -> Option<Headers> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let value = BASE64.decode(value.as_bytes()).ok()?;
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).ok()?,
            HeaderValue::from_bytes(&value).ok()?,
        );
    }
    Some(Headers::new(headers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(key: &[u8]) -> Seal {
        Seal::new(&ExecutionKey::new(key).unwrap())
    }

    fn request() -> Request {
        let mut headers = HeaderMap::new();
        headers.append("x-twice", HeaderValue::from_static("a"));
        headers.append("x-twice", HeaderValue::from_static("b"));
        headers.append("x-latin", HeaderValue::from_bytes(b"\xe9").unwrap());
        Request {
            source: SourceName::new("github"),
            method: Method::POST,
            path: "/webhook/github".into(),
            query: "a=1".into(),
            headers: Headers::new(headers),
            source_ip: Some("192.0.2.1".into()),
            request_id: "r-1".into(),
            quarantined_at: None,
            body: Bytes::from_static(b"\xff\x00body"),
        }
    }

    fn then() -> Timestamp {
        Timestamp::from_millis(1_795_486_845_123)
    }

    #[test]
    fn what_is_opened_is_what_was_sealed() {
        let seal = seal(b"0123456789abcdef");
        let sealed = seal.seal(&request(), 3, then()).unwrap();

        let (opened, at) = seal.open(sealed, &SourceName::new("github"), 3).unwrap();

        assert_eq!(at, then());
        let wanted = Request { quarantined_at: Some(then()), ..request() };
        assert_eq!(format!("{opened:?}"), format!("{wanted:?}"));
    }

    #[test]
    fn one_request_is_never_sealed_twice_alike() {
        let seal = seal(b"0123456789abcdef");
        let sealed = || seal.seal(&request(), 3, then()).unwrap();
        assert_ne!(sealed(), sealed());
    }

    #[test]
    fn another_key_slot_or_source_does_not_open_it_and_no_changed_byte_does() {
        let (github, other) = (SourceName::new("github"), SourceName::new("other"));
        let seal_of = seal;
        let seal = seal_of(b"0123456789abcdef");
        let sealed = seal.seal(&request(), 3, then()).unwrap();

        assert!(seal_of(b"0123456789abcdeF").open(sealed.clone(), &github, 3).is_none());
        assert!(seal.open(sealed.clone(), &github, 4).is_none());
        assert!(seal.open(sealed.clone(), &other, 3).is_none());
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert!(seal.open(changed, &github, 3).is_none(), "byte {place}");
            assert!(seal.open(sealed[..place].to_vec(), &github, 3).is_none(), "{place} bytes");
        }
    }

    #[test]
    fn a_large_body_or_head_is_not_sealed() {
        let seal = seal(b"0123456789abcdef");
        let body = |length| Request { body: vec![b'x'; length].into(), ..request() };
        assert!(fits(&body(BODY_MAX)).is_ok());
        assert!(seal.seal(&body(BODY_MAX), 0, then()).is_ok());
        assert_eq!(fits(&body(BODY_MAX + 1)), Err(TooLarge));

        let mut large = HeaderMap::new();
        large.append("x-large", HeaderValue::from_bytes(&vec![b'x'; HEAD_MAX - 100]).unwrap());
        let request = Request { headers: Headers::new(large), ..request() };
        assert_eq!(seal.seal(&request, 0, then()), Err(TooLarge));
    }
}

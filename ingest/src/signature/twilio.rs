//! Twilio: HMAC-SHA1 over the URL and the sorted parameters, in base64.

use std::collections::BTreeSet;

use everhook_journal::event::{Covers, IdOrigin};
use everhook_journal::json;
use everhook_journal::payload::sha256_hex;

use crate::request::Headers;

use super::encoding::Encoding;
use super::key::Signature;
use super::{Claims, Scheme, Sent, Unverified, Verified, matching, template, url};

const HEADER: &str = "x-twilio-signature";
const ID_HEADER: &str = "i-twilio-idempotency-token";

pub(super) fn verify(scheme: &Scheme, sent: &Sent<'_>) -> Result<Verified, Unverified> {
    let header = sent.headers.only(HEADER)?;
    let decoded = template::decoded(Encoding::Base64, header, Some(20));
    let signature = [Signature::new(decoded.ok_or(Unverified::Malformed)?)];
    let url = signed_url(scheme, sent)?;
    let parameters = parameters(&url, sent)?;
    let text = parameters.as_deref().unwrap_or_default();
    let of_form = |form: String| {
        let parts = [form.as_bytes(), text.as_bytes()];
        matching(scheme.keys(), &parts, &signature).ok().map(|secret| (secret, form))
    };
    let fitting = url::twilio_forms(&url).into_iter().find_map(of_form);
    let (secret, form) = fitting.ok_or(Unverified::NoMatch)?;
    let signed = url::with_query_of(&url, &form);
    let claims = Claims {
        secret: Some(secret),
        delivery_id: sent.headers.id(ID_HEADER).map(|id| (id, IdOrigin::Unsigned)),
        // Forms in another order, or split elsewhere, and other spellings of the query have the same signature:
        // they are one event, so the text that was signed identifies it, not the one that was sent.
        content: Some(sha256_hex(format!("{signed}{text}").as_bytes())),
        ..Claims::default()
    };
    let covers = parameters.is_some().then_some(Covers::Form);
    Ok(Verified::new(scheme.document(sent.body), covers, claims))
}

/// The query of a body that is no form: its hash, which the signature covers with the URL.
pub(super) fn query(body: &[u8]) -> String {
    match is_form(body) {
        true => String::new(),
        false => format!("bodySHA256={}", sha256_hex(body)),
    }
}

/// Whether a body is sent as a form. JSON could be read as one, too.
fn is_form(body: &[u8]) -> bool {
    is_canonical(body) && json::check(body).is_err() || body.is_empty()
}

pub(super) fn sign(scheme: &Scheme, id: &str, sent: &Sent<'_>) -> Vec<(String, String)> {
    let content_type = match (is_form(sent.body), json::check(sent.body)) {
        (true, _) => FORM,
        (false, Ok(_)) => "application/json",
        (false, Err(_)) => "application/octet-stream",
    };
    let content_type = ("content-type".to_owned(), content_type.to_owned());
    let headers = Headers::from_pairs(std::slice::from_ref(&content_type));
    let sent = Sent { headers: &headers, ..*sent };
    let text = signed_url(scheme, &sent)
        .and_then(|url| parameters(&url, &sent).map(|text| url + &text.unwrap_or_default()));
    let signature = scheme.keys().first().zip(text.ok());
    let signature = signature.map(|(key, text)| key.sign(&[text.as_bytes()])).unwrap_or_default();
    vec![
        content_type,
        (HEADER.to_owned(), Encoding::Base64.encode(&signature)),
        (ID_HEADER.to_owned(), id.to_owned()),
    ]
}

const FORM: &str = "application/x-www-form-urlencoded";

fn signed_url(scheme: &Scheme, sent: &Sent<'_>) -> Result<String, Unverified> {
    let base = scheme.settings().public_url.as_deref().ok_or(Unverified::Malformed)?;
    Ok(url::with_query(base, sent.query))
}

/// What stands behind the URL: a form's parameters. Any other body must be named by its hash in the URL.
fn parameters(url: &str, sent: &Sent<'_>) -> Result<Option<String>, Unverified> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let mut hashes =
        form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "bodySHA256");
    if let Some((_, hash)) = hashes.next() {
        let is_named = hashes.next().is_none() && hash == sha256_hex(sent.body);
        return if is_named { Ok(None) } else { Err(Unverified::NoMatch) };
    }
    if sent.body.is_empty() {
        return Ok(Some(String::new()));
    }
    let content_type = sent.headers.only("content-type")?;
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case(FORM) || !is_canonical(sent.body) {
        return Err(Unverified::Malformed);
    }
    // A set: names sorted, the values of one name sorted and without repetitions.
    let pairs: BTreeSet<_> = form_urlencoded::parse(sent.body).collect();
    Ok(Some(pairs.iter().flat_map(|(name, value)| [name.as_ref(), value.as_ref()]).collect()))
}

/// Whether a form is written as Twilio does, named pairs with escapes in upper case:
/// other bytes would mean the same.
fn is_canonical(form: &[u8]) -> bool {
    let is_pair = |pair: &[u8]| pair.iter().position(|byte| *byte == b'=').is_some_and(|at| at > 0);
    let is_escape = |escape: &[u8]| match escape {
        [high, low, ..] => [high, low].iter().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F')),
        _ => false,
    };
    form.split(|byte| *byte == b'&').all(is_pair)
        && form.split(|byte| *byte == b'%').skip(1).all(is_escape)
}

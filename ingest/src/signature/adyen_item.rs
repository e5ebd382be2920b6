//! Adyen's standard webhooks: HMAC-SHA256 over eight fields of every item, in the body itself.

use everhook_journal::event::IdOrigin;
use serde::Deserialize;
use serde_json::Value;

use super::encoding::{Encoding, KeyEncoding};
use super::key::{Algorithm, Key, Signature};
use super::{Claims, SIGNATURES_MAX, Scheme, Sent, Unverified, matching, template};
use everhook_journal::secret::Secret;

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Body {
    #[serde(rename_all = "camelCase")]
    Batch {
        notification_items: Vec<Wrapped>,
    },
    One(Box<Item>),
}

#[derive(Debug, Deserialize)]
struct Wrapped {
    #[serde(rename = "NotificationRequestItem")]
    item: Item,
}

/// One item. A field that occurs twice makes it unreadable.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    psp_reference: Option<String>,
    original_reference: Option<String>,
    merchant_account_code: Option<String>,
    merchant_reference: Option<String>,
    amount: Option<Amount>,
    event_code: Option<String>,
    success: Option<Value>,
    additional_data: AdditionalData,
}

#[derive(Debug, Deserialize)]
struct Amount {
    value: Option<Value>,
    currency: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AdditionalData {
    hmac_signature: String,
}

pub(super) fn key(secret: &Secret) -> Option<Key> {
    let bytes = KeyEncoding::Hex.decode(secret.expose())?;
    Key::of(secret.reference(), Algorithm::HmacSha256, &bytes)
}

pub(super) fn verify(scheme: &Scheme, sent: &Sent<'_>) -> Result<Claims, Unverified> {
    let body = serde_json::from_slice(sent.body).map_err(|_| Unverified::Malformed)?;
    let items: Vec<Item> = match body {
        Body::Batch { notification_items } => {
            notification_items.into_iter().map(|wrapped| wrapped.item).collect()
        }
        Body::One(item) => vec![*item],
    };
    if items.is_empty() || items.len() > SIGNATURES_MAX {
        return Err(Unverified::Malformed);
    }
    let mut secret = None;
    for item in &items {
        let text = &item.additional_data.hmac_signature;
        let decoded = template::decoded(Encoding::Base64, text, Some(32));
        let signature = Signature::new(decoded.ok_or(Unverified::Malformed)?);
        secret = Some(matching(scheme.keys(), &[signed(item).as_bytes()], &[signature])?);
    }
    let one = <[Item; 1]>::try_from(items).ok().map(|[item]| item);
    let id = one.as_ref().and_then(|item| {
        let (kind, reference) = (item.event_code.as_ref()?, item.psp_reference.as_ref()?);
        Some((format!("{kind}:{reference}"), IdOrigin::Signed))
    });
    let event_type = one.and_then(|item| item.event_code);
    Ok(Claims { secret, delivery_id: id, event_type, ..Claims::default() })
}

/// The eight fields that Adyen signs; one that is missing is empty.
fn signed(item: &Item) -> String {
    let scalar = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let amount = item.amount.as_ref();
    [
        text(&item.psp_reference),
        text(&item.original_reference),
        text(&item.merchant_account_code),
        text(&item.merchant_reference),
        amount.and_then(|amount| amount.value.as_ref()).map(scalar).unwrap_or_default(),
        amount.map(|amount| text(&amount.currency)).unwrap_or_default(),
        text(&item.event_code),
        item.success.as_ref().map(scalar).unwrap_or_default(),
    ]
    .join(":")
}

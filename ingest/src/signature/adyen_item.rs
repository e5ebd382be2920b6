//! Adyen's standard webhooks: HMAC-SHA256 over eight fields of every item, in the body itself.

use everhook_journal::event::IdOrigin;
use serde::Deserialize;
use serde_json::Value;

use super::encoding::{Encoding, KeyEncoding};
use super::key::{Algorithm, Key, Signature};
use super::{Claims, SIGNATURES_MAX, Scheme, Sent, Unverified, matching, template};
use crate::secret::Secret;

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
    #[serde(default)]
    psp_reference: String,
    #[serde(default)]
    original_reference: Option<String>,
    #[serde(default)]
    merchant_account_code: String,
    #[serde(default)]
    merchant_reference: Option<String>,
    amount: Option<Amount>,
    event_code: String,
    success: Value,
    additional_data: AdditionalData,
}

#[derive(Debug, Deserialize)]
struct Amount {
    value: Value,
    currency: String,
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
    let id =
        |item: &Item| (format!("{}:{}", item.event_code, item.psp_reference), IdOrigin::Signed);
    let one = <[Item; 1]>::try_from(items).ok();
    Ok(Claims {
        secret,
        delivery_id: one.as_ref().map(|[item]| id(item)),
        event_type: one.map(|[item]| item.event_code),
    })
}

/// The eight fields that Adyen signs; one that is missing is empty.
fn signed(item: &Item) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let amount = item.amount.as_ref();
    [
        item.psp_reference.clone(),
        item.original_reference.clone().unwrap_or_default(),
        item.merchant_account_code.clone(),
        item.merchant_reference.clone().unwrap_or_default(),
        amount.map(|amount| text(&amount.value)).unwrap_or_default(),
        amount.map(|amount| amount.currency.clone()).unwrap_or_default(),
        item.event_code.clone(),
        text(&item.success),
    ]
    .join(":")
}

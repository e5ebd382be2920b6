//! Microsoft Graph: nothing is signed; every item carries the text that the subscription was made with.

use everhook_journal::event::IdOrigin;
use serde::Deserialize;

use super::key::Signature;
use super::{Claims, Scheme, Sent, Unverified, matching};

#[derive(Debug, Deserialize)]
struct Body {
    value: Vec<Item>,
}

/// One item. A field that occurs twice makes it unreadable.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    client_state: String,
    subscription_id: Option<String>,
    change_type: Option<String>,
    resource: Option<String>,
    resource_data: Option<ResourceData>,
}

#[derive(Debug, Deserialize)]
struct ResourceData {
    #[serde(rename = "@odata.etag")]
    etag: Option<String>,
}

pub(super) fn verify(scheme: &Scheme, sent: &Sent<'_>) -> Result<Claims, Unverified> {
    let body: Body = serde_json::from_slice(sent.body).map_err(|_| Unverified::Malformed)?;
    let mut secret = Err(Unverified::Missing);
    for item in &body.value {
        let state = Signature::new(item.client_state.clone().into_bytes());
        secret = Ok(matching(scheme.keys(), &[], &[state])?);
    }
    let secret = Some(secret?);
    let one = <[Item; 1]>::try_from(body.value).ok();
    let id = one.as_ref().and_then(|[item]| {
        let etag = item.resource_data.as_ref()?.etag.as_ref()?;
        let parts = [item.subscription_id.as_ref()?, item.resource.as_ref()?, etag];
        Some(parts.iter().map(|part| format!("{}:{part}", part.len())).collect::<String>())
    });
    Ok(Claims {
        secret,
        delivery_id: id.map(|id| (id, IdOrigin::Unsigned)),
        event_type: one.and_then(|[item]| item.change_type),
        ..Claims::default()
    })
}

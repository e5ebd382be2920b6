//! Microsoft Graph: nothing is signed; every item carries the text that the subscription was made with.

use everhook_journal::event::{Covers, IdOrigin};
use serde_json::value::RawValue;

use super::key::Signature;
use super::members::{Members, place};
use super::{Claims, Scheme, Sent, Unverified, Verified, matching};

pub(super) fn verify(scheme: &Scheme, sent: &Sent<'_>) -> Result<Verified, Unverified> {
    let body = scheme.document(sent.body);
    let members = Members::of(&body).ok_or(Unverified::Malformed)?;
    let list = members.get("value").ok_or(Unverified::Malformed)?;
    let list: Vec<&RawValue> =
        serde_json::from_str(list.get()).map_err(|_| Unverified::Malformed)?;
    let mut secret = Err(Unverified::Missing);
    let mut read = Vec::with_capacity(list.len());
    for item in &list {
        let item = Members::of(item.get().as_bytes()).ok_or(Unverified::Malformed)?;
        let state = item.text("clientState").ok_or(Unverified::Malformed)?;
        let state = Signature::new(state.into_bytes());
        secret = Ok(matching(scheme.keys(), &[], &[state])?);
        read.push(item);
    }
    let secret = Some(secret?);
    let one = <[Members<'_>; 1]>::try_from(read).ok();
    let id = one.as_ref().and_then(|[item]| {
        let data = Members::of(item.get("resourceData")?.get().as_bytes())?;
        let parts =
            [item.text("subscriptionId")?, item.text("resource")?, data.text("@odata.etag")?];
        let is_there = parts.iter().all(|part| !part.is_empty());
        is_there.then(|| parts.iter().map(|part| format!("{}:{part}", part.len())).collect())
    });
    let event_type = one.and_then(|[item]| item.text("changeType"));
    let claims = Claims {
        secret,
        delivery_id: id.map(|id: String| (id, IdOrigin::Unsigned)),
        event_type: event_type.filter(|text| !text.is_empty()),
        ..Claims::default()
    };
    let places = list.iter().map(|item| place(&body, item)).collect();
    Ok(Verified::new(body, Some(Covers::Nothing), claims).with_items(places))
}

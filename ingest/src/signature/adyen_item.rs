//! Adyen's standard webhooks: HMAC-SHA256 over eight fields of every item, in the body itself.

use everhook_journal::event::{Covers, IdOrigin};
use everhook_journal::secret::Secret;
use serde_json::value::RawValue;

use super::encoding::{Encoding, KeyEncoding};
use super::key::{Algorithm, Key, Signature};
use super::members::{Members, place};
use crate::items;

use super::{Claims, SIGNATURES_MAX, Scheme, Sent, Unverified, Verified, matching, template};

/// The member of a body that holds its items.
const LIST: &str = "notificationItems";

/// The only member of what the list holds.
const WRAPPER: &str = "NotificationRequestItem";

/// The members of an item that verification reads.
const READ: [&str; 8] = [
    "pspReference",
    "originalReference",
    "merchantAccountCode",
    "merchantReference",
    "amount",
    "eventCode",
    "success",
    "additionalData",
];

/// What verification reads of an item.
struct Item {
    psp_reference: String,
    event_code: String,
    /// What Adyen signs: eight fields; one that is missing is empty.
    signed: String,
    signature: Signature,
}

pub(super) fn key(secret: &Secret) -> Option<Key> {
    let bytes = KeyEncoding::Hex.decode(secret.expose())?;
    Key::of(secret.reference(), Algorithm::HmacSha256, &bytes)
}

pub(super) fn verify(scheme: &Scheme, sent: &Sent<'_>) -> Result<Verified, Unverified> {
    let body = scheme.document(sent.body);
    let members = Members::of(&body).ok_or(Unverified::Malformed)?;
    let (items, places) = match members.get(LIST) {
        // A body of both forms would be verified as one of them and executed as the other.
        Some(_) if members.has_any(&[WRAPPER]) || members.has_any(&READ) => {
            return Err(Unverified::Malformed);
        }
        Some(list) => {
            let list: Vec<&RawValue> =
                serde_json::from_str(list.get()).map_err(|_| Unverified::Malformed)?;
            if list.is_empty() || list.len() > SIGNATURES_MAX {
                return Err(Unverified::Malformed);
            }
            let items: Result<Vec<_>, _> = list.iter().map(|wrapped| unwrapped(wrapped)).collect();
            (items?, list.iter().map(|wrapped| place(&body, wrapped)).collect())
        }
        None if members.has_any(&[WRAPPER]) => return Err(Unverified::Malformed),
        None => (vec![Item::of(&members)?], Vec::new()),
    };
    let mut secret = None;
    for item in &items {
        let signature = std::slice::from_ref(&item.signature);
        secret = Some(matching(scheme.keys(), &[item.signed.as_bytes()], signature)?);
    }
    let one = <[Item; 1]>::try_from(items).ok().map(|[item]| item);
    let id = one.as_ref().and_then(|item| {
        // As in a list: an item that is sent in the other form is the same event.
        let parts = [item.event_code.clone(), item.psp_reference.clone()];
        let is_there = parts.iter().all(|part| !part.trim().is_empty());
        is_there.then(|| (items::joined(&parts), IdOrigin::Signed))
    });
    let event_type = one.map(|item| item.event_code).filter(|kind| !kind.is_empty());
    let claims = Claims { secret, delivery_id: id, event_type, ..Claims::default() };
    Ok(Verified::new(body, Some(Covers::Fields), claims).with_items(places))
}

/// The item in its wrapper, which has nothing else.
fn unwrapped(wrapped: &RawValue) -> Result<Item, Unverified> {
    let wrapper = Members::of(wrapped.get().as_bytes()).ok_or(Unverified::Malformed)?;
    let item = wrapper.get(WRAPPER).filter(|_| wrapper.len() == 1);
    let item = item.and_then(|item| Members::of(item.get().as_bytes()));
    Item::of(&item.ok_or(Unverified::Malformed)?)
}

impl Item {
    fn of(members: &Members<'_>) -> Result<Self, Unverified> {
        Self::read(members).ok_or(Unverified::Malformed)
    }

    fn read(members: &Members<'_>) -> Option<Self> {
        let within = |name| match members.get(name).map(RawValue::get) {
            None | Some("null") => Members::of(b"{}"),
            Some(object) => Members::of(object.as_bytes()),
        };
        let (amount, additional) = (within("amount")?, within("additionalData")?);
        let (psp_reference, event_code) =
            (members.text("pspReference")?, members.text("eventCode")?);
        let before = [
            psp_reference.clone(),
            members.text("originalReference")?,
            members.text("merchantAccountCode")?,
        ];
        let reference = members.text("merchantReference")?;
        let after = [
            amount.scalar("value")?,
            amount.text("currency")?,
            event_code.clone(),
            members.scalar("success")?,
        ];
        // Only the merchant's own reference may contain what joins the fields:
        // otherwise other fields would have the same signature.
        if before.iter().chain(&after).any(|field| field.contains(':')) {
            return None;
        }
        let text = additional.text("hmacSignature")?;
        let decoded = template::decoded(Encoding::Base64, &text, Some(32))?;
        let signed = [before.join(":"), reference, after.join(":")].join(":");
        Some(Self { psp_reference, event_code, signed, signature: Signature::new(decoded) })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use everhook_journal::Timestamp;

    use super::*;
    use crate::request::Headers;
    use crate::signature::{Settings, preset};

    const KEY: &str = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056";

    fn scheme() -> Scheme {
        let secrets = [Secret::new("env:TEST", KEY)];
        Scheme::new(preset("adyen-item").unwrap(), &secrets, Settings::default()).unwrap()
    }

    /// An item that Adyen has signed, without its last brace.
    fn open(reference: &str) -> String {
        let fields = format!(
            r#"{{"pspReference":"P1","merchantReference":"{reference}","amount":{{"value":1130,"currency":"EUR"}},"eventCode":"CAPTURE","success":"true""#
        );
        let signed = format!("P1:::{reference}:1130:EUR:CAPTURE:true");
        let signature = scheme().keys()[0].sign(&[signed.as_bytes()]);
        let signature = Encoding::Base64.encode(&signature);
        format!(r#"{fields},"additionalData":{{"hmacSignature":"{signature}"}}"#)
    }

    fn verify(body: &str) -> Result<Vec<String>, Unverified> {
        let (scheme, headers) = (scheme(), Headers::default());
        let body = Bytes::from(body.to_owned());
        let now = Timestamp::from_millis(0);
        let sent = Sent {
            method: "POST",
            query: "",
            headers: &headers,
            body: &body,
            now,
            certificate: None,
        };
        let authentic = scheme.read(scheme.verify(&sent)?, &sent);
        let items = scheme.preset().items().unwrap();
        let items = authentic.items(&items).unwrap();
        Ok(items.into_iter().map(|item| String::from_utf8(item.body.to_vec()).unwrap()).collect())
    }

    #[test]
    fn what_is_executed_is_what_was_verified() {
        let item = open("a") + "}";
        assert_eq!(verify(&item), Ok(vec![item.clone()]));
        let wrapped = format!(r#"{{"NotificationRequestItem":{item}}}"#);
        let batch = format!(r#"{{"live":"false","notificationItems":[{wrapped}, {wrapped}]}}"#);
        assert_eq!(verify(&batch), Ok(vec![wrapped.clone(), wrapped]));
    }

    #[test]
    fn a_body_of_two_forms_is_refused() {
        let forged = r#"{"NotificationRequestItem":{"pspReference":"evil","eventCode":"CAPTURE"}}"#;
        let item = open("a");
        let wrapped = format!(r#"{{"NotificationRequestItem":{item}}}}}"#);
        for body in [
            format!(r#"{item},"notificationItems":[{forged}]}}"#),
            format!(r#"{item},"notificationItems":[]}}"#),
            format!(r#"{item},"notificationItems":null}}"#),
            format!(r#"{item},"notification\u0049tems":[{forged}]}}"#),
            format!(r#"{item},"NotificationRequestItem":{{"pspReference":"evil"}}}}"#),
            format!(r#"{{"notificationItems":[{forged}],{}}}"#, &item[1..]),
            format!(r#"{{"notificationItems":[{wrapped}],"pspReference":"evil"}}"#),
            format!(r#"{{"notificationItems":[{wrapped}],"NotificationRequestItem":{{}}}}"#),
            format!(r#"{{"notificationItems":[{wrapped}],"notificationItems":[{forged}]}}"#),
            format!(r#"{{"notificationItems":[{forged}],"notificationItems":[{wrapped}]}}"#),
            format!(r#"{{"notificationItems":[{wrapped},{forged}]}}"#),
            format!(
                r#"{{"notificationItems":[{}],"live":"false"}}"#,
                wrapped.replacen('{', r#"{"other":1,"#, 1)
            ),
            format!(
                r#"{{"notificationItems":[{}]}}"#,
                wrapped.replacen('{', r#"{"NotificationRequestItem":{},"#, 1)
            ),
            format!(r#"{{"notificationItems":[{item}}}]}}"#),
        ] {
            assert_eq!(verify(&body), Err(Unverified::Malformed), "{body}");
        }
    }

    #[test]
    fn a_field_that_occurs_twice_is_refused() {
        let item = open("a");
        for more in [
            r#""pspReference":"evil""#,
            r#""eventCode":"CAPTURE""#,
            r#""amount":{"value":1,"currency":"EUR"}"#,
            r#""additionalData":{}"#,
            r#""reason":"a","reason":"b""#,
        ] {
            assert_eq!(verify(&format!("{item},{more}}}")), Err(Unverified::Malformed), "{more}");
        }
        let doubled = item.replace(r#""value":1130"#, r#""value":1130,"value":1"#);
        assert_eq!(verify(&(doubled + "}")), Err(Unverified::Malformed));
    }

    #[test]
    fn fields_cannot_be_split_again() {
        assert!(verify(&(open("order:12") + "}")).is_ok());
        let split = open("order:12").replace(r#""P1""#, r#""P1:""#);
        let split = split.replace(
            r#""merchantReference":"order:12""#,
            r#""merchantReference":"12","merchantAccountCode":"order""#,
        );
        assert_eq!(verify(&(split + "}")), Err(Unverified::Malformed));
        let other = open("a").replace("1130", "1130.0");
        assert_eq!(verify(&(other + "}")), Err(Unverified::Malformed));
        let other = open("a").replace("1130", "113e1");
        assert_eq!(verify(&(other + "}")), Err(Unverified::Malformed));
    }
}

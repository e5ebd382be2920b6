//! Senders that put several events in one request: each becomes an execution of its own.

use bytes::Bytes;

use crate::outline::{Outline, Path, Wanted};
use crate::summary::Summary;

/// How many events one request may have: as many as can be recorded in the time that a sender waits.
pub const ITEMS_MAX: usize = 10_000;

/// Where the events of a request are, and what names each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Items {
    /// The way to the list, as a JSON Pointer; empty if the body is the list.
    pub list: String,
    /// What tells an item from all others, as JSON Pointers in it; nothing, if only its content does.
    pub id: Vec<String>,
    /// Its type, as a JSON Pointer in it.
    pub event_type: Option<String>,
}

/// One event of several, by the exact bytes that it has in the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its part of the body.
    pub body: Bytes,
    /// The sender's id of it.
    pub delivery_id: Option<String>,
    /// What the sender calls this kind of event.
    pub event_type: Option<String>,
    /// What it is about.
    pub summary: Summary,
}

/// A request has more events than one may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body has more than {ITEMS_MAX} events")]
pub struct TooMany;

impl Items {
    /// Where the list is.
    pub fn place(&self) -> Path {
        Path::pointer(&self.list)
    }

    /// The events of a body, by where its outline found them. One that has no list, or an empty one,
    /// is one event: whatever was sent is recorded.
    pub fn of(&self, body: &Bytes, outline: Outline) -> Result<Vec<Item>, TooMany> {
        let Some(list) = outline.list.filter(|list| !list.is_empty()) else {
            let summary = outline.summary.unwrap_or_default();
            let body = body.clone();
            return Ok(vec![Item { body, delivery_id: None, event_type: None, summary }]);
        };
        if list.len() > ITEMS_MAX {
            return Err(TooMany);
        }
        let pointers = self.id.iter().chain(&self.event_type);
        let wanted =
            Wanted { paths: pointers.map(|text| Path::pointer(text)).collect(), list: None };
        Ok(list.into_iter().map(|place| self.item(body.slice(place), &wanted)).collect())
    }

    fn item(&self, body: Bytes, wanted: &Wanted) -> Item {
        let outline = Outline::of(&body, wanted);
        let parts: Option<Vec<_>> = self.id.iter().map(|pointer| outline.text(pointer)).collect();
        let delivery_id = parts.filter(|parts| !parts.is_empty()).map(|parts| joined(&parts));
        let event_type = self.event_type.as_ref().and_then(|pointer| outline.text(pointer));
        Item { body, delivery_id, event_type, summary: outline.summary.unwrap_or_default() }
    }
}

/// One part as it is; several with their lengths, so that no two lists of parts are one text.
pub(crate) fn joined(parts: &[String]) -> String {
    match parts {
        [part] => part.clone(),
        parts => parts.iter().map(|part| format!("{}:{part}", part.len())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(list: &str, id: &[&str], event_type: &str) -> Items {
        let id = id.iter().map(|pointer| (*pointer).to_owned()).collect();
        Items { list: list.into(), id, event_type: Some(event_type.into()) }
    }

    fn of(items: &Items, body: impl Into<Bytes>) -> Result<Vec<Item>, TooMany> {
        let body = body.into();
        let wanted = Wanted { paths: Vec::new(), list: Some(items.place()) };
        items.of(&body, Outline::of(&body, &wanted))
    }

    fn item(body: &'static str, delivery_id: &str, event_type: &str) -> Item {
        let body = Bytes::from_static(body.as_bytes());
        let (delivery_id, event_type) = (Some(delivery_id.into()), Some(event_type.into()));
        let summary = Outline::of(&body, &Wanted::default()).summary.unwrap();
        Item { body, delivery_id, event_type, summary }
    }

    #[test]
    fn each_item_of_a_list_is_an_event_with_its_own_bytes() {
        let sendgrid = items("", &["/sg_event_id"], "/event");
        let body = r#"[ {"sg_event_id": "a", "event": "open", "n": 1.0},{"event":"click","sg_event_id":"b"}]"#;

        let found = of(&sendgrid, body).unwrap();

        let one = item(r#"{"sg_event_id": "a", "event": "open", "n": 1.0}"#, "a", "open");
        let two = item(r#"{"event":"click","sg_event_id":"b"}"#, "b", "click");
        assert_eq!(found, [one, two]);
    }

    #[test]
    fn ids_of_several_parts_never_meet() {
        let adyen = items(
            "/notificationItems",
            &["/NotificationRequestItem/eventCode", "/NotificationRequestItem/pspReference"],
            "/NotificationRequestItem/eventCode",
        );
        let body = |code: &str, reference: &str| {
            let item = format!(r#"{{"eventCode":"{code}","pspReference":"{reference}"}}"#);
            let body = format!(
                r#"{{"live":"false","notificationItems":[{{"NotificationRequestItem":{item}}}]}}"#
            );
            of(&adyen, body).unwrap().remove(0).delivery_id.unwrap()
        };
        assert_eq!(body("CAPTURE", "X1"), "7:CAPTURE2:X1");
        assert_ne!(body("CAPTURE2:X", "1"), body("CAPTURE", "2:X1"));
    }

    #[test]
    fn an_item_without_its_id_is_known_by_its_content() {
        let hubspot = items("", &["/eventId"], "/subscriptionType");
        let found = of(&hubspot, r#"[{"eventId": 7}, {"eventId": null}, 3]"#);
        let ids: Vec<_> = found.unwrap().into_iter().map(|item| item.delivery_id).collect();
        assert_eq!(ids, [Some("7".to_owned()), None, None]);
    }

    #[test]
    fn ids_keep_all_their_digits() {
        let events = items("", &["/id"], "");
        let body = "[{\"id\": 123456789012345678901234567890123}, {\"id\": 123456789012345678901234567890124}, \
                    {\"id\": 1.10}, {\"id\": 1e3}, {\"id\": \" \"}, {\"id\": true}]";
        let found = of(&events, body).unwrap();
        let ids: Vec<_> = found.iter().map(|item| item.delivery_id.as_deref()).collect();
        assert_eq!(
            ids,
            [
                Some("123456789012345678901234567890123"),
                Some("123456789012345678901234567890124"),
                Some("1.10"),
                Some("1e3"),
                None,
                None
            ]
        );
    }

    #[test]
    fn what_is_no_list_is_one_event_and_too_long_a_list_is_refused() {
        let nested = items("/value", &["/id"], "/changeType");
        for body in ["", "[]", "{}", "null", r#"{"value": {}}"#, r#"{"value": []}"#, "\u{e9}"] {
            let found = of(&nested, body).unwrap();
            assert_eq!((found.len(), &found[0].delivery_id), (1, &None), "{body}");
            assert_eq!(found[0].body, body);
        }
        let largest = format!("[{}]", vec!["1"; 2_700].join(","));
        assert_eq!(of(&items("", &[], ""), largest).map(|items| items.len()), Ok(2_700));
        let many = format!("[{}]", vec!["1"; ITEMS_MAX + 1].join(","));
        assert_eq!(of(&items("", &[], ""), many), Err(TooMany));
    }
}

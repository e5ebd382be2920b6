//! Valid requests whose structure is changed: whatever is accepted, what is executed was verified,
//! or is flagged as not covered by the signature.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use everhook::conformance::Vector;
use everhook_ingest::signature::preset::{Way, preset};
use everhook_ingest::signature::{Authentic, Custom};
use everhook_journal::event::Covers;
use serde_json::{Value, json};

use crate::vectors::{NOW, own, published};

/// How many changed bodies there must be.
const BODIES_MIN: usize = 2_000;

/// What no sender has signed, wherever it turns up.
const FORGED: &str = "forged";

#[test]
fn what_is_executed_was_verified() {
    let theirs = published();
    let theirs = theirs.iter().flat_map(|published| published.vectors());
    let ours = own();
    let mut judged = BTreeMap::<&str, usize>::new();
    for vector in ours.vectors().chain(theirs).filter(|vector| vector.valid) {
        let Ok(scheme) = vector.scheme() else { continue };
        let original = vector.verify(&scheme, NOW).expect(&vector.id);
        for body in changed(&vector.body) {
            let changed = Vector { body: body.clone(), ..vector.clone() };
            *judged.entry(vector.preset.name).or_default() += 1;
            if let Ok(accepted) = changed.verify(&scheme, NOW) {
                assert_verified(&vector, &original, &accepted, &body);
            }
        }
    }
    let count: usize = judged.values().sum();
    assert!(count >= BODIES_MIN, "only {count} bodies");
    assert!(judged.values().all(|count| *count > 20), "{judged:?}");
}

/// Makes sure that everything an execution sees of an accepted body is the original's, as far as nothing is flagged.
#[track_caller]
fn assert_verified(vector: &Vector, original: &Authentic, accepted: &Authentic, sent: &[u8]) {
    let text = String::from_utf8_lossy(sent);
    let id = &vector.id;
    match accepted.covers() {
        None => assert_eq!(sent, vector.body, "{id}: another body is taken for covered: {text}"),
        Some(Covers::Checksum) => assert_eq!(sent, vector.body, "{id}: {text}"),
        Some(Covers::Form) => {
            // Another split or order of the same signed text: it is the same delivery.
            assert!(accepted.claims.content.is_some(), "{id}: {text}");
            assert_eq!(accepted.claims.content, original.claims.content, "{id}: {text}");
        }
        Some(Covers::Fields) => {
            let allowed: Vec<_> =
                executed(vector, original).map(|body| signed(vector, &body)).collect();
            for body in executed(vector, accepted) {
                let fields = signed(vector, &body);
                assert!(allowed.contains(&fields), "{id}: {fields:?} was not signed: {text}");
            }
            assert_eq!(accepted.claims, original.claims, "{id}: {text}");
        }
        Some(Covers::Nothing) => {
            if let Way::Custom(Custom::MsGraph, _) = &vector.preset.way {
                for body in executed(vector, accepted) {
                    let item: Value = serde_json::from_slice(&body).unwrap();
                    assert_eq!(item["clientState"], json!(vector.secrets[0]), "{id}: {text}");
                }
            }
        }
    }
}

/// The bodies that executions would have.
fn executed(vector: &Vector, authentic: &Authentic) -> impl Iterator<Item = Bytes> {
    let scheme = vector.scheme().unwrap();
    let mut outline = scheme.outline(authentic.body());
    outline.list.clone_from(&authentic.outline.list);
    let items = match vector.preset.items() {
        Some(items) => items.of(authentic.body(), outline).unwrap(),
        None => return vec![authentic.body().clone()].into_iter(),
    };
    items.into_iter().map(|item| item.body).collect::<Vec<_>>().into_iter()
}

/// The values of a body that its sender signs, read as steps read them: of a doubled key the last one counts.
fn signed(vector: &Vector, body: &[u8]) -> Vec<Value> {
    let body: Value = serde_json::from_slice(body).unwrap();
    let fields: &[&str] = match vector.preset.name {
        "sns" => match body["Type"].as_str() {
            Some("Notification") => {
                &["/Message", "/MessageId", "/Subject", "/Timestamp", "/TopicArn", "/Type"]
            }
            _ => &[
                "/Message",
                "/MessageId",
                "/SubscribeURL",
                "/Timestamp",
                "/Token",
                "/TopicArn",
                "/Type",
            ],
        },
        "adyen-item" => &[
            "/pspReference",
            "/originalReference",
            "/merchantAccountCode",
            "/merchantReference",
            "/amount/value",
            "/amount/currency",
            "/eventCode",
            "/success",
        ],
        other => panic!("{other} signs fields that this test does not know"),
    };
    let item = match body.get("NotificationRequestItem") {
        Some(item) if vector.preset.name == "adyen-item" => item,
        Some(_) | None => &body,
    };
    fields.iter().map(|field| item.pointer(field).cloned().unwrap_or_default()).collect()
}

/// A body in other structures.
fn changed(body: &[u8]) -> Vec<Vec<u8>> {
    let Ok(text) = std::str::from_utf8(body) else { return Vec::new() };
    let mut all: Vec<String> = match text.trim().as_bytes().first() {
        Some(b'{') => object(text.trim()),
        Some(b'[') => list(text.trim()),
        _ => form(text),
    };
    // Both as one of several, and with more around it.
    all.extend([
        format!("[{text}]"),
        format!(r#"[{text},{{"{FORGED}":1}}]"#),
        format!(r#"{{"value":[{text}],"notificationItems":[{text}]}}"#),
        format!("\u{feff}{text}"),
        format!(" {text}"),
        format!("{text}\n"),
        format!("{text},"),
        format!("{text}{text}"),
        format!("{text}\0"),
        format!(r#"{text}{{"{FORGED}":1}}"#),
    ]);
    all.into_iter().filter(|changed| changed != text).map(String::into_bytes).collect()
}

/// An object with members added, doubled, renamed, taken away and in another order.
fn object(text: &str) -> Vec<String> {
    let inside = &text[1..text.len() - 1];
    // One sender's own example is no JSON.
    let Ok(members) = serde_json::from_str::<serde_json::Map<String, Value>>(text) else {
        return form(text);
    };
    let forged = json!({
        "pspReference": FORGED, "eventCode": FORGED, "clientState": FORGED, "id": FORGED,
        "Type": FORGED, "additionalData": {},
    });
    let wrapped = json!([{ "NotificationRequestItem": forged }]);
    let lists =
        ["notificationItems", "NotificationRequestItem", "value", "events", "Records", "items"];
    let mut all = Vec::new();
    for name in lists {
        for value in [json!([]), json!(null), json!({}), wrapped.clone(), json!([forged])] {
            all.push(format!(r#"{{"{name}":{value},{inside}}}"#));
            all.push(format!(r#"{{{inside},"{name}":{value}}}"#));
        }
    }
    for (name, value) in &members {
        // Escaped, it is the same name.
        let escaped: String = name.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect();
        for other in [json!(FORGED), json!(null), json!([forged]), value.clone()] {
            for name in [name, &escaped] {
                all.push(format!(r#"{{"{name}":{other},{inside}}}"#));
                all.push(format!(r#"{{{inside},"{name}":{other}}}"#));
            }
        }
        let mut without = members.clone();
        without.remove(name);
        all.push(json!(without).to_string());
        without.insert(name.to_uppercase(), value.clone());
        all.push(json!(without).to_string());
        // One level down, and a list with one more.
        if let Value::Object(inner) = value {
            for (inner_name, _) in inner {
                let mut changed = members.clone();
                changed[name][inner_name] = json!(FORGED);
                all.push(json!(changed).to_string());
                let inner_text = value.to_string();
                let doubled = format!(r#"{{"{inner_name}":"{FORGED}",{}"#, &inner_text[1..]);
                let mut changed = members.clone();
                changed.remove(name);
                all.push(format!(r#"{{"{name}":{doubled},{}"#, &json!(changed).to_string()[1..]));
            }
        }
        if let Value::Array(items) = value {
            for more in [forged.clone(), json!({ "NotificationRequestItem": forged })] {
                let mut changed = members.clone();
                changed[name] = items.iter().cloned().chain([more]).collect();
                all.push(json!(changed).to_string());
            }
        }
    }
    let pairs: Vec<_> =
        members.iter().rev().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
    all.push(format!("{{{}}}", pairs.join(",")));
    all.push(json!({ "NotificationRequestItem": members }).to_string());
    all.push(json!(members).to_string());
    all
}

/// A list with items added, doubled, taken away and in another order.
fn list(text: &str) -> Vec<String> {
    let items: Vec<Value> = serde_json::from_str(text).unwrap();
    let inside = &text[1..text.len() - 1];
    let mut all = vec![
        format!("[{inside},{}]", json!({ "id": FORGED })),
        format!("[{},{inside}]", json!({ "id": FORGED })),
        format!("[{inside},{inside}]"),
        format!("[{inside},]"),
        format!("[[{inside}]]"),
        "[]".to_owned(),
        json!(items).to_string(),
        json!({ "events": items, "value": items }).to_string(),
        inside.to_owned(),
    ];
    all.push(json!(items.iter().rev().collect::<Vec<_>>()).to_string());
    for item in &items {
        all.extend(object(&item.to_string()).into_iter().map(|item| format!("[{item}]")));
    }
    all
}

/// A form with its parameters in another order, split elsewhere, doubled, and with more of them.
fn form(text: &str) -> Vec<String> {
    let pairs: Vec<&str> = text.split('&').collect();
    let mut all = vec![
        pairs.iter().rev().copied().collect::<Vec<_>>().join("&"),
        format!("{text}&{text}"),
        format!("{text}&{FORGED}={FORGED}"),
        format!("{FORGED}={FORGED}&{text}"),
        format!("{text}&"),
        format!("&{text}"),
        text.replace('&', ";"),
        text.replace('=', "%3D"),
        text.to_lowercase(),
        text.replace('A', "%41"),
    ];
    for (at, pair) in pairs.iter().enumerate() {
        let with = |other: String| {
            let mut pairs: Vec<Cow<'_, str>> =
                pairs.iter().map(|pair| Cow::Borrowed(*pair)).collect();
            pairs[at] = Cow::Owned(other);
            pairs.join("&")
        };
        let Some((name, value)) = pair.split_once('=') else { continue };
        // A part of the name into the value, and back.
        for end in 1..name.len().min(8) {
            all.push(with(format!("{}={}{value}", &name[..end], &name[end..])));
        }
        for end in (1..value.len().min(8)).filter(|end| value.is_char_boundary(*end)) {
            all.push(with(format!("{name}{}={}", &value[..end], &value[end..])));
        }
        all.push(with(format!("{name}{value}=")));
        all.push(with(format!("{pair}&{pair}")));
        if let Some(next) = pairs.get(at + 1) {
            all.push(with(format!("{pair}{next}")));
        }
    }
    all
}

#[test]
fn an_unsigned_header_makes_no_notification_a_subscription() {
    let own = own();
    let vector = own.vectors().find(|vector| vector.id == "sns-2").unwrap();
    let url = "https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&Token=t";
    let body = String::from_utf8(vector.body.clone()).unwrap();
    let mut forged =
        Vector { body: format!(r#"{{"SubscribeURL":"{url}",{}"#, &body[1..]).into(), ..vector };
    forged.headers.push(("x-amz-sns-message-type".into(), "SubscriptionConfirmation".into()));

    let scheme = forged.scheme().unwrap();
    let accepted = forged.verify(&scheme, NOW).unwrap();

    assert_eq!(shaken(&forged, &accepted), None);
    assert_eq!(accepted.claims.event_type.as_deref(), Some("Notification"));

    let vector = own.vectors().find(|vector| vector.id == "sns-subscription").unwrap();
    let mut plain = vector;
    plain.headers.push(("x-amz-sns-message-type".into(), "Notification".into()));
    let accepted = plain.verify(&plain.scheme().unwrap(), NOW).unwrap();
    assert_eq!(shaken(&plain, &accepted), Some(Some(url.to_owned())));
}

/// What is fetched to answer a handshake; nothing if it is none.
fn shaken(vector: &Vector, accepted: &Authentic) -> Option<Option<String>> {
    let pairs = everhook_ingest::request::Headers::from_pairs(&vector.headers);
    let sent = everhook_ingest::signature::Sent {
        method: "POST",
        query: "",
        headers: &pairs,
        body: accepted.body(),
        now: NOW,
        certificate: None,
    };
    let scheme = vector.scheme().unwrap();
    let reply = scheme.preset().handshake.after(&scheme, &sent, &accepted.outline)?;
    Some(reply.fetch)
}

#[test]
fn every_scheme_says_what_it_covers() {
    let own = own();
    for vector in own.vectors().filter(|vector| vector.valid) {
        let accepted = vector.verify(&vector.scheme().unwrap(), NOW).unwrap();
        let expected = match vector.preset.name {
            "sns" | "adyen-item" => Some(Covers::Fields),
            "paypal" => Some(Covers::Checksum),
            "twilio" if vector.body.starts_with(b"{") => None,
            "twilio" => Some(Covers::Form),
            "mailgun" | "monday" | "msgraph" => Some(Covers::Nothing),
            name if preset(name).unwrap().weak => Some(Covers::Nothing),
            _ => None,
        };
        assert_eq!(accepted.covers(), expected, "{}", vector.id);
    }
}

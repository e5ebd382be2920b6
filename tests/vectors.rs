//! The senders' published vectors, where they are at hand.

use std::path::Path;

use aws_lambda_events::http::{HeaderMap, HeaderName};
use everhook_ingest::request::Headers;
use everhook_ingest::secret::Secret;
use everhook_ingest::signature::{Github, Key, Scheme, StandardWebhooks};
use everhook_journal::Timestamp;
use serde_json::Value;

/// Where a checkout may have the collection beside it.
const COLLECTION: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/webhooks/signature-vectors.json");

#[test]
fn every_published_vector_of_our_schemes_is_judged_as_it_says() {
    let Ok(text) = std::fs::read_to_string(Path::new(COLLECTION)) else {
        eprintln!(
            "the collection of vectors is not here; the schemes' own tests have known answers"
        );
        return;
    };
    let collection: Value = serde_json::from_str(&text).unwrap();
    let mut judged = 0;
    let mut wrong = Vec::new();
    for vector in collection["vectors"].as_array().unwrap() {
        if let Some((accepted, expected)) = judge(vector) {
            judged += 1;
            if accepted != expected {
                wrong.push(format!("{}: {}", vector["id"], vector["why"]));
            }
        }
    }
    assert!(judged > 20, "only {judged} vectors are of our schemes");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Whether a vector is accepted, and whether it is to be; `None` if it is of another scheme.
fn judge(vector: &Value) -> Option<(bool, bool)> {
    // The asymmetric version and the older header names are other schemes.
    let is_other = vector["headers"].to_string().contains("svix-")
        || vector["id"].as_str().is_some_and(|id| id.contains("v1a"))
            && vector["expected"] == "valid";
    if is_other {
        return None;
    }
    let secrets = texts(&vector["secret"]);
    let scheme = scheme(vector["scheme"].as_str()?, &secrets)?;
    let expected = vector["expected"] == "valid";
    let Some(scheme) = scheme else { return Some((false, expected)) };
    let now = Timestamp::from_millis(vector["now_unix"].as_i64().unwrap_or(0) * 1000);
    let body = vector["body"].as_str().unwrap_or_default();
    let body = match vector["body_encoding"].as_str() {
        Some("base64") => data_encoding::BASE64.decode(body.as_bytes()).unwrap(),
        Some("hex") => data_encoding::HEXLOWER.decode(body.as_bytes()).unwrap(),
        _ => body.as_bytes().to_vec(),
    };
    Some((scheme.verify(&headers(&vector["headers"]), &body, now).is_ok(), expected))
}

/// The scheme with these secrets; the inner `None` if it cannot have them.
fn scheme(name: &str, secrets: &[String]) -> Option<Option<Scheme>> {
    let secrets = secrets.iter().map(|text| Secret::new("env:TEST", text.as_bytes()));
    let keys: Option<Vec<_>> = match name {
        "github" => secrets.map(|secret| Key::new(&secret, secret.expose())).collect(),
        "standard_webhooks" => secrets.map(|secret| StandardWebhooks::key(&secret)).collect(),
        _ => return None,
    };
    Some(keys.map(|keys| match name {
        "github" => Scheme::Github(Github { keys }),
        _ => Scheme::StandardWebhooks(StandardWebhooks {
            keys,
            tolerance: std::time::Duration::from_secs(300),
        }),
    }))
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => {
            items.iter().filter_map(|item| Some(item.as_str()?.into())).collect()
        }
        value => value.as_str().map(Into::into).into_iter().collect(),
    }
}

fn headers(value: &Value) -> Headers {
    let mut headers = HeaderMap::new();
    let mut add = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), value.parse()) {
            headers.append(name, value);
        }
    };
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(name, value)| add(name, value.as_str().unwrap_or_default()));
        }
        Value::Array(pairs) => pairs.iter().for_each(|pair| {
            add(pair[0].as_str().unwrap_or_default(), pair[1].as_str().unwrap_or_default());
        }),
        _ => {}
    }
    Headers::new(headers)
}

//! Recipes as a section writes them.

use everhook_journal::config::{Problem, Section};
use serde_json::Value;

use crate::signature::encoding::{Encoding, KeyEncoding};
use crate::signature::recipe::PLAIN;
use crate::signature::time::Unit;
use crate::signature::{Algorithm, Recipe, Written};

/// A recipe that is written out.
pub(super) fn own(section: &mut Section) -> Result<Recipe, Problem> {
    let headers = header(section)?.ok_or_else(|| {
        section.problem("`header` is missing: the header that holds the signature")
    })?;
    let texts = Texts::read(section)?;
    let signed = section.text("signed")?.unwrap_or_default();
    let timestamp = section.text("timestamp")?.unwrap_or_default();
    let key = one_of(section, "key_encoding", KEYS)?.unwrap_or(KeyEncoding::Text);
    let algorithm = one_of(section, "hash", HASHES)?.unwrap_or(Algorithm::HmacSha256);
    let unit = one_of(section, "timestamp_unit", UNITS)?.unwrap_or(Unit::Seconds);
    let plain = if algorithm == Algorithm::Token { "" } else { PLAIN.signed };
    let usual = if algorithm == Algorithm::Token { Encoding::Text } else { PLAIN.encoding };
    let id = section.text("id")?.unwrap_or_default();
    let event_type = section.text("type")?.unwrap_or_default();
    let headers: Vec<_> = headers.iter().map(String::as_str).collect();
    let written = Written {
        headers: &headers,
        separator: texts.separator,
        tag: texts.tag.as_deref().unwrap_or_default(),
        encoding: texts.encoding.unwrap_or(usual),
        key,
        algorithm,
        signed: if signed.is_empty() { plain } else { &signed },
        timestamp: &timestamp,
        unit,
        id: &id,
        event_type: &event_type,
        ..PLAIN
    };
    Recipe::parse(&written).map_err(|error| section.problem(error))
}

/// A preset's recipe with the headers and forms that the section says.
pub(super) fn adjusted(
    written: &Written<'static>,
    section: &mut Section,
) -> Result<Recipe, Problem> {
    let headers = header(section)?;
    let texts = Texts::read(section)?;
    let place = |name: Option<String>| name.map(|name| format!("header:{name}"));
    let id = place(section.text("id_header")?);
    let event_type = place(section.text("type_header")?);
    let headers: Option<Vec<_>> =
        headers.as_ref().map(|names| names.iter().map(String::as_str).collect());
    let written = Written {
        headers: headers.as_deref().unwrap_or(written.headers),
        separator: texts.separator.or(written.separator),
        // A prefix that is asked for must be there.
        bare: written.bare && texts.tag.is_none(),
        tag: texts.tag.as_deref().unwrap_or(written.tag),
        encoding: texts.encoding.unwrap_or(written.encoding),
        id: id.as_deref().unwrap_or(written.id),
        event_type: event_type.as_deref().unwrap_or(written.event_type),
        ..*written
    };
    Recipe::parse(&written).map_err(|error| section.problem(error))
}

/// What recipes and presets write alike.
struct Texts {
    separator: Option<char>,
    tag: Option<String>,
    encoding: Option<Encoding>,
}

impl Texts {
    fn read(section: &mut Section) -> Result<Self, Problem> {
        let separator = section.text("separator")?;
        let separator = match separator.as_deref().map(|text| text.chars().collect::<Vec<_>>()) {
            None => None,
            Some(one) if one.len() == 1 => one.first().copied(),
            Some(_) => {
                let message = "`separator` must be one character, such as \",\"";
                return Err(section.problem_of("separator", message));
            }
        };
        let tag = section.text("tag")?;
        let encoding = one_of(section, "encoding", ENCODINGS)?;
        Ok(Self { separator, tag, encoding })
    }
}

const ENCODINGS: &[(&str, Encoding)] =
    &[("hex", Encoding::Hex), ("base64", Encoding::Base64), ("text", Encoding::Text)];

const KEYS: &[(&str, KeyEncoding)] = &[
    ("text", KeyEncoding::Text),
    ("base64", KeyEncoding::Base64),
    ("hex", KeyEncoding::Hex),
    ("whsec", KeyEncoding::Whsec),
    ("spki", KeyEncoding::Spki),
];

const HASHES: &[(&str, Algorithm)] = &[
    ("sha1", Algorithm::HmacSha1),
    ("sha256", Algorithm::HmacSha256),
    ("sha512", Algorithm::HmacSha512),
    ("plain-sha256", Algorithm::Sha256),
    ("ed25519", Algorithm::Ed25519),
    ("ecdsa-p256", Algorithm::EcdsaP256),
    ("token", Algorithm::Token),
];

const UNITS: &[(&str, Unit)] =
    &[("s", Unit::Seconds), ("ms", Unit::Millis), ("rfc3339", Unit::Rfc3339)];

fn one_of<T: Copy>(
    section: &mut Section,
    key: &'static str,
    known: &[(&str, T)],
) -> Result<Option<T>, Problem> {
    let Some(text) = section.text(key)? else { return Ok(None) };
    let found = known.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    found.map(Some).ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        section.problem_of(key, format!("`{key}` is one of {}, not \"{text}\"", names.join(", ")))
    })
}

/// One header, or several of which one is enough.
fn header(section: &mut Section) -> Result<Option<Vec<String>>, Problem> {
    let Some(entry) = section.take("header") else { return Ok(None) };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let names = match &entry.value {
        Value::Array(items) => items.iter().map(text).collect::<Option<Vec<_>>>(),
        value => text(value).map(|name| vec![name]),
    };
    names.filter(|names| !names.is_empty()).map(Some).ok_or_else(|| {
        section.problem_at(entry.line, "`header` must be a text in quotes, or a list of texts")
    })
}

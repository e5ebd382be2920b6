//! What a signature covers, and where in a request a value stands.

use std::borrow::Cow;

use super::encoding::Encoding;
use super::recipe::ENTRIES_MAX;
use super::{Sent, Unverified, url};
use crate::outline::{Outline, Path, field};
use crate::request::HeaderFault;

/// One part of what is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// This text.
    Const(String),
    /// The value at a place.
    At(Place),
    /// The request's timestamp, as it was sent.
    Timestamp,
    /// The method.
    Method,
    /// The public URL with the request's query.
    Url,
    /// The same with those characters decoded that HubSpot decodes.
    Uri,
    /// The body.
    Body,
}

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a header.
    Header(String),
    /// Beside the signature, in an entry of its header: `t=1700000000`.
    Entry(String),
    /// In the JSON body, under a path of keys.
    Json(String),
}

impl Part {
    /// Reads a template: `v0:{timestamp}:{body}`. Its error says what is wrong.
    pub fn parse_all(template: &str) -> Result<Vec<Self>, String> {
        let mut parts = Vec::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            if !before.is_empty() {
                parts.push(Self::Const(before.to_owned()));
            }
            let (name, after) =
                after.split_once('}').ok_or(format!("`{{` without `}}` in \"{template}\""))?;
            parts.push(Self::parse(name)?);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Self::Const(rest.to_owned()));
        }
        Ok(parts)
    }

    fn parse(name: &str) -> Result<Self, String> {
        match name {
            "timestamp" => Ok(Self::Timestamp),
            "method" => Ok(Self::Method),
            "url" => Ok(Self::Url),
            "uri" => Ok(Self::Uri),
            "body" => Ok(Self::Body),
            _ => Place::parse(name).map(Self::At).map_err(|_| {
                format!(
                    "`{{{name}}}` is unknown: timestamp, method, url, uri, body, header:NAME, \
                     entry:NAME or json:PATH"
                )
            }),
        }
    }

    /// The bytes of this part.
    pub(super) fn bytes<'s>(
        &'s self,
        sent: &Sent<'s>,
        timestamp: Option<&'s str>,
        public_url: Option<&'s str>,
        entries: &[(&str, &'s str)],
    ) -> Result<Cow<'s, [u8]>, Unverified> {
        let url = || public_url.map(|base| url::with_query(base, sent.query));
        let owned = |text: String| Cow::Owned(text.into_bytes());
        Ok(match self {
            Self::Const(text) => Cow::Borrowed(text.as_bytes()),
            Self::At(place) => match place.find(sent, entries, None)? {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => owned(text),
            },
            Self::Timestamp => Cow::Borrowed(timestamp.ok_or(Unverified::Missing)?.as_bytes()),
            Self::Method => Cow::Borrowed(sent.method.as_bytes()),
            Self::Url => owned(url().ok_or(Unverified::Malformed)?),
            Self::Uri => owned(url::decoded(&url().ok_or(Unverified::Malformed)?)),
            Self::Body => Cow::Borrowed(sent.body),
        })
    }
}

impl Place {
    /// Reads `header:NAME`, `entry:NAME` or `json:PATH`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no place: header:NAME, entry:NAME or json:PATH");
        match text.split_once(':') {
            Some((_, "")) | None => Err(wrong()),
            Some(("header", name)) => Ok(Self::Header(name.to_ascii_lowercase())),
            Some(("entry", name)) => Ok(Self::Entry(name.to_owned())),
            Some(("json", path)) => Ok(Self::Json(path.to_owned())),
            Some(_) => Err(wrong()),
        }
    }

    /// The way into the body, if it is there.
    pub(super) fn path(&self) -> Option<Path> {
        match self {
            Self::Json(path) => Some(Path::dotted(path)),
            Self::Header(_) | Self::Entry(_) => None,
        }
    }

    /// The header, if it is one.
    pub(super) fn header(&self) -> Option<&str> {
        match self {
            Self::Header(name) => Some(name),
            Self::Json(_) | Self::Entry(_) => None,
        }
    }

    /// The value that stands here. There must be exactly one, and it is not empty.
    /// Without an outline the body is read for this one place.
    pub(super) fn find<'s>(
        &self,
        sent: &Sent<'s>,
        entries: &[(&str, &'s str)],
        outline: Option<&Outline>,
    ) -> Result<Cow<'s, str>, Unverified> {
        let value = match self {
            Self::Header(name) => Cow::Borrowed(sent.headers.only(name)?),
            Self::Entry(name) => {
                let mut values = entries.iter().filter(|(tag, _)| tag == name);
                let (_, value) = values.next().ok_or(HeaderFault::Missing)?;
                if values.next().is_some() {
                    return Err(Unverified::Ambiguous);
                }
                Cow::Borrowed(*value)
            }
            Self::Json(path) => {
                let found = match outline {
                    Some(outline) => outline.field(path),
                    None => field(sent.body, path),
                };
                Cow::Owned(found.ok_or(Unverified::Missing)?)
            }
        };
        if value.trim().is_empty() { Err(Unverified::Malformed) } else { Ok(value) }
    }

    /// The id or the type that stands here, if there is one. Unlike what verification reads,
    /// it may be in a header of any bytes, or in several of one name.
    fn named<'s>(
        &self,
        sent: &Sent<'s>,
        entries: &[(&str, &'s str)],
        outline: &Outline,
    ) -> Option<Cow<'s, str>> {
        match self {
            Self::Header(name) => sent.headers.id(name).map(Cow::Owned),
            Self::Entry(_) | Self::Json(_) => self.find(sent, entries, Some(outline)).ok(),
        }
    }
}

/// The name and value of each entry of a header: `t=1,v1=abc`. What is no pair is passed over.
pub(super) fn entries(header: &str, separator: char, delimiter: char) -> Vec<(&str, &str)> {
    let entries = header.split(separator).take(ENTRIES_MAX);
    entries.filter_map(|entry| trimmed(entry).split_once(delimiter)).collect()
}

/// An entry without the blanks around it.
pub(super) fn trimmed(entry: &str) -> &str {
    entry.trim_matches([' ', '\t'])
}

/// The first of these places at which something stands, and which of them it was.
/// Places that are joined by `+` make one value together.
pub(super) fn first<'p>(
    places: &'p [Vec<Place>],
    sent: &Sent<'_>,
    entries: &[(&str, &str)],
    outline: &Outline,
) -> Option<(String, &'p [Place])> {
    places.iter().find_map(|joined| {
        let values: Option<Vec<_>> =
            joined.iter().map(|place| place.named(sent, entries, outline)).collect();
        let values = values?;
        let text = match values.as_slice() {
            [only] => only.to_string(),
            // With their lengths: no two lists of values make the same text.
            several => several.iter().map(|value| format!("{}:{value}", value.len())).collect(),
        };
        Some((text, joined.as_slice()))
    })
}

/// Reads a list of places, divided by spaces; `a+b` are two that make one value.
pub fn places(text: &str) -> Result<Vec<Vec<Place>>, String> {
    text.split_whitespace().map(|joined| joined.split('+').map(Place::parse).collect()).collect()
}

/// What is left of a header's value after its tag, in bytes.
pub(super) fn decoded(encoding: Encoding, text: &str, bytes: Option<usize>) -> Option<Vec<u8>> {
    encoding.decode(text).filter(|decoded| bytes.is_none_or(|bytes| decoded.len() == bytes))
}

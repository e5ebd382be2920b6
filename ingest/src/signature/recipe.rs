//! A scheme written as data: how most senders sign, and how a configuration can say that another one does.

use std::borrow::Cow;
use std::time::Duration;

use everhook_journal::event::IdOrigin;

use super::encoding::{Encoding, KeyEncoding};
use super::key::{Algorithm, Key, Signature};
use super::template::{self, Part, Place};
use super::time::Unit;
use super::{Claims, SIGNATURES_MAX, Sent, Settings, Unverified, matching};
use crate::request::HeaderFault;

/// How many entries a header may have, signatures and others.
const ENTRIES_MAX: usize = 32;

/// A recipe as it is written down.
#[derive(Debug, Clone, Copy)]
pub struct Written<'a> {
    /// The headers that may hold the signature.
    pub headers: &'a [&'a str],
    /// Whether every one of these headers that is sent must fit; otherwise one is enough.
    pub every: bool,
    /// What divides the entries of the header, if it can have several.
    pub separator: Option<char>,
    /// What stands before a signature, with what divides it from it: `sha256=`.
    pub tag: &'a str,
    /// Whether the tag may be missing.
    pub bare: bool,
    /// How the signature is written.
    pub encoding: Encoding,
    /// How the key is written in the secret.
    pub key: KeyEncoding,
    /// How it is signed.
    pub algorithm: Algorithm,
    /// What is signed: `{timestamp}.{body}`.
    pub signed: &'a str,
    /// Where the timestamp stands; empty if there is none.
    pub timestamp: &'a str,
    /// What the timestamp counts.
    pub unit: Unit,
    /// Where the delivery's id may stand.
    pub id: &'a str,
    /// Where the type of event may stand.
    pub event_type: &'a str,
    /// Headers that must have exactly this value.
    pub requires: &'a [(&'a str, &'a str)],
}

/// HMAC-SHA256 of the body, in hexadecimal.
pub const PLAIN: Written<'static> = Written {
    headers: &[],
    every: false,
    separator: None,
    tag: "",
    bare: false,
    encoding: Encoding::Hex,
    key: KeyEncoding::Text,
    algorithm: Algorithm::HmacSha256,
    signed: "{body}",
    timestamp: "",
    unit: Unit::Seconds,
    id: "",
    event_type: "",
    requires: &[],
};

/// A recipe ready to verify with.
#[derive(Debug, Clone)]
pub struct Recipe {
    headers: Vec<String>,
    every: bool,
    separator: Option<char>,
    tag: String,
    bare: bool,
    encoding: Encoding,
    algorithm: Algorithm,
    pub(super) key: KeyEncoding,
    signed: Vec<Part>,
    timestamp: Option<Place>,
    unit: Unit,
    ids: Vec<Vec<Place>>,
    types: Vec<Vec<Place>>,
    requires: Vec<(String, String)>,
}

impl Recipe {
    /// Reads what is written. Its error says what is wrong with it.
    pub fn parse(written: &Written<'_>) -> Result<Self, String> {
        let headers: Vec<_> =
            written.headers.iter().map(|name| name.to_ascii_lowercase()).collect();
        if headers.iter().any(|name| !is_header(name)) || headers.is_empty() {
            return Err("`header` must be the name of the header that holds the signature".into());
        }
        let place = |text: &str| (!text.is_empty()).then(|| Place::parse(text)).transpose();
        let owned = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
        let recipe = Self {
            headers,
            every: written.every,
            separator: written.separator,
            tag: written.tag.to_owned(),
            bare: written.bare,
            encoding: written.encoding,
            algorithm: written.algorithm,
            key: written.key,
            signed: Part::parse_all(written.signed)?,
            timestamp: place(written.timestamp)?,
            unit: written.unit,
            ids: template::places(written.id)?,
            types: template::places(written.event_type)?,
            requires: written.requires.iter().map(owned).collect(),
        };
        recipe.checked()
    }

    /// Whether the URL is part of what is signed.
    pub fn needs_url(&self) -> bool {
        self.signed.iter().any(|part| matches!(part, Part::Url | Part::Uri))
    }

    /// Whether a time is signed, so that an old request can be told from a new one.
    pub fn is_dated(&self) -> bool {
        self.timestamp.is_some()
    }

    /// How its keys are used.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The headers that may hold the signature.
    pub fn headers(&self) -> &[String] {
        &self.headers
    }

    /// The headers that verification reads: with another value in one of them a request is another one.
    pub fn verified_headers(&self) -> Vec<&str> {
        let parts = self.signed.iter().filter_map(|part| match part {
            Part::At(Place::Header(name)) => Some(name.as_str()),
            Part::At(_)
            | Part::Const(_)
            | Part::Timestamp
            | Part::Method
            | Part::Url
            | Part::Uri
            | Part::Body => None,
        });
        let timestamp = match &self.timestamp {
            Some(Place::Header(name)) => Some(name.as_str()),
            Some(Place::Entry(_) | Place::Json(_)) | None => None,
        };
        let required = self.requires.iter().map(|(name, _)| name.as_str());
        let signatures = self.headers.iter().map(String::as_str);
        signatures.chain(parts).chain(timestamp).chain(required).collect()
    }

    /// Whether the signature covers the body.
    pub fn covers_body(&self) -> bool {
        self.algorithm != Algorithm::Token && self.signed.contains(&Part::Body)
    }

    /// Where ids and types may stand, and whether the signature covers the place.
    pub fn ids(&self) -> impl Iterator<Item = (&[Place], bool)> {
        self.ids.iter().map(|places| (places.as_slice(), self.covers(places)))
    }

    /// Like [`Recipe::ids`], for the types of events.
    pub fn types(&self) -> impl Iterator<Item = (&[Place], bool)> {
        self.types.iter().map(|places| (places.as_slice(), self.covers(places)))
    }

    pub(super) fn verify(
        &self,
        keys: &[Key],
        settings: &Settings,
        sent: &Sent<'_>,
    ) -> Result<String, Unverified> {
        for (name, value) in &self.requires {
            if sent.headers.only(name)? != value {
                return Err(Unverified::Malformed);
            }
        }
        let mut matched = Err(Unverified::Missing);
        for name in &self.headers {
            let header = match sent.headers.only(name) {
                Ok(header) => header,
                Err(HeaderFault::Missing) => continue,
                Err(fault) => return Err(fault.into()),
            };
            let found = self.verify_header(header, keys, settings, sent);
            if self.every {
                matched = Ok(found?);
            } else if found.is_ok() || matched != Err(Unverified::NoMatch) {
                matched = matched.or(found);
            }
        }
        let secret = matched?;
        // Checked after the signature: a stale answer then says nothing about unsigned requests.
        if let (Some(place), Some(tolerance)) = (&self.timestamp, settings.tolerance) {
            let entries = self.entries(sent)?;
            let sent_at = self.unit.read(&place.find(sent, &entries)?)?;
            super::time::check(sent_at, sent.now, tolerance)?;
        }
        Ok(secret)
    }

    /// What a verified request says of itself.
    pub(super) fn claims(&self, sent: &Sent<'_>, secret: Option<String>) -> Claims {
        let entries = self.entries(sent).unwrap_or_default();
        let origin =
            |places| if self.covers(places) { IdOrigin::Signed } else { IdOrigin::Unsigned };
        let id = template::first(&self.ids, sent, &entries);
        Claims {
            secret,
            delivery_id: id.map(|(id, places)| (id, origin(places))),
            event_type: template::first(&self.types, sent, &entries).map(|(text, _)| text),
        }
    }

    /// The headers with which a sender would send a body, as far as they are headers.
    pub(super) fn sign(
        &self,
        keys: &[Key],
        settings: &Settings,
        id: &str,
        event_type: Option<&str>,
        sent: &Sent<'_>,
    ) -> Vec<(String, String)> {
        let timestamp = self.unit.write(sent.now);
        let mut headers: Vec<(String, String)> = self.requires.clone();
        let mut add = |place: Option<&Place>, value: &str| {
            if let Some(Place::Header(name)) = place {
                headers.push((name.clone(), value.to_owned()));
            }
        };
        add(self.timestamp.as_ref(), &timestamp);
        add(self.ids.first().and_then(|places| places.first()), id);
        if let Some(event_type) = event_type {
            add(self.types.first().and_then(|places| places.first()), event_type);
        }
        let with_headers = super::headers_of(&headers);
        let signing = Sent { headers: &with_headers, ..*sent };
        let entry = match &self.timestamp {
            Some(Place::Entry(name)) => Some((name.as_str(), timestamp.as_str())),
            Some(Place::Header(_) | Place::Json(_)) | None => None,
        };
        let entries: Vec<_> = entry.into_iter().collect();
        let parts = self.parts(&signing, settings, Some(&timestamp), &entries);
        if let (Some(key), Ok(parts), Some(header)) = (keys.first(), parts, self.headers.first()) {
            let parts: Vec<&[u8]> = parts.iter().map(AsRef::as_ref).collect();
            let signature = self.encoding.encode(&key.sign(&parts));
            let before = entry.zip(self.separator).map(|((name, time), separator)| {
                format!("{name}{}{time}{separator}", self.delimiter())
            });
            let before = before.unwrap_or_default();
            headers.push((header.clone(), format!("{before}{}{signature}", self.tag)));
        }
        headers
    }

    fn checked(self) -> Result<Self, String> {
        let token = self.algorithm == Algorithm::Token;
        let covers = |wanted: &Part| self.signed.contains(wanted);
        if !token && !covers(&Part::Body) {
            return Err("`signed` must contain {body}: what is not signed proves nothing".into());
        }
        if !token && self.encoding == Encoding::Text {
            return Err("`encoding` can only be \"text\" with hash = \"token\"".into());
        }
        let uses = covers(&Part::Timestamp);
        match &self.timestamp {
            None if uses => {
                Err("`signed` uses {timestamp}; say where it stands: `timestamp`".into())
            }
            Some(place) if !uses && !self.covers(std::slice::from_ref(place)) => {
                Err("`timestamp` must be in `signed`, or in the body: {timestamp}".into())
            }
            Some(Place::Entry(_)) if self.separator.is_none() || self.tag.is_empty() => {
                Err("a timestamp in an entry needs `separator` and `tag`".into())
            }
            Some(_) | None => Ok(self),
        }
    }

    fn covers(&self, places: &[Place]) -> bool {
        self.algorithm != Algorithm::Token
            && places.iter().all(|place| match place {
                Place::Json(_) => self.signed.contains(&Part::Body),
                Place::Header(_) | Place::Entry(_) => {
                    let is_timestamp = self.timestamp.as_ref() == Some(place);
                    self.signed.contains(&Part::At(place.clone()))
                        || is_timestamp && self.signed.contains(&Part::Timestamp)
                }
            })
    }

    fn verify_header(
        &self,
        header: &str,
        keys: &[Key],
        settings: &Settings,
        sent: &Sent<'_>,
    ) -> Result<String, Unverified> {
        let signatures = self.signatures(header)?;
        let entries = match self.separator {
            Some(separator) if !self.bare && !self.tag.is_empty() => {
                template::entries(header, separator, self.delimiter())?
            }
            Some(_) | None => Vec::new(),
        };
        let timestamp = match self.timestamp.as_ref().map(|place| place.find(sent, &entries)) {
            Some(Ok(Cow::Borrowed(text))) => Some(text),
            // A time in the body is signed with the body, and read afterwards.
            Some(Ok(Cow::Owned(_))) | None => None,
            Some(Err(fault)) => return Err(fault),
        };
        if let Some(text) = timestamp {
            self.unit.read(text)?;
        }
        let parts = self.parts(sent, settings, timestamp, &entries)?;
        let parts: Vec<&[u8]> = parts.iter().map(AsRef::as_ref).collect();
        matching(keys, &parts, &signatures)
    }

    fn parts<'s>(
        &'s self,
        sent: &Sent<'s>,
        settings: &'s Settings,
        timestamp: Option<&'s str>,
        entries: &[(&str, &'s str)],
    ) -> Result<Vec<Cow<'s, [u8]>>, Unverified> {
        let public_url = settings.public_url.as_deref();
        self.signed.iter().map(|part| part.bytes(sent, timestamp, public_url, entries)).collect()
    }

    /// The signatures in a header; there is at least one.
    fn signatures(&self, header: &str) -> Result<Vec<Signature>, Unverified> {
        let bytes = self.algorithm.signature_bytes();
        let mut signatures = Vec::new();
        let mut tried = 0;
        // No signature contains a comma: somebody has joined several headers.
        let joined = self.separator != Some(',') && self.encoding != Encoding::Text;
        if joined && header.contains(',') {
            return Err(Unverified::Ambiguous);
        }
        let entries: Vec<&str> = match self.separator {
            Some(separator) => header.split(separator).map(|text| text.trim_matches(' ')).collect(),
            None => vec![header],
        };
        if entries.len() > ENTRIES_MAX {
            return Err(Unverified::Malformed);
        }
        for (at, entry) in entries.iter().enumerate() {
            // What joins repeated headers would make a list of them.
            if entries[..at].contains(entry) {
                return Err(Unverified::Ambiguous);
            }
            let text = match entry.strip_prefix(self.tag.as_str()) {
                Some(text) => text,
                None if self.bare => entry,
                // An entry of another kind.
                None if self.separator.is_some() && entry.contains(self.delimiter()) => continue,
                None => return Err(Unverified::Malformed),
            };
            tried += 1;
            if tried > SIGNATURES_MAX {
                break;
            }
            let decoded = template::decoded(self.encoding, text, bytes);
            if decoded.is_none() && (self.bare || self.tag.is_empty()) {
                return Err(Unverified::Malformed);
            }
            signatures.extend(decoded.map(Signature::new));
        }
        if signatures.is_empty() { Err(Unverified::Malformed) } else { Ok(signatures) }
    }

    /// The entries beside the signature in its header.
    fn entries<'s>(&self, sent: &Sent<'s>) -> Result<Vec<(&'s str, &'s str)>, Unverified> {
        let Some(separator) = self.separator.filter(|_| !self.bare && !self.tag.is_empty()) else {
            return Ok(Vec::new());
        };
        let header = self.headers.iter().find_map(|name| sent.headers.only(name).ok());
        template::entries(header.ok_or(Unverified::Missing)?, separator, self.delimiter())
    }

    /// What divides a tag from its value.
    fn delimiter(&self) -> char {
        self.tag.chars().last().unwrap_or('=')
    }
}

impl Algorithm {
    /// How long its signatures are, if they are all equally long.
    fn signature_bytes(self) -> Option<usize> {
        match self {
            Self::HmacSha1 => Some(20),
            Self::HmacSha256 | Self::Sha256 => Some(32),
            Self::HmacSha512 | Self::Ed25519 => Some(64),
            Self::EcdsaP256 | Self::RsaSha256 | Self::RsaSha1 | Self::Token => None,
        }
    }
}

fn is_header(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// How far a timestamp may be from now where nothing else is said.
pub const TOLERANCE: Duration = Duration::from_secs(300);

//! A scheme written as data: how most senders sign, and how a configuration can say that another one does.

mod division;
mod verify;

use division::Division;

use std::time::Duration;

use super::encoding::{Encoding, KeyEncoding};
use super::key::Algorithm;
use super::template::{self, Part, Place};
use super::time::Unit;
use crate::outline::Path;

/// How many entries of a header are looked at, signatures and others.
pub(super) const ENTRIES_MAX: usize = 32;

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
    template: String,
    signed: Vec<Part>,
    division: Division,
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
        let signed = Part::parse_all(written.signed)?;
        let timestamp = place(written.timestamp)?;
        let division = Division::of(&signed, timestamp.as_ref(), written.signed)?;
        let recipe = Self {
            headers,
            every: written.every,
            separator: written.separator,
            tag: written.tag.to_owned(),
            bare: written.bare,
            encoding: written.encoding,
            algorithm: written.algorithm,
            key: written.key,
            template: written.signed.to_owned(),
            signed,
            division,
            timestamp,
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

    /// Whether that time stands in the body.
    pub(super) fn is_dated_in_body(&self) -> bool {
        matches!(self.timestamp, Some(Place::Json(_)))
    }

    /// Where it looks in a body.
    pub(super) fn paths(&self) -> impl Iterator<Item = Path> {
        let said = self.ids.iter().chain(&self.types).flatten();
        said.chain(&self.timestamp).filter_map(Place::path)
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

    /// The headers that it reads: those of verification, and those that may have an id or a type.
    pub(super) fn read_headers(&self) -> Vec<&str> {
        let places = self.ids.iter().chain(&self.types).flatten();
        self.verified_headers().into_iter().chain(places.filter_map(Place::header)).collect()
    }

    /// Whether the signature covers the body.
    pub fn covers_body(&self) -> bool {
        self.algorithm != Algorithm::Token && self.signed.contains(&Part::Body)
    }

    /// The template of what is signed, if nothing divides some of its values from each other:
    /// those do not count as signed.
    pub(crate) fn undivided(&self) -> Option<&str> {
        self.division.is_ambiguous().then_some(self.template.as_str())
    }

    /// Why only bodies that are JSON can be accepted, if that is so. One JSON object or array with nothing after it
    /// is neither the beginning nor the end of another one.
    pub(crate) fn takes_json_only(&self) -> Option<&'static str> {
        // What follows the body, or comes before it, could pass for a part of it.
        let is_open = |part: &Part| matches!(part, Part::At(_) | Part::Url | Part::Uri);
        match self.algorithm {
            Algorithm::Sha256 => Some(
                "anybody who has seen one signed body can add to its end without the secret; \
                 take the line away, or use hash = \"sha256\"",
            ),
            Algorithm::Token => None,
            _ if self.signed.iter().any(is_open) => Some(
                "`signed` has parts of any length beside {body}, so that a part of one could pass for the other; \
                 take the line away",
            ),
            _ => None,
        }
    }

    /// Where ids and types may stand, and whether the signature covers the place.
    pub fn ids(&self) -> impl Iterator<Item = (&[Place], bool)> {
        self.ids.iter().map(|places| (places.as_slice(), self.covers(places)))
    }

    /// Whether a header has the id, and whether the body has it.
    pub(super) fn id_places(&self) -> (bool, bool) {
        let places = || self.ids.iter().flatten();
        let first = self.ids.first().and_then(|places| places.first());
        let in_body = places().any(|place| matches!(place, Place::Json(_)));
        (matches!(first, Some(Place::Header(_))), in_body)
    }

    /// Like [`Recipe::ids`], for the types of events.
    pub fn types(&self) -> impl Iterator<Item = (&[Place], bool)> {
        self.types.iter().map(|places| (places.as_slice(), self.covers(places)))
    }

    fn checked(self) -> Result<Self, String> {
        let token = self.algorithm == Algorithm::Token;
        let covers = |wanted: &Part| self.signed.contains(wanted);
        // It would be in the history as an id or a type.
        let is_proof = |place: &Place| match place {
            Place::Header(name) => {
                self.headers.contains(name) || CREDENTIALS.contains(&name.as_str())
            }
            Place::Entry(name) => self.tag.strip_suffix(self.delimiter()) == Some(name),
            Place::Json(_) => false,
        };
        if self.ids.iter().chain(&self.types).flatten().any(is_proof) {
            return Err(
                "no id or type can be in a header that holds a signature or a secret".into()
            );
        }
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
            // The time would be one header's and the signature another's.
            Some(Place::Entry(_)) if self.headers.len() > 1 => {
                Err("a timestamp in an entry allows only one `header`".into())
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
                    let is_signed = |(at, part): (usize, &Part)| {
                        matches!(part, Part::At(found) if found == place)
                            && self.division.divides(at)
                    };
                    self.signed.iter().enumerate().any(is_signed)
                        || is_timestamp && self.signed.contains(&Part::Timestamp)
                }
            })
    }
}

fn is_header(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// Headers that hold nothing but credentials.
const CREDENTIALS: [&str; 3] = ["authorization", "proxy-authorization", "cookie"];

/// How far a timestamp may be from now where nothing else is said.
pub const TOLERANCE: Duration = Duration::from_secs(300);

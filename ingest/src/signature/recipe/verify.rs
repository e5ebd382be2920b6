//! Verifying and signing as a recipe says.

use std::borrow::Cow;

use everhook_journal::event::IdOrigin;

use super::{ENTRIES_MAX, Recipe};
use crate::outline::Outline;
use crate::request::{HeaderFault, Headers};
use crate::signature::encoding::Encoding;
use crate::signature::key::{Algorithm, Key, Signature};
use crate::signature::template::{self, Place};
use crate::signature::time;
use crate::signature::{Claims, SIGNATURES_MAX, Sent, Settings, Unverified, matching};

/// The header whose signature fits. Only verification makes one, and entries are read from nothing else:
/// a second header could have a forged id beside a genuine signature in the first.
pub(in crate::signature) struct Fitting<'s> {
    /// The reference of the secret that matched.
    pub(in crate::signature) secret: String,
    value: &'s str,
}

impl Recipe {
    pub(in crate::signature) fn verify<'s>(
        &self,
        keys: &[Key],
        settings: &Settings,
        sent: &Sent<'s>,
    ) -> Result<Fitting<'s>, Unverified> {
        for (name, value) in &self.requires {
            if sent.headers.only(name)? != value {
                return Err(Unverified::Malformed);
            }
        }
        let mut matched: Result<Fitting<'s>, _> = Err(Unverified::Missing);
        for name in &self.headers {
            let header = match sent.headers.only(name) {
                Ok(header) => header,
                Err(HeaderFault::Missing) => continue,
                Err(fault) => return Err(fault.into()),
            };
            let found = self.verify_header(header, keys, settings, sent);
            let found = found.map(|secret| Fitting { secret, value: header });
            if self.every {
                matched = matched.or(Ok(found?));
            } else if found.is_ok() || !matches!(matched, Err(Unverified::NoMatch)) {
                matched = matched.or(found);
            }
        }
        matched
    }

    /// Refuses a request whose time is too far from now. To be called after its signature was found right:
    /// a stale answer then says nothing about unsigned requests.
    pub(in crate::signature) fn check_time(
        &self,
        settings: &Settings,
        sent: &Sent<'_>,
        fitting: &Fitting<'_>,
        outline: Option<&Outline>,
    ) -> Result<(), Unverified> {
        if let (Some(place), Some(tolerance)) = (&self.timestamp, settings.tolerance) {
            let entries = self.entries(fitting.value);
            let sent_at = self.unit.read(&place.find(sent, &entries, outline)?)?;
            time::check(sent_at, sent.now, tolerance)?;
        }
        Ok(())
    }

    /// The header whose signature fits, if ids or types may be in its entries.
    pub(in crate::signature) fn kept(&self, fitting: &Fitting<'_>) -> Option<String> {
        let mut places = self.ids.iter().chain(&self.types).flatten();
        let reads_entries = places.any(|place| matches!(place, Place::Entry(_)));
        reads_entries.then(|| fitting.value.to_owned())
    }

    /// What a request says of itself. `header` is the one whose signature fits:
    /// without it there are no entries to read.
    pub(in crate::signature) fn claims(
        &self,
        secret: Option<String>,
        header: Option<&str>,
        sent: &Sent<'_>,
        outline: &Outline,
    ) -> Claims {
        let entries = header.map(|header| self.entries(header)).unwrap_or_default();
        let origin =
            |places| if self.covers(places) { IdOrigin::Signed } else { IdOrigin::Unsigned };
        let id = template::first(&self.ids, sent, &entries, outline);
        let event_type = template::first(&self.types, sent, &entries, outline);
        let is_beside = |places: &[Place]| !places.iter().all(|it| matches!(it, Place::Json(_)));
        let beside = event_type.iter().filter(|(_, places)| is_beside(places));
        Claims {
            secret,
            delivery_id: id.map(|(id, places)| (id, origin(places))),
            beside: beside.map(|(text, _)| text.clone()).collect(),
            event_type: event_type.map(|(text, _)| text),
            ..Claims::default()
        }
    }

    /// The headers with which a sender would send a body, as far as they are headers.
    pub(in crate::signature) fn sign(
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
        let with_headers = Headers::from_pairs(&headers);
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

    fn verify_header(
        &self,
        header: &str,
        keys: &[Key],
        settings: &Settings,
        sent: &Sent<'_>,
    ) -> Result<String, Unverified> {
        let signatures = self.signatures(header)?;
        let entries = self.entries(header);
        let timestamp = match &self.timestamp {
            Some(place @ (Place::Header(_) | Place::Entry(_))) => {
                place.find(sent, &entries, None)?
            }
            // A time in the body is signed with the body, and read afterwards.
            Some(Place::Json(_)) | None => Cow::Borrowed(""),
        };
        let timestamp = match timestamp {
            Cow::Borrowed("") | Cow::Owned(_) => None,
            Cow::Borrowed(text) => Some(text),
        };
        if let Some(text) = timestamp {
            self.unit.read(text)?;
        }
        let parts = self.parts(sent, settings, timestamp, &entries)?;
        let bytes: Vec<&[u8]> = parts.iter().map(AsRef::as_ref).collect();
        let secret = matching(keys, &bytes, &signatures)?;
        // Afterwards, so that the log says it only of what the sender has signed.
        self.division.check(&parts, self.unit, settings, sent)?;
        Ok(secret)
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

    /// The signatures in a header; there is at least one. In a list, what is no signature is passed over:
    /// it proves nothing, and the sender may mean something by it.
    fn signatures(&self, header: &str) -> Result<Vec<Signature>, Unverified> {
        // No signature contains a comma: somebody has joined several headers.
        let joined = self.separator != Some(',') && self.encoding != Encoding::Text;
        if joined && header.contains(',') {
            return Err(Unverified::Ambiguous);
        }
        let entries: Vec<&str> = match self.separator {
            Some(separator) => header.split(separator).map(template::trimmed).collect(),
            None => vec![header],
        };
        let bytes = self.algorithm.signature_bytes();
        let decoded = |entry: &str| {
            let text = entry.strip_prefix(self.tag.as_str()).or(self.bare.then_some(entry))?;
            template::decoded(self.encoding, text, bytes)
        };
        let signatures = entries.into_iter().take(ENTRIES_MAX).filter_map(decoded);
        let signatures: Vec<_> = signatures.take(SIGNATURES_MAX).map(Signature::new).collect();
        if signatures.is_empty() { Err(Unverified::Malformed) } else { Ok(signatures) }
    }

    /// The entries beside the signature in this header.
    fn entries<'s>(&self, header: &'s str) -> Vec<(&'s str, &'s str)> {
        match self.separator {
            Some(separator) if !self.bare && !self.tag.is_empty() => {
                template::entries(header, separator, self.delimiter())
            }
            Some(_) | None => Vec::new(),
        }
    }

    /// What divides a tag from its value.
    pub(super) fn delimiter(&self) -> char {
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

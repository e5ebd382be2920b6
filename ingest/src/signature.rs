//! Whether a request's exact bytes come from who it says they do. No clock and no network in here.
//!
//! - [`mod@preset`]: the senders we know, one table
//! - [`recipe`], [`template`]: schemes written as data, theirs and yours
//! - `standard_webhooks`, `twilio`, …: the schemes that need code of their own
//! - [`key`]: keys, and the only comparison of signatures
//! - [`encoding`], [`time`]: what is written in headers

mod adyen_item;
mod certificate;
mod claims;
mod custom;
pub mod encoding;
pub mod key;
mod mailgun;
mod members;
mod monday;
mod msgraph;
mod paypal;
pub mod preset;
pub mod recipe;
mod sns;
mod standard_webhooks;
pub mod template;
pub mod time;
mod twilio;
mod url;
mod verified;

use std::time::Duration;

use bytes::Bytes;
use everhook_journal::Timestamp;
use everhook_journal::event::Covers;

use crate::outline::{Outline, Path, Wanted};
use crate::request::{HeaderFault, Headers};
use everhook_journal::secret::Secret;

pub use certificate::Served;
pub use claims::Claims;
pub use custom::Custom;
pub use key::{Algorithm, Key, Signature};
pub use preset::{PRESETS, Preset, preset};
pub use recipe::{Recipe, TOLERANCE, Written};
pub(crate) use sns::{SUBSCRIBES, is_topic, subscribe_url};
pub use verified::{Authentic, Verified};

use claims::Unread;
use preset::Way;
use template::Place;

/// How many signatures of one request are tried.
pub const SIGNATURES_MAX: usize = 8;

/// A request as it was sent, and what is known beside it.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a> {
    /// The method.
    pub method: &'a str,
    /// The query, as sent.
    pub query: &'a str,
    /// The headers.
    pub headers: &'a Headers,
    /// The body, byte for byte.
    pub body: &'a Bytes,
    /// When it is looked at.
    pub now: Timestamp,
    /// The certificate that [`Scheme::certificate`] asked for, in PEM.
    pub certificate: Option<&'a [u8]>,
}

/// What a source says beside the name of its scheme.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// How far a timestamp may be from now; `None` if it does not matter.
    pub tolerance: Option<Duration>,
    /// The URL under which the sender knows us.
    pub public_url: Option<String>,
    /// PayPal's id of the webhook.
    pub webhook_id: Option<String>,
    /// The topics of SNS that may send; `None` if all may.
    pub topics: Option<Vec<String>>,
    /// What a handshake must know.
    pub verify_token: Option<Key>,
    /// Whether a byte order mark may come before the JSON of a body.
    pub skips_bom: bool,
}

/// How a source's webhooks are verified.
#[derive(Debug, Clone)]
pub struct Scheme {
    preset: &'static Preset,
    verifier: Verifier,
    keys: Vec<Key>,
    settings: Settings,
    wanted: Wanted,
    /// Where a body has a time or a counter of its own.
    dated: Vec<Vec<Place>>,
}

#[derive(Debug, Clone)]
enum Verifier {
    Recipe(Box<Recipe>),
    Custom(Custom, Unread),
    /// Nothing is verified; the recipe says where ids and types stand.
    Open(Box<Recipe>),
}

/// Why a request is not verified. For the log: the sender learns only that it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    /// Something that the scheme needs is missing.
    #[error("a signature header is missing")]
    Missing,
    /// A header that the scheme needs occurs twice or is not text.
    #[error("a signature header is ambiguous")]
    Ambiguous,
    /// A header or the body is not of the scheme's form.
    #[error("a signature header is malformed")]
    Malformed,
    /// The signed text could also be that of other values.
    #[error(
        "the signed text can be divided in more than one way: a value contains what divides it from the next one"
    )]
    Divisible,
    /// The time in the request is too far from now.
    #[error("the timestamp is outside the tolerance")]
    Stale,
    /// The certificate is not the sender's, or not valid now.
    #[error("there is no valid certificate of the sender")]
    Certificate,
    /// The certificate could not be fetched: nobody can say now whether the request is the sender's.
    #[error("the sender's certificate cannot be fetched now")]
    Unreachable,
    /// No secret gives this signature for these bytes.
    #[error("no secret matches")]
    NoMatch,
}

impl From<HeaderFault> for Unverified {
    fn from(fault: HeaderFault) -> Self {
        match fault {
            HeaderFault::Missing => Self::Missing,
            HeaderFault::Ambiguous => Self::Ambiguous,
        }
    }
}

impl Scheme {
    /// The scheme of a preset with these secrets, the newest first. Its error says what is wrong.
    pub fn new(
        preset: &'static Preset,
        secrets: &[Secret],
        settings: Settings,
    ) -> Result<Self, String> {
        let verifier = match &preset.way {
            Way::Recipe(written) => Verifier::Recipe(Box::new(Recipe::parse(written)?)),
            Way::Custom(custom, described) => {
                Verifier::Custom(*custom, Unread::of(*custom, described)?)
            }
            Way::Open(written) => Verifier::Open(Box::new(Recipe::parse(written)?)),
        };
        Self::of(preset, verifier, secrets, settings)
    }

    /// The same, with a list of signatures divided by commas in this header.
    pub fn list_in(
        preset: &'static Preset,
        header: &str,
        secrets: &[Secret],
        settings: Settings,
    ) -> Result<Self, String> {
        match &preset.way {
            Way::Recipe(written) => {
                let written = Written { headers: &[header], separator: Some(','), ..*written };
                Self::with_recipe(preset, Recipe::parse(&written)?, secrets, settings)
            }
            Way::Custom(..) | Way::Open(_) => Err(format!("{} has no such list", preset.name)),
        }
    }

    /// The same with another recipe than the preset's.
    pub fn with_recipe(
        preset: &'static Preset,
        recipe: Recipe,
        secrets: &[Secret],
        settings: Settings,
    ) -> Result<Self, String> {
        let verifier = match &preset.way {
            Way::Recipe(_) | Way::Custom(..) => Verifier::Recipe(Box::new(recipe)),
            Way::Open(_) => Verifier::Open(Box::new(recipe)),
        };
        Self::of(preset, verifier, secrets, settings)
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &'static str {
        self.preset.name
    }

    /// What is known of its sender.
    pub fn preset(&self) -> &'static Preset {
        self.preset
    }

    /// What its source says beside its name.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Its keys, the newest first.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Also looks for the list of events in each body.
    pub fn with_list(mut self, list: Path) -> Self {
        self.wanted.list = Some(list);
        self
    }

    /// Verifies the exact bytes of a request, before anything in them is believed.
    pub fn verify(&self, sent: &Sent<'_>) -> Result<Verified, Unverified> {
        match &self.verifier {
            Verifier::Recipe(recipe) => {
                let fitting = recipe.verify(&self.keys, &self.settings, sent)?;
                let body = self.document(sent.body);
                let outline = recipe.is_dated_in_body().then(|| Outline::of(&body, &self.wanted));
                recipe.check_time(&self.settings, sent, &fitting, outline.as_ref())?;
                let header = recipe.kept(&fitting);
                let claims = Claims { secret: Some(fitting.secret), ..Claims::default() };
                let covers = (!recipe.covers_body()).then_some(Covers::Nothing);
                Ok(Verified::new(body, covers, claims).with_header(header).with_outline(outline))
            }
            Verifier::Custom(custom, _) => custom.verify(self, sent),
            Verifier::Open(_) => {
                let body = self.document(sent.body);
                Ok(Verified::new(body, Some(Covers::Nothing), Claims::default()))
            }
        }
    }

    /// What is in a body, at the places that its sender uses. It says nothing about who sent it.
    pub fn outline(&self, body: &Bytes) -> Outline {
        Outline::of(&self.document(body), &self.wanted)
    }

    /// Reads a verified request: what it says of itself, and what is in its body. The body is parsed once.
    pub fn read(&self, verified: Verified, sent: &Sent<'_>) -> Authentic {
        let claims = |claims: Claims, header: Option<&str>, outline: &Outline| {
            let mut claims = match &self.verifier {
                Verifier::Recipe(recipe) | Verifier::Open(recipe) => {
                    recipe.claims(claims.secret, header, sent, outline)
                }
                Verifier::Custom(_, unread) => unread.complete(claims, sent, outline),
            };
            let header = |name: &&str| sent.headers.id(name).unwrap_or_default();
            claims.beside.extend(self.preset.identity().beside.iter().map(header));
            claims.is_dated = template::first(&self.dated, sent, &[], outline).is_some();
            claims
        };
        verified.read(|body| Outline::of(body, &self.wanted), claims)
    }

    /// What steps see of a body: all of it, unless its source says that a byte order mark is none of it.
    fn document(&self, body: &Bytes) -> Bytes {
        const BOM: &[u8] = b"\xef\xbb\xbf";
        match self.settings.skips_bom && body.starts_with(BOM) {
            true => body.slice(BOM.len()..),
            false => body.clone(),
        }
    }

    /// Whether the signature covers a place at which it finds an id.
    pub(crate) fn signs_ids(&self) -> bool {
        match &self.verifier {
            Verifier::Recipe(recipe) => recipe.ids().any(|(_, is_signed)| is_signed),
            Verifier::Custom(..) => match &self.preset.way {
                Way::Custom(_, described) => described.id_signed,
                Way::Recipe(_) | Way::Open(_) => false,
            },
            Verifier::Open(_) => false,
        }
    }

    /// The template of what is signed, if nothing divides some of its values from each other.
    pub(crate) fn undivided(&self) -> Option<&str> {
        match &self.verifier {
            Verifier::Recipe(recipe) => recipe.undivided(),
            Verifier::Custom(..) | Verifier::Open(_) => None,
        }
    }

    /// Whether the signature covers what is in the body.
    pub(crate) fn signs_body(&self) -> bool {
        match &self.verifier {
            Verifier::Recipe(recipe) => recipe.covers_body(),
            Verifier::Custom(custom, _) => custom.signs_body(),
            Verifier::Open(_) => false,
        }
    }

    /// What a request that may be anybody's says that its delivery's id is, for the log.
    pub(crate) fn said_id(&self, sent: &Sent<'_>) -> Option<String> {
        let (recipe, described) = match (&self.verifier, &self.preset.way) {
            (Verifier::Recipe(recipe) | Verifier::Open(recipe), _) => (Some(recipe), ""),
            (Verifier::Custom(..), Way::Custom(_, described)) => (None, described.id),
            (Verifier::Custom(..), Way::Recipe(_) | Way::Open(_)) => (None, ""),
        };
        if let Some(recipe) = recipe {
            let header = recipe.headers().iter().find_map(|name| sent.headers.first(name));
            let claims = recipe.claims(None, header, sent, &self.outline(sent.body));
            return claims.delivery_id.map(|(id, _)| id);
        }
        let places = template::places(described).ok()?;
        let headers = places.iter().flatten().filter_map(template::Place::header);
        headers.filter_map(|name| sent.headers.first(name)).next().map(str::to_owned)
    }

    /// Whether somebody knows the token that handshakes need.
    pub(crate) fn knows_token(&self, token: &str) -> bool {
        let token = Signature::new(token.as_bytes().to_vec());
        self.settings.verify_token.as_ref().is_some_and(|key| key.fits(&[], &token))
    }

    /// The headers that prove a request: signatures, tokens and passwords. None of them is ever kept.
    pub fn proofs(&self) -> Vec<&str> {
        match &self.verifier {
            Verifier::Recipe(recipe) | Verifier::Open(recipe) => {
                recipe.headers().iter().map(String::as_str).collect()
            }
            Verifier::Custom(custom, _) => custom.proofs().to_vec(),
        }
    }

    /// The headers that it reads: what is signed, when, and what names the delivery and its type.
    /// Senders whose schemes need code of their own name these headers after themselves.
    pub(crate) fn reads(&self) -> Vec<&str> {
        match &self.verifier {
            Verifier::Recipe(recipe) | Verifier::Open(recipe) => recipe.read_headers(),
            Verifier::Custom(..) => Vec::new(),
        }
    }

    /// The certificate that verifying this request takes, at an address of the sender's own,
    /// whatever the request says. A request that no certificate could prove is refused at once.
    pub fn certificate(&self, sent: &Sent<'_>) -> Result<Option<Served>, Unverified> {
        match &self.verifier {
            Verifier::Custom(custom, _) => custom.certificate(self, sent),
            Verifier::Recipe(_) | Verifier::Open(_) => Ok(None),
        }
    }

    /// Why only bodies that are JSON can be accepted, if that is so: others could be made of verified ones.
    pub(crate) fn takes_json_only(&self) -> Option<&'static str> {
        match &self.verifier {
            Verifier::Recipe(recipe) => recipe.takes_json_only(),
            Verifier::Custom(..) | Verifier::Open(_) => None,
        }
    }

    /// Whether its secrets are enough to sign as its sender would, in headers.
    pub fn can_sign(&self) -> bool {
        let symmetric = self.keys.iter().take(1).all(|key| !key.algorithm().is_asymmetric());
        match &self.verifier {
            Verifier::Recipe(_) => symmetric,
            Verifier::Custom(custom, _) => symmetric && custom.signs_in_headers(),
            Verifier::Open(_) => true,
        }
    }

    /// Where the delivery's id stands instead, if no header has it: in the body, or nowhere.
    /// `None` if a header has it, so that whoever sends can choose it.
    pub fn id_elsewhere(&self) -> Option<&'static str> {
        let (in_header, in_body) = match (&self.verifier, &self.preset.way) {
            (Verifier::Recipe(recipe) | Verifier::Open(recipe), _) => recipe.id_places(),
            (Verifier::Custom(..), Way::Custom(_, described)) => {
                (described.id.contains("header:"), described.id.contains("json:"))
            }
            (Verifier::Custom(..), Way::Recipe(_) | Way::Open(_)) => (false, false),
        };
        match (self.wanted.list.is_some(), in_header, in_body) {
            (true, _, _) => Some("in each event of the body"),
            (false, true, _) => None,
            (false, false, true) => Some("in the body"),
            (false, false, false) => Some("nowhere"),
        }
    }

    /// The query with which a sender would send this body.
    pub fn query(&self, body: &[u8]) -> String {
        match &self.verifier {
            Verifier::Custom(Custom::Twilio, _) => twilio::query(body),
            Verifier::Custom(..) | Verifier::Recipe(_) | Verifier::Open(_) => String::new(),
        }
    }

    /// The headers with which a sender would send this body, signed with the newest secret,
    /// with [`Scheme::query`]. A signature in the body or by a sender's private key is not among them.
    pub fn sign(
        &self,
        id: &str,
        event_type: Option<&str>,
        body: &[u8],
        now: Timestamp,
    ) -> Vec<(String, String)> {
        let (none, query) = (Headers::default(), self.query(body));
        let body = &Bytes::copy_from_slice(body);
        let sent =
            Sent { method: "POST", query: &query, headers: &none, body, now, certificate: None };
        match &self.verifier {
            Verifier::Recipe(recipe) => {
                recipe.sign(&self.keys, &self.settings, id, event_type, &sent)
            }
            Verifier::Open(recipe) => recipe.sign(&[], &self.settings, id, event_type, &sent),
            Verifier::Custom(custom, _) => custom.sign(self, id, event_type, &sent),
        }
    }

    fn of(
        preset: &'static Preset,
        verifier: Verifier,
        secrets: &[Secret],
        settings: Settings,
    ) -> Result<Self, String> {
        let key = |secret: &Secret| match &verifier {
            Verifier::Recipe(recipe) => {
                let bytes = recipe.key.decode(secret.expose())?;
                Key::of(secret.reference(), recipe.algorithm(), &bytes)
            }
            Verifier::Custom(custom, _) => custom.key(secret),
            Verifier::Open(_) => None,
        };
        let mut keys = Vec::new();
        // What was not read cannot be of a wrong form.
        let pretended = |secret: &Secret| secret.is_pretended() && key(secret).is_none();
        for secret in secrets.iter().filter(|secret| !pretended(secret)) {
            keys.push(key(secret).ok_or_else(|| {
                format!("{} is not a secret of this scheme: {}", secret.reference(), preset.secret)
            })?);
        }
        let mut paths: Vec<_> = match &verifier {
            Verifier::Recipe(recipe) | Verifier::Open(recipe) => recipe.paths().collect(),
            Verifier::Custom(_, unread) => unread.paths().collect(),
        };
        paths.extend(preset.handshake.paths().iter().map(|path| Path::dotted(path)));
        let dated = template::places(preset.identity().dated)?;
        paths.extend(dated.iter().flatten().filter_map(Place::path));
        let wanted = Wanted { paths, list: None };
        Ok(Self { preset, verifier, keys, settings, wanted, dated })
    }
}

/// The reference of the first key with which one of the signatures fits.
fn matching(keys: &[Key], parts: &[&[u8]], signatures: &[Signature]) -> Result<String, Unverified> {
    let fits = |key: &&Key| signatures.iter().any(|signature| key.fits(parts, signature));
    let key = keys.iter().find(fits).ok_or(Unverified::NoMatch)?;
    Ok(key.reference().to_owned())
}

#[cfg(test)]
mod tests;

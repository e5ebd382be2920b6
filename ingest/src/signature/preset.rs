//! The senders we know: one table for verification, handshakes and the documentation.

mod commerce;
mod developer;
mod generic;
pub mod identity;
mod messaging;
mod office;
mod page;
mod standard;

use super::Custom;
use super::recipe::{PLAIN, Written};
use crate::handshake::Handshake;
use crate::items::Items;

pub use identity::Identity;
pub use page::page;

/// A sender, and how it signs.
#[derive(Debug)]
pub struct Preset {
    /// Its name in the configuration.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// How it signs.
    pub way: Way,
    /// How far a signed timestamp may be from now if nothing is said, in seconds.
    pub tolerance_s: Option<u64>,
    /// What it asks before it sends.
    pub handshake: Handshake,
    /// Whether nothing that it sends is signed.
    pub weak: bool,
    /// Whether it also sends what is not JSON.
    pub forms: bool,
    /// Whether the configuration may say other headers and forms.
    pub adjustable: bool,
    /// What to give as its secret.
    pub secret: &'static str,
    /// Where the events of a request are, if it may have several.
    pub batch: Option<Batch>,
    /// Further lines of its configuration.
    pub lines: &'static [&'static str],
    /// The sender's own limits.
    pub limits: &'static str,
    /// What else one should know.
    pub note: &'static str,
}

/// Where the events of a request are, and what names each, as JSON Pointers.
#[derive(Debug)]
pub struct Batch {
    /// The list of events; empty if the body is the list.
    pub list: &'static str,
    /// What tells an event from all others.
    pub id: &'static [&'static str],
    /// Its type.
    pub event_type: &'static str,
}

/// How a sender signs.
#[derive(Debug)]
pub enum Way {
    /// As a recipe says.
    Recipe(Written<'static>),
    /// As code says; described for people.
    Custom(Custom, Described),
    /// Not at all; the recipe says where ids and types stand.
    Open(Written<'static>),
}

/// A scheme in code, in words.
#[derive(Debug)]
pub struct Described {
    /// Where the signature stands.
    pub signature: &'static str,
    /// What it covers.
    pub signed: &'static str,
    /// Where the delivery's id stands.
    pub id: &'static str,
    /// Whether the signature covers it.
    pub id_signed: bool,
    /// Where the type of event stands.
    pub event_type: &'static str,
    /// Whether the signature covers it.
    pub type_signed: bool,
}

impl Preset {
    /// Where the events of a request are, if it may have several.
    pub fn items(&self) -> Option<Items> {
        self.batch.as_ref().map(|batch| Items {
            list: batch.list.to_owned(),
            id: batch.id.iter().map(|pointer| (*pointer).to_owned()).collect(),
            event_type: Some(batch.event_type.to_owned()),
        })
    }

    /// Whether a certificate of the sender's proves it, which has to be fetched.
    pub fn is_proved_by_certificate(&self) -> bool {
        match &self.way {
            Way::Custom(custom, _) => custom.is_proved_by_certificate(),
            Way::Recipe(_) | Way::Open(_) => false,
        }
    }

    /// Whether its sources have secrets.
    pub fn takes_secrets(&self) -> bool {
        match &self.way {
            Way::Recipe(_) => true,
            Way::Custom(..) => !self.is_proved_by_certificate(),
            Way::Open(_) => false,
        }
    }
}

/// All presets, in the order of the documentation.
pub const PRESETS: &[&[Preset]] = &[
    standard::PRESETS,
    developer::PRESETS,
    commerce::PRESETS,
    messaging::PRESETS,
    office::PRESETS,
    generic::PRESETS,
];

/// The preset of this name.
pub fn preset(name: &str) -> Option<&'static Preset> {
    all().find(|preset| preset.name == name)
}

/// All presets.
pub fn all() -> impl Iterator<Item = &'static Preset> {
    PRESETS.iter().copied().flatten()
}

/// A preset that signs the body with HMAC-SHA256 and does nothing else.
const PRESET: Preset = Preset {
    name: "",
    title: "",
    way: Way::Recipe(PLAIN),
    tolerance_s: None,
    handshake: Handshake::None,
    weak: false,
    forms: false,
    adjustable: false,
    secret: "the signing secret that the sender shows",
    batch: None,
    lines: &[],
    limits: "",
    note: "",
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::recipe::Recipe;

    #[test]
    fn every_recipe_of_the_table_can_be_read_and_every_name_is_one() {
        let mut names = std::collections::BTreeSet::new();
        for preset in all() {
            assert!(names.insert(preset.name), "{} is there twice", preset.name);
            assert!(!preset.title.is_empty(), "{}", preset.name);
            match &preset.way {
                Way::Recipe(written) | Way::Open(written) => {
                    let recipe = Recipe::parse(written);
                    let dated = recipe.as_ref().map(Recipe::is_dated);
                    assert_eq!(dated, Ok(preset.tolerance_s.is_some()), "{}", preset.name);
                }
                Way::Custom(..) => {}
            }
        }
    }
}

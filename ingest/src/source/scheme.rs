//! How a source's section says what verifies its webhooks.

use std::time::Duration;

use everhook_journal::config::{Problem, Section, unknown_key};

use super::written;
use crate::signature::preset::{self, Way};
use crate::signature::{Algorithm, Custom, Key, Preset, Recipe, Scheme, Settings, TOLERANCE};
use everhook_journal::secret::{Secret, Secrets};

/// The widest tolerance for timestamps.
const TOLERANCE_MAX: Duration = Duration::from_secs(24 * 3600);

/// The preset that a section names.
pub(super) fn preset_of(section: &mut Section) -> Result<&'static Preset, Problem> {
    let scheme = section.text("scheme")?;
    let verify = section.text("verify")?;
    let name = match (scheme, verify.as_deref()) {
        (Some(scheme), None) => scheme,
        (None, Some("none")) => "none".to_owned(),
        (None, None) => {
            return Err(section.problem(
                "`scheme` is missing: the name of a sender (docs/sources.md lists them) or \"recipe\"; \
                 a source without verification says verify = \"none\"",
            ));
        }
        (_, Some(_)) => {
            return Err(section.problem("`verify` can only be \"none\", and only without `scheme`"));
        }
    };
    preset::preset(&name).ok_or_else(|| {
        let names: Vec<_> = preset::all().map(|preset| preset.name).collect();
        let message = unknown_key(&name, &names).replace("unknown key", "unknown scheme");
        section.problem_of("scheme", message)
    })
}

/// The scheme that a section describes.
pub(super) fn read(
    preset: &'static Preset,
    section: &mut Section,
    secrets: &Secrets,
) -> Result<Scheme, Problem> {
    let recipe = match &preset.way {
        Way::Recipe(_) if preset.name == "recipe" => Some(written::own(section)?),
        Way::Recipe(written) | Way::Open(written) if preset.adjustable => {
            Some(written::adjusted(written, section)?)
        }
        Way::Recipe(written) | Way::Open(written) => {
            Some(Recipe::parse(written).map_err(|error| section.problem(error))?)
        }
        Way::Custom(..) => None,
    };
    let found = found(preset, section, secrets)?;
    let settings = settings(preset, recipe.as_ref(), section, secrets)?;
    let scheme = match recipe {
        Some(recipe) => Scheme::with_recipe(preset, recipe, &found, settings),
        None => Scheme::new(preset, &found, settings),
    };
    scheme.map_err(|error| section.problem_of("secrets", error))
}

fn found(
    preset: &Preset,
    section: &mut Section,
    secrets: &Secrets,
) -> Result<Vec<Secret>, Problem> {
    if !preset.takes_secrets() {
        return Ok(Vec::new());
    }
    let references = section.texts("secrets")?;
    if references.is_empty() {
        let message = "`secrets` is missing: write secrets = [\"env:NAME\"], the newest first";
        return Err(section.problem(message));
    }
    let read = |reference: &String| {
        secrets.read(reference).map_err(|error| section.problem_of("secrets", error))
    };
    references.iter().map(read).collect()
}

fn settings(
    preset: &Preset,
    recipe: Option<&Recipe>,
    section: &mut Section,
    secrets: &Secrets,
) -> Result<Settings, Problem> {
    let usual = match (preset.tolerance_s, recipe) {
        (Some(seconds), _) => Some(Duration::from_secs(seconds)),
        (None, Some(recipe)) if recipe.is_dated() => Some(TOLERANCE),
        (None, _) => None,
    };
    let mut settings = Settings::default();
    if let Some(usual) = usual {
        let tolerance = section.duration("tolerance")?.unwrap_or(usual);
        if tolerance.is_zero() || tolerance > TOLERANCE_MAX.max(usual) {
            return Err(section.problem_of("tolerance", "`tolerance` must be between 1s and 24h"));
        }
        settings.tolerance = Some(tolerance);
    }
    let custom = match &preset.way {
        Way::Custom(custom, _) => Some(*custom),
        Way::Recipe(_) | Way::Open(_) => None,
    };
    if custom == Some(Custom::Twilio) || recipe.is_some_and(Recipe::needs_url) {
        settings.public_url = Some(public_url(section)?);
    }
    if custom == Some(Custom::PayPal) {
        settings.webhook_id = Some(section.required_text("webhook_id")?);
    }
    if custom == Some(Custom::Sns) {
        let topics = section.texts("topics")?;
        if topics.is_empty() {
            let message = "`topics` is missing: write topics = [\"arn:aws:sns:…\"]; \
                           anybody can have a topic that Amazon signs for";
            return Err(section.problem(message));
        }
        settings.topics = Some(topics);
    }
    settings.skips_bom = section.flag("skip_bom")?.unwrap_or(false);
    if preset.handshake == crate::handshake::Handshake::Meta
        && let Some(reference) = section.text("verify_token")?
    {
        let secret =
            secrets.read(&reference).map_err(|error| section.problem_of("verify_token", error))?;
        settings.verify_token = Key::of(&reference, Algorithm::Token, secret.expose());
    }
    Ok(settings)
}

fn public_url(section: &mut Section) -> Result<String, Problem> {
    let url = section.text("public_url")?.ok_or_else(|| {
        section.problem(
            "`public_url` is missing: the sender signs the URL that it was given, \
             such as \"https://hooks.example.com/webhook/name\"",
        )
    })?;
    let is_url = url.starts_with("https://") || url.starts_with("http://");
    if !is_url || url.contains(char::is_whitespace) {
        let message =
            "`public_url` must begin with https:// and be the URL that the sender was given";
        return Err(section.problem_of("public_url", message));
    }
    Ok(url)
}

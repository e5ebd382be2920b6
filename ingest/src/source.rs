//! The sources of `everhook.toml`: who may send, how it is proved, and which workflow it starts.

pub mod keys;
mod scheme;
mod slot;
mod written;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use everhook_journal::config::{Config, Problem, Section, SourceSection, nearest};
use everhook_journal::event::WorkflowRef;
use everhook_journal::{SourceName, Timestamp, Workflow};

use crate::items::Items;
use crate::request::{Headers, Rejected};
use crate::seen;
use crate::signature::preset::Way;
use crate::signature::{Preset, Scheme, Settings, is_topic, preset};
use everhook_journal::secret::{Secret, Secrets};

use slot::Slot;

/// The longest that equal bodies may count as one delivery.
const DEDUP_WINDOW_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// How much of an unknown name is compared with those of sources.
const NAME_CHARS_MAX: usize = 64;

/// All sources.
#[derive(Debug)]
pub struct Sources {
    by_name: HashMap<SourceName, Slot>,
    decoy: Arc<Source>,
    secrets: Secrets,
}

/// Somebody who sends webhooks.
#[derive(Debug, Clone)]
pub struct Source {
    /// How its webhooks are verified.
    pub scheme: Scheme,
    /// What its bodies must be.
    pub expect: Expect,
    /// What its sender writes into `Content-Encoding` although nothing is encoded.
    pub content_encoding: Option<String>,
    /// Whether its requests that are not verified are kept for a while.
    pub quarantine: bool,
    /// Where the events of a request are, if it may have several.
    pub items: Option<Items>,
    /// Whether a signed id alone names an event: another body under it is a redelivery.
    pub id_unique: bool,
    /// How long equal bodies without an id count as one delivery.
    pub dedup_window: Duration,
    /// Whether bodies are remembered whose ids are not signed, to flag those that come again under another id.
    pub remember_bodies: bool,
    /// The workflow they start.
    pub workflow: WorkflowRef,
    /// The longest that the workflow can take.
    pub longest: Duration,
}

/// What the bodies of a source must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// JSON of any shape; its workflow may ask for more.
    Json,
    /// Anything, also forms and nothing at all.
    Any,
}

impl Source {
    /// Refuses bodies that are encoded.
    pub(crate) fn reads(&self, headers: &Headers) -> Result<(), Rejected> {
        headers.plain(self.content_encoding.as_deref())
    }
}

impl Sources {
    /// Reads the configured sources and their secrets; collects all problems.
    pub fn from_config(config: &Config, secrets: &Secrets) -> Result<Self, Vec<Problem>> {
        let mut by_name = HashMap::new();
        let mut problems = Vec::new();
        for (name, source) in &config.sources {
            let workflow = &config.workflows[&source.workflow];
            match Slot::new(source.section.clone(), workflow, secrets) {
                Ok(slot) => {
                    warn_of_weakness(name, slot.current().scheme.preset());
                    for warning in doubts(name, source, secrets) {
                        tracing::warn!(source = %name, "{warning}");
                    }
                    by_name.insert(name.clone(), slot);
                }
                Err(problem) => problems.push(problem),
            }
        }
        let decoy = Arc::new(decoy());
        let secrets = secrets.clone();
        if problems.is_empty() { Ok(Self { by_name, decoy, secrets }) } else { Err(problems) }
    }

    /// What is not wrong, and most likely not meant either. Values are never shown.
    pub fn warnings(config: &Config, secrets: &Secrets) -> Vec<String> {
        let sources = config.sources.iter();
        sources.flat_map(|(name, source)| doubts(name, source, secrets)).collect()
    }

    /// Says when the secrets were fetched with which these sources were read.
    pub fn fetched_at(&self, at: Timestamp) {
        self.by_name.values().for_each(|slot| slot.fetched_at(at));
    }

    /// The source of this name. For an unknown one, one that nobody can sign for,
    /// so that the answer takes as long as a wrong signature's.
    pub fn find(&self, name: &SourceName) -> Arc<Source> {
        self.by_name.get(name).map_or_else(|| self.decoy.clone(), Slot::current)
    }

    /// The name, if a source has it.
    pub fn known(&self, name: &SourceName) -> Option<&str> {
        self.by_name.get_key_value(name).map(|(name, _)| name.as_str())
    }

    /// What a log says of a source that is not configured.
    pub(crate) fn unknown(&self, name: &SourceName) -> String {
        let shown = seen::shown(name.as_str());
        // The distance of two names takes the product of their lengths.
        let short: String = name.as_str().chars().take(NAME_CHARS_MAX).collect();
        let names = self.by_name.keys().map(SourceName::as_str);
        match nearest(&short, names) {
            Some(near) => format!("no source named \"{shown}\"; did you mean \"{near}\"?"),
            None => format!("no source named \"{shown}\"; `everhook sources` lists them"),
        }
    }

    /// Like [`Sources::find`]; secrets that AWS keeps are fetched again when they have become old.
    pub async fn fresh(&self, name: &SourceName, now: Timestamp) -> Arc<Source> {
        match self.by_name.get(name) {
            Some(slot) => slot.fresh(&self.secrets, now).await,
            None => self.decoy.clone(),
        }
    }

    /// The source with other secrets than the ones that were tried, if AWS keeps any:
    /// one may just have been changed. Asks at a bounded rate.
    pub async fn newer(
        &self,
        name: &SourceName,
        tried: &Arc<Source>,
        now: Timestamp,
    ) -> Option<Arc<Source>> {
        self.by_name.get(name)?.newer(tried, &self.secrets, now).await
    }

    /// The source with its secrets as AWS keeps them now, for whoever has just changed one.
    pub(crate) async fn asked(&self, name: &SourceName, now: Timestamp) -> Option<Arc<Source>> {
        Some(self.by_name.get(name)?.asked(&self.secrets, now).await)
    }

    /// The names of all sources.
    pub fn names(&self) -> Vec<SourceName> {
        let mut names: Vec<_> = self.by_name.keys().cloned().collect();
        names.sort();
        names
    }
}

/// The references to all secrets that a section names.
pub(crate) fn references(section: &Section) -> Vec<String> {
    let mut section = section.clone();
    let mut references = section.texts("secrets").unwrap_or_default();
    references.extend(section.text("verify_token").ok().flatten());
    references
}

fn read(mut section: Section, workflow: &Workflow, secrets: &Secrets) -> Result<Source, Problem> {
    let preset = scheme::preset_of(&mut section)?;
    let scheme = scheme::read(preset, &mut section, secrets)?;
    let expect = match section.text("expect")?.as_deref() {
        None if preset.forms => Expect::Any,
        None | Some("json") => Expect::Json,
        Some("any") => Expect::Any,
        Some(other) => {
            let message = format!("`expect` is \"json\" or \"any\", not \"{other}\"");
            return Err(section.problem(message));
        }
    };
    if expect == Expect::Any
        && let Some(why) = scheme.takes_json_only()
    {
        return Err(section.problem(format!("`expect = \"any\"` is not safe here: {why}")));
    }
    let content_encoding = content_encoding(&mut section)?;
    let own_items = match &preset.way {
        // The signature says which parts of a body are events.
        Way::Custom(custom, _) if custom.names_items() => None,
        Way::Custom(..) | Way::Recipe(_) | Way::Open(_) => items(&mut section)?,
    };
    let id_unique = id_unique(&mut section, &scheme, own_items.is_some())?;
    let dedup_window = dedup_window(&mut section, preset)?;
    // Harmless where ids are signed: there is nothing to remember there.
    let remember_bodies = section.flag("remember_bodies")?.unwrap_or(true);
    let items = own_items.or_else(|| preset.items());
    let quarantine = section.flag("quarantine")?.unwrap_or(false);
    if quarantine && matches!(preset.way, Way::Open(_)) {
        let message = "`quarantine` says nothing here: a source that verifies nothing refuses nothing; take it away";
        return Err(section.problem_of("quarantine", message));
    }
    let scheme = match &items {
        Some(items) => scheme.with_list(items.place()),
        None => scheme,
    };
    section.finish()?;
    Ok(Source {
        scheme,
        expect,
        content_encoding,
        quarantine,
        items,
        id_unique,
        dedup_window,
        remember_bodies,
        workflow: workflow.reference(),
        longest: workflow.longest(),
    })
}

/// `content_encoding = "utf-8"`: a word that is no encoding at all.
fn content_encoding(section: &mut Section) -> Result<Option<String>, Problem> {
    const ENCODINGS: [&str; 8] =
        ["gzip", "x-gzip", "compress", "x-compress", "deflate", "br", "zstd", "dcb"];
    let word = section.text("content_encoding")?;
    match &word {
        Some(word) if ENCODINGS.iter().any(|known| word.eq_ignore_ascii_case(known)) => {
            let message = format!(
                "`content_encoding` names what is no encoding, such as \"utf-8\": bodies in {word} are not decoded"
            );
            Err(section.problem_of("content_encoding", message))
        }
        Some(word)
            if word.is_empty()
                || !word.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',') =>
        {
            Err(section.problem_of("content_encoding", "`content_encoding` must be one word"))
        }
        _ => Ok(word),
    }
}

/// `id_unique = true`: as the sender's documentation says, unless the section says where the ids are.
fn id_unique(section: &mut Section, scheme: &Scheme, has_own_items: bool) -> Result<bool, Problem> {
    let is_signed = if has_own_items { scheme.signs_body() } else { scheme.signs_ids() };
    match section.flag("id_unique")? {
        Some(true) if !is_signed => {
            let undivided = scheme.undivided().filter(|_| !has_own_items);
            let why = undivided.map_or_else(String::new, |template| {
                format!(" (in `signed` = \"{template}\" nothing divides the id from the value beside it)")
            });
            Err(section.problem_of(
                "id_unique",
                format!(
                    "`id_unique = true` needs an id that the signature covers{why}: anybody who has seen a request \
                     could use the id of another one; remove it, or sign the id"
                ),
            ))
        }
        Some(is_unique) => Ok(is_unique),
        None => Ok(scheme.preset().identity().unique && !has_own_items),
    }
}

/// `dedup_window = "10m"`.
fn dedup_window(section: &mut Section, preset: &Preset) -> Result<Duration, Problem> {
    let usual = Duration::from_secs(preset.identity().window_s);
    let window = section.duration("dedup_window")?.unwrap_or(usual);
    if window > DEDUP_WINDOW_MAX {
        let message = "`dedup_window` must be between 0s and 30d";
        return Err(section.problem_of("dedup_window", message));
    }
    Ok(window)
}

/// `items = "/value"`, `item_id = ["/id"]`, `item_type = "/changeType"`.
fn items(section: &mut Section) -> Result<Option<Items>, Problem> {
    let (list, id, event_type) =
        (section.text("items")?, section.texts("item_id")?, section.text("item_type")?);
    let Some(list) = list else {
        return match id.is_empty() && event_type.is_none() {
            true => Ok(None),
            false => {
                Err(section.problem("`item_id` and `item_type` say something only with `items`"))
            }
        };
    };
    for pointer in [&list].into_iter().chain(&id).chain(&event_type) {
        if !(pointer.is_empty() || pointer.starts_with('/')) {
            let message =
                format!("`{pointer}` is no way into JSON: write \"/name\", or \"\" for the whole");
            return Err(section.problem(message));
        }
    }
    Ok(Some(Items { list, id, event_type }))
}

/// What is most likely not meant: secrets with blanks or line breaks at an end, and topics that no host proves.
fn doubts(name: &SourceName, source: &SourceSection, secrets: &Secrets) -> Vec<String> {
    let is_padded = |reference: &String| secrets.read(reference).is_ok_and(|read| read.is_padded());
    let padded = references(&source.section).into_iter().filter(is_padded).map(|reference| {
        format!(
            "source {name}: {reference} begins or ends with a blank or a line break; \
             if the sender's secret does not, no signature will match"
        )
    });
    let topics = source.section.clone().texts("topics").unwrap_or_default().into_iter();
    let topics = topics.filter(|topic| !is_topic(topic)).map(|topic| {
        format!(
            "source {name}: {topic} is no ARN of a topic (arn:aws:sns:REGION:ACCOUNT:NAME); \
             no message of it will be verified"
        )
    });
    padded.chain(topics).collect()
}

/// Says so if what a source accepts is not signed.
fn warn_of_weakness(name: &SourceName, preset: &Preset) {
    match &preset.way {
        Way::Open(_) => {
            tracing::warn!(source = %name, "source {name} accepts unverified webhooks");
        }
        Way::Recipe(_) | Way::Custom(..) if preset.weak => {
            let title = preset.title;
            tracing::warn!(
                source = %name,
                "source {name} is weak: nothing signs what it accepts ({title}); only TLS protects it"
            );
        }
        Way::Recipe(_) | Way::Custom(..) => {}
    }
}

/// A source that nobody can sign for.
fn decoy() -> Source {
    let mut random = [0u8; 32];
    getrandom::fill(&mut random).expect("the operating system gives random bytes");
    let secrets = [Secret::new("decoy", random)];
    let preset = preset("hmac-sha256").expect("the table has this scheme");
    let scheme = Scheme::new(preset, &secrets, Settings::default());
    let workflow = Workflow {
        name: everhook_journal::WorkflowName::new(""),
        steps: Vec::new(),
        on_failure: Vec::new(),
        timeout_ms: None,
    };
    Source {
        scheme: scheme.expect("the secret is not empty"),
        expect: Expect::Json,
        content_encoding: None,
        quarantine: false,
        items: None,
        id_unique: false,
        dedup_window: Duration::ZERO,
        remember_bodies: false,
        workflow: workflow.reference(),
        longest: Duration::ZERO,
    }
}

#[cfg(test)]
mod tests;

//! The sources of `everhook.toml`: who may send, how it is proved, and which workflow it starts.

pub mod keys;
mod scheme;
mod slot;
mod written;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use everhook_journal::config::{Config, Problem, Section, nearest};
use everhook_journal::event::WorkflowRef;
use everhook_journal::{SourceName, Timestamp, Workflow};

use crate::items::Items;
use crate::seen;
use crate::signature::preset::Way;
use crate::signature::{Preset, Scheme, Settings, preset};
use everhook_journal::secret::{Secret, Secrets};

use slot::Slot;

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
    /// Whether its requests that are not verified are kept for a while.
    pub quarantine: bool,
    /// Where the events of a request are, if it may have several.
    pub items: Option<Items>,
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
                    by_name.insert(name.clone(), slot);
                }
                Err(problem) => problems.push(problem),
            }
        }
        let decoy = Arc::new(decoy());
        let secrets = secrets.clone();
        if problems.is_empty() { Ok(Self { by_name, decoy, secrets }) } else { Err(problems) }
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
    let items = items(&mut section)?.or_else(|| preset.items());
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
        quarantine,
        items,
        workflow: workflow.reference(),
        longest: workflow.longest(),
    })
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
        quarantine: false,
        items: None,
        workflow: workflow.reference(),
        longest: Duration::ZERO,
    }
}

#[cfg(test)]
mod tests;

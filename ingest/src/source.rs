//! The sources of `everhook.toml`: who may send, how it is proved, and which workflow it starts.

mod slot;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use everhook_journal::config::{Config, Problem, Section, unknown_key};
use everhook_journal::event::WorkflowRef;
use everhook_journal::{SourceName, Timestamp, Workflow};

use crate::items::Items;
use crate::secret::{Secret, Secrets};
use crate::signature::{Github, HmacSha256, Key, Scheme, StandardWebhooks};
use crate::signature::{ID_HEADERS, SIGNATURE_HEADERS, TOLERANCE, TYPE_HEADERS};

use slot::Slot;

/// The names of all schemes.
pub const SCHEMES: [&str; 4] = ["github", "standard-webhooks", "hmac-sha256", "none"];

/// The widest tolerance for timestamps.
const TOLERANCE_MAX: Duration = Duration::from_secs(24 * 3600);

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
                    if let Scheme::None(_) = slot.current().scheme {
                        tracing::warn!(source = %name, "source {name} accepts unverified webhooks");
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

    /// The names of all sources.
    pub fn names(&self) -> Vec<SourceName> {
        let mut names: Vec<_> = self.by_name.keys().cloned().collect();
        names.sort();
        names
    }
}

fn read(mut section: Section, workflow: &Workflow, secrets: &Secrets) -> Result<Source, Problem> {
    let scheme = section.text("scheme")?;
    let verify = section.text("verify")?;
    let scheme = match (scheme, verify.as_deref()) {
        (Some(scheme), None) => scheme,
        (None, Some("none")) => "none".to_owned(),
        (None, None) => {
            let known = SCHEMES.join(", ");
            return Err(section.problem(format!(
                "`scheme` is missing: one of {known}; a source without verification says verify = \"none\""
            )));
        }
        (_, Some(_)) => {
            return Err(section.problem("`verify` can only be \"none\", and only without `scheme`"));
        }
    };
    let scheme = match scheme.as_str() {
        "github" => Scheme::Github(Github { keys: keys(&mut section, secrets, plain)? }),
        "standard-webhooks" => Scheme::StandardWebhooks(StandardWebhooks {
            keys: keys(&mut section, secrets, StandardWebhooks::key)?,
            tolerance: tolerance(&mut section)?,
        }),
        "hmac-sha256" => {
            let keys = keys(&mut section, secrets, plain)?;
            Scheme::HmacSha256(plain_scheme(&mut section, keys)?)
        }
        "none" => Scheme::None(plain_scheme(&mut section, Vec::new())?),
        other => {
            let message = unknown_key(other, &SCHEMES).replace("unknown key", "unknown scheme");
            return Err(section.problem(message));
        }
    };
    let expect = match section.text("expect")?.as_deref() {
        None | Some("json") => Expect::Json,
        Some("any") => Expect::Any,
        Some(other) => {
            let message = format!("`expect` is \"json\" or \"any\", not \"{other}\"");
            return Err(section.problem(message));
        }
    };
    let items = items(&mut section)?;
    if items.is_some() && expect == Expect::Any {
        return Err(section.problem("`items` needs JSON: take `expect = \"any\"` away"));
    }
    section.finish()?;
    Ok(Source {
        scheme,
        expect,
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

fn keys(
    section: &mut Section,
    secrets: &Secrets,
    key: impl Fn(&Secret) -> Option<Key>,
) -> Result<Vec<Key>, Problem> {
    let references = section.texts("secrets")?;
    if references.is_empty() {
        let message = "`secrets` is missing: write secrets = [\"env:NAME\"], the newest first";
        return Err(section.problem(message));
    }
    let mut keys = Vec::new();
    for reference in references {
        let secret = secrets.read(&reference).map_err(|error| section.problem(error))?;
        let key = key(&secret).ok_or_else(|| {
            section
                .problem(format!("{reference} is not a secret of this scheme (whsec_ and base64)"))
        })?;
        keys.push(key);
    }
    Ok(keys)
}

fn plain(secret: &Secret) -> Option<Key> {
    Key::new(secret, secret.expose())
}

fn tolerance(section: &mut Section) -> Result<Duration, Problem> {
    let tolerance = section.duration("tolerance")?.unwrap_or(TOLERANCE);
    if tolerance.is_zero() || tolerance > TOLERANCE_MAX {
        return Err(section.problem("`tolerance` must be between 1s and 24h"));
    }
    Ok(tolerance)
}

fn plain_scheme(section: &mut Section, keys: Vec<Key>) -> Result<HmacSha256, Problem> {
    let mut headers = |key: &'static str, usual: &[&str]| -> Result<Vec<String>, Problem> {
        Ok(match section.text(key)? {
            Some(header) => vec![header.to_ascii_lowercase()],
            None => usual.iter().map(|header| (*header).to_owned()).collect(),
        })
    };
    let id_headers = headers("id_header", &ID_HEADERS)?;
    let type_headers = headers("type_header", &TYPE_HEADERS)?;
    let signature_headers =
        if keys.is_empty() { Vec::new() } else { headers("header", &SIGNATURE_HEADERS)? };
    Ok(HmacSha256 { keys, signature_headers, id_headers, type_headers })
}

/// A source that nobody can sign for.
fn decoy() -> Source {
    let mut random = [0u8; 32];
    getrandom::fill(&mut random).expect("the operating system gives random bytes");
    let key = plain(&Secret::new("decoy", random)).expect("the key is not empty");
    let workflow = Workflow { name: everhook_journal::WorkflowName::new(""), steps: Vec::new() };
    let scheme = HmacSha256 {
        keys: vec![key],
        signature_headers: SIGNATURE_HEADERS.map(String::from).to_vec(),
        ..HmacSha256::default()
    };
    Source {
        scheme: Scheme::HmacSha256(scheme),
        expect: Expect::Json,
        items: None,
        workflow: workflow.reference(),
        longest: Duration::ZERO,
    }
}

//! What all worlds of a thread share: configurations, plans, secrets, what is sent.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use everhook_ingest::Sources;
use everhook_journal::Journal;
use everhook_journal::callback::Callbacks;
use everhook_journal::config::Config;
use everhook_journal::id::WorkflowHash;
use everhook_journal::{Secrets, SourceName, Workflow};
use everhook_processor::plan::Plan;
use everhook_processor::{Plans, Steps};
use tempfile::TempDir;

use crate::targets;

/// The workflows, and what some of them become while executions are under way.
const CONFIG: &str = include_str!("workflows.toml");

/// The sources. Each has a workflow of its own name, but for those that are about their ids.
pub(crate) const SOURCES: [&str; 18] = [
    "plain", "once", "attempt", "wait", "ask", "fork", "claims", "rescue", "long", "batch", "list",
    "beat", "late", "look", "poke", "shop", "hour", RACE,
];

/// The source whose answers race with their expiry, beside a long call.
pub(crate) const RACE: &str = "race";

/// The source whose webhooks kill the process that drives them. Only some worlds have it.
pub(crate) const KILLER: &str = "kill";

/// The source whose target hangs each time. Only some worlds have it.
pub(crate) const HANG: &str = "hang";

/// What all worlds share.
#[derive(Debug)]
pub(crate) struct Kit {
    /// The configuration before and after a new version of the workflows.
    pub(crate) configs: [Config; 2],
    pub(crate) secrets: Secrets,
    pub(crate) sources: Sources,
    pub(crate) callbacks: Callbacks,
    /// Each plan under its workflow's hash, which takes time to compute.
    plans: [Vec<(WorkflowHash, Arc<Plan>)>; 2],
    steps: Steps,
    /// Bytes that do not compress: a large body, as text.
    pub(crate) noise: String,
    _folder: TempDir,
}

thread_local! {
    static KIT: OnceCell<Rc<Kit>> = const { OnceCell::new() };
}

/// This thread's kit.
pub(crate) fn kit() -> Rc<Kit> {
    KIT.with(|kit| kit.get_or_init(|| Rc::new(Kit::new())).clone())
}

impl Kit {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["execution-key", "callback-key", "secret"] {
            let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
            std::fs::write(folder.path().join(name), secret).expect("a file in it");
        }
        let old = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
        std::fs::write(folder.path().join("old-secret"), old).expect("a file in it");
        let parse = |text: &str| {
            Config::parse(text, folder.path().to_owned()).expect("the simulation's configuration")
        };
        let before = parse(CONFIG);
        let kept = CONFIG.lines().filter(|line| !line.ends_with("# v1"));
        let after = parse(&kept.collect::<Vec<_>>().join("\n").replace("# v2: ", ""));
        let secrets = Secrets::new(folder.path().to_owned(), Some(folder.path().to_owned()));
        let steps = targets::steps();
        let plans = |config: &Config| {
            let plan = |workflow: &Workflow| {
                let plan = Plan::new(workflow.clone(), &steps).expect("a workflow that can be run");
                (workflow.hash(), Arc::new(plan))
            };
            config.workflows.values().map(plan).collect::<Vec<_>>()
        };
        let plans = [plans(&before), plans(&after)];
        let sources = Sources::from_config(&before, &secrets).expect("sources");
        let callbacks = Callbacks::from_config(&before, &secrets, "https://hooks.example.com");
        let mut dice = crate::dice::Dice::new(7);
        let noise: String =
            (0..48 * 1024).map(|_| char::from(b'!' + dice.below(90) as u8)).collect();
        let noise = noise.replace(['"', '\\'], "_");
        Self {
            configs: [before, after],
            sources,
            callbacks: callbacks.expect("callbacks"),
            secrets,
            plans,
            steps,
            noise,
            _folder: folder,
        }
    }

    /// The plans of one version over a world's journal.
    pub(crate) fn plans(&self, version: usize, journal: Journal) -> Plans {
        Plans::ready(journal, self.steps.clone(), self.plans[version].iter().cloned())
    }

    /// A workflow that an execution is pinned to.
    pub(crate) fn workflow(&self, hash: &WorkflowHash) -> Option<&Workflow> {
        let found = self.plans.iter().flatten().find(|(known, _)| known == hash);
        found.map(|(_, plan)| &plan.workflow)
    }

    /// What tells one event of a source from all others, as its sender means it: the id, if that is unique.
    pub(crate) fn event(&self, source: &str, id: &str, body_sha256: &str) -> String {
        let source = self.sources.find(&SourceName::new(source));
        match source.id_unique {
            true => id.to_owned(),
            false => format!("{id} with {}", &body_sha256[..8]),
        }
    }

    /// Whether a signed request of this source can be sent again under any id.
    pub(crate) fn is_signed_without_id(&self, source: &str) -> bool {
        let source = self.sources.find(&SourceName::new(source));
        !source.id_unique && source.scheme.name() == "github"
    }

    /// The headers with which a sender signs this.
    pub(crate) fn signed(
        &self,
        source: &str,
        id: &str,
        body: &[u8],
        now: everhook_journal::Timestamp,
    ) -> Vec<(String, String)> {
        let source = self.sources.find(&SourceName::new(source));
        source.scheme.sign(id, Some("push"), body, now)
    }
}

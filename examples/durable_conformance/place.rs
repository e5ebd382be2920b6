//! Where a step stands in its workflow, and what that is in the peer's terms.

use everhook_journal::config::PURE_KINDS;
use everhook_journal::execution::{BranchesState, Line, PATH_SEPARATOR, Stage, StepState};
use everhook_journal::workflow::{StepDefinition, Workflow};

/// The branch of a `parallel` that stands for a `try`: what fails in it is caught.
const TRY: &str = "try";

/// The step before a callback that makes it a wait for a callback: it hands the address out.
const SUBMIT: &str = "submit";

/// A step, and the branch of it that the way leads into.
#[derive(Debug)]
pub(crate) struct Level<'w> {
    pub(crate) step: &'w StepDefinition,
    pub(crate) path: String,
    pub(crate) branch: Option<String>,
}

/// What kind of operation a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The handler's own code: it leaves no event.
    Code,
    Step,
    Wait,
    Callback,
    WaitForCallback,
    WaitForCondition,
    Parallel,
    Map,
    /// A `try`: it leaves no event either.
    Try,
}

impl Kind {
    pub(crate) fn of(step: &StepDefinition) -> Self {
        match step.run.as_str() {
            run if PURE_KINDS.contains(&run) => Self::Code,
            "wait" => Self::Wait,
            "poll" => Self::WaitForCondition,
            "map" => Self::Map,
            "parallel" if step.branches.len() == 1 && step.branches[0].name.as_str() == TRY => {
                Self::Try
            }
            "parallel" => Self::Parallel,
            "callback" => match &*step.steps {
                [only] if only.name.as_str().starts_with(SUBMIT) => Self::WaitForCallback,
                _ => Self::Callback,
            },
            _ => Self::Step,
        }
    }
}

/// The steps on the way to a path, the outermost first.
pub(crate) fn levels<'w>(workflow: &'w Workflow, path: &str) -> Vec<Level<'w>> {
    let mut found = Vec::new();
    let mut parts = path.split(PATH_SEPARATOR);
    let mut steps: Vec<_> = workflow.steps.iter().chain(&workflow.on_failure).collect();
    let mut here = String::new();
    while let Some(name) = parts.next() {
        let Some(step) = steps.iter().find(|step| step.name.as_str() == name) else { break };
        let path = format!("{here}{name}");
        here = format!("{path}{PATH_SEPARATOR}");
        let branch = match step.run.as_str() {
            "parallel" | "map" => parts.next().map(str::to_owned),
            _ => None,
        };
        let inside = branch
            .as_ref()
            .and_then(|branch| step.branches.iter().find(|own| own.name.as_str() == branch));
        let level = Level { step, path, branch };
        if let Some(branch) = &level.branch {
            here = format!("{here}{branch}{PATH_SEPARATOR}");
        }
        steps = inside.map_or(&step.steps, |branch| &branch.steps).iter().collect();
        found.push(level);
    }
    found
}

impl Level<'_> {
    pub(crate) fn kind(&self) -> Kind {
        Kind::of(self.step)
    }

    /// The id of the branch that the way leads into.
    pub(crate) fn branch_id(&self) -> Option<String> {
        let branch = self.branch.as_ref()?;
        Some(format!("{}{PATH_SEPARATOR}{branch}", self.path))
    }
}

/// The id of the context that the last of these levels stands in.
pub(crate) fn parent(levels: &[Level<'_>]) -> Option<String> {
    let (_, outer) = levels.split_last()?;
    outer.iter().rev().find_map(|level| match level.kind() {
        Kind::Parallel | Kind::Map => level.branch_id(),
        Kind::WaitForCallback => Some(level.path.clone()),
        _ => None,
    })
}

/// What is known of a step, wherever it stands.
pub(crate) fn state<'l>(line: &'l Line, path: &str) -> Option<&'l StepState> {
    let (name, rest) = split(path);
    let state = line.steps.iter().find(|state| state.name.as_str() == name)?;
    let Some(rest) = rest else { return Some(state) };
    if let Stage::Callback(callback) = &state.stage {
        return self::state(&callback.line, rest);
    }
    let (branch, rest) = split(rest);
    self::state(branch_line(branches(state)?, branch)?, rest?)
}

/// A branch of a step.
pub(crate) fn branch<'l>(state: &'l StepState, name: &str) -> Option<&'l Line> {
    branch_line(branches(state)?, name)
}

fn branches(state: &StepState) -> Option<&BranchesState> {
    match &state.stage {
        Stage::Branching(branches) | Stage::Failed(Some(branches)) => Some(branches),
        _ => None,
    }
}

fn branch_line<'l>(branches: &'l BranchesState, name: &str) -> Option<&'l Line> {
    let place = (0..branches.lines.len()).find(|place| branches.name(*place) == name)?;
    branches.lines.get(place)
}

fn split(path: &str) -> (&str, Option<&str>) {
    path.split_once(PATH_SEPARATOR).map_or((path, None), |(name, rest)| (name, Some(rest)))
}

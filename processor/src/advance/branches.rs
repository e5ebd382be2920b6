//! What a step's branches came to, once they have ended as a whole.

use everhook_journal::event::StepFailure;
use everhook_journal::execution::{BranchesState, Line, LineEnd, Verdict};
use everhook_journal::workflow::StepDefinition;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::plan::Ready;
use crate::step::{Output, StepError, to_output};
use crate::steps::Work;
use crate::steps::json::kept_inside;

use super::{Driver, Trouble};

/// The largest result of a step with branches: it may hold all of theirs.
const RESULT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How many levels of JSON are around the result of a branch.
const LEVELS: usize = 2;

/// The result of a step with branches.
#[derive(Serialize)]
struct Summary {
    /// `all`, `enough`, `too_many_failed` or `too_few_completed`.
    ended: &'static str,
    total: usize,
    completed: usize,
    failed: usize,
    /// The last result of each branch, in order; null where there is none.
    results: Vec<Option<Box<RawValue>>>,
    /// What went wrong, of each branch that failed.
    errors: Vec<BranchError>,
}

#[derive(Serialize)]
struct BranchError {
    branch: String,
    /// What its item is called, if it is called anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    step: String,
    kind: String,
    message: String,
}

/// What the branches came to: the step's result, or its failure.
pub(super) async fn summary(
    driver: &Driver,
    definition: &StepDefinition,
    ready: &Ready,
    branches: &BranchesState,
    verdict: Verdict,
) -> Result<Result<Output, StepError>, Trouble> {
    let fails = matches!(&ready.work, Work::Fan(fan) if fan.fails);
    let (completed, failed) = branches.counts();
    let errors: Vec<_> = branches
        .lines
        .iter()
        .enumerate()
        .filter_map(|(place, line)| error(branches, place, line))
        .collect();
    if matches!(verdict, Verdict::TooMany | Verdict::TooFew) && fails {
        return Ok(Err(failure(definition, branches.lines.len(), completed, verdict, &errors)));
    }
    let mut results = Vec::with_capacity(branches.lines.len());
    let mut bytes = 0;
    for line in &branches.lines {
        let output = match line.output().filter(|_| line.is_well()) {
            Some(output) => output,
            None => {
                results.push(None);
                continue;
            }
        };
        let json = driver.payloads.open(output).await?;
        bytes += json.len();
        if bytes > RESULT_BYTES_MAX {
            let message = format!("the results have more than {RESULT_BYTES_MAX} bytes");
            return Ok(Err(StepError::fatal("too_large", message)));
        }
        results.push(Some(kept_inside(&json, LEVELS)));
    }
    let ended = match verdict {
        Verdict::All => "all",
        Verdict::Enough => "enough",
        Verdict::TooMany => "too_many_failed",
        Verdict::TooFew => "too_few_completed",
    };
    let total = branches.lines.len();
    Ok(to_output(&Summary { ended, total, completed, failed, results, errors }))
}

fn error(branches: &BranchesState, place: usize, line: &Line) -> Option<BranchError> {
    let Some(LineEnd::Failed { step, error }) = &line.end else { return None };
    let StepFailure { kind, message } = error.clone();
    let label = branches.label(place).map(str::to_owned);
    Some(BranchError { branch: branches.name(place), label, step: step.to_string(), kind, message })
}

fn failure(
    definition: &StepDefinition,
    total: usize,
    completed: usize,
    verdict: Verdict,
    errors: &[BranchError],
) -> StepError {
    let first = errors.first().map_or_else(String::new, |error| {
        let BranchError { branch, label, step, kind, message } = error;
        let branch = label.as_ref().unwrap_or(branch);
        format!("; the first is {branch}, at {step}: {kind}: {message}")
    });
    let failed = errors.len();
    let name = &definition.name;
    let message = match verdict {
        Verdict::TooFew => format!(
            "too few of the {total} branches of {name} completed: {completed}; {failed} failed{first}"
        ),
        Verdict::All | Verdict::Enough | Verdict::TooMany => {
            format!(
                "{failed} of the {total} branches of {name} failed, {completed} completed{first}"
            )
        }
    };
    StepError::fatal("branches_failed", message)
}

//! The parts of the runner, for the example and for the test that runs the same.

mod act;
mod callback;
mod case;
mod event;
mod matcher;
mod place;
mod report;
mod run;
mod translate;
mod world;

use std::path::Path;

use futures_util::{StreamExt, stream};

use case::Case;
pub(crate) use report::{Judged, Report, Verdict};

/// How many cases run at once, each in a world of its own.
const AT_ONCE: usize = 8;

/// Runs every case below a folder against the workflows below another.
pub(crate) async fn judge(cases: &Path, workflows: &Path) -> Result<Report, String> {
    let exempt = run::not_applicable(workflows)?;
    let cases = case::files(cases)?.into_iter().map(|file| Case::read(&file));
    let cases = cases.collect::<Result<Vec<_>, _>>()?;
    let judged = stream::iter(cases).map(async |case| {
        let verdict = match exempt.get(&case.id) {
            Some(reason) => Verdict::NotApplicable(reason.clone()),
            None => run::judge(&case, workflows).await,
        };
        let Case { suite, id, description, .. } = case;
        Judged { suite, id, description, verdict }
    });
    Ok(Report { judged: judged.buffered(AT_ONCE).collect().await })
}

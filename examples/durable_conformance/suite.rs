//! The parts of the runner, for the example and for the test that runs the same.

mod act;
mod callback;
mod case;
mod matcher;
mod place;
mod report;
mod run;
mod translate;
mod world;

use std::path::Path;

pub(crate) use report::{Judged, Report, Verdict};

use case::Case;

/// Runs every case below a folder against the workflows below another.
pub(crate) async fn judge(cases: &Path, workflows: &Path) -> Result<Report, String> {
    let exempt = run::not_applicable(workflows)?;
    let mut judged = Vec::new();
    for file in case::files(cases)? {
        let case = Case::read(&file)?;
        let verdict = match exempt.get(&case.id) {
            Some(reason) => Verdict::NotApplicable(reason.clone()),
            None => run::judge(&case, workflows).await,
        };
        let Case { suite, id, description, .. } = case;
        judged.push(Judged { suite, id, description, verdict });
    }
    Ok(Report { judged })
}

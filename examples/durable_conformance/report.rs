//! How the cases came out.

use std::fmt;

use serde_json::{Value, json};

/// What was judged.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) judged: Vec<Judged>,
}

/// One case.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) suite: String,
    pub(crate) id: String,
    pub(crate) description: String,
    pub(crate) verdict: Verdict,
}

/// How a case came out.
#[derive(Debug)]
pub(crate) enum Verdict {
    Passed,
    /// What was otherwise than it says.
    Failed(Vec<String>),
    /// Why it asks for what we do not have.
    NotApplicable(String),
}

/// How many came out how.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    passed: usize,
    failed: usize,
    not_applicable: usize,
}

impl Report {
    pub(crate) fn failures(&self) -> impl Iterator<Item = &Judged> {
        self.judged.iter().filter(|judged| matches!(judged.verdict, Verdict::Failed(_)))
    }

    fn counts(&self, suite: Option<&str>) -> Counts {
        let mut counts = Counts::default();
        for judged in self.judged.iter().filter(|it| suite.is_none_or(|suite| it.suite == suite)) {
            *match judged.verdict {
                Verdict::Passed => &mut counts.passed,
                Verdict::Failed(_) => &mut counts.failed,
                Verdict::NotApplicable(_) => &mut counts.not_applicable,
            } += 1;
        }
        counts
    }

    fn suites(&self) -> Vec<&str> {
        let mut suites: Vec<&str> = Vec::new();
        for judged in &self.judged {
            if !suites.contains(&judged.suite.as_str()) {
                suites.push(&judged.suite);
            }
        }
        suites
    }

    /// As one JSON object.
    pub(crate) fn to_json(&self) -> Value {
        let each = self.judged.iter().map(|it| {
            let (outcome, why) = match &it.verdict {
                Verdict::Passed => ("pass", Value::Null),
                Verdict::Failed(differences) => ("fail", json!(differences)),
                Verdict::NotApplicable(reason) => ("not applicable", json!(reason)),
            };
            json!({
                "suite": it.suite,
                "case": it.id,
                "description": it.description,
                "outcome": outcome,
                "why": why,
            })
        });
        let counts = self.counts(None);
        json!({
            "passed": counts.passed,
            "failed": counts.failed,
            "notApplicable": counts.not_applicable,
            "cases": each.collect::<Vec<_>>(),
        })
    }

    /// The cases of each suite as a table of Markdown, with a summary.
    pub(crate) fn to_markdown(&self) -> String {
        let mut page =
            String::from("| suite | passed | failed | not applicable |\n|---|---|---|---|\n");
        for suite in self.suites() {
            let Counts { passed, failed, not_applicable } = self.counts(Some(suite));
            page += &format!("| {suite} | {passed} | {failed} | {not_applicable} |\n");
        }
        let counts = self.counts(None);
        page += &format!("\n{counts}\n");
        page += "\n| case | asks for | |\n|---|---|---|\n";
        for Judged { suite, id, description, verdict } in &self.judged {
            let outcome = match verdict {
                Verdict::Passed => "passed".to_owned(),
                Verdict::Failed(_) => "failed".to_owned(),
                Verdict::NotApplicable(reason) => format!("not applicable: {reason}"),
            };
            let description = description.replace('|', "\\|");
            page += &format!("| {suite} {id} | {description} | {outcome} |\n");
        }
        page
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, not_applicable } = self;
        let applicable = passed + failed;
        write!(
            f,
            "Passes {passed} of the {applicable} requirements that apply, invocation events excluded; \
             {not_applicable} do not apply."
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Judged { suite, id, verdict, .. } in &self.judged {
            match verdict {
                Verdict::Passed => writeln!(f, "pass  {suite} {id}")?,
                Verdict::NotApplicable(reason) => writeln!(f, "n/a   {suite} {id}: {reason}")?,
                Verdict::Failed(differences) => {
                    writeln!(f, "FAIL  {suite} {id}")?;
                    for difference in differences {
                        writeln!(f, "        {difference}")?;
                    }
                }
            }
        }
        write!(f, "{}", self.counts(None))
    }
}

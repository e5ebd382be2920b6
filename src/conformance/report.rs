//! How a collection came out.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

/// What was judged.
#[derive(Debug, Default)]
pub struct Report {
    /// Every vector and handshake, in their order.
    pub judged: Vec<Judged>,
}

/// One vector or handshake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// Its name.
    pub id: String,
    /// The scheme, or `handshake`.
    pub scheme: String,
    /// What went wrong, if anything did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl Report {
    /// How many passed and how many failed.
    pub fn totals(&self) -> (usize, usize) {
        let failed = self.failures().count();
        (self.judged.len() - failed, failed)
    }

    /// Those that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Judged> {
        self.judged.iter().filter(|judged| judged.failure.is_some())
    }

    /// How many passed and failed, by scheme.
    pub fn by_scheme(&self) -> BTreeMap<&str, (usize, usize)> {
        let mut schemes = BTreeMap::new();
        for judged in &self.judged {
            let (passed, failed) = schemes.entry(judged.scheme.as_str()).or_insert((0, 0));
            *if judged.failure.is_some() { failed } else { passed } += 1;
        }
        schemes
    }

    /// As one JSON object.
    pub fn to_json(&self) -> Value {
        let (passed, failed) = self.totals();
        let scheme = |(name, (passed, failed))| json!({ "scheme": name, "passed": passed, "failed": failed });
        json!({
            "passed": passed,
            "failed": failed,
            "schemes": self.by_scheme().into_iter().map(scheme).collect::<Vec<_>>(),
            "failures": self.failures().collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<20} {:>6} {:>6}", "scheme", "passed", "failed")?;
        for (scheme, (passed, failed)) in self.by_scheme() {
            writeln!(f, "{scheme:<20} {passed:>6} {failed:>6}")?;
        }
        for Judged { id, failure, .. } in self.failures() {
            writeln!(f, "FAILED {id}: {}", failure.as_deref().unwrap_or_default())?;
        }
        let (passed, failed) = self.totals();
        write!(f, "{passed} passed, {failed} failed")
    }
}

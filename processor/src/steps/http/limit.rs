//! How often, and how often at once, one process calls a destination.

use std::time::Duration;

use everhook_journal::workflow::StepDefinition;
use serde_json::Value;

use crate::bulkhead::Measure;
use crate::step::DefinitionError;
use crate::steps::options;

/// Reads `limit = { rate = "10/s", concurrency = 4 }`. Whoever drives the step keeps to it, before its attempt begins.
pub(crate) fn measure(step: &StepDefinition) -> Result<Measure, DefinitionError> {
    let Some(table) = options::table(step, "limit", &["rate", "concurrency"])? else {
        return Ok(Measure::default());
    };
    let problem = |message: &str| Err(DefinitionError::at("limit", message));
    let interval = match table.get("rate") {
        None => None,
        Some(rate) => match rate.as_str().and_then(interval) {
            Some(interval) => Some(interval),
            None => {
                return problem("`rate` is a number and a unit: \"10/s\", \"100/m\", \"1000/h\"");
            }
        },
    };
    let concurrency = match table.get("concurrency").map(Value::as_u64) {
        None => None,
        Some(Some(calls @ 1..=1_000)) => usize::try_from(calls).ok(),
        Some(_) => return problem("`concurrency` is a number from 1 to 1000"),
    };
    match (interval, concurrency) {
        (None, None) => problem("`limit` limits nothing; give it a `rate` or a `concurrency`"),
        (interval, concurrency) => Ok(Measure { interval, most: concurrency }),
    }
}

/// The time between two calls at this rate.
fn interval(rate: &str) -> Option<Duration> {
    let (calls, unit) = rate.split_once('/')?;
    let unit = match unit {
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(3600),
        _ => return None,
    };
    let calls: u32 = calls.parse().ok()?;
    unit.checked_div(calls).filter(|interval| !interval.is_zero())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::steps::tests::definition;

    fn read(limit: Value) -> Result<Measure, DefinitionError> {
        measure(&definition("http", json!({ "limit": limit })))
    }

    fn of(interval_ms: Option<u64>, most: Option<usize>) -> Measure {
        Measure { interval: interval_ms.map(Duration::from_millis), most }
    }

    #[test]
    fn a_limit_is_read() {
        for (limit, expected) in [
            (json!({"rate": "10/s", "concurrency": 4}), of(Some(100), Some(4))),
            (json!({"rate": "30/m"}), of(Some(2_000), None)),
            (json!({"rate": "1/h"}), of(Some(3_600_000), None)),
            (json!({"concurrency": 1}), of(None, Some(1))),
        ] {
            assert_eq!(read(limit), Ok(expected));
        }
    }

    #[test]
    fn a_limit_that_says_nothing_is_refused() {
        for limit in [
            json!("10/s"),
            json!({}),
            json!({"rate": "10"}),
            json!({"rate": "0/s"}),
            json!({"rate": "10/d"}),
            json!({"rate": 10}),
            json!({"concurrency": 0}),
            json!({"concurrency": 1.5}),
            json!({"rate": "1/s", "burst": 3}),
        ] {
            let error = read(limit.clone()).unwrap_err();
            assert_eq!(error.option.as_deref(), Some("limit"), "{limit}");
        }
    }
}

//! The rules by which a requirement's events match what happened.

use std::collections::BTreeMap;

use regex_lite::Regex;
use serde_json::Value;

/// What differs from the events that are expected, in order; invocations are nobody's business here.
/// Only what is expected is looked at: more keys, and more events behind the last, are no difference.
pub(crate) fn differences(expected: &[Value], actual: &[Value]) -> Vec<String> {
    let mut bound = BTreeMap::new();
    let mut found = Vec::new();
    let expected: Vec<_> =
        expected.iter().filter(|event| event["EventType"] != "InvocationCompleted").collect();
    // The first event is the execution's start, which is hardly ever written down.
    let first = usize::from(expected.first().is_none_or(|event| event["EventId"] != 1));
    for (place, expected) in expected.into_iter().enumerate() {
        let place = place + first;
        let at = format!("event {}", place + 1);
        let Some(actual) = actual.get(place) else {
            found.push(format!("{at}: {} is missing", expected["EventType"]));
            continue;
        };
        compare(&at, expected, actual, &mut bound, &mut found);
    }
    found
}

/// What differs from a value.
pub(crate) fn difference(at: &str, expected: &Value, actual: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare(at, expected, actual, &mut BTreeMap::new(), &mut found);
    found
}

fn compare(
    at: &str,
    expected: &Value,
    actual: &Value,
    bound: &mut BTreeMap<String, Value>,
    found: &mut Vec<String>,
) {
    let mut differs = || found.push(format!("{at}: expected {expected}, found {actual}"));
    match expected {
        Value::String(text) if text == "*" => {}
        Value::String(text) => match variable(text) {
            Some(Variable::Pattern(pattern)) => {
                let fits =
                    Regex::new(pattern).is_ok_and(|it| it.is_match(&super::case::plain(actual)));
                if !fits {
                    differs();
                }
            }
            Some(Variable::Name(name)) => {
                let before = bound.entry(name.to_owned()).or_insert_with(|| actual.clone());
                if before != actual || actual.is_null() {
                    found.push(format!("{at}: {name} was {before} before, and is {actual}"));
                }
            }
            None if actual.as_str() != Some(text) => differs(),
            None => {}
        },
        Value::Object(keys) => {
            for (key, expected) in keys.iter().filter(|(key, _)| *key != "EventId") {
                let at = format!("{at}.{key}");
                match actual.get(key) {
                    Some(actual) => compare(&at, expected, actual, bound, found),
                    None => found.push(format!("{at} is missing")),
                }
            }
        }
        Value::Array(items) => match actual.as_array() {
            Some(others) if others.len() == items.len() => {
                for (place, (expected, actual)) in items.iter().zip(others).enumerate() {
                    compare(&format!("{at}[{place}]"), expected, actual, bound, found);
                }
            }
            _ => differs(),
        },
        Value::Number(number) if number.as_f64() == actual.as_f64() => {}
        expected if expected != actual => differs(),
        _ => {}
    }
}

/// What a text in braces stands for.
enum Variable<'t> {
    /// Whatever matches.
    Pattern(&'t str),
    /// The same wherever it stands.
    Name(&'t str),
}

fn variable(text: &str) -> Option<Variable<'_>> {
    let inside = text.strip_prefix("${")?.strip_suffix('}')?;
    let pattern = inside.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
    Some(pattern.map_or(Variable::Name(inside), Variable::Pattern))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn actual() -> Vec<Value> {
        vec![
            json!({"EventId": 1, "EventType": "ExecutionStarted"}),
            json!({"EventId": 2, "EventType": "StepStarted", "Id": "a", "Name": "greet"}),
            json!({"EventId": 3, "EventType": "StepSucceeded", "Id": "a", "Details": {"Delay": 4}}),
            json!({"EventId": 4, "EventType": "ExecutionSucceeded"}),
        ]
    }

    #[test]
    fn what_is_expected_is_compared_and_nothing_else() {
        let expected = [
            json!({"EventId": 2, "EventType": "StepStarted", "Id": "${ID1}", "Name": "*"}),
            json!({"EventId": 3, "EventType": "InvocationCompleted"}),
            json!({"EventId": 4, "EventType": "StepSucceeded", "Id": "${ID1}", "Details": {}}),
        ];
        assert_eq!(differences(&expected, &actual()), [""; 0]);
    }

    #[test]
    fn whatever_differs_is_told() {
        for expected in [
            json!([{"EventType": "StepSucceeded"}]),
            json!([{"EventType": "StepStarted", "ParentId": "*"}]),
            json!([{"Id": "${ID1}"}, {"EventType": "${ID1}"}]),
            json!([{}, {"Details": {"Delay": 3}}]),
            json!([{}, {"Details": {"Delay": "${/^[0-3]$/}"}}]),
            json!([{}, {}, {}, {"EventType": "ExecutionSucceeded"}]),
        ] {
            let found = differences(expected.as_array().unwrap(), &actual());
            assert_eq!(found.len(), 1, "{expected}: {found:?}");
        }
    }
}

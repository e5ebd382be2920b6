//! Steps, retries and durations in words.

use std::time::Duration;

use everhook_journal::retry::{Backoff, Jitter, LASTING_ATTEMPTS_MAX, MEAN, Retry};
use everhook_journal::workflow::{
    CALLBACK_EXPIRES_DEFAULT, MAP_CONCURRENCY_DEFAULT, StepDefinition, WAIT_AHEAD_DEFAULT,
};
use serde_json::Value;

/// How much of an expression is told.
const EXPRESSION_CHARS_MAX: usize = 60;

/// What a step does, by its kind.
pub(super) fn what(step: &StepDefinition) -> String {
    let text = |key: &str| step.options.get(key).and_then(Value::as_str);
    let jq = |key: &str| short(text(key).unwrap_or_default());
    let named = |key: &str| text(key).unwrap_or_default();
    match step.run.as_str() {
        "validate" if step.options.contains_key("schema") => "the body must meet a schema".into(),
        "validate" => match text("expect") {
            Some("any") => "the body may be anything".into(),
            Some("json") => "the body must be JSON".into(),
            Some("array") => "the body must be a JSON array".into(),
            _ => "the body must be a JSON object".into(),
        },
        "transform" => format!("computes {}", jq("jq")),
        "filter" => format!("ends here, as completed, unless {}", jq("jq")),
        "http" => {
            let method = text("method").unwrap_or("POST");
            let sent = match sent(step).as_str() {
                _ if method == "GET" => String::new(),
                sent => format!(", {sent}"),
            };
            format!("{method} to {}{sent}", host(named("url")))
        }
        "lambda" if text("mode") == Some("event") => {
            format!("hands {} to the function {}", sent(step), named("function"))
        }
        "lambda" => format!("invokes the function {} with {}", named("function"), sent(step)),
        "sqs" => format!("sends {} to the queue {}", sent(step), named("queue")),
        "sns" => format!("publishes {} to {}", sent(step), named("topic")),
        "eventbridge" => {
            let bus = text("bus").unwrap_or("default");
            format!("puts {} onto the bus {bus}", sent(step))
        }
        "s3" => format!("archives {} in the bucket {}", sent(step), named("bucket")),
        "wait" => match step.duration("for") {
            Some(time) => format!("waits for {}", duration(time)),
            None => {
                let max = duration(step.duration("max").unwrap_or(WAIT_AHEAD_DEFAULT));
                format!("waits until {}, at most {max}", jq("until"))
            }
        },
        "callback" => {
            let expires = duration(step.duration("expires").unwrap_or(CALLBACK_EXPIRES_DEFAULT));
            let alive = step.duration("heartbeat").map_or(String::new(), |every| {
                format!(", with a sign of life every {}", duration(every))
            });
            format!("waits for an answer from outside, at most {expires}{alive}")
        }
        "poll" => format!("looks again and again, until {}", jq("until")),
        "parallel" => {
            let count = u32::try_from(step.branches.len()).unwrap_or(u32::MAX);
            format!("{count} branches{}", together(step, count))
        }
        "map" => format!("each item of {}{}", jq("items"), together(step, MAP_CONCURRENCY_DEFAULT)),
        own => format!("the step `{own}`, written in Rust"),
    }
}

/// How branches go on together.
fn together(step: &StepDefinition, usual: u32) -> String {
    let concurrency = step.options.get("concurrency").and_then(Value::as_u64);
    let mut told = format!(", {} at once", concurrency.unwrap_or(usual.into()));
    match step.options.get("complete") {
        Some(Value::Number(enough)) => told.push_str(&format!(", until {enough} completed")),
        Some(Value::String(word)) if word == "any" => told.push_str(", until one completed"),
        _ => {}
    }
    if let Some(tolerate) = step.options.get("tolerate") {
        let count = tolerate.as_str().map_or_else(|| tolerate.to_string(), str::to_owned);
        told.push_str(&format!(", of which {count} may fail"));
    }
    told
}

/// What a step sends.
fn sent(step: &StepDefinition) -> String {
    match (step.options.get("jq"), step.options.get("body")) {
        (Some(Value::String(jq)), _) => short(jq),
        (_, Some(Value::String(body))) if body == "previous" => "the result before".into(),
        _ => "the webhook".into(),
    }
}

/// The host of a URL: its path may hold a key.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// An expression in one line.
pub(super) fn short(jq: &str) -> String {
    let line = jq.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(EXPRESSION_CHARS_MAX) {
        Some((end, _)) => format!("`{}…`", &line[..end]),
        None => format!("`{line}`"),
    }
}

/// When a step is tried again, if it is.
pub(super) fn retry(retry: &Retry) -> Option<String> {
    if retry.attempts <= 1 {
        return None;
    }
    let millis = |millis| duration(Duration::from_millis(millis));
    let (first, max) = (millis(retry.first_ms), millis(retry.max_ms));
    let delays = match retry.backoff {
        Backoff::Exponential => match retry.rate.unwrap_or(2.0) {
            2.0 => format!("{first} doubling to {max}"),
            rate => format!("{first} growing by {rate} times to {max}"),
        },
        Backoff::Linear => format!("growing by {first} to {max}"),
        Backoff::Fixed => format!("{first} apart"),
        Backoff::Schedule => {
            let delays: Vec<_> = retry.schedule_ms.iter().map(|delay| millis(*delay)).collect();
            format!("after {}", delays.join(", "))
        }
    };
    let attempts = match retry.attempts {
        LASTING_ATTEMPTS_MAX => "tried again".to_owned(),
        attempts => format!("up to {attempts} attempts"),
    };
    let mut told = format!("{attempts}, {delays}");
    match retry.jitter() {
        Jitter::Full => told.push_str(", drawn from zero up"),
        Jitter::Half => told.push_str(", drawn from half up"),
        Jitter::None => {}
    }
    told.push_str(&format!(", {}", end(retry)));
    if !retry.on.is_empty() {
        told.push_str(&format!(", only on {}", retry.on.join(", ")));
    }
    if !retry.not_on.is_empty() {
        told.push_str(&format!(", not on {}", retry.not_on.join(", ")));
    }
    Some(told)
}

/// When it gives up, by the schedule that runs.
fn end(retry: &Retry) -> String {
    let (usual, most) = (retry.gives_up(MEAN), duration(retry.longest()));
    if usual.is_too_old || retry.jitter() == Jitter::None {
        return format!("gives up after {most}");
    }
    format!("gives up after about {}, after {most} at the latest", duration(usual.age))
}

/// A duration as people write it, with its two largest units: `1h 30m`.
pub(super) fn duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    let mut rest = millis;
    let mut parts = Vec::new();
    for (unit, length) in units {
        let count = rest / length;
        rest %= length;
        if count > 0 {
            parts.push(format!("{count}{unit}"));
        }
    }
    parts.truncate(2);
    if parts.is_empty() { "no time".into() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_as_they_are_written() {
        let told = |millis| duration(Duration::from_millis(millis));
        assert_eq!(told(0), "no time");
        assert_eq!(told(1_500), "1s 500ms");
        assert_eq!(told(60_000), "1m");
        assert_eq!(told(5_400_000), "1h 30m");
        assert_eq!(told(31 * 86_400_000 + 1), "31d 1ms");
    }

    #[test]
    fn of_a_destination_only_the_host_is_told() {
        assert_eq!(
            host("https://hooks.example.com:8443/T0/secret?key=1"),
            "hooks.example.com:8443"
        );
        assert_eq!(host("https://example.com?key=1"), "example.com");
    }
}

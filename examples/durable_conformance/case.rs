//! A requirement file: what is sent, what is called back, and what must have happened.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};

/// What the names of variables that a case makes up begin with.
const GENERATED: &str = "${GEN_STR:";

/// A requirement.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) suite: String,
    pub(crate) id: String,
    pub(crate) description: String,
    pub(crate) input: Value,
    /// `SUCCEEDED` or `FAILED`; none if the end is not asked for.
    pub(crate) status: Option<String>,
    pub(crate) result: Option<Value>,
    pub(crate) history: Vec<Value>,
    pub(crate) actions: Vec<Action>,
    /// A regular expression, and how many lines of the log it must match.
    pub(crate) logs: Vec<(String, u64)>,
}

/// What somebody outside does with a callback.
#[derive(Debug, Clone)]
pub(crate) struct Action {
    /// The callback's name; `*` for any.
    pub(crate) callback: String,
    /// `success`, `failure` or `heartbeat`.
    pub(crate) operation: String,
    pub(crate) payload: Option<Value>,
    /// How long after the callback was created.
    pub(crate) delay: Duration,
}

/// The files below a folder, suite by suite, each by its number.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    gather(folder, &mut found)?;
    found.sort_by_key(|file| number(file));
    Ok(found)
}

fn gather(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), String> {
    let problem = |error| format!("{}: {error}", folder.display());
    for entry in std::fs::read_dir(folder).map_err(problem)? {
        let path = entry.map_err(problem)?.path();
        if path.is_dir() {
            gather(&path, found)?;
        } else if path.extension().is_some_and(|end| end == "yaml" || end == "yml") {
            found.push(path);
        }
    }
    Ok(())
}

fn number(file: &Path) -> (Vec<u64>, PathBuf) {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let numbers = stem.split('-').map(|digits| digits.parse().unwrap_or(u64::MAX));
    (numbers.collect(), file.to_owned())
}

impl Case {
    pub(crate) fn read(file: &Path) -> Result<Self, String> {
        let problem = |error: String| format!("{}: {error}", file.display());
        let text = std::fs::read_to_string(file).map_err(|error| problem(error.to_string()))?;
        let name = |part: Option<&std::ffi::OsStr>| {
            part.unwrap_or_default().to_string_lossy().into_owned()
        };
        let suite = name(file.parent().and_then(Path::file_name));
        Self::parse(suite, name(file.file_stem()), &text).map_err(problem)
    }

    fn parse(suite: String, id: String, text: &str) -> Result<Self, String> {
        let mut whole: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        let variables = variables(&whole["Variables"]);
        substitute(&mut whole, &variables);
        let list = |key: &str| whole[key].as_array().cloned().unwrap_or_default();
        let expected = &whole["ExpectedResult"];
        Ok(Self {
            suite,
            id,
            description: one_line(whole["description"].as_str().unwrap_or_default()),
            input: whole["Input"].clone(),
            status: expected["ExecutionStatus"].as_str().map(str::to_owned),
            result: expected.get("Result").cloned(),
            history: list("ExpectedExecutionHistory"),
            actions: list("CallbackActions").iter().map(Action::read).collect(),
            logs: list("ExpectedLogs").iter().filter_map(log).collect(),
        })
    }
}

impl Action {
    fn read(value: &Value) -> Self {
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        Self {
            callback: text("CallbackName"),
            operation: text("Operation"),
            payload: value.get("Payload").cloned(),
            delay: Duration::from_secs_f64(value["Delay"].as_f64().unwrap_or_default()),
        }
    }
}

fn log(value: &Value) -> Option<(String, u64)> {
    let pattern = value["match"]["message"].as_str()?;
    Some((pattern.trim_matches('/').to_owned(), value["count"].as_u64().unwrap_or(1)))
}

fn variables(given: &Value) -> BTreeMap<String, String> {
    let given = given.as_object().into_iter().flatten();
    given.map(|(name, value)| (name.clone(), made(&plain(value)))).collect()
}

fn made(value: &str) -> String {
    let count = value.strip_prefix(GENERATED).and_then(|rest| rest.strip_suffix('}'));
    match count.and_then(|count| count.parse().ok()) {
        Some(count) => {
            let letters = std::iter::repeat_with(|| char::from(rand::random_range(b'a'..=b'z')));
            letters.take(count).collect()
        }
        None => value.to_owned(),
    }
}

/// A value as it stands in a text.
pub(crate) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn substitute(value: &mut Value, variables: &BTreeMap<String, String>) {
    match value {
        Value::String(text) => {
            for (name, made) in variables {
                *text = text.replace(&format!("${{{name}}}"), made);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| substitute(item, variables)),
        Value::Object(map) => {
            let old = std::mem::take(map);
            *map = old
                .into_iter()
                .filter(|(key, _)| key != "Variables")
                .map(|(key, mut value)| {
                    substitute(&mut value, variables);
                    (key, value)
                })
                .collect::<Map<_, _>>();
        }
        _ => {}
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

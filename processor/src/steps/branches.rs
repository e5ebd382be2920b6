//! `run = "parallel"` and `run = "map"`: steps side by side.

use bytes::Bytes;
use everhook_journal::Payload;
use everhook_journal::event::{Branch, Branches, CompletionRule};
pub use everhook_journal::workflow::BRANCHES_MAX;
use everhook_journal::workflow::{MAP_CONCURRENCY_DEFAULT, StepDefinition};
use serde_json::Value;
use serde_json::value::RawValue;

use super::options;
use crate::expression::{Dot, Expression};
use crate::step::{DefinitionError, Input, Item, Output, StepError};

/// The longest label of an item.
const LABEL_CHARS_MAX: usize = 64;

/// Branches, each with its own steps, or with the same steps for each item of a list.
///
/// | key | means |
/// |---|---|
/// | `items` | of a `map`: a jq expression that gives the list |
/// | `input` | what `.` is in `items`, as in `transform` |
/// | `label` | of a `map`: a jq expression that says what an item is called for those who look on; `.` is the item |
/// | `concurrency` | how many go on at once: all branches of a `parallel`, 10 items of a `map`, if nothing is said |
/// | `complete` | when it is enough: `"all"` (the default), `"any"`, or how many |
/// | `tolerate` | how many may fail: a number, or `"10%"`; none, if nothing is said |
/// | `failure` | `"fail"` (the default): the step fails with too many; `"result"`: it gives its result all the same |
#[derive(Debug, Clone)]
pub struct Fan {
    items: Option<Expression>,
    label: Option<Expression>,
    branches: Branches,
    /// How many go on at once.
    pub concurrency: u32,
    /// When they have done enough.
    pub rule: CompletionRule,
    /// Whether too many failures fail the step.
    pub fails: bool,
}

impl Fan {
    /// Reads the definition of a `parallel`.
    pub fn parallel(step: &StepDefinition) -> Result<Self, DefinitionError> {
        options::only(step, &["concurrency", "complete", "tolerate", "failure"])?;
        let names = |steps: &[StepDefinition]| steps.iter().map(|step| step.name.clone()).collect();
        let each = step.branches.iter();
        let branches: Vec<_> = each
            .map(|branch| Branch { name: branch.name.clone(), steps: names(&branch.steps) })
            .collect();
        let count = u32::try_from(branches.len()).unwrap_or(u32::MAX);
        Self::read(step, None, Branches::Parallel(branches), count)
    }

    /// Reads the definition of a `map`.
    pub fn map(step: &StepDefinition) -> Result<Self, DefinitionError> {
        options::only(
            step,
            &["items", "input", "label", "concurrency", "complete", "tolerate", "failure"],
        )?;
        let items = options::required_jq(step, "items")?;
        let steps = step.steps.iter().map(|step| step.name.clone()).collect();
        let empty = Payload::inline(b"[]").expect("it is short");
        let branches = Branches::Map { items: empty, count: 0, steps, labels: Vec::new() };
        let compile = |code| {
            let compiled = Expression::compile(code, Dot::Item);
            compiled.map_err(|message| DefinitionError::at("label", message))
        };
        let label = options::text(step, "label")?.map(compile).transpose()?;
        Ok(Self { label, ..Self::read(step, Some(items), branches, MAP_CONCURRENCY_DEFAULT)? })
    }

    fn read(
        step: &StepDefinition,
        items: Option<Expression>,
        branches: Branches,
        usual: u32,
    ) -> Result<Self, DefinitionError> {
        let concurrency =
            options::number(step, "concurrency", 1..=BRANCHES_MAX)?.unwrap_or(usual.max(1));
        let enough = match step.options.get("complete") {
            None => None,
            Some(Value::String(word)) if word == "all" => None,
            Some(Value::String(word)) if word == "any" => Some(1),
            Some(_) => options::number(step, "complete", 1..=BRANCHES_MAX).map_err(|_| {
                let message = "`complete` is \"all\", \"any\", or how many are enough";
                DefinitionError::at("complete", message)
            })?,
        };
        let (tolerated, tolerated_percent) = read_tolerance(step)?;
        let failure = options::choice(step, "failure", &[("fail", true), ("result", false)])?;
        Ok(Self {
            items,
            label: None,
            branches,
            concurrency,
            rule: CompletionRule { enough, tolerated, tolerated_percent },
            fails: failure.unwrap_or(true),
        })
    }

    /// The list whose items the branches are about, if they are about any.
    pub async fn items(&self, input: Input) -> Result<Option<Listed>, StepError> {
        let Some(items) = &self.items else { return Ok(None) };
        let list = items.result(input.clone()).await?;
        let items = divide(list.get().as_bytes())?;
        let count = u32::try_from(items.len()).unwrap_or(u32::MAX);
        let mut labels = Vec::new();
        if let Some(label) = &self.label {
            for (index, json) in (0..count).zip(items) {
                let item = Some(Item { index, json });
                let given = label.result(Input { item, ..input.clone() }).await?;
                labels.push(to_label(&given));
            }
        }
        Ok(Some(Listed { list, count, labels }))
    }

    /// The branches, for this list if they are about one.
    pub fn branches(&self, items: Option<(Payload, u32, Vec<String>)>) -> Branches {
        match (&self.branches, items) {
            (Branches::Map { steps, .. }, Some((items, count, labels))) => {
                Branches::Map { items, count, steps: steps.clone(), labels }
            }
            (branches, _) => branches.clone(),
        }
    }
}

/// A list that branches are about.
#[derive(Debug)]
pub struct Listed {
    /// The list, as JSON.
    pub list: Output,
    /// How many items it has.
    pub count: u32,
    /// What each of them is called; none if nothing is said.
    pub labels: Vec<String>,
}

/// A label: a text as it is, anything else as JSON, as far as it fits.
fn to_label(given: &Output) -> String {
    let text = serde_json::from_str(given.get()).unwrap_or_else(|_| given.get().to_owned());
    text.chars().filter(|character| !character.is_control()).take(LABEL_CHARS_MAX).collect()
}

/// The items of a list, each as JSON text.
pub fn divide(list: &[u8]) -> Result<Vec<Bytes>, StepError> {
    let items: Vec<Box<RawValue>> = serde_json::from_slice(list)
        .map_err(|_| StepError::fatal("invalid", "`items` does not give a list"))?;
    if items.len() > BRANCHES_MAX as usize {
        let message = format!("{} items; at most {BRANCHES_MAX} are taken", items.len());
        return Err(StepError::fatal("too_many", message));
    }
    Ok(items.into_iter().map(|item| Bytes::from(Box::<str>::from(item).into_string())).collect())
}

/// How many may fail: so many, or so many of a hundred.
fn read_tolerance(step: &StepDefinition) -> Result<(Option<u32>, Option<u8>), DefinitionError> {
    let problem = || {
        let message = "`tolerate` is how many may fail: a number, or a text such as \"10%\"";
        DefinitionError::at("tolerate", message)
    };
    match step.options.get("tolerate") {
        None => Ok((None, None)),
        Some(Value::String(text)) => {
            let percent = text.strip_suffix('%').and_then(|digits| digits.parse::<u8>().ok());
            let percent = percent.filter(|percent| *percent <= 100).ok_or_else(problem)?;
            Ok((None, Some(percent)))
        }
        Some(_) => {
            let count = options::number(step, "tolerate", 0..=BRANCHES_MAX);
            Ok((count.map_err(|_| problem())?, None))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::steps::tests::{definition, input};

    #[tokio::test]
    async fn items_are_called_as_the_label_says() {
        let options =
            json!({"items": ".lines", "label": "if . == 2 then . else \"line \\(.)\" end"});
        let fan = Fan::map(&definition("map", options)).unwrap();

        let listed = fan.items(input(r#"{"lines": [1, 2]}"#)).await.unwrap().unwrap();

        assert_eq!(listed.count, 2);
        assert_eq!(listed.labels, ["line 1", "2"]);
    }

    #[tokio::test]
    async fn without_a_label_items_are_called_nothing() {
        let fan = Fan::map(&definition("map", json!({"items": "."}))).unwrap();
        let listed = fan.items(input("[1]")).await.unwrap().unwrap();
        assert_eq!(listed.labels, [""; 0]);
    }
}

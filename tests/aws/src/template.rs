//! What the translated template says, as far as it can be had here.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use everhook::local::event_source::{Filter, Settings};
use serde_json::{Value, json};

/// The name of the stack.
const STACK: &str = "everhook";

/// The tables of the stack.
pub(crate) const TABLES: [&str; 3] = ["JournalTable", "ExecutionsTable", "TimersTable"];

/// A translated template.
#[derive(Debug)]
pub(crate) struct Template {
    document: Value,
    /// The parameters that have another value than their default.
    parameters: BTreeMap<String, String>,
}

impl Template {
    pub(crate) fn load(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| {
            panic!("{}: {error}; run tests/aws/check.sh first", path.display())
        });
        Self { document: serde_json::from_str(&text).unwrap(), parameters: BTreeMap::new() }
    }

    /// The same template with another value of a parameter.
    pub(crate) fn with(mut self, parameter: &str, value: &str) -> Self {
        let allowed = self.document["Parameters"][parameter]["AllowedValues"].as_array();
        let is_allowed = allowed.is_some_and(|allowed| allowed.contains(&json!(value)));
        assert!(is_allowed, "{parameter} cannot be {value}");
        self.parameters.insert(parameter.to_owned(), value.to_owned());
        self
    }

    fn properties(&self, name: &str) -> &Value {
        let resource = &self.document["Resources"][name]["Properties"];
        assert!(resource.is_object(), "the template has no {name}");
        resource
    }

    /// The name that a table has here.
    pub(crate) fn table(name: &str) -> String {
        format!("{STACK}-{name}")
    }

    /// The bodies of the calls that make a table: CreateTable, then UpdateTimeToLive.
    /// CloudFormation's properties have the names of the API's.
    pub(crate) fn table_calls(&self, name: &str) -> [(&'static str, Value); 2] {
        let properties = self.properties(name);
        let mut create = json!({ "TableName": Self::table(name) });
        for key in ["AttributeDefinitions", "KeySchema", "BillingMode", "GlobalSecondaryIndexes"] {
            if let Some(value) = properties.get(key) {
                create[key] = self.chosen(value);
            }
        }
        if let Some(view) = properties.pointer("/StreamSpecification/StreamViewType") {
            create["StreamSpecification"] =
                json!({ "StreamEnabled": true, "StreamViewType": view });
        }
        let expire = json!({
            "TableName": Self::table(name),
            "TimeToLiveSpecification": properties["TimeToLiveSpecification"],
        });
        [("CreateTable", create), ("UpdateTimeToLive", expire)]
    }

    /// A function's environment, with the names that things have here.
    pub(crate) fn environment(&self, function: &str) -> BTreeMap<String, String> {
        let variables = self.properties(function)["Environment"]["Variables"].as_object().unwrap();
        variables.iter().map(|(name, value)| (name.clone(), self.resolved(value))).collect()
    }

    /// A function's timeout.
    pub(crate) fn timeout(&self, function: &str) -> Duration {
        Duration::from_secs(self.properties(function)["Timeout"].as_u64().unwrap())
    }

    /// A function's event source mapping, as the local one is set.
    pub(crate) fn mapping(&self, function: &str) -> Settings {
        let mapping = self.properties(&format!("{function}Journal"));
        let number = |key: &str| mapping[key].as_u64().unwrap();
        assert_eq!(mapping["FunctionResponseTypes"], json!(["ReportBatchItemFailures"]));
        let filters = mapping["FilterCriteria"]["Filters"].as_array().unwrap();
        let filters = filters
            .iter()
            .map(|filter| Filter::parse(filter["Pattern"].as_str().unwrap()).unwrap())
            .collect();
        Settings {
            batch_size: usize::try_from(number("BatchSize")).unwrap(),
            batching_window: Duration::from_secs(number("MaximumBatchingWindowInSeconds")),
            parallel: usize::try_from(number("ParallelizationFactor")).unwrap(),
            bisect: mapping["BisectBatchOnFunctionError"].as_bool().unwrap(),
            retry_attempts: Some(u32::try_from(number("MaximumRetryAttempts")).unwrap()),
            record_age: Some(Duration::from_secs(number("MaximumRecordAgeInSeconds"))),
            filters,
            timeout: self.timeout(function) + Duration::from_secs(5),
            ..Settings::default()
        }
    }

    fn resolved(&self, value: &Value) -> String {
        let value = &self.chosen(value);
        if let Some(name) = value["Ref"].as_str() {
            return self.name(name);
        }
        if let Some(text) = value["Fn::Sub"].as_str() {
            let mut parts = text.split("${");
            let start = parts.next().unwrap().to_owned();
            return parts.fold(start, |text, part| {
                let (name, rest) = part.split_once('}').unwrap();
                text + &self.name(name) + rest
            });
        }
        value.as_str().unwrap_or_else(|| panic!("what is {value}?")).to_owned()
    }

    /// The name, or the default, that a reference has here.
    fn name(&self, name: &str) -> String {
        if name == "AWS::StackName" {
            return STACK.to_owned();
        }
        self.parameter(name).unwrap_or_else(|| Self::table(name))
    }

    /// The value of a parameter, if there is one of this name.
    fn parameter(&self, name: &str) -> Option<String> {
        if let Some(value) = self.parameters.get(name) {
            return Some(value.clone());
        }
        match &self.document["Parameters"][name]["Default"] {
            Value::Null => None,
            default => Some(text(default)),
        }
    }

    /// A part of the template, as its conditions choose.
    fn chosen(&self, value: &Value) -> Value {
        match value {
            Value::Object(fields) => match fields.get("Fn::If") {
                Some(choice) => {
                    let condition = choice[0].as_str().expect("a condition has a name");
                    let condition = &self.document["Conditions"][condition];
                    self.chosen(&choice[if self.holds(condition) { 1 } else { 2 }])
                }
                None => {
                    fields.iter().map(|(name, field)| (name.clone(), self.chosen(field))).collect()
                }
            },
            Value::Array(items) => {
                let items = items.iter().map(|item| self.chosen(item));
                items.filter(|item| *item != json!({ "Ref": "AWS::NoValue" })).collect()
            }
            other => other.clone(),
        }
    }

    /// Whether a condition holds.
    fn holds(&self, condition: &Value) -> bool {
        if let Some(condition) = condition.get("Fn::Not") {
            return !self.holds(&condition[0]);
        }
        let compared = condition.get("Fn::Equals").and_then(Value::as_array);
        let compared = compared.unwrap_or_else(|| panic!("what is {condition}?"));
        let sides: Vec<_> = compared.iter().map(|side| self.side(side)).collect();
        sides[0] == sides[1]
    }

    /// A side of a comparison: a parameter, a list of them put together, or a value.
    fn side(&self, side: &Value) -> String {
        let side = side.get("Fn::Join").map_or(side, |join| &join[1]);
        match side["Ref"].as_str() {
            Some(name) => self.parameter(name).unwrap_or_else(|| panic!("what is {name}?")),
            None => text(side),
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

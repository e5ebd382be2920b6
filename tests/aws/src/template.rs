//! What the translated template says, as far as it can be had here.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use everhook::local::event_source::{Filter, Settings};
use serde_json::{Value, json};

/// The name of the stack.
const STACK: &str = "everhook";

/// A translated template.
#[derive(Debug)]
pub(crate) struct Template(Value);

impl Template {
    pub(crate) fn load(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| {
            panic!("{}: {error}; run tests/aws/check.sh first", path.display())
        });
        Self(serde_json::from_str(&text).unwrap())
    }

    fn properties(&self, name: &str) -> &Value {
        let resource = &self.0["Resources"][name]["Properties"];
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
                create[key] = by_default(value);
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
        let value = &by_default(value);
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
        match &self.0["Parameters"][name]["Default"] {
            Value::Null => Self::table(name),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

/// A part of the template where no parameter is set: every condition that such a part depends on is false then.
fn by_default(value: &Value) -> Value {
    match value {
        Value::Object(fields) => match fields.get("Fn::If") {
            Some(choice) => by_default(&choice[2]),
            None => fields.iter().map(|(name, field)| (name.clone(), by_default(field))).collect(),
        },
        Value::Array(items) => {
            let items = items.iter().map(by_default);
            items.filter(|item| *item != json!({ "Ref": "AWS::NoValue" })).collect()
        }
        other => other.clone(),
    }
}

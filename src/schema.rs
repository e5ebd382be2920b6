//! The JSON Schema of `everhook.toml`, written out of the tables of keys that stand beside the readers.
//!
//! It says of each key whether it may stand there and what it looks like.
//! What only several keys together or the whole file tell, such as names that must exist,
//! [`check`](crate::check) says.

use everhook_ingest::signature::preset;
use everhook_ingest::source::keys as source;
use everhook_journal::config::keys::{self, Key, table};
use everhook_journal::config::{CONTROL_KINDS, POLL_KEYS};
use everhook_processor::steps::keys::{KINDS, Kind, Rule};
use serde_json::{Map, Value, json};

/// The kinds that give no result by themselves, and so cannot stand in a `poll`.
const NO_LOOK: &str = "filter";

/// The schema.
pub fn schema() -> Value {
    let name = keys::NAME.schema()["pattern"].clone();
    let named = |what: &str| {
        let each =
            Map::from_iter([(name.as_str().unwrap_or_default().to_owned(), reference(what))]);
        json!({ "type": "object", "patternProperties": each, "additionalProperties": false })
    };
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "everhook.toml",
        "description": "What Everhook listens to, and what it does with it.",
        "type": "object",
        "properties": {
            "settings": table(keys::SETTINGS),
            "sources": named("source"),
            "workflows": named("workflow"),
        },
        "additionalProperties": false,
        "definitions": definitions(),
    })
}

/// The schema as text, as it is shipped.
pub fn text() -> String {
    format!("{:#}\n", schema())
}

fn definitions() -> Value {
    let mut definitions = Map::new();
    let mut define = |name: &str, schema: Value| definitions.insert(name.to_owned(), schema);
    define("retry", table(keys::RETRY));
    define("workflow", table(keys::WORKFLOW));
    define("steps", keys::steps("step"));
    define("look", look());
    define("branches", json!({ "type": "array", "items": table(keys::BRANCH) }));
    define("step", step());
    for kind in KINDS {
        define(kind.name, of_kind(kind));
    }
    define("source", source());
    definitions.into()
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/definitions/{name}") })
}

/// A step: what all have, and by its kind what it has beyond that. A kind written in Rust has any keys.
fn step() -> Value {
    let mut schema = table(keys::STEP);
    schema["additionalProperties"] = true.into();
    let names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
    let kinds: Vec<_> =
        KINDS.iter().map(|kind| format!("`{}`: {}", kind.name, kind.about)).collect();
    let run = &mut schema["properties"]["run"];
    run["anyOf"] = json!([{ "enum": names }, { "type": "string" }]);
    run["description"] = format!(
        "the kind of step, or the name of a step written in Rust\n\n{}",
        kinds.join("\n\n")
    )
    .into();
    let each = KINDS.iter().map(|kind| when(is("run", &[kind.name]), reference(kind.name)));
    schema["allOf"] = each.collect();
    schema
}

fn of_kind(kind: &Kind) -> Value {
    let mut schema = table(kind.keys);
    schema["description"] = kind.about.into();
    for key in keys::STEP {
        schema["properties"][key.name] = true.into();
    }
    if !kind.rules.is_empty() {
        schema["allOf"] = kind.rules.iter().map(rule).collect();
    }
    schema
}

fn rule(rule: &Rule) -> Value {
    let there = |key: &str| json!({ "required": [key] });
    let none = |keys: &[&str]| {
        let each: Vec<_> = keys.iter().map(|key| there(key)).collect();
        json!({ "not": { "anyOf": each } })
    };
    match rule {
        Rule::OneOf(keys) => {
            json!({ "oneOf": keys.iter().map(|key| there(key)).collect::<Vec<_>>() })
        }
        Rule::With(key, other) => when(there(key), there(other)),
        Rule::NotBoth(key, other) => json!({ "not": { "required": [key, other] } }),
        Rule::Without(key, value, others) => when(is(key, &[value]), none(others)),
        Rule::Ordered(key) => {
            let properties =
                Map::from_iter([((*key).to_owned(), json!({ "pattern": "\\.fifo$" }))]);
            let mut schema = when(json!({ "properties": properties }), there("group"));
            schema["else"] = none(&["group", "deduplication"]);
            schema
        }
    }
}

/// The one step in a `poll`.
fn look() -> Value {
    let mut steps = keys::steps("step");
    let others: Vec<_> = CONTROL_KINDS.into_iter().chain([NO_LOOK]).collect();
    let elsewhere: Vec<_> = POLL_KEYS.iter().map(|key| json!({ "required": [key] })).collect();
    let not = json!({ "anyOf": [is("run", &others), { "anyOf": elsewhere }] });
    steps["items"] = json!({ "allOf": [reference("step"), { "not": not }] });
    steps["maxItems"] = 1.into();
    steps
}

/// A source: which keys it has is its scheme's matter.
fn source() -> Value {
    let mut groups: Vec<(Value, Vec<&str>)> = Vec::new();
    let mut all: Vec<Key> = Vec::new();
    let mut titles = Vec::new();
    for preset in preset::all() {
        titles.push(preset.name);
        let keys = source::keys(preset);
        let schema = of_scheme(&keys, preset.name);
        all.extend(keys);
        match groups.iter_mut().find(|(other, _)| *other == schema) {
            Some((_, names)) => names.push(preset.name),
            None => groups.push((schema, vec![preset.name])),
        }
    }
    let mut by_scheme: Vec<_> =
        groups.into_iter().map(|(schema, names)| when(is("scheme", &names), schema)).collect();
    let open: Vec<_> = preset::preset("none").map(source::keys).unwrap_or_default();
    by_scheme.push(when(json!({ "required": ["verify"] }), of_scheme(&open, "none")));

    let mut properties = Map::new();
    for key in all {
        properties.entry(key.name).or_insert_with(|| json!({ "description": key.about }));
    }
    properties.insert(
        "scheme".into(),
        json!({ "enum": titles, "description": "who sends, and so what proves it" }),
    );
    let verify = "instead of `scheme`: nothing is verified";
    properties.insert("verify".into(), json!({ "enum": ["none"], "description": verify }));
    json!({
        "type": "object",
        "properties": properties,
        "oneOf": [{ "required": ["scheme"] }, { "required": ["verify"] }],
        "allOf": by_scheme,
    })
}

fn of_scheme(keys: &[Key], scheme: &str) -> Value {
    let mut schema = table(keys);
    for key in ["scheme", "verify"] {
        schema["properties"][key] = true.into();
    }
    let mut dependencies = json!({ "item_id": ["items"], "item_type": ["items"] });
    if scheme == "recipe" {
        let with_url = json!({ "required": ["signed"], "properties": { "signed": { "pattern": "\\{ur[li]\\}" } } });
        schema["if"] = with_url.clone();
        schema["then"] = json!({ "required": ["public_url"] });
        dependencies["public_url"] = with_url;
        dependencies["tolerance"] = json!(["timestamp"]);
        let token = is("hash", &["token"]);
        let encoding = json!({ "enum": ["hex", "base64"] });
        dependencies["encoding"] =
            json!({ "anyOf": [token, { "properties": { "encoding": encoding } }] });
    }
    schema["dependencies"] = dependencies;
    schema
}

fn is(key: &str, values: &[&str]) -> Value {
    let properties = Map::from_iter([(key.to_owned(), json!({ "enum": values }))]);
    json!({ "required": [key], "properties": properties })
}

fn when(condition: Value, then: Value) -> Value {
    json!({ "if": condition, "then": then })
}

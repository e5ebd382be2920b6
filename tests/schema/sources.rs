//! Sources of every scheme.

use everhook_ingest::signature::{Preset, preset};
use everhook_ingest::source::keys::keys;
use serde_json::{Value, json};

use super::{accepted, agree_on, known, names, samples, validator};

fn with_source(source: Value) -> Value {
    let steps = json!([{ "name": "look", "run": "validate" }]);
    json!({ "sources": { "s": source }, "workflows": { "default": { "steps": steps } } })
}

/// A source of this scheme with what it must have, and what goes with `key`.
fn source(preset: &Preset, key: &str) -> Value {
    let mut source = json!({ "scheme": preset.name });
    let lines = preset.lines.join("\n").replace("env:", "generated:");
    let lines: Value = toml::from_str(&lines).unwrap();
    // A recipe's documentation shows more than it must have.
    if preset.name != "recipe" {
        source.as_object_mut().unwrap().extend(lines.as_object().cloned().unwrap());
    }
    for required in keys(preset).iter().filter(|key| key.required) {
        source[required.name] = samples(required).remove(0);
    }
    match key {
        "item_id" | "item_type" => source["items"] = json!("/a"),
        // These sign an id, and not the body in which items would have theirs, or say what the items are.
        "id_unique"
            if ["adyen-item", "mailgun", "msgraph", "paypal", "sns"].contains(&preset.name) => {}
        "id_unique" => source["items"] = json!("/a"),
        "tolerance" if preset.name == "recipe" => source["timestamp"] = json!("json:at"),
        "timestamp" if preset.name == "recipe" => source["signed"] = json!("{timestamp}{body}"),
        "encoding" if preset.name == "recipe" => source["hash"] = json!("token"),
        "public_url" if preset.name == "recipe" => source["signed"] = json!("{url}{body}"),
        _ => {}
    }
    source
}

#[test]
fn both_agree_on_every_scheme() {
    for preset in preset::all() {
        agree_on(&keys(preset), &|key| source(preset, key), &with_source);
        let mut unknown = source(preset, "");
        if preset.name == "recipe" {
            unknown["timestamp"] = json!("json:at");
            unknown["signed"] = json!("{url}{body}");
            unknown["public_url"] = json!("https://example.com/");
        }
        unknown["zzzzzzzz"] = json!(1);
        let mut expected = names(&keys(preset));
        expected.extend(["scheme".to_owned(), "verify".to_owned()]);
        assert_eq!(known(&with_source(unknown)), expected, "{}", preset.name);
    }
}

#[test]
fn both_agree_on_what_names_a_scheme() {
    let validator = validator();
    let accepted = |source| accepted(&validator, &with_source(source));
    assert!(accepted(json!({ "verify": "none" })));
    assert!(accepted(json!({ "verify": "none", "expect": "any", "id_header": "x-id" })));
    assert!(!accepted(json!({ "verify": "all" })));
    assert!(!accepted(json!({ "verify": "none", "secrets": ["generated:a"] })));
    assert!(!accepted(json!({ "verify": "none", "scheme": "none" })));
    assert!(!accepted(json!({})));
    assert!(!accepted(json!({ "scheme": "githup", "secrets": ["generated:a"] })));
    assert!(!accepted(json!({ "scheme": 1 })));
}

#[test]
fn both_agree_on_what_a_recipe_needs_together() {
    let validator = validator();
    let recipe = |key: &str, value: Value| {
        let mut recipe = source(preset::preset("recipe").unwrap(), "");
        recipe[key] = value;
        accepted(&validator, &with_source(recipe))
    };
    assert!(!recipe("tolerance", json!("5m")));
    assert!(!recipe("public_url", json!("https://example.com/")));
    assert!(!recipe("signed", json!("{uri}{body}")));
    assert!(!recipe("encoding", json!("text")));
    assert!(recipe("encoding", json!("base64")));
    assert!(!recipe("item_id", json!(["/a"])));
    assert!(recipe("timestamp", json!("json:at")));
}

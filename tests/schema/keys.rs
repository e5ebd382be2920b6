//! Settings, workflows, steps of every kind, and their retries.

use everhook_journal::config::keys::{BRANCH, RETRY, SETTINGS, STEP, WORKFLOW};
use everhook_processor::steps::keys::{KINDS, Kind};
use serde_json::{Value, json};

use super::{accepted, agree_on, known, names, samples, validator};

fn looking() -> Value {
    json!([{ "name": "look", "run": "validate" }])
}

fn in_workflow(step: Value) -> Value {
    json!({ "workflows": { "w": { "steps": [step] } } })
}

/// A step of this kind with what it must have, and what goes with `key`.
fn step(kind: &Kind, key: &str) -> Value {
    let mut step = json!({ "name": "a", "run": kind.name });
    for required in kind.keys.iter().filter(|key| key.required) {
        step[required.name] = samples(required).remove(0);
    }
    let of_several = match key {
        // It goes with a time that is computed only.
        "max" => Some("until"),
        key if kind.one_of.contains(&key) => None,
        _ => kind.one_of.first().copied(),
    };
    for own in kind.keys.iter().filter(|key| Some(key.name) == of_several) {
        step[own.name] = samples(own).remove(0);
    }
    step
}

#[test]
fn both_agree_on_settings() {
    agree_on(SETTINGS, &|_| json!({}), &|table| json!({ "settings": table }));
    assert_eq!(known(&json!({ "settings": { "zzzzzzzz": 1 } })), names(SETTINGS));
}

#[test]
fn both_agree_on_workflows() {
    let place = |table| json!({ "workflows": { "w": table } });
    agree_on(WORKFLOW, &|_| json!({ "steps": looking() }), &place);
    let unknown = place(json!({ "steps": looking(), "zzzzzzzz": 1 }));
    assert_eq!(known(&unknown), names(WORKFLOW));
}

#[test]
fn both_agree_on_what_every_step_has() {
    let base = |_: &str| json!({ "name": "a", "run": "validate" });
    let mut keys = STEP.to_vec();
    keys.iter_mut().filter(|key| key.name == "run").for_each(|key| {
        key.form = everhook_journal::config::keys::Form::Words(&["validate", "http"]);
    });
    let place = |mut step: Value| {
        if step["run"] == "http" {
            step["url"] = json!("https://example.com");
        }
        in_workflow(step)
    };
    agree_on(&keys, &base, &place);
}

#[test]
fn both_agree_on_every_kind_of_step() {
    for kind in KINDS {
        agree_on(kind.keys, &|key| step(kind, key), &in_workflow);
        let mut unknown = step(kind, "");
        unknown["zzzzzzzz"] = json!(1);
        let inside = ["steps", "branches"];
        let own = kind.keys.iter().filter(|key| !inside.contains(&key.name));
        assert_eq!(known(&in_workflow(unknown)), names(own), "{}", kind.name);
    }
}

#[test]
fn every_built_in_kind_is_in_the_table() {
    let unknown = known(&in_workflow(json!({ "name": "a", "run": "zzzzzzzz" })));
    assert_eq!(unknown, KINDS.iter().map(|kind| kind.name.to_owned()).collect());
}

#[test]
fn both_agree_that_a_step_has_exactly_one_of_several_keys() {
    let validator = validator();
    for kind in KINDS.iter().filter(|kind| !kind.one_of.is_empty()) {
        let mut step = step(kind, "");
        for key in kind.keys.iter().filter(|key| kind.one_of.contains(&key.name)) {
            step[key.name] = samples(key).remove(0);
        }
        assert!(!accepted(&validator, &in_workflow(step.clone())));
        kind.one_of.iter().for_each(|key| drop(step.as_object_mut().unwrap().remove(*key)));
        assert!(!accepted(&validator, &in_workflow(step)));
    }
}

#[test]
fn both_agree_on_branches() {
    let place =
        |branch| in_workflow(json!({ "name": "a", "run": "parallel", "branches": [branch] }));
    agree_on(BRANCH, &|_| json!({ "name": "b", "steps": looking() }), &place);
    let unknown = place(json!({ "name": "b", "steps": looking(), "zzzzzzzz": 1 }));
    assert_eq!(known(&unknown), names(BRANCH));
}

#[test]
fn both_agree_on_retries() {
    let place = |retry| {
        in_workflow(
            json!({ "name": "a", "run": "http", "url": "https://example.com", "retry": retry }),
        )
    };
    let base = |key: &str| match key {
        "backoff" => json!({ "backoff": "fixed" }),
        _ => json!({}),
    };
    let (schedule, others): (Vec<_>, Vec<_>) = RETRY.iter().partition(|key| key.name == "backoff");
    agree_on(&others.into_iter().copied().collect::<Vec<_>>(), &base, &place);
    for backoff in samples(schedule[0]) {
        let mut retry = json!({ "backoff": backoff });
        if backoff == "schedule" {
            retry["schedule"] = json!(["1s"]);
        }
        assert!(accepted(&validator(), &place(retry)), "{backoff}");
    }
    assert!(!accepted(&validator(), &place(json!({ "backoff": "zzzzzzzz" }))));
    assert!(!accepted(&validator(), &place(json!("zzzzzzzz"))));
    assert_eq!(known(&place(json!({ "zzzzzzzz": 1 }))), names(RETRY));
}

#[test]
fn both_agree_on_steps_inside_of_steps() {
    let validator = validator();
    let looking = |step: Value| {
        in_workflow(json!({ "name": "a", "run": "poll", "until": ".", "steps": [step] }))
    };
    let inside = |run: &str| json!({ "name": "b", "run": run, "jq": ".", "for": "1s" });
    assert!(!accepted(&validator, &looking(inside("wait"))));
    assert!(!accepted(&validator, &looking(json!({ "name": "b", "run": "filter", "jq": "." }))));
    assert!(accepted(&validator, &looking(json!({ "name": "b", "run": "transform", "jq": "." }))));

    let around = |step: Value| {
        let inner = json!({ "name": "m", "run": "map", "items": ".", "steps": [step] });
        let branch = json!({ "name": "b", "steps": [inner] });
        in_workflow(json!({ "name": "a", "run": "parallel", "branches": [branch] }))
    };
    assert!(accepted(&validator, &around(json!({ "name": "x", "run": "validate" }))));
    assert!(!accepted(
        &validator,
        &around(json!({ "name": "x", "run": "validate", "zzzzzzzz": 1 }))
    ));
    assert!(!accepted(&validator, &around(json!({ "name": "x", "run": "transform" }))));
}

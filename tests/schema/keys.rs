//! Settings, workflows, steps of every kind, and their retries.

use everhook_journal::config::keys::{BRANCH, RETRY, SETTINGS, STEP, WORKFLOW};
use everhook_processor::steps::keys::{KINDS, Kind, Rule};
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
    for rule in kind.rules {
        let more = match rule {
            Rule::With(own, other) if *own == key => Some(*other),
            Rule::OneOf(keys) if !keys.contains(&key) && key != "max" => Some(keys[0]),
            Rule::Ordered(named) if ["group", "deduplication"].contains(&key) => {
                let name = step[*named].as_str().unwrap().to_owned();
                step[*named] = json!(format!("{name}.fifo"));
                Some("group")
            }
            _ => None,
        };
        for own in kind.keys.iter().filter(|key| Some(key.name) == more) {
            step[own.name] = samples(own).remove(0);
        }
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
fn both_agree_on_what_goes_together() {
    let validator = validator();
    let judged = |kind: &Kind, change: &dyn Fn(&mut Value)| {
        let mut step = step(kind, "");
        change(&mut step);
        accepted(&validator, &in_workflow(step))
    };
    let sample = |kind: &Kind, name: &str| {
        samples(kind.keys.iter().find(|key| key.name == name).unwrap()).remove(0)
    };
    for kind in KINDS {
        for rule in kind.rules {
            match rule {
                Rule::OneOf(keys) => {
                    let all = |step: &mut Value| {
                        keys.iter().for_each(|key| step[key] = sample(kind, key))
                    };
                    assert!(!judged(kind, &all));
                    let none = |step: &mut Value| {
                        step.as_object_mut()
                            .unwrap()
                            .retain(|key, _| !keys.contains(&key.as_str()));
                    };
                    assert!(!judged(kind, &none));
                }
                Rule::With(key, _) => {
                    assert!(!judged(kind, &|step| step[key] = sample(kind, key)));
                }
                Rule::NotBoth(key, other) => {
                    let both = |step: &mut Value| {
                        step[key] = sample(kind, key);
                        step[other] = sample(kind, other);
                        if let (true, Some(Value::String(queue))) =
                            (*other == "group", step.get("queue"))
                        {
                            step["queue"] = json!(format!("{queue}.fifo"));
                        }
                    };
                    assert!(!judged(kind, &both));
                }
                Rule::Without(key, value, others) => {
                    assert!(judged(kind, &|step| step[key] = json!(value)));
                    for other in *others {
                        let both = |step: &mut Value| {
                            step[key] = json!(value);
                            step[other] = sample(kind, other);
                        };
                        assert!(!judged(kind, &both));
                    }
                }
                Rule::Ordered(key) => {
                    let name = |step: &Value| format!("{}.fifo", step[key].as_str().unwrap());
                    assert!(!judged(kind, &|step| step[key] = json!(name(step))));
                    assert!(!judged(kind, &|step| step["group"] = json!("x")));
                    assert!(!judged(kind, &|step| step["deduplication"] = json!("x")));
                }
            }
        }
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

    for (key, value) in [("retry", json!("none")), ("timeout", json!("1s")), ("when", json!("."))] {
        let mut step = inside("validate");
        step.as_object_mut().unwrap().retain(|key, _| key == "name" || key == "run");
        step[key] = value;
        assert!(!accepted(&validator, &looking(step)));
    }

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

//! The schema that is shipped, and whether it says of each key what the reader says.

mod keys;
mod sources;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use everhook::{Steps, check};
use everhook_journal::config::Config;
use everhook_journal::config::keys::{Form, Key};
use jsonschema::Validator;
use serde_json::{Value, json};

/// One for all: its clients read the machine's certificates once.
static STEPS: LazyLock<Steps> = LazyLock::new(Steps::new);

/// Values of every type that TOML has, but for texts, which mean something to their readers.
fn values() -> [Value; 14] {
    [
        json!(true),
        json!(false),
        json!(-1),
        json!(0),
        json!(1),
        json!(101),
        json!(1_001),
        json!(7.5),
        json!([]),
        json!(["x"]),
        json!([1]),
        json!(["1s"]),
        json!({}),
        json!({ "zzzzzzzz": 1 }),
    ]
}

fn validator() -> Validator {
    jsonschema::options().offline().build(&everhook::schema::schema()).unwrap()
}

/// What the reader finds wrong.
fn read(config: &Value) -> Vec<String> {
    let text = toml::to_string(config).unwrap();
    let told = |problem: &everhook_journal::config::Problem| problem.message.clone();
    match Config::parse(&text, PathBuf::new()) {
        Err(problems) => problems.iter().map(told).collect(),
        Ok(config) => check::problems(&config, STEPS.clone()).iter().map(told).collect(),
    }
}

/// Whether both accept it; panics if they do not agree.
#[track_caller]
fn accepted(validator: &Validator, config: &Value) -> bool {
    let schema: Vec<_> = validator.iter_errors(config).map(|error| error.to_string()).collect();
    let reader = read(config);
    assert_eq!(
        schema.is_empty(),
        reader.is_empty(),
        "{config:#}\nthe schema says: {schema:#?}\nthe reader says: {reader:#?}"
    );
    schema.is_empty()
}

/// Asks both of every key of a table: `place` puts the table into a configuration that is right with `base`.
#[track_caller]
fn agree_on(keys: &[Key], base: &dyn Fn(&str) -> Value, place: &dyn Fn(Value) -> Value) {
    let validator = validator();
    for key in keys {
        let with = |value: Value| {
            let mut table = base(key.name);
            table[key.name] = value;
            place(table)
        };
        for sample in samples(key) {
            assert!(accepted(&validator, &with(sample.clone())), "{} = {sample}", key.name);
        }
        let mut refused = 0;
        for value in values() {
            refused += usize::from(!accepted(&validator, &with(value)));
        }
        assert!(refused > 0 || matches!(key.form, Form::Anything), "{} takes anything", key.name);
        if key.required {
            let mut table = base(key.name);
            table.as_object_mut().unwrap().remove(key.name);
            assert!(!accepted(&validator, &place(table)), "{} may be missing", key.name);
        }
    }
    let mut unknown = base("");
    unknown["zzzzzzzz"] = json!(1);
    assert!(!accepted(&validator, &place(unknown)), "an unknown key is accepted");
}

/// The keys that the reader says it knows, where it does not know one.
#[track_caller]
fn known(config: &Value) -> BTreeSet<String> {
    let problems = read(config);
    let said = problems.iter().find_map(|problem| problem.split_once("known here: "));
    let (_, names) = said.unwrap_or_else(|| panic!("no unknown key in {config:#}: {problems:?}"));
    names.split(", ").map(str::to_owned).collect()
}

fn names<'k>(keys: impl IntoIterator<Item = &'k Key>) -> BTreeSet<String> {
    keys.into_iter().map(|key| key.name.to_owned()).collect()
}

/// Values that a key takes.
fn samples(key: &Key) -> Vec<Value> {
    match key.name {
        "url" => return vec![json!("https://example.com/hook")],
        "public_url" => return vec![json!("https://example.com/webhook/s")],
        "id" | "type" | "timestamp" => return vec![json!("header:x-a")],
        "signed" => return vec![json!("{header:x-a}{body}")],
        "schema" => return vec![json!({ "required": ["a"] })],
        "delay" => return vec![json!("15m")],
        "topic" => return vec![json!("arn:aws:sns:eu-central-1:123456789012:a")],
        "limit" => return vec![json!({ "rate": "10/s" }), json!({ "concurrency": 2 })],
        "sign" => return vec![json!({ "secrets": ["generated:acme"] })],
        "workflow" => return vec![json!("default")],
        "topics" => return vec![json!(["arn:aws:sns:eu-central-1:123456789012:a"])],
        _ => {}
    }
    of_form(&key.form)
}

fn of_form(form: &Form) -> Vec<Value> {
    let step = || json!({ "name": "inside", "run": "validate" });
    match form {
        Form::Text => vec![json!("x")],
        Form::Jq => vec![json!(".")],
        Form::Pattern(pattern) | Form::Template(pattern) => {
            let fits = ["x", ",", "10%", "acme", "https://example.com/"];
            let fits = fits
                .into_iter()
                .filter(|text| jsonschema::is_valid(&json!({ "pattern": pattern }), &json!(text)));
            fits.map(Value::from).take(1).collect()
        }
        Form::Texts => vec![json!([]), json!(["x-a", "x-b"])],
        Form::SomeTexts => vec![json!(["x-a", "x-b"])],
        Form::Reference => vec![json!("generated:acme"), json!("ssm:/acme")],
        Form::References => vec![json!(["generated:acme", "secretsmanager:acme#key"])],
        Form::Pointer => vec![json!(""), json!("/a/0")],
        Form::Pointers => vec![json!([]), json!(["/a", "/b"])],
        Form::TextTable => vec![json!({ "X-A": "b" })],
        Form::Words(words) => words.iter().map(|word| json!(word)).collect(),
        Form::Duration => ["1s", "1500ms", "0.5m", "30 seconds"].map(Value::from).to_vec(),
        Form::Durations => vec![json!(["1s", "1m"])],
        Form::Off => vec![json!(false)],
        Form::Flag => vec![json!(true), json!(false)],
        Form::Whole(least, most) => vec![json!(least), json!(most.min(&1_000))],
        Form::Number(least, most) => vec![json!(least), json!(most), json!(1.5)],
        Form::Table(_) | Form::AnyTable => vec![json!({})],
        Form::Anything => vec![json!("x"), json!({ "a": [1] })],
        Form::Either(forms) => forms.iter().flat_map(of_form).collect(),
        Form::Defined("steps" | "look") => vec![json!([step()])],
        Form::Defined("branches") => vec![json!([{ "name": "b", "steps": [step()] }])],
        Form::Defined("retry") => vec![json!({}), json!({ "attempts": 2, "first": "1s" })],
        Form::Defined(name) => panic!("there is no sample of {name}"),
    }
}

/// The file that is shipped, or made if `UPDATE_DOCS` is set.
#[test]
fn the_schema_that_is_shipped_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/everhook.schema.json");
    let text = everhook::schema::text();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let renew = "UPDATE_DOCS=1 cargo test -p everhook --test everhook -- schema";
    assert!(std::fs::read_to_string(&path).unwrap_or_default() == text, "{renew}");
}

#[test]
fn the_schema_is_a_schema() {
    jsonschema::draft7::meta::validate(&everhook::schema::schema()).unwrap();
}

/// Every configuration in the repository, each with where it stands.
fn configurations() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = ["config", "docs", "examples", "tests", "ingest", "journal", "processor"]
        .map(|folder| root.join(folder))
        .to_vec();
    let mut files = vec![root.join("README.md")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            match path.is_dir() {
                true if name != "node_modules" && name != "target" => folders.push(path),
                true => {}
                false => files.push(path),
            }
        }
    }
    for path in files {
        let name = path.display().to_string();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml")
                if !name.ends_with("Cargo.toml") && !name.ends_with("not-applicable.toml") =>
            {
                let text = std::fs::read_to_string(&path).unwrap();
                // Some are completed before they are read.
                if text.contains("${") {
                    continue;
                }
                found.push((format!("{name}, uncommented"), uncommented(&text)));
                found.push((name, text));
            }
            Some("md") => {
                let text = std::fs::read_to_string(&path).unwrap();
                // What begins with a key is a part of a table, and no configuration by itself.
                let blocks = text.split("```toml\n").skip(1);
                let blocks = blocks.filter_map(|block| Some(block.split_once("\n```")?.0));
                let whole = blocks.filter(|block| block.starts_with(['[', '#']));
                found.extend(whole.map(|block| (name.clone(), block.to_owned())));
            }
            _ => {}
        }
    }
    found
}

/// A file whose examples are used: lines that begin with `#` and no space.
fn uncommented(text: &str) -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(example) if !example.starts_with([' ', ':']) => format!("{example}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
fn every_configuration_in_the_repository_is_valid() {
    let validator = validator();
    let found = configurations();
    assert!(found.len() > 60, "only {} were found", found.len());
    for (place, text) in found {
        let config: Value =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{place}: {error}\n{text}"));
        let errors: Vec<_> = validator.iter_errors(&config).collect();
        assert!(errors.is_empty(), "{place}: {errors:#?}\n{text}");
    }
}

#[test]
fn every_key_is_in_the_documentation() {
    let pages =
        [include_str!("../docs/configuration.md"), include_str!("../docs/steps.md")].concat();
    let mut keys: Vec<Key> = Vec::new();
    for table in [
        everhook_journal::config::keys::SETTINGS,
        everhook_journal::config::keys::STEP,
        everhook_journal::config::keys::RETRY,
        everhook_journal::config::keys::WORKFLOW,
    ] {
        keys.extend(table);
    }
    keys.extend(everhook_processor::steps::keys::KINDS.iter().flat_map(|kind| kind.keys));
    for preset in everhook_ingest::signature::preset::all() {
        keys.extend(everhook_ingest::source::keys::keys(preset));
    }
    for name in names(&keys) {
        assert!(pages.contains(&format!("`{name}`")), "nothing is said of `{name}`");
    }
}

use serde_json::json;

use super::*;
use crate::retry::{Backoff, Retry};
use crate::workflow::StepDefinition;

/// A workflow `w` with the step `a` on lines 1 to 3.
const STEP: &str = "[[workflows.w.steps]]\nname = \"a\"\nrun = \"http\"\n";

fn parsed(text: &str) -> Result<Config, Vec<Problem>> {
    Config::parse(text, PathBuf::new())
}

/// What a user is told of a file.
#[track_caller]
fn problems(text: &str) -> Vec<String> {
    parsed(text).unwrap_err().iter().map(ToString::to_string).collect()
}

#[track_caller]
fn workflow(text: &str) -> Workflow {
    parsed(text).unwrap().workflows.remove(&WorkflowName::new("w")).unwrap()
}

/// The step `a` with this on line 4.
#[track_caller]
fn step_with(line: &str) -> StepDefinition {
    workflow(&format!("{STEP}{line}\n")).steps.remove(0)
}

/// The step `a` as it is if its file says no more.
fn plain() -> StepDefinition {
    StepDefinition {
        name: StepName::new("a"),
        run: "http".into(),
        timeout_ms: 30_000,
        retry: Retry::DEFAULT,
        when: None,
        at_most_once: None,
        record_request: true,
        steps: Vec::new(),
        branches: Vec::new(),
        options: BTreeMap::new(),
    }
}

#[test]
fn a_wrong_file_says_where_and_what() {
    let cases = [
        // No TOML.
        ("x", "line 1: key with no value, expected `=`"),
        ("\n\nname = \"open", "line 3: invalid basic string, expected `\"`"),
        ("[sources.s]\n[sources.s]", "line 2: duplicate key"),
        // The top.
        ("\n[source.s]", "line 2: unknown key `source`; did you mean `sources`?"),
        ("[pipes]", "line 1: unknown key `pipes`; known here: settings, sources, workflows"),
        ("\r\nsources = 1", "line 2: `sources` must be a table"),
        // Settings.
        (
            "[settings]\n\nretension = \"7d\"",
            "line 3: [settings]: unknown key `retension`; did you mean `retention`?",
        ),
        (
            "[settings]\nretention = 7",
            "line 2: [settings]: `retention` must be a duration such as \"30s\", \"15m\" or \"7d\"",
        ),
        (
            "[settings]\nrun_ahead = true",
            "line 2: [settings]: `run_ahead` has no meaning any more: an execution always goes on as far as it can; \
             remove the line",
        ),
        (
            "[settings]\nbody_bytes_max = -1",
            "line 2: [settings]: `body_bytes_max` must be a whole number",
        ),
        ("[settings]\nbacklog_max = 0", "line 2: [settings]: `backlog_max` must be at least 1"),
        ("[settings]\n\nconcurrency = 0", "line 3: [settings]: `concurrency` must be at least 1"),
        (
            "[settings]\nprivate_hosts = [1]",
            "line 2: [settings]: `private_hosts` must be a list of texts",
        ),
        // Sources.
        ("[sources]\ns = 1", "line 2: [sources.s] must be a table"),
        (
            "[sources.\"a b\"]",
            "line 1: [sources.a b]: `a b` is no name: use 1 to 64 letters, digits, `-` and `_`",
        ),
        (
            "[sources.\"\"]",
            "line 1: [sources.]: `` is no name: use 1 to 64 letters, digits, `-` and `_`",
        ),
        ("[sources.s]\nworkflow = 7", "line 2: [sources.s]: `workflow` must be a text in quotes"),
        (
            "[sources.s]\nworkflow = \"w\"",
            "line 2: [sources.s]: there is no workflow `w`; write [[workflows.w.steps]]",
        ),
        (
            "[sources.s]",
            "line 1: [sources.s]: there is no workflow `default`; write [[workflows.default.steps]]",
        ),
        // Workflows.
        ("[workflows]\nw = 1", "line 2: [workflows.w]: must be a table with `steps`"),
        ("[workflows.w]", "line 1: [workflows.w]: has no steps; write [[workflows.w.steps]]"),
        ("[workflows.w]\nsteps = []", "line 1: [workflows.w]: must have 1 to 100 steps"),
        ("[workflows.w]\nsteps = [1]", "line 2: [workflows.w]: a step must be a table"),
        (
            "[workflows.w]\nstep = []",
            "line 2: [workflows.w]: unknown key `step`; did you mean `steps`?",
        ),
        (
            "[[workflows.\"a/b\".steps]]",
            "line 1: [workflows.a/b]: `a/b` is no name: use 1 to 64 letters, digits, `-` and `_`",
        ),
        // Steps.
        (
            "[[workflows.w.steps]]\nrun = \"http\"",
            "line 1: [[workflows.w.steps]]: `name` is missing",
        ),
        ("[[workflows.w.steps]]\nname = \"a\"", "line 1: [[workflows.w.steps]]: `run` is missing"),
        (
            "[[workflows.w.steps]]\nname = 1",
            "line 2: [[workflows.w.steps]]: `name` must be a text in quotes",
        ),
        (
            "[[workflows.w.steps]]\nname = \"a b\"",
            "line 2: [[workflows.w.steps]]: `a b` is no name: use 1 to 64 letters, digits, `-` and `_`",
        ),
    ];
    for (text, problem) in cases {
        assert_eq!(problems(text), [problem], "{text:?}");
    }
}

#[test]
fn a_wrong_step_says_where_and_what() {
    let timeout = "line 4: [[workflows.w.steps]]: `timeout` must be";
    let retry = "line 4: [[workflows.w.steps]], `retry`:";
    let cases = [
        ("timeout = 30", format!("{timeout} a duration such as \"30s\", \"15m\" or \"7d\"")),
        ("timeout = \"50001ms\"", format!("{timeout} between 1ms and 50s")),
        ("timeout = \"0s\"", format!("{timeout} between 1ms and 50s")),
        ("timeout = \"999us\"", format!("{timeout} between 1ms and 50s")),
        (
            "retry = 3",
            "line 4: [[workflows.w.steps]]: `retry` must be a table, or the name of a preset in quotes"
                .into(),
        ),
        ("retry = { attempts = 0 }", format!("{retry} `attempts` must be 1 to 100")),
        ("retry = { attempts = 101 }", format!("{retry} `attempts` must be 1 to 100")),
        ("retry = { attempts = \"3\" }", format!("{retry} `attempts` must be a whole number")),
        (
            "retry = { attempt = 3 }",
            format!("{retry} unknown key `attempt`; did you mean `attempts`?"),
        ),
        (
            "retry = { delay = \"1s\" }",
            format!("{retry} unknown key `delay`; known here: preset, attempts, schedule, backoff, first, max, jitter, rate, max_age, on, not_on"),
        ),
        (
            "retry = { backoff = \"random\" }",
            format!("{retry} `backoff` is \"exponential\", \"linear\", \"fixed\" or \"schedule\", not \"random\""),
        ),
        (
            "retry = { first = 1 }",
            format!("{retry} `first` must be a duration such as \"30s\", \"15m\" or \"7d\""),
        ),
        ("name = \"b\"", "line 4: duplicate key".into()),
    ];
    for (line, problem) in cases {
        assert_eq!(problems(&format!("{STEP}{line}\n")), [problem], "{line:?}");
    }
}

#[test]
fn two_steps_of_one_name_are_refused() {
    let problem = "line 5: [workflows.w]: has two steps named `a`";
    assert_eq!(problems(&format!("{STEP}\n{STEP}")), [problem]);
}

#[test]
fn a_workflow_has_a_hundred_steps_at_most() {
    let steps = |count| -> String {
        (0..count)
            .map(|n| format!("[[workflows.w.steps]]\nname = \"s{n}\"\nrun = \"http\"\n"))
            .collect()
    };
    assert_eq!(workflow(&steps(100)).steps.len(), 100);
    assert_eq!(problems(&steps(101)), ["line 1: [workflows.w]: must have 1 to 100 steps"]);
}

#[test]
fn each_wrong_place_is_told_in_the_order_of_the_file() {
    let text = "[workflows.w]\n[sources.\"?\"]\n[setting]\n";

    assert_eq!(
        problems(text),
        [
            "line 1: [workflows.w]: has no steps; write [[workflows.w.steps]]",
            "line 2: [sources.?]: `?` is no name: use 1 to 64 letters, digits, `-` and `_`",
            "line 3: unknown key `setting`; did you mean `settings`?",
        ]
    );
}

#[test]
fn a_workflow_with_a_problem_is_not_said_to_be_missing_too() {
    let text = format!("{STEP}retry = 3\n[sources.s]\nworkflow = \"w\"\n");

    assert_eq!(
        problems(&text),
        [
            "line 4: [[workflows.w.steps]]: `retry` must be a table, or the name of a preset in quotes"
        ]
    );
}

#[test]
fn an_empty_file_is_a_configuration_without_sources() {
    let config = parsed("").unwrap();

    assert_eq!(config.settings, Settings::default());
    assert!(config.sources.is_empty() && config.workflows.is_empty());
}

#[test]
fn all_settings_are_read() {
    let text = "[settings]\nretention = \"30d\"\nbody_bytes_max = 1_000\n\
                concurrency = 8\nbacklog_max = 9\nprivate_hosts = [\"ci.internal\"]\nexecution_key = \"env:KEY\"\n\
                callback_key = \"env:CALLBACKS\"\npublic_url = \"https://hooks.example.com\"\n";

    let expected = Settings {
        retention: Some(Duration::from_secs(30 * 24 * 3600)),
        body_bytes_max: 1_000,
        concurrency: 8,
        backlog_max: 9,
        private_hosts: vec!["ci.internal".into()],
        execution_key: Some("env:KEY".into()),
        callback_key: Some("env:CALLBACKS".into()),
        public_url: Some("https://hooks.example.com".into()),
    };
    assert_eq!(parsed(text).unwrap().settings, expected);
}

#[test]
fn a_source_keeps_its_other_keys_with_their_lines() {
    let text = format!("[sources.s]\nscheme = \"none\"\nworkflow = \"w\"\n{STEP}");

    let mut source = parsed(&text).unwrap().sources.remove(&SourceName::new("s")).unwrap();

    assert_eq!(source.workflow, WorkflowName::new("w"));
    let entry = source.section.take("scheme").unwrap();
    assert_eq!((entry.line, entry.value), (2, json!("none")));
    assert_eq!(source.section.finish(), Ok(()));
}

#[test]
fn a_step_that_says_no_more_has_the_usual() {
    assert_eq!(step_with(""), plain());
}

#[test]
fn a_step_that_only_computes_is_not_tried_again_unless_it_says_so() {
    let pure = |more: &str| {
        let text = format!("[[workflows.w.steps]]\nname = \"a\"\nrun = \"transform\"\n{more}\n");
        workflow(&text).steps.remove(0).retry
    };
    assert_eq!(pure(""), Retry::NEVER);
    assert_eq!(pure("retry = { attempts = 2 }"), Retry { attempts: 2, ..Retry::DEFAULT });
}

#[test]
fn durations_are_read() {
    for (text, millis) in [("1ms", 1), ("1500ms", 1_500), ("1.5s", 1_500), ("50s", 50_000)] {
        let step = step_with(&format!("timeout = \"{text}\""));
        assert_eq!(step, StepDefinition { timeout_ms: millis, ..plain() });
    }
}

#[test]
fn the_retry_table_is_read() {
    let usual = Retry::DEFAULT;
    let cases = [
        ("{}", usual.clone()),
        ("{ attempts = 1 }", Retry { attempts: 1, ..usual.clone() }),
        ("{ backoff = \"fixed\" }", Retry { backoff: Backoff::Fixed, ..usual.clone() }),
        ("{ max = \"15m\" }", Retry { max_ms: 900_000, ..usual.clone() }),
        // A first delay above the usual maximum raises it.
        ("{ first = \"2h\" }", Retry { first_ms: 7_200_000, max_ms: 7_200_000, ..usual }),
        (
            "{ attempts = 8, backoff = \"exponential\", first = \"2s\", max = \"15m\" }",
            Retry { attempts: 8, first_ms: 2_000, max_ms: 900_000, ..Retry::DEFAULT },
        ),
    ];
    for (table, retry) in cases {
        assert_eq!(step_with(&format!("retry = {table}")), StepDefinition { retry, ..plain() });
    }
}

#[test]
fn the_retry_table_may_stand_by_itself() {
    let step = step_with("[workflows.w.steps.retry]\nattempts = 2");

    let retry = Retry { attempts: 2, ..Retry::DEFAULT };
    assert_eq!(step, StepDefinition { retry, ..plain() });
}

#[test]
fn other_keys_are_the_options_of_the_step() {
    let step =
        step_with("url = \"https://a.example\"\nn = 0x1_0\nx = 1_0.5\nok = true\nt = { a = [1] }");

    let options =
        json!({"url": "https://a.example", "n": 16, "x": 10.5, "ok": true, "t": {"a": [1]}});
    let options = serde_json::from_value(options).unwrap();
    assert_eq!(step, StepDefinition { options, ..plain() });
}

#[test]
fn a_problem_with_an_option_is_told_at_its_line() {
    let config = parsed(&format!("\n{STEP}jq = \".\"\n")).unwrap();
    let (workflow, step) = (WorkflowName::new("w"), StepName::new("a"));
    let problem = |step, option| config.step_problem(&workflow, step, option, "no").to_string();

    let at_the_option = problem(&step, Some("jq"));
    let at_the_step = problem(&step, Some("url"));
    let nowhere = problem(&StepName::new("b"), None);

    assert_eq!(at_the_option, "line 5: [[workflows.w.steps]] step `a`: no");
    assert_eq!(at_the_step, "line 2: [[workflows.w.steps]] step `a`: no");
    assert_eq!(nowhere, "line 1: step `b` of `w`: no");
}

#[test]
fn a_schema_is_read_from_beside_the_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("schemas")).unwrap();
    std::fs::write(folder.path().join("schemas/a.json"), r#"{"type": "object"}"#).unwrap();
    let path = folder.path().join("everhook.toml");
    std::fs::write(&path, format!("{STEP}schema = \"schemas/a.json\"\n")).unwrap();

    let config = Config::load(&path).unwrap();

    let options = BTreeMap::from([("schema".into(), json!({"type": "object"}))]);
    let steps = &config.workflows[&WorkflowName::new("w")].steps;
    assert_eq!(*steps, [StepDefinition { options, ..plain() }]);
}

#[test]
fn a_changed_schema_is_another_definition() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!("{STEP}schema = \"a.json\"\n");
    let hash = |schema: &str| {
        std::fs::write(folder.path().join("a.json"), schema).unwrap();
        let config = Config::parse(&text, folder.path().to_owned()).unwrap();
        config.workflows[&WorkflowName::new("w")].hash()
    };
    assert_eq!(
        hash(r#"{"type":"object","required":["a"]}"#),
        hash(r#"{ "required": ["a"], "type": "object" }"#)
    );
    assert_ne!(hash(r#"{"type":"object"}"#), hash(r#"{"type":"array"}"#));
}

#[test]
fn a_schema_that_is_missing_or_no_json_says_so() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.json"), "{").unwrap();
    let problem = |schema: &str| {
        let text = format!("{STEP}schema = \"{schema}\"\n");
        Config::parse(&text, folder.path().to_owned()).unwrap_err().remove(0).to_string()
    };
    let place = |schema| folder.path().join(schema).display().to_string();

    let (broken, missing) = (problem("a.json"), problem("b.json"));

    let prefix = "line 4: [[workflows.w.steps]]:";
    let expected = format!("{prefix} {} is not JSON: EOF", place("a.json"));
    assert!(broken.starts_with(&expected), "{broken}");
    let expected = format!("{prefix} {} cannot be read: ", place("b.json"));
    assert!(missing.starts_with(&expected), "{missing}");
}

#[test]
fn a_file_that_is_missing_says_which() {
    let error = Config::load(Path::new("nowhere/everhook.toml")).unwrap_err();

    let text = error.to_string();
    assert!(text.starts_with("nowhere/everhook.toml:1: cannot be read: "), "{text}");
    assert!(text.ends_with("; name another file with --config"), "{text}");
}

#[test]
fn the_order_of_keys_is_no_part_of_a_definition() {
    let one = "[[workflows.w.steps]]\nname = \"a\"\nrun = \"http\"\ntimeout = \"5s\"\nurl = \"u\"\n\
               headers = { b = \"2\", a = \"1\" }\nretry = { attempts = 2, first = \"1s\" }\n";
    let other = "[[workflows.w.steps]]\nretry = { first = \"1000ms\", attempts = 2 }\n\
                 headers = { a = \"1\", b = \"2\" }\nurl = \"u\"\ntimeout = \"5000ms\"\n\
                 run = \"http\"\nname = \"a\"\n";

    assert_eq!(workflow(one).hash(), workflow(other).hash());
}

#[test]
fn the_order_of_steps_is_part_of_a_definition() {
    let step = |name: &str| STEP.replace("\"a\"", &format!("\"{name}\""));

    let one = workflow(&(step("a") + &step("b")));
    let other = workflow(&(step("b") + &step("a")));

    assert_ne!(one.hash(), other.hash());
}

#[test]
fn the_shipped_file_is_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/everhook.toml");

    let config = Config::load(&path).unwrap();

    let workflow = &config.workflows[&WorkflowName::new("default")];
    let steps: Vec<_> = workflow.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(steps, ["validate", "process", "finalize"]);
    let source = &config.sources[&SourceName::new("default")];
    assert_eq!(source.workflow, workflow.name);
}

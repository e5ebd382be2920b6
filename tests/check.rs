//! What `everhook check` refuses, and a start as well: each with its line and what to do.

use std::path::PathBuf;
use std::sync::Arc;

use everhook::local::{Engine, Parts};
use everhook::{Steps, check};
use everhook_journal::config::Config;
use everhook_journal::store::Store;
use everhook_journal::{Clock, Payloads, Secrets};
use object_store::memory::InMemory;

/// What `everhook check` says of a workflow `w`.
fn problems(workflow: &str) -> Vec<String> {
    match Config::parse(workflow, PathBuf::new()) {
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
        Ok(config) => {
            check::problems(&config, Steps::new()).iter().map(ToString::to_string).collect()
        }
    }
}

/// What a start says of it, if it fails.
async fn started(workflow: &str) -> Option<String> {
    let config = match Config::parse(workflow, PathBuf::new()) {
        Err(problems) => return problems.first().map(ToString::to_string),
        Ok(config) => config,
    };
    let kept = tempfile::tempdir().unwrap();
    let folder = kept.path().to_owned();
    let secrets = Secrets::new(folder.clone(), Some(folder));
    let engine = Engine::in_memory().unwrap();
    let client = engine.dynamodb();
    let payloads = Payloads::new(Arc::new(InMemory::new()));
    let parts = Parts::new(
        &config,
        &secrets,
        Steps::new(),
        Store::new(client),
        payloads,
        Clock::System,
        "http://127.0.0.1",
    );
    Some(parts.await.err()?.to_string())
}

/// A step in TOML, one key a line: `name`, `run`, and what else there is.
fn step(place: &str, name: &str, run: &str, more: &str) -> String {
    format!("[[workflows.w.{place}]]\nname = \"{name}\"\nrun = \"{run}\"\n{more}\n")
}

#[track_caller]
fn assert_refused(workflow: &str, expected: &str) {
    let told = problems(workflow);
    assert!(told.iter().any(|told| told == expected), "{workflow}\n{told:#?}\n{expected:?}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let started = runtime.block_on(started(workflow)).expect("it starts");
    assert!(started.ends_with(&expected.to_owned()), "the start says: {started}");
}

#[track_caller]
fn assert_fine(workflow: &str) {
    assert_eq!(problems(workflow), Vec::<String>::new(), "{workflow}");
}

#[test]
fn a_kind_that_nobody_knows_is_refused() {
    assert_refused(
        &step("steps", "a", "tranform", ""),
        "line 1: [[workflows.w.steps]] step `a`: unknown kind of step `tranform`; did you mean `transform`?",
    );
}

#[test]
fn an_expression_that_is_none_is_refused_at_its_line() {
    let at =
        "line 4: [[workflows.w.steps]] step `a`: line 1, column 4: expected term, found the end";
    for (run, key) in
        [("transform", "jq"), ("filter", "jq"), ("wait", "until"), ("validate", "when")]
    {
        assert_refused(&step("steps", "a", run, &format!("{key} = \".a|\"")), at);
    }
    let inner = step("steps.steps", "b", "validate", "");
    assert_refused(&format!("{}{inner}", step("steps", "a", "map", "items = \".a|\"")), at);
    assert_refused(&format!("{}{inner}", step("steps", "a", "poll", "until = \".a|\"")), at);
    let inside = step("steps.steps", "b", "transform", "jq = \"nothing\"");
    assert_refused(
        &format!("{}{inside}", step("steps", "a", "map", "items = \".\"")),
        "line 8: [[workflows.w.steps.steps]] step `b`: line 1, column 1: there is no function `nothing`",
    );
}

#[test]
fn a_wrong_step_inside_of_a_poll_is_told_once_where_it_stands() {
    let poll = step("steps", "a", "poll", "until = \".\"")
        + &step("steps.steps", "b", "transform", "jq = \"x\"");
    assert_eq!(
        problems(&poll),
        [
            "line 8: [[workflows.w.steps.steps]] step `b`: line 1, column 1: there is no function `x`"
        ]
    );
}

#[test]
fn durations_that_are_none_are_refused() {
    let at = |key: &str| {
        format!(
            "line 4: [[workflows.w.steps]] step `a`: `{key}` must be a duration such as \"30s\", \"15m\" or \"7d\", at most 366d"
        )
    };
    for value in ["\"0s\"", "\"-1s\"", "\"367d\"", "\"soon\"", "30", "\"1 month\"", "\"\""] {
        assert_refused(&step("steps", "a", "wait", &format!("for = {value}")), &at("for"));
        assert_refused(
            &step("steps", "a", "callback", &format!("expires = {value}")),
            &at("expires"),
        );
    }
    assert_fine(&step("steps", "a", "wait", "for = \"366d\""));
    for (value, how) in [("0s", "between 1ms and 50s"), ("51s", "between 1ms and 50s")] {
        let timeout = step("steps", "a", "validate", &format!("timeout = \"{value}\""));
        assert_refused(
            &timeout,
            &format!("line 4: [[workflows.w.steps]]: `timeout` must be {how}"),
        );
    }
    let retry = |table: &str| {
        step("steps", "a", "http", &format!("url = \"https://example.com\"\nretry = {table}"))
    };
    let told = |what: &str| format!("line 5: [[workflows.w.steps]], `retry`: {what}");
    assert_refused(&retry("{ first = \"0s\" }"), &told("`first` and `max` must be at least 1ms"));
    assert_refused(
        &retry("{ first = \"9s\", max = \"8s\" }"),
        &told("`max` is shorter than `first`"),
    );
    assert_refused(&retry("{ max_age = \"0s\" }"), &told("`max_age` must be between 1ms and 366d"));
    assert_refused(
        &retry("{ schedule = [] }"),
        &told("`schedule` must have at least one duration"),
    );
    assert_fine(&retry("{ preset = \"none\" }"));
    assert_refused(
        "[settings]\nretention = \"0s\"\n",
        "line 2: [settings]: `retention` must be longer than nothing",
    );
}

#[test]
fn steps_that_hold_others_must_hold_some() {
    let told = |what: &str| format!("line 1: [[workflows.w.steps]]: {what}");
    let inner = step("steps.steps", "b", "validate", "");
    assert_refused(
        &step("steps", "a", "map", "items = \".\""),
        &told("a `map` needs steps of its own; write [[workflows.w.steps.steps]] below it"),
    );
    assert_refused(
        &format!("{}{inner}", step("steps", "a", "map", "")),
        "line 1: [[workflows.w.steps]] step `a`: `items` is missing",
    );
    assert_refused(
        &step("steps", "a", "poll", "until = \".\""),
        &told("a `poll` needs steps of its own; write [[workflows.w.steps.steps]] below it"),
    );
    assert_refused(
        &format!("{}{inner}", step("steps", "a", "poll", "")),
        "line 1: [[workflows.w.steps]] step `a`: `until` is missing",
    );
    assert_refused(
        &step("steps", "a", "parallel", ""),
        &told("a `parallel` needs branches; write [[workflows.w.steps.branches]] below it"),
    );
    assert_fine(&step("steps", "a", "parallel", "branches = []"));
    for key in [
        "when = \".\"",
        "timeout = \"1s\"",
        "retry = \"none\"",
        "at_most_once = true",
        "record_request = false",
    ] {
        let word = key.split(' ').next().unwrap();
        let look = step("steps.steps", "b", "validate", key);
        assert_refused(
            &format!("{}{look}", step("steps", "a", "poll", "until = \".\"")),
            &format!(
                "line 8: [[workflows.w.steps]]: `{word}` says nothing inside of a `poll`; give it to the `poll`"
            ),
        );
    }
}

#[test]
fn names_are_unique_also_inside() {
    let twice =
        step("steps", "a", "map", "items = \".\"") + &step("steps.steps", "a", "validate", "");
    assert_refused(&twice, "line 5: [workflows.w]: has two steps named `a`");
    let rescue = step("steps", "a", "validate", "") + &step("on_failure", "a", "validate", "");
    assert_refused(&rescue, "line 5: [workflows.w]: has two steps named `a`");
    let branch = |name: &str| {
        format!(
            "[[workflows.w.steps.branches]]\nname = \"left\"\n{}",
            step("steps.branches.steps", name, "validate", "")
        )
    };
    let branches = step("steps", "a", "parallel", "") + &branch("b") + &branch("c");
    assert_refused(
        &branches,
        "line 12: [[workflows.w.steps.branches]]: has two branches named `left`",
    );
}

#[test]
fn a_workflow_is_neither_too_long_nor_too_deep() {
    let many: String = (0..101).map(|n| step("steps", &format!("s{n}"), "validate", "")).collect();
    assert_refused(&many, "line 1: [workflows.w]: must have 1 to 100 steps");
    let long = |n| {
        let name = format!("s{n}");
        step("steps", &name, "transform", &format!("jq = '\"{}\"'", "x".repeat(60_000)))
    };
    let (fits, large) =
        ((0..6).map(long).collect::<String>(), (0..7).map(long).collect::<String>());
    assert_eq!(problems(&fits), [""; 0]);
    let refused = problems(&large);
    assert!(refused[0].contains("[workflows.w]: its definition has 42"), "{refused:?}");
    assert!(refused[0].contains("at most 390000 can be kept; shorten its schemas"), "{refused:?}");
    let map = |map: usize| {
        let inside = |n| step("steps.steps", &format!("b{map}-{n}"), "validate", "");
        let name = format!("a{map}");
        step("steps", &name, "map", "items = \".\"") + &(0..100).map(inside).collect::<String>()
    };
    let nested: String = (0..5).map(map).collect();
    assert!(
        problems(&nested)[0].ends_with("must have at most 500 steps in all"),
        "{:?}",
        problems(&nested)
    );
    let deep = |depth: usize| -> String {
        let map =
            |n: usize| step(&vec!["steps"; n].join("."), &format!("m{n}"), "map", "items = \".\"");
        (1..=depth).map(map).collect::<String>()
            + &step(&vec!["steps"; depth + 1].join("."), "x", "validate", "")
    };
    assert_fine(&deep(3));
    assert!(
        problems(&deep(4))[0].ends_with("steps stand more than 4 deep in others"),
        "{:?}",
        problems(&deep(4))
    );
}

#[test]
fn a_private_destination_is_refused() {
    for url in
        ["http://127.0.0.1/", "https://10.0.0.1/", "https://metadata.internal/", "https://[::1]/"]
    {
        let told = problems(&step("steps", "a", "http", &format!("url = \"{url}\"")));
        assert!(told[0].starts_with("line 4: [[workflows.w.steps]] step `a`: "), "{told:?}");
        assert!(told[0].contains("private_hosts"), "{told:?}");
    }
}

/// Steps `a`, `p` with the branches `left` (`b`, `c`) and `right` (`d`), `m` (`e`), `z`; after a failure `r`.
fn nested(at: &str, jq: &str) -> String {
    let jq = |name: &str| match name == at {
        true => format!("jq = '''{jq}'''"),
        false => "jq = \".\"".to_owned(),
    };
    let one = |place: &str, name: &str| step(place, name, "transform", &jq(name));
    let branch = |name: &str| format!("[[workflows.w.steps.branches]]\nname = \"{name}\"\n");
    one("steps", "a")
        + &step("steps", "p", "parallel", "")
        + &branch("left")
        + &one("steps.branches.steps", "b")
        + &one("steps.branches.steps", "c")
        + &branch("right")
        + &one("steps.branches.steps", "d")
        + &step("steps", "m", "map", "items = '.'")
        + &one("steps.steps", "e")
        + &one("steps", "z")
        + &one("on_failure", "r")
}

#[test]
fn a_result_that_is_not_there_is_refused() {
    let told =
        |at: &str, jq: &str| problems(&nested(at, jq)).into_iter().next().unwrap_or_default();
    let cases = [
        ("a", "$steps.z.x", "`z`, which comes later"),
        ("a", "$steps.a", "`a`, which is this step itself"),
        ("a", "$steps.nowhere", "`nowhere`, but no step comes before this one"),
        ("z", "$steps[\"aa\"]", "`aa`, but there is no such step; did you mean `a`?"),
        ("z", "$steps.nowhere", "`nowhere`, but there is no such step; before it are: a, p, m"),
        ("b", "$steps.c", "`c`, which comes later"),
        ("d", "$steps.b", "`b`, which stands in another branch: branches do not see one another"),
        ("b", "$steps.d", "`d`, which stands in another branch: branches do not see one another"),
        ("d", "$steps.p", "`p`, which comes later"),
        ("e", "$steps.z", "`z`, which comes later"),
        ("e", "$steps.b", "`b`, which stands inside of `p`: only its steps see one another"),
        (
            "z",
            "{k: \"\\($steps.e)\"}",
            "`e`, which stands inside of `m`: only its steps see one another",
        ),
        ("r", "$steps.e", "`e`, which stands inside of `m`: only its steps see one another"),
        ("z", "$steps.r", "`r`, which comes later"),
    ];
    for (at, jq, end) in cases {
        let told = told(at, jq);
        assert!(told.ends_with(end), "{at}: {jq}: {told}");
        assert!(told.contains("`jq` asks for the result of"), "{told}");
    }
    assert_refused(
        &nested("a", "$steps.z"),
        "line 4: [[workflows.w.steps]] step `a`: `jq` asks for the result of `z`, which comes later",
    );
}

#[test]
fn a_result_that_is_there_is_no_problem() {
    for (at, jq) in [
        ("z", "$steps.a, $steps.p, $steps[\"m\"]"),
        ("c", "$steps.a + $steps.b"),
        ("e", "$steps.p.results"),
        ("r", "$steps.a, $steps.z, $steps.m, $error.step"),
        ("z", ". as $steps | $steps.nowhere"),
        ("z", "\"$steps.nowhere\" # $steps.nowhere"),
        ("a", "$steps | keys, $steps[.name]"),
    ] {
        assert_fine(&nested(at, jq));
    }
}

#[test]
fn every_key_that_is_an_expression_is_looked_at() {
    let told = |step: &str| {
        let told = problems(step);
        assert!(
            told.iter().any(|told| told.contains("asks for the result of `x`")),
            "{told:?}\n{step}"
        );
    };
    let inner = step("steps.steps", "b", "validate", "");
    told(&step("steps", "a", "validate", "when = \"$steps.x\""));
    told(&step("steps", "a", "filter", "jq = \"$steps.x\""));
    told(&step("steps", "a", "wait", "until = \"$steps.x\""));
    told(&(step("steps", "a", "poll", "until = \"$steps.x\"") + &inner));
    told(&(step("steps", "a", "map", "items = \"$steps.x\"") + &inner));
    told(&step("steps", "a", "http", "url = \"https://example.com\"\njq = \"$steps.x\""));
    told(&step("steps", "a", "s3", "bucket = \"acme\"\nkey = 'a/\\($steps.x.id)'"));
    told(&step("steps", "a", "sqs", "queue = \"a.fifo\"\ngroup = '\\($steps.x)'"));
    // A text without an expression says nothing of steps.
    assert_fine(&step("steps", "a", "s3", "bucket = \"acme\"\nkey = '$steps.x'"));
}

#[test]
fn a_configuration_is_told_in_words() {
    let config = Config::parse(include_str!("explained.toml"), PathBuf::new()).unwrap();
    let steps = Steps::new().with("charge", async |_: everhook::Input| Ok(()));
    assert_eq!(check::problems(&config, steps), []);
    insta::assert_snapshot!(everhook::explain::explain(&config));
}

#[test]
fn a_padded_secret_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("padded"), " a canary of mine").unwrap();
    let text = "[sources.acme]\nscheme = \"github\"\nsecrets = [\"file:padded\"]\n\
                [[workflows.default.steps]]\nname = \"look\"\nrun = \"validate\"\n";
    let config = Config::parse(text, folder.path().to_owned()).unwrap();

    let warnings = check::warnings(&config);

    assert_eq!(check::problems(&config, Steps::new()), []);
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("file:padded begins or ends with a blank"), "{warnings:?}");
    assert!(!warnings[0].contains("canary"));
}

#[test]
fn what_looks_like_a_template_and_is_none_is_refused() {
    let at = |key: &str, templates: &str| {
        format!(
            "line 4: [[workflows.w.steps]] step `a`: `{key}` is no template: `\\(…)` in it would be used as it is; \
             templates are {templates}"
        )
    };
    for (run, key, more, templates) in [
        ("s3", "bucket", "bucket = 'a-\\(.id)'", "`key`"),
        ("sqs", "queue", "queue = 'q-\\(.id)'", "`group`, `deduplication`"),
        (
            "sns",
            "topic",
            "topic = 'arn:aws:sns:eu-central-1:1:\\(.id)'",
            "`subject`, `group`, `deduplication`",
        ),
        ("http", "headers", "headers = { X = '\\(.id)' }\nurl = \"https://example.com\"", "`url`"),
        ("lambda", "function", "function = 'f-\\(.id)'", "not known to `lambda`"),
        ("filter", "reason", "reason = 'no \\(.id)'\njq = \".\"", "not known to `filter`"),
    ] {
        let told = problems(&step("steps", "a", run, more));
        assert!(told.contains(&at(key, templates)), "{run}: {told:#?}");
    }
    for url in ["https://example.com/{{id}}", "https://example.com/${id}"] {
        let told = problems(&step("steps", "a", "http", &format!("url = '{url}'")));
        assert!(told.len() == 1 && told[0].contains("`url` has braces"), "{told:?}");
    }
    assert_fine(&step("steps", "a", "http", "url = 'https://example.com/{id}/\\(.id)'"));
    assert_fine(&step("steps", "a", "transform", "jq = '\"\\(.id)\"'"));
    assert_fine(&step("steps", "a", "validate", "schema = { const = '\\(.id)' }"));
}

#[test]
fn an_expression_that_is_too_long_or_too_deep_is_refused() {
    let words = "brackets inside of one another and terms one after the other count; \
                 divide it among several steps";
    let deep = |depth: usize| format!("the expression is {depth} deep, limit 4000: {words}");
    let at =
        |step: &str, told: &str| format!("line 4: [[workflows.w.steps]] step `{step}`: {told}");
    let assign = format!("{}=1", ".a".repeat(5_000));
    let sum = format!("1{}", "+1".repeat(6_000));
    for (run, more, told) in [
        ("transform", format!("jq = '{assign}'"), deep(5_003)),
        ("transform", format!("jq = 'del({})'", ".a".repeat(5_000)), deep(5_004)),
        ("transform", format!("jq = '{sum}'"), deep(12_002)),
        ("filter", format!("jq = '{}.{}'", "(".repeat(3_000), ")".repeat(3_000)), deep(6_002)),
        ("validate", format!("when = '{assign}'"), deep(5_003)),
        ("wait", format!("until = '{sum}'"), deep(12_002)),
        ("http", format!("url = 'https://example.com/\\({sum})'"), deep(12_009)),
        (
            "transform",
            format!("jq = '\"{}\"'", "x".repeat(70_000)),
            "the expression has 70002 bytes, limit 65536; divide it among several steps".into(),
        ),
    ] {
        assert_refused(&step("steps", "a", run, &more), &at("a", &told));
    }
    let inner = step("steps.steps", "b", "transform", "jq = '1'");
    let list = step("steps", "a", "map", &format!("items = '{sum}'"));
    assert_refused(&format!("{list}{inner}"), &at("a", &deep(12_002)));
}

#[test]
fn a_configuration_that_is_nested_too_deep_is_refused() {
    for deep in [
        format!("x = {}{}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("x = {}1{}", "{a=".repeat(100_000), "}".repeat(100_000)),
        format!("a{} = 1", ".a".repeat(100_000)),
        format!("[a{}]", ".a".repeat(100_000)),
        step("steps", "a", "validate", &format!("schema{} = true", ".items".repeat(10_000))),
    ] {
        assert_eq!(problems(&deep).len(), 1, "{deep:.80}");
    }
    let chain: String =
        (0..9_000).map(|n| format!("a{n} = {{ \"$ref\" = \"#/$defs/a{}\" }}\n", n + 1)).collect();
    let schema = "[workflows.w.steps.schema]\n\"$ref\" = \"#/$defs/a0\"\n\
                  [workflows.w.steps.schema.\"$defs\"]\na9000 = true\n";
    assert_fine(&format!("{}{schema}{chain}", step("steps", "a", "validate", "")));
    let pattern = format!("schema = {{ pattern = '{}{}' }}", "(".repeat(5_000), ")".repeat(5_000));
    assert_eq!(problems(&step("steps", "a", "validate", &pattern)).len(), 1);
}

#[test]
fn a_url_that_a_value_may_lead_to_another_host_is_refused() {
    for (url, told) in [
        ("https://e.example.com\\(.x)", "e.example.com"),
        ("https://e.example.com\\(.x)/a", "e.example.com"),
        ("https://e.example.com\\(.x)\\(.y)?a=1", "e.example.com"),
        ("https://e.example.com\\(.x):443/", "e.example.com"),
        ("https://api-\\(.x)", "api-"),
    ] {
        let told = format!(
            "line 4: [[workflows.w.steps]] step `a`: `url`: the value after `{told}` would become part \
             of the host's name; write `{told}/` before it, or let one value give the whole host"
        );
        assert_refused(&step("steps", "a", "http", &format!("url = '{url}'")), &told);
    }
    for url in [
        "https://e.example.com/\\(.x)",
        "https://e.example.com?a=\\(.x)",
        "https://e.example.com:\\(.port)/",
        "https://\\(.host)/a",
        "https://\\(.tenant).example.com/a",
        "https://shop-\\(.tenant).example.com",
        "https://api.\\(.domain)/a",
    ] {
        assert_fine(&step("steps", "a", "http", &format!("url = '{url}'")));
    }
}

#[test]
fn a_doubled_backslash_before_a_bracket_is_refused() {
    let told = |key: &str| {
        format!(
            "line 4: [[workflows.w.steps]] step `a`: `{key}`: `\\\\(` is no template; \
             write `\\(` in single quotes"
        )
    };
    for (run, key, more) in [
        ("http", "url", "url = 'https://example.com/\\\\(.id)'"),
        ("http", "url", "url = 'https://example.com/\\(.a)/\\\\(.id)'"),
        ("s3", "key", "bucket = \"acme\"\nkey = 'a/\\\\(.id)'"),
        ("sqs", "group", "queue = \"a.fifo\"\ngroup = '\\\\(.id)'"),
    ] {
        let more = more.to_owned();
        let step = step("steps", "a", run, &more);
        let said = problems(&step);
        assert!(
            said.iter().any(|said| said.ends_with(told(key).split_once(": ").unwrap().1)),
            "{said:#?}"
        );
    }
}

#[test]
fn a_url_asks_only_for_results_that_it_sees() {
    assert_refused(
        &step("steps", "a", "http", "url = 'https://example.com/\\($steps.b.id)'"),
        "line 4: [[workflows.w.steps]] step `a`: `url` asks for the result of `b`, but no step comes before this one",
    );
}

#[test]
fn an_age_that_takes_too_many_attempts_is_refused_at_its_line() {
    let told = problems(&step(
        "steps",
        "a",
        "http",
        "url = \"https://example.com\"\nretry = { max_age = \"3d\", max = \"1m\" }",
    ));
    assert!(
        told.len() == 1 && told[0].contains("`max_age` would take more than 500 attempts"),
        "{told:?}"
    );
    assert_fine(&step(
        "steps",
        "a",
        "http",
        "url = \"https://example.com\"\nretry = { max_age = \"366d\" }",
    ));
}

use std::time::{Duration, Instant};

use super::*;
use crate::expression::{Dot, Expression, HERE_BYTES_MAX};
use crate::steps::tests::input;

/// Expressions as workflows have them.
const HERE: [&str; 64] = [
    ".",
    ".a.b.c",
    ".a[\"b\"]?",
    ".items[0].price",
    ".items[].price",
    ".[1:3]",
    ".amount > 100",
    ".ref == \"refs/heads/main\"",
    ".a and (.b | not) or .c == null",
    ".a // \"none\"",
    "select(.type == \"order\")",
    "{repository: .repository.full_name, ref: .ref, by: $webhook.type}",
    "{ref, by: $webhook.type}",
    "{id, \"n\": .name, (.k): 1}",
    "{id, items: [.items[] | {sku, count}]}",
    "$item + {line: $index}",
    "$steps.charge.id",
    "$steps[\"charge\"].id",
    "$previous",
    "{invoice: .id, answerTo: $callback.url}",
    "\"\\(.customer.name) ordered \\(.items | length) things\"",
    "{order: .id, key: \"\\($webhook.executionToken):publish\"}",
    "@base64 \"x\\(.id)\"",
    ".id | @uri",
    ".amount * 100",
    ".price * .count",
    ".a + .b - .c / 2 % 3",
    "-.a",
    "[.items[] | .price * .count] | add",
    ".items | map(.price) | add",
    ".items | map(select(.count > 0)) | length",
    ".items | sort_by(.price) | first",
    ".items | group_by(.sku) | map({sku: .[0].sku, count: length})",
    ".items | unique_by(.sku)",
    ".items | min_by(.price), max_by(.price)",
    ".items | any(.count == 0)",
    "any(.items[]; .count == 0)",
    ".tags | join(\", \")",
    ".name | split(\" \") | .[0]",
    ".name | ascii_downcase | startswith(\"a\")",
    ".name | ltrimstr(\"Mr \") | trim",
    ".tags | index(\"new\")",
    ".tags | contains([\"new\"])",
    ".type | IN(\"a\", \"b\")",
    "has(\"id\")",
    "keys",
    "to_entries | map(.value)",
    "with_entries(select(.value != null))",
    "if .a then 1 elif .b then 2 else 3 end",
    "try .a.b catch \"none\"",
    ".a?",
    "(.a | tonumber) > 100",
    ".a | tostring | length",
    ".a | tojson",
    "error(\"there is no amount\")",
    "if .amount then . else error(\"there is no amount\") end",
    "del(.password, .card.number)",
    ".status = \"done\"",
    ".a.b |= . + 1",
    ".created | todate",
    ". as $all | {id: $all.id}",
    ". as {id: $id, $name} | [$id, $name]",
    "[.[] | type]",
    "empty",
];

const WORKER: [(&str, &str); 40] = [
    ("def f: f; f", "defines functions"),
    (".a | gsub(\"a\"; \"b\")", "uses `gsub`"),
    (".a | test(\"a\")", "uses `test`"),
    (".a | fromjson", "uses `fromjson`"),
    ("[range(.n)]", "uses `range`"),
    ("last(range(1e12))", "uses `range`"),
    ("[limit(3; .[])]", "uses `limit`"),
    ("reduce .[] as $x (0; . + $x)", "uses `reduce`"),
    ("foreach .[] as $x (0; . + $x)", "uses `foreach`"),
    ("..", "uses `..`"),
    ("[recurse]", "uses `recurse`"),
    ("walk(.)", "uses `walk`"),
    ("[paths]", "uses `paths`"),
    ("until(. > 3; . + 1)", "uses `until`"),
    ("[repeat(1)]", "uses `repeat`"),
    ("combinations", "uses `combinations`"),
    ("flatten", "uses `flatten`"),
    ("transpose", "uses `transpose`"),
    ("getpath([\"a\"])", "uses `getpath`"),
    ("tostream", "uses `tostream`"),
    ("label $f | 1", "uses `label`"),
    (".a | splits(\"a\")", "uses `splits`"),
    ("map_values(. + 1)", "uses `map_values`"),
    (
        "[.[] | {a: .x, b: $steps}]",
        "makes something of `$webhook`, `$steps` or another variable for each of several results",
    ),
    ("{a: .a[], b: .b[]}", "combines several results with something else"),
    ("{a: .a[], b: .b}", "combines several results with something else"),
    ("\"\\(.a[]) \\(.b[])\"", "combines several results with something else"),
    (".a[] + .b", "combines several results with something else"),
    ("[.[] as $x | .[] as $y | $x]", "binds a variable to each of several results"),
    (".[.name]", "looks up a place that its input names"),
    (".[.a:.b]", "looks up a place that its input names"),
    (".items[.n] = 1", "changes places that its input decides"),
    (".items[] |= . + 1", "changes places that its input decides"),
    (".[100000000] = 1", "changes places that its input decides"),
    (".a | split(.b)", "uses `split` with what its input names"),
    (".a | contains(.)", "uses `contains` with what its input names"),
    (".a | strftime(.b)", "uses `strftime` with what its input names"),
    ("inside(.)", "uses `inside`"),
    ("tojson | tojson | tojson", "may make more than 64 times its input"),
    (". as $a | \"\\($a)\\($a)\" | \"\\(.)\\(.)\"", "may make more than 64 times its input"),
];

#[test]
fn common_expressions_run_in_this_process() {
    for code in HERE {
        assert_eq!(of(code), Place::Here, "{code}");
    }
}

#[test]
fn an_expression_whose_cost_the_input_decides_runs_in_a_worker() {
    for (code, reason) in WORKER {
        assert_eq!(of(code), Place::Worker(reason.into()), "{code}");
    }
}

#[test]
fn doubling_again_and_again_is_no_linear_cost() {
    for doubled in ["[., .]", "\"\\(.)\\(.)\"", ". + .", "{a: ., b: .}", ". as $x | [$x, $x]"] {
        let code = [doubled; 12].join(" | ");
        assert!(matches!(of(&code), Place::Worker(_)), "{code}");
    }
    let deep = format!("{}.{}", "[".repeat(100), "]".repeat(100));
    assert_eq!(of(&deep), Place::Worker("is nested more than 64 deep".into()));
}

#[test]
fn an_expression_whose_evaluation_recurses_deep_runs_in_a_worker() {
    let members = |count: usize| {
        let members: Vec<_> = (0..count).map(|id| format!("a{id}: 1")).collect();
        format!("{{{}}}", members.join(","))
    };
    assert_eq!(of(&members(200)), Place::Here);
    for code in [
        format!("{}=1", ".a".repeat(300)),
        format!("del({})", ".a".repeat(300)),
        format!("del(.a{})", ",.b".repeat(300)),
        ".a".repeat(300),
        members(300),
        format!("\"{}\"", "\\n".repeat(300)),
    ] {
        assert_eq!(of(&code), Place::Worker("is more than 250 deep".into()), "{code:.40}");
    }
}

/// Bodies that are as bad as they may be.
fn hostile_bodies() -> Vec<String> {
    let length = HERE_BYTES_MAX - 64;
    let list = |item: &str| format!("[{}]", vec![item; length / (item.len() + 1)].join(","));
    let row = r#"{"price":"ab","count":9e9,"sku":[]}"#;
    vec![
        "[".repeat(127) + &"]".repeat(127),
        format!("{{\"a\":{},\"name\":\"{}\"}}", "7".repeat(length / 2), "a ".repeat(length / 4)),
        r#"{"price":9e9,"count":"ab","items":[{"price":"ab","count":9e9}],"a":9e307}"#.into(),
        list("0"),
        list("[]"),
        format!(r#"{{"items":{}}}"#, list(row)),
        format!(r#"{{"items":{0}}}"#, list("{}")),
        format!(
            r#"{{"tags":{},"a":"{}"}}"#,
            list("\"\"").replacen("\"\",", "", length / 6),
            "\\u0000".repeat(length / 12)
        ),
    ]
}

#[tokio::test]
async fn what_runs_in_this_process_stays_within_bounds_on_any_body() {
    let bodies = hostile_bodies();
    assert!(bodies.iter().all(|body| body.len() <= HERE_BYTES_MAX));
    for code in HERE {
        let expression = Expression::compile(code, Dot::Body).unwrap();
        for body in &bodies {
            let began = Instant::now();
            let result = expression.result(input(body)).await;
            let took = began.elapsed();
            assert!(took < Duration::from_secs(3), "{code} took {took:?} on {body:.60}");
            if let Err(error) = result {
                let known = ["invalid", "too_large"].contains(&error.kind.as_str());
                assert!(known, "{code} on {body:.60}: {error}");
            }
        }
    }
}

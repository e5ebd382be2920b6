//! jq's own tests, where they are at hand, and expressions whose results were taken from jq 1.8.

use std::collections::BTreeMap;
use std::path::Path;

use super::program::{Program, VARIABLES};
use super::value::{Value, read};

/// Where jq's tests are, beside the repository.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/jq");

/// What is known to differ: a file, a line, and why.
const KNOWN: &str = include_str!("conformance/differences.txt");

/// How many results of one expression are looked at.
const RESULTS_MAX: usize = 200;

/// The deepest input that is read.
const DEPTH: usize = 10_000;

/// All results, and `error` at the end if there was one.
fn results(code: &str, input: &str) -> Result<Vec<String>, String> {
    let program = Program::compile(code)?;
    let input = read(input, DEPTH).ok_or("the input is not JSON")?;
    let variables = vec![Value::Null; VARIABLES.len()];
    let results = program.all(input, variables).take(RESULTS_MAX);
    Ok(results.map(|result| result.map_or("error".into(), |value| value.to_string())).collect())
}

/// One test of a file of jq's.
struct Case<'f> {
    line: usize,
    code: &'f str,
    input: &'f str,
    /// Its results; none if it must not compile.
    expected: Option<Vec<&'f str>>,
}

fn cases(file: &str) -> Vec<Case<'_>> {
    let mut cases = Vec::new();
    let mut lines = file.lines().zip(1..).peekable();
    while let Some((code, line)) = lines.next() {
        if code.trim().is_empty() || code.starts_with('#') {
            continue;
        }
        let mut rest = |until_comment: bool| {
            let mut rest = Vec::new();
            while let Some((text, _)) = lines.next_if(|(text, _)| {
                !(text.trim().is_empty() || until_comment && text.starts_with('#'))
            }) {
                rest.push(text);
            }
            rest
        };
        if code.starts_with("%%FAIL") {
            let code = rest(false)[0];
            cases.push(Case { line: line + 1, code, input: "", expected: None });
            continue;
        }
        let rest = rest(true);
        let input = rest[0].trim_start_matches('\u{feff}');
        cases.push(Case { line, code, input, expected: Some(rest[1..].to_vec()) });
    }
    cases
}

fn same(expected: &str, given: &str) -> bool {
    let (one, other) = (read(expected, DEPTH), read(given, DEPTH));
    expected == given || one.is_some() && one == other
}

/// Whether we give what jq gives.
fn agrees(case: &Case<'_>) -> bool {
    let given = results(case.code, case.input);
    match (&case.expected, given) {
        (None, given) => given.is_err(),
        (Some(_), Err(_)) => false,
        (Some(expected), Ok(given)) => {
            expected.len() == given.len() && expected.iter().zip(&given).all(|(a, b)| same(a, b))
        }
    }
}

/// Runs it where there is room for what recurses deep.
fn in_large_stack(run: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(512 * 1024 * 1024);
        thread.spawn_scoped(scope, run).unwrap().join().unwrap();
    });
}

#[test]
fn we_differ_from_jqs_own_tests_only_where_it_is_known() {
    if !Path::new(FOLDER).exists() {
        println!("skipped: jq's tests are not at {FOLDER}");
        return;
    }
    let known = KNOWN.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let known: BTreeMap<_, _> = known
        .map(|line| {
            let (place, why) = line.split_once(": ").expect("file, line: why");
            (place.to_owned(), why)
        })
        .collect();
    in_large_stack(|| {
        let mut different = Vec::new();
        for name in ["jq.test", "man.test", "onig.test", "base64.test"] {
            let file = std::fs::read_to_string(Path::new(FOLDER).join(name)).unwrap();
            let cases = cases(&file);
            let cases = cases.iter().filter(|case| !agrees(case));
            different.extend(cases.map(|case| format!("{name} {}", case.line)));
        }
        let new: Vec<_> = different.iter().filter(|it| !known.contains_key(*it)).collect();
        let gone: Vec<_> = known.keys().filter(|it| !different.contains(it)).collect();
        assert!(new.is_empty() && gone.is_empty(), "new: {new:#?}, no longer: {gone:#?}");
    });
}

/// Expressions with the input and the results of jq 1.8; `error` stands for one.
const AS_JQ: &[(&str, &str, &[&str])] = &[
    (r#""1,234.50" | tonumber"#, "null", &["error"]),
    (r#""250 EUR" | tonumber"#, "null", &["error"]),
    (r#""2026-11-29" | tonumber"#, "null", &["error"]),
    (r#""" | tonumber"#, "null", &["error"]),
    (r#"" 1" | tonumber"#, "null", &["error"]),
    (r#""0x10" | tonumber"#, "null", &["error"]),
    (r#""1_0" | tonumber"#, "null", &["error"]),
    (r#""12.50", "-3", "+5.43", ".5" | tonumber"#, "null", &["12.50", "-3", "5.43", "0.5"]),
    ("{a: (\"\" | tonumber)}", "null", &["error"]),
    (r#""1 2" | fromjson"#, "null", &["error"]),
    (r#""" | fromjson"#, "null", &["error"]),
    (r#""[1,2" | fromjson"#, "null", &["error"]),
    (r#"" 1 " | fromjson"#, "null", &["1"]),
    ("join(\" \")", r#"["Ada",null,"L"]"#, &["\"Ada  L\""]),
    ("join(\",\")", r#"[1,true,null,"a"]"#, &["\"1,true,,a\""]),
    ("join(\",\")", r#"["a",["b"]]"#, &["error"]),
    (r#""\(1.0 * 3) \(10 / 2) \(1.50)""#, "null", &["\"3 5 1.50\""]),
    ("1 / 0", "null", &["error"]),
    ("5.5 % 2, -5 % 3, 5 % -2", "null", &["1", "-2", "1"]),
    ("[(1,2) + (10,20)]", "null", &["[11,12,21,22]"]),
    ("[(1,2) < (2,1)]", "null", &["[true,false,false,false]"]),
    (r#"["\(1,2)-\(3,4)"]"#, "null", &[r#"["1-3","2-3","1-4","2-4"]"#]),
    ("[.[0,1][0,1]]", "[[1,2],[3,4]]", &["[1,3,2,4]"]),
    ("del(.[0,2])", "[1,2,3]", &["[2]"]),
    (".[1,2] |= empty", "[1,2,3,4]", &["[1,4]"]),
    ("[.[]] | del(.[1])", r#"{"a":1,"b":2,"c":3}"#, &["[1,3]"]),
    ("del(.a) | [.[]]", r#"{"a":1,"b":2,"c":3}"#, &["[2,3]"]),
    (".[] |= (., .)", "[1,2]", &["[1,2]"]),
    (".a.b.c = 1", "null", &[r#"{"a":{"b":{"c":1}}}"#]),
    (".[2] = 1", "[0]", &["[0,null,1]"]),
    (".[:1] |= map(. + 1)", "null", &["error"]),
    (".[1:] |= length", "null", &["error"]),
    (".[:1] |= .", "null", &["error"]),
    (".a[:1] |= map(. + 1)", "{}", &["error"]),
    (".[:1] = [1], .[5:][1] = 2", "null", &["[1]", "[null,2]"]),
    (".[:1] |= map(. + 1)", "[1,2]", &["[2,2]"]),
    ("del(.[:1])", "null", &["null"]),
    (".a += 1", "{}", &[r#"{"a":1}"#]),
    (".[1.7], .[1.2:2.5]", "[1,2,3]", &["2", "[2,3]"]),
    (".a // \"d\"", "\"x\"", &["error"]),
    ("reduce (1,2) as $x (0; ., . + $x)", "null", &["3"]),
    ("reduce .[] as $x (0; empty)", "[1]", &["null"]),
    (r#"test("c$"), sub("c$"; "d")"#, r#""abc\n""#, &["true", r#""abd\n""#]),
    (r#"[match("^.|$"; "g").offset]"#, r#""ab\ncd""#, &["[0,5]"]),
    (
        r#"test("b.c"), test("b.c"; "s"), test("b.c"; "p")"#,
        r#""ab\ncd""#,
        &["false", "false", "true"],
    ),
    (r#"test("(?=World)"), test("(o).*\\1")"#, "\"Hello World\"", &["true", "true"]),
    (r#"capture("(?<a>x)?b")"#, "\"b\"", &[r#"{"a":null}"#]),
    (r#"[gsub("(?<l>.)"; "<\(.l)>", "-")]"#, "\"ab\"", &[r#"["<a><b>","--"]"#]),
    (r#"gsub(""; "-")"#, "\"abc\"", &["\"-a-b-c-\""]),
    ("from_entries", r#"[{"name":"a","value":1},{"key":"b","value":2}]"#, &[r#"{"a":1,"b":2}"#]),
    ("from_entries", r#"[{"key":null,"value":1}]"#, &["error"]),
    ("{(1): 2}", "null", &["error"]),
    (".[0]", r#"{"a":1}"#, &["error"]),
    ("flatten(-1)", "[1]", &["error"]),
    ("[limit(-1; 1, 2)]", "null", &["error"]),
    ("\"ab\" * 0, \"ab\" * -1, \"ab\" * 2.9", "null", &["\"\"", "null", "\"abab\""]),
    (". * 1000000000", "\"abc\"", &["error"]),
    (
        "[.[] | tostring]",
        "[1, 1.0, 1.50, 1e17, 100000000000000000000]",
        &[r#"["1","1.0","1.50","1E+17","100000000000000000000"]"#],
    ),
    (
        "[.[] * 1 | tostring]",
        "[1.0, 1e17, 1e-5, 9007199254740993]",
        &[r#"["1","1e+17","1e-05","9007199254740992"]"#],
    ),
    (".[0] == .[1]", "[100000000000000000000, 100000000000000000001]", &["false"]),
    ("todate", "1425599621.678", &["\"2015-03-05T23:53:41Z\""]),
    ("IN(1, 2), (3 | IN(1, 2))", "2", &["true", "false"]),
    ("@csv, @tsv", r#"[1,"a\"b",null,true]"#, &[r#""1,\"a\"\"b\",,true""#, r#""1\ta\"b\t\ttrue""#]),
    ("@base64d", "\"cWl4YmF6Cg\"", &["\"qixbaz\\n\""]),
    ("tostream", "[1]", &["[[0],1]", "[[0]]"]),
    ("fromstream(tostream)", "{\"a\":[1,{\"b\":2}]}", &["{\"a\":[1,{\"b\":2}]}"]),
    ("[paths]", "[[1]]", &["[[0],[0,0]]"]),
    ("getpath([\"a\",\"b\"])", "null", &["null"]),
    ("pick(.a.b)", "{\"a\":{\"b\":1,\"c\":2}}", &["{\"a\":{\"b\":1}}"]),
];

#[test]
fn expressions_give_what_jq_gives() {
    let differ = AS_JQ.iter().filter_map(|(code, input, expected)| {
        let given = results(code, input).unwrap_or_else(|error| vec![error]);
        (given != *expected).then(|| format!("{code} on {input}: {given:?}, not {expected:?}"))
    });
    assert_eq!(differ.collect::<Vec<_>>(), Vec::<String>::new());
}

#[test]
fn what_is_missing_is_refused_with_its_name() {
    for code in ["input", "input_line_number", "$__loc__", "builtins", "modulemeta", "ltrimstr"] {
        let refused = Program::compile(code).err().unwrap();
        assert!(refused.contains(code), "{refused}");
    }
}

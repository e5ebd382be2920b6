use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::program::{Program, VARIABLES};
use super::super::value::{Value, read};
use super::*;

/// Values that arithmetic may stumble over, in JSON; and those that JSON does not have.
fn odd_values() -> Vec<Value> {
    const NUMBERS: [f64; 24] = [
        0.0,
        -0.0,
        0.5,
        -1.0,
        -1.5,
        127.0,
        128.0,
        1_425_599_621.678,
        2_147_483_648.0,
        -2_147_483_649.0,
        4_294_967_296.0,
        253_402_207_201.0,
        1_764_489_600_000.0,
        1_764_489_600_000_000.0,
        1_764_489_600_000_000_000.0,
        9_223_372_036_854_775_807.0,
        -9_223_372_036_854_775_808.0,
        9_223_372_036_854.0,
        5e-324,
        1e308,
        -1e308,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
    ];
    let long = format!("\"{}\"", "é9".repeat(300));
    let json = [
        "null",
        "true",
        "9223372036854775807",
        "-100000000000000000000",
        "0.10000000000000000000000000001",
        r#""""#,
        r#""a""#,
        r#""\u0000\ud83d\ude00é""#,
        r#""1e400""#,
        r#""-""#,
        r#""%""#,
        r#""%E%O%9999Y%:::z%Q%s""#,
        r#""((?<a>""#,
        r#""g""#,
        r#""2015-13-45T99:99:99Z""#,
        r#""9999-12-31T23:59:60.999999999999Z""#,
        long.as_str(),
        "[]",
        "[[[]],{}]",
        "[127,127,127,127,127,127,127,127]",
        "[2024,1,29,0,0,0.5,0,0]",
        "[2147483647,2147483647,2147483647,2147483647,2147483647,2147483647]",
        "[-2147483648,-2147483648,-2147483648,-1e300,1e300,-1e300]",
        "[2024,127,31,23,59,60.999999999999]",
        "[1114112,-1,55296]",
        "{}",
        r#"{"a":1e308,"start":-1e300,"end":1e300}"#,
        r#"{"key":{},"value":1,"captures":[{"name":null}]}"#,
    ];
    let json = json.iter().map(|text| read(text, 100).unwrap());
    let lists =
        [f64::NAN, f64::INFINITY, -0.0].map(|number| Value::array(vec![Value::Number(number); 8]));
    NUMBERS.into_iter().map(Value::Number).chain(json).chain(lists).collect()
}

/// Calls of all functions and operators, with the arguments `$webhook`, `$steps` and `$previous`.
fn calls() -> Vec<(usize, String)> {
    const ARGUMENTS: [&str; 3] = ["$webhook", "$steps", "$previous"];
    let native = functions().map(|(name, arguments, _)| (name.to_owned(), arguments.len()));
    let defined = definitions().map(|it| (it.name.to_owned(), it.args.len()));
    let all: BTreeSet<_> = native.chain(defined).collect();
    // These do not end on their own, and a worker ends them: `until`, `combinations` of many, and `jn` of a large number.
    let endless = ["until", "combinations", "repeat", "while", "jn", "yn"];
    let named = all.into_iter().filter(|(name, count)| {
        !name.starts_with(['_', '!']) && !endless.contains(&name.as_str()) && *count <= 3
    });
    let named = named.map(|(name, count)| match count {
        0 => (0, name),
        count => (count, format!("{name}({})", ARGUMENTS[..count].join("; "))),
    });
    let formats =
        ["@text \"\\(.)\"", "@csv \"\\(.)\"", "\"\\(.)\"", "-.", ".[]?", "tojson|fromjson"];
    let formats = formats.map(|code| (0, code.to_owned()));
    let operators = [
        ". + $webhook",
        ". - $webhook",
        ". * $webhook",
        ". / $webhook",
        ". % $webhook",
        ". == $webhook, . < $webhook, . <= $webhook",
        ".[$webhook]",
        ".[$webhook:]",
        ".[:$webhook]",
        ".[$webhook] = 1",
        ".[$webhook:] |= .",
        "del(.[$webhook])",
        "{($webhook): .}",
        "[limit($webhook; 1, 2)]",
        "dateadd(\"seconds\"; $webhook) | todate",
    ];
    let operators = operators.map(|code| (1, code.to_owned()));
    let slices = [".[$webhook:$steps]", ".[$webhook:$steps] = [1]", "del(.[$webhook:$steps])"];
    let slices = slices.map(|code| (2, code.to_owned()));
    named.chain(formats).chain(operators).chain(slices).collect()
}

#[test]
fn no_function_panics_whatever_it_is_given() {
    let values = odd_values();
    let mut panicked = BTreeSet::new();
    for (count, code) in calls() {
        let program = Program::compile(&code).unwrap_or_else(|why| panic!("{code}: {why}"));
        let combinations = values.len().pow(u32::try_from(count).unwrap() + 1);
        // All of them without arguments, and a sample with some.
        let step = if count == 0 { 1 } else { combinations / 997 + 1 };
        for number in (0..combinations).step_by(step) {
            let pick = |place: u32| &values[number / values.len().pow(place) % values.len()];
            let mut variables = vec![Value::Null; VARIABLES.len()];
            for (place, variable) in (1..).zip(variables.iter_mut().take(count)) {
                *variable = pick(place).clone();
            }
            let input = pick(0).clone();
            let results = catch_unwind(AssertUnwindSafe(|| {
                let results = program.all(input.clone(), variables.clone()).take(3);
                results.for_each(|result| drop(result.map(|value| value.to_string())))
            }));
            if results.is_err() {
                panicked.insert(format!("{code} on {input} with {:?}", &variables[..count]));
                break;
            }
        }
    }
    assert_eq!(panicked, BTreeSet::new());
}

/// The results, or the error, of an expression.
fn results(code: &str) -> Vec<String> {
    let program = Program::compile(code).unwrap();
    let results = program.all(Value::Null, vec![Value::Null; VARIABLES.len()]);
    results
        .map(|result| match result {
            Ok(value) => value.to_string(),
            Err(Some(Value::Text(text))) => text.to_string(),
            Err(other) => format!("{other:?}"),
        })
        .collect()
}

#[test]
fn a_time_too_far_away_for_a_date_is_an_error_that_says_so() {
    let far = "is too far away for a date; divide milliseconds by 1000";
    for time in [
        "1764489600000",
        "1764489600000000",
        "1764489600000000000",
        "9223372036855",
        "253402300800",
        "-377705116801",
        "nan",
        "infinite",
        "-infinite",
        "1e300",
        "[2147483647,0,1,0,0,0]",
    ] {
        for format in ["todate", "date", "todateiso8601", "strftime(\"%s\")"] {
            let told = results(&format!("{time} | {format}"));
            assert!(told[0].ends_with(far), "{time} | {format}: {told:?}");
            let caught = results(&format!("{time} | try {format} catch \"caught\""));
            assert_eq!(caught, ["\"caught\""], "{time} | {format}");
        }
    }
    for time in ["nan", "infinite", "1e300", "-1e18"] {
        let told = results(&format!("{time} | gmtime"));
        assert!(told[0].ends_with(far), "{time}: {told:?}");
    }
}

#[test]
fn times_are_those_of_jq() {
    for (code, expected) in [
        ("1764489600 | todate", "\"2025-11-30T08:00:00Z\""),
        ("253402207199 | todate", "\"9999-12-30T21:59:59Z\""),
        ("-1 | todate", "\"1969-12-31T23:59:59Z\""),
        ("0 | gmtime", "[1970,0,1,0,0,0,4,0]"),
        ("1709164800 | gmtime", "[2024,1,29,0,0,0,4,59]"),
        ("1425599621.678 | gmtime", "[2015,2,5,23,53,41.67799997329712,4,63]"),
        ("1425599621.678 | gmtime | mktime", "1425599621"),
        ("1764489600000000 | gmtime", "[55916419,6,14,8,0,0,0,194]"),
        ("1764489600000000 | gmtime | mktime", "1764489600000000"),
        ("[2024,1,29,0,0,0.5,0,0] | mktime", "1709164800"),
        ("[2024,14,45,25,61,61,0,0] | mktime", "1744682521"),
        ("[2024,-1,0] | mktime", "1701302400"),
        ("[2024] | mktime", "1703980800"),
        ("[2024,2,15] | strftime(\"%Y-%m-%dT%H:%M:%SZ\")", "\"2024-03-15T00:00:00Z\""),
        ("[2024,1,29,12,30,15.75,0,0] | todate", "\"2024-02-29T12:30:15Z\""),
        ("[\"a\",1,2,3,4,5] | mktime", "mktime requires parsed datetime inputs"),
        ("\"a\" | mktime", "mktime requires array of 6 numbers"),
    ] {
        assert_eq!(results(code), [expected], "{code}");
    }
    // Days of 3,000 years, there and back.
    let days = "[range(-730000; 365000; 7) * 86400 | select(gmtime | mktime != .)]";
    let days = days.replace("gmtime | mktime != .", ". as $t | gmtime | mktime != $t");
    assert_eq!(results(&days), ["[]"]);
}

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::tests::{definition, input, refused};
use super::*;
use crate::StepError;
use crate::steps::RESULT_BYTES_MAX;

fn transform(options: Value) -> Transform {
    Transform::new(&definition("transform", options)).unwrap()
}

fn evaluated(jq: &str, body: &str) -> Result<String, StepError> {
    let output = transform(json!({ "jq": jq })).0.evaluate(&input(body))?;
    Ok(output.get().to_owned())
}

#[track_caller]
fn result(jq: &str, body: &str) -> String {
    evaluated(jq, body).unwrap()
}

#[track_caller]
fn told(jq: &str, body: &str) -> String {
    let error = evaluated(jq, body).unwrap_err();
    assert_eq!((error.kind.as_str(), error.retryable), ("invalid", false));
    assert!(error.message.len() <= 256);
    assert!(!error.message.contains("canary"), "{error}");
    error.message
}

#[tokio::test]
async fn the_first_output_is_the_result() {
    let step = transform(json!({"jq": ".items[] | {id, total: (.price * .count)}"}));

    let output = step.run(input(r#"{"items":[{"id":1,"price":2,"count":3},{"id":2}]}"#)).await;

    assert_eq!(output.unwrap().get(), r#"{"id":1,"total":6}"#);
}

#[test]
fn no_output_is_null() {
    assert_eq!(result("empty", "{}"), "null");
}

#[test]
fn a_number_passes_through_as_it_is_written() {
    for number in [
        "1.10",
        "12345678901234567890123",
        "-98765432109876543210.50",
        "18446744073709551616",
        "9223372036854775808",
        "-9223372036854775808",
        "1e308",
        "1E+5",
        "-0.0",
        &"7".repeat(300),
        "0.30000000000000004",
        "100000000000000000000000000000000000000.1",
        "0",
        "-1",
    ] {
        assert_eq!(result(".", number), number);
        let body = format!(r#"{{"amount":{number}}}"#);
        assert_eq!(
            result("{amount, all: [.[]]}", &body),
            format!(r#"{{"amount":{number},"all":[{number}]}}"#)
        );
    }
}

#[test]
fn minus_zero_stays_minus_zero() {
    assert_eq!(result(".", "-0"), "-0");
}

#[test]
fn what_is_calculated_is_json() {
    assert_eq!(result("1 / 2", "{}"), "0.5");
    assert_eq!(result("nan", "{}"), "null");
    let largest = "[1.7976931348623157e+308,-1.7976931348623157e+308]";
    assert_eq!(result("[infinite, -infinite]", "{}"), largest);
    assert_eq!(result("[1.50, -1.50]", "{}"), "[1.50,-1.50]");
    assert_eq!(result("[10 / 2, 1e3 * 1, 0.1 + 0.2]", "{}"), "[5,1000,0.30000000000000004]");
    assert_eq!(result("\"é\\u0000\\u007f\"", "{}"), "\"é\\u0000\\u007f\"");
    assert_eq!(told("{(1): 2}", "{}"), "jq: the expression failed on this input");
    assert_eq!(result("\"/w==\" | @base64d", "{}"), "\"\u{fffd}\"");
}

#[test]
fn a_number_made_of_text_is_json_and_no_larger_than_the_largest() {
    const LARGEST: &str = "1.7976931348623157e+308";
    let nines = "9".repeat(400);
    let digits = "1".repeat(1_500);
    let long = format!("0.{digits}");
    for (text, number) in [
        ("1e400", LARGEST),
        ("-1e999", &format!("-{LARGEST}")),
        ("+1e400", LARGEST),
        ("1e99999999999999999999", LARGEST),
        (&nines, LARGEST),
        (&digits, LARGEST),
        (&long, "0.1111111111111111"),
        ("1e-400", "1e-400"),
        ("150", "150"),
        ("1.50", "1.50"),
        ("12345678901234567890123", "12345678901234567890123"),
    ] {
        let body = format!(r#"{{"id":7,"amount":"{text}"}}"#);
        let made = result("{id, amount: (.amount | tonumber)}", &body);
        assert_eq!(made, format!(r#"{{"id":7,"amount":{number}}}"#));
        // What is recorded is what a later step and a destination see.
        assert_eq!(crate::steps::json::kept(made.as_bytes()).get(), made);
        if !text.starts_with('+') {
            assert_eq!(result(".amount | fromjson", &body), number, "{text:.40}");
            assert_eq!(result(".amount | [fromjson]", &body), format!("[{number}]"));
        }
        let negative = result("-(.amount | tonumber)", &body);
        assert_eq!(crate::steps::json::kept(negative.as_bytes()).get(), negative);
    }
    assert_eq!(
        result("[1e400, -1e400, 1e308 * 10]", "{}"),
        format!("[{LARGEST},-{LARGEST},{LARGEST}]")
    );
    assert_eq!(result(r#"("1e400" | tonumber) > 100"#, "{}"), "true");
    assert_eq!(result(r#"("1e400" | tonumber | tojson), 1"#, "{}"), format!("\"{LARGEST}\""));
    // The longest number that a webhook may have passes through, also with a sign.
    let longest = format!("0.{}", "7".repeat(998));
    assert_eq!(result(".", &longest), longest);
    assert_eq!(result("-.", &longest), "-0.7777777777777778");
}

#[test]
fn a_body_of_any_kind_will_do_for_an_expression_that_does_not_ask_for_it() {
    for jq in [
        "$previous",
        "$webhook.source",
        "{source: $webhook.source, $now}",
        "\"\\($webhook.source)-\\($attempt)\"",
        "[$previous, 1] | .[1]",
        "if $webhook.type == \"a\" then 1 else $steps[\"a\"].b end",
        "$previous as $x | $x // 1",
        "try $webhook.source.x catch 1",
    ] {
        for body in ["a=1&b=2", "", "{", "\"\\ud800\""] {
            assert_eq!(result(jq, body), result(jq, "{}"), "{jq} on {body}");
        }
    }
    for jq in [".", ".a", "..", "{a}", "{(.a): 1}", "$previous[.a]", "[.[]]", "length"] {
        assert!(told(jq, "a=1").starts_with("the body "), "{jq}");
    }
    for jq in
        ["if . then 1 else 2 end", "if 1 then 2 end", "\"\\(.a)\"", "1 + .a", "$now, .", "map(1)"]
    {
        assert!(told(jq, "a=1").starts_with("the body "), "{jq}");
    }
}

#[test]
fn an_expression_sees_the_webhook() {
    let expected = r#"["shop","order.paid","d-1","ABCDEFGHIJKLMNOPQRSTUVWXYZ","application/json","POST","/webhook/shop","a=1","application/json"]"#;
    let jq = r#"$webhook | [.source, .type, .deliveryId, .executionToken, .headers["content-type"], .method, .path, .query, .contentType]"#;
    assert_eq!(result(jq, "{}"), expected);
    assert_eq!(result("[$now, $keys]", "{}"), r#"["2026-11-24T02:20:45.120Z",1]"#);
}

#[test]
fn an_expression_sees_earlier_results() {
    let mut input = input("{}");
    let outputs = [("first", r#"{"a":1.10}"#), ("second", "[2]")];
    let outputs = outputs.map(|(name, json)| (everhook_journal::StepName::new(name), json.into()));
    input.outputs = Arc::new(outputs.into());

    let step = transform(json!({"jq": "[$steps.first.a, $previous[0], $steps.other]"}));
    assert_eq!(step.0.evaluate(&input).unwrap().get(), "[1.10,2,null]");
    let step = transform(json!({"jq": ".[0]", "input": "previous"}));
    assert_eq!(step.0.evaluate(&input).unwrap().get(), "2");
}

#[test]
fn without_a_step_before_the_previous_result_is_null() {
    assert_eq!(result("$previous", "{}"), "null");
    let step = transform(json!({"jq": ".", "input": "previous"}));
    assert_eq!(step.0.evaluate(&input("{}")).unwrap().get(), "null");
}

#[test]
fn a_body_may_be_read_as_text() {
    let step = transform(json!({"jq": "split(\"=\")[1]", "input": "text"}));
    assert_eq!(step.0.evaluate(&input("a=1")).unwrap().get(), "\"1\"");
    let mut bytes = input("");
    bytes.body = b"a=\xff".as_slice().into();
    assert_eq!(step.0.evaluate(&bytes).unwrap_err().message, "the body is not UTF-8");
}

#[test]
fn a_body_that_is_not_json_is_invalid() {
    for body in ["", "a=1", "{a:1}", "NaN", "[1,]", "# no\n1", "1 2", "b\"x\"", "\"\\ud800\""] {
        assert!(told(".", body).starts_with("the body "), "{body}");
    }
    assert_eq!(
        told(".", &"[".repeat(1_000_000)),
        "the body ends too early to be JSON (line 1, column 1000000)"
    );
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    assert_eq!(told(".", &deep), "the body is nested more than 127 deep");
}

#[test]
fn an_error_tells_kinds_and_own_words_but_never_the_body() {
    let body = r#"{"a":"canary","b":{"canary":["canary"]},"n":1}"#;
    assert_eq!(told(".a.b", body), "jq: cannot index a text with `b`");
    assert_eq!(told(".n[.a]", body), "jq: cannot index a number");
    assert_eq!(told(".a[]", body), "jq: cannot iterate over a text");
    assert_eq!(told(".b | sort", body), "jq: cannot use an object as array");
    assert_eq!(told(".a - 1", body), "jq: cannot calculate with a text here");
    assert_eq!(told("error(.a)", body), "jq: the expression failed on this input");
    assert_eq!(told("error(.b)", body), "jq: the expression failed on this input");
    assert_eq!(told("error(\"no \\(.a)\")", body), "jq: the expression failed on this input");
    assert_eq!(told(".a | tonumber", body), "jq: a text is no number");
    assert_eq!(told("1 / (.n - 1)", body), "jq: the divisor is zero");
    assert_eq!(told(".a | fromjson", body), "jq: a text is not JSON");
    assert_eq!(
        told("if .amount then . else error(\"there is no amount\") end", body),
        "jq: there is no amount"
    );
}

#[test]
fn what_an_error_tells_is_bounded() {
    let words = "é".repeat(1_000);
    assert!(told(&format!("error(\"{words}\")"), "{}").ends_with("é…"));
    let message = told(&format!(".[\"{words}\"]"), "1");
    assert!(message.starts_with("jq: cannot index a number"), "{message}");
    assert_eq!(told("error(\"\")", "{}"), "jq: the expression failed on this input");
}

#[test]
fn an_expression_cannot_look_or_act_outside() {
    for (jq, message) in [
        ("env", "line 1, column 1: there is no function `env`: expressions only compute"),
        ("env.PATH", "line 1, column 1: there is no function `env`: expressions only compute"),
        ("$ENV.PATH", "line 1, column 1: there is no environment for expressions"),
        ("halt", "line 1, column 1: there is no function `halt`: expressions only compute"),
        (
            "halt(1)",
            "line 1, column 1: there is no function `halt` with 1 arguments: expressions only compute",
        ),
        (
            "1 | halt_error",
            "line 1, column 5: there is no function `halt_error`: expressions only compute",
        ),
        ("debug", "line 1, column 1: there is no function `debug`: expressions only compute"),
        (
            "debug_empty",
            "line 1, column 1: there is no function `debug_empty`: expressions only compute",
        ),
        ("stderr", "line 1, column 1: there is no function `stderr`: expressions only compute"),
        (
            "localtime",
            "line 1, column 1: there is no function `localtime`: expressions only compute",
        ),
        ("now", "line 1, column 1: there is no function `now`; use `$now`"),
        ("input", "line 1, column 1: there is no function `input`"),
        ("inputs", "line 1, column 1: there is no function `inputs`"),
        ("input_filename", "line 1, column 1: there is no function `input_filename`"),
        ("$__prog_args", "line 1, column 1: there is no variable `$__prog_args`"),
    ] {
        assert_eq!(refused("transform", json!({ "jq": jq })), DefinitionError::at("jq", message));
    }
    for jq in ["include \"a\"; .", "import \"a\" as a; .", "import \"/etc/passwd\" as $a; ."] {
        assert!(
            refused("transform", json!({ "jq": jq })).message.contains("modules cannot be loaded")
        );
    }
}

#[test]
fn a_wrong_expression_is_told_by_place_and_reason() {
    let deep = "the expression is 5003 deep, limit 4000: brackets inside of one another and terms one \
                after the other count; divide it among several steps";
    assert_eq!(
        refused("transform", json!({ "jq": format!("{}=1", ".a".repeat(5_000)) })),
        DefinitionError::at("jq", deep)
    );
    for (jq, message) in [
        (".a |\n  nothing(1)", "line 2, column 3: there is no function `nothing` with 1 arguments"),
        ("$a", "line 1, column 1: there is no variable `$a`"),
        ("(.a", "line 1, column 4: expected closing parenthesis"),
        ("\"\\(.a", "line 1, column 6: expected closing parenthesis"),
        (".a | §", "line 1, column 6: expected token"),
        (".a |", "line 1, column 5: expected term, found the end"),
        (".a ]", "line 1, column 4: expected token"),
        ("", "line 1, column 1: expected term, found the end"),
    ] {
        assert_eq!(
            refused("transform", json!({ "jq": jq })),
            DefinitionError::at("jq", message),
            "{jq}"
        );
    }
    assert_eq!(refused("transform", json!({})), DefinitionError::at("jq", "`jq` is missing"));
}

#[test]
fn a_result_is_bounded() {
    let padded = |length: usize| format!("\"a\" * {}", length - 2);
    assert_eq!(result(&padded(RESULT_BYTES_MAX), "{}").len(), RESULT_BYTES_MAX);
    let error = evaluated(&padded(RESULT_BYTES_MAX + 1), "{}").unwrap_err();
    assert_eq!((error.kind.as_str(), error.retryable), ("too_large", false));
    assert_eq!(
        told("reduce range(1000) as $i (0; [.])", "{}"),
        "the result is nested more than 127 deep"
    );
}

#[tokio::test]
async fn a_text_that_no_memory_holds_is_a_failure() {
    let step = transform(json!({"jq": ". * 9223372036854775807"}));
    let error = step.run(input("\"canary\"")).await.unwrap_err();
    assert_eq!(error, StepError::fatal("invalid", "jq: the repeated text is too long"));
}

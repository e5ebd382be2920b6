//! `run = "validate"`: the body must have a certain shape.

mod multiple_of;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use everhook_journal::ambient::{self, Panicked};
use everhook_journal::workflow::StepDefinition;
use everhook_journal::{SourceName, Timestamp};
use jsonschema::paths::LocationSegment;
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde::Serialize;
use serde_json::Value;

use super::{json, options};
use crate::expression::question::Question;
use crate::expression::{HERE_BYTES_MAX, worker};
use crate::step::{DefinitionError, Input, Output, Step, StepError, StepFuture, to_output};
use multiple_of::MultipleOf;

/// How much of a place in the body is told.
const PLACE_BYTES_MAX: usize = 200;

/// Lets a webhook pass only if its body has the shape that `expect` or `schema` asks for.
///
/// | key | means |
/// |---|---|
/// | `expect` | `"object"` (the default), `"array"`, `"json"`, or `"any"`: also forms and empty bodies |
/// | `schema` | a JSON Schema; then it alone decides, unless `expect` is given too |
#[derive(Clone)]
pub struct Validate {
    expect: Expect,
    schema: Option<Arc<Schema>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Object,
    Array,
    Json,
    Any,
}

/// A compiled schema.
pub(crate) struct Schema {
    /// The schema, as JSON.
    text: String,
    validator: Validator,
    names: BTreeSet<String>,
    /// Whether what it takes may grow faster than the body.
    is_heavy: bool,
}

/// Keywords with which the body's size or depth may multiply the work: each is judged in a worker with limits.
const HEAVY: [&str; 6] = [
    "$ref",
    "$dynamicRef",
    "$recursiveRef",
    "uniqueItems",
    "unevaluatedItems",
    "unevaluatedProperties",
];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Validated<'w> {
    status: &'static str,
    event_type: Option<&'w str>,
    source: &'w SourceName,
    keys: u64,
    validated_at: Timestamp,
}

impl Validate {
    /// Reads the definition and compiles its schema.
    pub fn new(step: &StepDefinition) -> Result<Self, DefinitionError> {
        options::only(step, &["schema", "expect"])?;
        let choices = [
            ("object", Expect::Object),
            ("array", Expect::Array),
            ("json", Expect::Json),
            ("any", Expect::Any),
        ];
        let expect = options::choice(step, "expect", &choices)?;
        let schema = step.options.get("schema").map(Schema::new).transpose()?.map(Arc::new);
        if schema.is_some() && expect == Some(Expect::Any) {
            let message = "a schema asks for JSON; leave `expect` out, or the schema";
            return Err(DefinitionError::at("expect", message));
        }
        let usual = if schema.is_some() { Expect::Json } else { Expect::Object };
        Ok(Self { expect: expect.unwrap_or(usual), schema })
    }

    async fn check(&self, input: &Input) -> Result<Output, StepError> {
        self.expect.check(&input.body)?;
        if let Some(schema) = &self.schema {
            schema.judge(input).await?;
        }
        to_output(&Validated {
            status: "validated",
            event_type: input.webhook.event_type.as_deref(),
            source: &input.webhook.source,
            keys: input.webhook.key_count,
            validated_at: input.started_at,
        })
    }
}

impl Step for Validate {
    fn run(&self, input: Input) -> StepFuture {
        let step = self.clone();
        Box::pin(async move { step.check(&input).await })
    }
}

impl fmt::Debug for Validate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Validate({:?}, schema: {})", self.expect, self.schema.is_some())
    }
}

impl Expect {
    fn check(self, body: &[u8]) -> Result<(), StepError> {
        if self == Self::Any {
            return Ok(());
        }
        let invalid = |what: &str| StepError::fatal("invalid", format!("the body {what}"));
        json::check(body).map_err(|what| invalid(&what))?;
        match (self, json::first(body)) {
            (Self::Object, Some(b'{')) | (Self::Array, Some(b'[')) | (Self::Json, _) => Ok(()),
            (Self::Object, _) => Err(invalid("is not a JSON object")),
            (Self::Array, _) => Err(invalid("is not a JSON array")),
            (Self::Any, _) => Ok(()),
        }
    }
}

impl Schema {
    fn new(schema: &Value) -> Result<Self, DefinitionError> {
        let problem = |message: String| DefinitionError::at("schema", message);
        if !matches!(schema, Value::Object(_) | Value::Bool(_)) {
            return Err(problem("`schema` must be a JSON Schema: an object".into()));
        }
        let validator = jsonschema::options()
            // A backtracking engine would let a sender choose how long a pattern takes.
            .with_pattern_options(PatternOptions::regex())
            // By the newer drafts `format` is a remark only, unless somebody asks for more.
            .should_validate_formats(true)
            .with_keyword("multipleOf", MultipleOf::keyword)
            .offline()
            .build(schema)
            .map_err(|error| problem(format!("`schema` cannot be used: {error}")))?;
        let mut names = BTreeSet::new();
        collect_names(schema, &mut names);
        let is_heavy = HEAVY.iter().any(|keyword| names.contains(*keyword));
        Ok(Self { text: schema.to_string(), validator, names, is_heavy })
    }

    /// Judges a body: here if that is sure to be quick, or else in a worker.
    async fn judge(self: &Arc<Self>, input: &Input) -> Result<(), StepError> {
        let body = input.body.clone();
        if ambient::is_simulated() || !self.is_heavy && body.len() <= HERE_BYTES_MAX {
            return self.check(&body);
        }
        if self.is_heavy {
            let question = Question::of_schema(body);
            worker::answer(&self.text, &question, &input.webhook.source).await?;
            return Ok(());
        }
        let _place = worker::large_here().await;
        let schema = self.clone();
        match ambient::away(move || schema.check(&body)).await {
            Ok(Some(judged)) => judged,
            Ok(None) => Err(StepError::retryable("cancelled", "the process is ending")),
            Err(Panicked) => Err(StepError::fatal("panic", "the schema panicked on this input")),
        }
    }

    /// The schema that a worker is sent.
    pub(crate) fn read(text: &str) -> Result<Self, StepError> {
        let unreadable = || StepError::fatal("invalid", "the schema cannot be read");
        let schema = serde_json::from_str(text).map_err(|_| unreadable())?;
        Self::new(&schema).map_err(|_| unreadable())
    }

    /// Judges a body in this thread.
    pub(crate) fn check(&self, body: &[u8]) -> Result<(), StepError> {
        // A schema is applied to numbers and texts that Rust has, which JSON may exceed.
        let value: Value = serde_json::from_slice(body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let what = "holds a number or a text that no schema can be applied to";
            StepError::fatal("invalid", format!("the body {what} (line {line}, column {column})"))
        })?;
        let text = std::str::from_utf8(body).unwrap_or_default();
        let validated = match self.names.contains("multipleOf") {
            true => multiple_of::reading(text, || self.validator.validate(&value)),
            false => self.validator.validate(&value),
        };
        validated.map_err(|error| {
            let (place, keyword) = (self.place(&error), error.kind().keyword());
            let message = format!("the body at {place} does not meet `{keyword}` of the schema");
            StepError::fatal("invalid", message)
        })
    }

    /// Where the body is wrong. Names that only the body knows are its content, and not told.
    fn place(&self, error: &ValidationError<'_>) -> String {
        let mut place = String::new();
        for segment in error.instance_path().segments() {
            place.push('/');
            match segment {
                LocationSegment::Index(index) => place.push_str(&index.to_string()),
                LocationSegment::Property(name) if self.names.contains(name.as_ref()) => {
                    place.push_str(&name);
                }
                LocationSegment::Property(_) => place.push('*'),
            }
        }
        match place.floor_char_boundary(PLACE_BYTES_MAX) {
            0 => "its top".into(),
            end if end < place.len() => format!("{}…", &place[..end]),
            _ => place,
        }
    }
}

/// All names in the schema; those of its keywords do no harm.
fn collect_names(schema: &Value, names: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            names.extend(map.keys().cloned());
            map.values().for_each(|value| collect_names(value, names));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_names(item, names)),
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{definition, input, refused};
    use super::*;

    fn checked(options: Value, body: &str) -> Result<Value, StepError> {
        let step = Validate::new(&definition("validate", options)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime
            .block_on(step.check(&input(body)))
            .map(|output| serde_json::from_str(output.get()).unwrap())
    }

    #[track_caller]
    fn told(options: Value, body: &str) -> String {
        let error = checked(options, body).unwrap_err();
        assert_eq!((error.kind.as_str(), error.retryable), ("invalid", false));
        error.message
    }

    #[test]
    fn the_result_tells_what_was_validated() {
        assert_eq!(
            checked(json!({}), r#"{"a":1}"#).unwrap(),
            json!({
                "status": "validated",
                "eventType": "order.paid",
                "source": "shop",
                "keys": 1,
                "validatedAt": "2026-11-24T02:20:45.120Z",
            })
        );
    }

    #[test]
    fn a_body_is_an_object_unless_something_else_is_expected() {
        let passes = |options: &Value, body| checked(options.clone(), body).is_ok();
        let bodies = [r#" {"a":1}"#, "[1]", "1", "a=1&b=2", ""];
        for (options, expected) in [
            (json!({}), [true, false, false, false, false]),
            (json!({"expect": "object"}), [true, false, false, false, false]),
            (json!({"expect": "array"}), [false, true, false, false, false]),
            (json!({"expect": "json"}), [true, true, true, false, false]),
            (json!({"expect": "any"}), [true, true, true, true, true]),
            (json!({"schema": {}}), [true, true, true, false, false]),
            (json!({"schema": {"type": "array"}}), [false, true, false, false, false]),
            (json!({"schema": {}, "expect": "object"}), [true, false, false, false, false]),
        ] {
            assert_eq!(bodies.map(|body| passes(&options, body)), expected, "{options}");
        }
    }

    #[test]
    fn an_integer_of_any_length_is_still_json() {
        assert!(checked(json!({}), r#"{"a":1e308,"b":12345678901234567890123}"#).is_ok());
    }

    #[test]
    fn a_format_is_checked_in_every_draft() {
        for (format, good, bad) in [
            ("date-time", "2026-11-24T02:20:45Z", "2026-11-24"),
            ("date", "2026-11-24", "2026-02-30"),
            ("time", "02:20:45Z", "25:00:00Z"),
            ("email", "a@example.com", "example.com"),
            ("hostname", "example.com", "exa mple"),
            ("ipv4", "127.0.0.1", "127.0.0.256"),
            ("ipv6", "::1", "::g"),
            ("uri", "https://example.com/", "/a"),
            ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567"),
            ("json-pointer", "/a", "a"),
        ] {
            for draft in [
                "https://json-schema.org/draft/2020-12/schema",
                "https://json-schema.org/draft/2019-09/schema",
            ] {
                let schema =
                    json!({ "$schema": draft, "properties": { "a": { "format": format } } });
                let body = |text: &str| json!({ "a": text }).to_string();
                assert!(
                    checked(json!({ "schema": schema.clone() }), &body(good)).is_ok(),
                    "{format}"
                );
                let message = told(json!({ "schema": schema }), &body(bad));
                assert_eq!(
                    message, "the body at /a does not meet `format` of the schema",
                    "{format}"
                );
            }
        }
        let old =
            json!({ "$schema": "http://json-schema.org/draft-07/schema#", "format": "email" });
        assert!(checked(json!({ "schema": old }), "\"no\"").is_err());
        // A remark: somebody's own format, and what has no text.
        assert!(checked(json!({ "schema": { "format": "int64" } }), "1").is_ok());
        assert!(checked(json!({ "schema": old }), "1").is_ok());
    }

    #[test]
    fn a_multiple_is_exact_whatever_the_size() {
        let holds = |multiple: Value, number: &str| {
            let schema = json!({"properties": {"n": {"multipleOf": multiple}}});
            checked(json!({ "schema": schema }), &format!(r#"{{"n":{number}}}"#)).is_ok()
        };
        for (multiple, number, expected) in [
            (json!(2), "36893488147419103232", true),
            (json!(2), "36893488147419103233", false),
            (json!(3), "-9223372036854775808", false),
            (json!(2), "9007199254740993", false),
            (json!(10), "1e20", true),
            (json!(0.01), "19.99", true),
            (json!(0.01), "19.995", false),
            (json!(1), "5.0", true),
            (json!(1), "5.5", false),
            (json!(18446744073709551615_u64), "18446744073709551615", true),
            (json!(1e20), "300000000000000000000", true),
            (json!(1e20), "300000000000000000001", false),
            (json!(2), "\"3\"", true),
        ] {
            assert_eq!(holds(multiple.clone(), number), expected, "{number} of {multiple}");
        }
        let message = told(json!({"schema": {"multipleOf": 2}}), "36893488147419103233");
        assert_eq!(message, "the body at its top does not meet `multipleOf` of the schema");
    }

    #[test]
    fn a_violation_is_told_by_place_and_keyword_and_never_by_value() {
        let schema =
            json!({"properties": {"card": {"properties": {"number": {"type": "integer"}}}}});
        let body = r#"{"card":{"number":"canary"}}"#;
        assert_eq!(
            told(json!({"schema": schema}), body),
            "the body at /card/number does not meet `type` of the schema"
        );

        let schema = json!({"additionalProperties": {"items": {"enum": ["a", "b"]}}});
        let body = r#"{"canary@example.com":["a","canary"]}"#;
        assert_eq!(
            told(json!({"schema": schema}), body),
            "the body at /*/1 does not meet `enum` of the schema"
        );

        let message = told(json!({"schema": {"required": ["id"]}}), r#"{"canary":"canary"}"#);
        assert_eq!(message, "the body at its top does not meet `required` of the schema");
    }

    #[test]
    fn text_that_is_not_json_is_told_by_its_place_only() {
        assert_eq!(told(json!({}), r#"{"a":canary}"#), "the body is not JSON (line 1, column 6)");
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert_eq!(told(json!({"expect": "json"}), &deep), "the body is nested more than 127 deep");
    }

    #[test]
    fn what_no_schema_can_be_applied_to_is_told_by_its_place() {
        for (body, what) in [
            (r#"{"canary":1e400}"#, "a number beyond the range of a float (line 1, column 11)"),
            (r#"{"canary":"\ud800"}"#, "half of a surrogate pair (line 1, column 12)"),
        ] {
            for options in [json!({"schema": {}}), json!({}), json!({"expect": "json"})] {
                assert_eq!(told(options, body), format!("the body holds {what}"));
            }
        }
    }

    #[test]
    fn a_schema_must_be_one_and_complete() {
        for schema in [
            json!("schemas/push.json"),
            json!([]),
            json!({"type": "strnig"}),
            json!({"$ref": "https://example.com/other.json"}),
            json!({"$ref": "file:///etc/passwd"}),
            json!({"$ref": "#/$defs/missing"}),
            json!({"pattern": "(?=a)b"}),
            json!({"pattern": "("}),
        ] {
            let error = refused("validate", json!({ "schema": schema.clone() }));
            assert_eq!(error.option.as_deref(), Some("schema"), "{schema}");
        }
        let local = json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "object"}}});
        assert!(checked(json!({ "schema": local }), "{}").is_ok());
    }

    #[test]
    fn an_unknown_expectation_is_refused() {
        let error = refused("validate", json!({"expect": "xml"}));
        let words = r#"`expect` is one of "object", "array", "json", "any", not "xml""#;
        assert_eq!(error, DefinitionError::at("expect", words));
        let error = refused("validate", json!({"expect": "any", "schema": {}}));
        assert_eq!(error.option.as_deref(), Some("expect"));
    }

    #[test]
    fn a_schema_that_the_depth_of_the_body_multiplies_is_judged_within_limits() {
        let again = json!({"properties": {"a": {"$ref": "#"}}});
        let schema = json!({"anyOf": [again, again], "required": ["b"]});
        let body = format!("{}1{}", "{\"a\":".repeat(100), "}".repeat(100));
        let error = checked(json!({ "schema": schema }), &body).unwrap_err();
        // Which of its keywords is looked at first decides whether it takes long.
        let kinds = ["too_much_time", "invalid"];
        assert!(kinds.contains(&error.kind.as_str()) && !error.retryable, "{error}");
    }

    #[test]
    fn many_items_are_unique_or_not_within_limits() {
        let schema = json!({"properties": {"a": {"uniqueItems": true}}});
        let items = |last: &str| {
            let items: Vec<_> = (0..20_000).map(|item| format!("{{\"n\":{item}}}")).collect();
            format!(r#"{{"a":[{},{last}]}}"#, items.join(","))
        };
        let verdict = |last| checked(json!({ "schema": schema }), &items(last)).map(|_| ());
        assert!(verdict("1").is_ok() || verdict("1").unwrap_err().kind == "too_much_time");
        assert!(verdict("{\"n\":7}").is_err());
    }

    #[test]
    fn a_large_body_is_judged_by_a_schema() {
        let body = format!(r#"{{"a":"{}"}}"#, "a".repeat(300_000));
        assert!(checked(json!({"schema": {"required": ["a"]}}), &body).is_ok());
        assert!(told(json!({"schema": {"required": ["b"]}}), &body).contains("`required`"));
    }

    #[test]
    fn a_pattern_takes_linear_time() {
        let schema = json!({"properties": {"a": {"pattern": "^(a+)+$"}}});
        let body = format!(r#"{{"a":"{}!"}}"#, "a".repeat(50_000));
        assert!(told(json!({ "schema": schema }), &body).contains("`pattern`"));
    }
}

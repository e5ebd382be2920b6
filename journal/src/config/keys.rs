//! The keys that the configuration may hold: one table, from which editors are told what may stand where.
//!
//! Each part of the program that reads keys lists them beside its reader; here are those that all parts share.

use serde_json::{Value, json};

use crate::retry::Retry;
use crate::workflow::STEPS_MAX;

/// A key of a table of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What its value looks like.
    pub form: Form,
    /// Whether it must be there.
    pub required: bool,
    /// What holds if it is not there, as JSON; nothing if that is not one value.
    pub usual: Option<&'static str>,
    /// What it means, in one line.
    pub about: &'static str,
}

/// What a value looks like.
#[derive(Debug, Clone, Copy)]
pub enum Form {
    /// A text in quotes.
    Text,
    /// A text in quotes that this regular expression matches.
    Pattern(&'static str),
    /// A list of texts.
    Texts,
    /// A list of at least one text.
    SomeTexts,
    /// A reference to a secret: `"env:NAME"`.
    Reference,
    /// A list of at least one reference to a secret.
    References,
    /// A JSON Pointer: a way into JSON.
    Pointer,
    /// A list of JSON Pointers.
    Pointers,
    /// A table of texts.
    TextTable,
    /// One of these words.
    Words(&'static [&'static str]),
    /// A jq expression.
    Jq,
    /// A text in quotes that this regular expression matches, in which `\(…)` stands for an expression.
    Template(&'static str),
    /// A duration: `"30s"`.
    Duration,
    /// A list of durations.
    Durations,
    /// `true` or `false`.
    Flag,
    /// Only `false`.
    Off,
    /// A whole number in this span.
    Whole(u64, u64),
    /// A number in this span.
    Number(f64, f64),
    /// A table with some of these keys.
    Table(&'static [Key]),
    /// A table of any keys.
    AnyTable,
    /// Whatever TOML has.
    Anything,
    /// One of these.
    Either(&'static [Form]),
    /// What `#/definitions/NAME` describes.
    Defined(&'static str),
}

/// A duration as [`parse_duration`](crate::time::parse_duration) reads it, in all ways that people write one.
const DURATION: &str = "^([0-9]+(\\.[0-9]+)? ?(ms|msecs?|millis|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|\
                        h|hrs?|hours?|d|days?|w|weeks?)[ ,]*)+$";

/// How a secret is referred to.
const REFERENCE: &str = "^((env|file|generated|secretsmanager):.|ssm:/.)";

/// Names of sources, workflows and steps.
pub const NAME: Form = Form::Pattern("^[A-Za-z0-9_-]{1,64}$");

/// `[settings]`.
pub const SETTINGS: &[Key] = &[
    key(
        "retention",
        Form::Duration,
        "how long a history is kept beyond the longest its workflow can take",
    )
    .usual("\"7d\""),
    key("body_bytes_max", Form::Whole(0, u64::MAX), "the largest body that is accepted, in bytes")
        .usual("1048576"),
    key(
        "concurrency",
        Form::Whole(1, u64::MAX),
        "how many executions advance at once in one process",
    )
    .usual("64"),
    key(
        "backlog_max",
        Form::Whole(1, u64::MAX),
        "how many webhooks may wait to be carried on before one machine refuses more",
    )
    .usual("10000"),
    key(
        "private_hosts",
        Form::Texts,
        "hosts that `http` steps may call although they are not public",
    )
    .usual("[]"),
    key("execution_key", Form::Text, "the secret from which tokens are derived, as a reference")
        .usual("\"generated:execution-key\""),
    key(
        "public_url",
        Form::Pattern("^https?://"),
        "where whoever is to call back reaches the HTTP API",
    ),
    key(
        "callback_key",
        Form::Reference,
        "the secret from which the addresses of callbacks are derived, as a reference",
    )
    .usual("\"generated:callback-key\""),
];

/// `[workflows.NAME]`.
pub const WORKFLOW: &[Key] = &[
    key("steps", Form::Defined("steps"), "the steps, in order").required(),
    key(
        "on_failure",
        Form::Defined("steps"),
        "what follows a failure, in order; `$error` says why",
    ),
    key("timeout", Form::Duration, "how long the whole may take; any time, if nothing is said"),
];

/// `[[workflows.NAME.steps]]`, whatever the kind.
pub const STEP: &[Key] = &[
    key("name", NAME, "its name, unique in the workflow").required(),
    key("run", Form::Text, "the kind of step, or the name of a step written in Rust").required(),
    key("timeout", Form::Duration, "how long one attempt may take; up to 50s").usual("\"30s\""),
    key("retry", Form::Either(RETRY_FORMS), "when a failed attempt is repeated: a preset's name, or a table"),
    key("when", Form::Jq, "without it holding, the step is passed over"),
    key(
        "at_most_once",
        Form::Either(&[Form::Flag, Form::Words(&["attempt"])]),
        "whether an interrupted attempt is never made again: true, or \"attempt\" if `retry` then decides",
    )
    .usual("false"),
    key(
        "record_request",
        Form::Flag,
        "whether the history holds what each attempt sent, without credentials",
    )
    .usual("true"),
];

/// A branch of a `parallel`.
pub const BRANCH: &[Key] = &[
    key("name", NAME, "its name, unique in the step").required(),
    key("steps", Form::Defined("steps"), "its steps, in order").required(),
];

/// `retry`.
pub const RETRY: &[Key] = &[
    key("preset", Form::Words(&Retry::PRESETS), "what holds where nothing else is said"),
    key("attempts", Form::Whole(1, 100), "how many attempts there are in all").usual("6"),
    key(
        "backoff",
        Form::Words(&["exponential", "linear", "fixed", "schedule"]),
        "how the delay grows from one attempt to the next",
    )
    .usual("\"exponential\""),
    key("first", Form::Duration, "the first delay").usual("\"1s\""),
    key("max", Form::Duration, "the longest delay").usual("\"60s\""),
    key("rate", Form::Number(1.0, 100.0), "by what an exponential delay grows").usual("2"),
    key("jitter", Form::Words(&["full", "half", "none"]), "how a delay is drawn"),
    key("schedule", Form::Durations, "the delays themselves; the last one stays"),
    key(
        "max_age",
        Form::Duration,
        "how long after the first attempt began there may be another; without `attempts` it goes on that long",
    ),
    key("on", Form::Texts, "the kinds of failure that are tried again: \"timeout\", \"http_5*\"")
        .usual("[]"),
    key("not_on", Form::Texts, "the kinds of failure that are not tried again").usual("[]"),
];

const RETRY_FORMS: &[Form] = &[Form::Words(&Retry::PRESETS), Form::Defined("retry")];

/// A key that need not be there.
pub const fn key(name: &'static str, form: Form, about: &'static str) -> Key {
    Key { name, form, required: false, usual: None, about }
}

impl Key {
    /// The same key, which must be there.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// The same key; if it is not there, this holds, as JSON.
    #[must_use]
    pub const fn usual(mut self, json: &'static str) -> Self {
        self.usual = Some(json);
        self
    }

    fn schema(&self) -> Value {
        let mut schema = self.form.schema();
        schema["description"] = self.about.into();
        if let Some(usual) = self.usual.and_then(|json| serde_json::from_str(json).ok()) {
            schema["default"] = usual;
        }
        schema
    }
}

impl Form {
    /// A JSON Schema of such values.
    pub fn schema(&self) -> Value {
        match self {
            Self::Text | Self::Jq => json!({ "type": "string" }),
            Self::Pattern(pattern) | Self::Template(pattern) => {
                json!({ "type": "string", "pattern": pattern })
            }
            Self::Texts => json!({ "type": "array", "items": { "type": "string" } }),
            Self::SomeTexts => {
                json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 })
            }
            Self::Reference => json!({ "type": "string", "pattern": REFERENCE }),
            Self::References => {
                json!({ "type": "array", "items": Self::Reference.schema(), "minItems": 1 })
            }
            Self::Pointer => json!({ "type": "string", "pattern": "^(/.*)?$" }),
            Self::Pointers => json!({ "type": "array", "items": Self::Pointer.schema() }),
            Self::TextTable => {
                json!({ "type": "object", "additionalProperties": { "type": "string" } })
            }
            Self::Words(words) => json!({ "enum": words }),
            Self::Duration => json!({ "type": "string", "pattern": DURATION }),
            Self::Durations => {
                json!({ "type": "array", "items": Self::Duration.schema(), "minItems": 1 })
            }
            Self::Off => json!({ "enum": [false] }),
            Self::Flag => json!({ "type": "boolean" }),
            Self::Whole(least, u64::MAX) => json!({ "type": "integer", "minimum": least }),
            Self::Whole(least, most) => {
                json!({ "type": "integer", "minimum": least, "maximum": most })
            }
            Self::Number(least, most) => {
                json!({ "type": "number", "minimum": least, "maximum": most })
            }
            Self::Table(keys) => {
                let mut schema = table(*keys);
                schema["minProperties"] = 1.into();
                schema
            }
            Self::AnyTable => json!({ "type": "object" }),
            Self::Anything => json!({}),
            Self::Either(forms) => {
                json!({ "anyOf": forms.iter().map(Self::schema).collect::<Vec<_>>() })
            }
            // Beside a reference nothing else counts.
            Self::Defined(name) => {
                json!({ "allOf": [{ "$ref": format!("#/definitions/{name}") }] })
            }
        }
    }
}

/// A JSON Schema of a table with these keys and no others.
pub fn table<'k>(keys: impl IntoIterator<Item = &'k Key>) -> Value {
    let mut properties = serde_json::Map::new();
    let mut required = Vec::new();
    for key in keys {
        properties.insert(key.name.to_owned(), key.schema());
        required.extend(key.required.then_some(key.name));
    }
    let mut schema =
        json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema
}

/// A list of steps, each as `#/definitions/NAME` describes.
pub fn steps(name: &str) -> Value {
    let step = json!({ "$ref": format!("#/definitions/{name}") });
    json!({ "type": "array", "items": step, "minItems": 1, "maxItems": STEPS_MAX })
}

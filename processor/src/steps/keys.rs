//! The keys of each built-in kind of step: what editors are told, beside what [`Steps`](super::Steps) reads.

use everhook_journal::config::keys::{Form, Key, key};

use super::branches::BRANCHES_MAX;

/// A kind of step.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Its name: what `run` says.
    pub name: &'static str,
    /// What it does, in one line.
    pub about: &'static str,
    /// Its keys beyond those that every step has.
    pub keys: &'static [Key],
    /// Of which keys exactly one must be there.
    pub one_of: &'static [&'static str],
}

const INPUT: Key = key(
    "input",
    Form::Words(&["json", "text", "previous", "item"]),
    "what `.` is: the body as JSON, the body as text, the result before, or the item of a `map`",
)
.usual("\"json\"");

const CONCURRENCY: Key =
    key("concurrency", Form::Whole(1, BRANCHES_MAX as u64), "how many go on at once");

const COMPLETE: Key = key(
    "complete",
    Form::Either(&[Form::Words(&["all", "any"]), Form::Whole(1, BRANCHES_MAX as u64)]),
    "when it is enough: \"all\", \"any\", or how many",
)
.usual("\"all\"");

const TOLERATE: Key = key(
    "tolerate",
    Form::Either(&[Form::Whole(0, BRANCHES_MAX as u64), Form::Pattern("^0*([0-9]{1,2}|100)%$")]),
    "how many may fail: a number, or \"10%\"",
)
.usual("0");

const FAILURE: Key = key(
    "failure",
    Form::Words(&["fail", "result"]),
    "with too many failures: the step fails, or gives its result all the same",
)
.usual("\"fail\"");

/// The built-in kinds.
pub const KINDS: &[Kind] = &[
    Kind {
        name: "validate",
        about: "lets a webhook pass only if its body has a certain shape",
        keys: &[
            key(
                "schema",
                Form::Either(&[Form::Text, Form::AnyTable, Form::Flag]),
                "a JSON Schema: a path, or the schema itself",
            ),
            key(
                "expect",
                Form::Words(&["object", "array", "json", "any"]),
                "what the body must be",
            ),
        ],
        one_of: &[],
    },
    Kind {
        name: "transform",
        about: "computes a result with a jq expression",
        keys: &[key("jq", Form::Jq, "the expression").required(), INPUT],
        one_of: &[],
    },
    Kind {
        name: "filter",
        about: "ends the workflow, as completed, if a jq expression does not hold",
        keys: &[
            key("jq", Form::Jq, "the expression; null and false stop").required(),
            INPUT,
            key("reason", Form::Text, "what the history and the status say of it"),
        ],
        one_of: &[],
    },
    Kind {
        name: "http",
        about: "posts the webhook, or the result before, to a URL",
        keys: &[
            key("url", Form::Text, "where to; `https`, unless `private_hosts` names the host")
                .required(),
            key("body", Form::Words(&["webhook", "previous"]), "what is posted")
                .usual("\"webhook\""),
            key("headers", Form::TextTable, "further headers; no place for secrets").usual("{}"),
        ],
        one_of: &[],
    },
    Kind {
        name: "wait",
        about: "waits for a duration, or until a time",
        keys: &[
            key("for", Form::Duration, "how long; up to 366d"),
            key("until", Form::Jq, "gives a time: RFC 3339, or seconds since 1970"),
            INPUT,
            key("max", Form::Duration, "how far ahead `until` may lie").usual("\"31d\""),
        ],
        one_of: &["for", "until"],
    },
    Kind {
        name: "callback",
        about: "waits for an answer from outside; the steps inside send its address, `$callback.url`, out",
        keys: &[
            key("expires", Form::Duration, "how long the answer may take; up to 366d")
                .usual("\"1d\""),
            key(
                "heartbeat",
                Form::Duration,
                "how long it may be from one sign of life to the next",
            ),
            key("steps", Form::Defined("steps"), "what happens before it waits"),
        ],
        one_of: &[],
    },
    Kind {
        name: "poll",
        about: "makes the step inside of it again and again, as `retry` says, until an expression holds",
        keys: &[
            key("until", Form::Jq, "the expression; `.` is what the step inside gave").required(),
            key("initial", Form::Anything, "what the step inside sees as `$state` the first time"),
            key("steps", Form::Defined("look"), "the one step that looks").required(),
        ],
        one_of: &[],
    },
    Kind {
        name: "parallel",
        about: "goes on in branches, side by side",
        keys: &[
            key("branches", Form::Defined("branches"), "the branches").required(),
            CONCURRENCY,
            COMPLETE,
            TOLERATE,
            FAILURE,
        ],
        one_of: &[],
    },
    Kind {
        name: "map",
        about: "makes the same steps for each item of a list",
        keys: &[
            key("items", Form::Jq, "gives the list").required(),
            INPUT,
            key("steps", Form::Defined("steps"), "the steps of each item, which see it as `$item`")
                .required(),
            Key { usual: Some("10"), ..CONCURRENCY },
            COMPLETE,
            TOLERATE,
            FAILURE,
        ],
        one_of: &[],
    },
];

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
    /// Which of them go together.
    pub rules: &'static [Rule],
}

/// What several keys of a step tell together.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    /// Exactly one of these is there.
    OneOf(&'static [&'static str]),
    /// If the first is there, so is the second.
    With(&'static str, &'static str),
    /// They are not both there.
    NotBoth(&'static str, &'static str),
    /// If the key has this value, none of those is there.
    Without(&'static str, &'static str, &'static [&'static str]),
    /// What this names keeps an order if it ends in `.fifo`: `group` is there then, and only then.
    Ordered(&'static str),
}

const INPUT: Key = key(
    "input",
    Form::Words(&["json", "text", "form", "previous", "item"]),
    "what `.` is: the body as JSON, as text or as a form, the result before, or the item of a `map`",
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

const BODY: Key = key(
    "body",
    Form::Words(&["webhook", "previous"]),
    "what is sent: the body as it was received, or the result before",
)
.usual("\"webhook\"");

const JQ: Key = key("jq", Form::Jq, "gives what is sent; a text as it is, anything else as JSON");

/// What holds wherever something is sent.
const SENT: &[Rule] = &[Rule::NotBoth("jq", "body")];

/// A text that is not empty, with expressions in it.
const SOME: Form = Form::Template("[\\s\\S]");

const GROUP: Key =
    key("group", SOME, "within which messages keep their order; `\\(…)` is an expression");

const DEDUPLICATION: Key = key(
    "deduplication",
    SOME,
    "of messages with the same, the first counts; the idempotency key, if nothing is said",
);

const LIMIT: &[Key] = &[
    key("rate", Form::Pattern("^[0-9]+/[smh]$"), "how often: \"10/s\", \"100/m\", \"1000/h\""),
    key("concurrency", Form::Whole(1, 1_000), "how many calls may be under way"),
];

const SIGN: &[Key] =
    &[key("secrets", Form::References, "1 to 4 references to secrets, the newest first")
        .required()];

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
        rules: &[],
    },
    Kind {
        name: "transform",
        about: "computes a result with a jq expression",
        keys: &[key("jq", Form::Jq, "the expression").required(), INPUT],
        rules: &[],
    },
    Kind {
        name: "filter",
        about: "ends the workflow, as completed, if a jq expression does not hold",
        keys: &[
            key("jq", Form::Jq, "the expression; null and false stop").required(),
            INPUT,
            key("reason", Form::Text, "what the history and the status say of it"),
        ],
        rules: &[],
    },
    Kind {
        name: "http",
        about: "sends the webhook, or something made of it, to a URL",
        keys: &[
            key(
                "url",
                SOME,
                "where to; `https`, unless `private_hosts` names the host; `\\(…)` is an expression",
            )
            .required(),
            key(
                "method",
                Form::Words(&["GET", "POST", "PUT", "PATCH", "DELETE"]),
                "what to do there",
            )
            .usual("\"POST\""),
            BODY,
            JQ,
            INPUT,
            key("headers", Form::TextTable, "further headers; no place for secrets").usual("{}"),
            key(
                "limit",
                Form::Table(LIMIT),
                "how often, and how often at once, this process calls the destination",
            ),
            key("sign", Form::Table(SIGN), "signs as Standard Webhooks says"),
        ],
        rules: &[
            Rule::NotBoth("jq", "body"),
            Rule::Without("method", "GET", &["body", "jq", "input"]),
        ],
    },
    Kind {
        name: "lambda",
        about: "invokes a function, whose result is the step's",
        keys: &[
            key("function", Form::Text, "its name or ARN").required(),
            key("qualifier", Form::Text, "a version or an alias"),
            key(
                "mode",
                Form::Words(&["result", "event"]),
                "waits for the result, or hands the event over",
            )
            .usual("\"result\""),
            BODY,
            JQ,
            INPUT,
        ],
        rules: SENT,
    },
    Kind {
        name: "sqs",
        about: "sends a message to a queue",
        keys: &[
            key(
                "queue",
                Form::Pattern("^(?!arn:)"),
                "its URL, or its name in the region and account of the credentials",
            )
            .required(),
            BODY,
            JQ,
            INPUT,
            key("delay", Form::Duration, "how long it stays hidden: whole seconds, up to 15m"),
            GROUP,
            DEDUPLICATION,
        ],
        rules: &[
            Rule::NotBoth("jq", "body"),
            Rule::Ordered("queue"),
            Rule::NotBoth("delay", "group"),
        ],
    },
    Kind {
        name: "sns",
        about: "publishes to a topic",
        keys: &[
            key("topic", Form::Pattern("^arn:.*:sns:"), "its ARN").required(),
            BODY,
            JQ,
            INPUT,
            key("subject", SOME, "the subject of mails; `\\(…)` is an expression"),
            GROUP,
            DEDUPLICATION,
        ],
        rules: &[Rule::NotBoth("jq", "body"), Rule::Ordered("topic")],
    },
    Kind {
        name: "eventbridge",
        about: "puts an event onto a bus",
        keys: &[
            key(
                "bus",
                Form::Text,
                "its name or ARN; the account's default bus, if nothing is said",
            ),
            key(
                "source",
                Form::Template("^(?!aws\\.)."),
                "what rules look at; `\\(…)` is an expression",
            )
            .required(),
            key("detail_type", SOME, "what rules look at; `\\(…)` is an expression").required(),
            BODY,
            JQ,
            INPUT,
        ],
        rules: SENT,
    },
    Kind {
        name: "s3",
        about: "archives the webhook, or something made of it, in a bucket",
        keys: &[
            key(
                "bucket",
                Form::Pattern("^[a-z0-9.-]{3,63}$"),
                "its name, in the region of the credentials",
            )
            .required(),
            key(
                "key",
                SOME,
                "the object's key; `\\(…)` is an expression; SOURCE/TOKEN/STEP, if nothing is said",
            ),
            BODY,
            JQ,
            INPUT,
        ],
        rules: SENT,
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
        rules: &[Rule::OneOf(&["for", "until"]), Rule::With("max", "until")],
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
        rules: &[],
    },
    Kind {
        name: "poll",
        about: "makes the step inside of it again and again, as `retry` says, until an expression holds",
        keys: &[
            key("until", Form::Jq, "the expression; `.` is what the step inside gave").required(),
            key("initial", Form::Anything, "what the step inside sees as `$state` the first time"),
            key("steps", Form::Defined("look"), "the one step that looks").required(),
        ],
        rules: &[],
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
        rules: &[],
    },
    Kind {
        name: "map",
        about: "makes the same steps for each item of a list",
        keys: &[
            key("items", Form::Jq, "gives the list").required(),
            INPUT,
            key(
                "label",
                Form::Jq,
                "what an item is called in the history and the status; `.` is the item",
            ),
            key("steps", Form::Defined("steps"), "the steps of each item, which see it as `$item`")
                .required(),
            Key { usual: Some("10"), ..CONCURRENCY },
            COMPLETE,
            TOLERATE,
            FAILURE,
        ],
        rules: &[],
    },
];

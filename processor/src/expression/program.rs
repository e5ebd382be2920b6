//! A jq expression, compiled once and run often.

use std::fmt;

use jaq_core::compile::{self, Undefined};
use jaq_core::load::parse::Def;
use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Native, Vars};

use super::functions::{self, Data, OUTSIDE};
use super::value::Value;
use super::{place, rewrite};
use crate::step::StepError;

/// The variables that every expression sees.
pub(crate) const VARIABLES: [&str; 11] = [
    "$webhook",
    "$steps",
    "$previous",
    "$now",
    "$keys",
    "$item",
    "$index",
    "$attempt",
    "$state",
    "$callback",
    "$error",
];

/// What the expression is called where it is compiled; no expression can name it.
const MAIN: &str = "_main";

/// How much of somebody's words is told.
const WORDS_BYTES_MAX: usize = 120;

/// A compiled expression.
pub(crate) struct Program {
    code: String,
    filter: compile::Filter<Native<Data>>,
}

impl Program {
    /// Compiles it; otherwise what is wrong, and where.
    pub(crate) fn compile(code: &str) -> Result<Self, String> {
        let arena = Arena::default();
        // What is wrong with its form is found here. Modules are refused.
        Loader::new(std::iter::empty())
            .load(&arena, File { code, path: () })
            .and_then(|modules| load::import(&modules, |_| Err("nothing is imported".into())))
            .map_err(|errors| {
                first(errors.into_iter().map(|(_, error)| unreadable(code, error)))
            })?;
        let term = load::parse(code, |parser| parser.term());
        let term = term.ok_or("the expression cannot be read")?;
        // jaq takes a term of ours only as a definition.
        let main = Def { name: MAIN, args: Vec::new(), body: rewrite::term(term) };
        let definitions = functions::definitions().map(as_short_as_the_code).chain([main]);
        let modules = Loader::new(definitions).load(&arena, File { code: MAIN, path: () });
        let modules = modules.map_err(|_| "the expression cannot be read")?;
        let filter = Compiler::default()
            .with_funs(functions::functions())
            .with_global_vars(VARIABLES)
            .compile(modules)
            .map_err(|errors| {
                first(errors.into_iter().map(|(_, errors)| undefined(code, &errors)))
            })?;
        Ok(Self { code: code.to_owned(), filter })
    }

    /// The first output.
    pub(crate) fn first(
        &self,
        dot: Value,
        variables: Vec<Value>,
    ) -> Result<Option<Value>, StepError> {
        let first = self.all(dot, variables).next().transpose();
        first.map_err(|error| match error {
            Some(error) => StepError::fatal("invalid", format!("jq: {}", self.explain(&error))),
            None => StepError::fatal("invalid", "jq: the expression ended early"),
        })
    }

    /// All outputs, until one is an error.
    pub(crate) fn all(
        &self,
        dot: Value,
        variables: Vec<Value>,
    ) -> impl Iterator<Item = Result<Value, Option<Value>>> {
        let context = Ctx::<Data>::new(&self.filter.lut, Vars::new(variables));
        let outputs = self.filter.id.run((context, dot));
        outputs.map(|output| {
            output.map_err(|exception| exception.get_err().ok().map(|error| error.into_val()))
        })
    }

    /// The expression, as written.
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// Where it runs.
    pub(crate) fn place(&self) -> place::Place {
        place::of(&self.code)
    }

    /// Whether the expression may use this variable.
    pub(crate) fn mentions(&self, variable: &str) -> bool {
        self.code.contains(variable)
    }

    /// What went wrong, without what the body says: only kinds of value, and words of the expression itself.
    fn explain(&self, error: &Value) -> String {
        let unknown = "the expression failed on this input";
        let Value::Text(text) = error else {
            return unknown.into();
        };
        if !text.is_empty() && self.code.contains(&format!("\"{text}\"")) {
            return shorten(text);
        }
        if let Some(rest) = text.strip_prefix("Cannot index ") {
            let name = rest.split_once(" with string (\"").map_or("", |(_, name)| name);
            // A long name is cut.
            let (name, more) = match name.strip_suffix("...\")") {
                Some(name) => (name, "…"),
                None => (name.strip_suffix("\")").unwrap_or_default(), ""),
            };
            let end = if more.is_empty() { "\"" } else { "" };
            let own = [format!(".{name}"), format!("\"{name}{end}")];
            let known = !name.is_empty() && own.iter().any(|word| self.code.contains(word));
            let with = if known { format!(" with `{name}{more}`") } else { String::new() };
            return format!("cannot index {}{with}", kind(rest));
        }
        if let Some(rest) = text.strip_prefix("Cannot iterate over ") {
            return format!("cannot iterate over {}", kind(rest));
        }
        if let Some(rest) = text.strip_prefix("cannot use ") {
            let wanted = ["array", "object", "string", "number", "integer"];
            let wanted = wanted.iter().find(|word| rest.ends_with(&format!(" as {word}")));
            let wanted = wanted.unwrap_or(&"array or object");
            return format!("cannot use {} as {wanted}", json_kind(rest));
        }
        if text.ends_with("because the divisor is zero") {
            return "the divisor is zero".into();
        }
        const ENDS: [(&str, &str); 9] = [
            (
                "is too far away for a date; divide milliseconds by 1000",
                "is too far away for a date; divide milliseconds by 1000",
            ),
            ("cannot be parsed as a number", "is no number"),
            ("cannot be parsed as a boolean", "is neither `true` nor `false`"),
            ("cannot be parsed as JSON", "is not JSON"),
            ("as it is not a string", "cannot be matched by a pattern"),
            ("is not valid base64 data", "is not base64"),
            ("has no length", "has no length"),
            ("has no keys", "has no keys"),
            ("cannot be negated", "cannot be negated"),
        ];
        if let Some((_, means)) = ENDS.iter().find(|(end, _)| text.ends_with(end)) {
            return format!("{} {means}", kind(text));
        }
        const MATH: [&str; 5] =
            ["be added", "be subtracted", "be multiplied", "be divided", "be divided (remainder)"];
        if MATH.iter().any(|end| text.ends_with(end)) {
            return format!("cannot calculate with {} here", kind(text));
        }
        match text.as_str() {
            "a value in the URL is null" => "a value in the URL is null".into(),
            "the pattern takes too many tries" => "the pattern takes too many tries".into(),
            "Repeat string result too long" => "the repeated text is too long".into(),
            _ => unknown.into(),
        }
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.code.fmt(f)
    }
}

/// The kind of value that these words begin with.
fn kind(words: &str) -> &'static str {
    const KINDS: [(&str, &str); 6] = [
        ("string", "a text"),
        ("array", "an array"),
        ("object", "an object"),
        ("boolean", "a boolean"),
        ("null", "null"),
        ("number", "a number"),
    ];
    let known = KINDS.iter().find(|(word, _)| words.starts_with(word));
    known.map_or("a value", |(_, kind)| kind)
}

/// What kind of value this JSON text begins.
fn json_kind(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'"') => "a text",
        Some(b'[') => "an array",
        Some(b'{') => "an object",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        Some(b'-' | b'0'..=b'9') => "a number",
        _ => "a value",
    }
}

/// The same definition; the compiler wants all of them to live as long as one another.
fn as_short_as_the_code<'s>(definition: Def<&'static str>) -> Def<&'s str> {
    definition
}

fn first(mut problems: impl Iterator<Item = String>) -> String {
    problems.next().unwrap_or_else(|| "the expression cannot be read".into())
}

fn unreadable(code: &str, error: load::Error<&str>) -> String {
    match error {
        load::Error::Io(paths) => match paths.first() {
            Some((path, _)) => format!("{}: modules cannot be loaded", place(code, path)),
            None => "modules cannot be loaded".into(),
        },
        load::Error::Lex(errors) => first(errors.iter().map(|(expected, rest)| {
            format!("{}: expected {}", place(code, rest), expected.as_str())
        })),
        load::Error::Parse(errors) => first(errors.iter().map(|(expected, found)| {
            let found_words =
                if found.is_empty() { "the end".into() } else { format!("`{}`", shorten(found)) };
            format!("{}: expected {}, found {found_words}", place(code, found), expected.as_str())
        })),
    }
}

fn undefined(code: &str, errors: &[compile::Error<&str>]) -> String {
    first(errors.iter().map(|(name, kind)| {
        let what = match kind {
            Undefined::Filter(0) => format!("function `{name}`"),
            Undefined::Filter(count) => format!("function `{name}` with {count} arguments"),
            Undefined::Var if *name == "$ENV" => "environment for expressions".into(),
            kind => format!("{} `{name}`", kind.as_str()),
        };
        let hint = match *name {
            "now" => "; use `$now`",
            name if OUTSIDE.contains(&name) => ": expressions only compute",
            _ => "",
        };
        format!("{}: there is no {what}{hint}", place(code, name))
    }))
}

/// Where a part of the code stands in it.
fn place(code: &str, part: &str) -> String {
    let offset = (part.as_ptr() as usize).checked_sub(code.as_ptr() as usize);
    let Some(before) = offset.and_then(|offset| code.get(..offset)) else {
        return "in the expression".into();
    };
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|character| *character != '\n').count() + 1;
    format!("line {line}, column {column}")
}

fn shorten(words: &str) -> String {
    match words.floor_char_boundary(WORDS_BYTES_MAX) {
        end if end < words.len() => format!("{}…", &words[..end]),
        _ => words.to_owned(),
    }
}

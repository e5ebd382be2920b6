//! A jq expression, compiled once and run often.

use std::fmt;

use jaq_core::compile::{self, Undefined};
use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Native, Vars, data};
use jaq_json::Val;
use jaq_std::ValT as _;

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

/// Functions that look or act outside: at the clock, the environment, the time zone, the log, the process.
const OUTSIDE: [&str; 10] = [
    "debug",
    "debug_empty",
    "env",
    "halt",
    "halt_error",
    "localtime",
    "now",
    "stderr",
    "stderr_empty",
    "strflocaltime",
];

/// How much of somebody's words is told.
const WORDS_BYTES_MAX: usize = 120;

/// A compiled expression.
pub(crate) struct Program {
    code: String,
    filter: compile::Filter<Native<data::JustLut<Val>>>,
}

impl Program {
    /// Compiles it; otherwise what is wrong, and where.
    pub(crate) fn compile(code: &str) -> Result<Self, String> {
        let inside = |name: &str| !OUTSIDE.contains(&name);
        let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        let funs = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
        let arena = Arena::default();
        let modules = Loader::new(defs.filter(|def| inside(def.name)))
            .load(&arena, File { code, path: () })
            .and_then(|modules| {
                load::import(&modules, |_| Err("nothing is imported".into()))?;
                Ok(modules)
            })
            .map_err(|errors| {
                first(errors.into_iter().map(|(_, error)| unreadable(code, error)))
            })?;
        let filter = Compiler::default()
            .with_funs(funs.filter(|(name, ..)| inside(name)))
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
        dot: Val,
        variables: [Val; VARIABLES.len()],
    ) -> Result<Option<Val>, StepError> {
        let context = Ctx::<data::JustLut<Val>>::new(&self.filter.lut, Vars::new(variables));
        let first = self.filter.id.run((context, dot)).next().transpose();
        first.map_err(|exception| {
            let reason = match exception.get_err() {
                Ok(error) => self.explain(error.into_val()),
                Err(_) => "the expression ended early".into(),
            };
            StepError::fatal("invalid", format!("jq: {reason}"))
        })
    }

    /// The expression, as written.
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    /// Whether the expression may use this variable.
    pub(crate) fn mentions(&self, variable: &str) -> bool {
        self.code.contains(variable)
    }

    /// What went wrong, without what the body says: only kinds of value, and words of the expression itself.
    fn explain(&self, error: Val) -> String {
        let unknown = "the expression failed on this input";
        let Some(text) = error.as_utf8_bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
        else {
            return unknown.into();
        };
        if !text.is_empty() && self.code.contains(&format!("\"{text}\"")) {
            return shorten(text);
        }
        if let Some(rest) = text.strip_prefix("cannot index ") {
            let name = rest.rsplit_once(" with ").map_or("", |(_, name)| name.trim_matches('"'));
            let own = [format!(".{name}"), format!("\"{name}\"")];
            let known = !name.is_empty() && own.iter().any(|word| self.code.contains(word));
            let with = if known { format!(" with `{}`", shorten(name)) } else { String::new() };
            return format!("cannot index {}{with}", kind(rest));
        }
        if let Some(rest) = text.strip_prefix("cannot use ") {
            let wanted = ["array", "object", "string", "number", "integer"];
            let wanted = wanted.iter().find(|word| rest.ends_with(&format!(" as {word}")));
            let wanted = wanted.unwrap_or(&"array or object");
            return format!("cannot use {} as {wanted}", kind(rest));
        }
        if let Some(rest) = text.strip_prefix("cannot calculate ") {
            return format!("cannot calculate with {} here", kind(rest));
        }
        unknown.into()
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.code.fmt(f)
    }
}

/// What kind of value this JSON text begins.
fn kind(json: &str) -> &'static str {
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

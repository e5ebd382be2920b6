//! The functions of expressions: those of jaq, except where jq has them otherwise.

mod formats;
mod patterns;
mod time;

use std::rc::Rc;
use std::sync::LazyLock;

use jaq_core::load::parse::Def;
use jaq_core::native::{Fun, bome, run, unary, v};
use jaq_core::{Bind, Cv, Exn, ValX, data, load};

use super::rewrite;
use super::value::{
    self, DEPTH_READ_MAX, Map, Result, Value, error, parse_number, places, read, told,
};

/// What jaq needs to know to run functions over [`Value`]s.
pub(crate) type Data = data::JustLut<Value>;

/// Functions that look or act outside: at the clock, the environment, the time zone, the log, the process.
pub(crate) const OUTSIDE: [&str; 10] = [
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

/// What is defined in jq. Of several with one name, the last counts.
pub(crate) fn definitions() -> impl Iterator<Item = Def<&'static str>> {
    static ALL: LazyLock<Vec<Def<&str>>> = LazyLock::new(|| {
        let own = load::parse(include_str!("functions.jq"), |parser| parser.defs());
        let own = own.expect("the definitions are jq").into_iter().map(rewrite::definition);
        // What is defined before sees no later one of the same name: these are needed in between.
        let is_early = |def: &Def<&str>| ["nan", "infinite"].contains(&def.name);
        let (early, own): (Vec<_>, Vec<_>) = own.partition(is_early);
        let others = jaq_core::defs().chain(jaq_std::defs());
        let others = others.filter(|def| !OUTSIDE.contains(&def.name) && !is_early(def));
        early.into_iter().chain(others).chain(own).collect()
    });
    ALL.iter().cloned()
}

/// What is defined in Rust. Of several with one name, the first counts.
pub(crate) fn functions() -> impl Iterator<Item = Fun<Data>> {
    // These are wrapped in definitions that look at what they are given first.
    let format_time = jaq_std::funs().filter_map(|(name, arguments, it)| match name {
        "strftime" => Some(("_strftime", arguments, it)),
        _ => None,
    });
    let counting = jaq_core::funs().filter_map(|(name, arguments, it)| match name {
        "limit" => Some(("_limit", arguments, it)),
        "skip" => Some(("_skip", arguments, it)),
        _ => None,
    });
    let others = jaq_core::funs().chain(jaq_std::funs());
    let others = others.filter(|(name, ..)| !OUTSIDE.contains(name));
    let others = others.chain(counting).chain(format_time);
    let own = own().into_iter().chain(formats::functions()).chain(patterns::functions());
    own.chain(time::functions()).chain(others)
}

fn own() -> Vec<Fun<Data>> {
    let fun = || Bind::Fun(());
    let var = || Bind::Var(());
    vec![
        run(("_type", v(0), |cv| bome(Ok(Value::text(cv.1.kind()))))),
        run(("_tojson", v(0), |cv| bome(Ok(Value::text(cv.1.to_string()))))),
        run(("_tostring", v(0), |cv| bome(Ok(Value::text(cv.1.to_text()))))),
        run(("_tonumber", v(0), |cv| bome(to_number(cv.1)))),
        run(("_toboolean", v(0), |cv| bome(to_boolean(cv.1)))),
        run(("_fromjson", v(0), |cv| bome(from_json(&cv.1)))),
        run(("_nan", v(0), |_| bome(Ok(Value::Number(f64::NAN))))),
        run(("_infinite", v(0), |_| bome(Ok(Value::Number(f64::INFINITY))))),
        run(("_isnan", v(0), |cv| bome(about(&cv.1, f64::is_nan)))),
        run(("_isinfinite", v(0), |cv| bome(about(&cv.1, f64::is_infinite)))),
        run(("_isnormal", v(0), |cv| bome(about(&cv.1, f64::is_normal)))),
        run(("_add", v(0), |cv| bome(add(cv.1)))),
        run(("_join", v(1), |cv| unary(cv, |list, by| join(list, &by)))),
        run(("_path", v(0), |cv| bome(checked_path(cv.1)))),
        run(("_setpath", v(2), |mut cv| {
            let value = cv.0.pop_var();
            let path = cv.0.pop_var();
            bome(set_path(cv.1, &path, &value))
        })),
        run(("_delpaths", v(1), |cv| unary(cv, delete_paths))),
        run(("_from_entries", v(0), |cv| bome(from_entries(cv.1)))),
        run(("!modify", [fun(), fun()].into(), |cv| Box::new(std::iter::once(modify(cv))))),
        run(("!assign", [fun(), var()].into(), |cv| Box::new(std::iter::once(assign(cv))))),
        run(("_numbers", v(3), |mut cv| {
            let by = cv.0.pop_var();
            let until = cv.0.pop_var();
            let from = cv.0.pop_var();
            numbers(&from, &until, &by)
        })),
        run(("length", v(0), |cv| bome(length(cv.1)))),
        run(("utf8bytelength", v(0), |cv| bome(byte_length(&cv.1)))),
        run(("has", v(1), |cv| unary(cv, |value, name| has(&value, &name)))),
        run(("contains", v(1), |cv| {
            unary(cv, |value, part| Ok(Value::Bool(contains(&value, &part)?)))
        })),
        run(("indices", v(1), |cv| unary(cv, |value, part| indices(&value, &part)))),
        run(("bsearch", v(1), |cv| unary(cv, |list, wanted| search(&list, &wanted)))),
        run(("implode", v(0), |cv| bome(implode(cv.1)))),
    ]
}

fn to_number(value: Value) -> Result {
    match &value {
        Value::Number(_) | Value::Literal(_) => Ok(value),
        Value::Text(text) => match parse_number(text) {
            Some(number) => Ok(number),
            None => error(format!("{} cannot be parsed as a number", told(&value))),
        },
        _ => error(format!("{} cannot be parsed as a number", told(&value))),
    }
}

fn to_boolean(value: Value) -> Result {
    match &value {
        Value::Bool(_) => Ok(value),
        Value::Text(text) if **text == "true" => Ok(Value::Bool(true)),
        Value::Text(text) if **text == "false" => Ok(Value::Bool(false)),
        _ => error(format!("{} cannot be parsed as a boolean", told(&value))),
    }
}

fn from_json(value: &Value) -> Result {
    let Value::Text(text) = value else {
        return error(format!("{} cannot be parsed as JSON", told(value)));
    };
    match text.trim_matches([' ', '\t', '\r', '\n']) {
        "nan" | "NaN" | "-nan" | "-NaN" => Ok(Value::Number(f64::NAN)),
        text => read(text, DEPTH_READ_MAX)
            .map_or_else(|| error(format!("{} cannot be parsed as JSON", told(value))), Ok),
    }
}

fn about(value: &Value, is: fn(f64) -> bool) -> Result {
    match value.number() {
        Some(number) => Ok(Value::Bool(is(number))),
        None => error(format!("{} number required", told(value))),
    }
}

fn size(value: Value) -> Result {
    match value {
        Value::Number(number) => Ok(Value::Number(number.abs())),
        Value::Literal(ref literal) if literal.value < 0.0 => -value,
        other => Ok(other),
    }
}

fn add(value: Value) -> Result {
    value.children()?.into_iter().try_fold(Value::Null, |sum, item| sum + item)
}

fn join(list: Value, by: &Value) -> Result {
    let Value::Text(by) = by else {
        return match list.children()?.as_slice() {
            [] => Ok(Value::text("")),
            _ => error(format!("{} cannot join: it is no text", told(by))),
        };
    };
    let mut joined = String::new();
    for (index, item) in list.children()?.into_iter().enumerate() {
        if index > 0 {
            joined.push_str(by);
        }
        match item {
            Value::Null => {}
            Value::Text(text) => joined.push_str(&text),
            Value::Bool(_) | Value::Number(_) | Value::Literal(_) => {
                joined.push_str(&item.to_string());
            }
            Value::Array(_) | Value::Object(_) => return Value::text(joined) + item,
        }
    }
    Ok(Value::text(joined))
}

fn checked_path(path: Value) -> Result {
    match path {
        Value::Array(_) => Ok(path),
        _ => error("Path must be specified as an array"),
    }
}

fn set_path(value: Value, path: &Value, new: &Value) -> Result {
    let Value::Array(path) = path else {
        return error("Path must be specified as an array");
    };
    value.changed::<value::Error>(path, &mut |_| Ok(new.clone()))
}

fn delete_paths(value: Value, paths: Value) -> Result {
    match paths {
        Value::Array(paths) => value.without(Rc::unwrap_or_clone(paths)),
        _ => error("Paths must be specified as an array"),
    }
}

fn from_entries(list: Value) -> Result {
    let mut members = Map::new();
    for entry in list.children()? {
        let Value::Object(entry) = entry else {
            return error(format!("Cannot index {} with \"key\"", entry.kind()));
        };
        let get = |name: &str| entry.get(&name.to_owned());
        let known =
            |names: &[&str]| names.iter().find_map(|name| get(name).filter(|it| it.holds()));
        let name = match get("key").filter(|it| !matches!(it, Value::Null)) {
            Some(name) => name.clone(),
            None => known(&["k", "name", "Name", "Key", "K"]).cloned().unwrap_or_default(),
        };
        let name = match name {
            Value::Text(name) => name,
            other => return error(format!("Cannot use {} as object key", told(&other))),
        };
        let value = get("value").or_else(|| get("v")).or_else(|| get("Value")).or_else(|| get("V"));
        members.insert(name, value.cloned().unwrap_or_default());
    }
    Ok(Value::object(members))
}

/// Where an expression of paths points to.
fn pointed<'a>(
    paths: (jaq_core::compile::TermId, jaq_core::Ctx<'a, Data>),
    value: &Value,
) -> ValX<'a, Vec<Vec<Value>>, Value> {
    let (paths, context) = paths;
    let found = paths.paths((context, (value.clone(), Default::default())));
    found
        .map(|found| {
            let (_, path) = found?;
            let mut path: Vec<Value> = path.iter().cloned().collect();
            path.reverse();
            Ok(path)
        })
        .collect()
}

/// `paths |= change`: changes each place to the first result; places without one are taken away.
fn modify<'a>(mut cv: Cv<'a, Data>) -> ValX<'a, Value> {
    let (change, context) = cv.0.pop_fun();
    let paths = pointed(cv.0.pop_fun(), &cv.1)?;
    let mut gone = Vec::new();
    let mut value = cv.1;
    for path in paths {
        let mut is_gone = false;
        value = value.changed::<Exn<'a, Value>>(&path, &mut |old| match change
            .run((context.clone(), old))
            .next()
        {
            Some(new) => new,
            None => {
                is_gone = true;
                Ok(Value::Null)
            }
        })?;
        if is_gone {
            gone.push(Value::array(path));
        }
    }
    Ok(value.without(gone)?)
}

/// `paths = value`: sets each place.
fn assign<'a>(mut cv: Cv<'a, Data>) -> ValX<'a, Value> {
    let new = cv.0.pop_var();
    let paths = pointed(cv.0.pop_fun(), &cv.1)?;
    let set = |value: Value, path: Vec<Value>| {
        value.changed::<value::Error>(&path, &mut |_| Ok(new.clone()))
    };
    Ok(paths.into_iter().try_fold(cv.1, set)?)
}

/// `range`.
fn numbers<'a>(from: &Value, until: &Value, by: &Value) -> jaq_core::ValXs<'a, Value> {
    let (Some(from), Some(until), Some(by)) = (from.number(), until.number(), by.number()) else {
        return bome(error("Range bounds must be numeric"));
    };
    let mut next = from;
    Box::new(std::iter::from_fn(move || {
        let is_before = if by > 0.0 { next < until } else { by < 0.0 && next > until };
        let number = is_before.then_some(Ok(Value::Number(next)));
        next += by;
        number
    }))
}

fn length(value: Value) -> Result {
    match &value {
        Value::Null => Ok(Value::from(0_usize)),
        Value::Number(_) | Value::Literal(_) => size(value),
        Value::Text(text) => Ok(Value::from(text.chars().count())),
        Value::Array(items) => Ok(Value::from(items.len())),
        Value::Object(members) => Ok(Value::from(members.len())),
        Value::Bool(_) => error(format!("{} has no length", told(&value))),
    }
}

fn byte_length(value: &Value) -> Result {
    match value {
        Value::Text(text) => Ok(Value::from(text.len())),
        _ => error(format!("{} only strings have UTF-8 byte length", told(value))),
    }
}

fn has(value: &Value, name: &Value) -> Result {
    let found = match (value, name) {
        (Value::Object(members), Value::Text(name)) => members.contains_key(name),
        (Value::Array(items), Value::Number(_) | Value::Literal(_)) => {
            let index = name.number().unwrap_or(f64::NAN).floor();
            index >= 0.0 && index < items.len() as f64
        }
        _ => {
            let (kind, name) = (value.kind(), name.kind());
            return error(format!("Cannot check whether {kind} has a {name} key"));
        }
    };
    Ok(Value::Bool(found))
}

fn contains(value: &Value, part: &Value) -> Result<bool> {
    Ok(match (value, part) {
        (Value::Object(members), Value::Object(parts)) => {
            for (name, part) in parts.iter() {
                let Some(member) = members.get(name) else {
                    return Ok(false);
                };
                if !contains(member, part)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Array(items), Value::Array(parts)) => {
            for part in parts.iter() {
                let mut found = false;
                for item in items.iter() {
                    // Unlike at the top, items of other kinds are no error.
                    found = item.kind() == part.kind() && contains(item, part)?;
                    if found {
                        break;
                    }
                }
                if !found {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Text(text), Value::Text(part)) => text.contains(part.as_str()),
        _ if value.kind() == part.kind() => value == part,
        _ => {
            let (value, part) = (told(value), told(part));
            return error(format!("{value} and {part} cannot have their containment checked"));
        }
    })
}

fn indices(value: &Value, part: &Value) -> Result {
    match (value, part) {
        (Value::Null, _) => Ok(Value::Null),
        (Value::Text(text), Value::Text(part)) => {
            if part.is_empty() {
                return Ok(Value::array(Vec::new()));
            }
            let places = text.char_indices().enumerate();
            let places = places.filter(|(_, (at, _))| text[*at..].starts_with(part.as_str()));
            Ok(places.map(|(place, _)| Value::from(place)).collect())
        }
        (Value::Array(items), Value::Array(part)) => Ok(places(items, part)),
        (Value::Array(items), part) => Ok(places(items, std::slice::from_ref(part))),
        _ => error(format!("Cannot index {} with {}", value.kind(), told(part))),
    }
}

fn search(list: &Value, wanted: &Value) -> Result {
    let Value::Array(items) = list else {
        return error(format!("{} cannot be searched from", told(list)));
    };
    let place = items.binary_search(wanted);
    Ok(place.map_or_else(|place| Value::Number(-1.0 - place as f64), Value::from))
}

fn implode(value: Value) -> Result {
    let Value::Array(codes) = value else {
        return error("implode input must be an array");
    };
    let character = |code: &Value| match code.number() {
        // What is no character is the sign for that.
        Some(code) if code.is_finite() => {
            Ok(char::from_u32(code as u32).filter(|_| code > -1.0).unwrap_or('\u{fffd}'))
        }
        _ => error(format!(
            "{} can't be imploded, unicode codepoint needs to be numeric",
            told(code)
        )),
    };
    codes.iter().map(character).collect::<Result<String>>().map(Value::text)
}

#[cfg(test)]
mod tests;

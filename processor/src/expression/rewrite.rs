//! Terms that jaq takes otherwise than jq, in terms that both take the same.

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::ops::Math;
use jaq_core::path::{Opt, Part, Path};

/// A variable that no expression can name.
const OPERAND: &str = "$!operand";

/// More of them, for the parts of a path.
const PARTS: [&str; 4] = ["$!part0", "$!part1", "$!part2", "$!part3"];

/// The same definition, as jq takes it.
pub(crate) fn definition(definition: Def<&str>) -> Def<&str> {
    let body = term(definition.body);
    Def { body, ..definition }
}

/// The same term, as jq takes it.
pub(crate) fn term(it: Term<&str>) -> Term<&str> {
    let boxed = |it: Box<Term<_>>| Box::new(term(*it));
    match it {
        Term::Id | Term::Recurse | Term::Num(_) | Term::Break(_) | Term::Var(_) => it,
        Term::Str(format, parts) => text(format, parts),
        Term::Arr(inner) => Term::Arr(inner.map(boxed)),
        Term::Obj(entries) => {
            let entries = entries.into_iter();
            Term::Obj(entries.map(|(name, value)| (term(name), value.map(term))).collect())
        }
        Term::Neg(inner) => Term::Neg(boxed(inner)),
        Term::Label(name, inner) => Term::Label(name, boxed(inner)),
        Term::BinOp(left, operator, right) => binary(*left, operator, *right),
        Term::Fold(name, over, pattern, terms) => {
            let mut terms: Vec<_> = terms.into_iter().map(term).collect();
            if name == "reduce"
                && let [_, update] = terms.as_mut_slice()
                && !is_single(update)
            {
                // Of several results the last counts; none is null.
                let last = Term::Call("last", vec![std::mem::take(update)]);
                let or_null = Term::BinOp(last.into(), BinaryOp::Comma, null().into());
                *update = Term::Call("first", vec![or_null]);
            }
            Term::Fold(name, boxed(over), self::pattern(pattern), terms)
        }
        Term::TryCatch(tried, caught) => Term::TryCatch(boxed(tried), caught.map(boxed)),
        Term::IfThenElse(cases, otherwise) => {
            let cases = cases.into_iter().map(|(condition, then)| (term(condition), term(then)));
            Term::IfThenElse(cases.collect(), otherwise.map(boxed))
        }
        Term::Def(definitions, rest) => {
            Term::Def(definitions.into_iter().map(definition).collect(), boxed(rest))
        }
        Term::Call(name, arguments) => Term::Call(name, arguments.into_iter().map(term).collect()),
        Term::Path(head, path) => {
            let path = path.0.into_iter().map(|(part, optional)| {
                let part = match part {
                    Part::Index(index) => Part::Index(term(index)),
                    Part::Range(from, until) => Part::Range(from.map(term), until.map(term)),
                };
                (part, optional)
            });
            self::path(term(*head), path.collect())
        }
    }
}

/// A path: the last of its parts with several results varies slowest, and what it begins with fastest.
fn path<'s>(head: Term<&'s str>, mut parts: Vec<(Part<Term<&'s str>>, Opt)>) -> Term<&'s str> {
    let mut several: Vec<_> = parts
        .iter_mut()
        .filter_map(|(part, _)| match part {
            Part::Index(index) if !is_single(index) => Some(index),
            Part::Index(_) | Part::Range(..) => None,
        })
        .collect();
    if several.len() + usize::from(!is_single(&head)) < 2 || several.len() > PARTS.len() {
        return Term::Path(head.into(), Path(parts));
    }
    let indices = several.iter_mut().zip(PARTS);
    let indices: Vec<_> =
        indices.map(|(index, name)| (name, std::mem::replace(*index, Term::Var(name)))).collect();
    let whole = Term::Path(head.into(), Path(parts));
    indices.into_iter().fold(whole, |then, (name, index)| bound(name, index, then))
}

fn pattern(it: Pattern<&str>) -> Pattern<&str> {
    match it {
        Pattern::Var(_) => it,
        Pattern::Arr(items) => Pattern::Arr(items.into_iter().map(pattern).collect()),
        Pattern::Obj(members) => {
            let members = members.into_iter();
            Pattern::Obj(members.map(|(name, it)| (term(name), pattern(it))).collect())
        }
    }
}

fn binary<'s>(
    left: Term<&'s str>,
    operator: BinaryOp<&'s str>,
    right: Term<&'s str>,
) -> Term<&'s str> {
    let (left, right) = (term(left), term(right));
    match operator {
        BinaryOp::Math(_) | BinaryOp::Cmp(_) => ordered(left, operator, right),
        BinaryOp::Assign => Term::Call("!assign", vec![left, right]),
        BinaryOp::Update => Term::Call("!modify", vec![left, right]),
        BinaryOp::UpdateMath(math) => updated(left, BinaryOp::Math(math), right),
        BinaryOp::UpdateAlt => updated(left, BinaryOp::Alt, right),
        BinaryOp::Pipe(pattern) => {
            let operator = BinaryOp::Pipe(pattern.map(self::pattern));
            Term::BinOp(left.into(), operator, right.into())
        }
        BinaryOp::Comma | BinaryOp::Alt | BinaryOp::Or | BinaryOp::And => {
            Term::BinOp(left.into(), operator, right.into())
        }
    }
}

/// `left op right`, where for each result of the right one all results of the left one come.
fn ordered<'s>(
    left: Term<&'s str>,
    operator: BinaryOp<&'s str>,
    right: Term<&'s str>,
) -> Term<&'s str> {
    if is_single(&left) || is_single(&right) {
        return Term::BinOp(left.into(), operator, right.into());
    }
    let calculated = Term::BinOp(left.into(), operator, Term::Var(OPERAND).into());
    bound(OPERAND, right, calculated)
}

/// `left op= right`.
fn updated<'s>(
    left: Term<&'s str>,
    operator: BinaryOp<&'s str>,
    right: Term<&'s str>,
) -> Term<&'s str> {
    let change = Term::BinOp(Term::Id.into(), operator, Term::Var(OPERAND).into());
    bound(OPERAND, right, Term::Call("!modify", vec![left, change]))
}

fn bound<'s>(name: &'s str, value: Term<&'s str>, then: Term<&'s str>) -> Term<&'s str> {
    let operator = BinaryOp::Pipe(Some(Pattern::Var(name)));
    Term::BinOp(value.into(), operator, then.into())
}

/// A text with expressions in it: the last of them with several results varies slowest.
fn text<'s>(format: Option<&'s str>, parts: Vec<StrPart<&'s str, Term<&'s str>>>) -> Term<&'s str> {
    let parts: Vec<_> = parts
        .into_iter()
        .map(|part| match part {
            StrPart::Term(inner) => StrPart::Term(term(inner)),
            other => other,
        })
        .collect();
    let several = |part: &&StrPart<_, Term<_>>| match part {
        StrPart::Term(inner) => !is_single(inner),
        StrPart::Str(_) | StrPart::Char(_) => false,
    };
    if parts.iter().filter(several).count() < 2 {
        return Term::Str(format, parts);
    }
    let mut pieces = parts.into_iter().map(|part| Term::Str(format, vec![part]));
    let first = pieces.next().unwrap_or(Term::Str(None, Vec::new()));
    pieces.fold(first, |text, piece| ordered(text, BinaryOp::Math(Math::Add), piece))
}

fn null<'s>() -> Term<&'s str> {
    Term::Call("null", Vec::new())
}

/// Functions that have exactly one result, or fail.
const SINGLE: [&str; 34] = [
    "null",
    "true",
    "false",
    "not",
    "length",
    "keys",
    "keys_unsorted",
    "add",
    "tostring",
    "tonumber",
    "tojson",
    "type",
    "floor",
    "ceil",
    "round",
    "sqrt",
    "abs",
    "ascii_downcase",
    "ascii_upcase",
    "trim",
    "ltrim",
    "rtrim",
    "reverse",
    "sort",
    "unique",
    "min",
    "max",
    "first",
    "last",
    "to_entries",
    "from_entries",
    "map",
    "any",
    "all",
];

/// Whether it surely has exactly one result, or fails.
pub(super) fn is_single(it: &Term<&str>) -> bool {
    match it {
        Term::Id | Term::Num(_) | Term::Var(_) | Term::Arr(_) => true,
        Term::Str(_, parts) => parts.iter().all(|part| match part {
            StrPart::Term(inner) => is_single(inner),
            StrPart::Str(_) | StrPart::Char(_) => true,
        }),
        Term::Obj(entries) => entries
            .iter()
            .all(|(name, value)| is_single(name) && value.as_ref().is_none_or(is_single)),
        Term::Neg(inner) => is_single(inner),
        Term::BinOp(left, operator, right) => match operator {
            BinaryOp::Pipe(None)
            | BinaryOp::Pipe(Some(Pattern::Var(_)))
            | BinaryOp::Math(_)
            | BinaryOp::Cmp(_)
            | BinaryOp::And
            | BinaryOp::Or => is_single(left) && is_single(right),
            _ => false,
        },
        Term::IfThenElse(cases, otherwise) => {
            let mut cases = cases.iter();
            cases.all(|(condition, then)| is_single(condition) && is_single(then))
                && otherwise.as_ref().is_none_or(|it| is_single(it))
        }
        Term::Call(name, arguments) => match (*name, arguments.as_slice()) {
            ("first" | "last", [_]) => false,
            // A definition of the expression's own may have the same name, but what follows only
            // costs it the order of several results.
            (name, []) => SINGLE.contains(&name),
            ("map", [_]) => true,
            _ => false,
        },
        Term::Path(head, path) => {
            is_single(head)
                && path.0.iter().all(|(part, optional)| {
                    matches!(optional, Opt::Essential)
                        && match part {
                            Part::Index(index) => is_single(index),
                            Part::Range(None, None) => false,
                            Part::Range(from, until) => from.iter().chain(until).all(is_single),
                        }
                })
        }
        Term::Recurse
        | Term::Break(_)
        | Term::Label(..)
        | Term::Fold(..)
        | Term::TryCatch(..)
        | Term::Def(..) => false,
    }
}

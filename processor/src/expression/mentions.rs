//! Which earlier steps an expression names: `$steps.charge`, `$steps["charge"]`.

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Pattern, Term};
use jaq_core::path::Part;

use super::{bounds, rewrite};

const STEPS: &str = "$steps";

/// The names of steps that the expression reads, as far as it writes them out.
/// None if it cannot be read, or gives `$steps` another meaning.
pub(crate) fn steps(code: &str) -> Vec<String> {
    let found = found(code);
    if found.bound { Vec::new() } else { found.names }
}

/// Whether a `foreach` of the expression may give several results for one item. jq goes on from the last of them,
/// our evaluator from each: this is refused.
pub(crate) fn has_forking_foreach(code: &str) -> bool {
    found(code).forks
}

/// Whether the result may depend on `.`, so that `.` has to be there.
pub(crate) fn uses_dot(code: &str) -> bool {
    let uses = bounds::reading(code, || {
        let term = jaq_core::load::parse(code, |parser| parser.term());
        term.is_none_or(|term| term_uses_dot(&term))
    });
    uses.unwrap_or(true)
}

/// The same of a term; whatever is not known here does.
fn term_uses_dot(term: &Term<&str>) -> bool {
    match term {
        Term::Num(_) | Term::Var(_) | Term::Arr(None) => false,
        Term::Str(_, parts) => parts.iter().any(|part| match part {
            StrPart::Term(inner) => term_uses_dot(inner),
            StrPart::Str(_) | StrPart::Char(_) => false,
        }),
        Term::Arr(Some(inner)) | Term::Neg(inner) => term_uses_dot(inner),
        Term::Obj(members) => members.iter().any(|(name, value)| match (name, value) {
            // `{name}` is what `.` has under this name, and `{$name}` is the variable.
            (name, None) => !matches!(name, Term::Var(_)),
            (name, Some(value)) => term_uses_dot(name) || term_uses_dot(value),
        }),
        // What follows sees what is before it.
        Term::BinOp(left, BinaryOp::Pipe(None), _) => term_uses_dot(left),
        Term::BinOp(
            left,
            BinaryOp::Pipe(Some(Pattern::Var(_)))
            | BinaryOp::Comma
            | BinaryOp::Alt
            | BinaryOp::Or
            | BinaryOp::And
            | BinaryOp::Math(_)
            | BinaryOp::Cmp(_),
            right,
        ) => term_uses_dot(left) || term_uses_dot(right),
        Term::IfThenElse(cases, Some(otherwise)) => {
            let mut cases = cases.iter();
            cases.any(|(condition, then)| term_uses_dot(condition) || term_uses_dot(then))
                || term_uses_dot(otherwise)
        }
        Term::TryCatch(tried, _) => term_uses_dot(tried),
        Term::Path(head, path) => {
            term_uses_dot(head)
                || path.0.iter().any(|(part, _)| match part {
                    Part::Index(index) => term_uses_dot(index),
                    Part::Range(from, until) => from.iter().chain(until).any(term_uses_dot),
                })
        }
        Term::Call(name, arguments) => {
            !(arguments.is_empty() && ["null", "true", "false", "empty"].contains(name))
        }
        _ => true,
    }
}

/// Nothing, if it cannot be read.
fn found(code: &str) -> Found {
    let found = bounds::reading(code, || {
        let mut found = Found::default();
        if let Some(term) = jaq_core::load::parse(code, |parser| parser.term()) {
            found.term(&term);
        }
        found
    });
    found.unwrap_or_default()
}

#[derive(Default)]
struct Found {
    names: Vec<String>,
    /// Whether something else is called `$steps` somewhere.
    bound: bool,
    /// Whether a `foreach` may give several results for one item.
    forks: bool,
}

impl Found {
    fn term(&mut self, term: &Term<&str>) {
        match term {
            Term::Id | Term::Recurse | Term::Num(_) | Term::Break(_) | Term::Var(_) => {}
            Term::Str(_, parts) => self.parts(parts),
            Term::Arr(inner) => inner.iter().for_each(|term| self.term(term)),
            Term::Obj(entries) => entries.iter().for_each(|(key, value)| {
                self.term(key);
                value.iter().for_each(|term| self.term(term));
            }),
            Term::Neg(inner) | Term::Label(_, inner) => self.term(inner),
            Term::BinOp(left, operator, right) => {
                if let BinaryOp::Pipe(Some(pattern)) = operator {
                    self.pattern(pattern);
                }
                self.term(left);
                self.term(right);
            }
            Term::Fold(name, over, pattern, terms) => {
                let update = terms.get(1);
                self.forks |= *name == "foreach" && !update.is_none_or(rewrite::is_single);
                self.pattern(pattern);
                self.term(over);
                terms.iter().for_each(|term| self.term(term));
            }
            Term::TryCatch(tried, caught) => {
                self.term(tried);
                caught.iter().for_each(|term| self.term(term));
            }
            Term::IfThenElse(cases, otherwise) => {
                cases.iter().for_each(|(condition, then)| {
                    self.term(condition);
                    self.term(then);
                });
                otherwise.iter().for_each(|term| self.term(term));
            }
            Term::Def(definitions, rest) => {
                for definition in definitions {
                    self.bound |= definition.args.contains(&STEPS);
                    self.term(&definition.body);
                }
                self.term(rest);
            }
            Term::Call(_, arguments) => arguments.iter().for_each(|term| self.term(term)),
            Term::Path(head, path) => {
                if matches!(**head, Term::Var(STEPS)) {
                    let first = path.0.first().map(|(part, _)| part);
                    self.names.extend(first.and_then(name));
                }
                self.term(head);
                path.0.iter().for_each(|(part, _)| self.part(part));
            }
        }
    }

    fn part(&mut self, part: &Part<Term<&str>>) {
        match part {
            Part::Index(term) => self.term(term),
            Part::Range(from, to) => from.iter().chain(to).for_each(|term| self.term(term)),
        }
    }

    fn parts(&mut self, parts: &[StrPart<&str, Term<&str>>]) {
        for part in parts {
            match part {
                StrPart::Term(term) => self.term(term),
                StrPart::Str(_) | StrPart::Char(_) => {}
            }
        }
    }

    fn pattern(&mut self, pattern: &Pattern<&str>) {
        match pattern {
            Pattern::Var(name) => self.bound |= *name == STEPS,
            Pattern::Arr(patterns) => patterns.iter().for_each(|pattern| self.pattern(pattern)),
            Pattern::Obj(entries) => entries.iter().for_each(|(key, pattern)| {
                self.term(key);
                self.pattern(pattern);
            }),
        }
    }
}

/// The name that a part of a path writes out.
fn name(part: &Part<Term<&str>>) -> Option<String> {
    match part {
        Part::Index(Term::Str(None, parts)) => match parts.as_slice() {
            [StrPart::Str(name)] => Some((*name).to_owned()),
            _ => None,
        },
        Part::Index(_) | Part::Range(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_found_wherever_an_expression_may_name_them() {
        let cases: [(&str, &[&str]); 10] = [
            ("$steps.a", &["a"]),
            ("$steps[\"only-main\"].x", &["only-main"]),
            ("$steps.\"b\" | .x", &["b"]),
            ("{k: $steps.a.id, ($steps.b): [1, $steps.c?]}", &["a", "b", "c"]),
            ("\"for \\($steps.a.id) and \\(.x)\"", &["a"]),
            (
                "if $steps.a then .[$steps.b:] else try $steps.c catch $steps.d end",
                &["a", "b", "c", "d"],
            ),
            ("reduce $steps.a[] as $x (0; . + $x * -$steps.b)", &["a", "b"]),
            ("def f(g): g | $steps.a; f($steps.b) // $steps.c", &["a", "b", "c"]),
            (". as [$x, {k: $y}] | $steps.a[$x]", &["a"]),
            ("$steps.a.steps.b.c", &["a"]),
        ];
        for (code, names) in cases {
            assert_eq!(steps(code), names, "{code}");
        }
    }

    #[test]
    fn what_only_looks_like_a_step_is_none() {
        let cases = [
            "\"$steps.a\"",
            ". # $steps.a",
            ".steps.a",
            "$steps",
            "$steps[.name]",
            "$steps[\"a\\(.n)\"]",
            "$steps | keys",
            ". as $steps | $steps.a",
            "def f($steps): $steps.a; f(.)",
            "reduce .[] as {k: $steps} (0; . + $steps.a)",
            "$webhook.headers[\"$steps.a\"]",
            "$steps.a |",
        ];
        for code in cases {
            assert_eq!(steps(code), Vec::<String>::new(), "{code}");
        }
    }

    #[test]
    fn a_foreach_with_several_results_for_an_item_is_found() {
        for code in ["[foreach .[] as $x (0; .+$x, 1)]", "map(foreach .[] as $x (0; .[]))"] {
            assert!(has_forking_foreach(code), "{code}");
        }
        for code in ["[foreach .[] as $x (0; . + $x)]", "foreach .[] as $x (0; . + $x; ., 1)"] {
            assert!(!has_forking_foreach(code), "{code}");
        }
    }
}

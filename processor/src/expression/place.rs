//! Where an expression runs: in this process, if what it takes surely grows no faster than its input,
//! or else in a worker with limits.
//!
//! The judgement errs on the side of the worker: whatever is not known here runs there.

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Pattern, Term};
use jaq_core::ops::Math;
use jaq_core::path::Part;

use super::bounds;

/// How many times as large as the input all results of an expression and its parts may be together.
const GROWTH_MAX: u32 = 64;

/// How deep the terms of an expression that runs in this process may be nested.
const DEPTH_MAX: usize = 64;

/// How deep such an expression may be as a whole, as [`bounds::depth`] has it: its evaluation recurses as deep.
pub(crate) const DEPTH_HERE_MAX: usize = 250;

/// Where an expression runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In this process: its time and memory grow no faster than its input.
    Here,
    /// In a worker with limits, for this reason.
    Worker(String),
}

/// Where this expression runs.
pub fn of(code: &str) -> Place {
    if bounds::depth(code) > DEPTH_HERE_MAX {
        return Place::Worker(format!("is more than {DEPTH_HERE_MAX} deep"));
    }
    let judged = jaq_core::load::parse(code, |parser| parser.term())
        .ok_or_else(|| "cannot be judged".to_owned())
        .and_then(|term| Judge { bound: Vec::new() }.term(&term, At { depth: 0, top: true }));
    match judged {
        Ok(cost) if cost.work.all() <= GROWTH_MAX => Place::Here,
        Ok(_) => Place::Worker(format!("may make more than {GROWTH_MAX} times its input")),
        Err(reason) => Place::Worker(reason),
    }
}

/// How large something is: so many times the input of its term, so many times all that an expression sees,
/// and so many bytes more.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    of_input: u32,
    of_all: u32,
    fixed: u32,
}

impl Size {
    const INPUT: Self = Self { of_input: 1, of_all: 0, fixed: 0 };
    const ALL: Self = Self { of_input: 0, of_all: 1, fixed: 0 };

    fn fixed(bytes: usize) -> Self {
        Self { fixed: u32::try_from(bytes).unwrap_or(u32::MAX), ..Self::default() }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            of_input: self.of_input.saturating_add(other.of_input),
            of_all: self.of_all.saturating_add(other.of_all),
            fixed: self.fixed.saturating_add(other.fixed),
        }
    }

    fn times(self, factor: u32) -> Self {
        Self {
            of_input: self.of_input.saturating_mul(factor),
            of_all: self.of_all.saturating_mul(factor),
            fixed: self.fixed.saturating_mul(factor),
        }
    }

    /// The size of what is made from an input of this size.
    fn of(self, made: Self) -> Self {
        let rest = Self { of_input: 0, ..made };
        self.times(made.of_input).plus(rest)
    }

    /// The same, made once for each of several results. Each of them is at least a byte of the input.
    fn of_each(self, made: Self) -> Self {
        let each = made.of_input.saturating_add(made.fixed);
        self.times(each)
    }

    fn is_fixed(self) -> bool {
        self.of_input == 0 && self.of_all == 0
    }

    /// How many times the input this is, at most.
    fn all(self) -> u32 {
        self.of_input.saturating_add(self.of_all).saturating_add(self.fixed / 4096)
    }
}

/// What a term costs.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    /// Whether it may have several results.
    several: bool,
    /// The size of all results together.
    size: Size,
    /// The size of all that is made on the way.
    work: Size,
}

impl Cost {
    /// One result of this size.
    fn one(size: Size) -> Self {
        Self { several: false, size, work: size.plus(Size::fixed(1)) }
    }

    /// What is made of the results of one term by another.
    fn then(self, next: Self) -> Judged {
        if !self.several {
            let work = self.work.plus(self.size.of(next.work));
            return Ok(Self { several: next.several, size: self.size.of(next.size), work });
        }
        if next.work.of_all > 0 {
            return Err("makes something of `$webhook`, `$steps` or another variable for each of several results".into());
        }
        let work = self.work.plus(self.size.of_each(next.work));
        Ok(Self { several: true, size: self.size.of_each(next.size), work })
    }

    /// Both, one after the other.
    fn and(self, other: Self) -> Self {
        Self {
            several: self.several || other.several,
            size: self.size.plus(other.size),
            work: self.work.plus(other.work),
        }
    }

    /// Each result of one with each of the other.
    fn with(self, other: Self) -> Judged {
        let bad = self.several && (other.several || !other.work.is_fixed())
            || other.several && !self.work.is_fixed();
        if bad {
            return Err("combines several results with something else".into());
        }
        Ok(self.and(other))
    }

    /// The same, with its results in another form that is at most so many times as large.
    fn grown(self, factor: u32) -> Self {
        let size = self.size.times(factor);
        Self { size, work: self.work.plus(size), ..self }
    }
}

type Judged = Result<Cost, String>;

/// Where in an expression a term stands.
#[derive(Clone, Copy)]
struct At {
    depth: usize,
    /// Whether `.` is still what the expression began with.
    top: bool,
}

impl At {
    fn inside(self) -> Self {
        Self { top: false, ..self }
    }
}

struct Judge<'s> {
    /// The variables that the expression binds, each with its size.
    bound: Vec<(&'s str, Size)>,
}

impl<'s> Judge<'s> {
    fn term(&mut self, term: &Term<&'s str>, at: At) -> Judged {
        if at.depth >= DEPTH_MAX {
            return Err(format!("is nested more than {DEPTH_MAX} deep"));
        }
        let at = At { depth: at.depth + 1, ..at };
        match term {
            Term::Id => Ok(Cost::one(Size::INPUT)),
            Term::Num(text) => Ok(Cost::one(Size::fixed(text.len()))),
            Term::Var(name) => Ok(Cost::one(self.variable(name))),
            Term::Str(format, parts) => self.text(*format, parts, at),
            Term::Arr(None) => Ok(Cost::one(Size::fixed(2))),
            Term::Arr(Some(inner)) => {
                let inner = self.term(inner, at)?;
                Ok(Cost { several: false, ..inner.and(Cost::one(Size::fixed(2))) })
            }
            Term::Obj(members) => {
                let mut all = Cost::one(Size::fixed(2));
                for (name, value) in members {
                    let name_cost = match name {
                        Term::Str(None, _) | Term::Var(_) => self.term(name, at)?,
                        other => {
                            let name = self.term(other, at)?;
                            if name.several {
                                return Err("names a member by several results".into());
                            }
                            name
                        }
                    };
                    all = all.with(name_cost)?;
                    all = match value {
                        Some(value) => all.with(self.term(value, at)?)?,
                        // `{name}` is what the input has under this name.
                        None => all.with(Cost::one(Size::INPUT))?,
                    };
                }
                Ok(all)
            }
            Term::Neg(inner) => self.term(inner, at),
            Term::BinOp(left, operator, right) => self.binary(left, operator, right, at),
            Term::TryCatch(tried, caught) => {
                let tried = self.term(tried, at)?;
                match caught {
                    None => Ok(Cost { several: tried.several, ..tried }),
                    Some(caught) => {
                        let caught = self.term(caught, at.inside())?;
                        Ok(tried.and(Cost { several: false, ..tried }.then(caught)?))
                    }
                }
            }
            Term::IfThenElse(cases, otherwise) => {
                let mut all = Cost::default();
                for (condition, then) in cases {
                    let condition = self.term(condition, at)?;
                    if condition.several {
                        return Err("has a condition with several results".into());
                    }
                    let condition = Cost { size: Size::default(), ..condition };
                    all = all.and(condition).and(self.term(then, at)?);
                }
                match otherwise {
                    Some(otherwise) => Ok(all.and(self.term(otherwise, at)?)),
                    None => Ok(all.and(Cost::one(Size::INPUT))),
                }
            }
            Term::Path(head, path) => {
                let mut cost = self.term(head, at)?;
                for (part, _) in &path.0 {
                    cost.work = cost.work.plus(cost.size);
                    match part {
                        Part::Range(None, None) => cost.several = true,
                        Part::Range(from, until) => {
                            from.iter().chain(until).try_for_each(|it| self.fixed(it, at))?;
                        }
                        Part::Index(index) => self.fixed(index, at)?,
                    }
                }
                Ok(cost)
            }
            Term::Call(name, arguments) => self.call(name, arguments, at),
            Term::Recurse => Err("uses `..`".into()),
            Term::Fold(name, ..) => Err(format!("uses `{name}`")),
            Term::Def(..) => Err("defines functions".into()),
            Term::Label(..) | Term::Break(_) => Err("uses `label`".into()),
        }
    }

    fn variable(&self, name: &str) -> Size {
        if let Some((_, size)) = self.bound.iter().rev().find(|(bound, _)| *bound == name) {
            return *size;
        }
        match name {
            "$now" | "$keys" | "$index" | "$attempt" => Size::fixed(32),
            _ => Size::ALL,
        }
    }

    /// A place in a path has to be written out.
    fn fixed(&mut self, term: &Term<&'s str>, at: At) -> Result<(), String> {
        match self.term(term, at)? {
            Cost { several: false, size, .. } if size.is_fixed() => Ok(()),
            _ => Err("looks up a place that its input names".into()),
        }
    }

    fn text(
        &mut self,
        format: Option<&str>,
        parts: &[StrPart<&'s str, Term<&'s str>>],
        at: At,
    ) -> Judged {
        let factor = match format {
            None => 6,
            Some(name) => factor(name).ok_or_else(|| format!("uses `{name}`"))?.saturating_mul(6),
        };
        let mut all = Cost::one(Size::fixed(2));
        for part in parts {
            let part = match part {
                StrPart::Str(text) => Cost::one(Size::fixed(text.len())),
                StrPart::Char(_) => Cost::one(Size::fixed(4)),
                // Text is longer as JSON.
                StrPart::Term(term) => self.term(term, at)?.grown(factor),
            };
            all = all.with(part)?;
        }
        Ok(all)
    }

    fn binary(
        &mut self,
        left: &Term<&'s str>,
        operator: &BinaryOp<&'s str>,
        right: &Term<&'s str>,
        at: At,
    ) -> Judged {
        match operator {
            BinaryOp::Pipe(None) => {
                let first = self.term(left, at)?;
                let then = At { top: at.top && matches!(left, Term::Id), ..at };
                first.then(self.term(right, then)?)
            }
            BinaryOp::Pipe(Some(pattern)) => {
                let value = self.term(left, at)?;
                if value.several || !at.top {
                    return Err("binds a variable to each of several results".into());
                }
                let known = self.bound.len();
                // What the expression begins with is part of all that it sees.
                let size = value.size;
                let size =
                    Size { of_input: 0, of_all: size.of_all.saturating_add(size.of_input), ..size };
                self.pattern(pattern, size)?;
                let then = self.term(right, at);
                self.bound.truncate(known);
                let value = Cost { size: Size::default(), ..value };
                Ok(value.and(then?))
            }
            BinaryOp::Comma => {
                let both = self.term(left, at)?.and(self.term(right, at)?);
                Ok(Cost { several: true, ..both })
            }
            BinaryOp::Alt => Ok(self.term(left, at)?.and(self.term(right, at)?)),
            BinaryOp::Or | BinaryOp::And => {
                let (left, right) = (self.term(left, at)?, self.term(right, at)?);
                if left.several || right.several {
                    return Err("combines several results with something else".into());
                }
                Ok(Cost { size: Size::fixed(5), ..left.and(right) })
            }
            BinaryOp::Math(math) => {
                let both = self.term(left, at)?.with(self.term(right, at)?)?;
                match math {
                    // Text that is repeated is longer; see `repeat`.
                    Math::Mul | Math::Add | Math::Sub | Math::Rem => Ok(both.grown(1)),
                    // Text that is divided is an array of pieces.
                    Math::Div => Ok(both.grown(2)),
                }
            }
            BinaryOp::Cmp(_) => {
                let both = self.term(left, at)?.with(self.term(right, at)?)?;
                Ok(Cost { size: Size::fixed(5), ..both })
            }
            BinaryOp::Assign | BinaryOp::Update | BinaryOp::UpdateMath(_) | BinaryOp::UpdateAlt => {
                if !is_plain_path(left) {
                    return Err("changes places that its input decides".into());
                }
                let new = self.term(right, at.inside())?;
                if new.several {
                    return Err("changes places to several results".into());
                }
                Ok(Cost::one(Size::INPUT).and(new).grown(2))
            }
        }
    }

    fn pattern(&mut self, pattern: &Pattern<&'s str>, size: Size) -> Result<(), String> {
        match pattern {
            Pattern::Var(name) => {
                self.bound.push((name, size));
                Ok(())
            }
            Pattern::Arr(items) => items.iter().try_for_each(|item| self.pattern(item, size)),
            Pattern::Obj(members) => members.iter().try_for_each(|(name, it)| match name {
                Term::Str(None, parts)
                    if parts.iter().all(|part| matches!(part, StrPart::Str(_))) =>
                {
                    self.pattern(it, size)
                }
                Term::Var(name) => {
                    self.bound.push((name, size));
                    self.pattern(it, size)
                }
                _ => Err("looks up a place that its input names".into()),
            }),
        }
    }

    fn call(&mut self, name: &str, arguments: &[Term<&'s str>], at: At) -> Judged {
        let input = Cost::one(Size::INPUT);
        let inside = at.inside();
        let uses = || format!("uses `{name}`");
        match (name, arguments) {
            (_, []) => match factor(name) {
                Some(0) => Ok(Cost { size: Size::fixed(8), ..input }),
                Some(factor) => Ok(input.grown(factor)),
                None => Err(uses()),
            },
            ("empty", _) => Ok(Cost::default()),
            ("select", [condition]) => {
                let condition = self.term(condition, at)?;
                if condition.several {
                    return Err("has a condition with several results".into());
                }
                Ok(input.and(Cost { size: Size::default(), ..condition }))
            }
            ("map", [change]) => {
                let items = Cost { several: true, ..input };
                let mapped = items.then(self.term(change, inside)?)?;
                Ok(Cost { several: false, ..mapped })
            }
            ("with_entries", [change]) => {
                let entries = Cost { several: true, ..input.grown(4) };
                let mapped = entries.then(self.term(change, inside)?)?;
                Ok(Cost { several: false, ..mapped })
            }
            ("sort_by" | "group_by" | "unique_by" | "min_by" | "max_by", [by]) => {
                let items = Cost { several: true, ..input };
                let keys = items.then(self.term(by, inside)?)?;
                Ok(input.grown(2).and(Cost { several: false, size: Size::default(), ..keys }))
            }
            ("any" | "all", [condition]) => {
                let items = Cost { several: true, ..input };
                let held = items.then(self.term(condition, inside)?)?;
                Ok(Cost { several: false, size: Size::fixed(5), ..held })
            }
            ("any" | "all", [items, condition]) => {
                let items = self.term(items, at)?;
                let held = items.then(self.term(condition, inside)?)?;
                Ok(Cost { several: false, size: Size::fixed(5), ..held })
            }
            ("first" | "last" | "isempty" | "add", [items]) => {
                let items = self.term(items, at)?;
                Ok(Cost { several: false, ..items })
            }
            ("error", [words]) => self.term(words, at),
            ("del", [paths]) if is_plain_paths(paths) => Ok(input.grown(2)),
            (
                "has" | "startswith" | "endswith" | "ltrimstr" | "rtrimstr" | "trimstr"
                | "contains" | "index" | "rindex" | "indices" | "split" | "join" | "IN"
                | "strftime" | "strptime",
                [argument],
            ) => {
                let argument = self.term(argument, at)?;
                if !argument.work.is_fixed() || argument.several && name != "IN" {
                    return Err(format!("uses `{name}` with what its input names"));
                }
                let factor = argument.work.fixed.saturating_add(2);
                Ok(input.grown(factor))
            }
            _ => Err(uses()),
        }
    }
}

/// Whether this is a path with all its names written out: `.a.b`.
fn is_plain_path(term: &Term<&str>) -> bool {
    match term {
        Term::Path(head, path) => {
            matches!(**head, Term::Id)
                && path.0.iter().all(|(part, _)| match part {
                    Part::Index(Term::Str(None, parts)) => {
                        parts.iter().all(|part| matches!(part, StrPart::Str(_)))
                    }
                    Part::Index(_) | Part::Range(..) => false,
                })
        }
        _ => false,
    }
}

fn is_plain_paths(term: &Term<&str>) -> bool {
    match term {
        Term::BinOp(left, BinaryOp::Comma, right) => is_plain_paths(left) && is_plain_paths(right),
        term => is_plain_path(term),
    }
}

/// How many times as large as its input the result of a function without arguments is, and how many times
/// its input it reads; 0 if the result is a few bytes. None for functions whose cost is not known here.
fn factor(name: &str) -> Option<u32> {
    Some(match name {
        "null" | "true" | "false" | "not" | "length" | "utf8bytelength" | "type" | "tonumber"
        | "toboolean" | "floor" | "ceil" | "round" | "trunc" | "sqrt" | "abs" | "fabs"
        | "isnan" | "isinfinite" | "isnormal" | "nan" | "infinite" | "any" | "all" | "todate"
        | "fromdate" | "todateiso8601" | "fromdateiso8601" | "mktime" | "gmtime" | "date" => 0,
        "empty" | "error" | "values" | "nulls" | "booleans" | "numbers" | "strings" | "arrays"
        | "objects" | "iterables" | "scalars" | "first" | "last" | "keys" | "keys_unsorted"
        | "add" | "reverse" | "sort" | "unique" | "min" | "max" | "ascii_downcase"
        | "ascii_upcase" | "trim" | "ltrim" | "rtrim" | "toarray" | "@text" => 1,
        "implode" | "@base64" | "@base64d" | "@base32" | "@base32d" | "@urid" | "@csv" | "@tsv" => {
            2
        }
        "@uri" | "@urlvalue" => 3,
        "to_entries" | "from_entries" | "explode" | "@sh" => 4,
        "tostring" | "tojson" | "@json" | "@html" => 6,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;

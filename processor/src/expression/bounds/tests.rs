use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Pattern, Term};
use jaq_core::path::Part;

use super::super::place::Place;
use super::super::program::{Program, VARIABLES};
use super::super::value::Value;
use super::super::{Dot, Expression};
use super::*;

/// A name, and an expression so deep.
type Shape = (&'static str, fn(usize) -> String);

/// Expressions of any depth, each in another way.
const SHAPES: [Shape; 27] = [
    ("a path", |n| ".a".repeat(n)),
    ("a path of indices", |n| format!(".{}", "[0]".repeat(n))),
    ("parentheses", |n| format!("{}.{}", "(".repeat(n), ")".repeat(n))),
    ("arrays", |n| format!("{}.{}", "[".repeat(n), "]".repeat(n))),
    ("objects", |n| format!("{}1{}", "{a:".repeat(n), "}".repeat(n))),
    ("an open bracket", |n| "(".repeat(n)),
    ("a sum", |n| format!("1{}", "+1".repeat(n))),
    ("sums in brackets", |n| format!("{}1{}", "(".repeat(n), ")+1".repeat(n))),
    ("a conjunction", |n| format!("1{}", " and 1".repeat(n))),
    ("alternatives", |n| format!("null{}", "//null".repeat(n))),
    ("a pipe", |n| format!(".{}", "|.".repeat(n))),
    ("commas", |n| format!("[.{}]", ",.".repeat(n))),
    ("members", |n| format!("{{a:1{}}}", ",a:1".repeat(n))),
    ("negations", |n| format!("{}1", "- ".repeat(n))),
    ("escapes in a text", |n| format!("\"{}\"", "\\n".repeat(n))),
    ("texts in texts", |n| format!("{}.{}", "\"\\(".repeat(n), ")\"".repeat(n))),
    ("conditions in conditions", |n| {
        format!("{}1{}", "if . then ".repeat(n), " else 2 end".repeat(n))
    }),
    ("more and more conditions", |n| {
        format!("if null then 1{} else 2 end", " elif null then 1".repeat(n))
    }),
    ("conditions that begin with an end", |n| "if end then ".repeat(n)),
    ("definitions in definitions", |n| format!("{}1{}", "def f: ".repeat(n), ";f".repeat(n))),
    ("definitions after definitions", |n| format!("{}1", "def f: 1;".repeat(n))),
    ("variables", |n| format!("{}1", "1 as $x|".repeat(n))),
    ("labels", |n| format!("{}1", "1+1+label $x|".repeat(n))),
    ("attempts", |n| format!("{}1", "try ".repeat(n))),
    ("calls", |n| format!("{}.{}", "[.]|map(".repeat(n), ")".repeat(n))),
    ("an assignment", |n| format!("{}=1", ".a".repeat(n))),
    ("a deletion", |n| format!("del({})", ".a".repeat(n))),
];

/// Runs it in a thread with a stack of this size. An overflow ends the whole test program.
fn within<T: Send>(stack_bytes: usize, run: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(stack_bytes);
        thread.spawn_scoped(scope, run).unwrap().join().unwrap()
    })
}

const SMALL_STACK: usize = 512 * 1024;

#[test]
fn an_expression_that_is_too_deep_is_refused_before_anything_recurses() {
    for (name, shape) in SHAPES {
        for count in [5_000, 20_000, 100_000] {
            let code = shape(count);
            let why = within(SMALL_STACK, || Expression::compile(&code, Dot::Body).unwrap_err());
            let is_long = code.len() > LENGTH_MAX;
            let expected = if is_long { "bytes, limit 65536" } else { "deep, limit 4000" };
            assert!(why.contains(expected) && why.contains("several steps"), "{name}: {why}");
        }
    }
}

#[test]
fn the_deepest_expressions_are_compiled_and_evaluated_within_their_stacks() {
    for (name, shape) in SHAPES {
        let most = |depth_max: usize| {
            let fits = |count: &usize| depth(&shape(*count)) <= depth_max;
            let most = (0..).map(|power| 1 << power).take_while(fits).last().unwrap();
            (most..2 * most).take_while(fits).last().unwrap()
        };
        for depth_max in [DEPTH_MAX, place::DEPTH_HERE_MAX] {
            let code = shape(most(depth_max));
            let Ok(expression) = within(SMALL_STACK, || Expression::compile(&code, Dot::Body))
            else {
                continue;
            };
            within(SMALL_STACK, || super::super::mentions::steps(&code));
            // A thread of this process has 2 MiB, and an evaluation in a worker 32.
            let here = *expression.place() == Place::Here;
            assert!(!here || depth(&code) <= place::DEPTH_HERE_MAX, "{name} runs here");
            let stack = if here { 1024 * 1024 } else { 32 * 1024 * 1024 };
            within(stack, || {
                let program = Program::compile(&code).unwrap();
                let results = program.all(Value::Null, vec![Value::Null; VARIABLES.len()]);
                results.take(2).count()
            });
        }
    }
}

#[test]
fn expressions_as_people_write_them_are_shallow() {
    let entries: Vec<_> = (0..1_500).map(|id| format!("\"k{id}\": {{name: \"n\", id}}")).collect();
    let table = format!("{{{}}}[.country].name // \"none\"", entries.join(", "));
    let cases: String = (0..500).map(|id| format!("elif .a.b == {id} then \"x\\(.a)\" ")).collect();
    let choice = format!("if .a then 1 {cases}else 2 end");
    let definitions: String = (0..100).map(|id| format!("def f{id}($a; b): $a + b;\n")).collect();
    for code in [table, choice, format!("{definitions} f1(1; 2)")] {
        assert_eq!(check(&code).map(|depth| depth < 3_000), Ok(true), "{code:.80}");
        Expression::compile(&code, Dot::Body).unwrap();
    }
    let order =
        r#"{order: .id, total: (.items | map(.price * .count) | add // 0), key: "\(.id):\($now)"}"#;
    assert!(depth(order) < 30, "{}", depth(order));
}

#[test]
fn what_follows_a_label_or_a_definition_is_inside_of_it() {
    let sum = "1+".repeat(100);
    for (code, least) in [
        (format!("{}1", format!("{sum}label $x|").repeat(100)), 20_000),
        (format!("{}1", format!("{sum}def f: 1;").repeat(100)), 20_000),
        (format!("{}1{}", format!("({sum}").repeat(100), ")".repeat(100)), 20_000),
        (format!("{}1{}", "(".repeat(100), format!("{})", "+1".repeat(100)).repeat(100)), 20_000),
    ] {
        assert!(depth(&code) >= least, "{code:.300}: {}", depth(&code));
    }
}

#[test]
fn comments_strings_and_names_hide_no_brackets() {
    let deep = "(".repeat(5_000);
    for code in [
        format!("# a \" \n{deep}"),
        format!("# a \\\n \" goes on \\\\\n{deep}"),
        format!("\"a\\\"b\"{deep}"),
        format!("\"\\u00\"{deep}"),
        format!("\"\\( & \"{deep}"),
        format!("\"\\( ] \"{deep}"),
        format!("1if {deep}"),
        format!("{{if: 1}} {deep}"),
        format!("[(]{deep}"),
        format!(". | {deep}"),
    ] {
        assert!(check(&code).is_err(), "{code:.40}: {}", depth(&code));
    }
    for code in [format!("# {deep}\n."), format!("\"{deep}\""), format!(". & {deep}")] {
        assert!(depth(&code) < 10, "{code:.40}: {}", depth(&code));
    }
}

/// How deep the syntax tree is, counting what it becomes when it is evaluated.
fn tree(term: &Term<&str>) -> usize {
    fn most<'t, 's: 't>(terms: impl IntoIterator<Item = &'t Term<&'s str>>) -> usize {
        terms.into_iter().map(tree).max().unwrap_or(0)
    }
    fn pattern(it: &Pattern<&str>) -> usize {
        1 + match it {
            Pattern::Var(_) => 0,
            Pattern::Arr(items) => items.iter().map(pattern).max().unwrap_or(0),
            Pattern::Obj(members) => {
                members.iter().map(|(name, it)| tree(name).max(pattern(it))).max().unwrap_or(0)
            }
        }
    }
    1 + match term {
        Term::Id | Term::Recurse | Term::Num(_) | Term::Break(_) | Term::Var(_) => 0,
        Term::Str(_, parts) => {
            let terms = parts.iter().filter_map(|part| match part {
                StrPart::Term(term) => Some(term),
                StrPart::Str(_) | StrPart::Char(_) => None,
            });
            (parts.len() + most(terms)).saturating_sub(1)
        }
        Term::Arr(inner) => inner.as_deref().map_or(0, tree),
        Term::Obj(members) => {
            let values = members.iter().map(|(_, value)| value.as_ref().map_or(0, tree));
            let names = most(members.iter().map(|(name, _)| name));
            (members.len() + values.max().unwrap_or(0).max(names)).saturating_sub(1)
        }
        Term::Neg(inner) | Term::Label(_, inner) => tree(inner),
        Term::BinOp(left, operator, right) => {
            let bound = match operator {
                BinaryOp::Pipe(Some(it)) => pattern(it),
                _ => 0,
            };
            tree(left).max(tree(right)).max(bound)
        }
        Term::Fold(_, over, it, terms) => tree(over).max(pattern(it)).max(most(terms)),
        Term::TryCatch(tried, caught) => tree(tried).max(caught.as_deref().map_or(0, tree)),
        Term::IfThenElse(cases, otherwise) => {
            let inner = cases.iter().map(|(condition, then)| tree(condition).max(tree(then)));
            let inner = inner.max().unwrap_or(0);
            cases.len() - 1 + inner.max(otherwise.as_deref().map_or(0, tree))
        }
        Term::Def(definitions, rest) => most(definitions.iter().map(|it| &it.body)).max(tree(rest)),
        Term::Call(_, arguments) => most(arguments),
        Term::Path(head, path) => {
            let inside = path.0.iter().map(|(part, _)| match part {
                Part::Index(index) => tree(index),
                Part::Range(from, until) => most(from.iter().chain(until)),
            });
            path.0.len() + tree(head).max(inside.max().unwrap_or(0))
        }
    }
}

#[test]
fn no_syntax_tree_is_deeper_than_the_scan_says() {
    const WORDS: [&str; 52] = [
        ".",
        ".a",
        "..",
        "1",
        "\"x\"",
        "$x",
        "f",
        "end",
        "then",
        "and",
        "or",
        "not",
        "+",
        "-",
        "*",
        "//",
        "|",
        "|=",
        "=",
        "==",
        ",",
        ";",
        ":",
        "?",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "a:",
        "if",
        "if . then",
        "elif . then",
        "else",
        "end",
        "def f:",
        "; 1",
        "as $x |",
        "label $x |",
        "try",
        "catch",
        "reduce . as $x (.;.)",
        "foreach",
        "\"\\(",
        ")\"",
        "\"\\n\\n\"",
        "[]",
        "[0]",
        "{a:1}",
        "map(",
        "@base64",
    ];
    let mut state = 88_172_645_463_325_252_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    within(64 * 1024 * 1024, move || {
        let mut read = 0;
        for _ in 0..30_000 {
            let mut code = String::new();
            for _ in 0..1 + random(10) {
                code.push_str(WORDS[random(WORDS.len())]);
                code.push(' ');
                if let Some(term) = jaq_core::load::parse(&code, |parser| parser.term()) {
                    read += 1;
                    let (tree, scan) = (tree(&term), depth(&code));
                    // A token is two nodes at most: a path, and what it begins with.
                    assert!(tree <= 2 * scan, "{code}: {tree} deep, not {scan}");
                }
            }
        }
        assert!(read > 3_000, "{read}");
    });
}

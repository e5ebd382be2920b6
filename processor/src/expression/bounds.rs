//! How long and how deep an expression may be. Whatever looks at one (the parser, the compiler, an evaluation) recurses
//! as deep as it is written, so its depth is bounded before any of them sees it.

use super::place;

/// The longest expression.
const LENGTH_MAX: usize = 64 * 1024;

/// The greatest depth; see [`depth`].
const DEPTH_MAX: usize = 4_000;

/// Up to this depth an expression is read without a thread of its own.
const DEPTH_INLINE_MAX: usize = place::DEPTH_HERE_MAX;

/// The stack of a thread that reads an expression of any depth.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// What operators begin with.
const OPERATORS: &str = "|=!<>+-*/%";

/// Refuses an expression that is too long or too deep, and says what to do about it.
pub(crate) fn check(code: &str) -> Result<usize, String> {
    if code.len() > LENGTH_MAX {
        let bytes = code.len();
        return Err(format!(
            "the expression has {bytes} bytes, limit {LENGTH_MAX}; divide it among several steps"
        ));
    }
    let depth = depth(code);
    if depth > DEPTH_MAX {
        return Err(format!(
            "the expression is {depth} deep, limit {DEPTH_MAX}: brackets inside of one another and \
             terms one after the other count; divide it among several steps"
        ));
    }
    Ok(depth)
}

/// Reads an expression where there is room for its depth.
pub(crate) fn reading<T: Send>(code: &str, read: impl FnOnce() -> T + Send) -> Result<T, String> {
    if check(code)? <= DEPTH_INLINE_MAX {
        return Ok(read());
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("expression".into()).stack_size(STACK_BYTES);
        let thread = thread.spawn_scoped(scope, read);
        let thread =
            thread.map_err(|error| format!("no thread to read the expression: {error}"))?;
        thread.join().map_err(|_| "the expression cannot be read".to_owned())
    })
}

/// How deep something may recurse that follows the structure of this code: at least as deep as its syntax tree,
/// however the code is wrong. Takes one pass and no recursion.
///
/// A bracket, a string or an `if` is as deep as the deepest of the parts that `|`, `,`, `;`, `then`, `elif` and `else`
/// divide it into, plus the number of these parts. A part is as deep as what it holds, plus the number of its tokens.
pub(crate) fn depth(code: &str) -> usize {
    Scan { rest: code, open: Vec::new(), level: Level::new(Kind::Code), after: After::Nothing }
        .depth()
}

/// What encloses a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing, for the whole code, or a bracket, named by its end.
    Code,
    Bracket(char),
    Text,
    If,
}

/// What is known of a level so far.
#[derive(Debug, Clone, Copy)]
struct Level {
    kind: Kind,
    /// Its parts but the last one; and the tokens of those parts that reach into the next ones.
    before: usize,
    /// The deepest part so far.
    deepest: usize,
    /// The last part: its tokens, and the depth of the deepest of them.
    tokens: usize,
    inside: usize,
    /// Whether what follows the last part is inside of it: `def f: 1; …`, `label $f | …`.
    reaches: bool,
}

impl Level {
    fn new(kind: Kind) -> Self {
        Self { kind, before: 0, deepest: 0, tokens: 0, inside: 0, reaches: false }
    }

    fn token(&mut self, depth: usize) {
        self.tokens += 1;
        self.inside = self.inside.max(depth);
    }

    fn next_part(&mut self) {
        self.before += 1;
        if self.reaches {
            self.before += self.tokens;
        }
        self.deepest = self.deepest.max(self.tokens + self.inside);
        (self.tokens, self.inside, self.reaches) = (0, 0, false);
    }

    fn depth(mut self) -> usize {
        self.next_part();
        self.before + self.deepest
    }
}

/// What the token before this one was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Nothing,
    /// Something that surely ends a term, so that `end` or `then` are what they look like.
    Term,
}

struct Scan<'c> {
    rest: &'c str,
    /// The levels around this one.
    open: Vec<Level>,
    level: Level,
    after: After,
}

impl Scan<'_> {
    fn depth(mut self) -> usize {
        while let Some(first) = self.rest.chars().next() {
            if self.level.kind == Kind::Text {
                self.text(first);
            } else {
                self.code(first);
            }
        }
        while !self.open.is_empty() {
            self.close();
        }
        self.level.depth()
    }

    fn open(&mut self, kind: Kind) {
        self.open.push(std::mem::replace(&mut self.level, Level::new(kind)));
        self.after = After::Nothing;
    }

    fn close(&mut self) {
        if let Some(outer) = self.open.pop() {
            let inner = std::mem::replace(&mut self.level, outer);
            self.level.token(inner.depth());
            self.after = After::Term;
        }
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    /// Skips what goes on a name.
    fn skip_name(&mut self) {
        let is_part = |it: char| it.is_ascii_alphanumeric() || it == '_';
        self.rest = self.rest.trim_start_matches(is_part);
    }

    /// Skips a name, if there is one.
    fn skip_new_name(&mut self) {
        if self.rest.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
            self.skip_name();
        }
    }

    fn skip_digits(&mut self) {
        self.rest = self.rest.trim_start_matches(|it: char| it.is_ascii_digit());
    }

    /// In a string.
    fn text(&mut self, first: char) {
        match first {
            '"' => {
                self.skip(1);
                self.close();
            }
            '\\' => {
                self.skip(1);
                self.level.next_part();
                match self.rest.chars().next() {
                    Some('(') => {
                        self.skip(1);
                        self.open(Kind::Bracket(')'));
                    }
                    Some(escaped) => self.skip(escaped.len_utf8()),
                    None => {}
                }
            }
            _ => {
                self.rest = self.rest.trim_start_matches(|it| it != '"' && it != '\\');
                self.level.next_part();
            }
        }
    }

    /// Outside of strings.
    fn code(&mut self, first: char) {
        match first {
            '#' => self.comment(),
            '"' => {
                self.skip(1);
                self.open(Kind::Text);
            }
            '(' => self.bracket(')'),
            '[' => self.bracket(']'),
            '{' => self.bracket('}'),
            ')' | ']' | '}' => {
                self.skip(1);
                self.bracket_ends(first);
            }
            ',' | ';' => {
                self.skip(1);
                self.level.next_part();
                self.after = After::Nothing;
            }
            'a'..='z' | 'A'..='Z' | '_' => self.word(),
            '0'..='9' => {
                self.skip_digits();
                if let Some(rest) = self.rest.strip_prefix('.') {
                    self.rest = rest;
                    self.skip_digits();
                }
                if let Some(rest) = self.rest.strip_prefix(['e', 'E']) {
                    self.rest = rest.strip_prefix(['+', '-']).unwrap_or(rest);
                    self.skip_digits();
                }
                self.term();
            }
            '$' | '@' | '.' => {
                self.skip(1);
                self.skip_new_name();
                self.term();
            }
            '?' => {
                self.skip(1);
                self.term();
            }
            ':' => {
                self.skip(1);
                self.level.token(0);
                self.after = After::Nothing;
            }
            first if OPERATORS.contains(first) => self.operator(),
            blank if blank.is_whitespace() => self.skip(blank.len_utf8()),
            other => {
                self.skip(other.len_utf8());
                self.wrong();
            }
        }
    }

    fn operator(&mut self) {
        let before = self.rest;
        self.skip(1);
        self.rest = self.rest.trim_start_matches(|it| it != '-' && OPERATORS.contains(it));
        match &before[..before.len() - self.rest.len()] {
            "|" => self.level.next_part(),
            _ => self.level.token(0),
        }
        self.after = After::Nothing;
    }

    fn term(&mut self) {
        self.level.token(0);
        self.after = After::Term;
    }

    fn bracket(&mut self, end: char) {
        self.skip(1);
        self.open(Kind::Bracket(end));
    }

    /// A bracket ends what is open inside of it, too.
    fn bracket_ends(&mut self, end: char) {
        while self.level.kind != Kind::Bracket(end) {
            if self.level.kind == Kind::Text || self.open.is_empty() {
                return self.wrong();
            }
            self.close();
        }
        self.close();
    }

    /// Where no token begins, the code goes on in the string around it, or ends.
    fn wrong(&mut self) {
        while self.level.kind != Kind::Text {
            if self.open.is_empty() {
                self.rest = "";
                return;
            }
            self.close();
        }
    }

    fn word(&mut self) {
        let before = self.rest;
        self.skip_name();
        if let Some(rest) = self.rest.strip_prefix("::") {
            self.rest = rest.strip_prefix(['@', '$']).unwrap_or(rest);
            self.skip_new_name();
        }
        let word = &before[..before.len() - self.rest.len()];
        let ends_term = self.after == After::Term;
        match word {
            "if" => {
                self.open(Kind::If);
                return;
            }
            "end" if ends_term && self.level.kind == Kind::If => {
                self.close();
                return;
            }
            "then" | "elif" | "else" if ends_term && self.level.kind == Kind::If => {
                self.level.next_part();
            }
            "def" | "label" | "as" | "reduce" | "foreach" => {
                self.level.token(0);
                self.level.reaches = true;
            }
            _ => self.level.token(0),
        }
        let goes_on = [
            "and", "or", "as", "def", "label", "reduce", "foreach", "try", "catch", "then", "elif",
            "else", "break", "end",
        ];
        self.after = if goes_on.contains(&word) { After::Nothing } else { After::Term };
    }

    fn comment(&mut self) {
        // A comment goes on after a line that ends with an odd number of backslashes.
        loop {
            let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
            let line = line.strip_suffix('\r').unwrap_or(line);
            self.rest = rest;
            let backslashes = line.len() - line.trim_end_matches('\\').len();
            if backslashes % 2 == 0 || self.rest.is_empty() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;

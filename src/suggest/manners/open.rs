//! What a piece of code leaves open: brackets and strings, told from its characters alone.
//!
//! ```text
//! foo(a,⏎    "b)            inside: a "(", and a string that its line ends
//! x = """one⏎two            inside: a string of several lines
//! don't("//")  # it's (     not inside: comments and strings hold no brackets
//! a();⏎}                    one closer that it did not open, at byte 5
//! ```
//! It is for text that is not in the document yet and may be half a statement, where a parser recovers in ways of its own.

/// What stands open at the end of a text that began in code.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Open {
    brackets: Vec<char>,
    quote: Option<Quote>,
    comment: Option<Comment>,
    /// Where its first closer stands that it did not open.
    pub unopened: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Quote {
    mark: char,
    /// Three of them.
    triple: bool,
    /// It may go on in the next line.
    long: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comment {
    Line,
    Block,
}

impl Open {
    /// Whether a line that begins here begins inside a bracket or a string.
    pub fn inside(&self) -> bool {
        !self.brackets.is_empty() || self.in_string()
    }

    pub fn in_string(&self) -> bool {
        self.quote.is_some()
    }

    /// Every bracket has its other one, every string its end.
    pub fn balanced(&self) -> bool {
        !self.inside() && self.unopened.is_none()
    }

    pub fn brackets(&self) -> &[char] {
        &self.brackets
    }
}

/// How a language writes strings and comments.
#[derive(Clone, Copy)]
struct Marks {
    hash: bool,
    slashes: bool,
    dashes: bool,
    apostrophe: bool,
    backtick: bool,
    triple: bool,
    /// `"` may go on in the next line.
    long: bool,
    rust: bool,
    python: bool,
}

fn marks(language: &str) -> Marks {
    let prose = matches!(language, "markdown" | "plaintext" | "text" | "html" | "xml" | "latex" | "");
    let hash =
        matches!(language, "python" | "ruby" | "shellscript" | "bash" | "sh" | "shell" | "yaml" | "toml" | "php" | "perl" | "r" | "elixir");
    let dashes = matches!(language, "lua" | "sql" | "haskell");
    let rust = language == "rust";
    Marks {
        hash,
        slashes: !(prose || hash || dashes) || language == "php",
        dashes,
        apostrophe: !prose && !rust,
        backtick: matches!(
            language,
            "javascript"
                | "javascriptreact"
                | "jsx"
                | "typescript"
                | "typescriptreact"
                | "tsx"
                | "go"
                | "shellscript"
                | "bash"
                | "sh"
                | "shell"
        ),
        triple: matches!(language, "python" | "kotlin" | "kt" | "swift" | "scala" | "java" | "csharp" | "cs" | "toml" | "elixir"),
        long: rust || matches!(language, "shellscript" | "bash" | "sh" | "shell" | "php" | "ruby" | "perl"),
        rust,
        python: language == "python",
    }
}

/// Reads a text that begins in code.
pub fn open(language: &str, text: &str) -> Open {
    let marks = marks(language);
    let mut open = Open::default();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        at += open.step(marks, text, at, c);
    }
    open
}

impl Open {
    /// Takes the character at `at`, or several that belong together; their bytes.
    fn step(&mut self, marks: Marks, text: &str, at: usize, c: char) -> usize {
        let rest = &text[at..];
        match (self.comment, self.quote) {
            (Some(Comment::Line), _) => self.comment = self.comment.filter(|_| c != '\n'),
            (Some(Comment::Block), _) if rest.starts_with("*/") => {
                self.comment = None;
                return 2;
            }
            (Some(Comment::Block), _) => {}
            (None, Some(quote)) => return self.in_quote(quote, rest, c),
            (None, None) => return self.in_code(marks, text, at, c),
        }
        c.len_utf8()
    }

    fn in_quote(&mut self, quote: Quote, rest: &str, c: char) -> usize {
        if c == '\\' {
            // What it escapes ends nothing: a line end neither.
            return 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
        }
        if c == '\n' && !quote.long {
            self.quote = None;
        }
        if c != quote.mark {
            return c.len_utf8();
        }
        if !quote.triple {
            self.quote = None;
            return 1;
        }
        let three = rest.chars().take(3).filter(|c| *c == quote.mark).count() == 3;
        self.quote = self.quote.filter(|_| !three);
        if three { 3 } else { 1 }
    }

    fn in_code(&mut self, marks: Marks, text: &str, at: usize, c: char) -> usize {
        let rest = &text[at..];
        let before = text[..at].chars().next_back();
        let apart = before.is_none_or(|b| b.is_whitespace() || matches!(b, ';' | '(' | ')'));
        let line =
            (marks.hash && c == '#' && apart) || (marks.slashes && rest.starts_with("//")) || (marks.dashes && rest.starts_with("--"));
        if line {
            self.comment = Some(Comment::Line);
        } else if marks.slashes && rest.starts_with("/*") {
            self.comment = Some(Comment::Block);
            return 2;
        } else if marks.rust && c == '\'' {
            return lifetime_or_char(rest);
        } else if c == '"' || (c == '`' && marks.backtick) || (c == '\'' && marks.apostrophe && begins_string(before, marks.python)) {
            return self.quote(marks, rest, c);
        } else {
            self.bracket(c, at);
        }
        c.len_utf8()
    }

    fn quote(&mut self, marks: Marks, rest: &str, mark: char) -> usize {
        let triple = marks.triple && mark != '`' && rest.chars().take(3).filter(|c| *c == mark).count() == 3;
        self.quote = Some(Quote { mark, triple, long: triple || mark == '`' || marks.long });
        if triple { 3 } else { 1 }
    }

    fn bracket(&mut self, c: char, at: usize) {
        let opener = match c {
            '(' | '[' | '{' => return self.brackets.push(c),
            ')' => '(',
            ']' => '[',
            '}' => '{',
            _ => return,
        };
        if self.brackets.last() == Some(&opener) {
            self.brackets.pop();
        } else if self.brackets.is_empty() {
            self.unopened.get_or_insert(at);
        }
    }
}

/// An apostrophe after a letter or a digit is a word's, or parts digits; in Python it may follow a prefix (`f'…'`).
fn begins_string(before: Option<char>, python: bool) -> bool {
    python || before.is_none_or(|b| !b.is_alphanumeric())
}

/// The bytes of `'a'` or `'\n'`; 1 for the apostrophe of a lifetime.
fn lifetime_or_char(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        // After a backslash: what it escapes, then up to the apostrophe ('\u{1F600}').
        Some((_, '\\')) => rest.char_indices().skip(3).take(10).find(|(_, c)| *c == '\'').map_or(1, |(at, _)| at + 1),
        Some(_) => chars.next().filter(|(_, c)| *c == '\'').map_or(1, |(at, _)| at + 1),
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_and_strings() {
        for (language, text, brackets, string, unopened) in [
            ("python", "foo(a, [b", "([", false, None),
            ("python", "foo(a, [b])", "", false, None),
            ("python", "x = \"\"\"one\ntwo", "", true, None),
            ("python", "x = \"\"\"one\ntwo\"\"\"\n", "", false, None),
            ("python", "x = 'a(", "", true, None),
            ("python", "x = 'a(\n", "", false, None),
            ("python", "x = 'a(\\\n", "", true, None),
            ("python", "f'{a}' + b'('  # it's (", "", false, None),
            ("rust", "fn f<'a>(x: &'a str, y: '(') {", "{", false, None),
            ("rust", "let c = ['\\'', '\\u{1F600}', '\"'", "[", false, None),
            ("rust", "let s = \"one(\ntwo", "", true, None),
            ("rust", "a();\n}\n", "", false, Some(5)),
            ("rust", "a() // don't (\n", "", false, None),
            ("rust", "a() /* ( \n { */", "", false, None),
            ("javascript", "`a${b(\n", "", true, None),
            ("javascript", "'http://a' + f(", "(", false, None),
            ("c", "int n = 1'000'000; f(", "(", false, None),
            ("shellscript", "echo $# ${#a[@]} (", "(", false, None),
            ("lua", "f( -- (", "(", false, None),
            ("markdown", "don't (", "(", false, None),
            ("go", "f(a)) + g)", "", false, Some(4)),
            ("", "", "", false, None),
        ] {
            let open = open(language, text);
            let found = (open.brackets.iter().collect::<String>(), open.in_string(), open.unopened);
            assert_eq!(found, (brackets.to_string(), string, unopened), "{language}: {text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_to_its_end(text in "[a(){}\\[\\]'\"`#/*\\\\\n é😀-]{0,60}", which in 0..6usize) {
            let language = ["python", "rust", "javascript", "shellscript", "lua", "plaintext"][which];
            let open = open(language, &text);
            proptest::prop_assert!(open.brackets.len() <= text.len() && open.unopened.is_none_or(|at| text.is_char_boundary(at)));
        }
    }
}

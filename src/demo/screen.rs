//! What `infill demo` shows: a frame that is drawn over itself on a terminal, plain lines in a pipe.
//!
//! ```text
//! shop.py
//!   12 │     def total(self):
//!   13 │         return sum(|line.total() for line in self.lines)
//! ```
use super::{Figures, KEY, PAUSE};
use std::io::{IsTerminal, Write};
use std::time::Instant;

const LINES: usize = 12;
const DIM: &str = "\x1b[2;3m";
const GREEN: &str = "\x1b[32m";
const BOLD: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";

pub struct Screen {
    terminal: bool,
    silent: bool,
    width: usize,
    file: String,
    drawn: bool,
    first: Option<f64>,
}

impl Screen {
    pub fn new(silent: bool) -> Screen {
        let terminal = std::io::stdout().is_terminal() && !silent;
        let width = terminal_size::terminal_size().map_or(100, |(w, _)| w.0 as usize);
        Screen { terminal, silent, width, file: String::new(), drawn: false, first: None }
    }

    pub fn open(&mut self, file: &str, begun: Instant) {
        self.file = file.to_string();
        self.drawn = false;
        self.first.get_or_insert(begun.elapsed().as_secs_f64() * 1e3);
        if !self.silent {
            println!("\n{}", self.paint(BOLD, file));
        }
    }

    /// After a key: the text, and the ghost text behind the cursor.
    pub fn show(&mut self, text: &str, cursor: usize, ghost: &str, typed: usize, all: usize) {
        if self.terminal {
            let bar = "━".repeat(typed * 30 / all.max(1));
            self.frame(text, cursor, ghost, "", &format!("{bar:<30} {typed}/{all} characters"));
            std::thread::sleep(KEY);
        }
    }

    /// At a pause: what is offered, and how much of it is taken.
    pub fn pause(&mut self, text: &str, cursor: usize, ghost: &str, taken: &str) {
        let verdict = match taken {
            "" => "typed on",
            t if t == ghost => "Tab: accepted",
            _ => "accepted as far as it fits",
        };
        if self.terminal {
            self.frame(text, cursor, ghost, "", "a pause");
            std::thread::sleep(PAUSE);
            self.frame(text, cursor, "", taken, verdict);
            std::thread::sleep(PAUSE / 2);
        } else if !self.silent {
            let start = text[..cursor].rfind('\n').map_or(0, |n| n + 1);
            let line = text[..cursor].matches('\n').count() + 1;
            println!("  {line:>3}  {}‸{}   [{verdict}]", &text[start..cursor], ghost.replace('\n', "⏎"));
        }
    }

    pub fn close(&mut self, text: &str, cursor: usize) {
        if self.terminal {
            self.frame(text, cursor, "", "", "done");
        }
    }

    fn paint(&self, style: &str, text: &str) -> String {
        if self.terminal { format!("{style}{text}{RESET}") } else { text.to_string() }
    }

    fn frame(&mut self, text: &str, cursor: usize, ghost: &str, taken: &str, status: &str) {
        let mut out = String::new();
        if self.drawn {
            out += &format!("\x1b[{}A", LINES + 1);
        }
        let marked = format!("{}\u{1}{taken}\u{2}{ghost}\u{3}{}", &text[..cursor], &text[cursor..]);
        let at = text[..cursor].matches('\n').count();
        let lines: Vec<&str> = marked.split('\n').collect();
        let first = at.saturating_sub(LINES / 2);
        let mut style = "";
        for number in first..first + LINES {
            let line = lines.get(number).copied().unwrap_or_default();
            out += &format!("\x1b[2K{DIM}{:>4} │{RESET} ", number + 1);
            out += &self.styled(line, &mut style);
            out += &format!("{RESET}\n");
        }
        out += &format!("\x1b[2K{DIM}     {status}{RESET}\n");
        self.drawn = true;
        print!("{out}");
        let _ = std::io::stdout().flush();
    }

    /// One line with the marks turned into styles, cut to the terminal's width. `style` goes on from line to line.
    fn styled(&self, line: &str, style: &mut &'static str) -> String {
        let mut out = style.to_string();
        let mut column = 7;
        for c in line.chars() {
            match c {
                '\u{1}' => *style = GREEN,
                '\u{2}' => *style = DIM,
                '\u{3}' => *style = "",
                _ if column + 1 >= self.width => break,
                c => {
                    column += 1;
                    out.push(c);
                    continue;
                }
            }
            out += RESET;
            out += style;
        }
        out
    }

    pub fn table(&self, all: &[Figures], memory: Option<f64>, said: &[String]) {
        if self.silent {
            return;
        }
        let names = ["file", "keystrokes", "suggestions", "accepted", "characters", "tokens computed", "tokens reused", "p50 ms", "p95 ms"];
        println!("\n{}", self.paint(BOLD, &row(&names.map(String::from))));
        for f in all {
            println!(
                "{}",
                row(&[
                    f.file.clone(),
                    f.keystrokes.to_string(),
                    f.suggestions.to_string(),
                    f.accepted.to_string(),
                    f.accepted_chars.to_string(),
                    f.tokens_computed.to_string(),
                    f.tokens_reused.to_string(),
                    format!("{:.1}", f.p50_ms),
                    format!("{:.1}", f.p95_ms),
                ])
            );
        }
        println!("\ncharacters: inserted by accepted suggestions. p50, p95: from the key to its answer, over all keys.");
        if let Some(first) = self.first {
            println!("from the start of the server to the first file open: {first:.0} ms");
        }
        if let Some(memory) = memory {
            println!("peak memory of the server: {memory:.0} MB");
        }
        said.iter().for_each(|s| println!("the server said: {s}"));
    }
}

fn row(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().enumerate().map(|(n, c)| if n == 0 { format!("{c:<14}") } else { format!("{c:>15}") }).collect();
    cells.concat()
}

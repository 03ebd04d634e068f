//! What `infill demo` shows: a frame that is drawn over itself on a terminal, plain lines in a pipe.
//!
//! ```text
//! shop.py                              grey: suggested   green: taken with Tab
//!   12 │     def total(self):
//!   13 │         return sum(▌line.total() for line in self.lines)
//!        ━━━━━━━━━━━━━━              123/259 characters   a pause
//! ```
//! A frame is written in one piece, each line over the old one and only then cleared to its end, inside a synchronized
//! update where the terminal knows them: nothing flickers.
use super::{Figures, KEY, PAUSE};
use std::io::{IsTerminal, Write};
use std::time::Instant;

/// Lines of text in a frame, where the terminal is high enough.
const LINES: usize = 12;
const BAR: usize = 30;
const GUTTER: usize = 7;
const GREY: &str = "\x1b[90m";
const GHOST: &str = "\x1b[3;90m";
const GREEN: &str = "\x1b[32m";
const BOLD: &str = "\x1b[1m";
const CURSOR: &str = "\x1b[7m";
const RESET: &str = "\x1b[0m";
const CLEAR: &str = "\x1b[K";
const BEGIN: &str = "\x1b[?2026h";
const END: &str = "\x1b[?2026l";

/// Marks in a text: where the cursor is, and where the styles change.
const AT: char = '\u{1}';
const TAKEN: char = '\u{2}';
const SUGGESTED: char = '\u{3}';
const PLAIN: char = '\u{4}';

pub struct Screen {
    terminal: bool,
    silent: bool,
    width: usize,
    lines: usize,
    drawn: bool,
    bar: String,
    first: Option<f64>,
}

impl Screen {
    pub fn new(silent: bool) -> Screen {
        let terminal = std::io::stdout().is_terminal() && !silent;
        let (width, height) = terminal_size::terminal_size().map_or((100, 24), |(w, h)| (w.0 as usize, h.0 as usize));
        let lines = LINES.min(height.saturating_sub(3)).max(1);
        Screen { terminal, silent, width, lines, drawn: false, bar: String::new(), first: None }
    }

    pub fn open(&mut self, file: &str, begun: Instant) {
        self.drawn = false;
        self.bar = String::new();
        self.first.get_or_insert(begun.elapsed().as_secs_f64() * 1e3);
        if self.terminal {
            println!("\n{BOLD}{file}{RESET}     {GHOST}suggested{RESET}  {GREEN}taken with Tab{RESET}");
        } else if !self.silent {
            println!("\n{file}");
        }
    }

    /// After a key: the text, and the ghost text behind the cursor.
    pub fn show(&mut self, text: &str, cursor: usize, ghost: &str, typed: usize, all: usize) {
        if self.terminal {
            let done = typed * BAR / all.max(1);
            self.bar = format!("{}{GREY}{} {typed:>3}/{all} characters", "━".repeat(done), "─".repeat(BAR - done));
            self.frame(text, cursor, ghost, "", "");
            std::thread::sleep(KEY);
        }
    }

    /// At a pause: what is offered, and how much of it is taken.
    pub fn pause(&mut self, text: &str, cursor: usize, ghost: &str, taken: &str) {
        let verdict = match taken {
            "" => "typed on",
            t if t == ghost => "Tab: taken",
            _ => "taken as far as it fits",
        };
        if self.terminal {
            self.frame(text, cursor, ghost, "", "a pause");
            std::thread::sleep(if taken.is_empty() { PAUSE / 2 } else { PAUSE });
            if !taken.is_empty() {
                self.frame(text, cursor, "", taken, verdict);
                std::thread::sleep(PAUSE / 2);
            }
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

    fn frame(&mut self, text: &str, cursor: usize, ghost: &str, taken: &str, status: &str) {
        let up = if self.drawn { format!("\x1b[{}A\r", self.lines + 1) } else { String::new() };
        self.drawn = true;
        let status = format!("{:GUTTER$}{}{RESET}   {BOLD}{status}", "", self.bar);
        print!("{BEGIN}{up}{}{status}{RESET}{CLEAR}\n{END}", self.body(text, cursor, ghost, taken));
        // Nobody to show it to is no reason to stop.
        let _ = std::io::stdout().flush();
    }

    /// The lines around the cursor.
    fn body(&self, text: &str, cursor: usize, ghost: &str, taken: &str) -> String {
        let (head, rest) = text.split_at(cursor);
        let marked = format!("{head}{TAKEN}{taken}{SUGGESTED}{AT}{ghost}{PLAIN}{rest}");
        let at = head.matches('\n').count();
        let first = at.saturating_sub(self.lines / 2);
        let lines: Vec<&str> = marked.split('\n').collect();
        let mut style = "";
        let mut out = String::new();
        for number in first..first + self.lines {
            match lines.get(number) {
                Some(line) => out += &format!("{GREY}{:>4} │{RESET} {}", number + 1, self.styled(line, &mut style)),
                None => out += &format!("{GREY}{:>4} │", ""),
            }
            out += &format!("{RESET}{CLEAR}\n");
        }
        out
    }

    /// One line with the marks turned into styles, cut to the terminal's width. `style` goes on from line to line.
    fn styled(&self, line: &str, style: &mut &'static str) -> String {
        let mut out = style.to_string();
        let mut column = GUTTER;
        let mut cursor = false;
        for c in line.chars() {
            match c {
                AT => cursor = true,
                TAKEN | SUGGESTED | PLAIN => {
                    *style = if c == TAKEN {
                        GREEN
                    } else if c == SUGGESTED {
                        GHOST
                    } else {
                        ""
                    };
                    out = out + RESET + style;
                }
                // Marks behind the edge still count for the lines below.
                _ if column + 1 >= self.width => {}
                c => {
                    out += &if std::mem::take(&mut cursor) { format!("{CURSOR}{c}{RESET}{style}") } else { c.to_string() };
                    column += 1;
                }
            }
        }
        if cursor { out + CURSOR + " " } else { out }
    }

    pub fn table(&self, all: &[Figures], memory: Option<f64>, said: &[String]) {
        if self.silent {
            return;
        }
        println!();
        rows(all).iter().for_each(|row| println!("{row}"));
        if let Some(first) = self.first {
            println!("\nstart of the server to the first file open: {first:.0} ms");
        }
        if let Some(memory) = memory {
            println!("peak memory of the server: {memory:.0} MB");
        }
        said.iter().for_each(|s| println!("the server said: {s}"));
    }
}

/// A line per figure, a column per file: it fits into the narrowest terminal.
fn rows(all: &[Figures]) -> Vec<String> {
    let line = |name: &str, cell: &dyn Fn(&Figures) -> String| {
        all.iter().fold(format!("{name:<38}"), |line, f| line + &format!("{:>14}", cell(f)))
    };
    vec![
        line("", &|f| f.file.clone()),
        line("keys pressed", &|f| f.keystrokes.to_string()),
        line("suggestions seen at pauses", &|f| f.suggestions.to_string()),
        line("  taken with Tab", &|f| f.accepted.to_string()),
        line("  characters that these inserted", &|f| f.accepted_chars.to_string()),
        line("tokens computed", &|f| f.tokens_computed.to_string()),
        line("tokens reused", &|f| f.tokens_reused.to_string()),
        line("from a key to its answer, p50, ms", &|f| format!("{:.1}", f.p50_ms)),
        line("from a key to its answer, p95, ms", &|f| format!("{:.1}", f.p95_ms)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(width: usize) -> Screen {
        Screen { terminal: true, silent: false, width, lines: 4, drawn: false, bar: String::new(), first: None }
    }

    /// A frame as a terminal would show it, without styles.
    fn plain(frame: &str) -> String {
        let mut out = String::new();
        let mut escape = false;
        for c in frame.chars() {
            match c {
                '\x1b' => escape = true,
                c if escape => escape = !c.is_ascii_alphabetic(),
                c => out.push(c),
            }
        }
        out
    }

    #[test]
    fn ghost_text_of_several_lines_stands_between_head_and_rest() {
        let body = screen(80).body("a(\n)\n", 2, "b\n  c", "");
        assert_eq!(plain(&body), "   1 │ a(b\n   2 │   c\n   3 │ )\n   4 │ \n");
        assert!(body.contains("a(\x1b[0m\x1b[32m\x1b[0m\x1b[3;90m\x1b[7mb\x1b[0m\x1b[3;90m"), "{body:?}");
        assert!(body.contains("\x1b[3;90m  c\x1b[0m\x1b[0m\x1b[K"), "the style goes on in the next line: {body:?}");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in [20, 80] {
            let body = screen(width).body(&"é".repeat(200), 20, &"g".repeat(100), "");
            assert!(plain(&body).lines().all(|l| l.chars().count() < width), "{body}");
        }
    }

    #[test]
    fn the_cursor_shows_at_the_end_of_a_text() {
        assert!(screen(80).body("x", 1, "", "").contains("\x1b[7m "));
    }

    #[test]
    fn the_table_fits_into_80_columns() {
        let figures = vec![Figures { file: "shop.py".into(), keystrokes: 274, ..Figures::default() }; 2];
        let rows = rows(&figures);
        assert!(rows.iter().all(|r| r.len() <= 80 && r.len() == rows[0].len()), "{rows:?}");
        assert!(rows[1].ends_with("274"));
    }
}

//! Where held-out files are cut.
//!
//! ```text
//!     total = a.coun|t() + 1⏎      cut: at = after "coun", end = the line's end; the true continuation is `t() + 1`
//! ```
//! A cut is drawn evenly over all bytes of all files that have at least [`LEFT`] bytes of their line after them, on a
//! line that is not blank. No place is cut twice. The same files and seed give the same cuts.
use anyhow::{Context, Result, bail};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Least bytes between a cut and the end of its line.
pub const LEFT: usize = 8;

/// Where cuts may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Places {
    Anywhere,
    /// Only after a whole word: most often a token ends there too.
    Words,
}

impl std::fmt::Display for Places {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Places::Anywhere => "anywhere",
            Places::Words => "after words",
        })
    }
}

impl Places {
    fn allow(self, before: &str, after: &str) -> bool {
        let word = |c: char| c.is_alphanumeric() || c == '_';
        self == Places::Anywhere || before.ends_with(word) && !after.starts_with(word)
    }
}

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cut {
    pub file: usize,
    /// Byte offsets of the cut and of the end of its line.
    pub at: usize,
    pub end: usize,
}

/// Small random numbers: splitmix64.
pub struct Random(pub u64);

impl Random {
    /// Evenly from `0..bound`; 0 when there is nothing to draw from.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ (z >> 31)) * bound as u128) >> 64) as usize
    }
}

/// The texts of all `.py` and `.rs` files below `folder`, in the order of their paths. What is not UTF-8 is left out.
///
/// # Errors
/// A folder or file that cannot be read.
pub fn read(folder: &Path) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for path in walk(folder)? {
        let bytes = std::fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        texts.extend(String::from_utf8(bytes).ok());
    }
    Ok(texts)
}

/// Links are not followed: they may lead in circles.
fn walk(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).with_context(|| format!("{} cannot be read as a folder", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|e| e == "py" || e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// A line with room for cuts: where it begins, how many bytes may be cut at, and how many there are in the lines before.
struct Line {
    file: usize,
    start: usize,
    places: usize,
    before: usize,
}

/// Draws `count` cuts.
///
/// # Errors
/// Too few places in these files.
pub fn draw(files: &[String], count: usize, seed: u64, places: Places) -> Result<Vec<Cut>> {
    let lines = lines(files);
    let bytes = lines.last().map_or(0, |line| line.before + line.places);
    let mut random = Random(seed);
    let (mut cuts, mut seen) = (Vec::new(), HashSet::new());
    // Places inside a character, before nothing but blanks, or not allowed, are drawn in vain.
    for _ in 0..count.saturating_mul(50) {
        if cuts.len() == count || bytes == 0 {
            break;
        }
        let cut = place(&lines, random.below(bytes));
        let (text, Cut { file: _, at, end }) = (&files[cut.file], cut);
        let whole = text.is_char_boundary(at) && !text[at..end].trim().is_empty() && places.allow(&text[..at], &text[at..end]);
        if whole && seen.insert(cut) {
            cuts.push(cut);
        }
    }
    if cuts.len() < count {
        bail!(
            "{} files (.py, .rs) with {bytes} places to cut are too few for {count} holes: name a larger folder, or lower --holes",
            files.len()
        );
    }
    Ok(cuts)
}

fn place(lines: &[Line], drawn: usize) -> Cut {
    let line = &lines[lines.partition_point(|line| line.before <= drawn) - 1];
    Cut { file: line.file, at: line.start + drawn - line.before, end: line.start + line.places - 1 + LEFT }
}

fn lines(files: &[String]) -> Vec<Line> {
    let (mut found, mut before) = (Vec::new(), 0);
    for (file, text) in files.iter().enumerate() {
        let mut start = 0;
        for whole in text.split_inclusive('\n') {
            let line = whole.trim_end_matches(['\n', '\r']);
            if line.len() >= LEFT && !line.trim().is_empty() {
                let places = line.len() - LEFT + 1;
                found.push(Line { file, start, places, before });
                before += places;
            }
            start += whole.len();
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Vec<String> {
        let python = "def f(a):\r\n\r\n    return a + 'größer als alles'\r\n                    \r\nshort\n";
        vec![python.to_owned(), String::new(), "fn main() { println!(\"日本語日本語\"); }\nlet x = 1".to_owned()]
    }

    #[test]
    fn cuts_are_the_same_for_the_same_seed_and_no_place_twice() {
        let files = files();
        let cuts = draw(&files, 40, 1, Places::Anywhere).unwrap();
        assert_eq!(cuts, draw(&files, 40, 1, Places::Anywhere).unwrap());
        assert_ne!(cuts, draw(&files, 40, 2, Places::Anywhere).unwrap());
        assert_eq!(cuts.iter().collect::<HashSet<_>>().len(), 40);
    }

    #[test]
    fn cuts_leave_eight_bytes_of_their_line_and_no_half_character() {
        let files = files();
        let cuts = draw(&files, 50, 3, Places::Anywhere).unwrap();
        for cut in &cuts {
            let rest = files[cut.file].get(cut.at..cut.end).expect("character boundaries");
            assert!(rest.len() >= LEFT && !rest.trim().is_empty() && !rest.contains(['\r', '\n']), "{rest:?}");
            assert!(matches!(files[cut.file].as_bytes().get(cut.end), None | Some(b'\r' | b'\n')), "{cut:?} ends inside its line");
        }
        assert!(cuts.iter().any(|cut| cut.file == 0) && cuts.iter().any(|cut| cut.file == 2));
        assert!(cuts.iter().any(|cut| cut.end == files[cut.file].len()), "the last line has no end");
    }

    #[test]
    fn cuts_after_words_break_none() {
        let files = files();
        let cuts = draw(&files, 5, 1, Places::Words).unwrap();
        for cut in &cuts {
            let (before, after) = files[cut.file].split_at(cut.at);
            assert!(before.ends_with(char::is_alphanumeric) && !after.starts_with(char::is_alphanumeric), "{before:?} {after:?}");
        }
    }

    #[test]
    fn too_few_places_are_an_error_that_says_so() {
        let error = |files: &[String]| draw(files, 500, 1, Places::Anywhere).unwrap_err().to_string();
        assert!(error(&files()).contains("too few for 500 holes"), "{}", error(&files()));
        assert!(error(&[]).contains("0 files"), "{}", error(&[]));
    }

    #[test]
    fn files_are_found_below_a_folder_in_order() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        for (name, text) in [("z.py", &b"z"[..]), ("a/b.rs", b"b"), ("a/c.txt", b"c"), ("a/d.py", b"\xff")] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        assert_eq!(read(folder.path()).unwrap(), ["b", "z"]);
        assert!(read(&folder.path().join("z.py")).unwrap_err().to_string().contains("z.py"));
    }
}

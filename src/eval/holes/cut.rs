//! Which files are cut, and where.
//!
//! ```text
//! read(dir)  -> sources by path          draw(files, kinds, 400, seed) -> holes, kinds and languages taking turns
//! ```
use super::Gap;
use crate::bench::quality::cuts::Random;
use crate::complete::language;
use anyhow::{Result, anyhow, bail};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

const EXTENSIONS: [&str; 24] = [
    "py", "pyi", "rs", "js", "mjs", "cjs", "jsx", "ts", "tsx", "go", "java", "c", "h", "cc", "cpp", "hpp", "cs", "rb", "php", "sh", "lua",
    "kt", "swift", "scala",
];
/// Folders that hold what others wrote, or what a build made.
const FOREIGN: [&str; 3] = ["target", "node_modules", "__pycache__"];
/// Larger files are most often generated.
const FILE_BYTES: usize = 1 << 20;
/// Of a larger folder, files are drawn until they have this much.
const ALL_BYTES: usize = 64 << 20;
/// Least bytes of a hole, and most of a line that is cut.
const LEAST: usize = 4;
/// Least bytes that a cut of kind `single` leaves: less is most often a closing bracket.
const LEFT: usize = 8;
const LONGEST: usize = 400;
/// Lines of a block.
const BLOCK: Range<usize> = 2..13;
/// Draws for each hole wanted: many lines have no room for one.
const TRIES: usize = 60;

/// What is cut out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A whole line after its indentation.
    Line,
    /// From inside a line to its end.
    Rest,
    /// Text on both sides of it stays.
    MidLine,
    /// A body of two lines or more.
    Block,
    /// From any byte of a line to its end, at least 8 bytes.
    Single,
}

impl Kind {
    /// What is cut unless `--kinds` says otherwise.
    pub const USUAL: [Kind; 4] = [Kind::Line, Kind::Rest, Kind::MidLine, Kind::Block];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Line => "line",
            Kind::Rest => "rest",
            Kind::MidLine => "mid-line",
            Kind::Block => "block",
            Kind::Single => "single",
        }
    }
}

/// A file.
#[derive(Clone, Debug)]
pub struct Source {
    /// Below the folder, with slashes.
    name: String,
    language: String,
    text: String,
    /// Where its lines begin.
    lines: Vec<usize>,
}

/// The files of a folder.
#[derive(Debug, Default)]
pub struct Sources {
    pub files: Vec<Source>,
    /// Too large, or not UTF-8.
    unfit: usize,
    /// Beyond what is read of one folder.
    beyond: usize,
}

/// A piece cut out of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Hole {
    pub id: String,
    pub kind: Kind,
    pub language: String,
    pub gap: Gap,
}

impl Sources {
    pub fn bytes(&self) -> usize {
        self.files.iter().map(|file| file.text.len()).sum()
    }

    pub fn left_out_note(&self) -> Option<String> {
        let found = [(self.unfit, "above 1 MB or not UTF-8"), (self.beyond, "beyond the 64 MB that are read")];
        let parts: Vec<String> = found.iter().filter(|(n, _)| *n > 0).map(|(n, why)| format!("{n} files {why}")).collect();
        (!parts.is_empty()).then(|| format!("left out: {}", parts.join(", ")))
    }
}

impl Source {
    fn new(name: String, text: String) -> Source {
        let language = language(name.as_ref()).to_owned();
        let ends = text.match_indices('\n').map(|(at, _)| at + 1).filter(|at| *at < text.len());
        let lines = std::iter::once(0).chain(ends).collect();
        Source { name, language, text, lines }
    }

    /// A line without the blanks at its sides.
    fn inside(&self, line: usize) -> Range<usize> {
        let start = self.lines[line];
        let text = &self.text[start..self.lines.get(line + 1).copied().unwrap_or(self.text.len())];
        let bare = text.trim_start();
        let from = start + text.len() - bare.len();
        from..from + bare.trim_end().len()
    }

    /// A hole of this kind at this line, if it has room for one.
    fn cut(&self, kind: Kind, line: usize, random: &mut Random) -> Option<Range<usize>> {
        let line_range = self.inside(line);
        if !(LEAST..=LONGEST).contains(&line_range.len()) {
            return None;
        }
        let Range { start, end } = line_range;
        let mut place = |from: usize, to: usize| (from < to).then(|| from + random.below(to - from));
        let hole = match kind {
            Kind::Line => start..end,
            Kind::Rest => place(start + 1, (end + 1).saturating_sub(LEAST))?..end,
            Kind::MidLine => {
                let from = place(start + 1, end.saturating_sub(LEAST))?;
                from..place(from + LEAST, end)?
            }
            Kind::Block => self.body(line)?,
            Kind::Single => place(start, (end + 1).saturating_sub(LEFT))?..end,
        };
        let text = self.text.get(hole.clone())?;
        (text.trim().len() >= LEAST).then_some(hole)
    }

    /// The lines below one that opens a body, as far as they are indented deeper.
    fn body(&self, opener: usize) -> Option<Range<usize>> {
        let head = self.inside(opener);
        if !self.text[head.clone()].ends_with([':', '{']) {
            return None;
        }
        let indent = head.start - self.lines[opener];
        let deeper = |line: &usize| {
            let inside = self.inside(*line);
            inside.is_empty() || inside.start - self.lines[*line] > indent
        };
        let lines: Vec<Range<usize>> = (opener + 1..self.lines.len()).take_while(deeper).map(|line| self.inside(line)).collect();
        let last = lines.iter().rposition(|line| !line.is_empty())?;
        let whole = !lines[0].is_empty() && BLOCK.contains(&(last + 1));
        whole.then(|| lines[0].start..lines[last].end)
    }
}

/// The source files below a folder, by path. Links are not followed: they may lead out of it, or in circles.
///
/// # Errors
/// A folder that cannot be read, or has no source files.
pub fn read(folder: &Path, seed: u64) -> Result<Sources> {
    let mut paths = walk(folder)?;
    paths.sort();
    shuffle(&mut paths, &mut Random(seed));
    let mut sources = Sources::default();
    let mut bytes = 0;
    for path in paths {
        let size = std::fs::metadata(&path).map_err(|e| unreadable(&path, &e))?.len() as usize;
        if bytes + size.min(FILE_BYTES) > ALL_BYTES {
            sources.beyond += 1;
            continue;
        }
        match text(&path, size)? {
            Some(text) => {
                bytes += text.len();
                sources.files.push(Source::new(name(folder, &path), text));
            }
            None => sources.unfit += 1,
        }
    }
    sources.files.sort_by(|a, b| a.name.cmp(&b.name));
    if sources.files.is_empty() {
        bail!("{} has no source files (.{}): name the folder of a project", folder.display(), EXTENSIONS.join(", ."));
    }
    Ok(sources)
}

fn text(path: &Path, size: usize) -> Result<Option<String>> {
    if size > FILE_BYTES {
        return Ok(None);
    }
    let bytes = std::fs::read(path).map_err(|e| unreadable(path, &e))?;
    Ok(String::from_utf8(bytes).ok().filter(|text| !text.contains('\0')))
}

fn name(folder: &Path, path: &Path) -> String {
    let below = path.strip_prefix(folder).unwrap_or(path);
    below.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

fn unreadable(path: &Path, error: &std::io::Error) -> anyhow::Error {
    anyhow!("{} cannot be read ({}): name a readable folder of source files", path.display(), crate::config::plain(error))
}

fn walk(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(|e| unreadable(&folder, &e))? {
            let entry = entry.map_err(|e| unreadable(&folder, &e))?;
            let (path, kind) = (entry.path(), entry.file_type().map_err(|e| unreadable(&folder, &e))?);
            let name = entry.file_name().to_string_lossy().into_owned();
            let ours = !name.starts_with('.') && !FOREIGN.contains(&name.as_str());
            let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
            if kind.is_dir() && ours {
                folders.push(path);
            } else if kind.is_file() && EXTENSIONS.contains(&extension) {
                files.push(path);
            }
        }
    }
    Ok(files)
}

/// Fisher and Yates.
fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for last in (1..items.len()).rev() {
        items.swap(last, random.below(last + 1));
    }
}

/// Draws `count` holes, as many of each of these kinds and of each language as there are; fewer where files have no more.
///
/// # Errors
/// Files without room for a single hole.
pub fn draw(files: &[Source], kinds: &[Kind], count: usize, seed: u64) -> Result<Vec<Hole>> {
    let mut by_language: BTreeMap<&str, Vec<&Source>> = BTreeMap::new();
    for file in files {
        by_language.entry(&file.language).or_default().push(file);
    }
    let cells: Vec<(&Vec<&Source>, Kind)> = by_language.values().flat_map(|files| kinds.iter().map(move |kind| (files, *kind))).collect();
    let mut random = Random(seed);
    let mut drawn: Vec<std::vec::IntoIter<Hole>> = Vec::new();
    for (n, (files, kind)) in cells.iter().enumerate() {
        let quota = count / cells.len() + usize::from(n < count % cells.len());
        drawn.push(draw_cell(files, *kind, quota, &mut random).into_iter());
    }
    let holes = take_turns(drawn);
    if holes.is_empty() {
        bail!("{} source files have no room for a hole: name a larger folder, or ask for --holes 1 or more", files.len());
    }
    Ok(holes)
}

/// Kinds and languages take turns, so that the first N are a fair sample too.
fn take_turns(mut drawn: Vec<std::vec::IntoIter<Hole>>) -> Vec<Hole> {
    let mut holes = Vec::new();
    loop {
        let before = holes.len();
        holes.extend(drawn.iter_mut().filter_map(Iterator::next));
        if holes.len() == before {
            return holes;
        }
    }
}

fn draw_cell(files: &[&Source], kind: Kind, quota: usize, random: &mut Random) -> Vec<Hole> {
    let (mut holes, mut seen) = (Vec::new(), HashSet::new());
    for _ in 0..quota.saturating_mul(TRIES) {
        if holes.len() == quota {
            break;
        }
        let file = files[random.below(files.len())];
        let line = random.below(file.lines.len());
        let range = file.cut(kind, line, random);
        holes.extend(range.map(|range| hole(file, kind, line, range)).filter(|hole| seen.insert(hole.id.clone())));
    }
    holes
}

fn hole(file: &Source, kind: Kind, line: usize, Range { start, end }: Range<usize>) -> Hole {
    let piece = |range: Range<usize>| file.text[range].to_owned();
    let gap = Gap { path: file.name.clone(), before: piece(0..start), after: piece(end..file.text.len()), truth: piece(start..end) };
    Hole { id: format!("{}:{}:{start}:{}", file.name, line + 1, kind.name()), kind, language: file.language.clone(), gap }
}

#[cfg(test)]
mod tests;

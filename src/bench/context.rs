//! `infill bench context DIR`: whether the prompt holds the definitions that the next line needs.
//!
//! ```text
//! x = rate("de")|       the line is cut out; `rate` is defined in another file of the project, and nowhere else
//! recall                 how often the context for that place holds the line that defines it
//! nearest                the same budget, spent on the nearest files from their beginnings
//! ```
//! A name counts where exactly one place of the project defines it, in another file, outside of comments, strings and import
//! statements; a top-level one where it is imported, by itself or behind its module (`tax.rate`); a member where it stands
//! behind a dot or `::` and its class is named in the file. Without these conditions most hits and misses would be words that
//! mean something else. No model is needed.
use super::quality::cuts::Random;
use crate::complete::language;
use crate::context::Neighbours;
use crate::context::index::{Index, Place};
use crate::context::rules::Rules;
use crate::context::walk::key;
use crate::context::workspace::Workspace;
use crate::document::{Document, Snapshot};
use crate::syntax;
use anyhow::{Result, anyhow, bail};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

/// What to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The folder of a project.
    pub dir: PathBuf,
    /// Tokens of context.
    #[arg(long, default_value_t = 1024)]
    pub tokens: usize,
    /// Bytes of source code per token: 3.4 is what DeepSeek's tokenizer needs.
    #[arg(long, default_value_t = 3.4)]
    pub bytes_per_token: f32,
    /// How many lines are cut out.
    #[arg(long, default_value_t = 1000)]
    pub holes: usize,
    /// Another seed cuts elsewhere.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Print each name that was not found.
    #[arg(long)]
    pub missed: bool,
    #[arg(long)]
    pub json: bool,
}

/// A line that was cut out, and the name in it that another file defines.
struct Hole {
    path: String,
    text: Snapshot,
    cursor: usize,
    name: String,
    place: Place,
}

#[derive(Default)]
struct Figures {
    files: usize,
    lines: usize,
    index_ms: f64,
    holes: usize,
    found: usize,
    nearest: usize,
    used: usize,
    gather_ms: Vec<f64>,
}

/// Measures and prints.
///
/// # Errors
/// A folder that cannot be read, or where no line uses what another file defines.
pub fn run(options: &Options) -> Result<()> {
    let limit = (options.tokens as f32 * options.bytes_per_token) as usize;
    let (workspace, texts, mut figures) = read(&options.dir)?;
    let holes = draw(&workspace, &texts, options);
    if holes.is_empty() {
        bail!("{}: no line uses a name that exactly one other file defines: name the folder of a larger project", options.dir.display());
    }
    for hole in &holes {
        workspace.opened(&hole.text.uri, &hole.path, false);
        let begun = Instant::now();
        let context = workspace.context(&hole.text, hole.cursor, limit);
        figures.gather_ms.push(begun.elapsed().as_secs_f64() * 1e3);
        let definition = definition(&workspace, &hole.place);
        let found = holds(&context.text, &definition);
        figures.holes += 1;
        figures.used += context.text.len();
        figures.found += usize::from(found);
        figures.nearest += usize::from(holds(&nearest(&texts, &hole.path, limit), &definition));
        if options.missed && !found {
            println!("{}: {} of {}: {}", hole.path, hole.name, hole.place.path, definition.trim());
        }
    }
    print(options, limit, figures);
    Ok(())
}

fn read(dir: &std::path::Path) -> Result<(Workspace, BTreeMap<String, String>, Figures)> {
    let begun = Instant::now();
    let workspace = Workspace::of_folder(dir, &[])?;
    let index_ms = begun.elapsed().as_secs_f64() * 1e3;
    let root = dir.canonicalize()?;
    let rules = Rules::new(&root, &[]).map_err(|e| anyhow!(e))?;
    let files = rules.walk().flatten().filter_map(|entry| Some((key(&root, "", entry.path()), rules.read(entry.path()).ok()?)));
    let texts: BTreeMap<String, String> = files.collect();
    let lines = texts.values().map(|text| text.lines().count()).sum();
    let figures = Figures { files: texts.len(), lines, index_ms, ..Figures::default() };
    Ok((workspace, texts, figures))
}

fn draw(workspace: &Workspace, texts: &BTreeMap<String, String>, options: &Options) -> Vec<Hole> {
    let Ok(index) = workspace.index.read() else { return Vec::new() };
    let mut random = Random(options.seed);
    let files: Vec<(&String, &String)> = texts.iter().filter(|(path, _)| index.file(path).is_some()).collect();
    let mut holes = Vec::new();
    for _ in 0..options.holes * 20 {
        if holes.len() == options.holes || files.is_empty() {
            break;
        }
        let (path, text) = files[random.below(files.len())];
        let line = random.below(text.lines().count().max(1));
        holes.extend(cut(&index, path, text, line, &mut random));
    }
    holes
}

/// The hole of a line, if it uses a name that counts.
fn cut(index: &Index, path: &str, text: &str, line: usize, random: &mut Random) -> Option<Hole> {
    let whole = text.lines().nth(line)?;
    let start = whole.as_ptr() as usize - text.as_ptr() as usize;
    let cursor = start + whole.len() - whole.trim_start().len();
    let snapshot = Document::new(path, language(path.as_ref()), 1, text).settled();
    let known = snapshot.syntax.as_ref()?;
    if known.imports(&snapshot.rope, text.len()).iter().any(|import| import.contains(&cursor)) {
        return None;
    }
    let imported = imported(&snapshot, text);
    let words = whole.split(|c: char| !is_word(c)).filter(|w| w.len() > 1);
    let names = words.filter_map(|name| {
        let at = name.as_ptr() as usize - text.as_ptr() as usize;
        let place = the_only(index, name).filter(|place| &*place.path != path)?;
        let code = !matches!(known.place(&snapshot.rope, at + 1), syntax::Place::Comment | syntax::Place::String);
        (code && meant(index, &place, name, &text[..at], text, &imported)).then(|| (name.to_string(), place))
    });
    let names: Vec<(String, Place)> = names.collect();
    let (name, place) = names.get(random.below(names.len().max(1)))?.clone();
    let cut = text[..cursor].to_string() + &text[start + whole.len()..];
    let text = Document::new(path, &snapshot.language, 1, &cut).settled();
    Some(Hole { path: path.to_string(), text, cursor, name, place })
}

/// The one place that defines a name.
fn the_only(index: &Index, name: &str) -> Option<Place> {
    let mut all = index.named(name).iter().filter(|place| place.member.is_some() || !index.unit(place).is_some_and(|unit| unit.extends));
    all.next().cloned().filter(|_| all.next().is_none())
}

/// The words of a text's import statements.
fn imported(text: &Snapshot, whole: &str) -> BTreeSet<String> {
    let imports = text.syntax.iter().flat_map(|syntax| syntax.imports(&text.rope, whole.len()));
    imports.flat_map(|range| whole[range].split(|c: char| !is_word(c)).map(str::to_string).collect::<Vec<_>>()).collect()
}

/// Whether a name at the end of `before` means this place, as the module says.
fn meant(index: &Index, place: &Place, name: &str, before: &str, text: &str, imported: &BTreeSet<String>) -> bool {
    let behind = before.strip_suffix("::").or_else(|| before.strip_suffix('.'));
    let qualifier = behind.and_then(|b| b.rsplit(|c: char| !is_word(c)).next()).unwrap_or_default();
    let owner = index.unit(place).map_or("", |unit| unit.name.as_str());
    match place.member {
        None if qualifier.is_empty() => imported.contains(name),
        None => imported.contains(qualifier) && place.path.split(['/', '.']).any(|part| part == qualifier),
        Some(_) => behind.is_some() && text.split(|c: char| !is_word(c)).any(|word| word == owner),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The line that defines it.
fn definition(workspace: &Workspace, place: &Place) -> String {
    let text = workspace.index.read().ok().and_then(|index| {
        let unit = index.unit(place)?;
        Some(place.member.map_or(&unit.header, |member| &unit.members[member].text).clone())
    });
    text.unwrap_or_default().lines().next().unwrap_or_default().to_string()
}

fn holds(context: &str, definition: &str) -> bool {
    !definition.trim().is_empty() && context.lines().any(|line| line.trim() == definition.trim())
}

/// The nearest files from their beginnings, as many as fit: of the same folder, then of those around it.
fn nearest(texts: &BTreeMap<String, String>, path: &str, limit: usize) -> String {
    let shared = |other: &str| path.split('/').zip(other.split('/')).take_while(|(a, b)| a == b).count();
    let mut others: Vec<&String> = texts.keys().filter(|other| *other != path).collect();
    others.sort_by_key(|other| (std::cmp::Reverse(shared(other)), other.matches('/').count(), other.len().abs_diff(path.len())));
    let mut out = String::new();
    for other in others {
        out += &texts[other];
        if out.len() >= limit {
            out.truncate(out.floor_char_boundary(limit));
            break;
        }
    }
    out
}

fn print(options: &Options, limit: usize, mut figures: Figures) {
    figures.gather_ms.sort_by(f64::total_cmp);
    let percent = |n: usize| n as f64 * 100.0 / figures.holes as f64;
    let at = |share: f64| figures.gather_ms[((figures.gather_ms.len() - 1) as f64 * share) as usize];
    if options.json {
        let row = json!({
            "files": figures.files, "lines": figures.lines, "index_ms": figures.index_ms, "holes": figures.holes,
            "limit_bytes": limit, "recall": percent(figures.found), "nearest": percent(figures.nearest),
            "used_bytes": figures.used / figures.holes, "gather_ms_p50": at(0.5), "gather_ms_p95": at(0.95),
        });
        println!("{row}");
        return;
    }
    println!("{}: {} files, {} lines, read in {:.0} ms", options.dir.display(), figures.files, figures.lines, figures.index_ms);
    println!("{} lines that use what another file defines, {} tokens ({limit} bytes) of context", figures.holes, options.tokens);
    println!(
        "  recall   {:5.1} %   {} bytes used, {:.2} ms (p50), {:.2} ms (p95)",
        percent(figures.found),
        figures.used / figures.holes,
        at(0.5),
        at(0.95)
    );
    println!("  nearest  {:5.1} %   the same budget, from the nearest files", percent(figures.nearest));
}

#[cfg(all(test, feature = "languages"))]
mod tests {
    use super::*;

    fn project() -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        let files = [
            ("shop/tax.py", "def rate(country):\n    return 1\n"),
            ("shop/app.py", "from shop.tax import rate\n\n\ndef total(a):\n    return a * rate('de')\n"),
            ("shop/a.py", "# nothing that is used\n"),
        ];
        std::fs::create_dir(root.path().join("shop")).expect("a folder");
        files.iter().for_each(|(name, text)| std::fs::write(root.path().join(name), text).expect("a file"));
        root
    }

    #[test]
    fn a_line_that_uses_another_file_is_a_hole_and_its_definition_is_found() {
        let root = project();
        let (workspace, texts, figures) = read(root.path()).expect("readable");
        assert_eq!((figures.files, figures.lines), (3, 8));
        let index = workspace.index.read().expect("an index");
        let app = &texts["shop/app.py"];
        let mut random = Random(1);
        let hole = cut(&index, "shop/app.py", app, 4, &mut random).expect("a hole");
        assert_eq!((hole.name.as_str(), &*hole.place.path), ("rate", "shop/tax.py"));
        assert!(!hole.text.rope.to_string().contains("a * rate"), "the line is cut out");
        assert!(cut(&index, "shop/app.py", app, 0, &mut random).is_none(), "an import statement is no hole");
        assert!(cut(&index, "shop/app.py", app, 3, &mut random).is_none(), "its own names do not count");
        drop(index);
        let definition = definition(&workspace, &hole.place);
        let context = workspace.context(&hole.text, hole.cursor, 300);
        assert!(holds(&context.text, &definition), "{}", context.text);
        assert!(!holds(&nearest(&texts, "shop/app.py", 10), &definition));
    }
}

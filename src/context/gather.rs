//! Which units of other files to show for a place in a text.
//!
//! ```text
//! from shop.tax import rate        "rate" is imported by name              rate's signature, and its body where there is room
//! import shop.stock as stock       "stock" is imported as a whole          its signatures, those named nearby first
//! cart = Cart(); cart.ad|          "Cart" stands near the cursor           Cart's members
//! ```
//! Names near the cursor count by their distance, imported ones wherever they stand; a name that many define says little
//! about each. What is chosen stands in the order of paths and lines, so that a small change of mind changes little text.
use super::index::{Index, Place};
use super::units::{Unit, units};
use super::{Context, comment};
use crate::document::Snapshot;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Lines around the cursor whose names count.
const BEFORE: usize = 60;
const AFTER: usize = 20;
/// A name that is defined more often than this says nothing.
const COMMON: usize = 40;
/// Most units that are looked at closely.
const CANDIDATES: usize = 300;
/// Units of an imported file that are candidates without having been named.
const OF_FILE: usize = 150;

/// What is asked.
pub struct Question<'a> {
    pub text: &'a Snapshot,
    /// Byte offset of the cursor.
    pub at: usize,
    /// Most bytes.
    pub limit: usize,
    /// The text's own name in the index.
    pub path: &'a str,
    /// Files open in the editor.
    pub open: &'a [Arc<str>],
}

/// What speaks for a unit.
#[derive(Clone, Debug, Default)]
struct Merit {
    score: f32,
    /// Its own name is imported, or stands near.
    named: bool,
    /// Members that are named near.
    members: BTreeMap<usize, f32>,
}

type Merits = BTreeMap<(Arc<str>, usize), Merit>;

/// The units for a place, as text.
pub fn gather(index: &Index, question: &Question) -> Context {
    let mut ranked: Vec<((Arc<str>, usize), Merit)> = merits(index, question).into_iter().collect();
    ranked.sort_by(|a, b| b.1.score.total_cmp(&a.1.score).then_with(|| a.0.cmp(&b.0)));
    ranked.truncate(CANDIDATES);
    let chosen = choose(index, &ranked, question);
    let keys = ranked.iter().map(|(key, _)| key).filter(|key| chosen.contains_key(*key));
    let keys = keys.filter_map(|(path, unit)| Some(format!("{path}:{}", index.file(path)?.units.get(*unit)?.name))).collect();
    Context { text: render(&chosen, question), keys }
}

fn merits(index: &Index, question: &Question) -> Merits {
    let imports = imports(question.text);
    let near = near(question.text, question.at);
    let mut merits = Merits::new();
    let family = family(&question.text.language);
    let inside = defined_inside(index, question);
    let places = |name: &str| {
        let all = index.named(name);
        // What the text defines itself is what it means.
        let own = inside.contains(name)
            || all.iter().any(|p| &*p.path == question.path && p.member.is_none() && !index.unit(p).is_some_and(|u| u.extends));
        let fits = |p: &&Place| &*p.path != question.path && index.file(&p.path).is_some_and(|f| self::family(&f.language) == family);
        let others: Vec<&Place> = all.iter().filter(fits).collect();
        if own || others.len() > COMMON { Vec::new() } else { others }
    };
    for name in &imports {
        let places = places(name);
        let each = 4.0 / (places.iter().filter(|p| p.member.is_none()).count() as f32).sqrt();
        places.iter().filter(|p| p.member.is_none()).for_each(|p| merit(&mut merits, p).name(each));
    }
    for (name, weight) in &near {
        let places = places(name);
        let count = places.len() as f32;
        for place in places {
            match place.member {
                None => merit(&mut merits, place).name(3.0 * weight / count.sqrt()),
                Some(member) => merit(&mut merits, place).member(member, 1.5 * weight / count),
            }
        }
    }
    for (path, file) in index.files().filter(|(path, file)| &***path != question.path && self::family(&file.language) == family) {
        let share = kinship(path, question, &imports);
        let listed = if share > 0.0 { OF_FILE } else { 0 };
        for unit in 0..file.units.len().min(listed) {
            merits.entry((path.clone(), unit)).or_default().score += share / (1.0 + 0.05 * unit as f32);
        }
    }
    // What is named counts more where its file is at hand anyway.
    for ((path, _), merit) in merits.iter_mut().filter(|(_, merit)| merit.named) {
        merit.score *= 1.0 + 0.5 * kinship(path, question, &imports).min(1.0);
    }
    merits
}

/// What a fence or a script defines: the index knows its file by another language.
fn defined_inside(index: &Index, question: &Question) -> BTreeSet<String> {
    let text = question.text;
    let known = index.file(question.path).is_none_or(|file| file.language == text.language);
    if known { BTreeSet::new() } else { units(text).into_iter().map(|unit| unit.name).collect() }
}

fn merit<'a>(merits: &'a mut Merits, place: &Place) -> &'a mut Merit {
    merits.entry((place.path.clone(), place.unit)).or_default()
}

impl Merit {
    fn name(&mut self, score: f32) {
        self.score += score;
        self.named = true;
    }

    fn member(&mut self, member: usize, score: f32) {
        self.score += score;
        *self.members.entry(member).or_default() += score;
    }
}

/// How near a file is to the text: imported, its test or header, of the same package, open.
fn kinship(path: &str, question: &Question, imports: &BTreeSet<String>) -> f32 {
    let (folder, stem) = folder_and_stem(path);
    let (own_folder, own_stem) = folder_and_stem(question.path);
    let mut share = 0.0;
    if imports.contains(stem) {
        share += 0.8;
        share += if imports.contains(folder.rsplit('/').next().unwrap_or_default()) { 0.4 } else { 0.0 };
    }
    if paired(stem, own_stem) {
        share += 1.5;
    }
    let package = matches!(&*question.text.language, "go" | "java" | "csharp");
    if folder == own_folder && package {
        share += 0.6;
    }
    if share == 0.0 && question.open.iter().any(|open| &**open == path) {
        share += 0.3;
    }
    share
}

/// `("src/shop", "tax")` of `src/shop/tax.py`; a folder's main file goes by the folder's name.
fn folder_and_stem(path: &str) -> (&str, &str) {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = name.split('.').next().unwrap_or(name);
    if matches!(stem, "__init__" | "mod" | "index") {
        let (above, own) = folder.rsplit_once('/').unwrap_or(("", folder));
        return (above, own);
    }
    (folder, stem)
}

/// A file and its test, a header and its implementation.
fn paired(a: &str, b: &str) -> bool {
    let bare = |stem: &str| {
        let stem = stem.strip_prefix("test_").unwrap_or(stem);
        let ends = ["_test", "_spec", "_tests", "Tests", "Test"];
        ends.iter().find_map(|end| stem.strip_suffix(end)).unwrap_or(stem).to_string()
    };
    !a.is_empty() && bare(a) == bare(b)
}

/// Languages whose files know each other.
fn family(language: &str) -> &str {
    match language {
        "c" | "cpp" | "c++" | "cuda" | "cuda-cpp" => "c",
        "javascript" | "javascriptreact" | "jsx" | "typescript" | "typescriptreact" | "tsx" => "javascript",
        "bash" | "sh" | "shell" => "shellscript",
        other => other,
    }
}

/// All names in the text's import statements.
fn imports(text: &Snapshot) -> BTreeSet<String> {
    let Some(syntax) = &text.syntax else { return BTreeSet::new() };
    let all = syntax.imports(&text.rope, text.rope.len_bytes());
    let all: Vec<String> = all.into_iter().map(|range| text.text(range.start, range.end)).collect();
    all.iter().flat_map(|statement| names(statement)).map(str::to_string).collect()
}

/// Names near the cursor, by how near.
fn near(text: &Snapshot, at: usize) -> HashMap<String, f32> {
    const ENOUGH: f32 = 2.0;
    let line = text.rope.byte_to_line(at.min(text.rope.len_bytes()));
    let mut weights: HashMap<String, f32> = HashMap::new();
    for n in line.saturating_sub(BEFORE)..(line + AFTER + 1).min(text.rope.len_lines()) {
        let start = text.rope.line_to_byte(n);
        let end = text.line_end(start).min(start + 400);
        let weight = 1.0 / (1.0 + n.abs_diff(line) as f32 / 8.0);
        for name in names(&text.text(start, end)) {
            match weights.get_mut(name) {
                Some(known) => *known = (*known + weight).min(ENOUGH),
                None => drop(weights.insert(name.to_string(), weight)),
            }
        }
    }
    weights
}

/// Words that may be names.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    words.filter(|word| word.len() > 1 && !word.starts_with(|c: char| c.is_ascii_digit()))
}

/// A header, or a member below it, and what speaks for it.
struct Piece<'a> {
    score: f32,
    key: &'a (Arc<str>, usize),
    member: Option<usize>,
    text: &'a str,
}

/// What is chosen of a unit: its header, and members by their place in it; or all of it.
struct Chosen<'a> {
    header: &'a str,
    members: BTreeMap<usize, &'a str>,
    whole: Option<&'a str>,
}

type Choice<'a> = BTreeMap<(Arc<str>, usize), Chosen<'a>>;

/// What fits, the most telling first: signatures before bodies.
fn choose<'a>(index: &'a Index, ranked: &'a [((Arc<str>, usize), Merit)], question: &Question) -> Choice<'a> {
    let mut left = question.limit.saturating_sub(title(&question.text.language, question.path).len());
    let mut chosen = Choice::new();
    let mut files: BTreeSet<&str> = BTreeSet::new();
    for piece in pieces(index, ranked) {
        let known = chosen.contains_key(piece.key);
        let Some(unit) = unit(index, piece.key) else { continue };
        let header = if known || piece.member.is_none() { 0 } else { unit.header.len() + 1 };
        let title = if files.contains(&*piece.key.0) { 0 } else { title(&question.text.language, &piece.key.0).len() };
        let needed = title + header + piece.text.len() + 1;
        if needed > left || (known && piece.member.is_none()) {
            continue;
        }
        left -= needed;
        files.insert(&piece.key.0);
        let entry =
            chosen.entry(piece.key.clone()).or_insert_with(|| Chosen { header: &unit.header, members: BTreeMap::new(), whole: None });
        entry.members.extend(piece.member.map(|member| (member, piece.text)));
    }
    bodies(index, ranked, &mut chosen, left);
    chosen
}

/// The bodies of named functions, where there is room left.
fn bodies<'a>(index: &'a Index, ranked: &[((Arc<str>, usize), Merit)], chosen: &mut Choice<'a>, mut left: usize) {
    for (key, _) in ranked.iter().filter(|(_, merit)| merit.named) {
        let whole = unit(index, key).filter(|unit| !unit.is_type).and_then(|unit| unit.whole.as_deref());
        if let (Some(whole), Some(entry)) = (whole, chosen.get_mut(key))
            && whole.len().saturating_sub(entry.header.len()) <= left
        {
            left -= whole.len().saturating_sub(entry.header.len());
            entry.whole = Some(whole);
        }
    }
}

fn unit<'a>(index: &'a Index, key: &(Arc<str>, usize)) -> Option<&'a Unit> {
    index.file(&key.0)?.units.get(key.1)
}

/// All headers and members, the most telling first.
fn pieces<'a>(index: &'a Index, ranked: &'a [((Arc<str>, usize), Merit)]) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    for (key, merit) in ranked {
        let Some(unit) = unit(index, key).filter(|unit| !unit.header.is_empty()) else { continue };
        pieces.push(Piece { score: merit.score, key, member: None, text: &unit.header });
        let share = if merit.named { 0.3 } else { 0.1 };
        for (n, member) in unit.members.iter().enumerate() {
            let private = if member.name.starts_with('_') { 0.3 } else { 1.0 };
            let own = merit.members.get(&n).copied().unwrap_or_default();
            let score = own + merit.score * share * private / (1.0 + 0.02 * n as f32);
            pieces.push(Piece { score, key, member: Some(n), text: &member.text });
        }
    }
    pieces.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| (a.key, a.member).cmp(&(b.key, b.member))));
    pieces
}

fn title(language: &str, path: &str) -> String {
    let (begin, end) = comment(language);
    format!("{begin}{path}{end}\n")
}

fn render(chosen: &Choice, question: &Question) -> String {
    let mut out = String::new();
    let mut file: Option<&str> = None;
    for ((path, _), unit) in chosen {
        if file != Some(path) {
            out += &title(&question.text.language, path);
            file = Some(path);
        }
        let lines = std::iter::once(unit.header).chain(unit.members.values().copied());
        lines.take(if unit.whole.is_some() { 0 } else { usize::MAX }).chain(unit.whole).for_each(|line| {
            out += line;
            out += "\n";
        });
    }
    if !out.is_empty() {
        out += &title(&question.text.language, question.path);
    }
    out
}

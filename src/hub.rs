//! Models from the Hugging Face hub: what their names mean, where they lie, how they get here.
//!
//! ```
//! use infill::hub::{Name, Part};
//! let name = Name::parse("deepseek-coder-v2-lite-base").unwrap();
//! assert_eq!(name.repo, "deepseek-ai/DeepSeek-Coder-V2-Lite-Base");
//! let name = Name::parse("some/Model-GGUF:q4_k_m").unwrap();
//! assert_eq!(name.part, Part::Quantised("Q4_K_M".into()));
//! ```
//! Files lie in the Hugging Face cache, in its layout (the crate hf-hub knows it), so that what other programs have
//! downloaded is used as it is, and they use what we download. The downloads are our own, over reqwest: hf-hub's check
//! no SHA-256, append a whole file to a part when the server ignores the range, take file names and etags from the
//! server unseen, know neither HF_HUB_CACHE nor HF_TOKEN nor the system's certificates, and panic on odd headers.
use crate::engine::EngineError;
use std::path::{Component, Path};

pub mod api;
pub mod cache;
pub mod fetch;
pub mod progress;
pub mod pull;

/// Names for those who do not want to look them up.
pub const ALIASES: [(&str, &str); 4] = [
    ("deepseek-coder-v2-lite-base", "deepseek-ai/DeepSeek-Coder-V2-Lite-Base"),
    ("deepseek-coder-v2-lite-instruct", "deepseek-ai/DeepSeek-Coder-V2-Lite-Instruct"),
    ("deepseek-coder-v2-base", "deepseek-ai/DeepSeek-Coder-V2-Base"),
    ("deepseek-coder-v2-instruct", "deepseek-ai/DeepSeek-Coder-V2-Instruct"),
];

/// A model on the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// As the user wrote it.
    pub said: String,
    /// `org/repo`
    pub repo: String,
    pub part: Part,
}

/// What of a repository is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The safetensors, or the only GGUF.
    Whole,
    /// A GGUF file, by its path in the repository.
    File(String),
    /// The GGUF of this quantisation, in capitals: `Q4_K_M`.
    Quantised(String),
}

impl Name {
    /// One of [`ALIASES`], `org/repo`, `org/repo:Q4_K_M`, `org/repo/file.gguf`, or the address of one of these on the
    /// hub. `None`: not a name, but perhaps a path.
    pub fn parse(text: &str) -> Option<Name> {
        let said = text.to_owned();
        let alias = ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(text));
        if let Some((_, repo)) = alias {
            return Some(Name { said, repo: (*repo).to_owned(), part: Part::Whole });
        }
        let page = page(text);
        let (text, quantised) = page.split_once(':').map_or((page.as_str(), None), |(t, q)| (t, Some(q)));
        let mut parts = text.splitn(3, '/');
        let (org, repo, file) = (parts.next()?, parts.next()?, parts.next());
        let part = match (file, quantised) {
            (None, None) => Part::Whole,
            (None, Some(q)) if is_word(q) => Part::Quantised(q.to_ascii_uppercase()),
            (Some(file), None) if is_gguf(file) && is_inside(file) => Part::File(file.to_owned()),
            _ => return None,
        };
        (is_word(org) && is_word(repo)).then(|| Name { said, repo: format!("{org}/{repo}"), part })
    }
}

/// `https://huggingface.co/org/repo/blob/main/file.gguf` -> `org/repo/file.gguf`
fn page(text: &str) -> String {
    let Some(rest) = text.strip_prefix("https://huggingface.co/").or_else(|| text.strip_prefix("hf.co/")) else {
        return text.to_owned();
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    let file = ["/blob/main/", "/resolve/main/", "/tree/main"].iter().find_map(|middle| rest.split_once(middle));
    match file {
        Some((repo, "")) => repo.to_owned(),
        Some((repo, file)) => format!("{repo}/{file}"),
        None => rest.to_owned(),
    }
}

/// What the hub allows in the names of organisations and repositories; and no `..` among it.
fn is_word(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !text.is_empty() && text.len() <= 96 && !text.starts_with(['.', '-']) && !text.contains("..") && text.chars().all(allowed)
}

/// A path that stays in the folder it is put in, on every system.
pub(crate) fn is_inside(path: &str) -> bool {
    let plain = |part: Component| matches!(part, Component::Normal(_));
    !path.is_empty() && !path.contains(['\\', ':', '\0']) && Path::new(path).components().all(plain) && !path.ends_with('/')
}

pub(crate) fn is_gguf(path: &str) -> bool {
    path.len() > 5 && path.get(path.len() - 5..).is_some_and(|end| end.eq_ignore_ascii_case(".gguf"))
}

/// The quantisation in a file's name: `DeepSeek-Coder-V2-Lite-Base-Q4_K_M.gguf` -> `Q4_K_M`.
pub fn quantisation(file: &str) -> Option<String> {
    let stem = file.rsplit('/').next()?.to_ascii_uppercase();
    let kind = |word: &&str| {
        let digits = word.trim_start_matches('I').strip_prefix('Q').or_else(|| word.strip_prefix("TQ"));
        matches!(*word, "F16" | "BF16" | "F32") || digits.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    stem.trim_end_matches(".GGUF").split(['-', '.']).find(kind).map(str::to_owned)
}

/// Where a file of several parts begins: (what the parts have in common, this part's number, how many).
/// `x-00002-of-00005.gguf` -> `("x", 2, 5)`
pub fn split(file: &str) -> Option<(&str, usize, usize)> {
    let stem = file.get(..file.len().checked_sub(5)?).filter(|_| is_gguf(file))?;
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let five = |text: &str| text.parse::<usize>().ok().filter(|_| text.len() == 5);
    Some((stem, five(number)?, five(count)?))
}

/// The GGUF models among these files, in order: each a list of its parts. Projectors (`mmproj-…`) and importance
/// matrices are none.
pub(crate) fn models<'a>(files: impl Iterator<Item = &'a str>) -> Vec<Vec<&'a str>> {
    let name = |file: &str| file.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let mut files: Vec<&str> = files.filter(|f| is_gguf(f) && !name(f).starts_with("mmproj") && !name(f).contains("imatrix")).collect();
    files.sort_unstable();
    let mut models: Vec<Vec<&str>> = Vec::new();
    for file in files {
        let whole = |f: &str| split(f).map(|(stem, _, count)| (stem.to_owned(), count));
        match models.last_mut().filter(|m| whole(file).is_some() && m.first().and_then(|f| whole(f)) == whole(file)) {
            Some(model) => model.push(file),
            None => models.push(vec![file]),
        }
    }
    models
}

/// The one that is meant where a repository holds several GGUF models: the file, the quantisation, the only one, or
/// Q4_K_M, which is what most machines run best.
pub(crate) fn choose<'a>(models: &[Vec<&'a str>], part: &Part) -> Option<Vec<&'a str>> {
    let of = |kind: &str| models.iter().find(|m| m.first().and_then(|f| quantisation(f)).as_deref() == Some(kind));
    let found = match part {
        Part::File(file) => models.iter().find(|m| m.contains(&file.as_str())),
        Part::Quantised(kind) => of(kind),
        Part::Whole if models.len() == 1 => models.first(),
        Part::Whole => of("Q4_K_M"),
    };
    found.cloned()
}

/// One sentence, with the remedy.
pub(crate) fn problem(title: impl Into<String>, hint: impl Into<String>) -> EngineError {
    EngineError { title: title.into(), hint: hint.into() }
}

/// `8.6 GB`: decimal, as the hub's pages count.
pub fn size(bytes: u64) -> String {
    match bytes {
        b if b >= 100_000_000_000 => format!("{} GB", b / 1_000_000_000),
        b if b >= 1_000_000_000 => format!("{:.1} GB", b as f64 / 1e9),
        b if b >= 10_000_000 => format!("{} MB", b / 1_000_000),
        b if b >= 1_000_000 => format!("{:.1} MB", b as f64 / 1e6),
        b if b >= 1_000 => format!("{} kB", b / 1_000),
        b => format!("{b} bytes"),
    }
}

#[cfg(test)]
mod tests;

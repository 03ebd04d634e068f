//! A GGUF model in several files, as llama.cpp's `gguf-split` writes it. The first file has the metadata.
//!
//! ```text
//! lite-00001-of-00003.gguf  split.no 0, split.count 3, the keys, some tensors
//! lite-00002-of-00003.gguf  split.no 1, split.count 3, more tensors
//! ```
use super::super::error::{ModelError, Result};
use super::super::gguf::Header;
use std::path::{Path, PathBuf};

/// Most files of one model: the form of the names allows no more.
const MOST: usize = 99_999;

/// The files of the model that `path` is, or is a part of, in order; `path` alone where its name has not the form.
///
/// # Errors
/// A name that claims an impossible part, such as the fourth of three.
pub fn files(path: &Path) -> Result<Vec<PathBuf>> {
    let Some((stem, part, count)) = path.file_name().and_then(|n| n.to_str()).and_then(parse) else {
        return Ok(vec![path.to_owned()]);
    };
    if part == 0 || part > count {
        let problem = format!("is named part {part} of {count}");
        let remedy = "Give it back the name it was published with".into();
        return Err(ModelError::File { file: path.display().to_string(), problem, remedy });
    }
    Ok((1..=count).map(|i| path.with_file_name(format!("{stem}-{i:05}-of-{count:05}.gguf"))).collect())
}

/// `lite-00002-of-00003.gguf` is ("lite", 2, 3).
fn parse(name: &str) -> Option<(&str, usize, usize)> {
    let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (stem, part) = rest.rsplit_once('-')?;
    let number = |text: &str| if text.len() == 5 { text.parse::<usize>().ok() } else { None };
    Some((stem, number(part)?, number(count)?)).filter(|(_, _, count)| *count <= MOST)
}

/// Checks that a file is part `index` of `count`, by what it says of itself.
pub fn check(header: &Header, index: usize, count: usize) -> Result<()> {
    let says = |key: &str, default| if header.metadata.contains_key(key) { header.number(key) } else { Ok(default) };
    let (no, of) = (says("split.no", 0)?, says("split.count", 1)?.max(1));
    if (no, of) == (index, count) {
        return Ok(());
    }
    let problem = format!("is part {} of {of}, not part {} of {count} as its name says", no.saturating_add(1), index + 1);
    let remedy = "Keep all parts in one folder under the names they were published with (…-00001-of-00003.gguf)".into();
    Err(ModelError::File { file: header.file.clone(), problem, remedy })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_names_all() {
        let all = files(Path::new("/models/lite-q4-00002-of-00003.gguf")).unwrap();
        let names: Vec<_> = all.iter().map(|f| f.to_str().unwrap()).collect();
        assert_eq!(names[0], "/models/lite-q4-00001-of-00003.gguf");
        assert_eq!((names.len(), names[2]), (3, "/models/lite-q4-00003-of-00003.gguf"));
        for single in ["lite.gguf", "lite-1-of-3.gguf", "a-00001-of-00002.bin", "-of-00002.gguf"] {
            assert_eq!(files(Path::new(single)).unwrap(), [Path::new(single)]);
        }
        assert!(files(Path::new("a-00004-of-00003.gguf")).unwrap_err().to_string().contains("part 4 of 3"));
        assert!(files(Path::new("a-00000-of-00000.gguf")).is_err());
    }
}

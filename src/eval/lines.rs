//! Benchmark files: a JSON object a line, gzipped or not.
//!
//! ```text
//! {"task_id": "SingleLineInfilling/HumanEval/0/L0", "prompt": "def …", …}     FILE.jsonl or FILE.jsonl.gz
//! ```
use anyhow::{Context, Result, anyhow, bail};
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;

/// No task is that long: a file without line ends must not fill the memory.
const LONGEST: u64 = 64 << 20;

/// The first `limit` lines of `path`, and the file's name and size, to tell it from another. `fields` is what to say of
/// a line that lacks some.
///
/// # Errors
/// A file that cannot be read, is not what its name says, is empty, or has a line that does not fit.
pub fn read<T: DeserializeOwned>(path: &Path, limit: usize, fields: &str) -> Result<(Vec<T>, String)> {
    let name = path.display();
    let bytes = std::fs::metadata(path).map_err(|e| unreadable(path, &e))?.len();
    let mut reader = open(path)?;
    let mut tasks = Vec::new();
    while tasks.len() < limit {
        let number = tasks.len() + 1;
        let Some(line) = line(&mut reader).with_context(|| format!("{name}, line {number}"))? else { break };
        tasks.push(parse(&line, fields).with_context(|| format!("{name}, line {number}"))?);
    }
    if tasks.is_empty() {
        bail!("{name} is empty: download it again");
    }
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    Ok((tasks, format!("{file} ({bytes} bytes)")))
}

fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    let mut file = File::open(path).map_err(|e| unreadable(path, &e))?;
    let mut magic = Vec::new();
    file.by_ref().take(2).read_to_end(&mut magic).map_err(|e| unreadable(path, &e))?;
    file.rewind().map_err(|e| unreadable(path, &e))?;
    if magic == [0x1f, 0x8b] {
        return Ok(Box::new(BufReader::new(flate2::read::MultiGzDecoder::new(file))));
    }
    if path.extension().is_some_and(|e| e == "gz") {
        bail!("{} is not gzip, as its name says: download it again, or take .gz off its name", path.display());
    }
    Ok(Box::new(BufReader::new(file)))
}

fn unreadable(path: &Path, error: &std::io::Error) -> anyhow::Error {
    anyhow!("{} cannot be read ({}): name a .jsonl or .jsonl.gz file", path.display(), crate::config::plain(error))
}

/// The next line; `None` at the end.
fn line(reader: &mut dyn BufRead) -> Result<Option<String>> {
    let mut bytes = Vec::new();
    reader.take(LONGEST).read_until(b'\n', &mut bytes).context("the file is damaged: download it again")?;
    if bytes.len() as u64 == LONGEST {
        bail!("has more than {} MB: this is no benchmark file", LONGEST >> 20);
    }
    let line = String::from_utf8(bytes).map_err(|_| anyhow!("is not UTF-8 text: download the file again"))?;
    Ok(if line.is_empty() { None } else { Some(line) })
}

fn parse<T: DeserializeOwned>(line: &str, fields: &str) -> Result<T> {
    serde_json::from_str(line).map_err(|e| {
        let why = e.to_string();
        let why = why.split(" at line").next().unwrap_or_default().replace('`', "\"");
        if e.is_data() {
            anyhow!("{why}: {fields}")
        } else {
            anyhow!("is not JSON ({why}): every line must be one JSON object; download the file again")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Task {
        id: String,
    }

    fn outcome(name: &str, bytes: &[u8]) -> std::result::Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let tasks = read::<Task>(&path, 2, "wanted: id").map_err(|e| format!("{e:#}"))?;
        assert_eq!(tasks.1, format!("{name} ({} bytes)", bytes.len()));
        Ok(tasks.0.into_iter().map(|task| task.id).collect())
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn lines_are_read_plain_and_gzipped_up_to_the_limit() {
        let text = "{\"id\":\"a\",\"more\":1}\n{\"id\":\"b\"}\n{\"id\":\"c\"}";
        assert_eq!(outcome("t.jsonl", text.as_bytes()).unwrap(), ["a", "b"]);
        assert_eq!(outcome("t.jsonl.gz", &gzip(text)).unwrap(), ["a", "b"]);
        assert_eq!(outcome("t.jsonl", b"{\"id\":\"a\"}").unwrap(), ["a"], "no line end");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let whole = gzip(
            "{\"id\":\"a\"}
{\"id\":\"bcdefghijklmnopqrstuvwxyz\"}
",
        );
        for (name, bytes, words) in [
            ("t.jsonl.gz", &b"{\"id\":\"a\"}"[..], &["t.jsonl.gz", "is not gzip", "download it again"][..]),
            ("t.jsonl.gz", &whole[..whole.len() / 2], &["t.jsonl.gz", "damaged", "download it again"]),
            ("t.jsonl", b"{\"id\":\"a\"}\n{\"id\":\n", &["t.jsonl, line 2", "is not JSON", "download"]),
            ("t.jsonl", b"{\"id\":\"a\"}\n{\"name\":\"b\"}\n", &["line 2", "missing field \"id\"", "wanted: id"]),
            ("t.jsonl", b"{\"id\":7}\n", &["line 1", "expected a string", "wanted: id"]),
            ("t.jsonl", b"\xff\xfe\n", &["line 1", "not UTF-8"]),
            ("t.jsonl", b"", &["is empty"]),
        ] {
            let error = outcome(name, bytes).unwrap_err();
            words.iter().for_each(|word| assert!(error.contains(word), "{word:?} is not in {error}"));
        }
        let gone = read::<Task>("gone.jsonl".as_ref(), 1, "").unwrap_err().to_string();
        assert!(gone.contains("gone.jsonl") && gone.contains("no such file") && gone.contains("name a .jsonl"), "{gone}");
    }
}

//! What a model's files say without being loaded: which ones they are, and whether the model can chat.
//!
//! ```no_run
//! // The same for the same files; another one as soon as a file is replaced.
//! println!("{}", infill::engine::local::fingerprint("nano")?);
//! # Ok::<(), infill::engine::EngineError>(())
//! ```
use super::{EngineError, Source, nano};
use crate::model::gguf::Header;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Sixteen hex digits that name a model: of its files, their path, size and time of change; of nano, its bytes' ends.
///
/// # Errors
/// Where there is no such model.
pub fn fingerprint(model: &str) -> Result<String, EngineError> {
    let mut hash = Sha256::new();
    match Source::find(model)? {
        Source::Nano => {
            let bytes = nano()?;
            hash.update(bytes.len().to_le_bytes());
            hash.update(&bytes[..bytes.len().min(4096)]);
            hash.update(&bytes[bytes.len().saturating_sub(65_536)..]);
        }
        Source::Gguf(file) => add(&mut hash, &file),
        Source::Folder(folder) => files(&folder).iter().for_each(|file| add(&mut hash, file)),
    }
    Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

fn add(hash: &mut Sha256, file: &Path) {
    let whole = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    hash.update(whole.as_os_str().as_encoded_bytes());
    if let Ok(found) = whole.metadata() {
        let changed = found.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        hash.update(found.len().to_le_bytes());
        hash.update(changed.unwrap_or_default().as_nanos().to_le_bytes());
    }
}

/// The files of a checkpoint's folder that make up the model.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        entries.filter(|file| file.extension().is_some_and(|end| end == "safetensors" || end == "json")).collect();
    files.sort();
    files
}

impl Source {
    /// Whether the model comes with a chat template, and with the one that we write.
    pub(super) fn chats(&self) -> bool {
        let template = match self {
            Source::Nano => nano().ok().and_then(|bytes| in_header("nano", bytes)),
            Source::Gguf(file) => crate::model::source::map(file).ok().and_then(|map| in_header("", &map)),
            Source::Folder(folder) => beside(folder),
        };
        template.is_some_and(|text| is_ours(&text))
    }
}

fn in_header(name: &str, bytes: &[u8]) -> Option<String> {
    Header::read(name, bytes).ok()?.text("tokenizer.chat_template").ok()
}

/// In `tokenizer_config.json`, or in a file of its own.
fn beside(folder: &Path) -> Option<String> {
    let config = std::fs::read(folder.join("tokenizer_config.json")).ok();
    let value = config.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    let named = value.and_then(|value| value["chat_template"].as_str().map(str::to_owned));
    named.or_else(|| std::fs::read_to_string(folder.join("chat_template.jinja")).ok())
}

/// DeepSeek-V2's: `User: …`, `Assistant: …`, and nothing after the last `Assistant:`.
fn is_ours(template: &str) -> bool {
    ["'User: '", "'Assistant: '", "'Assistant:'"].iter().all(|part| template.replace('"', "'").contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_file_is_another_fingerprint() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.gguf");
        std::fs::write(&file, "one").unwrap();
        let name = file.to_str().unwrap();
        let first = fingerprint(name).unwrap();
        assert_eq!((first.len(), fingerprint(name).unwrap()), (16, first.clone()));
        std::fs::write(&file, "other").unwrap();
        assert_ne!(fingerprint(name).unwrap(), first);
        std::fs::write(folder.path().join("config.json"), "{}").unwrap();
        let whole = fingerprint(folder.path().to_str().unwrap()).unwrap();
        std::fs::write(folder.path().join("model.safetensors"), "x").unwrap();
        assert_ne!(fingerprint(folder.path().to_str().unwrap()).unwrap(), whole);
        assert!(fingerprint("/nowhere").is_err());
    }

    #[test]
    fn only_deepseeks_template_counts() {
        let deepseek = "{{ 'User: ' + message['content'] + '\\n\\n' }}{{ 'Assistant: ' + x + eos_token }}{{ 'Assistant:' }}";
        assert!(is_ours(deepseek));
        assert!(!is_ours("{{ '<|im_start|>' + message['role'] }}"));
        let folder = tempfile::tempdir().unwrap();
        let source = Source::Folder(folder.path().to_owned());
        assert!(!source.chats());
        std::fs::write(folder.path().join("chat_template.jinja"), deepseek).unwrap();
        assert!(source.chats());
        let config = serde_json::json!({ "chat_template": "{{ '<|im_start|>' }}" });
        std::fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).unwrap();
        assert!(!source.chats());
    }
}

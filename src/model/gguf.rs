//! GGUF: the header of one file, read with every length checked, and the vocabulary in it.
//!
//! ```no_run
//! # fn main() -> infill::model::error::Result<()> {
//! let vocabulary = infill::model::gguf::Vocabulary::read("nano.gguf".as_ref())?;
//! println!("{} tokens, {} merges", vocabulary.tokens.len(), vocabulary.merges.len());
//! # Ok(()) }
//! ```
//! The format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>. A header is a view of the bytes: arrays
//! (a vocabulary of 100,000 strings) are walked when they are asked for, and nothing is allocated from a length that
//! the file merely claims.
use super::error::{ModelError, Result};
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

const MAX_DIMS: u32 = 4;
/// Alignment of the tensors where the file names none.
const ALIGNMENT: u64 = 32;

/// A value of the metadata. Arrays stay bytes until they are walked.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(Cow<'a, str>),
    Array(Array<'a>),
}

/// `count` values of one simple type, back to back in `bytes`.
#[derive(Clone, Debug, PartialEq)]
pub struct Array<'a> {
    kind: u32,
    count: u64,
    bytes: &'a [u8],
}

/// Where a tensor lies. `shape` has the fastest dimension last (GGUF stores it first), as in PyTorch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    pub shape: Vec<usize>,
    /// ggml's number of the element type.
    pub kind: u32,
    /// From the beginning of the file, in bytes.
    pub offset: usize,
}

/// The description of one GGUF file: metadata and tensors, over the bytes of the file.
pub struct Header<'a> {
    /// What errors call the file.
    pub file: String,
    pub bytes: &'a [u8],
    pub metadata: HashMap<String, Value<'a>>,
    pub tensors: HashMap<String, TensorInfo>,
    /// Alignment of each tensor, in bytes.
    pub alignment: usize,
}

/// What a tokenizer needs of a GGUF file (`tokenizer.ggml.*`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vocabulary {
    /// The text of each token, in ggml's byte-level letters, by id.
    pub tokens: Vec<String>,
    /// 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte; empty where the file has none.
    pub token_types: Vec<i32>,
    /// Two tokens with a space between, the most frequent first.
    pub merges: Vec<String>,
    /// Name of the pre-tokenizer (`deepseek-coder`, `deepseek-llm`, …); empty where the file has none.
    pub pre: String,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    /// Before the prefix (`<｜fim▁begin｜>`).
    pub fim_pre: Option<u32>,
    /// Before the suffix (`<｜fim▁hole｜>`).
    pub fim_suf: Option<u32>,
    /// Before the middle (`<｜fim▁end｜>`).
    pub fim_mid: Option<u32>,
    /// Whether a prompt begins with `bos`. Where the file does not say, as DeepSeek's tokenizers do: yes.
    pub add_bos: bool,
}

impl Vocabulary {
    /// Reads the vocabulary of a GGUF file. Only the header's pages are touched.
    pub fn read(path: &Path) -> Result<Self> {
        let path = super::store::first(path)?;
        let map = super::source::map(&path)?;
        vocabulary(&Header::read(&path.display().to_string(), &map)?)
    }

    /// Reads the vocabulary of a GGUF file that is part of the program.
    pub fn from_bytes(bytes: &'static [u8]) -> Result<Self> {
        vocabulary(&Header::read("the embedded model", bytes)?)
    }
}

/// The tokenizer's part of a header. Ids that the file does not name are looked up by DeepSeek's texts for them.
///
/// # Errors
/// Where there is no byte-pair vocabulary, a list is cut short, or an id lies outside the vocabulary.
pub fn vocabulary(header: &Header) -> Result<Vocabulary> {
    let model = header.text("tokenizer.ggml.model")?;
    if model != "gpt2" {
        return Err(header.wrong("tokenizer.ggml.model", format!("is {model:?}, not the byte-level \"gpt2\"")));
    }
    let tokens = header.texts("tokenizer.ggml.tokens")?;
    let id = |keys: [&str; 2], text: &str| special(header, &tokens, keys, text);
    let found = Vocabulary {
        bos: id(["bos_token_id", ""], "<｜begin▁of▁sentence｜>")?,
        eos: id(["eos_token_id", ""], "<｜end▁of▁sentence｜>")?,
        fim_pre: id(["fim_pre_token_id", "prefix_token_id"], "<｜fim▁begin｜>")?,
        fim_suf: id(["fim_suf_token_id", "suffix_token_id"], "<｜fim▁hole｜>")?,
        fim_mid: id(["fim_mid_token_id", "middle_token_id"], "<｜fim▁end｜>")?,
        token_types: token_types(header, tokens.len())?,
        merges: header.texts("tokenizer.ggml.merges")?,
        pre: header.text("tokenizer.ggml.pre").unwrap_or_default(),
        add_bos: !matches!(header.metadata.get("tokenizer.ggml.add_bos_token"), Some(Value::Bool(false))),
        tokens: Vec::new(),
    };
    Ok(Vocabulary { tokens, ..found })
}

fn special(header: &Header, tokens: &[String], keys: [&str; 2], text: &str) -> Result<Option<u32>> {
    for key in keys.iter().filter(|k| !k.is_empty()).map(|k| format!("tokenizer.ggml.{k}")) {
        if header.metadata.contains_key(&key) {
            let id = header.number(&key)?;
            if id >= tokens.len() {
                return Err(header.wrong(&key, format!("is {id}, but the vocabulary has {} tokens", tokens.len())));
            }
            return Ok(Some(id as u32));
        }
    }
    Ok(tokens.iter().position(|t| t == text).map(|id| id as u32))
}

fn token_types(header: &Header, tokens: usize) -> Result<Vec<i32>> {
    const KEY: &str = "tokenizer.ggml.token_type";
    if !header.metadata.contains_key(KEY) {
        return Ok(Vec::new());
    }
    let types: Vec<i32> = header.array(KEY)?.integers().map(|t| t as i32).collect();
    if types.len() != tokens {
        return Err(header.wrong(KEY, format!("has {} entries for {tokens} tokens", types.len())));
    }
    Ok(types)
}

impl<'a> Header<'a> {
    /// Reads the header in `bytes`; `file` names it in errors. Tensors are checked to lie inside the file by whoever
    /// knows the size of their elements ([`Header::tensors`] holds offsets only).
    ///
    /// # Errors
    /// Not a GGUF file, an unknown version, or a length that goes past the end of the file.
    pub fn read(file: &str, bytes: &'a [u8]) -> Result<Self> {
        let mut cursor = Cursor { file, bytes, at: 0 };
        if cursor.take(4, "the magic number")? != b"GGUF" {
            let remedy = "Name a .gguf file, or the folder of a Hugging Face checkpoint".into();
            return Err(ModelError::File { file: file.into(), problem: "is not a GGUF file".into(), remedy });
        }
        let version = cursor.u32("the version")?;
        if !(2..=3).contains(&version) {
            return Err(ModelError::corrupt(file, format!("is GGUF version {version}; versions 2 and 3 are supported")));
        }
        let (tensors, keys) = (cursor.u64("the tensor count")?, cursor.u64("the key count")?);
        let metadata = cursor.metadata(keys)?;
        let alignment = alignment(file, &metadata)?;
        let mut tensors = cursor.tensors(tensors)?;
        let data = (cursor.at as u64).next_multiple_of(alignment);
        for (name, info) in &mut tensors {
            info.offset = place(info.offset as u64, data, bytes.len())
                .ok_or_else(|| ModelError::tensor(file, name, "begins past the end of the file"))?;
        }
        Ok(Self { file: file.into(), bytes, metadata, tensors, alignment: alignment as usize })
    }

    /// A key that must be there.
    pub fn get(&self, key: &str) -> Result<&Value<'a>> {
        self.metadata.get(key).ok_or_else(|| self.wrong(key, "is missing"))
    }

    /// A size: any integer type, not negative.
    pub fn number(&self, key: &str) -> Result<usize> {
        let value = match self.get(key)? {
            Value::Unsigned(n) => usize::try_from(*n).ok(),
            Value::Signed(n) => usize::try_from(*n).ok(),
            _ => None,
        };
        value.ok_or_else(|| self.wrong(key, "is not a whole number"))
    }

    /// A real number; whole numbers count.
    pub fn float(&self, key: &str) -> Result<f64> {
        match self.get(key)? {
            Value::Float(x) => Ok(*x),
            Value::Unsigned(n) => Ok(*n as f64),
            Value::Signed(n) => Ok(*n as f64),
            _ => Err(self.wrong(key, "is not a number")),
        }
    }

    /// A string.
    pub fn text(&self, key: &str) -> Result<String> {
        match self.get(key)? {
            Value::Text(t) => Ok(t.clone().into_owned()),
            _ => Err(self.wrong(key, "is not a text")),
        }
    }

    /// An array of strings.
    pub fn texts(&self, key: &str) -> Result<Vec<String>> {
        let array = self.array(key)?;
        array.texts().ok_or_else(|| self.wrong(key, "is not a list of texts"))
    }

    fn array(&self, key: &str) -> Result<&Array<'a>> {
        match self.get(key)? {
            Value::Array(array) => Ok(array),
            _ => Err(self.wrong(key, "is not a list")),
        }
    }

    /// An error about one key.
    pub fn wrong(&self, key: &str, problem: impl Into<String>) -> ModelError {
        ModelError::config(&self.file, key, problem)
    }
}

fn place(offset: u64, data: u64, len: usize) -> Option<usize> {
    usize::try_from(data.checked_add(offset)?).ok().filter(|at| *at <= len)
}

fn alignment(file: &str, metadata: &HashMap<String, Value>) -> Result<u64> {
    match metadata.get("general.alignment") {
        None => Ok(ALIGNMENT),
        Some(Value::Unsigned(n)) if n.is_power_of_two() && *n <= 1 << 20 => Ok(*n),
        Some(_) => Err(ModelError::config(file, "general.alignment", "is not a power of two up to 1048576")),
    }
}

impl Array<'_> {
    fn texts(&self) -> Option<Vec<String>> {
        let mut cursor = Cursor { file: "", bytes: self.bytes, at: 0 };
        if self.kind != kind::TEXT {
            return None;
        }
        (0..self.count).map(|_| Some(cursor.text("").ok()?.into_owned())).collect()
    }

    /// The whole numbers; values of another type are passed over.
    fn integers(&self) -> impl Iterator<Item = i64> + '_ {
        let mut cursor = Cursor { file: "", bytes: self.bytes, at: 0 };
        (0..self.count).map_while(move |_| match cursor.value(self.kind).ok()? {
            Value::Unsigned(n) => i64::try_from(n).ok(),
            Value::Signed(n) => Some(n),
            _ => None,
        })
    }
}

/// Numbers of the metadata's types.
mod kind {
    pub const TEXT: u32 = 8;
    pub const ARRAY: u32 = 9;

    /// Bytes of one value, where that is fixed.
    pub fn size(kind: u32) -> Option<usize> {
        Some(match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            _ => return None,
        })
    }
}

/// Reads from the front of the bytes; every step is checked.
struct Cursor<'f, 'a> {
    file: &'f str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'_, 'a> {
    fn take(&mut self, n: usize, what: &str) -> Result<&'a [u8]> {
        let end = self.at.checked_add(n).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| ModelError::corrupt(self.file, format!("ends inside {what}")))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N, what)?);
        Ok(out)
    }

    fn u32(&mut self, what: &str) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    fn u64(&mut self, what: &str) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    fn text(&mut self, what: &str) -> Result<Cow<'a, str>> {
        let n = self.u64(what)?;
        // A length past usize is past the end of any file.
        Ok(String::from_utf8_lossy(self.take(usize::try_from(n).unwrap_or(usize::MAX), what)?))
    }

    fn metadata(&mut self, keys: u64) -> Result<HashMap<String, Value<'a>>> {
        let mut out = HashMap::new();
        for _ in 0..keys {
            let key = self.text("a metadata key")?.into_owned();
            let kind = self.u32(&key)?;
            let value = self.value(kind)?;
            out.insert(key, value);
        }
        Ok(out)
    }

    fn value(&mut self, kind: u32) -> Result<Value<'a>> {
        const WHAT: &str = "a metadata value";
        Ok(match kind {
            0 => Value::Unsigned(u64::from(self.array::<1>(WHAT)?[0])),
            1 => Value::Signed(i64::from(i8::from_le_bytes(self.array(WHAT)?))),
            2 => Value::Unsigned(u64::from(u16::from_le_bytes(self.array(WHAT)?))),
            3 => Value::Signed(i64::from(i16::from_le_bytes(self.array(WHAT)?))),
            4 => Value::Unsigned(u64::from(self.u32(WHAT)?)),
            5 => Value::Signed(i64::from(i32::from_le_bytes(self.array(WHAT)?))),
            6 => Value::Float(f64::from(f32::from_le_bytes(self.array(WHAT)?))),
            7 => Value::Bool(self.array::<1>(WHAT)?[0] != 0),
            kind::TEXT => Value::Text(self.text(WHAT)?),
            kind::ARRAY => Value::Array(self.list()?),
            10 => Value::Unsigned(self.u64(WHAT)?),
            11 => Value::Signed(i64::from_le_bytes(self.array(WHAT)?)),
            12 => Value::Float(f64::from_le_bytes(self.array(WHAT)?)),
            _ => {
                return Err(ModelError::corrupt(self.file, format!("has a metadata value of unknown type {kind}")));
            }
        })
    }

    fn list(&mut self) -> Result<Array<'a>> {
        const WHAT: &str = "a metadata list";
        let (kind, count) = (self.u32(WHAT)?, self.u64(WHAT)?);
        let begin = self.at;
        if let Some(size) = kind::size(kind) {
            let n = usize::try_from(count).ok().and_then(|n| n.checked_mul(size));
            self.take(n.unwrap_or(usize::MAX), WHAT)?;
        } else if kind == kind::TEXT {
            for _ in 0..count {
                self.text(WHAT)?;
            }
        } else {
            // Lists of lists are allowed by the format and used by nobody: refusing them bounds the recursion.
            return Err(ModelError::corrupt(self.file, format!("has a metadata list of unsupported type {kind}")));
        }
        Ok(Array { kind, count, bytes: &self.bytes[begin..self.at] })
    }

    fn tensors(&mut self, count: u64) -> Result<HashMap<String, TensorInfo>> {
        let mut out = HashMap::new();
        for _ in 0..count {
            let name = self.text("a tensor name")?.into_owned();
            let info = self.tensor(&name)?;
            if out.insert(name.clone(), info).is_some() {
                return Err(ModelError::tensor(self.file, &name, "is listed twice"));
            }
        }
        Ok(out)
    }

    /// The description of one tensor; its offset still counts from the data section.
    fn tensor(&mut self, name: &str) -> Result<TensorInfo> {
        const WHAT: &str = "a tensor's description";
        let wrong = |problem: &str| ModelError::tensor(self.file, name, problem);
        let (short, many) = (wrong("has a size that overflows"), wrong("has more than 4 dimensions"));
        let dims = self.u32(WHAT)?;
        if dims > MAX_DIMS {
            return Err(many);
        }
        let mut shape = Vec::with_capacity(MAX_DIMS as usize);
        for _ in 0..dims {
            shape.push(usize::try_from(self.u64(WHAT)?).map_err(|_| short.clone())?);
        }
        shape.reverse();
        shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).ok_or(short.clone())?;
        let kind = self.u32(WHAT)?;
        let offset = usize::try_from(self.u64(WHAT)?).map_err(|_| short)?;
        Ok(TensorInfo { shape, kind, offset })
    }
}

#[cfg(test)]
mod tests;

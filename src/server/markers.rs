//! Prompts that carry a model's own fill-in-the-middle markers: what stands before the hole, and what after it.
//!
//! ```
//! use infill::server::markers::{Found, find};
//! let prompt = "<|fim_prefix|>def f(<|fim_suffix|>):\n<|fim_middle|>";
//! assert_eq!(find(prompt), Found::Hole { prefix: "def f(", suffix: "):\n" });
//! assert_eq!(find("just text"), Found::None);
//! ```
//! Clients write the markers of the model that they think they talk to. They count only where a prompt begins and ends as
//! that model's prompts do; a marker inside the text itself cannot be told from one of the client's, and is refused.

/// How one family writes its prompts. `end` stands at the end; empty where nothing does.
struct Family {
    prefix: &'static str,
    suffix: &'static str,
    end: &'static str,
    /// The suffix comes first.
    swapped: bool,
    /// Blanks around the texts that belong to the markers: after the first, before the second, before the end.
    blanks: bool,
}

const fn family(prefix: &'static str, suffix: &'static str, end: &'static str) -> Family {
    Family { prefix, suffix, end, swapped: false, blanks: false }
}

const FAMILIES: [Family; 11] = [
    // DeepSeek-Coder, V1 and V2; and with plain bars, as some clients spell it.
    family("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    family("<|fim▁begin|>", "<|fim▁hole|>", "<|fim▁end|>"),
    // Qwen2.5-Coder, CodeGemma.
    family("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    Family { swapped: true, ..family("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>") },
    // StarCoder, Granite.
    family("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    Family { swapped: true, ..family("<fim_prefix>", "<fim_suffix>", "<fim_middle>") },
    family("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    // GLM, CodeGeeX.
    family("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),
    // CodeLlama.
    Family { blanks: true, ..family("<PRE>", "<SUF>", "<MID>") },
    // Codestral: the prompt ends with the text before the hole.
    Family { swapped: true, ..family("[PREFIX]", "[SUFFIX]", "") },
    // Seed-Coder.
    Family { swapped: true, ..family("<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>") },
];

/// What may stand before the first marker: it says where a text begins.
const BEGINNINGS: [&str; 5] = ["<｜begin▁of▁sentence｜>", "<|begin▁of▁sentence|>", "<s>", "<|endoftext|>", "<bos>"];

/// What a prompt holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// No markers: a text to go on with.
    None,
    Hole {
        prefix: &'a str,
        suffix: &'a str,
    },
    /// This marker stands in the text itself too.
    Ambiguous(&'static str),
}

/// Looks for the markers of any family.
pub fn find(prompt: &str) -> Found<'_> {
    let begun = BEGINNINGS.iter().find_map(|begin| prompt.strip_prefix(begin)).unwrap_or(prompt);
    let text = after_context(begun);
    FAMILIES.iter().map(|family| family.read(text)).find(|found| *found != Found::None).unwrap_or(Found::None)
}

/// Qwen's and StarCoder's prompts may hold other files before the one with the hole; those are left out.
fn after_context(prompt: &str) -> &str {
    let begins = ["<|repo_name|>", "<|file_sep|>", "<repo_name>", "<file_sep>"].iter().any(|marker| prompt.starts_with(marker));
    let hole = ["<|fim_prefix|>", "<fim_prefix>"].iter().filter_map(|marker| prompt.rfind(marker)).max();
    hole.filter(|_| begins).map_or(prompt, |at| &prompt[at..])
}

impl Family {
    fn read<'a>(&self, prompt: &'a str) -> Found<'a> {
        let (first, second) = if self.swapped { (self.suffix, self.prefix) } else { (self.prefix, self.suffix) };
        // A client may leave line ends and blanks behind the last marker.
        let ended = if self.end.is_empty() { Some(prompt) } else { prompt.trim_end().strip_suffix(self.end) };
        let Some((before, after)) = ended.and_then(|text| text.strip_prefix(first)).and_then(|text| text.split_once(second)) else {
            return Found::None;
        };
        let markers = [first, second, self.end];
        if let Some(marker) = markers.into_iter().find(|marker| !marker.is_empty() && (before.contains(marker) || after.contains(marker))) {
            return Found::Ambiguous(marker);
        }
        let (before, after) = if self.blanks { (trim_one(before), after.strip_suffix(' ').unwrap_or(after)) } else { (before, after) };
        let (prefix, suffix) = if self.swapped { (after, before) } else { (before, after) };
        Found::Hole { prefix, suffix }
    }
}

/// Without the one blank on each side that belongs to the markers.
fn trim_one(text: &str) -> &str {
    let text = text.strip_prefix(' ').unwrap_or(text);
    text.strip_suffix(' ').unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_familys_prompt_is_read() {
        let hole = Found::Hole { prefix: "a = \n b", suffix: "\nc " };
        for prompt in [
            "<｜fim▁begin｜>a = \n b<｜fim▁hole｜>\nc <｜fim▁end｜>",
            "<｜begin▁of▁sentence｜><｜fim▁begin｜>a = \n b<｜fim▁hole｜>\nc <｜fim▁end｜>",
            "<|fim▁begin|>a = \n b<|fim▁hole|>\nc <|fim▁end|>",
            "<|fim_prefix|>a = \n b<|fim_suffix|>\nc <|fim_middle|>",
            "<|fim_prefix|>a = \n b<|fim_suffix|>\nc <|fim_middle|>\n",
            "<|fim_suffix|>\nc <|fim_prefix|>a = \n b<|fim_middle|>",
            "<|repo_name|>x\n<|file_sep|>y.py\nold\n<|file_sep|>z.py\n<|fim_prefix|>a = \n b<|fim_suffix|>\nc <|fim_middle|>",
            "<fim_prefix>a = \n b<fim_suffix>\nc <fim_middle>",
            "<fim_suffix>\nc <fim_prefix>a = \n b<fim_middle>",
            "<fim-prefix>a = \n b<fim-suffix>\nc <fim-middle>",
            "<|code_prefix|>a = \n b<|code_suffix|>\nc <|code_middle|>",
            "<PRE> a = \n b <SUF>\nc  <MID>",
            "<s><PRE> a = \n b <SUF>\nc  <MID>",
            "[SUFFIX]\nc [PREFIX]a = \n b",
            "<[fim-suffix]>\nc <[fim-prefix]>a = \n b<[fim-middle]>",
        ] {
            assert_eq!(find(prompt), hole, "{prompt:?}");
        }
    }

    #[test]
    fn text_about_markers_is_text() {
        for prompt in
            ["", "x = 1", "The marker <|fim_prefix|> begins", "<|fim_prefix|>a", "<PRE>tags</PRE>", "[PREFIX]a[SUFFIX]b", "a <fim_middle>"]
        {
            assert_eq!(find(prompt), Found::None, "{prompt:?}");
        }
        assert_eq!(find("<|fim_prefix|>a<|fim_suffix|>b<|fim_suffix|>c<|fim_middle|>"), Found::Ambiguous("<|fim_suffix|>"));
        assert_eq!(find("[SUFFIX]a[PREFIX]b[PREFIX]c"), Found::Ambiguous("[PREFIX]"));
    }
}
